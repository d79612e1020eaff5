/** Answers to questions. One may be larger than a frame, so it is encoded by itself. */
import { ERROR_CODES, type ErrorCode } from '../base/errors.ts';
import type { Answer, BlobChunk, LiveRecord, OutputChunk, OutputRemoval } from '../core/calls.ts';
import type { Reply } from '../core/effects.ts';
import { fromStatus, toStatus } from './calls.ts';
import { fromConflict, toConflict } from './conflicts.ts';
import * as field from './fields.ts';
import { fromRecord, toRecord } from './job-records.ts';
import {
  MAX_CHUNK_BYTES,
  MAX_LIST_ENTRIES,
  MAX_LISTED_RECORDS,
  MAX_SENTENCE_CHARS,
  MAX_WAITING_REASONS,
} from './limits.ts';
import { parseProgress, toProgress } from './receipts.ts';
import { parseBan, toBan } from './records.ts';
import { mesh } from './schema.ts';
import { parseTerminalReply, toTerminalReply } from './terminals.ts';

type Maybe<T> = T | null | undefined;

/** The peer could not answer, and says why. */
export interface AnswerError {
  readonly kind: 'error';
  readonly code: ErrorCode;
  readonly message: string;
}

export const encodeAnswer = (answer: Answer | AnswerError): Uint8Array =>
  mesh.Answer.encode(toAnswer(answer)).finish();

/** @returns undefined when malformed */
export const parseAnswer = (bytes: Uint8Array): Answer | AnswerError | undefined =>
  field.parsed(() => fromAnswer(mesh.Answer.decode(bytes)));

function toAnswer(answer: Answer | AnswerError): mesh.Answer.$Properties {
  switch (answer.kind) {
    case 'error':
      return { error: { code: answer.code, message: field.sentence(answer.message) } };
    case 'lookUp':
      return { lookUp: { found: answer.found ? toLive(answer.found) : null } };
    case 'list':
      return { list: { records: answer.records.map(toLive) } };
    case 'conflicts':
      return { conflicts: { conflicts: answer.conflicts.map(toConflict) } };
    case 'reply':
      return { reply: toReply(answer.reply) };
    case 'checkedParams':
      return {
        checkedParams: { problems: answer.problems.map((text) => field.sentence(text ?? '')) },
      };
    case 'output':
      return { output: { chunk: toChunk(answer.chunk), removal: toRemoval(answer.removal) } };
    case 'blob':
      return { blob: { chunk: answer.chunk ?? null } };
    case 'terminal':
      return { terminal: toTerminalReply(answer.reply) };
  }
}

function fromAnswer(wire: mesh.Answer.$Properties): Answer | AnswerError {
  switch (wire.kind) {
    case 'error':
      return {
        kind: 'error',
        code: fromCode(wire.error?.code),
        message: field.text(wire.error?.message, MAX_SENTENCE_CHARS),
      };
    case 'lookUp': {
      const found = wire.lookUp?.found;
      return { kind: 'lookUp', found: found ? fromLive(found) : undefined };
    }
    case 'list':
      return {
        kind: 'list',
        records: field.list(wire.list?.records, MAX_LISTED_RECORDS, fromLive),
      };
    case 'conflicts':
      return {
        kind: 'conflicts',
        conflicts: field.list(wire.conflicts?.conflicts, MAX_LIST_ENTRIES, fromConflict),
      };
    case 'reply':
      return { kind: 'reply', reply: fromReply(field.required(wire.reply)) };
    case 'checkedParams': {
      const problems = field.list(wire.checkedParams?.problems, MAX_LIST_ENTRIES, (text) =>
        field.text(text, MAX_SENTENCE_CHARS),
      );
      return { kind: 'checkedParams', problems: problems.map((text) => text || undefined) };
    }
    case 'output': {
      const chunk = wire.output?.chunk;
      return {
        kind: 'output',
        chunk: chunk ? fromChunk(chunk) : undefined,
        ...fromRemoval(wire.output?.removal),
      };
    }
    case 'blob': {
      const chunk = wire.blob?.chunk;
      return { kind: 'blob', chunk: chunk ? fromBlobChunk(chunk) : undefined };
    }
    case 'terminal':
      return { kind: 'terminal', reply: parseTerminalReply(field.required(wire.terminal)) };
    default:
      throw new field.Malformed('an unknown answer');
  }
}

/** A code of a newer version is only known to be a failure. */
const fromCode = (code: Maybe<string>): ErrorCode =>
  code && Object.hasOwn(ERROR_CODES, code) ? (code as ErrorCode) : 'INTERNAL';

const toLive = (live: LiveRecord): mesh.LiveRecord.$Properties => ({
  record: toRecord(live.record),
  status: toStatus(live.status),
  startedAtMs: live.startedAt === undefined ? null : field.wholeMs(live.startedAt),
  progress: live.progress ? toProgress(live.progress) : null,
  waiting: live.waiting.map(({ node, reason }) => ({
    nodeId: node,
    reason: field.sentence(reason),
  })),
  isReplicated: live.durability === 'replicated',
  isSettling: live.isSettling,
  isOwner: live.isOwner,
});

