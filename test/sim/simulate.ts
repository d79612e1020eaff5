/**
 * One run of a mesh in virtual time, wholly determined by its plan: jobs and cancels, faults until
 * they end, then quiet, then the last checks.
 */
import { asBirth, asJobId, type JobId } from '../../src/base/ids.ts';
import type { JobSpec } from '../../src/core/job.ts';
import { rendezvousOrder } from '../../src/core/placement.ts';
import { compareEpochs, ownerOf } from '../../src/core/record.ts';
import type { DiskCopy } from '../conformance/memory-store.ts';
import { Checker } from './checker.ts';
import { EventQueue } from './event-queue.ts';
import type { Journal } from './journal.ts';
import { Network } from './network.ts';
import { type Fault, type JobPlan, type NodePlan, type Plan, planOf } from './plan.ts';
import { SimNode } from './sim-node.ts';

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

/** The members agree so long after the last fault, or the last start of a node. */
const AGREED_MS = 10_000;
/** Leases, retries and redials are over after this, whatever happened. */
const QUIET_MS = 60_000;
/** A single slot may have had a long queue to work off: so much longer is waited, if need be. */
const PATIENCE_MS = 900_000;
const CHECK_EVERY_MS = 5000;
const FORGET_AGAIN_MS = 5000;
/** Nodes that take the place of lost ones. */
const SECOND_LIFE = 100;

export const simulate = (seed: number): Promise<RunResult> => runPlan(planOf(seed));

export async function runPlan(plan: Plan, journal?: Journal): Promise<RunResult> {
  const world = new World(plan, journal);
  await world.run();
  return world.result();
}

class World {
  private readonly plan: Plan;
  private readonly events = new EventQueue();
  private readonly network = new Network(this.events);
  private readonly checker: Checker;
  /** By their index in the plan, then those that came for lost ones. */
  private readonly nodes: SimNode[] = [];
  private readonly journal: Journal | undefined;
  private submitted = 0;

  constructor(plan: Plan, journal: Journal | undefined) {
    this.plan = plan;
    this.journal = journal;
    const { events, network } = this;
    this.checker = new Checker({
      nodes: () => network.nodes,
      now: () => events.now,
      network,
      journal,
    });
    network.faults = plan.network;
    for (const [index, node] of plan.nodes.entries()) this.addNode(node, index, node.joinsAt);
    for (const job of plan.jobs) events.after(job.at, () => this.submit(job));
    for (const fault of plan.faults) this.schedule(fault);
  }

  private addNode(plan: NodePlan, index: number, joinsAt: number): void {
    const { events, network, checker } = this;
    const { seed, killGraceMs } = this.plan;
    const node = new SimNode({ ...plan, index, seed, events, network, checker, killGraceMs });
    this.nodes.push(node);
    network.add(node);
    events.after(joinsAt - events.now, () => node.start());
  }

  async run(): Promise<void> {
    const { plan, events, checker } = this;
    await this.advance(plan.faultsEndAt);
    this.endFaults();
    await this.advance(plan.faultsEndAt + AGREED_MS);
    // One that was told to shut down before may still come back.
    const isComing = ({ isUp, wellSince }: SimNode): boolean =>
      !isUp || wellSince > events.now - AGREED_MS;
    while (events.now < plan.faultsEndAt + QUIET_MS && this.present().some(isComing))
      await this.advance(events.now + 1000);
    if (checker.violations.length > 0) return;
    checker.members.checkTables(this.present());
    await this.advance(plan.faultsEndAt + QUIET_MS);
    while (!checker.isSettled(this.present()) && events.now < plan.faultsEndAt + PATIENCE_MS) {
      await this.advance(events.now + CHECK_EVERY_MS);
      if (checker.violations.length > 0) return;
    }
    checker.checkEnd(this.present(), isFaultless(plan));
  }

  private present(): SimNode[] {
    return this.nodes.filter(({ isLost }) => !isLost);
  }

  /** Replies are promises: while one is awaited, each event is followed by a turn of them. */
  private async advance(until: number): Promise<void> {
    const { events, checker, nodes } = this;
    const isWaiting = (): boolean => nodes.some(({ asked }) => asked > 0);
    let checkAt = events.now + CHECK_EVERY_MS;
    while (events.now < until) {
      const isDone = events.runUntil(Math.min(until, checkAt), isWaiting);
      if (!isDone) await Promise.resolve();
      else if (events.now >= checkAt) {
        checkAt += CHECK_EVERY_MS;
        checker.members.checkFound(this.present());
      }
      if (checker.violations.length > 0) return;
    }
  }

