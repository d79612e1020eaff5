/** What is typed into a terminal at another node, and what it shows. */
import type { TerminalAsk, TerminalCall, TerminalReply } from '../core/calls.ts';
import * as field from './fields.ts';
import { MAX_CHUNK_BYTES, MAX_TYPED_BYTES } from './limits.ts';
import { parseFence, toFence } from './records.ts';
import { mesh } from './schema.ts';

const MAX_WAIT_MS = 60_000;
const MAX_SIDE = 10_000;

export const toTerminalCall = (call: TerminalCall): mesh.TerminalCall.$Properties => ({
  jobId: call.job,
  fence: toFence(call.fence),
  session: call.session,
  ...toAsk(call.ask),
});

function toAsk(ask: TerminalAsk): mesh.TerminalCall.$Properties {
  if (ask.tag === 'read') return { read: { offset: ask.offset, waitMs: ask.waitMs } };
  const { offset, bytes, size } = ask;
  return { write: { offset, bytes, columns: size?.columns ?? 0, rows: size?.rows ?? 0 } };
}

/** @throws Malformed */
export const parseTerminalCall = (wire: mesh.TerminalCall.$Properties): TerminalCall => ({
  kind: 'terminal',
  job: field.jobId(wire.jobId),
  fence: parseFence(wire.fence),
  session: field.identifier(wire.session),
  ask: parseAsk(wire),
});

function parseAsk({ read, write }: mesh.TerminalCall.$Properties): TerminalAsk {
  if (read)
    return {
      tag: 'read',
      offset: field.count(read.offset),
      waitMs: field.count(read.waitMs, MAX_WAIT_MS),
    };
  const { offset, bytes, columns, rows } = field.required(write);
  const size = { columns: field.count(columns, MAX_SIDE), rows: field.count(rows, MAX_SIDE) };
  return {
    tag: 'write',
    offset: field.count(offset),
    bytes: field.bytes(bytes, MAX_TYPED_BYTES),
    size: size.columns > 0 && size.rows > 0 ? size : undefined,
  };
}

export function toTerminalReply(reply: TerminalReply): mesh.TerminalAnswer.$Properties {
  switch (reply.tag) {
    case 'unknown':
      return { tag: mesh.TerminalAnswer.Tag.UNKNOWN };
    case 'takenOver':
      return { tag: mesh.TerminalAnswer.Tag.TAKEN_OVER };
    case 'shown': {
      const { bytes, offset, isEnd } = reply;
      return { tag: mesh.TerminalAnswer.Tag.SHOWN, bytes, offset, isEnd };
    }
    case 'taken':
      return { tag: mesh.TerminalAnswer.Tag.TAKEN, offset: reply.offset };
  }
}

/** @throws Malformed */
export function parseTerminalReply(wire: mesh.TerminalAnswer.$Properties): TerminalReply {
  switch (wire.tag ?? 0) {
    case mesh.TerminalAnswer.Tag.UNKNOWN:
      return { tag: 'unknown' };
    case mesh.TerminalAnswer.Tag.TAKEN_OVER:
      return { tag: 'takenOver' };
    case mesh.TerminalAnswer.Tag.SHOWN:
      return {
        tag: 'shown',
        bytes: field.bytes(wire.bytes, MAX_CHUNK_BYTES),
        offset: field.count(wire.offset),
        isEnd: wire.isEnd === true,
      };
    case mesh.TerminalAnswer.Tag.TAKEN:
      return { tag: 'taken', offset: field.count(wire.offset) };
    default:
      throw new field.Malformed('an unknown reply of a terminal');
  }
}
