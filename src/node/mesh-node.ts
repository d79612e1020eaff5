/**
 * One node, put together: core, driver and adapters, opened and closed in order. It is the
 * `MeshService` that the REST API and embedding programs talk to.
 */
import { MeshError } from '../base/errors.ts';
import type { BootId, JobId, NodeId } from '../base/ids.ts';
import { seededRandom } from '../base/random.ts';
import type { LiveRecord, OutputStream, RecordQuery } from '../core/calls.ts';
import { Core } from '../core/core.ts';
import type { MeshEvent, Reply } from '../core/effects.ts';
import type { Load, NodeFacts } from '../core/facts.ts';
import type { Member } from '../core/member.ts';
import { withDeadline } from './deadline.ts';
import { Driver, realTimers } from './driver.ts';
import { type OutputRange, OutputReader } from './output-reader.ts';
import type {
  Clock,
  Discovery,
  DiscoveryReport,
  Executor,
  Links,
  Outputs,
  Store,
} from './ports.ts';
import { COMMAND_DEADLINE_MS, Queries } from './queries.ts';
import type {
  Health,
  JobPage,
  MeshService,
  OutputPart,
  PeerView,
  SubmitRequest,
  SubmitResult,
} from './service.ts';
import { homeOf, toSubmission } from './submissions.ts';

export interface MeshNodeParts {
  readonly boot: BootId;
  /** What is told to peers; linkPort is filled in once it is open. */
  readonly facts: NodeFacts;
  readonly store: Store;
  readonly links: Links;
  readonly discovery: Discovery | undefined;
  readonly executor: Executor;
  readonly outputs: Outputs;
  readonly clock: Clock;
  readonly peerTimeoutMs: number;
  readonly killGraceMs: number;
  readonly maxJobs: number;
  /** Records on disk that could not be read, once it was; they are kept and never trusted. */
  readonly quarantined?: () => readonly { readonly job: string; readonly reason: string }[];
  /** For logs; each is told once, after it is durable. */
  readonly onEvent: (event: MeshEvent) => void;
}

const SUBMIT_DEADLINE_MS = 10_000;

export class MeshNode implements MeshService {
  readonly boot: BootId;
  facts: NodeFacts;
  private readonly parts: MeshNodeParts;
  private readonly core: Core;
  private readonly driver: Driver;
  private readonly queries: Queries;
  private readonly reader: OutputReader;
  private readonly listeners = new Set<(event: MeshEvent) => void>();
  private readonly anomalies: string[] = [];
  private storeFailure: string | undefined;
  private whenDrained: (() => void)[] = [];
  private isDrained = false;

  constructor(parts: MeshNodeParts) {
    this.parts = parts;
    this.boot = parts.boot;
    this.facts = parts.facts;
    const { clock, store, links, executor, outputs } = parts;
    this.core = new Core({
      boot: parts.boot,
      node: parts.facts.node,
      facts: () => this.facts,
      random: seededRandom(Number.parseInt(parts.boot.salt.slice(0, 8), 16)),
      now: clock.now(),
      peerTimeoutMs: parts.peerTimeoutMs,
      killGraceMs: parts.killGraceMs,
      maxJobs: parts.maxJobs,
    });
    this.driver = new Driver({
      core: this.core,
      store,
      links,
      executor,
      clock,
      timers: realTimers,
      onEvent: (event) => this.onEvent(event),
      onDrained: () => this.onDrained(),
      onStoreFailure: (failure) => this.onStoreFailure(failure),
    });
    const self = parts.facts.node;
    this.queries = new Queries({
      self,
      core: this.core,
      driver: this.driver,
      store,
      links,
      outputs,
    });
    this.reader = new OutputReader({
      self,
      queries: this.queries,
      links,
      outputs,
      subscribe: (listener) => this.subscribe(listener),
    });
  }

  // -------------------------------------------------------------- lifecycle

  /** Opens the link port and takes up what the disk holds; `announce` lets the mesh know. */
  async open(): Promise<void> {
    const { executor, links, store, facts } = this.parts;
    const state = store.restore();
    // What an earlier life left running is ended first, or "lost" would not be true.
    await executor.start((report) => this.driver.push({ kind: 'report', report }));
    this.driver.push({ kind: 'restored', state });
    for (const { job, reason } of this.parts.quarantined?.() ?? []) {
      const note = `the record of job ${job} cannot be read and is left alone: ${reason}`;
      this.onEvent({ kind: 'anomaly', note });
    }
    const { port } = await links.start({
      onUp: (peer) => this.driver.push({ kind: 'linkUp', ...peer }),
      onDown: (peer) => this.driver.push({ kind: 'linkDown', ...peer }),
      onDialFailed: (failure) => this.driver.push({ kind: 'dialFailed', ...failure }),
      onMessages: ({ node, boot }, messages) => {
        this.driver.push(
          ...messages.map((message) => ({ kind: 'message', from: node, boot, message }) as const),
        );
      },
      onCall: (_from, call, signal) => this.queries.answer(call, signal),
    });
    this.facts = { ...this.facts, linkPort: port, node: facts.node };
  }