  // -------------------------------------------------------------- workload

  private submit(plan: JobPlan): void {
    const node = this.upNear(plan.via);
    if (!node) return;
    const isKeyed = plan.key !== undefined;
    const job = asJobId(isKeyed ? `key-${plan.key}` : `job-${++this.submitted}`);
    const birth = asBirth(`b${this.events.now}`);
    const spec = this.specOf(plan);
    const submission = { job, birth, spec, contentHash: JSON.stringify(spec), isKeyed };
    const home = isKeyed ? this.homeOf(job, node) : node;
    home?.ask(
      (request) => ({ kind: 'submit', request, submission }),
      (reply) => this.checker.onReply(home, reply),
    );
    if (plan.cancelAfterMs !== undefined)
      this.events.after(plan.cancelAfterMs, () => this.cancel(job));
  }

  /** The first member in the key's order that the asked node holds for living. */
  private homeOf(job: JobId, asked: SimNode): SimNode | undefined {
    const alive =
      asked
        .view()
        ?.peers()
        .filter(({ state }) => state === 'alive') ?? [];
    const members = [asked.id, ...alive.map(({ facts }) => facts.node)];
    const [home] = rendezvousOrder(job, members);
    return home === undefined ? undefined : this.network.nodes.get(home);
  }

  /** The client finds the owner, as the nodes do for it. */
  private cancel(job: JobId): void {
    let owner: SimNode | undefined;
    for (const node of this.nodes) {
      const header = node.disk.tables.records.get(job)?.header;
      if (!header || ownerOf(header) !== node.id) continue;
      const best = owner?.disk.tables.records.get(job)?.header;
      if (!best || compareEpochs(header.accepted.epoch, best.accepted.epoch) > 0) owner = node;
    }
    const asked = owner;
    asked?.ask(
      (request) => ({ kind: 'cancel', request, job }),
      (reply) => this.checker.onReply(asked, reply),
    );
  }

  private specOf(plan: JobPlan): JobSpec {
    const { taskType, timeoutMs, priority, durationMs, code } = plan;
    const target = plan.target === undefined ? undefined : this.nodes[plan.target]?.id;
    return {
      taskType,
      command: `${durationMs} ${code}`,
      params: '{}',
      run: '{}',
      env: {},
      timeoutMs,
      priority,
      needs: { target, labels: {}, capabilities: {} },
      delivery: plan.delivery,
      onIsolation: plan.onIsolation,
      replicas: plan.replicas,
    };
  }

  private upNear(index: number): SimNode | undefined {
    const { length } = this.nodes;
    for (let i = 0; i < length; i++) {
      const node = this.nodes[(index + i) % length];
      if (node?.isUp && !node.isFrozen) return node;
    }
    return undefined;
  }

  // -------------------------------------------------------------- faults

  private schedule(fault: Fault): void {
    const { events } = this;
    let copy: DiskCopy | undefined;
    if (fault.kind === 'oldDisk')
      events.after(fault.copiedAt, () => {
        copy = this.nodes[fault.node]?.disk.copy();
      });
    events.after(fault.at, () => {
      const node = this.nodes[fault.node];
      // After more restarts a disk that went back would pass for a later one.
      if (node && !node.isLost && !node.isExpectingAnomalies) this.apply(fault, node, copy);
    });
  }

  private apply(fault: Fault, node: SimNode, copy: DiskCopy | undefined): void {
    this.journal?.always(this.events.now, node, 'fault', fault);
    switch (fault.kind) {
      case 'crash':
        if (!node.isUp) return;
        node.crash();
        return node.restartAfter(fault.downMs);
      case 'crashPoint':
        node.crashAt = fault;
        return;
      case 'hostCrash':
        node.crashHost();
        return node.restartAfter(fault.downMs);
      case 'freeze':
        return node.freeze(fault.ms);
      case 'suspend':
        return node.suspend(fault.ms, fault.isClockStopped);
      case 'starve':
        return node.starve(fault.ms);
      case 'clockJump':
        return node.jumpClock(fault.ms);
      case 'drain':
        return node.drain(fault.deadlineMs, fault.way, () => this.onDrained(fault, node));
      case 'fullDisk':
      case 'failingDisk':
        return this.spoilDisk(fault, node);
      case 'loseDisk':
      case 'oldDisk':
        return this.replace(fault, node, copy);
      default:
        return this.applyToNetwork(fault);
    }
  }

