/**
 * Pages of jobs, newest first. Each page walks an index in its order and stops when it is full:
 * several statuses are several walks that are merged, because SQLite would otherwise sort whole
 * rows of all of them.
 */
import type { SQL } from 'drizzle-orm';
import { compareText } from '../base/ids.ts';
import type { RecordQuery } from '../core/calls.ts';
import type { JobRecord } from '../core/job-record.ts';
import { isUnread } from '../wire/jobs.ts';
import type { Queries } from './database.ts';
import { and, desc, eq, sql } from './drizzle.ts';
import { RECORD_COLUMNS, type RecordRow, toRecord } from './job-row.ts';
import { isWhole, jobs } from './schema.ts';

/** Where a walk goes on. */
interface Position {
  readonly createdMs: number;
  readonly jobId: string;
}

/**
 * Rows that can't be read are left out, also those that a newer version could, and the page is
 * filled with others. Stubs are not in the indexes.
 */
export function listJobs(queries: Queries, query: RecordQuery): JobRecord[] {
  const statuses = query.statuses?.length ? [...new Set(query.statuses)] : [undefined];
  const lists = statuses.map((status) => walk(queries, query, status));
  if (lists.length === 1 && lists[0]) return lists[0];
  return lists.flat().sort(newestFirst).slice(0, query.limit);
}

function walk(queries: Queries, query: RecordQuery, status: string | undefined): JobRecord[] {
  const found: JobRecord[] = [];
  const { before } = query;
  let from: Position | undefined = before && { createdMs: before.createdAt, jobId: before.job };
  for (;;) {
    const rows = readPage(queries, query, { status, from, limit: query.limit - found.length });
    for (const row of rows) {
      const record = toRecord(row);
      if (record !== undefined && !isUnread(record.job)) found.push(record);
    }
    const last = rows.at(-1);
    if (last === undefined || found.length >= query.limit) return found;
    from = last;
  }
}

function readPage(
  queries: Queries,
  query: RecordQuery,
  at: { status: string | undefined; from: Position | undefined; limit: number },
): RecordRow[] {
  const conditions: (SQL | undefined)[] = [
    isWhole,
    at.status === undefined ? undefined : eq(jobs.status, at.status),
    query.taskType === undefined ? undefined : eq(jobs.taskType, query.taskType),
    query.node === undefined ? undefined : eq(jobs.targetNodeId, query.node),
    at.from && sql`(${jobs.createdMs}, ${jobs.jobId}) < (${at.from.createdMs}, ${at.from.jobId})`,
  ];
  return queries
    .select(RECORD_COLUMNS)
    .from(jobs)
    .where(and(...conditions))
    .orderBy(desc(jobs.createdMs), desc(jobs.jobId))
    .limit(at.limit)
    .all();
}

const newestFirst = (a: JobRecord, b: JobRecord): number =>
  b.job.createdAt - a.job.createdAt || compareText(b.header.job, a.header.job);
