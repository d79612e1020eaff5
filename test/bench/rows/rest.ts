/** What a mesh costs that has nothing to do, and how soon it is one. */
import { readFileSync } from 'node:fs';
import { freemem } from 'node:os';
import { MeshProcesses, type NodeProcess } from '../../e2e/mesh-processes.ts';
import { type Contestant, type Row, type Sample, type Stage, Unavailable } from '../frame/row.ts';
import { quantile } from '../frame/statistics.ts';
import { cpuSecondsOf } from '../frame/usage.ts';

const [SETTLE_MS, REST_MS] = [10_000, 20_000];
const [QUICK_SETTLE_MS, QUICK_REST_MS] = [100, 1000];
const MOST_IN_QUICK = 3;
/** While it starts; at rest it is half of that. */
const BYTES_PER_NODE = 200e6;
const STARTS = 20;

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

const meshOf = (count: number): Contestant => ({
  name: `a mesh of ${count}`,
  isMesh: true,
  keeps: '',
  hasOwnNetwork: true,
  open: async ({ isQuick }) => {
    if (isQuick && count > MOST_IN_QUICK)
      throw new Unavailable('left out of a quick run, as it starts many processes');
    if (freemem() < count * BYTES_PER_NODE)
      throw new Unavailable(`it needs ${(count * BYTES_PER_NODE) / 1e9} GB of free memory`);
    return { runs: { rest: () => started(count, isQuick) }, close: async () => {} };
  },
});

/** Only while it is its turn, or the others would not be at rest. */
async function started(count: number, isQuick: boolean): Promise<Sample> {
  const mesh = new MeshProcesses();
  try {
    const nodes: NodeProcess[] = [];
    for (let i = 1; i <= count; i++) nodes.push(await mesh.start(`n${i}`));
    await Promise.all(nodes.map((node) => node.seesPeers(count - 1, 60_000)));
    await pause(isQuick ? QUICK_SETTLE_MS : SETTLE_MS);
    return await atRest(nodes, isQuick ? QUICK_REST_MS : REST_MS);
  } finally {
    await mesh.stop();
  }
}

/** All of one node on average. The network is the contestant's own, so all bytes are the mesh's. */
async function atRest(nodes: readonly NodeProcess[], forMs: number): Promise<Sample> {
  const cpu = (): number => nodes.reduce((sum, { pid }) => sum + cpuSecondsOf(pid), 0);
  const [cpuBefore, bytesBefore, from] = [cpu(), bytesSent(), performance.now()];
  await pause(forMs);
  const seconds = (performance.now() - from) / 1000;
  const perNode = (all: number): number => all / nodes.length;
  const resident = nodes.reduce((sum, { pid }) => sum + residentBytes(pid), 0);
  const bytes = bytesSent();
  return {
    figures: {
      cpu: perNode((cpu() - cpuBefore) / seconds) * 100,
      resident: perNode(resident) / 1e6,
      ...(bytes !== undefined &&
        bytesBefore !== undefined && { bytes: perNode((bytes - bytesBefore) / seconds) }),
    },
  };
}

/** Undefined where the network is shared with others. */
function bytesSent(): number | undefined {
  if (process.env.BENCH_OWN_NETWORK === undefined) return undefined;
  const line = /\n\s*lo:(.*)/.exec(readFileSync('/proc/self/net/dev', 'latin1'))?.[1] ?? '';
  return Number(line.trim().split(/\s+/)[8]);
}

function residentBytes(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, 'latin1');
  return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) * 1024;
}

export const rest: Row = {
  name: 'rest',
  what: 'A mesh at rest, all nodes on this machine: one node of it on average',
  rounds: 1,
  isWarm: false,
  deadlineMs: 10 * 60_000,
  lines: [
    { run: 'rest', figure: 'cpu', what: 'processor', unit: '% of a core', better: 'less' },
    { run: 'rest', figure: 'resident', what: 'resident memory', unit: 'MB', better: 'less' },
    {
      run: 'rest',
      figure: 'bytes',
      what: 'sent over the network',
      unit: 'bytes/s',
      better: 'less',
    },
  ],
  contestants: [meshOf(3), meshOf(10), meshOf(50)],
  note: 'Bytes are those of the loopback of a network namespace of its own, with all headers; heartbeats go there by broadcast and multicast.',
};

/** From the start of a third process until each of the three lists both others. */
async function discovered({ isQuick }: Stage): Promise<Sample> {
  const took: number[] = [];
  const mesh = new MeshProcesses();
  try {
    const two = [await mesh.start('one'), await mesh.start('two')];
    for (let i = 0; i < (isQuick ? 1 : STARTS); i++) {
      const from = performance.now();
      const third = await mesh.start(`third-${i}`);
      await Promise.all([third, ...two].map((node) => node.seesPeers(2)));
      took.push(performance.now() - from);
      await third.kill('SIGINT');
      await Promise.all(two.map((node) => node.seesPeers(1)));
    }
  } finally {
    await mesh.stop();
  }
  return { figures: { p50: quantile(took, 0.5), p99: quantile(took, 0.99) } };
}

export const discovery: Row = {
  name: 'discovery',
  what: `A third node starts: until all three see each other, ${STARTS} times`,
  rounds: 1,
  isWarm: false,
  deadlineMs: 10 * 60_000,
  lines: ['p50', 'p99'].map((figure) => ({
    run: 'start',
    figure,
    what: figure,
    unit: 'ms',
    better: 'less',
  })),
  contestants: [
    {
      name: 'mesh up',
      isMesh: true,
      keeps: '',
      open: async (stage) => ({
        runs: { start: () => discovered(stage) },
        close: async () => {},
      }),
    },
  ],
  note: 'The start of the process is in it, and looking for the end every 50 ms.',
};
