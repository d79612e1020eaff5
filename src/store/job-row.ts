/**
 * Between a record and its row in `jobs`. Towards the disk the body and the header are written,
 * and copies of what people ask for; from the disk only the header and the body are read.
 */
import { asBirth, asJobId, asNodeId, type BootId, bootText, type NodeId } from '../base/ids.ts';
import { type AttemptOutcome, type Job, type OutputTail, recordedStatus } from '../core/job.ts';
import type { JobRecord } from '../core/job-record.ts';
import type { RecordHeader } from '../core/record.ts';
import { encodeJob, parseJob } from '../wire/jobs.ts';
import { jobs } from './schema.ts';

/** What is read of a row to make a record of it again. */
export const RECORD_COLUMNS = {
  jobId: jobs.jobId,
  birth: jobs.birth,
  rs: jobs.rs,
  oldRs: jobs.oldRs,
  promisedCounter: jobs.promisedCounter,
  promisedNode: jobs.promisedNode,
  acceptedCounter: jobs.acceptedCounter,
  acceptedNode: jobs.acceptedNode,
  acceptedVersion: jobs.acceptedVersion,
  writerBoot: jobs.writerBoot,
  minVersion: jobs.minVersion,
  createdMs: jobs.createdMs,
  body: jobs.body,
};

export type RecordRow = Pick<typeof jobs.$inferSelect, keyof typeof RECORD_COLUMNS>;
type JobRow = Required<typeof jobs.$inferInsert>;

export function toJobRow({ header, job }: JobRecord, updatedMs: number): JobRow {
  const body = toBuffer(encodeJob(job));
  const { spec } = job;
  return {
    jobId: header.job,
    ...headerColumns(header),
    ...stateColumns(job, body),
    taskType: spec.taskType,
    command: spec.command,
    createdByNode: job.createdBy,
    env: JSON.stringify(spec.env),
    timeoutSeconds: spec.timeoutMs / 1000,
    priority: spec.priority,
    attempt: job.attempts,
    createdMs: job.createdAt,
    updatedMs,
    unreadable: null,
    body,
  };
}

/** Undefined: the body can't be read, or is not the body of this row. */
export function toRecord(row: RecordRow): JobRecord | undefined {
  const job = parseJob(row.body);
  const writerBoot = parseBoot(row.writerBoot);
  if (!job || !writerBoot || job.createdAt !== row.createdMs) return undefined;
  const rs = parseNodes(row.rs);
  if (rs.length === 0) return undefined;
  const header: RecordHeader = {
    job: asJobId(row.jobId),
    birth: asBirth(row.birth),
    rs,
    oldRs: parseNodes(row.oldRs),
    promised: { counter: row.promisedCounter, node: asNodeId(row.promisedNode) },
    accepted: {
      epoch: { counter: row.acceptedCounter, node: asNodeId(row.acceptedNode) },
      version: row.acceptedVersion,
    },
    writerBoot,
    minVersion: row.minVersion,
  };
  return { header, job };
}

export const nodesText = (nodes: readonly NodeId[]): string => nodes.join(' ');
export const parseNodes = (text: string): NodeId[] =>
  text === '' ? [] : text.split(' ').map(asNodeId);

/** The same memory: the driver binds Buffers only. */
export const toBuffer = (bytes: Uint8Array): Buffer =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);

function parseBoot(text: string): BootId | undefined {
  const match = /^(\d{1,15})\.([0-9a-f]{16})$/.exec(text);
  return match?.[1] && match[2] ? { counter: Number(match[1]), salt: match[2] } : undefined;
}

function headerColumns(header: RecordHeader) {
  return {
    birth: header.birth,
    rs: nodesText(header.rs),
    oldRs: nodesText(header.oldRs),
    promisedCounter: header.promised.counter,
    promisedNode: header.promised.node,
    acceptedCounter: header.accepted.epoch.counter,
    acceptedNode: header.accepted.epoch.node,
    acceptedVersion: header.accepted.version,
    writerBoot: bootText(header.writerBoot),
    minVersion: header.minVersion,
  };
}

function stateColumns({ spec, state }: Job, body: Buffer) {
  const final = state.tag === 'final' ? state.final : undefined;
  const outcome = final?.outcome;
  const isGiven = state.tag === 'granted' || state.tag === 'revoked';
  const executor = isGiven ? state.grant.executor : outcome?.executor;
  return {
    status: recordedStatus(state),
    targetNodeId: executor ?? spec.needs.target ?? null,
    exitCode: exitCodeOf(outcome),
    errorMessage: final?.reason || null,
    startedMs: outcome?.startedAt ?? null,
    finishedMs: final?.at ?? null,
    ...tailColumns(body, outcome),
  };
}

const exitCodeOf = (outcome: AttemptOutcome | undefined): number | null =>
  outcome?.end.tag === 'exited' ? outcome.end.code : null;

function tailColumns(body: Buffer, outcome: AttemptOutcome | undefined) {
  const stdout = placeOf(outcome?.stdout, body);
  const stderr = placeOf(outcome?.stderr, body);
  return {
    stdoutFrom: stdout.from,
    stdoutBytes: stdout.bytes,
    stderrFrom: stderr.from,
    stderrBytes: stderr.bytes,
  };
}

/** Any place where these bytes are is right: SQL shows them, wherever they come from. */
function placeOf(tail: OutputTail | undefined, body: Buffer) {
  const bytes = tail?.bytes.length ?? 0;
  const at = tail && bytes > 0 ? body.indexOf(tail.bytes) : -1;
  if (at >= 0) return { from: at + 1, bytes };
  return tail ? { from: 1, bytes: 0 } : { from: null, bytes: null };
}
