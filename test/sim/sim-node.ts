/**
 * One simulated node: the real core and the real driver over a disk in memory, invented links and
 * invented processes. A crash takes everything but the disk and, for a moment, the processes: the
 * guard needs up to a second to end them.
 */
import { asNodeId, type BootId, type NodeId } from '../../src/base/ids.ts';
import { asMono, asWall, type Now } from '../../src/base/instant.ts';
import { type Random, randomBelow, seededRandom } from '../../src/base/random.ts';
import { Core } from '../../src/core/core.ts';
import type { AttemptOrder, MeshEvent, Reply, Write } from '../../src/core/effects.ts';
import type { NodeFacts } from '../../src/core/facts.ts';
import type { Input } from '../../src/core/inputs.ts';
import { NO_OUTPUT } from '../../src/core/job.ts';
import { attemptKey } from '../../src/core/record.ts';
import { Driver } from '../../src/node/driver.ts';
import type { Store } from '../../src/node/ports.ts';
import { MemoryDisk } from '../conformance/memory-store.ts';
import type { Checker } from './checker.ts';
import type { EventQueue } from './event-queue.ts';
import type { Network } from './network.ts';

export interface SimNodeOptions {
  readonly index: number;
  readonly slots: number;
  readonly taskTypes: readonly string[];
  readonly events: EventQueue;
  readonly random: Random;
  readonly checker: Checker;
  readonly killGraceMs?: number | undefined;
}

interface Process {
  readonly order: AttemptOrder;
  isOver: boolean;
}

const GUARD_MS = 1000;

export class SimNode {
  readonly id: NodeId;
  readonly disk = new MemoryDisk();
  /** Peer → serial of the link that is up. */
  readonly links = new Map<NodeId, number>();
  /** Raised at each start and each crash, so that what was meant for another life is dropped. */
  life = 0;
  isUp = false;
  boot: BootId = { counter: 0, salt: '' };
  /** Chance that a commit is the last thing this life does. */
  crashAtCommit = 0;
  /** Its processes end by SIGKILL only. */
  ignoresTerm = false;
  private frozenUntil = 0;
  private missed: (() => void)[] = [];
  private network: Network | undefined;
  private core: Core | undefined;
  private driver: Driver | undefined;
  private readonly processes = new Map<string, Process>();
  private readonly options: SimNodeOptions;
  private readonly rate: number;
  private readonly offset: number;

  constructor(options: SimNodeOptions) {
    this.options = options;
    this.id = asNodeId(`node-${String(options.index).padStart(32, '0')}`);
    this.rate = 0.985 + 0.03 * options.random();
    this.offset = Math.round(options.random() * 1e6);
  }

  get isFrozen(): boolean {
    return this.options.events.now < this.frozenUntil;
  }

  get facts(): NodeFacts {
    const { slots, taskTypes } = this.options;
    return {
      node: this.id,
      name: this.id,
      hostname: 'sim',
      platform: 'sim',
      version: '0',
      pid: this.life,
      hosts: [this.id],
      linkPort: 1,
      apiUrl: '',
      slots,
      taskTypes,
      labels: {},
      capabilities: {},
    };
  }

  private now(): Now {
    const { now } = this.options.events;
    return { mono: asMono(this.offset + now * this.rate), wall: asWall(1.7e12 + now) };
  }

  // -------------------------------------------------------------- life

  start(network: Network): void {
    if (this.isUp) return;
    this.network = network;
    this.isUp = true;
    const life = ++this.life;
    const { random } = this.options;
    for (const process of this.processes.values()) this.finish(process);
    this.processes.clear();
    const { store, boot } = this.disk.open(random);
    this.boot = boot;
    const seed = randomBelow(random, 2 ** 31);
    this.core = new Core({
      boot,
      node: this.id,
      facts: () => this.facts,
      random: seededRandom(seed),
      now: this.now(),
      peerTimeoutMs: 30_000,
      killGraceMs: this.options.killGraceMs ?? 500,
      maxJobs: 10_000,
    });
    this.driver = this.makeDriver(this.core, store, life);
    this.push({ kind: 'restored', state: store.restore(), survivors: [] });
    this.beat(life);
  }

  private makeDriver(core: Core, store: Store, life: number): Driver {
    const { events } = this.options;
    const isNow = (): boolean => this.isUp && this.life === life;
    const guarded = (act: () => void) => (): void => {
      if (isNow()) this.whenAwake(act);
    };
    return new Driver({
      core,
      store: {
        commit: (writes) => this.commit(store, writes),
        readRecord: (job) => store.readRecord(job),
      },
      links: {
        send: (to, messages) => isNow() && this.network?.send(this, to, messages),
        dial: (node) => isNow() && this.network?.dial(this, node),
        hangUp: (node, reason) => isNow() && this.network?.close(this, node, reason),
      },
      executor: {
        run: (order) => isNow() && this.run(order),
        end: (job, fence, graceMs) => isNow() && this.end(attemptKey(job, fence), graceMs),
        prolong: () => {},
      },
      clock: { now: () => this.now() },
      timers: {
        soon: (act) => events.after(0.05, guarded(act)),
        after: (ms, act) => {
          let isOff = false;
          events.after(
            ms / this.rate,
            guarded(() => isOff || act()),
          );
          return () => {
            isOff = true;
          };
        },
      },
      onEvent: (event) => this.onEvent(event),
      onDrained: () =>
        events.after(
          0,
          guarded(() => this.leave()),
        ),
      onStoreFailure: () => {},
    });
  }

