/**
 * The real core of many nodes in virtual time, over the simulator's network and disks, without a
 * fault: how soon they know each other, what that costs, and how well work is given away. A link
 * there has 0.3 to 1.3 ms, and one message in twenty up to 300 ms more.
 */
import { asBirth, asJobId, type JobId } from '../../../src/base/ids.ts';
import { seededRandom } from '../../../src/base/random.ts';
import type { AttemptOrder } from '../../../src/core/effects.ts';
import { Checker } from '../../sim/checker.ts';
import { EventQueue } from '../../sim/event-queue.ts';
import { CALM, Network } from '../../sim/network.ts';
import { SimNode } from '../../sim/sim-node.ts';
import { Unavailable } from '../frame/row.ts';

export const SLOTS = 4;
/** All nodes have started within so long. */
const STARTS_MS = 1000;
const LOOK_EVERY_MS = 100;
/** Replies are promises; they are let run so often. */
const SLICE_MS = 20;
const LOOK_AT_REST_MS = 2000;
const CONVERGENCE_DEADLINE_MS = 120_000;
/** By the calendar: a mesh that is too large for the simulator is given up. */
const PATIENCE_MS = 5 * 60_000;

/** Arrivals as of many independent users, and durations that are exponential: mean 1 s. */
export interface Arrival {
  readonly at: number;
  readonly durationMs: number;
  readonly via: number;
}

export function arrivalsOf(nodes: number, load: number, forMs: number): Arrival[] {
  const random = seededRandom(nodes * 100 + Math.round(load * 100));
  const meanMs = 1000;
  const gapMs = meanMs / (load * nodes * SLOTS);
  const byChance = (mean: number): number => -mean * Math.log(1 - random());
  const all: Arrival[] = [];
  for (let at = 0; at < forMs; at += byChance(gapMs)) {
    const durationMs = Math.ceil(byChance(meanMs));
    all.push({ at, durationMs, via: Math.floor(random() * nodes) });
  }
  return all;
}

/** Milliseconds each would wait in one queue that all slots take from at once: nothing can be better. */
export function idealWaits(nodes: number, arrivals: readonly Arrival[]): number[] {
  const freeAt: number[] = new Array(nodes * SLOTS).fill(0);
  return arrivals.map(({ at, durationMs }) => {
    const first = freeAt.indexOf(Math.min(...freeAt));
    const begin = Math.max(at, freeAt[first] ?? 0);
    freeAt[first] = begin + durationMs;
    return begin - at;
  });
}

/** Counts instead of checking, which is what the simulation's own runs are for. */
class Watch extends Checker {
  messages = 0;
  readonly startedAt = new Map<JobId, number>();
  private readonly clock: EventQueue;

  constructor(events: EventQueue, network: Network) {
    super({ nodes: () => network.nodes, now: () => events.now, network });
    this.clock = events;
  }

  override onInput(): void {}
  override onReply(): void {}
  override onCommit(): void {}
  override onEvent(): void {}
  override onEnd(): void {}

  override onSend(): void {
    this.messages += 1;
  }

  override onStart(_node: SimNode, order: AttemptOrder): void {
    this.startedAt.set(order.job, this.clock.now);
  }
}

export class SimulatedMesh {
  private readonly events = new EventQueue();
  private readonly network = new Network(this.events);
  private readonly watch = new Watch(this.events, this.network);
  private readonly nodes: SimNode[] = [];
  private givenUpAt = Number.POSITIVE_INFINITY;

  constructor(count: number) {
    const { events, network, watch } = this;
    network.faults = { ...CALM, isOrdered: true };
    for (let index = 0; index < count; index++) {
      const node = new SimNode({
        index,
        seed: 1,
        events,
        network,
        checker: watch,
        killGraceMs: 1000,
        slots: SLOTS,
        taskTypes: ['shell'],
        rate: 1,
        isSupervised: true,
      });
      this.nodes.push(node);
      network.add(node);
      events.after((index / Math.max(1, count - 1)) * STARTS_MS, () => node.start());
    }
  }

  get processed(): number {
    return this.events.processed;
  }

  /** Virtual milliseconds from the last start until each has all others for alive. */
  async converge(): Promise<number> {
    const { nodes, events } = this;
    const isDone = (): boolean =>
      nodes.every((node) => {
        const alive =
          node
            .view()
            ?.peers()
            .filter(({ state }) => state === 'alive') ?? [];
        return alive.length === nodes.length - 1;
      });
    this.givenUpAt = performance.now() + PATIENCE_MS;
    await this.advance(STARTS_MS);
    while (!isDone()) {
      await this.advance(LOOK_EVERY_MS);
      if (events.now > CONVERGENCE_DEADLINE_MS) throw new Error('the nodes do not find each other');
    }
    this.givenUpAt = Number.POSITIVE_INFINITY;
    return events.now - STARTS_MS;
  }

  /** Sent over links by one node in a second, with nothing to do. */
  async messagesAtRest(forMs: number): Promise<number> {
    const before = this.watch.messages;
    await this.advance(forMs);
    return (this.watch.messages - before) / this.nodes.length / (forMs / 1000);
  }

  /**
   * Virtual milliseconds that each waited for its start, and messages for each: those that the mesh
   * sends anyhow are taken off.
   */
  async run(arrivals: readonly Arrival[]): Promise<{ waits: number[]; messages: number }> {
    const { events, watch } = this;
    const atRest = await this.messagesAtRest(LOOK_AT_REST_MS);
    const [from, before] = [events.now, watch.messages];
    arrivals.forEach((arrival, i) => {
      events.after(arrival.at, () => this.submit(`job-${i}`, arrival));
    });
    while (watch.startedAt.size < arrivals.length) await this.advance(1000);
    const waits = arrivals.map(
      ({ at }, i) => (watch.startedAt.get(asJobId(`job-${i}`)) ?? Number.NaN) - from - at,
    );
    const anyhow = (atRest * this.nodes.length * (events.now - from)) / 1000;
    return { waits, messages: (watch.messages - before - anyhow) / arrivals.length };
  }

  private submit(id: string, { durationMs, via }: Arrival): void {
    const spec = {
      taskType: 'shell',
      command: `${durationMs} 0`,
      params: '{}',
      run: '{}',
      env: {},
      timeoutMs: 3_600_000,
      priority: 5,
      needs: { target: undefined, labels: {}, capabilities: {} },
      delivery: 'at_least_once',
      onIsolation: 'stop',
      replicas: undefined,
    } as const;
    const job = asJobId(id);
    const submission = { job, birth: asBirth(id), spec, contentHash: id, isKeyed: false };
    this.nodes[via]?.ask(
      (request) => ({ kind: 'submit', request, submission }),
      () => {},
    );
  }

  private async advance(ms: number): Promise<void> {
    const { events } = this;
    for (const until = events.now + ms; events.now < until; ) {
      events.runUntil(Math.min(until, events.now + SLICE_MS));
      await Promise.resolve();
      if (performance.now() > this.givenUpAt) throw this.tooLarge();
    }
  }

  private tooLarge(): Unavailable {
    const { nodes, events } = this;
    return new Unavailable(
      `${nodes.length} nodes did not all know each other after ${PATIENCE_MS / 60_000} minutes of this simulator, which were ${Math.round(events.now)} ms of theirs`,
    );
  }
}
