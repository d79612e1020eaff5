/**
 * pg-boss: for throughput two loops that fetch 500 jobs each and poll in bursts (a NOTIFY for each
 * job would cost it most of its speed); for latency NOTIFY and one job at a time, in the process
 * that submits, which is its best case.
 */
import type { Contestant, Stage } from '../frame/row.ts';
import { loadPackage } from './load-package.ts';
import {
  isTakingQuestions,
  type Pg,
  type PgConnection,
  type PgPool,
  POSTGRES,
  startPostgres,
} from './postgres.ts';
import { type Aim, eventually, type Queue } from './queue.ts';
import { WorkerChild } from './worker-child.ts';

export const pgBoss: Pick<Contestant, 'name' | 'isMesh' | 'keeps' | 'needs'> = {
  name: 'pg-boss, PostgreSQL',
  isMesh: false,
  keeps: 'one disk, fsync',
  needs: [{ npm: 'pg-boss' }, { npm: 'pg' }, POSTGRES],
};

interface Boss {
  on(event: 'error', listener: () => void): void;
  start(): Promise<unknown>;
  stop(options: { graceful: boolean; close: boolean }): Promise<void>;
  createQueue(name: string, options?: { notify: boolean }): Promise<void>;
  send(name: string, data: unknown): Promise<string>;
  insert(name: string, jobs: readonly { data: unknown }[]): Promise<unknown>;
  work(
    name: string,
    options: Record<string, unknown>,
    run: (jobs: readonly { id: string }[]) => Promise<void>,
  ): Promise<unknown>;
}

interface PgBossModule {
  readonly PgBoss: new (options: Record<string, unknown>) => Boss;
}

const NAME = 'bench';
const POLLING = { pollingIntervalSeconds: 0.5, notifyPollingIntervalSeconds: 0.5 };

async function newBoss(connection: PgConnection, max: number): Promise<Boss> {
  const { PgBoss } = await loadPackage<PgBossModule>('pg-boss');
  const boss = new PgBoss({
    ...connection,
    max,
    useListenNotify: true,
    supervise: false,
    schedule: false,
  });
  boss.on('error', () => {});
  await boss.start();
  return boss;
}

export async function openPgBoss({ folder }: Stage, aim: Aim): Promise<Queue> {
  const postgres = await startPostgres(folder);
  const { Pool } = (await loadPackage<Pg>('pg')).default;
  const pool = new Pool({ ...postgres.connection, max: 1 });
  pool.on('error', () => {});
  await isTakingQuestions(pool);
  const boss = await newBoss(postgres.connection, 16);
  await boss.createQueue(NAME, { notify: aim === 'latency' });
  const worker =
    aim === 'throughput'
      ? await WorkerChild.start('pg-boss', { connection: postgres.connection })
      : undefined;
  let hit: (id: string) => void = () => {};
  if (!worker) {
    await boss.work(NAME, { batchSize: 1, ...POLLING }, async ([job]) => hit(job?.id ?? ''));
  }
  let submitted = 0;
  return {
    submit: async (params) => {
      submitted += 1;
      await boss.send(NAME, params);
    },
    submitMany: async (all) => {
      submitted += all.length;
      await boss.insert(
        NAME,
        all.map((data) => ({ data })),
      );
    },
    drained: () => eventually(20, async () => (await completed(pool)) >= submitted),
    roundTrip: async (params) => {
      const begun = new Promise<string>((resolve) => {
        hit = resolve;
      });
      const id = await boss.send(NAME, params);
      await begun;
      await eventually(0, () => isCompleted(pool, id));
    },
    close: async () => {
      await worker?.stop();
      await pool.end();
      await boss.stop({ graceful: false, close: true });
      await postgres.stop();
    },
  };
}

async function completed(pool: PgPool): Promise<number> {
  const { rows } = await pool.query(
    `select count(*) as n from pgboss.job where state = 'completed' and name = $1`,
    [NAME],
  );
  return Number(rows[0]?.n);
}

async function isCompleted(pool: PgPool, id: string): Promise<boolean> {
  const { rows } = await pool.query('select state from pgboss.job where id = $1', [id]);
  return rows[0]?.state === 'completed';
}

export async function work({ connection }: { connection: PgConnection }): Promise<void> {
  const boss = await newBoss(connection, 6);
  const many = { batchSize: 500, burstWhenBatchFull: true, localConcurrency: 2, ...POLLING };
  await boss.work(NAME, many, async () => {});
}