  /** Discovery and the peers of an earlier run. @param apiUrl where the REST API answers */
  async announce(apiUrl: string): Promise<void> {
    this.facts = { ...this.facts, apiUrl };
    for (const peer of this.parts.store.readPeers()) {
      const [host] = peer.hosts;
      if (host === undefined || peer.node === this.facts.node) continue;
      this.driver.push({
        kind: 'hint',
        node: peer.node,
        boot: peer.boot,
        host,
        port: peer.linkPort,
      });
    }
    await this.parts.discovery?.start((hint) => this.driver.push({ kind: 'hint', ...hint }));
  }

  drain(deadlineMs: number): void {
    this.driver.push({ kind: 'drain', deadlineMs });
  }

  /** Settles when a drain is over. */
  drained(): Promise<void> {
    return this.isDrained
      ? Promise.resolve()
      : new Promise((resolve) => this.whenDrained.push(resolve));
  }

  private onDrained(): void {
    this.isDrained = true;
    for (const resolve of this.whenDrained) resolve();
    this.whenDrained = [];
  }

  /** Releases everything at once; attempts that still run are ended. */
  async close(): Promise<void> {
    this.driver.stop();
    await this.parts.discovery?.stop();
    await this.parts.links.stop();
    await this.parts.executor.stop();
    this.parts.store.close();
  }

  /** What waits in this node's database for its return. */
  leftBehind(): { unfinished: number; given: number } {
    return this.core.owned();
  }

  // -------------------------------------------------------------- views

  load(): Load {
    return this.core.load();
  }

  health(): Health {
    const problems = this.storeFailure
      ? [this.storeFailure, ...this.anomalies]
      : [...this.anomalies];
    return { isHealthy: this.storeFailure === undefined, problems };
  }

  peers(): PeerView[] {
    return this.core.peers().map(toPeerView);
  }

  discovery(): DiscoveryReport {
    return this.parts.discovery?.report() ?? NO_DISCOVERY;
  }

  findNode(idOrName: string): NodeId | undefined {
    const all = [this.facts, ...this.core.peers().map((member) => member.facts)];
    const exact = all.find((facts) => facts.node === idOrName);
    if (exact) return exact.node;
    const isPrefix = /^node-[0-9a-f]{6,}$/.test(idOrName);
    const named = all.filter(
      (facts) => facts.name === idOrName || (isPrefix && facts.node.startsWith(idOrName)),
    );
    return named.length === 1 ? named[0]?.node : undefined;
  }

