/**
 * All that will be done to a mesh in one run, made from a seed before it starts: nodes, jobs and
 * faults, each with its time. A plan is data, so that a failing run can be shrunk by leaving out
 * parts of it and kept as a scenario file; what is left to chance during the run (delays, loss,
 * who ignores a signal) comes from the same seed, a stream per node.
 */

import { type Random, randomBelow, seededRandom } from '../../src/base/random.ts';
import type { Leaving } from '../../src/core/inputs.ts';

export interface Plan {
  readonly seed: number;
  readonly nodes: readonly NodePlan[];
  readonly jobs: readonly JobPlan[];
  readonly faults: readonly Fault[];
  readonly network: NetworkPlan;
  /** From then on nothing is done to the mesh any more, and it must come to rest. */
  readonly faultsEndAt: number;
  /** Often longer than a lease: what ignores SIGTERM must end with its lease all the same. */
  readonly killGraceMs: number;
}

export interface NodePlan {
  readonly slots: number;
  readonly taskTypes: readonly string[];
  readonly joinsAt: number;
  /** Its clock against the world's. */
  readonly rate: number;
  /** A supervisor outlives the node; else a guard ends its attempts within a second. */
  readonly isSupervised: boolean;
}

export interface NetworkPlan {
  /** Parts of all messages, 0 to 1; with `isOrdered` neither: a link then is what TCP promises. */
  readonly loss: number;
  readonly duplication: number;
  readonly isOrdered: boolean;
  /** Heartbeats lost on their way. */
  readonly hintLoss: number;
  /** 1: a LAN, 0.3 to 1.3 ms. */
  readonly delay: number;
}

export interface JobPlan {
  readonly at: number;
  /** Index of the node that is asked; another that is up takes its place. */
  readonly via: number;
  /** Jobs of one key are one job. */
  readonly key?: number | undefined;
  readonly durationMs: number;
  readonly code: number;
  readonly taskType: string;
  readonly timeoutMs: number;
  readonly priority: number;
  readonly target?: number | undefined;
  readonly delivery: 'at_least_once' | 'at_most_once';
  readonly onIsolation: 'stop' | 'continue';
  readonly replicas?: 1 | 2 | 3 | undefined;
  readonly cancelAfterMs?: number | undefined;
}

/** Where in a turn a node dies. */
export type CrashPoint =
  /** The disk has nothing of the turn. */
  | 'beforeCommit'
  /** It has all of it, and nothing else came of it. */
  | 'afterCommit'
  /** One peer was sent what another one was not. */
  | 'afterFirstSend'
  /** A client was told, and nothing came after that. */
  | 'afterReply';

export type Fault = { readonly at: number; readonly node: number } & (
  | { readonly kind: 'crash'; readonly downMs: number }
  | { readonly kind: 'crashPoint'; readonly point: CrashPoint; readonly downMs: number }
  /** The node, its supervisor and its attempts at once. */
  | { readonly kind: 'hostCrash'; readonly downMs: number }
  /** SIGSTOP: the node stands still, its attempts run on. */
  | { readonly kind: 'freeze'; readonly ms: number }
  /** The machine stands still; `isClockStopped`: and thinks afterwards that no time has passed. */
  | { readonly kind: 'suspend'; readonly ms: number; readonly isClockStopped: boolean }
  /** The node answers, but its timers do not fire. */
  | { readonly kind: 'starve'; readonly ms: number }
  | { readonly kind: 'clockJump'; readonly ms: number }
  /** One way: the others hear the group, but are not heard. */
  | {
      readonly kind: 'partition';
      readonly group: readonly number[];
      readonly isOneWay: boolean;
      readonly ms: number;
    }
  /** No word between these two, whatever the others hear; one way: only `peer` is not heard. */
  | {
      readonly kind: 'cut';
      readonly peer: number;
      readonly isOneWay: boolean;
      readonly ms: number;
    }
  /** `isHalf`: only this end notices. What was under way is lost. */
  | { readonly kind: 'linkDrop'; readonly peer: number; readonly isHalf: boolean }
  | { readonly kind: 'fullDisk'; readonly ms: number }
  /** Every other commit fails or so. */
  | { readonly kind: 'failingDisk'; readonly ms: number }
  /** The machine comes back as a new node with an empty disk. */
  | { readonly kind: 'loseDisk'; readonly backAfterMs: number }
  /** Its disk is set back to what it was then; after a while it is replaced by an empty one. */
  | { readonly kind: 'oldDisk'; readonly copiedAt: number; readonly backAfterMs: number }
  /** `leave`: for good, unless it has to come back for what it could not hand over. */
  | {
      readonly kind: 'drain';
      readonly deadlineMs: number;
      readonly way: Leaving;
      readonly backAfterMs: number;
    }
);

export type FaultKind = Fault['kind'];

const FAULTS_MS = 60_000;
const JOBS_UNTIL_MS = 0.8 * FAULTS_MS;

