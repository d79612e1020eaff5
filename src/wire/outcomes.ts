/** How attempts ended. `encodeOutcome` is also what a node's outbox keeps on its disk. */
import type { AttemptEnd, AttemptOutcome, OutputTail } from '../core/job.ts';
import * as field from './fields.ts';
import { MAX_SENTENCE_CHARS, MAX_TAIL_WIRE_BYTES } from './limits.ts';
import { parseReceipt, toReceipt } from './receipts.ts';
import { parseFence, toFence } from './records.ts';
import { mesh } from './schema.ts';

type Maybe<T> = T | null | undefined;

export const encodeOutcome = (outcome: AttemptOutcome): Uint8Array =>
  mesh.AttemptOutcome.encode(toOutcome(outcome)).finish();

/** @returns undefined when malformed */
export const parseOutcome = (bytes: Uint8Array): AttemptOutcome | undefined =>
  field.parsed(() => fromOutcome(mesh.AttemptOutcome.decode(bytes)));

export const toOutcome = (outcome: AttemptOutcome): mesh.AttemptOutcome.$Properties => ({
  fence: toFence(outcome.fence),
  executorNodeId: outcome.executor,
  ...toEnd(outcome.end),
  startedAtMs: outcome.startedAt === undefined ? null : field.wholeMs(outcome.startedAt),
  finishedAtMs: field.wholeMs(outcome.finishedAt),
  stdout: toTail(outcome.stdout),
  stderr: toTail(outcome.stderr),
  receipt: outcome.receipt ? toReceipt(outcome.receipt) : null,
});

export function fromOutcome(wire: Maybe<mesh.AttemptOutcome.$Properties>): AttemptOutcome {
  const outcome = field.required(wire);
  const startedAt = field.optionalWall(outcome.startedAtMs);
  return {
    fence: parseFence(outcome.fence),
    executor: field.nodeId(outcome.executorNodeId),
    end: fromEnd(outcome),
    ...(startedAt !== undefined && { startedAt }),
    finishedAt: field.wall(outcome.finishedAtMs),
    stdout: fromTail(outcome.stdout),
    stderr: fromTail(outcome.stderr),
    ...(outcome.receipt && { receipt: parseReceipt(outcome.receipt) }),
  };
}

function toEnd(end: AttemptEnd): mesh.AttemptOutcome.$Properties {
  switch (end.tag) {
    case 'exited':
      return { exitCode: end.code };
    case 'signalled':
      return { signal: end.signal };
    case 'timeout':
      return { timeout: {} };
    case 'cancelled':
      return { cancelled: {} };
    case 'failed':
      return { failed: field.sentence(end.reason) };
    case 'lost':
      return { lost: field.sentence(end.reason) };
    case 'returned':
      return { returned: field.sentence(end.reason) };
  }
}

function fromEnd(wire: mesh.AttemptOutcome.$Properties): AttemptEnd {
  const reason = (value: Maybe<string>) => field.text(value, MAX_SENTENCE_CHARS);
  switch (wire.end) {
    case 'exitCode':
      return { tag: 'exited', code: field.integer(wire.exitCode) };
    case 'signal':
      return { tag: 'signalled', signal: field.name(wire.signal) };
    case 'timeout':
      return { tag: 'timeout' };
    case 'cancelled':
      return { tag: 'cancelled' };
    case 'failed':
      return { tag: 'failed', reason: reason(wire.failed) };
    case 'lost':
      return { tag: 'lost', reason: reason(wire.lost) };
    case 'returned':
      return { tag: 'returned', reason: reason(wire.returned) };
    default:
      throw new field.Malformed('an outcome without an end');
  }
}

const toTail = (tail: OutputTail): mesh.OutputTail.$Properties => ({
  bytes: tail.bytes,
  totalBytes: tail.totalBytes,
  isTruncated: tail.isTruncated,
});

function fromTail(wire: Maybe<mesh.OutputTail.$Properties>): OutputTail {
  const tail = field.required(wire);
  return {
    bytes: field.bytes(tail.bytes, MAX_TAIL_WIRE_BYTES),
    totalBytes: field.count(tail.totalBytes),
    isTruncated: tail.isTruncated === true,
  };
}
