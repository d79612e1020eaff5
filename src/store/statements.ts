/** Every statement of the hot path, built by drizzle and prepared once. */
import type { Client, Queries } from './database.ts';
import { and, asc, desc, eq, getTableColumns, sql } from './drizzle.ts';
import { promiseStatements, recordStatements, restoreStatements } from './job-statements.ts';
import { excluded, placeholders, prepareWriter, type ToWriter, values } from './prepared.ts';
import { bans, conflicts, meta, outbox, started, workerNodes } from './schema.ts';

export type Statements = ReturnType<typeof prepareStatements>;

const { startedAt: _, ...STARTED_COLUMNS } = getTableColumns(started);
/** They are for people: who has not read the newest 10,000 will not read the oldest. */
const MAX_CONFLICTS = 10_000;
/** The list of remembered peers is for finding the mesh again, not a history. */
const MAX_PEERS = 256;

export function prepareStatements(client: Client, queries: Queries) {
  const write: ToWriter = (query) => prepareWriter(client, query);
  return {
    ...recordStatements(queries, write),
    ...restoreStatements(queries),
    ...promiseStatements(queries, write),
    ...attemptStatements(queries, write),
    ...noteStatements(queries, write),
    ...peerStatements(queries, write),
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
          set: excluded(workerNodes, ['nodeId', 'createdMs', 'clonedCounter']),
        }),
    ),
    noteCloned: write(
      queries
        .update(workerNodes)
        .set(values(['clonedCounter']))
        .where(eq(workerNodes.nodeId, sql.placeholder('nodeId'))),
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

/** What is said of nodes and for people, and the number of commits. */
function noteStatements(queries: Queries, write: ToWriter) {
  return {
    raiseCommits: write(
      queries
        .update(meta)
        .set({ value: sql`${meta.value} + 1` })
        .where(eq(meta.name, 'commits')),
    ),
    readCommits: queries
      .select({ count: meta.value })
      .from(meta)
      .where(eq(meta.name, 'commits'))
      .prepare(),
    upsertBan: write(
      queries
        .insert(bans)
        .values(placeholders(bans))
        .onConflictDoUpdate({ target: bans.nodeId, set: excluded(bans, ['nodeId']) }),
    ),
    allBans: queries.select().from(bans).orderBy(bans.nodeId).prepare(),
    insertConflict: write(queries.insert(conflicts).values(placeholders(conflicts))),
    deleteOldConflicts: write(
      queries
        .delete(conflicts)
        .where(
          sql`${conflicts.id} <= (SELECT max(${conflicts.id}) FROM ${conflicts}) - ${sql.raw(`${MAX_CONFLICTS}`)}`,
        ),
    ),
    newestConflicts: queries
      .select()
      .from(conflicts)
      .orderBy(desc(conflicts.foundMs), desc(conflicts.id))
      .limit(sql.placeholder('limit'))
      .prepare(),
  };
}
