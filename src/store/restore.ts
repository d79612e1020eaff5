/**
 * What a node starts from. One row that cannot be read must not keep a node down: it is left in
 * its table, marked there for people, reported to the caller, and otherwise treated as absent. At
 * each start it is tried again, since a later version may be able to read it.
 */

import { asJobId } from '../base/ids.ts';
import { asWall } from '../base/instant.ts';
import type { OutboxRow, StartedRow, StoredState } from '../core/inputs.ts';
import type { JobRecord } from '../core/job-record.ts';
import { fenceText } from '../core/record.ts';
import { parseGrant } from '../wire/grants.ts';
import { parseOutcome } from '../wire/outcomes.ts';
import type { Client } from './database.ts';
import { parseNodes, toRecord } from './job-row.ts';
import type { Statements } from './statements.ts';

export interface QuarantinedRow {
  readonly table: 'jobs' | 'started' | 'outbox';
  readonly job: string;
  /** Of `started` and `outbox`. */
  readonly fence?: string | undefined;
  readonly reason: string;
}

const REASON = 'body cannot be read';

export function restoreState(
  client: Client,
  statements: Statements,
): { state: StoredState; quarantined: QuarantinedRow[] } {
  const quarantined: QuarantinedRow[] = [];
  const restore = client.transaction(
    (): StoredState => ({
      records: restoreRecords(statements, quarantined),
      started: restoreStarted(statements, quarantined),
      outbox: restoreOutbox(statements, quarantined),
    }),
  );
  return { state: restore.immediate(), quarantined };
}

function restoreRecords(statements: Statements, quarantined: QuarantinedRow[]): JobRecord[] {
  const records: JobRecord[] = [];
  for (const row of statements.unfinishedJobs.all()) {
    const record = toRecord(row);
    if (record !== undefined) records.push(record);
    else quarantined.push({ table: 'jobs', job: row.jobId, reason: REASON });
    const reason = record === undefined ? REASON : null;
    if (reason !== row.unreadable) statements.markJob({ jobId: row.jobId, reason });
  }
  return records;
}

function restoreStarted(statements: Statements, quarantined: QuarantinedRow[]): StartedRow[] {
  const rows: StartedRow[] = [];
  for (const row of statements.allStarted.all()) {
    const grant = parseGrant(row.grant);
    const key = { jobId: row.jobId, fence: row.fence };
    const isWhole = grant?.job === row.jobId && fenceText(grant.fence) === row.fence;
    if (grant && isWhole) {
      const job = asJobId(row.jobId);
      const at = asWall(row.startedMs);
      rows.push({ job, fence: grant.fence, grant, at, isOver: row.isOver === 1 });
    } else {
      quarantined.push({ table: 'started', job: row.jobId, fence: row.fence, reason: REASON });
    }
    const reason = isWhole ? null : REASON;
    if (reason !== row.unreadable) statements.markStarted({ ...key, reason });
  }
  return rows;
}

function restoreOutbox(statements: Statements, quarantined: QuarantinedRow[]): OutboxRow[] {
  const rows: OutboxRow[] = [];
  for (const row of statements.allOutcomes.all()) {
    const outcome = parseOutcome(row.outcome);
    const key = { jobId: row.jobId, fence: row.fence };
    const isWhole = outcome !== undefined && fenceText(outcome.fence) === row.fence;
    if (isWhole) rows.push({ job: asJobId(row.jobId), rs: parseNodes(row.rs), outcome });
    else quarantined.push({ table: 'outbox', job: row.jobId, fence: row.fence, reason: REASON });
    const reason = isWhole ? null : REASON;
    if (reason !== row.unreadable) statements.markOutcome({ ...key, reason });
  }
  return rows;
}
