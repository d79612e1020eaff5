/**
 * What will be done to a mesh, decided before anything starts: from a seed, as data. The same seed
 * plans the same faults and jobs; what the mesh makes of them depends on the machine's scheduler,
 * so a seed repeats the attempt, not the outcome.
 *
 * Kinds of faults are drawn from a bag that is refilled when it is empty: a short run meets each
 * kind before it meets one twice. Most faults have the mesh to themselves, so that the time of
 * recovery means something; about a third overlap with another node's.
 */
import { type Random, randomBelow, seededRandom } from '../base/random.ts';

/** Kind → what it does; the order is that of the help text. */
export const FAULTS = {
  kill: 'SIGKILL to the node process, started again after 0.5 to 20 s',
  freeze: 'SIGSTOP to the node process for 1 to 20 s; its jobs run on',
  restart: 'SIGTERM, started again when it has ended',
  drain: 'SIGINT: it hands over and leaves, and is started again',
  rolling: 'SIGTERM and a new start of one node after the other',
  host: 'SIGKILL to the node, its supervisor and its jobs at once',
  'host-freeze': 'SIGSTOP to all of these for 1 to 20 s',
  cut: "the node's cable is pulled for 1 to 20 s (--namespaces)",
  'one-way': 'it hears nothing of one other node (--namespaces)',
  udp: 'it neither sends nor gets datagrams (--namespaces)',
  loss: 'it loses 5 to 40 % of all packets (--namespaces)',
  disk: 'the disk of the last node is full for 2 to 15 s (root)',
} as const;

export type FaultKind = keyof typeof FAULTS;

export const isFaultKind = (text: string): text is FaultKind => Object.hasOwn(FAULTS, text);

export interface PlannedFault {
  readonly kind: FaultKind;
  /** Index of the node; of `rolling` the first of all. */
  readonly node: number;
  /** Of `one-way`: the node that is not heard. */
  readonly other?: number;
  readonly atMs: number;
  /** Until it is healed; a restart takes what it takes. */
  readonly forMs: number;
  /** Of `loss`: share of the packets. */
  readonly share?: number;
}

/** What kind of job, each with the end it must come to. */
export type JobKind =
  | 'short'
  | 'long'
  /** Like long, and ignores SIGTERM. */
  | 'stubborn'
  /** Exits with 3. */
  | 'failing'
  /** Long, and cancelled on its way. */
  | 'cancelled'
  /** Submitted at two nodes at the same time with one idempotency key. */
  | 'keyed'
  | 'at-most-once'
  /** Accepted only with all three disks. */
  | 'three-disks'
  /** Runs on without its lease, perhaps beside another execution. */
  | 'unleased';

export interface PlannedJob {
  readonly label: string;
  readonly kind: JobKind;
  readonly atMs: number;
  /** How long its command takes. */
  readonly runsMs: number;
  readonly exitCode: number;
  /** After the submit. */
  readonly cancelAfterMs?: number;
  /** In [0, 1): which of the nodes that live then is asked first, and which second. */
  readonly dice: readonly [number, number];
}

export interface Plan {
  readonly seed: number;
  /** Faults begin and jobs come within this time. */
  readonly durationMs: number;
  readonly faults: readonly PlannedFault[];
  readonly jobs: readonly PlannedJob[];
}

export interface PlanOptions {
  readonly seed: number;
  readonly durationMs: number;
  readonly nodes: number;
  /** Kinds to draw from, without repetition. */
  readonly faults: readonly FaultKind[];
  readonly jobsPerSecond: number;
  /** No outage lasts longer, and pauses are shorter in proportion; undefined: 20 s. */
  readonly longestMs?: number | undefined;
}

export function planTorture(options: PlanOptions): Plan {
  const { seed, durationMs } = options;
  // Each has its own dice, so that other jobs do not mean other faults.
  const faults = planFaults(options, seededRandom(seed));
  const jobs = planJobs(options, seededRandom(seed ^ 0x5bd1e995));
  return { seed, durationMs, faults, jobs };
}

// ---------------------------------------------------------------- faults

/** The mesh has found itself, and first jobs run. */
const CALM_START_MS = 2000;
const OVERLAP_SHARE = 0.3;
const GAP_MS = [1000, 5000] as const;
/** A node that was started again needs a moment before its next fault means anything. */
export const REST_MS = 3000;
/** What a start, or the end of a node by SIGTERM, is taken to last. */
const RESTART_MS = 4000;
/** Half of the outages are within the time in which a node can take its attempts up again. */
const SHORT_MS = [500, 4000] as const;
const LONG_MS = [5000, 20_000] as const;
/** No outage of a short run takes more than this part of it. */
const LONGEST_SHARE = 0.3;

