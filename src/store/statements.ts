/**
 * Every statement of the hot path, built by drizzle and prepared once: a query that is built per
 * call costs six times as much as one that is only run. Writes are run on the driver's own
 * statement, because drizzle's filling of 32 placeholders takes a third of an upsert's time.
 */
import type { SQL } from 'drizzle-orm';
import type { SQLiteTable } from 'drizzle-orm/sqlite-core';
import type { Client, Queries } from './database.ts';
import {
  and,
  asc,
  desc,
  eq,
  getTableColumns,
  inArray,
  is,
  Param,
  Placeholder,
  sql,
} from './drizzle.ts';
import { RECORD_COLUMNS } from './job-row.ts';
import { jobs, meta, outbox, started, workerNodes } from './schema.ts';

export type Statements = ReturnType<typeof prepareStatements>;

const { startedAt: _, ...STARTED_COLUMNS } = getTableColumns(started);
const UNFINISHED = ['JOB_PENDING', 'JOB_ASSIGNED'];
/** The list of remembered peers is for finding the mesh again, not a history. */
const MAX_PEERS = 256;

export function prepareStatements(client: Client, queries: Queries) {
  const write: ToWriter = (query) => prepareWriter(client, query);
  return {
    ...jobStatements(queries, write),
    ...attemptStatements(queries, write),
    ...peerStatements(queries, write),
  };
}

/** Values by placeholder; the result is the number of rows that changed. */
type Writer = (values: Readonly<Record<string, unknown>>) => number;
type ToWriter = (query: { toSQL(): { sql: string; params: unknown[] } }) => Writer;

function prepareWriter(client: Client, query: Parameters<ToWriter>[0]): Writer {
  const { sql: text, params } = query.toSQL();
  const statement = client.prepare(text);
  const places = params.map(toPlace);
  return (values) =>
    statement.run(places.map((place) => ('name' in place ? values[place.name] : place.value)))
      .changes;
}

/** Drizzle wraps the placeholder of a column into a parameter of that column's type. */
function toPlace(param: unknown): { name: string } | { value: unknown } {
  const inner = is(param, Param) ? param.value : param;
  return is(inner, Placeholder) ? { name: inner.name } : { value: inner };
}

/**
 * A promise never falls on any disk, and an accepted value is never replaced by an older one.
 * Another birth is another job: its epochs begin anew.
 */
const NOT_OLDER = sql`excluded.birth <> ${jobs.birth} OR (
  (excluded.promised_counter, excluded.promised_node) >= (${jobs.promisedCounter}, ${jobs.promisedNode})
  AND (excluded.accepted_counter, excluded.accepted_node, excluded.accepted_version)
    >= (${jobs.acceptedCounter}, ${jobs.acceptedNode}, ${jobs.acceptedVersion}))`;

function jobStatements(queries: Queries, write: ToWriter) {
  return {
    /** Changes no row when what is there is newer. */
    upsertJob: write(
      queries
        .insert(jobs)
        .values(placeholders(jobs))
        .onConflictDoUpdate({
          target: jobs.jobId,
          set: excluded(jobs, ['jobId']),
          setWhere: NOT_OLDER,
        }),
    ),
    markJob: write(
      queries
        .update(jobs)
        .set({ unreadable: sql`${sql.placeholder('reason')}` })
        .where(eq(jobs.jobId, sql.placeholder('jobId'))),
    ),
    readJob: queries
      .select(RECORD_COLUMNS)
      .from(jobs)
      .where(eq(jobs.jobId, sql.placeholder('jobId')))
      .prepare(),
    unfinishedJobs: queries
      .select({ ...RECORD_COLUMNS, unreadable: jobs.unreadable })
      .from(jobs)
      .where(inArray(jobs.status, UNFINISHED))
      .prepare(),
    countByStatus: queries
      .select({ status: jobs.status, count: sql<number>`count(*)` })
      .from(jobs)
      .groupBy(jobs.status)
      .prepare(),
    raiseCommits: write(
      queries
        .update(meta)
        .set({ value: sql`${meta.value} + 1` })
        .where(eq(meta.name, 'commits')),
    ),
  };
}

function attemptStatements(queries: Queries, write: ToWriter) {
  const startedKey = and(
    eq(started.jobId, sql.placeholder('jobId')),
    eq(started.fence, sql.placeholder('fence')),
  );
  const outboxKey = and(
    eq(outbox.jobId, sql.placeholder('jobId')),
    eq(outbox.fence, sql.placeholder('fence')),
  );
  return {
    insertStarted: write(queries.insert(started).values(placeholders(started))),
    endStarted: write(queries.update(started).set({ isOver: 1 }).where(startedKey)),
    deleteStarted: write(queries.delete(started).where(startedKey)),
    allStarted: queries
      .select(STARTED_COLUMNS)
      .from(started)
      .orderBy(started.jobId, started.fence)
      .prepare(),
    markStarted: write(
      queries
        .update(started)
        .set({ unreadable: sql`${sql.placeholder('reason')}` })
        .where(startedKey),
    ),
    insertOutcome: write(queries.insert(outbox).values(placeholders(outbox))),
    deleteOutcome: write(queries.delete(outbox).where(outboxKey)),
    allOutcomes: queries.select().from(outbox).orderBy(outbox.jobId, outbox.fence).prepare(),
    markOutcome: write(
      queries
        .update(outbox)
        .set({ unreadable: sql`${sql.placeholder('reason')}` })
        .where(outboxKey),
    ),
  };
}

function peerStatements(queries: Queries, write: ToWriter) {
  return {
    upsertPeer: write(
      queries
        .insert(workerNodes)
        .values(placeholders(workerNodes))
        .onConflictDoUpdate({
          target: workerNodes.nodeId,
          set: excluded(workerNodes, ['nodeId', 'createdMs']),
        }),
    ),
    deletePeersBefore: write(
      queries
        .delete(workerNodes)
        .where(sql`${workerNodes.lastHeartbeatMs} < ${sql.placeholder('beforeMs')}`),
    ),
    newestPeers: queries
      .select()
      .from(workerNodes)
      .orderBy(desc(workerNodes.lastHeartbeatMs), asc(workerNodes.nodeId))
      .limit(MAX_PEERS)
      .prepare(),
  };
}

/** One placeholder per stored column, of the column's own name. */
function placeholders<Table extends SQLiteTable>(table: Table) {
  const names = storedColumns(table).map(([name]) => [name, sql.placeholder(name)]);
  return Object.fromEntries(names) as Record<keyof Table['$inferInsert'], SQL>;
}

/** Every stored column but these as the row that was to be inserted has it. */
function excluded(table: SQLiteTable, but: readonly string[]): Record<string, SQL> {
  return Object.fromEntries(
    storedColumns(table)
      .filter(([name]) => !but.includes(name))
      .map(([name, column]) => [name, sql.raw(`excluded.${column.name}`)]),
  );
}

const storedColumns = (table: SQLiteTable) =>
  Object.entries(getTableColumns(table)).filter(([, column]) => column.generated === undefined);
