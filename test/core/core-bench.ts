/**
 * A core on the bench: inputs go in, time passes when a test says so, and every effect that comes
 * out must be claimed. Writes are on its disk at once, unless the disk is held; then all that the
 * driver lets wait for a commit waits too. What the disk is asked for it answers, held or not.
 *
 * Peers are names with a voice: whoever is in `talking` answers each second, and votes about the
 * records it is told to keep, unless its replica is silent.
 */
import assert from 'node:assert/strict';
import {
  asBirth,
  asJobId,
  asNodeId,
  asRequestId,
  type BootId,
  type JobId,
  type NodeId,
} from '../../src/base/ids.ts';
import { asMono, asWall, type Now } from '../../src/base/instant.ts';
import { seededRandom } from '../../src/base/random.ts';
import { Core, TICK_MS } from '../../src/core/core.ts';
import type { KnownDisk } from '../../src/core/disk-ages.ts';
import type { Effect, MeshEvent, Reply, Write } from '../../src/core/effects.ts';
import { IDLE_LOAD, type Load, type NodeFacts } from '../../src/core/facts.ts';
import type { Input, StoredState, Survivor } from '../../src/core/inputs.ts';
import type { JobSpec } from '../../src/core/job.ts';
import type { JobRecord } from '../../src/core/job-record.ts';
import type { Message } from '../../src/core/messages.ts';
import type { Store } from '../../src/node/ports.ts';
import { MemoryDisk } from '../conformance/memory-store.ts';
import { isForReplica, PeerReplica } from './peer-replica.ts';

export const nodeId = (letter: string): NodeId => asNodeId(`node-${letter.repeat(32)}`);
/** The node under test: its id is neither the lowest nor the highest. */
export const SELF = nodeId('5');
export const B = nodeId('b');
export const C = nodeId('c');
export const D = nodeId('d');

export const bootOf = (counter: number): BootId => ({ counter, salt: '0'.repeat(16) });

export const SPEC: JobSpec = {
  taskType: 'shell',
  command: 'true',
  params: '{}',
  run: '{}',
  env: {},
  timeoutMs: 60_000,
  priority: 5,
  needs: { labels: {}, capabilities: {} },
  delivery: 'at_least_once',
  onIsolation: 'stop',
};

/** On the owner's disk alone: no other node's word is needed. */
export const ALONE = { replicas: 1 } as const;

export const factsOf = (node: NodeId, change: Partial<NodeFacts> = {}): NodeFacts => ({
  node,
  name: node.slice(0, 6),
  hostname: 'bench',
  platform: 'linux-x64',
  version: '0',
  pid: 1,
  hosts: ['10.0.0.1'],
  linkPort: 4000,
  apiUrl: '',
  slots: 2,
  taskTypes: ['shell'],
  typeVersions: {},
  hardware: { cores: 2, memoryBytes: 4e9, diskBytes: 2e10 },
  labels: {},
  capabilities: {},
  ...change,
});

export interface BenchOptions {
  readonly node?: NodeId;
  readonly boot?: BootId;
  readonly facts?: Partial<NodeFacts>;
  readonly maxJobs?: number;
  readonly knownDisks?: readonly KnownDisk[];
  readonly killGraceMs?: number;
  readonly peerTimeoutMs?: number;
  /** Of an earlier life. */
  readonly disk?: MemoryDisk;
  /** Instead of what the disk says. */
  readonly stored?: Partial<StoredState>;
  /** Attempts of an earlier life that still run. */
  readonly survivors?: readonly Survivor[];
  readonly isDiskHeld?: boolean;
  /** Takes all that is sent, instead of the peers on the bench. */
  readonly wire?: (to: NodeId, message: Message) => void;
  readonly monoMs?: number;
}

type EffectOf<Kind extends Effect['kind']> = Extract<Effect, { kind: Kind }>;
type MessageOf<Kind extends Message['kind']> = Extract<Message, { kind: Kind }>;

