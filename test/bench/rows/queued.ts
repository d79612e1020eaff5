/** A queue of a million jobs that nobody has time for yet. */
import { MeshProcesses, type NodeProcess } from '../../e2e/mesh-processes.ts';
import type { Opened, Row, Sample, Stage } from '../frame/row.ts';
import { memoryBytesOf, treeOf } from '../frame/usage.ts';
import { HttpConnection, postRequest } from '../mesh/http-connection.ts';
import { TASKS } from '../mesh/node-processes.ts';
import { bullmq, openQueue, startRedis } from '../peers/bullmq.ts';
import { eventually, inFlight, paramsOf } from '../peers/queue.ts';
import { freePort } from '../peers/server.ts';
import { WorkerChild } from '../peers/worker-child.ts';

const [JOBS, QUICK_JOBS] = [1_000_000, 3000];
/** In each of which the rate is taken: the last one against the first one. */
const PARTS = 10;
const ARRAY = 1000;
const [DRAINED, QUICK_DRAINED] = [100_000, 100];
const SLOTS = 2;
const START_DEADLINE_MS = 10 * 60_000;

interface Filling {
  readonly figures: { first: number; last: number; memory: number };
}

/** @param submit takes so many jobs @param memory of what keeps them, in bytes */
async function fill(
  jobs: number,
  submit: (count: number) => Promise<void>,
  memory: () => number,
): Promise<Filling> {
  const rates: number[] = [];
  for (let part = 0; part < PARTS; part++) {
    const from = performance.now();
    await submit(jobs / PARTS);
    rates.push((jobs / PARTS / (performance.now() - from)) * 1000);
  }
  const [first = 0, last = 0] = [rates[0], rates.at(-1)];
  return { figures: { first, last, memory: memory() / 1e6 } };
}

async function meshQueued({ isQuick }: Stage): Promise<Opened> {
  const [jobs, drained] = isQuick ? [QUICK_JOBS, QUICK_DRAINED] : [JOBS, DRAINED];
  const mesh = new MeshProcesses();
  const flags = ['--queue-limit', String(JOBS * 2), '--tasks', TASKS];
  let node = await mesh.start('one', { slots: 0, flags });
  const owned = async (): Promise<number> =>
    (await node.get<{ owned_jobs: number }>('/api/v1/status')).body.owned_jobs;
  return {
    runs: {
      fill: () =>
        fill(
          jobs,
          (count) => submitTo(node, count),
          () => memoryBytesOf(treeOf(node.pid)),
        ),
      start: async () => {
        await node.kill('SIGTERM');
        const from = performance.now();
        node = await mesh.start('one', { slots: SLOTS, flags, readyMs: START_DEADLINE_MS });
        const seconds = (performance.now() - from) / 1000;
        return { figures: { seconds, memory: memoryBytesOf(treeOf(node.pid)) / 1e6 } };
      },
      drain: () => drainRate(owned, drained),
    },
    close: () => mesh.stop(),
  };
}

async function bullmqQueued({ isQuick, folder }: Stage): Promise<Opened> {
  const [jobs, drained] = isQuick ? [QUICK_JOBS, QUICK_DRAINED] : [JOBS, DRAINED];
  const port = await freePort();
  let redis = await startRedis(folder, port, 'always');
  let queue = await openQueue(port);
  let worker: WorkerChild | undefined;
  const memory = (): number => memoryBytesOf(treeOf(redis.pid));
  const submit = (count: number): Promise<void> =>
    inFlight(Math.ceil(count / ARRAY), 2, (part) => {
      const many = Math.min(ARRAY, count - part * ARRAY);
      const one = (i: number) => ({ name: 'noop', data: paramsOf(part * ARRAY + i) });
      return queue.addBulk(Array.from({ length: many }, (_, i) => one(i)));
    });
  return {
    runs: {
      fill: () => fill(jobs, submit, memory),
      start: async () => {
        await queue.close();
        await redis.stop();
        const from = performance.now();
        redis = await startRedis(folder, port, 'always');
        queue = await openQueue(port);
        const seconds = (performance.now() - from) / 1000;
        return { figures: { seconds, memory: memory() / 1e6 } };
      },
      drain: async () => {
        const from = performance.now();
        worker = await WorkerChild.start('bullmq', { port });
        await worker.hasDone(drained);
        const rate = (drained / (performance.now() - from)) * 1000;
        return { figures: { rate }, jobs: drained };
      },
    },
    close: async () => {
      await worker?.stop();
      await queue.close();
      await redis.stop();
    },
  };
}

async function submitTo(node: NodeProcess, count: number): Promise<void> {
  const connections = [await HttpConnection.open(node.url), await HttpConnection.open(node.url)];
  await inFlight(Math.ceil(count / ARRAY), connections.length, async (part) => {
    const connection = connections.pop();
    const many = Math.min(ARRAY, count - part * ARRAY);
    const array = Array.from({ length: many }, (_, i) => ({
      task_type: 'noop',
      params: paramsOf(part * ARRAY + i),
    }));
    const answer = await connection?.ask(postRequest('/api/v1/jobs', array));
    if (answer?.status !== 201) throw new Error(`answered ${answer?.status}: ${answer?.body}`);
    if (connection) connections.push(connection);
  });
  for (const connection of connections) connection.close();
}

async function drainRate(left: () => Promise<number>, drained: number): Promise<Sample> {
  const [from, first] = [performance.now(), await left()];
  let now = first;
  await eventually(50, async () => {
    now = await left();
    return now <= first - drained;
  });
  const done = first - now;
  return { figures: { rate: (done / (performance.now() - from)) * 1000 }, jobs: done };
}

export const queued: Row = {
  name: 'queued',
  what: 'A million jobs that wait, on one node: taking them, starting with them, working them off',
  rounds: 1,
  isWarm: false,
  deadlineMs: 30 * 60_000,
  lines: [
    {
      run: 'fill',
      figure: 'first',
      what: 'taken, the first tenth',
      unit: 'jobs/s',
      better: 'more',
    },
    { run: 'fill', figure: 'last', what: 'taken, the last tenth', unit: 'jobs/s', better: 'more' },
    { run: 'fill', figure: 'memory', what: 'memory then', unit: 'MB', better: 'less' },
    { run: 'start', figure: 'seconds', what: 'started again with them', unit: 's', better: 'less' },
    { run: 'start', figure: 'memory', what: 'memory after that', unit: 'MB', better: 'less' },
    { run: 'drain', figure: 'rate', what: '100,000 worked off', unit: 'jobs/s', better: 'more' },
  ],
  contestants: [
    { name: 'mesh up', isMesh: true, keeps: 'one disk, fsync', open: meshQueued },
    { ...bullmq('always'), open: (stage) => bullmqQueued(stage) },
  ],
};