  private commit(store: Store, writes: readonly Write[]): void {
    const { random, checker } = this.options;
    const isLast = random() < this.crashAtCommit;
    // Half of these crashes come before the disk has it, half after.
    if (isLast && random() < 0.5) {
      this.crash();
      return;
    }
    store.commit(writes);
    checker.onCommit(this.id, writes);
    if (isLast) this.crash();
  }

  crash(): void {
    if (!this.isUp) return;
    this.isUp = false;
    this.life++;
    this.driver?.stop();
    this.missed = [];
    this.frozenUntil = 0;
    this.network?.closeAll(this);
    const { events, random } = this.options;
    for (const process of this.processes.values()) {
      events.after(random() * GUARD_MS, () => this.finish(process));
    }
  }

  /** Ends as a node does that was told to: nothing of it runs on, and it comes back a little later. */
  private leave(): void {
    for (const process of this.processes.values()) this.finish(process);
    this.crash();
    const { events, random } = this.options;
    const { life } = this;
    events.after(200 + random() * 5000, () => {
      if (this.life === life && this.network) this.start(this.network);
    });
  }

  freeze(ms: number): void {
    this.frozenUntil = Math.max(this.frozenUntil, this.options.events.now + ms);
    this.options.events.after(ms, () => this.wake());
    for (const process of this.processes.values()) this.options.checker.onFrozen(process.order);
  }

  thaw(): void {
    this.frozenUntil = 0;
    this.wake();
  }

  private beat(life: number): void {
    if (this.life !== life) return;
    if (!this.isFrozen) this.network?.beat(this);
    this.options.events.after(900 + 200 * this.options.random(), () => this.beat(life));
  }

  // -------------------------------------------------------------- what happens to it

  push(input: Input): void {
    if (!this.isUp) return;
    this.whenAwake(() => {
      this.options.checker.onInput(this.id, input);
      this.driver?.push(input);
    });
  }

  /** A frozen process does everything that came meanwhile when it wakes, in order. */
  private whenAwake(act: () => void): void {
    if (this.isFrozen) this.missed.push(act);
    else act();
  }

  private wake(): void {
    if (this.isFrozen) return;
    const { missed } = this;
    this.missed = [];
    for (const act of missed) act();
  }

  ask(toInput: Parameters<Driver['ask']>[0], onReply: (reply: Reply) => void): void {
    const { driver, life } = this;
    if (!this.isUp || !driver) return;
    void driver.ask(toInput).then((reply) => this.life === life && onReply(reply));
  }

  linkUp(peer: SimNode, link: number): void {
    const old = this.links.get(peer.id);
    if (old !== undefined) this.linkDown(peer, old, 'replaced');
    this.links.set(peer.id, link);
    this.push({ kind: 'linkUp', node: peer.id, boot: peer.boot, facts: peer.facts, host: peer.id });
  }

  linkDown(peer: SimNode, link: number, reason: string): void {
    if (this.links.get(peer.id) !== link) return;
    this.links.delete(peer.id);
    this.push({ kind: 'linkDown', node: peer.id, boot: this.bootOf(peer), reason });
  }

  /** The boot this node's core knows the peer by. */
  private bootOf(peer: SimNode): BootId {
    return this.core?.linked().find((member) => member.facts.node === peer.id)?.boot ?? peer.boot;
  }

  private onEvent(event: MeshEvent): void {
    this.options.checker.onEvent(this.id, event);
  }

  // -------------------------------------------------------------- processes

  /** Commands of the simulated kind: `DURATION_MS EXIT_CODE`. */
  private run(order: AttemptOrder): void {
    const { events, checker, random } = this.options;
    const key = attemptKey(order.job, order.fence);
    const process: Process = { order, isOver: false };
    this.processes.set(key, process);
    checker.onStart(this.id, order, this.processes.size);
    const [duration = 0, code = 0] = order.grant.spec.command.split(' ').map(Number);
    const { life } = this;
    events.after(random() * 5, () => {
      if (process.isOver || this.life !== life) return;
      this.push({
        kind: 'report',
        report: { kind: 'running', job: order.job, fence: order.fence, startedAt: this.now().wall },
      });
    });
    events.after(5 + duration, () => this.ended(process, { tag: 'exited', code }));
  }

  private end(key: string, graceMs: number): void {
    const process = this.processes.get(key);
    if (!process) return;
    const { events, random } = this.options;
    // One in three ignores SIGTERM.
    const isStubborn = random() < 0.33 || this.ignoresTerm;
    const delay = isStubborn ? graceMs : random() * Math.min(graceMs, 100);
    events.after(delay, () => this.ended(process, { tag: 'signalled', signal: 'SIGTERM' }));
  }

  private ended(
    process: Process,
    end: { tag: 'exited'; code: number } | { tag: 'signalled'; signal: string },
  ): void {
    if (process.isOver) return;
    const { job, fence } = process.order;
    this.finish(process);
    if (!this.processes.delete(attemptKey(job, fence))) return;
    const finishedAt = this.now().wall;
    this.push({
      kind: 'report',
      report: { kind: 'ended', job, fence, end, finishedAt, stdout: NO_OUTPUT, stderr: NO_OUTPUT },
    });
  }

  private finish(process: Process): void {
    if (process.isOver) return;
    process.isOver = true;
    this.options.checker.onEnd(process.order);
  }

  // -------------------------------------------------------------- views

  view(): Core | undefined {
    return this.isUp ? this.core : undefined;
  }
}