export class CoreBench {
  readonly node: NodeId;
  readonly boot: BootId;
  readonly core: Core;
  readonly disk: MemoryDisk;
  readonly events: MeshEvent[] = [];
  /** Signs of life that it sent. */
  readonly signs: { readonly to: NodeId; readonly message: Message }[] = [];
  /** Peers that answer each second with this load. */
  readonly talking = new Map<NodeId, Load>();
  readonly boots = new Map<NodeId, BootId>();
  /** While set, nothing that is written gets to the disk, and what hangs on it waits. */
  isDiskHeld = false;
  monoMs: number;
  /** Read from its disk, one after the other. */
  readonly reads: JobId[] = [];
  private readonly wire: BenchOptions['wire'];
  private readonly store: Store;
  private readonly replicas = new Map<NodeId, PeerReplica>();
  private readonly inputs: Input[] = [];
  private isHandling = false;
  private unclaimed: Effect[] = [];
  private writes: Write[] = [];
  /** Waits for the commit. */
  private held: Effect[] = [];
  private serial = 0;
  private talkedAt = 0;

  constructor(options: BenchOptions = {}) {
    this.node = options.node ?? SELF;
    const facts = factsOf(this.node, options.facts);
    this.monoMs = options.monoMs ?? 1_000_000;
    this.isDiskHeld = options.isDiskHeld ?? false;
    this.wire = options.wire;
    this.disk = options.disk ?? new MemoryDisk();
    const { store, boot } = this.disk.open(seededRandom(1));
    this.store = store;
    this.boot = options.boot ?? bootOf(boot.counter);
    this.core = new Core({
      boot: this.boot,
      facts: () => facts,
      node: this.node,
      random: seededRandom(1),
      now: this.now(),
      peerTimeoutMs: options.peerTimeoutMs ?? 30_000,
      killGraceMs: options.killGraceMs ?? 5000,
      knownDisks: options.knownDisks ?? [],
      maxJobs: options.maxJobs ?? 1000,
    });
    this.put({
      kind: 'restored',
      state: { ...store.restore(), ...options.stored },
      survivors: options.survivors ?? [],
    });
    this.put({ kind: 'tick' });
  }

  now(): Now {
    return { mono: asMono(this.monoMs), wall: asWall(1.7e12 + this.monoMs) };
  }

  /** Its next life, on the same disk; its peers keep theirs. */
  restarted(options: BenchOptions = {}): CoreBench {
    const next = new CoreBench({ disk: this.disk, monoMs: this.monoMs, ...options });
    for (const [node, replica] of this.replicas) next.replicas.set(node, replica);
    return next;
  }

  /** The records on its disk. */
  get records(): ReadonlyMap<JobId, JobRecord> {
    return this.disk.tables.records;
  }

  // -------------------------------------------------------------- in

  /** Handles the input and all that follows from it. */
  put(input: Input): void {
    this.inputs.push(input);
    if (this.isHandling) return;
    this.isHandling = true;
    try {
      for (let next = this.inputs.shift(); next; next = this.inputs.shift()) this.turn(next);
    } finally {
      this.isHandling = false;
    }
  }

  private turn(input: Input): void {
    for (const effect of this.core.handle(input, this.now())) this.sort(effect);
    if (!this.isDiskHeld || this.writes.length === 0) this.write();
  }

  /** What the driver does at once, and what it lets wait for the commit. */
  private sort(effect: Effect): void {
    if (effect.kind === 'persist') this.writes.push(effect.write);
    else if (effect.kind === 'load')
      this.inputs.push({ kind: 'stored', job: effect.job, record: this.read(effect.job) });
    else if (effect.kind === 'signal' && isSignOfLife(effect.message)) this.say(effect);
    else if (isAtOnce(effect)) this.release(effect);
    else this.held.push(effect);
    if (effect.kind === 'withdraw') this.withdraw(effect.job);
  }

  private withdraw(job: JobId): void {
    this.writes = this.writes.filter(
      (write) =>
        !(write.kind === 'record' && write.header.job === job) &&
        !(write.kind === 'started' && write.job === job),
    );
    this.held = this.held.filter(
      (effect) =>
        effect.kind !== 'send' ||
        effect.message.kind !== 'accept' ||
        effect.message.record.header.job !== job,
    );
  }

  private read(job: JobId): JobRecord | undefined {
    this.reads.push(job);
    return this.store.readRecord(job);
  }

  private write(): void {
    const writes = this.writes.splice(0);
    this.store.commit(writes);
    if (writes.length > 0) this.inputs.unshift({ kind: 'committed', writes });
    for (const effect of this.held.splice(0)) this.release(effect);
  }

