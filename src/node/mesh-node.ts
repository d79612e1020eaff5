/**
 * One node, put together: core, driver and adapters, opened and closed in order. It is the
 * `MeshService` that the REST API and embedding programs talk to.
 */
import { messageOf } from '../base/errors.ts';
import type { BootId, JobId, NodeId } from '../base/ids.ts';
import { seededRandom } from '../base/random.ts';
import type { LiveRecord, OutputStream, RecordQuery } from '../core/calls.ts';
import { Core, type Owned } from '../core/core.ts';
import type { DiskRefusal } from '../core/disk-ages.ts';
import type { MeshEvent } from '../core/effects.ts';
import type { Load, MachineUse, NodeFacts, Offers } from '../core/facts.ts';
import type { Leaving } from '../core/inputs.ts';
import type { Ban } from '../core/record.ts';
import { Commands } from './commands.ts';
import { withDeadline } from './deadline.ts';
import { Driver, realTimers } from './driver.ts';
import { MeshFiles } from './files.ts';
import { Finder } from './finder.ts';
import { HandIn } from './hand-in.ts';
import { InputCopies } from './input-copies.ts';
import { namedByJobs } from './named-files.ts';
import { type OutputRange, OutputReader } from './output-reader.ts';
import { ParamsCheck } from './params-check.ts';
import { statusOf, toPeerView } from './peer-view.ts';
import type {
  Blobs,
  Clock,
  Discovery,
  DiscoveryReport,
  Executor,
  Former,
  JobProcesses,
  Links,
  Outputs,
  RememberedPeer,
  Store,
  Terminals,
} from './ports.ts';
import { Queries } from './queries.ts';
import { Retention } from './retention.ts';
import { SecondCopies } from './second-copies.ts';
import type {
  CancelReply,
  ConflictPage,
  Health,
  JobPage,
  MeshService,
  MissedNode,
  OutputPart,
  PeerView,
  SubmitRequest,
  SubmitResult,
} from './service.ts';
import { Submitter } from './submitter.ts';
import { TerminalCalls } from './terminal-calls.ts';

/** A node that ends does not wait longer for its disk. */
const LAST_WRITES_MS = 5000;

export interface MeshNodeParts {
  readonly boot: BootId;
  /** What is told to peers; linkPort is filled in once it is open. */
  readonly facts: NodeFacts;
  readonly store: Store;
  readonly links: Links;
  readonly discovery: Discovery | undefined;
  readonly executor: Executor;
  readonly outputs: Outputs;
  readonly blobs: Blobs;
  readonly terminals: Terminals;
  readonly clock: Clock;
  readonly peerTimeoutMs: number;
  readonly killGraceMs: number;
  readonly maxJobs: number;
  /** How busy the machine is; undefined: not known yet. */
  readonly machine?: () => MachineUse | undefined;
  /** How long a job is known after its end. */
  readonly keepJobsMs: number;
  /** Records on disk that could not be read, once it was; they are kept and never trusted. */
  readonly quarantined?: () => readonly { readonly job: string; readonly reason: string }[];
  /** Of identities that the mesh has forgotten: what they left unfinished is handed in. */
  readonly formers?: readonly Former[];
  /** For logs; each is told once, after it is durable. */
  readonly onEvent: (event: MeshEvent) => void;
}

export class MeshNode implements MeshService {
  readonly boot: BootId;
  facts: NodeFacts;
  readonly files: MeshFiles;
  private readonly secondCopies: SecondCopies;
  private readonly inputs: InputCopies;
  private readonly parts: MeshNodeParts;
  private readonly core: Core;
  private readonly driver: Driver;
  private readonly finder: Finder;
  private readonly queries: Queries;
  private readonly commands: Commands;
  private readonly submitter: Submitter;
  private readonly reader: OutputReader;
  private readonly terminals: TerminalCalls;
  private readonly retention: Retention;
  private readonly handIns: readonly HandIn[];
  /** Nodes of earlier lives, until this one has met them or waited long enough. */
  private awaited: readonly NodeId[] = [];
  private readonly listeners = new Set<(event: MeshEvent) => void>();
  private readonly anomalies: string[] = [];
  private lastStoreFailure = '';
  private whenDrained: ((way: Leaving) => void)[] = [];
  private leaving: Leaving = 'stop';
  private isDrained = false;
  /** Nothing may come before what the disk holds. */
  private isOpen = false;

