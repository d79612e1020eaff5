/**
 * Pages of jobs, newest first. Each page walks an index in its order and stops when it is full:
 * several statuses are several walks that are merged, because SQLite would otherwise sort whole
 * rows of all of them. A page is prepared once for each kind of question: built anew each time it
 * took a fifth of a list.
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

/** What a page asks for, beside its length. */
interface Conditions {
  readonly status: string | undefined;
  readonly taskType: string | undefined;
  readonly node: string | undefined;
  readonly from: Position | undefined;
}

export class JobLists {
  private readonly queries: Queries;
  /** By the conditions that there are: 16 at most, each prepared when it is first asked for. */
  private readonly pages = new Map<string, ReturnType<typeof preparePage>>();

  constructor(queries: Queries) {
    this.queries = queries;
  }

  /**
   * Rows that can't be read are left out, also those that a newer version could, and the page is
   * filled with others. Stubs are not in the indexes.
   */
  list(query: RecordQuery): JobRecord[] {
    const statuses = query.statuses?.length ? [...new Set(query.statuses)] : [undefined];
    const lists = statuses.map((status) => this.walk(query, status));
    if (lists.length === 1 && lists[0]) return lists[0];
    return lists.flat().sort(newestFirst).slice(0, query.limit);
  }

  private walk(query: RecordQuery, status: string | undefined): JobRecord[] {
    const { before, taskType, node, limit } = query;
    const found: JobRecord[] = [];
    let from: Position | undefined = before && { createdMs: before.createdAt, jobId: before.job };
    for (;;) {
      const rows = this.readPage({ status, taskType, node, from }, limit - found.length);
      for (const row of rows) {
        const record = toRecord(row);
        if (record !== undefined && !isUnread(record.job)) found.push(record);
      }
      const last = rows.at(-1);
      if (last === undefined || found.length >= limit) return found;
      from = last;
    }
  }

  private readPage(conditions: Conditions, limit: number): RecordRow[] {
    const { from, ...named } = conditions;
    const given = Object.entries(conditions).filter(([, value]) => value !== undefined);
    const key = given.map(([name]) => name).join(' ');
    const page = this.pages.get(key) ?? preparePage(this.queries, conditions);
    this.pages.set(key, page);
    return page.all({ ...named, fromMs: from?.createdMs, fromJob: from?.jobId, limit });
  }
}

function preparePage(queries: Queries, { status, taskType, node, from }: Conditions) {
  const place = sql.placeholder;
  const conditions: (SQL | undefined)[] = [
    isWhole,
    status === undefined ? undefined : eq(jobs.status, place('status')),
    taskType === undefined ? undefined : eq(jobs.taskType, place('taskType')),
    node === undefined ? undefined : eq(jobs.targetNodeId, place('node')),
    from && sql`(${jobs.createdMs}, ${jobs.jobId}) < (${place('fromMs')}, ${place('fromJob')})`,
  ];
  return queries
    .select(RECORD_COLUMNS)
    .from(jobs)
    .where(and(...conditions))
    .orderBy(desc(jobs.createdMs), desc(jobs.jobId))
    .limit(place('limit'))
    .prepare();
}

const newestFirst = (a: JobRecord, b: JobRecord): number =>
  b.job.createdAt - a.job.createdAt || compareText(b.header.job, a.header.job);
