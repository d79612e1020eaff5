/** What a person must know of although the mesh went on. */
import type { Conflict } from '../core/effects.ts';
import * as field from './fields.ts';
import { MAX_SENTENCE_CHARS } from './limits.ts';
import type { mesh } from './schema.ts';

const TAGS: readonly Conflict['tag'][] = ['births', 'outcomes', 'forgotten'];

export const toConflict = (conflict: Conflict): mesh.Conflict.$Properties => ({
  jobId: conflict.job,
  atMs: field.wholeMs(conflict.at),
  tag: TAGS.indexOf(conflict.tag) + 1,
  note: field.sentence(conflict.note),
});

export const fromConflict = (wire: mesh.Conflict.$Properties): Conflict => ({
  job: field.jobId(wire.jobId),
  at: field.wall(wire.atMs),
  tag: field.required(TAGS[(wire.tag ?? 0) - 1]),
  note: field.text(wire.note, MAX_SENTENCE_CHARS),
});