  constructor(parts: MeshNodeParts) {
    this.parts = parts;
    this.boot = parts.boot;
    this.facts = parts.facts;
    const { clock, store, links, executor, outputs, terminals } = parts;
    this.core = new Core({
      boot: parts.boot,
      node: parts.facts.node,
      facts: () => this.facts,
      random: seededRandom(Number.parseInt(parts.boot.salt.slice(0, 8), 16)),
      now: clock.now(),
      peerTimeoutMs: parts.peerTimeoutMs,
      killGraceMs: parts.killGraceMs,
      knownDisks: store.readPeers(),
      maxJobs: parts.maxJobs,
      ...(parts.machine && { machine: parts.machine }),
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
    const { core, driver } = this;
    const self = parts.facts.node;
    const awaited = (): readonly NodeId[] => this.awaited;
    const finder = new Finder({ self, core, store, links, awaited });
    this.terminals = new TerminalCalls({ self, links, terminals });
    const answering = { store, outputs, executor, terminals };
    const queries = new Queries({ self, core, driver, links, finder, ...answering });
    this.finder = finder;
    const linked = (): NodeId[] => core.linked().map((member) => member.facts.node);
    const unlinked = (): NodeId[] => finder.unlinked();
    this.files = new MeshFiles({ blobs: parts.blobs, links, linked, unlinked });
    const replicasOf = (job: JobId): NodeId[] => [...(store.readRecord(job)?.header.rs ?? [])];
    this.secondCopies = new SecondCopies({ self, replicasOf, linked, links });
    this.queries = queries;
    this.commands = new Commands({ self, core, driver, links, finder, queries });
    const storeFailure = (): string | undefined => this.storeFailure();
    const params = new ParamsCheck({ core, links, executor });
    const hasEnded = (job: JobId): boolean => store.readRecord(job)?.job.state.tag === 'final';
    this.inputs = new InputCopies({ files: this.files, links, linked, hasEnded });
    const checks = { params, inputs: this.inputs };
    this.submitter = new Submitter({ self, core, queries, links, finder, ...checks, storeFailure });
    const subscribe = this.subscribe.bind(this);
    this.reader = new OutputReader({ self, finder, links, outputs, subscribe });
    const onProblem = (sentence: string): void =>
      parts.onEvent({ kind: 'anomaly', note: sentence });
    this.retention = new Retention({ store, clock, keepMs: parts.keepJobsMs, onProblem });
    const tell = (event: MeshEvent): void => this.onEvent(event);
    const { submitter } = this;
    this.handIns = (parts.formers ?? []).map(
      (former) => new HandIn({ self, former, core, finder, submitter, store, clock, tell }),
    );
  }

  // -------------------------------------------------------------- lifecycle

  /** Takes up what the disk holds; from here on jobs are taken and run. */
  async open(): Promise<void> {
    const { executor, store } = this.parts;
    const state = store.restore();
    this.awaitKnownPeers();
    // What an earlier life left running is adopted or ended first, or "lost" would not be true.
    const survivors = await executor.start((report) =>
      this.driver.push({ kind: 'report', report }),
    );
    this.driver.push({ kind: 'restored', state, survivors });
    this.isOpen = true;
    this.retention.start();
    for (const { job, reason } of this.parts.quarantined?.() ?? []) {
      const note = `the record of job ${job} cannot be read and is left alone: ${reason}`;
      this.onEvent({ kind: 'anomaly', note });
    }
  }

  /** Opens the link port, dials the peers of earlier runs and lets the mesh know. @param apiUrl told to peers */
  async join(apiUrl: string): Promise<void> {
    this.facts = { ...this.facts, apiUrl };
    const { port } = await this.parts.links.start({
      onUp: (peer) => this.driver.push({ kind: 'linkUp', ...peer }),
      onDown: (peer) => this.driver.push({ kind: 'linkDown', ...peer }),
      onDialFailed: (failure) => this.driver.push({ kind: 'dialFailed', ...failure }),
      onMessages: ({ node, boot }, messages) => {
        this.driver.push(
          ...messages.map((message) => ({ kind: 'message', from: node, boot, message }) as const),
        );
      },
      onCall: (from, call, signal) =>
        MeshFiles.isFileCall(call)
          ? this.files.answer(from, call)
          : this.queries.answer(call, signal),
    });
    this.facts = { ...this.facts, linkPort: port };
    for (const { node, boot, hosts, linkPort } of this.knownPeers()) {
      const [host] = hosts;
      if (host !== undefined) this.driver.push({ kind: 'hint', node, boot, host, port: linkPort });
    }
    for (const handIn of this.handIns) handIn.start();
    await this.parts.discovery?.start((hint) => this.driver.push({ kind: 'hint', ...hint }));
  }

  private knownPeers(): RememberedPeer[] {
    const { store, formers = [] } = this.parts;
    return [...store.readPeers(), ...formers.flatMap((former) => former.readPeers())].filter(
      ({ node }) => node !== this.facts.node,
    );
  }

  /** From the first answer of the API on: until they are met, nobody can say that a job is nowhere. */
  private awaitKnownPeers(): void {
    this.awaited = this.knownPeers().map(({ node }) => node);
    const forget = (): void => {
      this.awaited = [];
    };
    setTimeout(forget, this.parts.peerTimeoutMs).unref();
  }

  /** What can be run here has changed: every peer hears of it. */
  offer(offers: Offers): void {
    this.facts = { ...this.facts, ...offers };
    if (this.isOpen) this.driver.push({ kind: 'factsChanged' });
  }

  drain(deadlineMs: number, way: Leaving): void {
    this.leaving = way;
    this.driver.push({ kind: 'drain', deadlineMs, way });
  }

  /**
   * The mesh has forgotten this node: nothing more is said under its name, or what it holds would
   * go on beside what the others have decided without it; what runs here is ended.
   */
  retire(): void {
    void this.parts.discovery?.stop();
    void this.parts.links.stop();
    this.drain(0, 'stop');
  }

  /** Settles when a drain is over, with the way in which the node goes. */
  drained(): Promise<Leaving> {
    return this.isDrained
      ? Promise.resolve(this.leaving)
      : new Promise((resolve) => this.whenDrained.push(resolve));
  }

  private onDrained(): void {
    this.isDrained = true;
    for (const resolve of this.whenDrained) resolve(this.leaving);
    this.whenDrained = [];
  }

  /** Releases everything at once; attempts that still run are ended, or left for the next start. */
  async close(running: 'end' | 'leave' = 'end'): Promise<void> {
    this.retention.stop();
    this.secondCopies.stop();
    this.inputs.stop();
    for (const handIn of this.handIns) handIn.stop();
    await this.parts.executor.stop(running);
    // What ended at the last moment is reported by now, and nobody else knows of it.
    await withDeadline(this.driver.settled(), LAST_WRITES_MS);
    this.driver.stop();
    await this.parts.discovery?.stop();
    await this.parts.links.stop();
    this.parts.store.close();
  }

  // -------------------------------------------------------------- views

  load(): Load {
    return this.core.load();
  }

  owned(): Owned {
    return this.core.owned();
  }

  health(): Health {
    const failure = this.storeFailure();
    const others = this.anomalies.filter((note) => note !== this.lastStoreFailure);
    return { isHealthy: failure === undefined, problems: failure ? [failure, ...others] : others };
  }

  peers(): PeerView[] {
    return this.core.peers().map(toPeerView);
  }

  discovery(): DiscoveryReport {
    return this.parts.discovery?.report() ?? NO_DISCOVERY;
  }

  jobProcesses(): JobProcesses | undefined {
    return this.parts.executor.jobProcesses?.();
  }

  findNode(idOrName: string): NodeId | undefined {
    const listed = [this.facts, ...this.core.peers().map((member) => member.facts)];
    const found = matching(idOrName, listed);
    if (found.length > 0) return found.length === 1 ? found[0] : undefined;
    const remembered = matching(idOrName, this.parts.store.readPeers());
    return remembered.length === 1 ? remembered[0] : undefined;
  }

  missedNodes(): MissedNode[] {
    const missed = this.core.missedLeaders();
    if (missed.length === 0) return [];
    const names = new Map(this.parts.store.readPeers().map(({ node, name }) => [node, name]));
    return missed.map(({ node, name, jobs }) => ({
      node,
      name: name ?? names.get(node) ?? '',
      jobs,
    }));
  }

  subscribe(listener: (event: MeshEvent) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  // -------------------------------------------------------------- jobs

  submit(requests: readonly SubmitRequest[]): Promise<SubmitResult[]> {
    return this.submitter.submit(requests);
  }

  getJob(job: JobId): Promise<LiveRecord> {
    return this.finder.find(job);
  }

  listJobs(query: RecordQuery, scope: 'node' | 'mesh'): Promise<JobPage> {
    return this.queries.list(query, scope);
  }

  cancelJob(job: JobId): Promise<CancelReply> {
    return this.commands.cancel(job);
  }

  listConflicts(limit: number): Promise<ConflictPage> {
    return this.queries.listConflicts(limit);
  }

  forgetNode(node: NodeId, options: { isForced: boolean }): Promise<Ban> {
    return this.commands.forget(node, options);
  }

  /** Of these files, the ones that jobs kept here name. */
  filesNamedByJobs(among: ReadonlySet<string>): Promise<ReadonlySet<string>> {
    return namedByJobs(this.parts.store, among);
  }

  readOutput(job: JobId, stream: OutputStream, range: OutputRange): Promise<OutputPart> {
    return this.reader.read(job, stream, range);
  }

  askTerminal(
    ...[place, session, options]: Parameters<TerminalCalls['ask']>
  ): ReturnType<TerminalCalls['ask']> {
    return this.terminals.ask(place, session, options);
  }

  // -------------------------------------------------------------- events

  private onEvent(event: MeshEvent): void {
    if (event.kind === 'anomaly') this.noteAnomaly(event.note);
    if (event.kind === 'memberChanged') this.rememberPeer(event.node);
    this.parts.onEvent(event);
    this.secondCopies.onEvent(event);
    for (const listener of this.listeners) listener(event);
  }

  private noteAnomaly(note: string): void {
    if (this.anomalies.includes(note)) return;
    this.anomalies.push(note);
    if (this.anomalies.length > MAX_ANOMALIES) this.anomalies.shift();
  }

  /** For the next start. */
  private rememberPeer(node: NodeId): void {
    const member = this.core.peers().find((peer) => peer.facts.node === node);
    if (!member) return;
    const { facts, boot, commits, host, heardWall } = member;
    const hosts = [host, ...facts.hosts.filter((other) => other !== host)];
    const row = { facts: { ...facts, hosts }, boot, commits, status: statusOf(member) };
    this.parts.store.writePeer({ ...row, lastHeartbeat: heardWall });
  }

  /** `mesh doctor` tells of it; that a node runs twice is true after a restart too. */
  onDiskRefused({ node, boot, kind, text }: DiskRefusal & { node: NodeId; boot: BootId }): void {
    this.noteAnomaly(text);
    if (kind === 'cloned') this.parts.store.noteCloned(node, boot.counter);
  }

  private onStoreFailure(failure: unknown): void {
    this.lastStoreFailure = messageOf(failure);
    this.parts.onEvent({ kind: 'anomaly', note: this.lastStoreFailure });
  }

  private storeFailure(): string | undefined {
    return this.driver.isStoreFailing ? this.lastStoreFailure : undefined;
  }
}

/** By full id, else by beginning of an id or by name. */
function matching(
  idOrName: string,
  nodes: readonly { readonly node: NodeId; readonly name: string }[],
): NodeId[] {
  const exact = nodes.find(({ node }) => node === idOrName);
  if (exact) return [exact.node];
  const isPrefix = /^node-[0-9a-f]{6,}$/.test(idOrName);
  return nodes
    .filter(({ node, name }) => name === idOrName || (isPrefix && node.startsWith(idOrName)))
    .map(({ node }) => node);
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