  /** Whoever leaves for good is started again for the jobs that are nowhere else. */
  private onDrained(fault: Extract<Fault, { kind: 'drain' }>, node: SimNode): void {
    const { checker, events } = this;
    const { records } = node.disk.tables;
    const isMissed = checker.openJobs().some((job) => {
      const header = records.get(job)?.header;
      return header !== undefined && [...header.rs, ...header.oldRs].includes(node.id);
    });
    if (fault.way === 'leave' && !isMissed) {
      node.lose();
      this.forget(node);
    } else node.restartAfter(events.now < this.plan.faultsEndAt ? fault.backAfterMs : 0);
  }

  private applyToNetwork(fault: Extract<Fault, { kind: 'partition' | 'cut' | 'linkDrop' }>): void {
    const { network, events, nodes } = this;
    if (fault.kind === 'partition') {
      const group = fault.group.flatMap((index) => nodes[index]?.id ?? []);
      network.partition(new Set(group), fault.isOneWay);
      events.after(fault.ms, () => network.heal());
      return;
    }
    const [from, to] = [nodes[fault.node], nodes[fault.peer]];
    if (!from || !to) return;
    if (fault.kind === 'linkDrop') {
      network.drop(from, to, fault.isHalf);
      return;
    }
    network.cutPair(from, to, fault.isOneWay);
    events.after(fault.ms, () => network.heal());
  }

  private spoilDisk(
    { kind, ms }: Extract<Fault, { kind: 'fullDisk' | 'failingDisk' }>,
    node: SimNode,
  ): void {
    if (kind === 'fullDisk') node.disk.isFull = true;
    else node.failingCommits = 0.5;
    this.events.after(ms, () => node.mendDisk());
  }

  /**
   * A disk that went back is refused by its peers, who know a later boot, so it is given up for an
   * empty one as well. One that went back within a boot cannot be told.
   */
  private replace(
    fault: Extract<Fault, { kind: 'loseDisk' | 'oldDisk' }>,
    node: SimNode,
    copy: DiskCopy | undefined,
  ): void {
    const { checker, events } = this;
    const plan = this.plan.nodes[fault.node];
    if (!plan) return;
    if (copy && copy.boots < node.disk.boots) {
      node.crashHost();
      checker.onDiskLost(node);
      copy.setBack();
      node.start();
      node.setBackAt = events.now;
    } else node.lose();
    events.after(fault.backAfterMs, () => {
      if (!node.isLost) node.lose();
      this.addNode(plan, SECOND_LIFE + fault.node, events.now);
      this.forget(node);
    });
  }

  /** The operator says so to one node after the other, until one has heard of it. */
  private forget(node: SimNode, first = Math.floor(node.random() * this.nodes.length)): void {
    const asked = this.upNear(first);
    let isDone = false;
    asked?.ask(
      (request) => ({ kind: 'forget', request, node: node.id }),
      (reply) => {
        isDone = reply.kind === 'forgotten';
      },
    );
    this.events.after(FORGET_AGAIN_MS, () => {
      if (!isDone) this.forget(node, first + 1);
    });
  }

  private endFaults(): void {
    const { network } = this;
    network.heal();
    network.faults = { ...network.faults, loss: 0, duplication: 0, hintLoss: 0 };
    for (const node of this.present()) {
      node.crashAt = undefined;
      node.mendDisk();
      node.thaw();
      node.start();
    }
  }

  result(): RunResult {
    const { checker, events, plan } = this;
    const finals = [...checker.registers.finals()];
    return {
      seed: plan.seed,
      violations: checker.violations,
      trace: checker.trace.value,
      events: events.processed,
      simulatedMs: events.now,
      acknowledged: checker.acknowledged.size,
      executions: checker.executionCount,
      cancelled: checker.cancelled.size,
      lost: finals.filter(({ status }) => status === 'JOB_LOST').length,
    };
  }
}

const isFaultless = ({ faults, network }: Plan): boolean =>
  faults.length === 0 && network.loss === 0;
