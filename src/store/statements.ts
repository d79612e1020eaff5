/**
 * Every statement of the hot path, built and prepared once: a query that is built per call costs
 * six times as much as one that is only run.
 */
import type { Placeholder, SQL } from 'drizzle-orm';
import type { SQLiteTable } from 'drizzle-orm/sqlite-core';
import type { Queries } from './database.ts';
import { and, asc, desc, eq, getTableColumns, inArray, sql } from './drizzle.ts';
import { RECORD_COLUMNS } from './job-row.ts';
import { jobs, meta, outbox, started, workerNodes } from './schema.ts';

export type Statements = ReturnType<typeof prepareStatements>;

const UNFINISHED = ['JOB_PENDING', 'JOB_ASSIGNED'];
/** The list of remembered peers is for finding the mesh again, not a history. */
const MAX_PEERS = 256;

export function prepareStatements(queries: Queries) {
  return { ...jobStatements(queries), ...attemptStatements(queries), ...peerStatements(queries) };
}

/**
 * A promise never falls on any disk, and an accepted value is never replaced by an older one.
 * Another birth is another job: its epochs begin anew.
 */
const NOT_OLDER = sql`excluded.birth <> ${jobs.birth} OR (
  (excluded.promised_counter, excluded.promised_node) >= (${jobs.promisedCounter}, ${jobs.promisedNode})
  AND (excluded.accepted_counter, excluded.accepted_node, excluded.accepted_version)
    >= (${jobs.acceptedCounter}, ${jobs.acceptedNode}, ${jobs.acceptedVersion}))`;

function jobStatements(queries: Queries) {
  return {
    /** Changes no row when what is there is newer. */
    upsertJob: queries
      .insert(jobs)
      .values(placeholders(jobs))
      .onConflictDoUpdate({
        target: jobs.jobId,
        set: excluded(jobs, ['jobId']),
        setWhere: NOT_OLDER,
      })
      .prepare(),
    markJob: queries
      .update(jobs)
      .set({ unreadable: sql`${sql.placeholder('reason')}` })
      .where(eq(jobs.jobId, sql.placeholder('jobId')))
      .prepare(),
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
    raiseCommits: queries
      .update(meta)
      .set({ value: sql`${meta.value} + 1` })
      .where(eq(meta.name, 'commits'))
      .prepare(),
  };
}

function attemptStatements(queries: Queries) {
  const startedKey = and(
    eq(started.jobId, sql.placeholder('jobId')),
    eq(started.fence, sql.placeholder('fence')),
  );
  const outboxKey = and(
    eq(outbox.jobId, sql.placeholder('jobId')),
    eq(outbox.fence, sql.placeholder('fence')),
  );
  return {
    insertStarted: queries.insert(started).values(placeholders(started)).prepare(),
    endStarted: queries.update(started).set({ isOver: 1 }).where(startedKey).prepare(),
    deleteStarted: queries.delete(started).where(startedKey).prepare(),
    allStarted: queries.select().from(started).orderBy(started.jobId, started.fence).prepare(),
    markStarted: queries
      .update(started)
      .set({ unreadable: sql`${sql.placeholder('reason')}` })
      .where(startedKey)
      .prepare(),
    insertOutcome: queries.insert(outbox).values(placeholders(outbox)).prepare(),
    deleteOutcome: queries.delete(outbox).where(outboxKey).prepare(),
    allOutcomes: queries.select().from(outbox).orderBy(outbox.jobId, outbox.fence).prepare(),
    markOutcome: queries
      .update(outbox)
      .set({ unreadable: sql`${sql.placeholder('reason')}` })
      .where(outboxKey)
      .prepare(),
  };
}

function peerStatements(queries: Queries) {
  return {
    upsertPeer: queries
      .insert(workerNodes)
      .values(placeholders(workerNodes))
      .onConflictDoUpdate({
        target: workerNodes.nodeId,
        set: excluded(workerNodes, ['nodeId', 'createdMs']),
      })
      .prepare(),
    deletePeersBefore: queries
      .delete(workerNodes)
      .where(sql`${workerNodes.lastHeartbeatMs} < ${sql.placeholder('beforeMs')}`)
      .prepare(),
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
  return Object.fromEntries(names) as Record<keyof Table['$inferInsert'], Placeholder>;
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
