/**
 * One run of a mesh in virtual time, wholly determined by its seed: a workload of jobs and
 * cancels, a nemesis that crashes, freezes, cuts and fills disks, then quiet, then the last checks.
 */
import { asBirth, asJobId, asRequestId } from '../../src/base/ids.ts';
import { type Random, randomBelow, seededRandom } from '../../src/base/random.ts';
import type { JobSpec } from '../../src/core/job.ts';
import { Checker } from './checker.ts';
import { EventQueue } from './event-queue.ts';
import { Network } from './network.ts';
import { SimNode } from './sim-node.ts';

export interface Profile {
  readonly nodes: number;
  readonly jobs: number;
  /** Mean milliseconds between faults of a kind; undefined: none of it. */
  readonly crashEveryMs?: number | undefined;
  readonly partitionEveryMs?: number | undefined;
  readonly freezeEveryMs?: number | undefined;
  readonly fullDiskEveryMs?: number | undefined;
  /** A node is told to shut down, and is started again. */
  readonly drainEveryMs?: number | undefined;
  /** Chance that a commit is the last act of a node. */
  readonly crashAtCommit: number;
  readonly loss: number;
  readonly duplication: number;
  /** Often longer than a lease: what ignores SIGTERM must end with its lease all the same. */
  readonly killGraceMs?: number | undefined;
}

export interface RunResult {
  readonly seed: number;
  readonly violations: readonly string[];
  readonly trace: number;
  readonly events: number;
  readonly simulatedMs: number;
  readonly acknowledged: number;
  readonly executions: number;
  readonly cancelled: number;
  readonly lost: number;
}

const FAULTS_MS = 60_000;
/** Leases, retries and redials are over after this, whatever happened. */
const QUIET_MS = 60_000;
/** A single slot may have had a long queue to work off: so much longer is waited, if need be. */
const PATIENCE_MS = 900_000;

/** One seed in eight has no faults at all; the others each have a mixture of their own. */
export function profileOf(seed: number): Profile {
  const random = seededRandom(seed ^ 0x5eed);
  const nodes = [1, 2, 3, 3, 5][randomBelow(random, 5)] ?? 3;
  const jobs = 10 + randomBelow(random, 30);
  if (seed % 8 === 0) return { nodes, jobs, crashAtCommit: 0, loss: 0, duplication: 0 };
  const maybe = (chance: number, least: number, spread: number): number | undefined =>
    random() < chance ? least + random() * spread : undefined;
  return {
    nodes,
    jobs,
    crashEveryMs: maybe(0.7, 3000, 20_000),
    partitionEveryMs: maybe(0.6, 5000, 25_000),
    freezeEveryMs: maybe(0.5, 5000, 25_000),
    fullDiskEveryMs: maybe(0.4, 10_000, 30_000),
    crashAtCommit: random() < 0.5 ? random() * 0.01 : 0,
    loss: random() < 0.6 ? random() * 0.15 : 0,
    duplication: random() < 0.6 ? random() * 0.1 : 0,
    killGraceMs: maybe(0.4, 1000, 20_000),
    drainEveryMs: maybe(0.4, 5000, 25_000),
  };
}

export async function simulate(
  seed: number,
  profile: Profile = profileOf(seed),
): Promise<RunResult> {
  const world = new World(seed, profile);
  await world.run();
  return world.result();
}

class World {
  private readonly seed: number;
  private readonly profile: Profile;
  private readonly random: Random;
  private readonly events = new EventQueue();
  private readonly checker: Checker;
  private readonly nodes: SimNode[] = [];
  private readonly network: Network;
  private submitted = 0;

  constructor(seed: number, profile: Profile) {
    this.seed = seed;
    this.profile = profile;
    this.random = seededRandom(seed);
    const { events, random } = this;
    this.checker = new Checker({
      nodes: () => new Map(this.nodes.map((node) => [node.id, node])),
      now: () => events.now,
    });
    for (let index = 0; index < profile.nodes; index++) {
      // The first node serves every type, so no job waits for ever.
      const taskTypes = index === 0 || random() < 0.6 ? ['convert', 'shell'] : ['shell'];
      const slots = 1 + randomBelow(random, 3);
      const { checker } = this;
      const { killGraceMs } = profile;
      this.nodes.push(
        new SimNode({ index, slots, taskTypes, events, random, checker, killGraceMs }),
      );
    }
    this.network = new Network(events, random, this.nodes);
  }

  async run(): Promise<void> {
    const { profile, network, events } = this;
    network.faults = {
      loss: profile.loss,
      duplication: profile.duplication,
      hintLoss: profile.loss,
    };
    for (const node of this.nodes) {
      node.crashAtCommit = profile.crashAtCommit;
      events.after(randomBelow(this.random, 2000), () => node.start(network));
    }
    for (let i = 0; i < profile.jobs; i++)
      events.after(1000 + this.random() * FAULTS_MS * 0.8, () => this.submit());
    this.startNemesis();
    await this.advance(FAULTS_MS);
    this.endFaults();
    await this.advance(FAULTS_MS + QUIET_MS);
    while (!this.checker.isSettled(this.nodes) && this.events.now < FAULTS_MS + PATIENCE_MS) {
      await this.advance(this.events.now + 5000);
      if (this.checker.violations.length > 0) break;
    }
    this.checker.checkEnd(this.nodes, isFaultless(profile));
  }

