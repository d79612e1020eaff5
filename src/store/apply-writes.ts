/**
 * The inside of a commit. The rules that nothing may break are kept here once more, by the
 * statements themselves: no disk takes back a promise, no value is replaced by an older one or by
 * one below the promise, and no fence is used up twice. A value that is not taken changes nothing,
 * as if it had come too late; a fence that is used twice is an exception that is no MeshError, and
 * nothing of the turn is written.
 */
import type { JobId } from '../base/ids.ts';
import type { Write } from '../core/effects.ts';
import { compareEpochs, compareValues, type Epoch, fenceText } from '../core/record.ts';
import { encodeGrant } from '../wire/grants.ts';
import { encodeOutcome } from '../wire/outcomes.ts';
import { nodesText, parseEpoch, SETTLED_EVERYWHERE, toBuffer, toJobRow } from './job-row.ts';
import type { Statements } from './statements.ts';

export function applyWrites(statements: Statements, writes: readonly Write[], nowMs: number): void {
  /** Values not written yet: a job that moves several times in a turn is written once. */
  const waiting = new Map<JobId, RecordWrite>();
  for (const write of writes) {
    if (write.kind === 'record') {
      const { job } = write.header;
      const before = waiting.get(job);
      if (before && !isReplacedBy(before, write)) writeRecord(statements, before, nowMs);
      waiting.set(job, before && isReplacedBy(before, write) ? joined(before, write) : write);
    } else if (isOfRecord(write)) {
      const before = waiting.get(write.job);
      if (before) writeRecord(statements, before, nowMs);
      waiting.delete(write.job);
      noteOfRecord(statements, write, nowMs);
    } else writeOther(statements, write, nowMs);
  }
  for (const record of waiting.values()) writeRecord(statements, record, nowMs);
  statements.raiseCommits({});
}

type RecordWrite = Extract<Write, { kind: 'record' }>;
type RecordNote = Extract<Write, { kind: 'promise' | 'settled' | 'dropped' | 'marked' }>;

const isOfRecord = (write: Write): write is RecordNote =>
  write.kind === 'promise' ||
  write.kind === 'settled' ||
  write.kind === 'dropped' ||
  write.kind === 'marked';

// ---------------------------------------------------------------- values

/** Written one after the other, only the second would be left. */
const isReplacedBy = ({ header: first }: RecordWrite, { header: second }: RecordWrite): boolean =>
  first.birth === second.birth &&
  compareEpochs(second.accepted.epoch, first.promised) >= 0 &&
  compareValues(second.accepted, first.accepted) >= 0;

const joined = (first: RecordWrite, second: RecordWrite): RecordWrite => {
  const promised = higher(second.header.promised, first.header.promised);
  const isSettled = first.isSettled ?? second.isSettled;
  return { ...second, header: { ...second.header, promised }, ...(isSettled && { isSettled }) };
};

function writeRecord(statements: Statements, record: RecordWrite, nowMs: number): void {
  const { job, accepted, promised } = record.header;
  const row = toJobRow(record, nowMs);
  if (record.isSettled) row.settled = SETTLED_EVERYWHERE;
  const kept = statements.readPromise.get({ jobId: job });
  if (kept === undefined) {
    statements.upsertJob(row);
    return;
  }
  // The promise was made before there was a value; the row of the value keeps it from now on.
  const before = parseEpoch(kept.counter, kept.node);
  if (!before || compareEpochs(accepted.epoch, before) < 0) return;
  const { counter, node } = higher(promised, before);
  statements.upsertJob({ ...row, promisedCounter: counter, promisedNode: node });
  statements.deletePromise({ jobId: job });
}

const higher = (a: Epoch, b: Epoch): Epoch => (compareEpochs(a, b) >= 0 ? a : b);

function noteOfRecord(statements: Statements, write: RecordNote, madeMs: number): void {
  const jobId = write.job;
  switch (write.kind) {
    case 'promise': {
      const { counter, node } = write.epoch;
      if (statements.raisePromise({ jobId, counter, node }) > 0) return;
      if (statements.promiseInRow.get({ jobId })) return;
      statements.upsertPromise({ jobId, counter, node, retired: 0, madeMs });
      return;
    }
    case 'settled':
      statements.settleJob({ jobId, settled: write.isEverywhere ? SETTLED_EVERYWHERE : 1 });
      return;
    case 'marked':
      statements.noteLacking({ jobId, lacking: write.lacking ?? null });
      return;
    case 'dropped': {
      const row = statements.promiseInRow.get({ jobId });
      const before = row && parseEpoch(row.counter, row.node);
      const { counter, node } = before ? higher(before, write.promised) : write.promised;
      statements.deleteJob({ jobId });
      statements.upsertPromise({ jobId, counter, node, retired: write.isRetired ? 1 : 0, madeMs });
    }
  }
}

// ---------------------------------------------------------------- all else

function writeOther(
  statements: Statements,
  write: Exclude<Write, RecordWrite | RecordNote>,
  lostMs: number,
): void {
  switch (write.kind) {
    case 'birthLost':
      statements.noteLostBirth({ jobId: write.job, birth: write.birth, lostMs });
      return;
    case 'started':
      statements.insertStarted({
        jobId: write.job,
        fence: fenceText(write.fence),
        startedMs: write.at,
        isOver: 0,
        grant: toBuffer(encodeGrant(write.grant)),
        unreadable: null,
      });
      return;
    case 'outcome':
      statements.insertOutcome({
        jobId: write.job,
        fence: fenceText(write.outcome.fence),
        rs: nodesText(write.rs),
        outcome: toBuffer(encodeOutcome(write.outcome)),
        unreadable: null,
      });
      return;
    case 'acknowledged': {
      const key = { jobId: write.job, fence: fenceText(write.fence) };
      statements.deleteOutcome(key);
      statements.endStarted(key);
      return;
    }
    case 'forgotten':
      statements.deleteStarted({ jobId: write.job, fence: fenceText(write.fence) });
      return;
    case 'ban': {
      const { node, name, at } = write.ban;
      statements.upsertBan({ nodeId: node, name, bannedMs: at });
      return;
    }
    case 'conflict': {
      const { job, tag, note, at } = write.conflict;
      statements.insertConflict({ id: null, jobId: job, tag, note, foundMs: at });
      statements.deleteOldConflicts({});
    }
  }
}
