/**
 * One simulated node: the real core and the real driver over a disk in memory, invented links and a
 * host with invented processes. A crash takes everything but the disk and the host.
 */
import { MeshError } from '../../src/base/errors.ts';
import { hash32 } from '../../src/base/hash.ts';
import { asNodeId, type BootId, type NodeId } from '../../src/base/ids.ts';
import { type Random, randomBelow, seededRandom } from '../../src/base/random.ts';
import { Core } from '../../src/core/core.ts';
import type { AttemptOrder, MeshEvent, Reply, Write } from '../../src/core/effects.ts';
import type { NodeFacts } from '../../src/core/facts.ts';
import type { Input, Leaving } from '../../src/core/inputs.ts';
import type { Message } from '../../src/core/messages.ts';
import { attemptKey } from '../../src/core/record.ts';
import { Driver } from '../../src/node/driver.ts';
import type { Store } from '../../src/node/ports.ts';
import { MemoryDisk } from '../conformance/memory-store.ts';
import type { Checker } from './checker.ts';
import type { EventQueue } from './event-queue.ts';
import { Host } from './host.ts';
import type { Network } from './network.ts';
import type { CrashPoint, NodePlan } from './plan.ts';
import { SimClock } from './sim-clock.ts';

export interface SimNodeOptions extends Omit<NodePlan, 'joinsAt'> {
  /** Also its id. */
  readonly index: number;
  readonly seed: number;
  readonly events: EventQueue;
  readonly network: Network;
  readonly checker: Checker;
  readonly killGraceMs: number;
}

/** The driver tries a disk again each second. */
const DISK_RETRY_MS = 1500;

export class SimNode {
  readonly id: NodeId;
  readonly index: number;
  readonly options: SimNodeOptions;
  readonly random: Random;
  readonly disk = new MemoryDisk();
  readonly host: Host;
  /** Peer → serial of the link that is up. */
  readonly links = new Map<NodeId, number>();
  /** Raised at each start and each crash, so that what was meant for another life is dropped. */
  life = 0;
  isUp = false;
  isHostUp = true;
  /** It and its disk are gone for ever. */
  isLost = false;
  /** When its disk was set back: what its peers say of it is part of the fault. */
  setBackAt: number | undefined;
  startedAt = 0;
  boot: BootId = { counter: 0, salt: '' };
  /** Dies there, at the next chance, and comes back after so long. */
  crashAt: { readonly point: CrashPoint; readonly downMs: number } | undefined;
  /** Chance that a commit fails although there is room. */
  failingCommits = 0;
  /** Since its last fault, or since it went down. */
  wellSince = 0;
  get isExpectingAnomalies(): boolean {
    return this.setBackAt !== undefined;
  }

  /** When its last standstill began, or its life. */
  stoodStillAt = 0;
  /** Requests without an answer. */
  asked = 0;
  private leaving: { readonly way: Leaving; readonly then: (node: SimNode) => void } | undefined;
  /** Its disk was tried again by then. */
  private retriedAt = Number.NEGATIVE_INFINITY;
  private frozenUntil = 0;
  private starvedUntil = 0;
  private missed: { readonly isTimer: boolean; readonly act: () => void }[] = [];
  private core: Core | undefined;
  private driver: Driver | undefined;
  private readonly clock: SimClock;

