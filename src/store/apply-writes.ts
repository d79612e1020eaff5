/**
 * The inside of a commit. Two rules are checked here, by the statements themselves, though the
 * core keeps them already: no disk takes back a promise, and no fence is used up twice. Whoever
 * breaks one gets an exception that is no MeshError, and nothing of the turn is written.
 */
import type { JobId } from '../base/ids.ts';
import type { Write } from '../core/effects.ts';
import type { JobRecord } from '../core/job-record.ts';
import { fenceText } from '../core/record.ts';
import { encodeGrant } from '../wire/grants.ts';
import { encodeOutcome } from '../wire/outcomes.ts';
import { nodesText, toBuffer, toJobRow } from './job-row.ts';
import type { Statements } from './statements.ts';

export function applyWrites(statements: Statements, writes: readonly Write[], nowMs: number): void {
  for (const record of newestRecords(writes)) writeRecord(statements, record, nowMs);
  for (const write of writes) if (write.kind !== 'record') writeAttempt(statements, write);
  statements.raiseCommits({});
}

/** A job that moved several times in one turn is written once, as it is in the end. */
function newestRecords(writes: readonly Write[]): Iterable<JobRecord> {
  const records = new Map<JobId, JobRecord>();
  for (const write of writes) if (write.kind === 'record') records.set(write.header.job, write);
  return records.values();
}

function writeRecord(statements: Statements, record: JobRecord, nowMs: number): void {
  if (statements.upsertJob(toJobRow(record, nowMs)) === 1) return;
  throw new Error(`job ${record.header.job}: the disk has a later promise or version`);
}

function writeAttempt(statements: Statements, write: Exclude<Write, { kind: 'record' }>): void {
  switch (write.kind) {
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
  }
}