  private say({ to, message }: { to: NodeId; message: Message }): void {
    this.signs.push({ to, message });
    this.wire?.(to, message);
  }

  private release(effect: Effect): void {
    if (effect.kind === 'event') this.events.push(effect.event);
    else if (effect.kind === 'send' || effect.kind === 'signal') this.deliver(effect);
    else this.unclaimed.push(effect);
  }

  private deliver(effect: EffectOf<'send'> | EffectOf<'signal'>): void {
    const { to, message } = effect;
    if (this.wire) {
      this.wire(to, message);
      return;
    }
    const replica = this.replica(to);
    if (!isForReplica(message) || replica.isSilent) {
      this.unclaimed.push(effect);
      return;
    }
    if (!this.talking.has(to)) return;
    const boot = this.bootOf(to);
    for (const answer of replica.hear(this.node, message, this.now()))
      this.inputs.push({ kind: 'message', from: to, boot, message: answer });
  }

  /** What is written gets to the disk, and what follows from it happens. */
  commit(): void {
    const isHeld = this.isDiskHeld;
    this.isDiskHeld = false;
    this.write();
    this.isDiskHeld = isHeld;
    const next = this.inputs.shift();
    if (next) this.put(next);
  }

  /** The disk refuses what was written in this turn, as the driver would tell. */
  failDisk(): void {
    this.isDiskHeld = true;
    this.put({ kind: 'storeChanged', isWorking: false });
  }

  mendDisk(): void {
    this.isDiskHeld = false;
    this.commit();
    this.put({ kind: 'storeChanged', isWorking: true });
  }

  /** Lets time pass in ticks; those who talk are heard each second. */
  advance(ms: number): void {
    const end = this.monoMs + ms;
    while (this.monoMs < end) {
      this.monoMs = Math.min(end, this.monoMs + TICK_MS);
      if (this.monoMs - this.talkedAt >= 1000) this.talk();
      this.put({ kind: 'tick' });
    }
  }

  /** The own loop stands still: time passes, nothing is handled. */
  stall(ms: number): void {
    this.monoMs += ms;
  }

  talk(): void {
    this.talkedAt = this.monoMs;
    for (const [node, load] of this.talking)
      this.hear(node, { kind: 'pong', serial: this.serialTo(node), load, marks: 0 });
  }

  /** Of the last ping to it. */
  private serialTo(node: NodeId): number {
    const ping = this.signs.findLast(({ to, message }) => to === node && message.kind === 'ping');
    return ping?.message.kind === 'ping' ? ping.message.serial : 0;
  }

  hear(from: NodeId, message: Message): void {
    this.put({ kind: 'message', from, boot: this.bootOf(from), message });
  }

  private bootOf(node: NodeId): BootId {
    return this.boots.get(node) ?? bootOf(1);
  }

  /** The peer as a replica; its disk outlives its links. */
  replica(node: NodeId): PeerReplica {
    const known = this.replicas.get(node);
    if (known) return known;
    const replica = new PeerReplica(node, this.bootOf(node), this.now());
    this.replicas.set(node, replica);
    return replica;
  }

  /** A peer comes up with all its slots free, and talks from now on. */
  link(node: NodeId, facts: Partial<NodeFacts> = {}, boot: BootId = bootOf(1)): void {
    const all = factsOf(node, facts);
    this.boots.set(node, boot);
    this.put({ kind: 'linkUp', node, boot, facts: all, host: '10.0.0.9' });
    this.talking.set(node, { ...IDLE_LOAD, slots: all.slots });
    this.talk();
  }

  unlink(node: NodeId, reason = 'closed by peer'): void {
    this.talking.delete(node);
    this.put({ kind: 'linkDown', node, boot: this.bootOf(node), reason });
  }

  /** The process behind a link is gone: its port refuses. Dials are claimed on the way. */
  kill(node: NodeId): void {
    this.unlink(node);
    for (let dials = 0; dials < 2; dials++) {
      while (this.take('dial').every((dial) => dial.node !== node)) this.advance(TICK_MS);
      this.put({ kind: 'dialFailed', node, isRefused: true, reason: 'refused' });
    }
  }

  // -------------------------------------------------------------- out, claimed

