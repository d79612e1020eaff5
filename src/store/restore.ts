/**
 * What a node starts from. One row that cannot be read must not keep a node down: it is left in
 * its table, marked there for people, reported to the caller, and otherwise treated as absent. At
 * each start it is tried again, since a later version may be able to read it.
 */

import { asBirth, asJobId, isNodeId } from '../base/ids.ts';
import { asWall } from '../base/instant.ts';
import type { OutboxRow, StartedRow, StoredRecord, StoredState } from '../core/inputs.ts';
import { type Ban, fenceText } from '../core/record.ts';
import { parseGrant } from '../wire/grants.ts';
import { isUnread } from '../wire/jobs.ts';
import { parseOutcome } from '../wire/outcomes.ts';
import type { Client } from './database.ts';
import {
  parseEpoch,
  parseJobId,
  parseNodes,
  toJobRow,
  toRecord,
  UNREAD_STATUS,
} from './job-row.ts';
import { UNFINISHED } from './job-statements.ts';
import type { Statements } from './statements.ts';

export interface QuarantinedRow {
  readonly table: 'jobs' | 'promises' | 'lost_births' | 'bans' | 'started' | 'outbox';
  /** Of `bans`: the node. */
  readonly job: string;
  /** Of `started` and `outbox`. */
  readonly fence?: string | undefined;
  readonly reason: string;
}

const REASON = 'body cannot be read';
const PAGE = 1000;

export function restoreState(
  client: Client,
  statements: Statements,
): { state: StoredState; quarantined: QuarantinedRow[] } {
  const quarantined: QuarantinedRow[] = [];
  const restore = client.transaction(
    (): StoredState => ({
      records: restoreRecords(statements, quarantined),
      promises: restorePromises(statements, quarantined),
      lostBirths: restoreLostBirths(statements, quarantined),
      births: restoreBirths(statements),
      bans: restoreBans(statements, quarantined),
      started: restoreStarted(statements, quarantined),
      outbox: restoreOutbox(statements, quarantined),
    }),
  );
  return { state: restore.immediate(), quarantined };
}

function restoreRecords(statements: Statements, quarantined: QuarantinedRow[]): StoredRecord[] {
  const { undecidedJobs, markedJobs } = statements;
  const records: StoredRecord[] = [];
  // What is unread now may have ended: those that are known to have are read before it is.
  const ended = [...undecidedJobs.all(), ...markedJobs.all()];
  for (const rows of [ended, ...UNFINISHED.map((status) => unfinished(statements, status))]) {
    for (const row of rows) {
      const record = toRecord(row);
      const { lacking } = row;
      const isWhole = record !== undefined && (lacking === null || isNodeId(lacking));
      if (isWhole) records.push(lacking === null ? record : { ...record, lacking });
      else quarantined.push({ table: 'jobs', job: row.jobId, reason: REASON });
      const reason = isWhole ? null : REASON;
      if (reason !== row.unreadable) statements.markJob({ jobId: row.jobId, reason });
      // Written by a version that could not read the body: now its columns can be filled.
      const isNewlyRead = record && row.status === UNREAD_STATUS && !isUnread(record.job);
      if (isNewlyRead) statements.upsertJob(toJobRow(record, Date.now()));
    }
  }
  return records;
}

type RestoredRow = ReturnType<Statements['undecidedJobs']['all']>[number];

function* unfinished({ unfinishedJobs }: Statements, status: string): Iterable<RestoredRow> {
  let after = { afterMs: Number.MIN_SAFE_INTEGER, afterJob: '' };
  for (;;) {
    const rows = unfinishedJobs.all({ status, ...after, limit: PAGE });
    yield* rows;
    const last = rows.at(-1);
    if (!last || rows.length < PAGE) return;
    after = { afterMs: last.createdMs, afterJob: last.jobId };
  }
}

/** A row that cannot be read goes on to keep values from being written to this job. */
function restorePromises(
  statements: Statements,
  quarantined: QuarantinedRow[],
): StoredState['promises'] {
  return statements.allPromises.all().flatMap((row) => {
    const job = parseJobId(row.jobId);
    const epoch = parseEpoch(row.counter, row.node);
    if (job && epoch) return [{ job, epoch, isRetired: row.retired === 1 }];
    quarantined.push({ table: 'promises', job: row.jobId, reason: 'no promise' });
    return [];
  });
}

function restoreLostBirths(
  statements: Statements,
  quarantined: QuarantinedRow[],
): StoredState['lostBirths'] {
  return statements.allLostBirths.all().flatMap((row) => {
    const job = parseJobId(row.jobId);
    if (job) return [{ job, birth: asBirth(row.birth) }];
    quarantined.push({ table: 'lost_births', job: row.jobId, reason: 'no job id' });
    return [];
  });
}

/** Of a row that cannot be read nothing is told here: the others are quarantined by what needs them. */
function restoreBirths(statements: Statements): StoredState['births'] {
  return statements.newestBirths
    .all()
    .reverse()
    .flatMap(({ jobId, birth, counter, node, version, createdMs }) => {
      const job = parseJobId(jobId);
      const epoch = parseEpoch(counter, node);
      if (!job || !epoch) return [];
      const accepted = { epoch, version };
      return [{ job, birth: asBirth(birth), accepted, createdAt: asWall(createdMs) }];
    });
}

function restoreBans(statements: Statements, quarantined: QuarantinedRow[]): Ban[] {
  return statements.allBans.all().flatMap(({ nodeId: node, name, bannedMs }) => {
    if (isNodeId(node)) return [{ node, name, at: asWall(bannedMs) }];
    quarantined.push({ table: 'bans', job: node, reason: 'no node id' });
    return [];
  });
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
    const rs = parseNodes(row.rs);
    const isWhole = outcome !== undefined && fenceText(outcome.fence) === row.fence && rs;
    if (isWhole) rows.push({ job: asJobId(row.jobId), rs, outcome });
    else quarantined.push({ table: 'outbox', job: row.jobId, fence: row.fence, reason: REASON });
    const reason = isWhole ? null : REASON;
    if (reason !== row.unreadable) statements.markOutcome({ ...key, reason });
  }
  return rows;
}