  constructor(options: SimNodeOptions) {
    this.options = options;
    this.index = options.index;
    this.id = asNodeId(`node-${String(options.index).padStart(32, '0')}`);
    this.random = seededRandom(hash32(`${options.seed} ${options.index}`));
    this.clock = new SimClock(options.events, options.rate, Math.round(this.random() * 1e6));
    this.host = new Host({
      events: options.events,
      random: this.random,
      checker: options.checker,
      isSupervised: options.isSupervised,
      rate: options.rate,
      wall: () => this.clock.now().wall,
      report: (report) => this.push({ kind: 'report', report }),
    });
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
      typeVersions: {},
      hardware: { cores: 2, memoryBytes: 4e9, diskBytes: 2e10 },
      labels: {},
      capabilities: {},
    };
  }

  // -------------------------------------------------------------- life

  start(): void {
    if (this.isUp || this.isLost) return;
    this.isUp = true;
    this.isHostUp = true;
    this.wellSince = this.options.events.now;
    this.stoodStillAt = this.wellSince;
    this.startedAt = this.wellSince;
    const life = ++this.life;
    const survivors = this.host.onNodeStart();
    const { store, boot } = this.disk.open(this.random);
    this.boot = boot;
    this.core = new Core({
      boot,
      node: this.id,
      facts: () => this.facts,
      random: seededRandom(randomBelow(this.random, 2 ** 31)),
      now: this.clock.now(),
      peerTimeoutMs: 30_000,
      killGraceMs: this.options.killGraceMs,
      maxJobs: 10_000,
      knownDisks: store.readPeers(),
    });
    this.driver = this.makeDriver(this.core, store, life);
    this.push({ kind: 'restored', state: store.restore(), survivors });
    this.host.tell();
    this.beat(life);
  }

  private makeDriver(core: Core, store: Store, life: number): Driver {
    const { events, network } = this.options;
    const isNow = (): boolean => this.isUp && this.life === life;
    return new Driver({
      core,
      store: {
        write: (writes) => this.commit(store, writes),
        flush: (done) => done(),
        readRecord: (job) => store.readRecord(job),
      },
      links: {
        send: (to, messages) => isNow() && this.send(to, messages),
        dial: (node) => isNow() && network.dial(this, node),
        hangUp: (node, reason) => isNow() && network.close(this, node, reason),
      },
      executor: {
        run: (order) => isNow() && this.run(order),
        end: (job, fence, graceMs) => isNow() && this.host.end(attemptKey(job, fence), graceMs),
        // The host is told by the outcome's commit.
        release: () => {},
        prolong: (job, fence, lease) => isNow() && this.host.prolong(attemptKey(job, fence), lease),
      },
      clock: { now: () => this.clock.now() },
      timers: {
        soon: (act) => void events.after(0.05, () => isNow() && this.whenAwake(act, false)),
        after: (ms, act) => this.timer(ms, () => isNow() && this.whenAwake(act, true)),
      },
      onEvent: (event) => isNow() && this.onEvent(event),
      onDrained: () =>
        void events.after(0, () => isNow() && this.whenAwake(() => this.leave(), false)),
      onStoreFailure: () => {},
    });
  }

  private timer(ms: number, act: () => void): () => void {
    const { events, rate } = this.options;
    let off = events.after(ms / rate, () => {
      const lateMs = this.starvedUntil - events.now;
      if (lateMs > 0) off = events.after(lateMs, act);
      else act();
    });
    return () => off();
  }

  private run(order: AttemptOrder): void {
    this.options.checker.onStart(this, order, this.host.running + 1);
    this.host.run(order);
  }

  // -------------------------------------------------------------- ends of a life

  /** The node process is gone; its disk, its host and what runs there are not. */
  crash(): void {
    if (!this.isUp) return;
    this.end();
    this.options.network.closeAll(this);
    this.host.onNodeDead();
  }

  /** Nothing answers any more, not even its port. */
  crashHost(): void {
    if (this.isUp) this.end();
    this.isHostUp = false;
    this.options.network.forgetAll(this);
    this.host.endAll();
  }

  private end(): void {
    this.isUp = false;
    this.life++;
    this.driver?.stop();
    this.host.resume();
    this.clock.goOn();
    this.disk.tear(this.random);
    this.missed = [];
    this.asked = 0;
    this.crashAt = undefined;
    this.frozenUntil = 0;
    this.starvedUntil = 0;
    this.wellSince = this.options.events.now;
  }

  drain(deadlineMs: number, way: Leaving, then: (node: SimNode) => void): void {
    if (!this.isUp) return;
    this.leaving = { way, then };
    this.push({ kind: 'drain', deadlineMs, way });
  }

  /** Ends as a node does that was told to: what runs goes on only if it is to be back at once. */
  private leave(): void {
    const { leaving } = this;
    this.crash();
    if (leaving?.way !== 'restart') this.host.endAll();
    leaving?.then(this);
  }

  /** Its machine is gone for ever. */
  lose(): void {
    this.crashHost();
    this.isLost = true;
    this.options.checker.onDiskLost(this);
  }

  restartAfter(ms: number): void {
    const { life } = this;
    this.options.events.after(ms, () => {
      if (this.life === life) this.start();
    });
  }

  private crashNow(downMs: number): void {
    this.crash();
    this.restartAfter(downMs);
  }

  /** True: the node has died of it. */
  private diesAt(point: CrashPoint): boolean {
    const { crashAt } = this;
    if (crashAt?.point !== point) return false;
    this.crashNow(crashAt.downMs);
    return true;
  }

  // -------------------------------------------------------------- disk, messages

  private commit(store: Store, writes: readonly Write[]): void {
    if (writes.length === 0) return;
    if (this.failingCommits > 0 && this.random() < this.failingCommits)
      throw new MeshError('DATA_FAILED', 'The disk in memory failed.');
    if (this.diesAt('beforeCommit')) return;
    store.commit(writes);
    this.options.checker.onCommit(this, writes);
    for (const write of writes)
      if (write.kind === 'outcome') this.host.onSaved(attemptKey(write.job, write.outcome.fence));
    this.diesAt('afterCommit');
  }

  mendDisk(): void {
    if (this.disk.isFull || this.failingCommits > 0) this.noteRetry(this.options.events.now);
    this.disk.isFull = false;
    this.failingCommits = 0;
  }

  /** A timer tries it again, which does not fire while the node stands still or starves. */
  private noteRetry(at: number): void {
    this.retriedAt = Math.max(at, this.frozenUntil, this.starvedUntil) + DISK_RETRY_MS;
  }

  /** What it says may have waited long for its disk. */
  get isDiskLate(): boolean {
    const isTried = this.options.events.now > this.retriedAt;
    return this.disk.isFull || this.failingCommits > 0 || !isTried;
  }

  private send(to: NodeId, messages: readonly Message[]): void {
    this.options.network.send(this, to, messages);
    const isSignal = messages.every(({ kind }) => SIGNALS.has(kind));
    if (!isSignal) this.diesAt('afterFirstSend');
  }

  // -------------------------------------------------------------- standing still

  get isFrozen(): boolean {
    return this.options.events.now < this.frozenUntil;
  }

  /** A second pause does not shorten the first. */
  freeze(ms: number): void {
    if (!this.isUp) return;
    const { events, isSupervised, checker } = this.options;
    this.noteStandstill();
    this.frozenUntil = Math.max(this.frozenUntil, events.now + ms);
    this.wellSince = this.frozenUntil;
    if (events.now <= this.retriedAt) this.noteRetry(events.now);
    events.after(ms, () => this.wake());
    // Nobody else is there to end them in time.
    if (!isSupervised) for (const order of this.host.orders()) checker.onSuspended(order);
  }

  private noteStandstill(): void {
    if (this.isWell) this.stoodStillAt = this.options.events.now;
  }

  /** The whole machine stands still. */
  suspend(ms: number, isClockStopped: boolean): void {
    if (!this.isUp) return;
    const { events } = this.options;
    const until = events.now + ms;
    if (isClockStopped) this.clock.stop(until);
    this.freeze(ms);
    this.host.suspend(until);
  }

  get isClockBehind(): boolean {
    return this.clock.isBehind;
  }

  /** Only a life that is there: the next one begins well, and `endFaults` must find it so. */
  starve(ms: number): void {
    if (!this.isUp) return;
    this.noteStandstill();
    this.starvedUntil = Math.max(this.starvedUntil, this.options.events.now + ms);
    this.wellSince = Math.max(this.wellSince, this.starvedUntil);
    const { now } = this.options.events;
    if (now <= this.retriedAt) this.noteRetry(now);
    if (this.isUnguarded)
      for (const order of this.host.orders()) this.options.checker.onSuspended(order);
  }

  /** Its own timers, which do not fire, are all there is to end its attempts in time. */
  get isUnguarded(): boolean {
    const { events, isSupervised } = this.options;
    return !isSupervised && events.now < this.starvedUntil;
  }

  jumpClock(ms: number): void {
    this.clock.jumpWall(ms);
  }

  thaw(): void {
    if (!this.isUp) return;
    this.host.resume();
    this.clock.goOn();
    const wasStill = this.isFrozen || this.options.events.now < this.starvedUntil;
    this.frozenUntil = 0;
    this.starvedUntil = 0;
    if (wasStill) this.wellSince = this.options.events.now;
    this.wake();
  }

  /** Up, and neither standing still nor starved. */
  get isWell(): boolean {
    const { now } = this.options.events;
    return (
      this.isUp && !this.isExpectingAnomalies && now >= this.frozenUntil && now >= this.starvedUntil
    );
  }

  /** A frozen process does everything that came meanwhile when it wakes, in order. */
  private whenAwake(act: () => void, isTimer: boolean): void {
    if (this.isFrozen) this.missed.push({ isTimer, act });
    else act();
  }

  /** Its loop comes by the timers first, or by what was received. */
  private wake(): void {
    if (this.isFrozen || this.missed.length === 0) return;
    const { missed } = this;
    this.missed = [];
    const isTimersFirst = this.random() < 0.5;
    for (const { isTimer, act } of missed) if (isTimer === isTimersFirst) act();
    for (const { isTimer, act } of missed) if (isTimer !== isTimersFirst) act();
  }

  // -------------------------------------------------------------- what happens to it

  private beat(life: number): void {
    if (this.life !== life) return;
    const { network, events } = this.options;
    if (!this.isFrozen) network.beat(this);
    events.after(900 + 200 * this.random(), () => this.beat(life));
  }

  push(input: Input): void {
    if (!this.isUp) return;
    this.whenAwake(() => {
      if (!this.isUp) return;
      this.options.checker.onInput(this, input);
      this.driver?.push(input);
    }, false);
  }

  ask(toInput: Parameters<Driver['ask']>[0], onReply: (reply: Reply) => void): void {
    const { driver, life } = this;
    if (!this.isUp || this.isFrozen || !driver) return;
    this.asked++;
    void driver.ask(toInput).then((reply) => {
      if (this.life !== life) return;
      this.asked--;
      onReply(reply);
      this.diesAt('afterReply');
    });
  }

  linkUp(peer: SimNode, link: number): void {
    const old = this.links.get(peer.id);
    if (old !== undefined) this.linkDown(peer, old, 'replaced');
    this.links.set(peer.id, link);
    const { boot, facts } = peer;
    const commits = peer.disk.age;
    this.push({ kind: 'linkUp', node: peer.id, boot, commits, facts, host: peer.id });
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
    if (event.kind === 'memberChanged') this.rememberPeer(event.node);
    this.options.checker.onEvent(this, event);
  }

  /** As a node does, for its next life. */
  private rememberPeer(node: NodeId): void {
    const member = this.core?.peers().find(({ facts }) => facts.node === node);
    if (!member || this.disk.isFull) return;
    const { facts, boot, commits, heardWall } = member;
    this.disk.peers.set(node, { facts, boot, commits, status: 'IDLE', lastHeartbeat: heardWall });
  }

  // -------------------------------------------------------------- views

  view(): Core | undefined {
    return this.isUp ? this.core : undefined;
  }
}

const SIGNALS: ReadonlySet<string> = new Set([
  'ping',
  'pong',
  'probe',
  'heard',
  'members',
  'goodbye',
  'renew',
  'renewed',
]);