  take<Kind extends Effect['kind']>(
    kind: Kind,
    isWanted: (effect: EffectOf<Kind>) => boolean = () => true,
  ): EffectOf<Kind>[] {
    const taken: EffectOf<Kind>[] = [];
    this.unclaimed = this.unclaimed.filter((effect) => {
      if (effect.kind !== kind || !isWanted(effect as EffectOf<Kind>)) return true;
      taken.push(effect as EffectOf<Kind>);
      return false;
    });
    return taken;
  }

  one<Kind extends Effect['kind']>(kind: Kind): EffectOf<Kind> {
    return only(this.take(kind), kind);
  }

  messages<Kind extends Message['kind']>(to: NodeId, kind: Kind): MessageOf<Kind>[] {
    const isIt = (effect: { to: NodeId; message: Message }): boolean =>
      effect.to === to && effect.message.kind === kind;
    return [...this.take('send', isIt), ...this.take('signal', isIt)].map(
      ({ message }) => message as MessageOf<Kind>,
    );
  }

  message<Kind extends Message['kind']>(to: NodeId, kind: Kind): MessageOf<Kind> {
    return only(this.messages(to, kind), `${kind} to ${to}`);
  }

  replies(request: string): Reply[] {
    return this.take('reply', (effect) => effect.request === request).map(({ reply }) => reply);
  }

  reply(request: string): Reply {
    return only(this.replies(request), `reply to ${request}`);
  }

  /** Nothing came out that was not claimed, beside leases that go on. */
  assertQuiet(): void {
    this.take('prolong');
    assert.deepEqual(this.unclaimed.splice(0), []);
  }

  // -------------------------------------------------------------- commands

  /** Returns the request; `key` makes it a keyed submit of that id. */
  submit(
    spec: Partial<JobSpec> = {},
    options: { job?: string; key?: string; hash?: string } = {},
  ): { job: JobId; request: string } {
    const serial = ++this.serial;
    const mark = this.node === SELF ? `${serial}` : `${this.node.slice(5, 6)}${serial}`;
    const job = asJobId(options.key ?? options.job ?? `job-${mark}`);
    const request = `r${serial}`;
    this.put({
      kind: 'submit',
      request: asRequestId(request),
      submission: {
        job,
        birth: asBirth(`birth-${mark}`),
        spec: { ...SPEC, ...spec },
        contentHash: options.hash ?? 'content',
        isKeyed: options.key !== undefined,
      },
    });
    return { job, request };
  }

  /** A submit whose answer is of no interest. */
  accept(spec: Partial<JobSpec> = {}): JobId {
    const { job, request } = this.submit(spec);
    assert.equal(this.reply(request).kind, 'submitted');
    return job;
  }

  cancel(job: JobId): string {
    const request = `r${++this.serial}`;
    this.put({ kind: 'cancel', request: asRequestId(request), job });
    return request;
  }

  record(job: JobId): JobRecord {
    return this.records.get(job) ?? assert.fail(`${job} is not on disk`);
  }

  /** Its disk knows that the final state is decided. */
  isSettled(job: JobId): boolean {
    return (this.disk.tables.notes.get(job)?.settled ?? 0) > 0;
  }

  /** Whom its disk knows to lack what it decided alone. */
  lackingOf(job: JobId): NodeId | undefined {
    return this.disk.tables.notes.get(job)?.lacking;
  }

  /** Of the job on disk. */
  status(job: JobId): string {
    return this.core.enliven(this.record(job)).status;
  }
}

export function only<Item>(items: readonly Item[], what: string): Item {
  assert.equal(items.length, 1, `${items.length} instead of one: ${what}`);
  return items[0] as Item;
}

/** The driver lets these happen before the commit, or without. */
function isAtOnce(effect: Effect): boolean {
  switch (effect.kind) {
    case 'signal':
    case 'dial':
    case 'hangUp':
    case 'start':
    case 'stop':
    case 'prolong':
    case 'withdraw':
      return true;
    case 'reply':
      return ['notAccepting', 'queueFull', 'noQuorum'].includes(effect.reply.kind);
    default:
      return false;
  }
}

const isSignOfLife = (message: Message): boolean =>
  message.kind === 'ping' ||
  message.kind === 'pong' ||
  message.kind === 'members' ||
  message.kind === 'probe' ||
  message.kind === 'heard';
