/**
 * The body of a record. It has an encoding of its own and travels as bytes beside the header, so
 * that a replica can keep and pass on a body that it cannot read.
 *
 * A job that was read and holds fields of a newer version, which the decoder drops, keeps the very
 * bytes it was read from and gives them when it is encoded again: see bodies.ts.
 */
import { asWall } from '../base/instant.ts';
import {
  type FinalState,
  type GrantNote,
  type Job,
  type JobState,
  NO_HISTORY,
  type PastAttempt,
  PENDING,
} from '../core/job.ts';
import { isFinal } from '../core/outcome.ts';
import { RECORD_VERSION, type RecordHeader } from '../core/record.ts';
import { Bodies, hasUnknownFields } from './bodies.ts';
import * as field from './fields.ts';
import { MAX_HISTORY_ENTRIES, MAX_SENTENCE_CHARS } from './limits.ts';
import { parseBoot, toBoot } from './nodes.ts';
import { fromOutcome, toOutcome } from './outcomes.ts';
import { parseFence, toFence } from './records.ts';
import { mesh, Reader } from './schema.ts';
import { specParts } from './shared-parts.ts';
import { NO_SPEC, parseSpec, toSpec } from './specs.ts';
import { fromTimestamp, toTimestamp } from './timestamps.ts';

type Maybe<T> = T | null | undefined;

const bodies = new Bodies();
const unread = new WeakSet<Job>();

/** Not to be written to: others hold the same bytes. */
export function encodeJob(job: Job): Uint8Array {
  const known = bodies.get(job);
  if (known) return known;
  const bytes = mesh.JobBody.encode(toJob(job)).finish();
  bodies.keepForNow(job, bytes);
  return bytes;
}

/**
 * @param bytes are taken over, unless they are a part of something larger
 * @returns undefined when malformed
 */
export function parseJob(bytes: Uint8Array): Job | undefined {
  const body = field.parsed(() => decodeWhole(bytes));
  const job = body && field.parsed(() => fromJob(body));
  if (!job) return undefined;
  if (hasUnknownFields(body)) bodies.keepForGood(job, ownBytes(bytes));
  else bodies.keepForNow(job, ownBytes(bytes));
  return job;
}

/** A copy where the bytes are a window onto a whole frame, which would be kept; not of a row's. */
const ownBytes = (bytes: Uint8Array): Uint8Array =>
  bytes.length === bytes.buffer.byteLength ? bytes : new Uint8Array(bytes);

function decodeWhole(bytes: Uint8Array): mesh.JobBody.$Properties {
  const reader = Reader.create(bytes);
  reader.discardUnknown = false;
  return mesh.JobBody.decode(reader);
}

/**
 * As parseJob; but a body that only a newer version may decide about need not be readable. It
 * becomes a job that waits and that no node can run, and is passed on as it came.
 */
export function parseBody(bytes: Uint8Array, header: RecordHeader): Job | undefined {
  const job = parseJob(bytes);
  if (job || header.minVersion <= RECORD_VERSION) return job;
  const standIn: Job = {
    spec: NO_SPEC,
    createdAt: asWall(0),
    createdBy: header.accepted.epoch.node,
    contentHash: 'unread',
    state: { tag: 'pending' },
    attempts: 0,
    losses: 0,
    history: [],
  };
  bodies.keepForGood(standIn, ownBytes(bytes));
  unread.add(standIn);
  return standIn;
}

/** It stands for a body that this version cannot read. */
export const isUnread = (job: Job): boolean => unread.has(job);

const toJob = (job: Job): mesh.JobBody.$Properties => ({
  job: {
    ...toSpec(job.spec),
    createdAt: toTimestamp(job.createdAt),
    createdByNode: job.createdBy,
  },
  contentHash: job.contentHash,
  attempts: job.attempts,
  losses: job.losses,
  history: job.history.map(toPastAttempt),
  ...toState(job.state),
});