  subscribe(listener: (event: MeshEvent) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  // -------------------------------------------------------------- jobs

  async submit(requests: readonly SubmitRequest[]): Promise<SubmitResult[]> {
    return Promise.all(requests.map((request) => this.submitOne(request)));
  }

  private async submitOne(request: SubmitRequest): Promise<SubmitResult> {
    const submission = toSubmission(request);
    const home = submission.isKeyed ? homeOf(submission.job, this.living()) : this.facts.node;
    if (home === undefined || home === this.facts.node) {
      const asked = this.driver.ask((id) => ({ kind: 'submit', request: id, submission }));
      return this.toResult(await withDeadline(asked, SUBMIT_DEADLINE_MS));
    }
    try {
      const answer = await this.parts.links.call(
        home,
        { kind: 'submit', submission },
        { deadlineMs: COMMAND_DEADLINE_MS },
      );
      return this.toResult(answer.kind === 'reply' ? answer.reply : undefined);
    } catch {
      const message = `Node ${home} keeps the ids of this key and does not answer. The job may have been taken: submit it again with the same key.`;
      return { kind: 'refused', code: 'OWNER_UNREACHABLE', message };
    }
  }

  private living(): NodeId[] {
    const alive = this.core
      .peers()
      .filter((member) => member.state === 'alive' && member.isLinked && !member.load.draining);
    return [this.facts.node, ...alive.map((member) => member.facts.node)];
  }

  private toResult(reply: Reply | undefined): SubmitResult {
    switch (reply?.kind) {
      case 'submitted':
        return {
          kind: 'accepted',
          live: this.core.enliven(reply.record),
          isRepeat: reply.isRepeat,
          durability: 'local',
        };
      case 'keyConflict':
        return {
          kind: 'refused',
          code: 'KEY_CONFLICT',
          message: `${reply.job} is taken by a job of other content.`,
        };
      case 'queueFull':
        return {
          kind: 'refused',
          code: 'QUEUE_FULL',
          message: `This node already owns ${reply.limit} unfinished jobs. Try again later, or another node.`,
        };
      case 'notAccepting':
        return reply.reason === 'draining'
          ? {
              kind: 'refused',
              code: 'DRAINING',
              message: 'This node is shutting down. Submit to another one.',
            }
          : {
              kind: 'refused',
              code: 'DISK_FULL',
              message: this.storeFailure ?? 'The disk takes no writes.',
            };
      default:
        return {
          kind: 'refused',
          code: 'BUSY',
          message:
            'The node did not decide in time; the job may still be taken. Look for it before you submit again.',
        };
    }
  }

  getJob(job: JobId): Promise<LiveRecord> {
    return this.queries.find(job);
  }

  listJobs(query: RecordQuery, scope: 'node' | 'mesh'): Promise<JobPage> {
    return this.queries.list(query, scope);
  }

  async cancelJob(
    job: JobId,
  ): Promise<Extract<Reply, { kind: 'cancelled' | 'cancelling' | 'alreadyFinal' }>> {
    const live = await this.queries.find(job);
    const answer = await this.queries.command(live, { kind: 'cancel', job });
    const reply = answer.kind === 'reply' ? answer.reply : undefined;
    if (
      reply?.kind === 'cancelled' ||
      reply?.kind === 'cancelling' ||
      reply?.kind === 'alreadyFinal'
    )
      return reply;
    throw new MeshError(
      'OWNER_UNREACHABLE',
      `No node decides about job ${job} now; nothing was changed. Try again.`,
    );
  }

  readOutput(job: JobId, stream: OutputStream, range: OutputRange): Promise<OutputPart> {
    return this.reader.read(job, stream, range);
  }

  // -------------------------------------------------------------- events

  private onEvent(event: MeshEvent): void {
    if (event.kind === 'anomaly') this.noteAnomaly(event.note);
    if (event.kind === 'memberChanged') this.rememberPeer(event.node);
    this.parts.onEvent(event);
    for (const listener of this.listeners) listener(event);
  }

  private noteAnomaly(note: string): void {
    if (this.anomalies.includes(note)) return;
    this.anomalies.push(note);
    if (this.anomalies.length > MAX_ANOMALIES) this.anomalies.shift();
  }

  /** For the next start; a peer that cannot be written down is only found a little later. */
  private rememberPeer(node: NodeId): void {
    const member = this.core.peers().find((peer) => peer.facts.node === node);
    if (!member || this.driver.isStoreFailing) return;
    try {
      const { facts, boot, heardWall } = member;
      const hosts = [member.host, ...facts.hosts.filter((host) => host !== member.host)];
      this.parts.store.writePeer({
        facts: { ...facts, hosts },
        boot,
        status: statusOf(member),
        lastHeartbeat: heardWall,
      });
    } catch (failure) {
      this.onStoreFailure(failure);
    }
  }

  private onStoreFailure(failure: unknown): void {
    const reason = failure instanceof Error ? failure.message : String(failure);
    this.storeFailure = reason;
    this.parts.onEvent({ kind: 'anomaly', note: reason });
    const watch = setInterval(() => {
      if (this.driver.isStoreFailing) return;
      this.storeFailure = undefined;
      clearInterval(watch);
    }, 500);
    watch.unref();
  }
}

const MAX_ANOMALIES = 50;

const NO_DISCOVERY: DiscoveryReport = {
  port: 0,
  targets: [],
  ownHeard: 0,
  heard: 0,
  dropped: {},
  otherMeshes: {},
};

const toPeerView = (member: Member): PeerView => ({
  facts: member.facts,
  boot: member.boot,
  state: member.state,
  load: member.load,
  address: `${member.host}:${member.facts.linkPort}`,
  lastHeardAt: member.heardWall,
});

export type NodeStatus = 'UNKNOWN' | 'IDLE' | 'BUSY' | 'DRAINING' | 'FAILED';

/** S3's words for a node. */
export function statusOf(member: Pick<Member, 'state' | 'load'>): NodeStatus {
  if (member.state !== 'alive') return member.state === 'suspect' ? 'UNKNOWN' : 'FAILED';
  if (member.load.draining) return 'DRAINING';
  return member.load.running > 0 ? 'BUSY' : 'IDLE';
}
