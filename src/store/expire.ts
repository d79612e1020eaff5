/**
 * Retention. A final record is deleted when every disk of its sets has it; else some node that was
 * away may still come back with an older value of it, so a stub stays: job, birth, state and fence,
 * by which that node is told what became of the job. A stub goes when such a node would not be let
 * in any more. A promise without a value and a lost
 * birth go then too: whoever it was made to has long been
 * answered, or is not let in any more. The core has read it into memory at its start and forgets
 * it at the next one.
 *
 * All of it walks one index, so what is not to go yet is not even looked at.
 */
import type { SQL } from 'drizzle-orm';
import { type AttemptOutcome, type Job, NO_OUTPUT, type OutputTail } from '../core/job.ts';
import type { JobRecord } from '../core/job-record.ts';
import { NO_SPEC } from '../wire/specs.ts';
import type { Client, Queries } from './database.ts';
import { and, eq, inArray, sql } from './drizzle.ts';
import { RECORD_COLUMNS, SETTLED_EVERYWHERE, toJobRow, toRecord } from './job-row.ts';
import { prepareWriter, type ToWriter, values } from './prepared.ts';
import { isFinal, jobs, lostBirths, promises } from './schema.ts';

export interface Expiry {
  /** Whole records that ended before this go or shrink. */
  readonly beforeMs: number;
  readonly stubsBeforeMs: number;
  /** Rows at most. */
  readonly limit: number;
}

/** Says how many rows it has changed. */
export type Expire = (expiry: Expiry) => number;

export function prepareExpire(client: Client, queries: Queries): Expire {
  const statements = prepare(queries, (query) => prepareWriter(client, query));
  const expire = client.transaction(({ beforeMs, stubsBeforeMs, limit }: Expiry): number => {
    let changed = statements.deleteDone({ beforeMs, limit });
    changed += statements.deleteStubs({ beforeMs: stubsBeforeMs, limit: limit - changed });
    changed += statements.deletePromises({ beforeMs: stubsBeforeMs, limit: limit - changed });
    changed += statements.deleteLostBirths({ beforeMs: stubsBeforeMs, limit: limit - changed });
    const ended = statements.endedJobs.all({ beforeMs, limit: limit - changed });
    const nowMs = Date.now();
    for (const row of ended) {
      const record = toRecord(row);
      if (record) statements.shrinkJob({ ...toJobRow(toStub(record), nowMs), isStub: 1 });
      // What cannot be read cannot shrink. It is kept as it is, and goes with the stubs.
      else statements.hideJob({ jobId: row.jobId });
    }
    return changed + ended.length;
  });
  return expire.immediate;
}

/** Of the columns of a row; what says how it ended stays. */
const SHRUNK = [
  'taskType',
  'command',
  'env',
  'timeoutSeconds',
  'priority',
  'stdoutFrom',
  'stdoutBytes',
  'stderrFrom',
  'stderrBytes',
  'updatedMs',
  'isStub',
  'body',
] as const;

function prepare(queries: Queries, write: ToWriter) {
  const isJob = eq(jobs.jobId, sql.placeholder('jobId'));
  const endedBefore = sql`${jobs.finishedMs} < ${sql.placeholder('beforeMs')}`;
  const done = and(isFinal, eq(jobs.settled, SETTLED_EVERYWHERE), inArray(jobs.isStub, [0, 1]));
  const kept = (isStub: 0 | 1) =>
    and(isFinal, inArray(jobs.settled, [0, 1]), eq(jobs.isStub, isStub));
  const first = (which: SQL | undefined) =>
    sql`rowid IN (SELECT rowid FROM ${jobs} WHERE ${and(which, endedBefore)}
      LIMIT ${sql.placeholder('limit')})`;
  return {
    deleteDone: write(queries.delete(jobs).where(first(done))),
    deleteStubs: write(queries.delete(jobs).where(first(kept(1)))),
    deletePromises: write(
      queries.delete(promises).where(
        sql`rowid IN (SELECT rowid FROM ${promises}
          WHERE ${promises.madeMs} < ${sql.placeholder('beforeMs')}
          LIMIT ${sql.placeholder('limit')})`,
      ),
    ),
    deleteLostBirths: write(
      queries.delete(lostBirths).where(
        sql`rowid IN (SELECT rowid FROM ${lostBirths}
          WHERE ${lostBirths.lostMs} < ${sql.placeholder('beforeMs')}
          LIMIT ${sql.placeholder('limit')})`,
      ),
    ),
    endedJobs: queries
      .select(RECORD_COLUMNS)
      .from(jobs)
      .where(and(kept(0), endedBefore))
      .limit(sql.placeholder('limit'))
      .prepare(),
    shrinkJob: write(queries.update(jobs).set(values(SHRUNK)).where(isJob)),
    hideJob: write(queries.update(jobs).set({ isStub: 1 }).where(isJob)),
  };
}

/** Of a final record; the hash of its content tells a repeated submit from a conflict. */
export function toStub({ header, job }: JobRecord): JobRecord {
  return { header, job: { ...job, spec: NO_SPEC, history: [], state: shrunk(job.state) } };
}

function shrunk(state: Job['state']): Job['state'] {
  if (state.tag !== 'final') return state;
  const { outcome } = state.final;
  if (!outcome) return state;
  return { tag: 'final', final: { ...state.final, outcome: withoutOutput(outcome) } };
}

const withoutOutput = (outcome: AttemptOutcome): AttemptOutcome => ({
  ...outcome,
  stdout: withoutBytes(outcome.stdout),
  stderr: withoutBytes(outcome.stderr),
});

const withoutBytes = ({ totalBytes }: OutputTail): OutputTail => ({
  ...NO_OUTPUT,
  totalBytes,
  isTruncated: totalBytes > 0,
});