  /** Replies are promises: they are let through between slices of virtual time. */
  private async advance(until: number): Promise<void> {
    while (this.events.now < until) {
      this.events.runUntil(Math.min(until, this.events.now + 250));
      await Promise.resolve();
      if (this.checker.violations.length > 0) return;
    }
  }

  // -------------------------------------------------------------- workload

  private submit(): void {
    const node = this.anyNode();
    if (!node) return;
    const spec = this.anySpec();
    const isKeyed = this.random() < 0.2;
    const job = asJobId(isKeyed ? `key-${randomBelow(this.random, 5)}` : `job-${++this.submitted}`);
    // Keys of different nodes are different jobs here: their home is chosen above the core.
    const id = isKeyed ? asJobId(`${job}-${node.id}`) : job;
    const submission = {
      job: id,
      birth: asBirth(`b${this.events.now}`),
      spec,
      contentHash: 'same',
      isKeyed,
    };
    node.ask(
      (request) => ({ kind: 'submit', request, submission }),
      (reply) => this.checker.onReply(reply),
    );
    if (this.random() < 0.25) this.events.after(this.random() * 8000, () => this.cancel(id));
  }

  private cancel(job: ReturnType<typeof asJobId>): void {
    const owner = this.nodes.find((node) => node.disk.tables.records.has(job));
    owner?.ask(
      (request) => ({ kind: 'cancel', request: asRequestId(request), job }),
      (reply) => this.checker.onReply(reply),
    );
  }

  private anySpec(): JobSpec {
    const duration = this.random() < 0.2 ? 3000 + this.random() * 20_000 : this.random() * 1500;
    const code = this.random() < 0.15 ? 1 + randomBelow(this.random, 100) : 0;
    const target = this.random() < 0.1 ? this.anyNode()?.id : undefined;
    const taskType = target === undefined && this.random() < 0.2 ? 'convert' : 'shell';
    const timeoutMs = this.random() < 0.1 ? 500 : 60_000;
    const priority = 1 + randomBelow(this.random, 10);
    const command = `${Math.round(duration)} ${code}`;
    return {
      taskType,
      command,
      params: '{}',
      env: {},
      timeoutMs,
      priority,
      needs: { target, labels: {}, capabilities: {} },
    };
  }

  private anyNode(): SimNode | undefined {
    const up = this.nodes.filter((node) => node.isUp && !node.isFrozen);
    return up[randomBelow(this.random, up.length)];
  }

  // -------------------------------------------------------------- nemesis

  private startNemesis(): void {
    const { profile } = this;
    this.every(profile.crashEveryMs, () => this.anyNode()?.crash());
    this.every(profile.crashEveryMs ?? (profile.crashAtCommit > 0 ? 4000 : undefined), () =>
      this.restartOne(),
    );
    this.every(profile.partitionEveryMs, () => this.partition());
    this.every(profile.freezeEveryMs, () => this.anyNode()?.freeze(200 + this.random() * 9000));
    this.every(profile.fullDiskEveryMs, () => this.fillDisk());
    this.every(profile.drainEveryMs, () =>
      this.anyNode()?.push({ kind: 'drain', deadlineMs: this.random() * 15_000 }),
    );
  }

  private every(meanMs: number | undefined, act: () => void): void {
    if (meanMs === undefined) return;
    const next = -Math.log(1 - this.random()) * meanMs;
    this.events.after(next, () => {
      if (this.events.now >= FAULTS_MS) return;
      act();
      this.every(meanMs, act);
    });
  }

  private restartOne(): void {
    const down = this.nodes.filter((node) => !node.isUp);
    down[randomBelow(this.random, down.length)]?.start(this.network);
  }

  private partition(): void {
    const group = new Set(this.nodes.filter(() => this.random() < 0.5).map((node) => node.id));
    this.network.partition(group, this.random() < 0.3);
    this.events.after(-Math.log(1 - this.random()) * 8000, () => this.network.heal());
  }

  private fillDisk(): void {
    const node = this.nodes[randomBelow(this.random, this.nodes.length)];
    if (!node) return;
    node.disk.isFull = true;
    this.events.after(500 + this.random() * 12_000, () => {
      node.disk.isFull = false;
    });
  }

  private endFaults(): void {
    this.network.heal();
    this.network.faults = { loss: 0, duplication: 0, hintLoss: 0 };
    for (const node of this.nodes) {
      node.crashAtCommit = 0;
      node.disk.isFull = false;
      node.thaw();
      node.start(this.network);
    }
  }

  result(): RunResult {
    const { checker, events, seed } = this;
    const count = (counts: Iterable<number>): number =>
      [...counts].reduce((sum, one) => sum + one, 0);
    return {
      seed,
      violations: checker.violations,
      trace: checker.trace,
      events: events.processed,
      simulatedMs: events.now,
      acknowledged: checker.acknowledged.size,
      executions: count(checker.executions.values()),
      cancelled: checker.cancelled.size,
      lost: [...checker.finals.values()].filter((final) => final.status === 'JOB_LOST').length,
    };
  }
}

const isFaultless = (profile: Profile): boolean =>
  profile.crashEveryMs === undefined &&
  profile.partitionEveryMs === undefined &&
  profile.freezeEveryMs === undefined &&
  profile.fullDiskEveryMs === undefined &&
  profile.drainEveryMs === undefined &&
  profile.crashAtCommit === 0 &&
  profile.loss === 0;
