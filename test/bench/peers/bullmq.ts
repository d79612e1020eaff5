/**
 * BullMQ on Redis: 100 jobs at a time in one worker process, of the jobs that are done the last
 * thousand are kept. Redis keeps an append-only file and calls fsync before each answer (`always`)
 * or once a second (`everysec`, its default), after which up to a second of jobs can be lost.
 */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import type { Contestant, Need, Stage } from '../frame/row.ts';
import { loadPackage } from './load-package.ts';
import type { Aim, Queue } from './queue.ts';
import { freePort, type Server, startServer } from './server.ts';
import { type Counter, WorkerChild } from './worker-child.ts';

export type Fsync = 'always' | 'everysec';

const NEEDS: readonly Need[] = [
  { npm: 'bullmq' },
  { program: 'redis-server', debian: 'redis-server' },
];

export const bullmq = (fsync: Fsync): Pick<Contestant, 'name' | 'isMesh' | 'keeps' | 'needs'> => ({
  name: `BullMQ, Redis fsync ${fsync}`,
  isMesh: false,
  keeps: fsync === 'always' ? 'one disk, fsync' : 'one disk, fsync once a second',
  needs: NEEDS,
});

interface Connection {
  readonly host: string;
  readonly port: number;
  readonly maxRetriesPerRequest: null;
}

export interface BullQueue {
  waitUntilReady(): Promise<unknown>;
  add(name: string, data: unknown): Promise<{ waitUntilFinished(events: unknown): Promise<void> }>;
  addBulk(jobs: readonly { name: string; data: unknown }[]): Promise<unknown>;
  close(): Promise<void>;
}

interface BullWorker {
  on(event: 'completed' | 'error', listener: (...given: unknown[]) => void): void;
  waitUntilReady(): Promise<unknown>;
}

interface BullMq {
  readonly Queue: new (name: string, options: { connection: Connection }) => BullQueue;
  readonly QueueEvents: new (
    name: string,
    options: { connection: Connection },
  ) => Pick<BullQueue, 'waitUntilReady' | 'close'>;
  readonly Worker: new (
    name: string,
    run: (job: { data: { command?: string } }) => Promise<unknown>,
    options: { connection: Connection; concurrency: number; removeOnComplete: { count: number } },
  ) => BullWorker;
}

const NAME = 'bench';
const connectionTo = (port: number): Connection => ({
  host: '127.0.0.1',
  port,
  maxRetriesPerRequest: null,
});

export function startRedis(folder: string, port: number, fsync: Fsync): Promise<Server> {
  const files = ['--dir', folder, '--appendonly', 'yes', '--appendfsync', fsync, '--save', ''];
  const args = ['--port', String(port), '--bind', '127.0.0.1', ...files];
  return startServer({ folder, program: 'redis-server', args, at: port });
}

/** Settles when Redis has read its file and takes commands. */
export async function openQueue(port: number): Promise<BullQueue> {
  const { Queue } = await loadPackage<BullMq>('bullmq');
  const queue = new Queue(NAME, { connection: connectionTo(port) });
  await queue.waitUntilReady();
  return queue;
}

export async function openBullmq({ folder }: Stage, fsync: Fsync, aim: Aim): Promise<Queue> {
  const { QueueEvents } = await loadPackage<BullMq>('bullmq');
  const port = await freePort();
  const redis = await startRedis(folder, port, fsync);
  const worker = await WorkerChild.start('bullmq', { port });
  const queue = await openQueue(port);
  const events =
    aim === 'latency' ? new QueueEvents(NAME, { connection: connectionTo(port) }) : undefined;
  await events?.waitUntilReady();
  let submitted = 0;
  return {
    submit: async (params) => {
      submitted += 1;
      await queue.add('noop', params);
    },
    submitMany: async (all) => {
      submitted += all.length;
      await queue.addBulk(all.map((data) => ({ name: 'noop', data })));
    },
    drained: () => worker.hasDone(submitted),
    roundTrip: async (params) => (await queue.add('noop', params)).waitUntilFinished(events),
    close: async () => {
      await events?.close();
      await queue.close();
      await worker.stop();
      await redis.stop();
    },
  };
}

export async function work({ port }: { port: number }, counter: Counter): Promise<void> {
  const { Worker } = await loadPackage<BullMq>('bullmq');
  const worker = new Worker(NAME, ({ data }) => handle(data.command), {
    connection: connectionTo(port),
    concurrency: 100,
    removeOnComplete: { count: 1000 },
  });
  worker.on('completed', () => counter.one());
  worker.on('error', () => {});
  await worker.waitUntilReady();
}

/** A job with a command runs it by a shell. */
async function handle(command: string | undefined): Promise<unknown> {
  if (command !== undefined) await promisify(execFile)('/bin/sh', ['-c', command]);
  return { ok: true };
}
