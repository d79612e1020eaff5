/**
 * graphile-worker: for throughput 24 jobs at a time from a local queue of 500 with completions in
 * batches (its documentation's advice); for latency none of that, in the process that submits.
 */
import type { Contestant, Stage } from '../frame/row.ts';
import { loadPackage } from './load-package.ts';
import { isTakingQuestions, type Pg, type PgPool, POSTGRES, startPostgres } from './postgres.ts';
import { type Aim, eventually, type Params, type Queue } from './queue.ts';
import { type Counter, WorkerChild } from './worker-child.ts';

export const graphileWorker: Pick<Contestant, 'name' | 'isMesh' | 'keeps' | 'needs'> = {
  name: 'graphile-worker, PostgreSQL',
  isMesh: false,
  keeps: 'one disk, fsync',
  needs: [{ npm: 'graphile-worker' }, { npm: 'pg' }, POSTGRES],
};

interface Runner {
  readonly events: {
    on(event: 'job:complete', listener: (told: { job: { id: unknown } }) => void): void;
  };
  stop(): Promise<void>;
}

interface Graphile {
  readonly Logger: new (make: () => () => void) => unknown;
  run(options: Record<string, unknown>): Promise<Runner>;
  makeWorkerUtils(options: Record<string, unknown>): Promise<{
    migrate(): Promise<void>;
    release(): Promise<void>;
    addJob(name: string, payload: unknown): Promise<{ id: unknown }>;
    addJobs(jobs: readonly { identifier: string; payload: Params }[]): Promise<unknown>;
  }>;
}

const MANY_AT_ONCE = {
  localQueue: { size: 500, refetchDelay: { durationMs: 20, threshold: 200 } },
  completeJobBatchDelay: 5,
  failJobBatchDelay: 5,
};

async function startRunner(url: string, aim: Aim): Promise<Runner> {
  const { Logger, run } = await loadPackage<Graphile>('graphile-worker');
  return run({
    connectionString: url,
    logger: new Logger(() => () => {}),
    noHandleSignals: true,
    preset: {
      worker: {
        concurrentJobs: aim === 'throughput' ? 24 : 4,
        maxPoolSize: 10,
        pollInterval: 2000,
        ...(aim === 'throughput' && MANY_AT_ONCE),
      },
    },
    taskList: { noop: async () => {} },
  });
}

export async function openGraphileWorker({ folder }: Stage, aim: Aim): Promise<Queue> {
  const { Logger, makeWorkerUtils } = await loadPackage<Graphile>('graphile-worker');
  const postgres = await startPostgres(folder);
  const { Pool } = (await loadPackage<Pg>('pg')).default;
  const pool = new Pool({ ...postgres.connection, max: 16 });
  pool.on('error', () => {});
  await isTakingQuestions(pool);
  const utils = await makeWorkerUtils({ pgPool: pool, logger: new Logger(() => () => {}) });
  await utils.migrate();
  const worker =
    aim === 'throughput'
      ? await WorkerChild.start('graphile-worker', { url: postgres.url })
      : undefined;
  const runner = worker ? undefined : await startRunner(postgres.url, aim);
  const ended = new EndedJobs(runner);
  return {
    submit: async (params) => void (await utils.addJob('noop', params)),
    submitMany: async (all) =>
      void (await utils.addJobs(all.map((payload) => ({ identifier: 'noop', payload })))),
    drained: () => eventually(20, async () => !(await isThere(pool))),
    roundTrip: async (params) => {
      const id = String((await utils.addJob('noop', params)).id);
      await ended.has(id);
      // The event comes before the row is gone.
      await eventually(0, async () => !(await isThere(pool, id)));
    },
    close: async () => {
      await worker?.stop();
      await runner?.stop();
      await utils.release();
      await pool.end();
      await postgres.stop();
    },
  };
}

/** An end may be told before the id of its job is known here. */
class EndedJobs {
  private readonly early = new Set<string>();
  private readonly waiting = new Map<string, () => void>();

  constructor(runner: Runner | undefined) {
    runner?.events.on('job:complete', ({ job }) => {
      const id = String(job.id);
      const tell = this.waiting.get(id);
      if (tell) tell();
      else this.early.add(id);
      this.waiting.delete(id);
    });
  }

  async has(id: string): Promise<void> {
    if (this.early.delete(id)) return;
    await new Promise<void>((resolve) => this.waiting.set(id, resolve));
  }
}

async function isThere(pool: PgPool, id?: string): Promise<boolean> {
  const table = 'graphile_worker._private_jobs';
  const { rows } =
    id === undefined
      ? await pool.query(`select 1 from ${table} limit 1`)
      : await pool.query(`select 1 from ${table} where id = $1`, [id]);
  return rows.length > 0;
}

export async function work({ url }: { url: string }, counter: Counter): Promise<void> {
  const runner = await startRunner(url, 'throughput');
  runner.events.on('job:complete', () => counter.one());
}