/** One seed in eight has no faults at all; the others each have a mixture of their own. */
export function planOf(seed: number): Plan {
  const random = seededRandom(seed ^ 0x5eed);
  const count = [1, 2, 2, 3, 3, 3, 5, 5, 9][randomBelow(random, 9)] ?? 3;
  const isCalm = seed % 8 === 0;
  const isOrdered = isCalm || random() < 0.5;
  const nodes = Array.from({ length: count }, (_, i) => nodeOf(random, i, isCalm));
  const faults = isCalm ? [] : faultsOf(random, count);
  if (!isCalm && count === 2) faults.push(...muteReunionsOf(seed));
  faults.sort((a, b) => a.at - b.at);
  const spared = sparedOf(faults, count);
  const isBusy = random() < 0.3;
  const jobs = Array.from({ length: (isBusy ? 30 : 10) + randomBelow(random, 30) }, () =>
    jobOf(random, { nodes: count, spared, isBusy }),
  );
  return {
    seed,
    nodes,
    jobs: withContentOfKeys(jobs.sort((a, b) => a.at - b.at)),
    faults,
    network: {
      loss: isOrdered ? 0 : random() * 0.15,
      duplication: isOrdered ? 0 : random() * 0.1,
      hintLoss: isCalm ? 0 : random() * 0.3,
      isOrdered,
      delay: isCalm || random() < 0.7 ? 1 : 1 + random() * 30,
    },
    faultsEndAt: FAULTS_MS,
    killGraceMs: random() < 0.6 ? 500 : 1000 + random() * 20_000,
  };
}

function nodeOf(random: Random, index: number, isCalm: boolean): NodePlan {
  return {
    slots: 1 + randomBelow(random, 3),
    // The first node serves every type and is never lost, so no job waits for ever.
    taskTypes: index === 0 || random() < 0.6 ? ['convert', 'shell'] : ['shell'],
    joinsAt: random() * 2000 + (!isCalm && index > 0 && random() < 0.1 ? random() * 40_000 : 0),
    rate: 0.98 + 0.04 * random(),
    isSupervised: random() < 0.7,
  };
}

function jobOf(
  random: Random,
  { nodes, spared, isBusy }: { nodes: number; spared: readonly number[]; isBusy: boolean },
): JobPlan {
  const target = random() < 0.1 ? spared[randomBelow(random, spared.length)] : undefined;
  return {
    at: 1000 + random() * JOBS_UNTIL_MS,
    via: randomBelow(random, nodes),
    key: random() < 0.2 ? randomBelow(random, 5) : undefined,
    durationMs: Math.round(
      random() < (isBusy ? 0.5 : 0.2) ? 3000 + random() * 20_000 : random() * 1500,
    ),
    code: random() < 0.15 ? 1 + randomBelow(random, 100) : 0,
    taskType: target === undefined && random() < 0.2 ? 'convert' : 'shell',
    timeoutMs: random() < 0.1 ? 500 : 60_000,
    priority: 1 + randomBelow(random, 10),
    target,
    delivery: random() < 0.15 ? 'at_most_once' : 'at_least_once',
    onIsolation: random() < 0.1 ? 'continue' : 'stop',
    replicas: random() < 0.15 ? ([1, 2, 3] as const)[randomBelow(random, 3)] : undefined,
    cancelAfterMs: random() < 0.25 ? random() * 8000 : undefined,
  };
}

/** Whoever submits a key again submits the same again: another content would be a conflict. */
function withContentOfKeys(jobs: readonly JobPlan[]): JobPlan[] {
  const firsts = new Map<number, JobPlan>();
  return jobs.map((job) => {
    if (job.key === undefined) return job;
    const first = firsts.get(job.key) ?? job;
    firsts.set(job.key, first);
    const { at, via, cancelAfterMs } = job;
    return { ...first, at, via, cancelAfterMs };
  });
}

/** Nodes that are still themselves in the end. */
function sparedOf(faults: readonly Fault[], count: number): number[] {
  const lost = new Set(faults.filter(isForEver).map(({ node }) => node));
  return Array.from({ length: count }, (_, i) => i).filter((i) => !lost.has(i));
}

const isForEver = (fault: Fault): boolean =>
  fault.kind === 'loseDisk' ||
  fault.kind === 'oldDisk' ||
  (fault.kind === 'drain' && fault.way === 'leave');

// ---------------------------------------------------------------- faults

const mean = (random: Random, ms: number): number => -Math.log(1 - random()) * ms;

/** Each kind is on in some seeds only, and in each of them as often as the dice say. */
function faultsOf(random: Random, nodes: number): Fault[] {
  const faults: Fault[] = [];
  for (const kind of REPEATED) {
    if (random() >= kind.chance) continue;
    const everyMs = kind.everyMs * (0.5 + 1.5 * random());
    for (let at = mean(random, everyMs); at < FAULTS_MS; at += mean(random, everyMs))
      faults.push({ at, node: randomBelow(random, nodes), ...kind.make(random, nodes) } as Fault);
  }
  if (nodes > 1 && random() < 0.35) faults.push(lossOf(random, nodes));
  return faults.sort((a, b) => a.at - b.at);
}

