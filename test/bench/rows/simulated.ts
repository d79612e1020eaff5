/** Meshes that are larger than this machine, in virtual time. */
import type { Line, Opened, Row, Sample, Stage } from '../frame/row.ts';
import { quantile } from '../frame/statistics.ts';
import {
  type Arrival,
  arrivalsOf,
  idealWaits,
  SimulatedMesh,
  SLOTS,
} from '../mesh/simulated-mesh.ts';

const LOADS = [0.7, 0.9];
/** About ten thousand jobs, whatever the size. */
const busyMs = (nodes: number, { isQuick }: Stage): number =>
  isQuick ? QUICK_BUSY_MS : (60_000 * 50) / nodes;
const QUICK_BUSY_MS = 2000;
const [REST_MS, QUICK_REST_MS] = [10_000, 1000];

/** Nodes of a mesh that is given work, and of one that is only formed. */
const WORKING = [50, 200];
const FORMED = [...WORKING, 1000];
const QUICK_NODES = 5;
/** What a small machine has time for. */
const REST_OF_THE_LARGEST_MS = 3000;

const electionName = (nodes: number, load: number): string => `elect-${nodes}-${load}`;

async function formed(nodes: number, { isQuick }: Stage): Promise<Sample> {
  const mesh = new SimulatedMesh(isQuick ? QUICK_NODES : nodes);
  const from = performance.now();
  const seconds = (await mesh.converge()) / 1000;
  const restMs = nodes > 200 ? REST_OF_THE_LARGEST_MS : REST_MS;
  const messages = await mesh.messagesAtRest(isQuick ? QUICK_REST_MS : restMs);
  const events = mesh.processed / ((performance.now() - from) / 1000) / 1e6;
  return { figures: { seconds, messages, events } };
}

async function elected(nodes: number, load: number, stage: Stage): Promise<Sample> {
  const count = stage.isQuick ? QUICK_NODES : nodes;
  const mesh = new SimulatedMesh(count);
  await mesh.converge();
  const arrivals = arrivalsOf(count, load, busyMs(nodes, stage));
  const { waits, messages } = await mesh.run(arrivals);
  return { figures: { ...figuresOf(arrivals, waits), messages } };
}

function ideal(nodes: number, load: number, stage: Stage): Sample {
  const count = stage.isQuick ? QUICK_NODES : nodes;
  const arrivals = arrivalsOf(count, load, busyMs(nodes, stage));
  return { figures: figuresOf(arrivals, idealWaits(count, arrivals)) };
}

/** Of all jobs: until its end on average, and until its start for the one in a hundred. */
function figuresOf(arrivals: readonly Arrival[], waits: readonly number[]): Sample['figures'] {
  const whole = arrivals.map(({ durationMs }, i) => durationMs + (waits[i] ?? Number.NaN));
  const mean = whole.reduce((sum, each) => sum + each, 0) / whole.length;
  return { mean, p99: quantile(waits, 0.99) };
}

const electionRuns = (elect: (nodes: number, load: number) => Promise<Sample>): Opened['runs'] =>
  Object.fromEntries(
    WORKING.flatMap((nodes) =>
      LOADS.map((load) => [electionName(nodes, load), () => elect(nodes, load)]),
    ),
  );

const formedLines = FORMED.flatMap((nodes): Line[] => {
  const run = `form-${nodes}`;
  return [
    {
      run,
      figure: 'seconds',
      what: `${nodes} nodes start: all know all after`,
      unit: 's',
      better: 'less',
    },
    {
      run,
      figure: 'messages',
      what: `${nodes} at rest: each sends`,
      unit: 'messages/s',
      better: 'less',
    },
    {
      run,
      figure: 'events',
      what: `${nodes}: the simulator’s speed`,
      unit: 'million events/s',
      better: 'more',
    },
  ];
});

const electionLines = WORKING.flatMap((nodes) =>
  LOADS.flatMap((load): Line[] => {
    const run = electionName(nodes, load);
    const what = `${nodes} nodes, ${load * 100} % load`;
    return [
      {
        run,
        figure: 'mean',
        what: `${what}: from a submit to its end, mean`,
        unit: 'ms',
        better: 'less',
      },
      { run, figure: 'p99', what: `${what}: until a job starts, p99`, unit: 'ms', better: 'less' },
      {
        run,
        figure: 'messages',
        what: `${nodes} nodes, ${load * 100} % load: for each job`,
        unit: 'messages',
        better: 'less',
      },
    ];
  }),
);

export const simulated: Row = {
  name: 'simulated',
  what: `Meshes in virtual time: nodes of ${SLOTS} slots, jobs of 1 s on average that come by chance`,
  rounds: 1,
  isWarm: false,
  deadlineMs: 30 * 60_000,
  lines: [...electionLines, ...formedLines],
  contestants: [
    {
      name: 'mesh, its core simulated',
      isMesh: true,
      keeps: 'replicated on three',
      open: async (stage) => ({
        runs: {
          ...electionRuns((nodes, load) => elected(nodes, load, stage)),
          ...Object.fromEntries(
            FORMED.map((nodes) => [`form-${nodes}`, () => formed(nodes, stage)]),
          ),
        },
        close: async () => {},
      }),
    },
    {
      name: 'an ideal central queue',
      isMesh: false,
      keeps: 'nothing: arithmetic',
      open: async (stage) => ({
        runs: electionRuns(async (nodes, load) => ideal(nodes, load, stage)),
        close: async () => {},
      }),
    },
  ],
  note: 'The ideal has no network: a free slot anywhere takes the oldest job at once. In the simulator one message in twenty is late by up to 300 ms, and a start takes several in a row.',
};