function fromJob(body: mesh.JobBody.$Properties): Job {
  return {
    spec: parseSpec(body.job),
    createdAt: fromTimestamp(body.job?.createdAt),
    createdBy: specParts.shareText(field.nodeId(body.job?.createdByNode)),
    contentHash: field.identifier(body.contentHash),
    state: fromState(body),
    attempts: field.count(body.attempts),
    losses: field.count(body.losses),
    history: body.history?.length
      ? field.list(body.history, MAX_HISTORY_ENTRIES, fromPastAttempt)
      : NO_HISTORY,
  };
}

function toState(state: JobState): mesh.JobBody.$Properties {
  switch (state.tag) {
    case 'pending':
      return { pending: {} };
    case 'granted':
      return { granted: { grant: toGrantNote(state.grant), cancelAtMs: toCancelAt(state) } };
    case 'revoked':
      return {
        revoked: {
          grant: toGrantNote(state.grant),
          reason: field.sentence(state.reason),
          cancelAtMs: toCancelAt(state),
        },
      };
    case 'final':
      return { final: toFinal(state.final) };
  }
}

const toCancelAt = (state: { cancelAt?: number | undefined }): number | null =>
  state.cancelAt === undefined ? null : field.wholeMs(state.cancelAt);

function fromState(body: mesh.JobBody.$Properties): JobState {
  switch (body.state) {
    case 'pending':
      return PENDING;
    case 'granted': {
      const cancelAt = field.optionalWall(body.granted?.cancelAtMs);
      const grant = fromGrantNote(body.granted?.grant);
      return { tag: 'granted', grant, ...(cancelAt !== undefined && { cancelAt }) };
    }
    case 'revoked': {
      const cancelAt = field.optionalWall(body.revoked?.cancelAtMs);
      const grant = fromGrantNote(body.revoked?.grant);
      const reason = field.text(body.revoked?.reason, MAX_SENTENCE_CHARS);
      return { tag: 'revoked', grant, reason, ...(cancelAt !== undefined && { cancelAt }) };
    }
    case 'final':
      return { tag: 'final', final: fromFinal(body.final) };
    default:
      throw new field.Malformed('a job without a state');
  }
}

const toFinal = (final: FinalState): mesh.FinalState.$Properties => ({
  status: mesh.JobStatus[final.status],
  atMs: field.wholeMs(final.at),
  reason: field.sentence(final.reason),
  outcome: final.outcome ? toOutcome(final.outcome) : null,
});

function fromFinal(wire: Maybe<mesh.FinalState.$Properties>): FinalState {
  const final = field.required(wire);
  const status = mesh.JobStatus[final.status ?? 0] ?? '';
  if (!isFinal(status)) throw new field.Malformed('not a final status');
  return {
    status,
    at: field.wall(final.atMs),
    reason: field.text(final.reason, MAX_SENTENCE_CHARS),
    ...(final.outcome && { outcome: fromOutcome(final.outcome) }),
  };
}

const toGrantNote = (note: GrantNote): mesh.GrantNote.$Properties => ({
  fence: toFence(note.fence),
  executorNodeId: note.executor,
  executorBoot: toBoot(note.executorBoot),
  nonce: note.nonce,
  atMs: field.wholeMs(note.at),
  why: field.sentence(note.why),
});

function fromGrantNote(wire: Maybe<mesh.GrantNote.$Properties>): GrantNote {
  const note = field.required(wire);
  return {
    fence: parseFence(note.fence),
    executor: field.nodeId(note.executorNodeId),
    executorBoot: parseBoot(note.executorBoot),
    nonce: field.nonce(note.nonce),
    at: field.wall(note.atMs),
    why: field.text(note.why, MAX_SENTENCE_CHARS),
  };
}

const toPastAttempt = (past: PastAttempt): mesh.PastAttempt.$Properties => ({
  fence: toFence(past.fence),
  executorNodeId: past.executor,
  atMs: field.wholeMs(past.at),
  note: field.sentence(past.note),
  isSuperseded: past.isSuperseded,
});

const fromPastAttempt = (wire: mesh.PastAttempt.$Properties): PastAttempt => ({
  fence: parseFence(wire.fence),
  executor: field.nodeId(wire.executorNodeId),
  at: field.wall(wire.atMs),
  note: field.text(wire.note, MAX_SENTENCE_CHARS),
  isSuperseded: wire.isSuperseded === true,
});