/** At most one disk is lost in a run, and not that of the first node. */
function lossOf(random: Random, nodes: number): Fault {
  const at = 10_000 + random() * 40_000;
  const node = 1 + randomBelow(random, nodes - 1);
  const backAfterMs = random() * 20_000;
  const kind = random();
  if (kind < 0.5) return { at, node, kind: 'loseDisk', backAfterMs };
  if (kind < 0.7) return { at, node, kind: 'oldDisk', copiedAt: random() * at, backAfterMs };
  return { at, node, kind: 'drain', way: 'leave', deadlineMs: 20_000, backAfterMs };
}

/**
 * A pair that is parted for so long that each decides alone, meets again while one disk takes no
 * writes, so that nothing but pongs can be told, and loses that node: the one moment in which only
 * the marks in its pongs keep the other from following. The dice of its own leave those of the seed
 * as they are.
 */
function muteReunionsOf(seed: number): Fault[] {
  const random = seededRandom(seed ^ 0x9a12);
  if (random() < 0.6) return [];
  return [5000, 30_000].flatMap((at): Fault[] => {
    const node = randomBelow(random, 2);
    const ms = 9000 + random() * 3000;
    const crashAt = at + ms + 1000 + random() * 3000;
    return [
      { at, node: 0, kind: 'partition', group: [0], isOneWay: false, ms },
      { at: at + ms - 200, node, kind: 'fullDisk', ms: 5000 },
      { at: crashAt, node, kind: 'crash', downMs: 1000 + random() * 8000 },
    ];
  });
}

interface Repeated {
  readonly chance: number;
  readonly everyMs: number;
  readonly make: (random: Random, nodes: number) => object;
}

const downMs = (random: Random): number => 50 + mean(random, random() < 0.5 ? 1500 : 8000);
const POINTS: readonly CrashPoint[] = [
  'beforeCommit',
  'afterCommit',
  'afterFirstSend',
  'afterReply',
];

const REPEATED: readonly Repeated[] = [
  { chance: 0.5, everyMs: 8000, make: (random) => ({ kind: 'crash', downMs: downMs(random) }) },
  {
    chance: 0.5,
    everyMs: 7000,
    make: (random) => ({
      kind: 'crashPoint',
      point: POINTS[randomBelow(random, POINTS.length)],
      downMs: downMs(random),
    }),
  },
  {
    chance: 0.3,
    everyMs: 15_000,
    make: (random) => ({ kind: 'hostCrash', downMs: downMs(random) }),
  },
  {
    chance: 0.35,
    everyMs: 10_000,
    make: (random) => ({ kind: 'freeze', ms: 200 + mean(random, 5000) }),
  },
  {
    chance: 0.2,
    everyMs: 15_000,
    make: (random) => ({
      kind: 'suspend',
      ms: 200 + mean(random, 6000),
      isClockStopped: random() < 0.3,
    }),
  },
  {
    chance: 0.25,
    everyMs: 10_000,
    make: (random) => ({ kind: 'starve', ms: 200 + mean(random, 4000) }),
  },
  {
    chance: 0.2,
    everyMs: 15_000,
    make: (random) => ({ kind: 'clockJump', ms: (random() - 0.5) * 1e8 }),
  },
  {
    chance: 0.5,
    everyMs: 12_000,
    make: (random, nodes) => ({
      kind: 'partition',
      group: Array.from({ length: nodes }, (_, i) => i).filter(() => random() < 0.5),
      isOneWay: random() < 0.3,
      ms: mean(random, 8000),
    }),
  },
  {
    chance: 0.3,
    everyMs: 8000,
    make: (random, nodes) => ({
      kind: 'cut',
      peer: randomBelow(random, nodes),
      isOneWay: random() < 0.3,
      ms: mean(random, 10_000),
    }),
  },
  {
    chance: 0.35,
    everyMs: 5000,
    make: (random, nodes) => ({
      kind: 'linkDrop',
      peer: randomBelow(random, nodes),
      isHalf: random() < 0.4,
    }),
  },
  {
    chance: 0.25,
    everyMs: 18_000,
    make: (random) => ({ kind: 'fullDisk', ms: 500 + mean(random, 6000) }),
  },
  {
    chance: 0.15,
    everyMs: 18_000,
    make: (random) => ({ kind: 'failingDisk', ms: 500 + mean(random, 6000) }),
  },
  {
    chance: 0.3,
    everyMs: 18_000,
    make: (random) => ({
      kind: 'drain',
      way: random() < 0.5 ? 'stop' : 'restart',
      deadlineMs: random() * 15_000,
      backAfterMs: 200 + mean(random, 4000),
    }),
  },
];
