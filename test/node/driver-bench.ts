/**
 * The real driver with the real core over a disk in memory, on a bench: timers fire when a test
 * lets time pass, and everything the driver does to the world is noted in the order it happened.
 */
import { asBirth, asJobId, type JobId, type NodeId } from '../../src/base/ids.ts';
import { asMono, asWall } from '../../src/base/instant.ts';
import { seededRandom } from '../../src/base/random.ts';
import { Core } from '../../src/core/core.ts';
import type { AttemptOrder, MeshEvent, Reply } from '../../src/core/effects.ts';
import { IDLE_LOAD } from '../../src/core/facts.ts';
import type { JobSpec } from '../../src/core/job.ts';
import type { Message } from '../../src/core/messages.ts';
import { Driver } from '../../src/node/driver.ts';
import type { Store } from '../../src/node/ports.ts';
import { MemoryDisk } from '../conformance/memory-store.ts';
import { ALONE, B, bootOf, factsOf, SELF, SPEC } from '../core/core-bench.ts';

interface Timer {
  readonly at: number;
  readonly act: () => void;
}

export class DriverBench {
  readonly disk = new MemoryDisk();
  readonly core: Core;
  readonly driver: Driver;
  readonly store: Store;
  /** What was done, in order: `commit 3`, `send grant`, `reply submitted`, `run job-1`, … */
  readonly trace: string[] = [];
  readonly sent: { readonly to: NodeId; readonly message: Message }[] = [];
  readonly replies = new Map<JobId, Reply>();
  readonly started: AttemptOrder[] = [];
  readonly events: MeshEvent[] = [];
  /** What is written stays on its way until `flushes`. */
  isDiskBusy = false;
  private flushed: ((failure?: Error) => void) | undefined;
  storeFailures = 0;
  drained = 0;
  private monoMs = 5000;
  private timers: Timer[] = [];
  private soon: (() => void)[] = [];
  private serial = 0;

  constructor(options: { slots?: number; node?: NodeId } = {}) {
    const node = options.node ?? SELF;
    const facts = factsOf(node, { slots: options.slots ?? 2 });
    const now = () => ({ mono: asMono(this.monoMs), wall: asWall(1.7e12 + this.monoMs) });
    const { store, boot } = this.disk.open(seededRandom(1));
    this.store = store;
    const random = seededRandom(1);
    const limits = { peerTimeoutMs: 30_000, killGraceMs: 5000, maxJobs: 100_000 };
    this.core = new Core({ boot, node, facts: () => facts, random, now: now(), ...limits });
    this.driver = new Driver({
      core: this.core,
      store: {
        write: (writes) => this.commit(store, writes),
        flush: (done) => this.flush(done),
        readRecord: (job) => store.readRecord(job),
      },
      links: {
        send: (to, messages) => this.send(to, messages),
        dial: (_node, host) => this.trace.push(`dial ${host}`),
        hangUp: (node) => this.trace.push(`hangUp ${node}`),
      },
      executor: {
        run: (order) => {
          this.started.push(order);
          this.trace.push(`run ${order.job}`);
        },
        end: (job) => this.trace.push(`end ${job}`),
        prolong: (job) => this.trace.push(`prolong ${job}`),
        release: (job) => this.trace.push(`release ${job}`),
      },
      clock: { now },
      timers: {
        soon: (act) => this.soon.push(act),
        after: (ms, act) => this.after(ms, act),
      },
      onEvent: (event) => this.events.push(event),
      onDrained: () => {
        this.drained++;
        this.trace.push('drained');
      },
      onStoreFailure: () => {
        this.storeFailures++;
        this.trace.push('store failed');
      },
    });
    this.driver.push({ kind: 'restored', state: store.restore(), survivors: [] });
  }

  private commit(store: Store, writes: Parameters<Store['commit']>[0]): void {
    store.commit(writes);
    this.trace.push(`commit ${writes.length}`);
  }

  private flush(done: (failure?: Error) => void): void {
    if (this.isDiskBusy) this.flushed = done;
    else done();
  }

  /** The disk is done with what it was busy with. */
  async flushes(failure?: Error): Promise<void> {
    const { flushed } = this;
    this.flushed = undefined;
    flushed?.(failure);
    await this.settle();
  }

  private send(to: NodeId, messages: readonly Message[]): void {
    for (const message of messages) {
      this.sent.push({ to, message });
      this.trace.push(`send ${message.kind}`);
    }
  }

  private after(ms: number, act: () => void): () => void {
    const timer = { at: this.monoMs + ms, act };
    this.timers.push(timer);
    return () => {
      this.timers = this.timers.filter((other) => other !== timer);
    };
  }

  /** Does what is due now, and lets replies reach those who wait for them. */
  async settle(): Promise<void> {
    for (let rounds = 0; this.soon.length > 0 && rounds < 1000; rounds++) {
      for (const act of this.soon.splice(0)) act();
      await Promise.resolve();
    }
    await Promise.resolve();
  }

  /** Time passes, and no timer gets its chance. */
  async pass(ms: number): Promise<void> {
    this.monoMs += ms;
    await this.settle();
  }

  async advance(ms: number): Promise<void> {
    const end = this.monoMs + ms;
    await this.settle();
    for (;;) {
      const due = this.timers.filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)[0];
      if (!due) break;
      this.timers = this.timers.filter((timer) => timer !== due);
      this.monoMs = Math.max(this.monoMs, due.at);
      due.act();
      await this.settle();
    }
    this.monoMs = end;
  }

  /** Timers that are armed now. */
  get armed(): number {
    return this.timers.length;
  }

  link(node = B): void {
    this.driver.push({
      kind: 'linkUp',
      node,
      boot: bootOf(1),
      facts: factsOf(node),
      host: '10.0.0.9',
    });
    this.hear({ kind: 'pong', serial: 1, load: { ...IDLE_LOAD, slots: 2 }, marks: 0 }, node);
  }

  hear(message: Message, from = B): void {
    this.driver.push({ kind: 'message', from, boot: bootOf(1), message });
  }

  submit(spec: Partial<JobSpec> = {}, key?: string): JobId {
    const job = asJobId(key ?? `job-${++this.serial}`);
    const submission = {
      job,
      birth: asBirth(`birth-${job}`),
      spec: { ...SPEC, ...ALONE, ...spec },
      contentHash: 'content',
      isKeyed: key !== undefined,
    };
    void this.driver
      .ask((request) => ({ kind: 'submit', request, submission }))
      .then((reply) => {
        this.trace.push(`reply ${reply.kind}`);
        this.replies.set(job, reply);
      });
    return job;
  }

  clear(): void {
    this.trace.length = 0;
    this.sent.length = 0;
  }

  /** What was sent beside signs of life. */
  get words(): string[] {
    return this.sent
      .map(({ message }) => message.kind)
      .filter((kind) => kind !== 'ping' && kind !== 'pong' && kind !== 'members');
  }
}