function planFaults(options: PlanOptions, random: Random): PlannedFault[] {
  const { durationMs, nodes } = options;
  const planned: PlannedFault[] = [];
  const bag = new Bag(options.faults, random);
  const scale = (options.longestMs ?? LONG_MS[1]) / LONG_MS[1];
  const freeAt: number[] = Array.from({ length: nodes }, () => CALM_START_MS);
  let atMs = CALM_START_MS;
  for (let kind = bag.draw(); kind !== undefined && atMs < durationMs; kind = bag.draw()) {
    const node = kind === 'disk' ? nodes - 1 : randomBelow(random, nodes);
    const other = (node + 1 + randomBelow(random, Math.max(1, nodes - 1))) % nodes;
    const share = 0.05 + 0.35 * random();
    const drawnMs = outageMs(kind, random) * scale;
    const touched = nodesOf(kind, node, other, nodes);
    atMs = Math.max(atMs, ...touched.map((index) => freeAt[index] ?? 0));
    const forMs = Math.min(drawnMs, Math.round(durationMs * LONGEST_SHARE), durationMs - atMs);
    if (forMs < 0) break;
    planned.push({
      kind,
      node,
      atMs: Math.round(atMs),
      forMs: Math.round(forMs),
      ...(kind === 'one-way' && { other }),
      ...(kind === 'loss' && { share: Math.round(share * 100) / 100 }),
    });
    const healedAt = atMs + lastsMs(kind, forMs, nodes);
    for (const index of touched) freeAt[index] = healedAt + REST_MS;
    const gapMs = between(random, GAP_MS) * scale;
    atMs = (random() < OVERLAP_SHARE ? atMs : healedAt) + gapMs;
  }
  return planned;
}

function outageMs(kind: FaultKind, random: Random): number {
  const drawn = between(random, random() < 0.5 ? SHORT_MS : LONG_MS);
  switch (kind) {
    case 'restart':
    case 'drain':
    case 'rolling':
      return 0;
    case 'kill':
      return drawn;
    case 'disk':
      return Math.min(15_000, Math.max(2000, drawn));
    default:
      return Math.max(1000, drawn);
  }
}

function nodesOf(kind: FaultKind, node: number, other: number, nodes: number): number[] {
  if (kind === 'rolling') return Array.from({ length: nodes }, (_, index) => index);
  return kind === 'one-way' ? [node, other] : [node];
}

function lastsMs(kind: FaultKind, forMs: number, nodes: number): number {
  if (kind === 'rolling') return nodes * RESTART_MS;
  return kind === 'restart' || kind === 'drain' ? RESTART_MS : forMs;
}

/** Gives each of its things once, in a random order, before it gives any again. */
class Bag<Thing> {
  private readonly things: readonly Thing[];
  private readonly random: Random;
  private left: Thing[] = [];

  constructor(things: readonly Thing[], random: Random) {
    this.things = things;
    this.random = random;
  }

  /** Undefined: there is nothing in it. */
  draw(): Thing | undefined {
    if (this.left.length === 0) this.left = [...this.things];
    return this.left.splice(randomBelow(this.random, this.left.length), 1)[0];
  }
}

// ---------------------------------------------------------------- jobs

/** Of a hundred jobs; the rest are short. */
const SHARES: readonly (readonly [JobKind, number])[] = [
  ['long', 5],
  ['stubborn', 2],
  ['failing', 8],
  ['cancelled', 7],
  ['keyed', 12],
  ['at-most-once', 8],
  ['three-disks', 6],
  ['unleased', 3],
];

function planJobs(options: PlanOptions, random: Random): PlannedJob[] {
  const { durationMs, jobsPerSecond } = options;
  const jobs: PlannedJob[] = [];
  let atMs = 0;
  for (;;) {
    // Waiting times of a Poisson stream: bunches and gaps, as people make them.
    atMs += (-Math.log(1 - random()) * 1000) / jobsPerSecond;
    if (!(atMs < durationMs)) return jobs;
    jobs.push(planJob(drawKind(random), jobs.length + 1, Math.round(atMs), random));
  }
}

function drawKind(random: Random): JobKind {
  let rest = random() * 100;
  for (const [kind, share] of SHARES) {
    if (rest < share) return kind;
    rest -= share;
  }
  return 'short';
}

function planJob(kind: JobKind, serial: number, atMs: number, random: Random): PlannedJob {
  // All dice are rolled for every kind: one job's kind does not change the next job.
  const short = between(random, [20, 600]);
  const long = between(random, [5000, 20_000]);
  const middle = between(random, [500, 6000]);
  const cancelAfterMs = Math.round(between(random, [0, 4000]));
  const dice = [random(), random()] as const;
  const isLong = kind === 'long' || kind === 'stubborn' || kind === 'cancelled';
  const isMiddle = kind === 'at-most-once' || kind === 'unleased';
  const runsMs = Math.round(isLong ? long : isMiddle ? middle : short);
  return {
    label: `${kind}-${serial}`,
    kind,
    atMs,
    runsMs,
    exitCode: kind === 'failing' ? 3 : 0,
    dice,
    ...(kind === 'cancelled' && { cancelAfterMs }),
  };
}

const between = (random: Random, [low, high]: readonly [number, number]): number =>
  low + (high - low) * random();
