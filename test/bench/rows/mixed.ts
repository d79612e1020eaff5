/** Short jobs beside long ones, while somebody looks on. */
import type { NodeProcess } from '../../e2e/mesh-processes.ts';
import type { Opened, Row, Sample, Stage } from '../frame/row.ts';
import { quantile } from '../frame/statistics.ts';
import { meshQueue } from '../mesh/mesh-queue.ts';
import { startNodes } from '../mesh/node-processes.ts';
import { bullmq, openBullmq } from '../peers/bullmq.ts';
import { paramsOf } from '../peers/queue.ts';

const LONG = 20;
/** Of a node: the long ones take most of three, and some are left for the short ones. */
const SLOTS = 9;
const [SHORT, QUICK_SHORT] = [300, 5];
/** Between two short ones, whether or not the last has ended. */
const EVERY_MS = 50;
/** Long enough to be there until the end. */
const LONG_COMMAND = 'while :; do echo still here; sleep 0.5; done';
const SHORT_COMMAND = 'true';

/** So many, each submitted in its time; figures are of the time from the submit to the seen end. */
async function stream(
  { isQuick }: Stage,
  roundTrip: (i: number) => Promise<void>,
): Promise<Sample> {
  const count = isQuick ? QUICK_SHORT : SHORT;
  const took: number[] = [];
  const one = async (i: number): Promise<void> => {
    await new Promise((resolve) => setTimeout(resolve, i * EVERY_MS));
    const from = performance.now();
    await roundTrip(i);
    took.push(performance.now() - from);
  };
  await Promise.all(Array.from({ length: count }, (_, i) => one(i)));
  return { figures: { p50: quantile(took, 0.5), p99: quantile(took, 0.99) }, jobs: count };
}

async function onMesh(stage: Stage): Promise<Opened> {
  const { nodes, stop } = await startNodes(['one', 'two', 'three'], { slots: SLOTS });
  const [one] = nodes;
  if (!one) throw new Error('no node was started');
  const queue = meshQueue({ url: one.url, close: stop });
  const watchers: AbortController[] = [];
  const short = () => stream(stage, () => queue.roundTripOf({ command: SHORT_COMMAND }));
  return {
    runs: {
      alone: short,
      beside: async () => {
        if (watchers.length === 0) watchers.push(...(await startLong(one)));
        return short();
      },
    },
    close: async () => {
      for (const watcher of watchers) watcher.abort();
      await stop();
    },
  };
}

/** The long ones run to the end of the row. */
async function startLong(node: NodeProcess): Promise<AbortController[]> {
  const jobs = await Promise.all(
    Array.from({ length: LONG }, () => node.submit(LONG_COMMAND, { timeout_seconds: 36_000 })),
  );
  for (const job of jobs) await node.jobIs(job, ['JOB_RUNNING']);
  return watch(node.url, jobs[0] ?? '');
}

/** A follower of a job, and a page that shows what happens. */
function watch(url: string, job: string): AbortController[] {
  return [`/api/v1/jobs/${job}/events`, '/api/v1/events'].map((path) => {
    const watcher = new AbortController();
    const read = async (): Promise<void> => {
      const answer = await fetch(url + path, { signal: watcher.signal });
      for await (const _ of answer.body ?? []) watcher.signal.throwIfAborted();
    };
    read().catch(() => {});
    return watcher;
  });
}

async function onBullmq(stage: Stage): Promise<Opened> {
  const queue = await openBullmq(stage, 'always', 'latency');
  const short = () =>
    stream(stage, (i) => queue.roundTrip({ ...paramsOf(i), command: SHORT_COMMAND }));
  let isBusy = false;
  return {
    runs: {
      alone: short,
      beside: async () => {
        for (let i = 0; i < (isBusy ? 0 : LONG); i++)
          await queue.submit({ ...paramsOf(i), command: `${LONG_COMMAND} >/dev/null` });
        isBusy = true;
        return short();
      },
    },
    close: () => queue.close(),
  };
}

export const mixed: Row = {
  name: 'mixed',
  what: `Short commands, ${1000 / EVERY_MS} a second, from the submit to the seen end`,
  lines: [
    ['alone', 'with nothing else'],
    ['beside', `beside ${LONG} long ones that print, one of them followed, a page open`],
  ].flatMap(([run = '', what = '']) =>
    ['p50', 'p99'].map((figure) => ({
      run,
      figure,
      what: `${what}, ${figure}`,
      unit: 'ms',
      better: 'less' as const,
    })),
  ),
  contestants: [
    {
      name: 'mesh of three',
      isMesh: true,
      keeps: 'two disks of three, fsync; output on disk',
      open: onMesh,
    },
    { ...bullmq('always'), open: onBullmq },
  ],
  rounds: 2,
  note: 'BullMQ’s worker starts the commands itself, up to 100 at a time; it keeps no output.',
};
