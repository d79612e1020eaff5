/** What is written and read of records and promises. The rules of the register are in the SQL. */
import type { SQL } from 'drizzle-orm';
import { MAX_RECENT_BIRTHS } from '../core/births.ts';
import type { Queries } from './database.ts';
import { and, desc, eq, notInArray, sql } from './drizzle.ts';
import { RECORD_COLUMNS, UNREAD_STATUS } from './job-row.ts';
import { excluded, placeholders, type ToWriter, values } from './prepared.ts';
import { isChosen, isFinal, isMarked, isWhole, jobs, lostBirths, promises } from './schema.ts';

/** Unread ones last: a start that can read them makes rows of the other kinds of them. */
export const UNFINISHED = ['JOB_PENDING', 'JOB_ASSIGNED', UNREAD_STATUS];

const isJob = eq(jobs.jobId, sql.placeholder('jobId'));
const PROMISED = sql`(${jobs.promisedCounter}, ${jobs.promisedNode})`;

/**
 * What a row may be replaced by: a value of the same birth, not below the promise, and not older
 * than the value there. Another birth is another job and has to wait until this one is dropped.
 */
const IS_TAKEN = sql`excluded.birth = ${jobs.birth}
  AND (excluded.accepted_counter, excluded.accepted_node) >= ${PROMISED}
  AND (excluded.accepted_counter, excluded.accepted_node, excluded.accepted_version)
    >= (${jobs.acceptedCounter}, ${jobs.acceptedNode}, ${jobs.acceptedVersion})`;
const IS_PROMISE_HIGHER = sql`(excluded.promised_counter, excluded.promised_node) > ${PROMISED}`;
const IS_LONE_HIGHER = sql`(excluded.counter, excluded.node)
  > (${promises.counter}, ${promises.node})`;

/** The value and all about it; a higher promise stays, and so does what is known of the end. */
const replaced = (): Record<string, SQL> => ({
  ...excluded(jobs, ['jobId', 'lacking']),
  promisedCounter: sql`iif(${IS_PROMISE_HIGHER}, excluded.promised_counter, ${jobs.promisedCounter})`,
  promisedNode: sql`iif(${IS_PROMISE_HIGHER}, excluded.promised_node, ${jobs.promisedNode})`,
  settled: sql`max(excluded.settled, ${jobs.settled})`,
});

export function recordStatements(queries: Queries, write: ToWriter) {
  const update = (set: Record<string, SQL>, where: SQL | undefined) =>
    write(queries.update(jobs).set(set).where(where));
  return {
    /** Changes no row where the value is not taken. */
    upsertJob: write(
      queries
        .insert(jobs)
        .values(placeholders(jobs))
        .onConflictDoUpdate({ target: jobs.jobId, set: replaced(), setWhere: IS_TAKEN }),
    ),
    deleteJob: write(queries.delete(jobs).where(isJob)),
    markJob: update({ unreadable: sql`${sql.placeholder('reason')}` }, isJob),
    /** A final state alone can be decided. */
    settleJob: update(
      { settled: sql`max(${jobs.settled}, ${sql.placeholder('settled')})` },
      and(isJob, isFinal),
    ),
    noteLacking: update(values(['lacking']), isJob),
    readJob: queries.select(RECORD_COLUMNS).from(jobs).where(isJob).prepare(),
    countByStatus: queries
      .select({ status: jobs.status, count: sql<number>`count(*)` })
      .from(jobs)
      .where(isWhole)
      .groupBy(jobs.status)
      .prepare(),
  };
}

/** Each row of `jobs` that a start needs whole is found by exactly one of the first three. */
export function restoreStatements(queries: Queries) {
  const select = (where: SQL | undefined) =>
    queries
      .select({ ...RECORD_COLUMNS, unreadable: jobs.unreadable, lacking: jobs.lacking })
      .from(jobs)
      .where(where);
  const place = sql.placeholder;
  const isLater = sql`(${jobs.createdMs}, ${jobs.jobId}) > (${place('afterMs')}, ${place('afterJob')})`;
  const isEnded = notInArray(jobs.status, UNFINISHED);
  return {
    /** The oldest first, in pages: a million rows at once take more than the jobs they become. */
    unfinishedJobs: select(and(eq(jobs.status, place('status')), isWhole, isLater))
      .orderBy(jobs.createdMs, jobs.jobId)
      .limit(place('limit'))
      .prepare(),
    undecidedJobs: select(and(isFinal, eq(jobs.settled, 0), isEnded)).prepare(),
    // The plus keeps SQLite from the index of all that have ended, which it takes to be narrower.
    markedJobs: select(and(isMarked, isFinal, sql`+${jobs.settled} > 0`, isEnded)).prepare(),
    /** The newest first. */
    newestBirths: queries
      .select({
        jobId: jobs.jobId,
        birth: jobs.birth,
        counter: jobs.acceptedCounter,
        node: jobs.acceptedNode,
        version: jobs.acceptedVersion,
        createdMs: jobs.createdMs,
      })
      .from(jobs)
      .where(isChosen)
      .orderBy(desc(jobs.createdMs))
      .limit(MAX_RECENT_BIRTHS)
      .prepare(),
  };
}

export function promiseStatements(queries: Queries, write: ToWriter) {
  const isOfJob = eq(promises.jobId, sql.placeholder('jobId'));
  const asked = sql`(${sql.placeholder('counter')}, ${sql.placeholder('node')})`;
  return {
    /** In a row of `jobs`; changes none where the promise is as high. */
    raisePromise: write(
      queries
        .update(jobs)
        .set({
          promisedCounter: sql`${sql.placeholder('counter')}`,
          promisedNode: sql`${sql.placeholder('node')}`,
        })
        .where(and(isJob, sql`${PROMISED} < ${asked}`)),
    ),
    promiseInRow: queries
      .select({ counter: jobs.promisedCounter, node: jobs.promisedNode })
      .from(jobs)
      .where(isJob)
      .prepare(),
    /** It never falls, and a record that moved away stays away until a value comes. */
    upsertPromise: write(
      queries
        .insert(promises)
        .values(placeholders(promises))
        .onConflictDoUpdate({
          target: promises.jobId,
          set: {
            counter: sql`iif(${IS_LONE_HIGHER}, excluded.counter, ${promises.counter})`,
            node: sql`iif(${IS_LONE_HIGHER}, excluded.node, ${promises.node})`,
            retired: sql`max(excluded.retired, ${promises.retired})`,
            madeMs: sql`excluded.made_ms`,
          },
        }),
    ),
    readPromise: queries.select().from(promises).where(isOfJob).prepare(),
    noteLostBirth: write(
      queries.insert(lostBirths).values(placeholders(lostBirths)).onConflictDoNothing(),
    ),
    allLostBirths: queries
      .select()
      .from(lostBirths)
      .orderBy(lostBirths.jobId, lostBirths.birth)
      .prepare(),
    deletePromise: write(queries.delete(promises).where(isOfJob)),
    allPromises: queries.select().from(promises).orderBy(promises.jobId).prepare(),
  };
}
