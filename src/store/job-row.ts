/**
 * Between a record and its row in `jobs`. Towards the disk the body and the header are written,
 * and copies of what people ask for; from the disk only the header and the body are read, and the
 * copies that steer queries are compared with them.
 */
import {
  asBirth,
  type BootId,
  bootText,
  isJobId,
  isNodeId,
  type JobId,
  type NodeId,
} from '../base/ids.ts';
import { type AttemptOutcome, type Job, type OutputTail, recordedStatus } from '../core/job.ts';
import type { JobRecord } from '../core/job-record.ts';
import { type Epoch, NO_OLD_SET, type RecordHeader } from '../core/record.ts';
import { encodeJob, isUnread, parseBody } from '../wire/jobs.ts';
import { sharedAccepted, sharedBoot, sharedEpoch, sharedNodes } from '../wire/shared-parts.ts';
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
  status: jobs.status,
  createdMs: jobs.createdMs,
  finishedMs: jobs.finishedMs,
  body: jobs.body,
};

export type RecordRow = Pick<typeof jobs.$inferSelect, keyof typeof RECORD_COLUMNS>;
type JobRow = Required<typeof jobs.$inferInsert>;

/** Of a row whose body only a newer version can read. */
export const UNREAD_STATUS = 'JOB_UNKNOWN';
/** `settled` of a final state that every disk of its sets has. */
export const SETTLED_EVERYWHERE = 2;

/** What the row says beside the value is that of a value nobody has said anything of yet. */
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
    settled: 0,
    lacking: null,
    isStub: 0,
    body,
  };
}

/** Undefined: the header or the body can't be read, or this is not the body of this row. */
export function toRecord(row: RecordRow): JobRecord | undefined {
  const header = parseHeader(row);
  const job = header && parseBody(row.body, header);
  if (!header || !job || !isCopyOf(row, job)) return undefined;
  return { header, job };
}

function parseHeader(row: RecordRow): RecordHeader | undefined {
  const writerBoot = parseBoot(row.writerBoot);
  const rs = parseNodes(row.rs);
  const oldRs = parseNodes(row.oldRs);
  const promised = parseEpoch(row.promisedCounter, row.promisedNode);
  const epoch = parseEpoch(row.acceptedCounter, row.acceptedNode);
  if (!isJobId(row.jobId) || !isText(row.birth) || !writerBoot) return undefined;
  if (!rs?.length || !oldRs || !promised || !epoch) return undefined;
  if (!isCount(row.acceptedVersion) || !isCount(row.minVersion)) return undefined;
  return {
    job: row.jobId,
    birth: asBirth(row.birth),
    rs,
    oldRs,
    promised,
    accepted: sharedAccepted(epoch, row.acceptedVersion),
    writerBoot,
    minVersion: row.minVersion,
  };
}

/** The columns by which rows are found. A body that was unread when it was written has none. */
function isCopyOf(row: RecordRow, job: Job): boolean {
  if (isUnread(job) || row.status === UNREAD_STATUS) return row.status === UNREAD_STATUS;
  return (
    row.status === recordedStatus(job.state) &&
    row.createdMs === job.createdAt &&
    row.finishedMs === endOf(job)
  );
}

const endOf = ({ state }: Job): number | null => (state.tag === 'final' ? state.final.at : null);

export const nodesText = (nodes: readonly NodeId[]): string => nodes.join(' ');

/** Undefined: it does not name nodes alone. SQLite columns take whatever is written to them. */
export function parseNodes(text: unknown): readonly NodeId[] | undefined {
  if (typeof text !== 'string') return undefined;
  if (text === '') return NO_OLD_SET;
  const nodes = text.split(' ');
  return nodes.every(isNodeId) ? sharedNodes(nodes) : undefined;
}

export const parseEpoch = (counter: unknown, node: unknown): Epoch | undefined =>
  isCount(counter) && isText(node) && isNodeId(node) ? sharedEpoch(counter, node) : undefined;

export const parseJobId = (text: unknown): JobId | undefined =>
  isText(text) && isJobId(text) ? text : undefined;

const isText = (value: unknown): value is string => typeof value === 'string' && value !== '';
const isCount = (value: unknown): value is number =>
  Number.isSafeInteger(value) && Number(value) >= 0;

/** The same memory: the driver binds Buffers only. */
export const toBuffer = (bytes: Uint8Array): Buffer =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);

function parseBoot(text: unknown): BootId | undefined {
  if (typeof text !== 'string') return undefined;
  const match = /^(\d{1,15})\.([0-9a-f]{16})$/.exec(text);
  return match?.[1] && match[2] ? sharedBoot(Number(match[1]), match[2]) : undefined;
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

function stateColumns(job: Job, body: Buffer) {
  const { spec, state } = job;
  const final = state.tag === 'final' ? state.final : undefined;
  const outcome = final?.outcome;
  const isGiven = state.tag === 'granted' || state.tag === 'revoked';
  const executor = isGiven ? state.grant.executor : outcome?.executor;
  return {
    status: isUnread(job) ? UNREAD_STATUS : recordedStatus(state),
    targetNodeId: executor ?? spec.needs.target ?? null,
    exitCode: exitCodeOf(outcome),
    errorMessage: final?.reason || null,
    startedMs: outcome?.startedAt ?? null,
    finishedMs: endOf(job),
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
