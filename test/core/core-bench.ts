/**
 * A core on the bench: inputs go in, time passes when a test says so, and every effect that comes
 * out must be claimed. Writes are on its disk at once, unless the disk is held; what the disk is
 * asked for it answers, held or not. Peers are names with a voice: whoever is in `talking` answers each second.
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
import type { Effect, MeshEvent, Reply, Write } from '../../src/core/effects.ts';
import { IDLE_LOAD, type Load, type NodeFacts } from '../../src/core/facts.ts';
import type { Input, StoredState, Survivor } from '../../src/core/inputs.ts';
import type { JobSpec } from '../../src/core/job.ts';
import type { JobRecord } from '../../src/core/job-record.ts';
import type { Message } from '../../src/core/messages.ts';

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
  env: {},
  timeoutMs: 60_000,
  priority: 5,
  needs: { labels: {}, capabilities: {} },
};

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
  labels: {},
  capabilities: {},
  ...change,
});

export interface BenchOptions {
  readonly boot?: BootId;
  readonly facts?: Partial<NodeFacts>;
  readonly maxJobs?: number;
  readonly killGraceMs?: number;
  readonly peerTimeoutMs?: number;
  readonly stored?: Partial<StoredState>;
  /** Attempts of an earlier life that still run. */
  readonly survivors?: readonly Survivor[];
  /** The disk of an earlier life. */
  readonly records?: ReadonlyMap<JobId, JobRecord>;
  readonly monoMs?: number;
}

type EffectOf<Kind extends Effect['kind']> = Extract<Effect, { kind: Kind }>;
type MessageOf<Kind extends Message['kind']> = Extract<Message, { kind: Kind }>;

export class CoreBench {
  readonly core: Core;
  /** On its disk. */
  readonly records: Map<JobId, JobRecord>;
  readonly events: MeshEvent[] = [];
  /** Signs of life that it sent. */
  readonly signs: { readonly to: NodeId; readonly message: Message }[] = [];
  /** Peers that answer each second with this load. */
  readonly talking = new Map<NodeId, Load>();
  readonly boots = new Map<NodeId, BootId>();
  /** While set, nothing that is written gets to the disk. */
  isDiskHeld = false;
  monoMs: number;
  private unclaimed: Effect[] = [];
  private writes: Write[] = [];
  /** Read from its disk, one after the other. */
  readonly reads: JobId[] = [];
  private wanted: JobId[] = [];
  private serial = 0;
  private talkedAt = 0;

  constructor(options: BenchOptions = {}) {
    const facts = factsOf(SELF, options.facts);
    this.monoMs = options.monoMs ?? 1_000_000;
    this.records = new Map(options.records);
    this.core = new Core({
      boot: options.boot ?? bootOf(1),
      facts: () => facts,
      node: SELF,
      random: seededRandom(1),
      now: this.now(),
      peerTimeoutMs: options.peerTimeoutMs ?? 30_000,
      killGraceMs: options.killGraceMs ?? 5000,
      maxJobs: options.maxJobs ?? 1000,
    });
    this.put({
      kind: 'restored',
      state: { records: [], started: [], outbox: [], ...options.stored },
      survivors: options.survivors ?? [],
    });
    this.put({ kind: 'tick' });
  }

  now(): Now {
    return { mono: asMono(this.monoMs), wall: asWall(1.7e12 + this.monoMs) };
  }

  // -------------------------------------------------------------- in

  put(input: Input): void {
    for (const effect of this.core.handle(input, this.now())) this.collect(effect);
    if (!this.isDiskHeld) this.commit();
    for (const job of this.wanted.splice(0))
      this.put({ kind: 'stored', job, record: this.read(job) });
  }

  private read(job: JobId): JobRecord | undefined {
    this.reads.push(job);
    return this.records.get(job);
  }

  /** What is written gets to the disk, and what follows from it too. */
  commit(): void {
    for (;;) {
      const { writes } = this;
      this.writes = [];
      if (writes.length === 0) break;
      for (const write of writes)
        if (write.kind === 'record') this.records.set(write.header.job, write);
      for (const effect of this.core.handle({ kind: 'committed', writes }, this.now()))
        this.collect(effect);
    }
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

  private collect(effect: Effect): void {
    if (effect.kind === 'persist') this.writes.push(effect.write);
    else if (effect.kind === 'load') this.wanted.push(effect.job);
    else if (effect.kind === 'event') this.events.push(effect.event);
    else if (effect.kind === 'signal' && isSignOfLife(effect.message)) this.signs.push(effect);
    else this.unclaimed.push(effect);
    if (effect.kind === 'withdraw') {
      const { job } = effect;
      this.writes = this.writes.filter(
        (write) => write.kind !== 'record' || write.header.job !== job,
      );
    }
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
    for (const [node, load] of this.talking) this.hear(node, { kind: 'pong', serial: 1, load });
  }

  hear(from: NodeId, message: Message): void {
    this.put({ kind: 'message', from, boot: this.boots.get(from) ?? bootOf(1), message });
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
    this.put({ kind: 'linkDown', node, boot: this.boots.get(node) ?? bootOf(1), reason });
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

  /** Nothing came out that was not claimed. */
  assertQuiet(): void {
    assert.deepEqual(this.unclaimed.splice(0), []);
  }

  // -------------------------------------------------------------- commands

  /** Returns the request; `key` makes it a keyed submit of that id. */
  submit(
    spec: Partial<JobSpec> = {},
    options: { job?: string; key?: string; hash?: string } = {},
  ): { job: JobId; request: string } {
    const serial = ++this.serial;
    const job = asJobId(options.key ?? options.job ?? `job-${serial}`);
    const request = `r${serial}`;
    this.put({
      kind: 'submit',
      request: asRequestId(request),
      submission: {
        job,
        birth: asBirth(`birth-${serial}`),
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

  /** Of the job on disk. */
  status(job: JobId): string {
    return this.core.enliven(this.record(job)).status;
  }
}

export function only<Item>(items: readonly Item[], what: string): Item {
  assert.equal(items.length, 1, `${items.length} instead of one: ${what}`);
  return items[0] as Item;
}

const isSignOfLife = (message: Message): boolean =>
  message.kind === 'ping' ||
  message.kind === 'pong' ||
  message.kind === 'members' ||
  message.kind === 'probe' ||
  message.kind === 'heard';