function fromLive(wire: mesh.LiveRecord.$Properties): LiveRecord {
  const startedAt = field.optionalWall(wire.startedAtMs);
  return {
    record: fromRecord(wire.record),
    status: fromStatus(wire.status),
    durability: wire.isReplicated === true ? 'replicated' : 'local',
    isSettling: wire.isSettling === true,
    isOwner: wire.isOwner === true,
    ...(startedAt !== undefined && { startedAt }),
    ...(wire.progress && { progress: parseProgress(wire.progress) }),
    waiting: field.list(wire.waiting, MAX_WAITING_REASONS, ({ nodeId, reason }) => ({
      node: field.nodeId(nodeId),
      reason: field.text(reason, MAX_SENTENCE_CHARS),
    })),
  };
}

const toChunk = (chunk: OutputChunk | undefined): mesh.OutputChunk.$Properties | null =>
  chunk ? { ...chunk, keptBytes: chunk.keptBytes ?? null } : null;

const fromChunk = (wire: mesh.OutputChunk.$Properties): OutputChunk => ({
  bytes: field.bytes(wire.bytes, MAX_CHUNK_BYTES),
  offset: field.count(wire.offset),
  isEnd: wire.isEnd === true,
  isTruncated: wire.isTruncated === true,
  ...field.optionalCount('keptBytes', wire.keptBytes),
});

const REMOVALS = ['age', 'space'] as const;

const toRemoval = (removal: OutputRemoval | undefined): mesh.OutputRemoval =>
  removal === undefined ? 0 : REMOVALS.indexOf(removal) + 1;

function fromRemoval(wire: Maybe<mesh.OutputRemoval>): { removal?: OutputRemoval } {
  const removal = REMOVALS[(wire ?? 0) - 1];
  return removal ? { removal } : {};
}

const fromBlobChunk = (wire: mesh.BlobChunk.$Properties): BlobChunk => ({
  bytes: field.passingBytes(wire.bytes, MAX_CHUNK_BYTES),
  totalBytes: field.count(wire.totalBytes),
});

function toReply(reply: Reply): mesh.Reply.$Properties {
  switch (reply.kind) {
    case 'submitted':
      return {
        submitted: {
          record: toRecord(reply.record),
          isRepeat: reply.isRepeat,
          disks: reply.disks,
        },
      };
    case 'fewReplicas':
      return { fewReplicas: { wanted: reply.wanted, disks: reply.disks } };
    case 'forgotten':
      return { forgotten: toBan(reply.ban) };
    case 'unknownNode':
      return { unknownNode: {} };
    case 'noQuorum':
    case 'deposed':
    case 'keyConflict':
    case 'cancelled':
    case 'cancelling':
    case 'unknownJob':
      return { [reply.kind]: { jobId: reply.job } };
    case 'queueFull':
      return { queueFull: { limit: reply.limit } };
    case 'notAccepting':
      return { notAccepting: { reason: reply.reason === 'draining' ? 1 : 2 } };
    case 'alreadyFinal':
      return { alreadyFinal: { jobId: reply.job, status: toStatus(reply.status) } };
    case 'notOwner':
      return { notOwner: { jobId: reply.job, ownerNodeId: reply.owner } };
  }
}

function fromReply(wire: mesh.Reply.$Properties): Reply {
  switch (wire.kind) {
    case 'submitted': {
      const { record, isRepeat, disks } = field.required(wire.submitted);
      const told = { isRepeat: isRepeat === true, disks: field.count(disks) };
      return { kind: 'submitted', record: fromRecord(record), ...told };
    }
    case 'fewReplicas': {
      const { wanted, disks } = field.required(wire.fewReplicas);
      return { kind: 'fewReplicas', wanted: field.count(wanted), disks: field.count(disks) };
    }
    case 'forgotten':
      return { kind: 'forgotten', ban: parseBan(wire.forgotten) };
    case 'unknownNode':
      return { kind: 'unknownNode' };
    case 'noQuorum':
    case 'deposed':
    case 'keyConflict':
    case 'cancelled':
    case 'cancelling':
    case 'unknownJob':
      return { kind: wire.kind, job: field.jobId(wire[wire.kind]?.jobId) };
    case 'queueFull':
      return { kind: 'queueFull', limit: field.count(wire.queueFull?.limit) };
    case 'notAccepting':
      return { kind: 'notAccepting', reason: fromNotAccepting(wire.notAccepting?.reason) };
    case 'alreadyFinal': {
      const { jobId, status } = field.required(wire.alreadyFinal);
      return { kind: 'alreadyFinal', job: field.jobId(jobId), status: fromStatus(status) };
    }
    case 'notOwner': {
      const { jobId, ownerNodeId } = field.required(wire.notOwner);
      return { kind: 'notOwner', job: field.jobId(jobId), owner: field.nodeId(ownerNodeId) };
    }
    default:
      throw new field.Malformed('an unknown reply');
  }
}

function fromNotAccepting(wire: Maybe<number>): 'draining' | 'disk' {
  if (wire === 1) return 'draining';
  if (wire === 2) return 'disk';
  throw new field.Malformed('an unknown reason');
}
