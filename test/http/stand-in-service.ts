/**
 * A node in memory for tests of what stands before it: it keeps jobs, runs them by a real shell if
 * told to, keeps their output and tells of changes. It has no mesh, no disk and no elections.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { MeshError } from '../../src/base/errors.ts';
import {
  asBirth,
  asJobId,
  asNodeId,
  asNonce,
  type JobId,
  type NodeId,
} from '../../src/base/ids.ts';
import { asWall } from '../../src/base/instant.ts';
import type { LiveRecord, OutputStream, RecordQuery } from '../../src/core/calls.ts';
import type { Owned } from '../../src/core/core.ts';
import type { MeshEvent } from '../../src/core/effects.ts';
import { IDLE_LOAD, type Load, type NodeFacts } from '../../src/core/facts.ts';
import type { Leaving } from '../../src/core/inputs.ts';
import type { AttemptEnd, FinalStatus, Job, JobState } from '../../src/core/job.ts';
import type { Ban, Fence } from '../../src/core/record.ts';
import type { DiscoveryReport } from '../../src/node/ports.ts';
import type {
  CancelReply,
  ConflictPage,
  FileService,
  FoundConflict,
  Health,
  JobPage,
  MeshService,
  MissedNode,
  OutputPart,
  PeerView,
  SubmitRequest,
  SubmitResult,
} from '../../src/node/service.ts';
import type { RunOptions } from '../../src/run/run-options.ts';

export const SELF = asNodeId(`node-${'a'.repeat(32)}`);
export const PEER = asNodeId(`node-${'b'.repeat(32)}`);
const BOOT = { counter: 1, salt: '00000000000000aa' };

const facts = (node: NodeId, name: string): NodeFacts => ({
  node,
  name,
  hostname: `${name}-host`,
  platform: 'linux-x64',
  version: '0.1.0',
  pid: process.pid,
  hosts: ['127.0.0.1'],
  linkPort: 4001,
  apiUrl: 'http://127.0.0.1:3000',
  slots: 2,
  taskTypes: ['shell'],
  typeVersions: {},
  hardware: { cores: 2, memoryBytes: 4e9, diskBytes: 2e10 },
  labels: { room: 'lab' },
  capabilities: { gpu: 'true' },
});

interface Kept {
  live: LiveRecord;
  readonly output: Record<OutputStream, Buffer>;
  child: ChildProcess | undefined;
  isCancelled: boolean;
}

const noFiles = async (): Promise<never> => {
  throw new MeshError('BLOB_NOT_FOUND', 'There are no files here.');
};
const NO_FILES: FileService = { look: noFiles, receive: noFiles, open: noFiles };

export class StandInService implements MeshService {
  readonly facts = facts(SELF, 'alpha');
  boot = BOOT;
  jobProcesses = () => 'supervised' as const;
  files: FileService = NO_FILES;
  peerViews: PeerView[] = [
    {
      facts: facts(PEER, 'beta'),
      boot: BOOT,
      state: 'alive',
      load: { ...IDLE_LOAD, slots: 2 },
      address: '127.0.0.1:4002',
      lastHeardAt: asWall(Date.parse('2026-01-02T03:04:05.678Z')),
    },
  ];
  healthNow: Health = { isHealthy: true, problems: [] };
  /** Thrown by everything that can fail. */
  failure: MeshError | undefined;
  /** Answers of the next submissions, instead of taking them. */
  refusal: Extract<SubmitResult, { kind: 'refused' }> | undefined;
  drainedWithMs: number | undefined;
  drainedWay: Leaving | undefined;
  onDrain: () => void = () => {};
  conflicts: FoundConflict[] = [];
  forgotten: { node: NodeId; isForced: boolean } | undefined;
  missing: JobPage['missing'] = [];
  lastQuery: { query: RecordQuery; scope: string } | undefined;
  /** Bytes of output that were asked for and given. */
  readBytes = 0;
  /** Signals of reads under way. */
  readonly reading = new Set<AbortSignal>();
  askTerminal: MeshService['askTerminal'] = () => Promise.reject(new Error('none here'));
  private readonly runsJobs: boolean;
  private readonly jobs = new Map<string, Kept>();
  private readonly listeners = new Set<(event: MeshEvent) => void>();
  /** The node that ran the jobs is away: of their outputs only what begins here is left. */
  tailFrom = 0;
  /** Processes are not ended by a cancel. */
  ignoresCancel = false;
  private serial = 0;
  private readonly firstJob = Promise.withResolvers<void>();
  private readFailure: MeshError | undefined;

  constructor(options: { runsJobs?: boolean } = {}) {
    this.runsJobs = options.runsJobs ?? false;
  }

  health(): Health {
    return this.healthNow;
  }

  load(): Load {
    return { ...IDLE_LOAD, slots: 2, draining: this.drainedWithMs !== undefined };
  }

  peers(): PeerView[] {
    return this.peerViews;
  }

  discovery(): DiscoveryReport {
    const targets = [{ address: '127.255.255.255', sent: 3 }];
    return { port: 8080, targets, ownHeard: 3, heard: 5, dropped: {}, otherMeshes: { ab12: 2 } };
  }

  missed: MissedNode[] = [];

  missedNodes(): MissedNode[] {
    return this.missed;
  }

  findNode(idOrName: string): NodeId | undefined {
    const all = [this.facts, ...this.peerViews.map((peer) => peer.facts)];
    return all.find(({ node, name }) => node === idOrName || name === idOrName)?.node;
  }

  subscribe(listener: (event: MeshEvent) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  get listenerCount(): number {
    return this.listeners.size;
  }

  drain(deadlineMs: number, way: Leaving): void {
    this.drainedWithMs = deadlineMs;
    this.drainedWay = way;
    this.onDrain();
  }

  owned(): Owned {
    return { unfinished: this.jobs.size, given: 0, untold: 0 };
  }

  async listConflicts(limit: number): Promise<ConflictPage> {
    const all = this.conflicts;
    return {
      conflicts: all.slice(0, limit),
      isCut: all.length > limit,
      missing: this.missing,
    };
  }

  async forgetNode(node: NodeId, { isForced }: { isForced: boolean }): Promise<Ban> {
    if (this.failure) throw this.failure;
    this.forgotten = { node, isForced };
    const name = this.peerViews.find(({ facts }) => facts.node === node)?.facts.name ?? '';
    return { node, name, at: asWall(Date.parse('2026-01-02T03:04:05.678Z')) };
  }

  // -------------------------------------------------------------- jobs

  async submit(requests: readonly SubmitRequest[]): Promise<SubmitResult[]> {
    return requests.map((request) => this.refusal ?? this.take(request));
  }

  /** Settles with the first job. */
  submitted(): Promise<void> {
    return this.firstJob.promise;
  }

  private take({ spec, key }: SubmitRequest): SubmitResult {
    const job = asJobId(
      key ? (key.kind === 'id' ? key.text : `key-${key.text}`) : `job-${++this.serial}`,
    );
    const contentHash = JSON.stringify(spec);
    const known = this.jobs.get(job);
    if (known && known.live.record.job.contentHash !== contentHash) {
      return { kind: 'refused', code: 'KEY_CONFLICT', message: `${job} is another job.` };
    }
    if (known) return { kind: 'accepted', live: known.live, isRepeat: true, durability: 'local' };
    const epoch = { counter: 1, node: SELF };
    const header = {
      job,
      birth: asBirth('b'),
      rs: [SELF],
      oldRs: [],
      promised: epoch,
      accepted: { epoch, version: 1 },
      writerBoot: BOOT,
      minVersion: 1,
    };
    const body: Job = {
      spec,
      createdAt: asWall(Date.now()),
      createdBy: SELF,
      contentHash,
      state: { tag: 'pending' },
      attempts: 0,
      losses: 0,
      history: [],
    };
    const waiting = [{ node: PEER, reason: 'label missing' }];
    const live: LiveRecord = {
      record: { header, job: body },
      status: 'JOB_PENDING',
      durability: 'local',
      isSettling: false,
      isOwner: true,
      waiting,
    };
    const kept: Kept = {
      live,
      output: { stdout: Buffer.alloc(0), stderr: Buffer.alloc(0) },
      child: undefined,
      isCancelled: false,
    };
    this.jobs.set(job, kept);
    this.firstJob.resolve();
    if (this.runsJobs) this.run(job, kept);
    return { kind: 'accepted', live, isRepeat: false, durability: 'local' };
  }

  private run(job: JobId, kept: Kept): void {
    const { spec } = kept.live.record.job;
    const { argv = ['/bin/sh', '-c', spec.command] } = JSON.parse(spec.run) as RunOptions;
    const child = spawn(argv[0] ?? '', argv.slice(1), {
      env: { PATH: process.env.PATH, ...spec.env },
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    });
    kept.child = child;
    this.start(job);
    child.stdout?.on('data', (bytes) => this.print(job, 'stdout', bytes));
    child.stderr?.on('data', (bytes) => this.print(job, 'stderr', bytes));
    let isLate = false;
    const timer = setTimeout(() => {
      isLate = true;
      this.kill(kept);
    }, spec.timeoutMs);
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      if (kept.isCancelled)
        this.end(job, 'JOB_CANCELLED', { tag: 'cancelled' }, 'It was cancelled.');
      else if (isLate)
        this.end(job, 'JOB_TIMEOUT', { tag: 'timeout' }, 'It ran longer than it may.');
      else if (signal)
        this.end(job, 'JOB_FAILED', { tag: 'signalled', signal }, `Ended by ${signal}.`);
      else if (code === 0) this.end(job, 'JOB_COMPLETED', { tag: 'exited', code: 0 });
      else this.end(job, 'JOB_FAILED', { tag: 'exited', code: code ?? 1 }, `Exit code ${code}.`);
    });
  }

  private kill({ child }: Kept): void {
    if (child?.pid) process.kill(-child.pid, 'SIGKILL');
  }

  /** An attempt at this node begins; a second one means that the first was lost. */
  start(job: JobId): Fence {
    const { record } = this.kept(job).live;
    const attempt = record.job.attempts + 1;
    const fence = { epoch: record.header.accepted.epoch, attempt };
    const grant = {
      fence,
      executor: SELF,
      executorBoot: BOOT,
      nonce: asNonce(`1.${attempt}`),
      at: asWall(Date.now()),
      why: 'own free slot',
    };
    this.change(job, { tag: 'granted', grant }, 'JOB_RUNNING', attempt);
    return fence;
  }

  /** The executor died: the job waits again, and what it printed is gone. */
  loseAttempt(job: JobId): void {
    const kept = this.kept(job);
    const { state, history } = kept.live.record.job;
    if (state.tag !== 'granted') throw new Error('nothing to lose');
    const { fence, executor, at } = state.grant;
    const past = { fence, executor, at, note: 'lost: link closed', isSuperseded: false };
    const record = kept.live.record;
    kept.live = {
      ...kept.live,
      record: { ...record, job: { ...record.job, history: [...history, past] } },
    };
    kept.output.stdout = Buffer.alloc(0);
    kept.output.stderr = Buffer.alloc(0);
    this.change(job, { tag: 'pending' }, 'JOB_PENDING');
  }

  print(job: JobId, stream: OutputStream, text: string | Buffer): void {
    const { output } = this.kept(job);
    output[stream] = Buffer.concat([output[stream], Buffer.from(text)]);
    this.tell(job);
  }

  end(job: JobId, status: FinalStatus, end?: AttemptEnd, reason = ''): void {
    const kept = this.kept(job);
    const { state } = kept.live.record.job;
    const at = asWall(Date.now());
    const tail = (stream: OutputStream) => ({
      bytes: kept.output[stream].subarray(-32 * 1024),
      totalBytes: kept.output[stream].length,
      isTruncated: false,
    });
    const outcome =
      end && state.tag === 'granted'
        ? {
            fence: state.grant.fence,
            executor: state.grant.executor,
            end,
            startedAt: state.grant.at,
            finishedAt: at,
            stdout: tail('stdout'),
            stderr: tail('stderr'),
          }
        : undefined;
    this.change(job, { tag: 'final', final: { status, at, reason, outcome } }, status);
  }

  /** How a job is known beside its record. */
  know(job: JobId, what: Partial<Omit<LiveRecord, 'record'>>): void {
    const kept = this.kept(job);
    kept.live = { ...kept.live, ...what };
  }

  private change(
    job: JobId,
    state: JobState,
    status: LiveRecord['status'],
    attempts?: number,
  ): void {
    const kept = this.kept(job);
    const { record } = kept.live;
    const body = { ...record.job, state, attempts: attempts ?? record.job.attempts };
    kept.live = { ...kept.live, record: { ...record, job: body }, status, waiting: [] };
    this.tell(job);
  }

  private tell(job: JobId): void {
    const { live } = this.kept(job);
    const { header } = live.record;
    const event = { kind: 'jobChanged', job, status: live.status, header, note: '' } as const;
    for (const listener of this.listeners) listener(event);
  }

  private kept(job: string): Kept {
    if (this.failure) throw this.failure;
    const found = this.jobs.get(job);
    if (found) return found;
    throw new MeshError('JOB_NOT_FOUND', `No node of the mesh knows a job ${job}.`);
  }

  /** The read that is under way, or the next one, fails. */
  failNextRead(failure: MeshError): void {
    this.readFailure = failure;
    for (const job of this.jobs.keys()) this.tell(asJobId(job));
  }

  async getJob(job: JobId): Promise<LiveRecord> {
    return this.kept(job).live;
  }

  async listJobs(query: RecordQuery, scope: 'node' | 'mesh'): Promise<JobPage> {
    this.lastQuery = { query, scope };
    const all = [...this.jobs.values()].map(({ live }) => live).reverse();
    const from = query.before
      ? all.findIndex(({ record }) => record.header.job === query.before?.job) + 1
      : 0;
    const jobs = all.slice(from, from + query.limit);
    const last = jobs.at(-1)?.record;
    const next =
      last && from + jobs.length < all.length
        ? { createdAt: last.job.createdAt, job: last.header.job }
        : undefined;
    return { jobs, next, missing: this.missing };
  }

  async cancelJob(job: JobId): Promise<CancelReply> {
    const kept = this.kept(job);
    const { status, record } = kept.live;
    if (record.job.state.tag === 'final') return { kind: 'alreadyFinal', job, status };
    if (record.job.state.tag === 'pending') {
      this.end(job, 'JOB_CANCELLED', undefined, 'It was cancelled.');
      return { kind: 'cancelled', job };
    }
    kept.isCancelled = true;
    if (!this.ignoresCancel) this.kill(kept);
    return { kind: 'cancelling', job };
  }

  async readOutput(
    job: JobId,
    stream: OutputStream,
    range: {
      offset: number;
      maxBytes: number;
      waitMs?: number;
      fence?: Fence;
      signal?: AbortSignal;
    },
  ): Promise<OutputPart> {
    const { offset, maxBytes, waitMs, signal } = range;
    const isEmpty = (): boolean => {
      const { live, output } = this.kept(job);
      return live.record.job.state.tag !== 'final' && output[stream].length <= offset;
    };
    if (waitMs && isEmpty()) await this.changeOf(job, waitMs, signal);
    if (range.fence && this.isLost(job, range.fence)) {
      await new Promise((resolve) => setTimeout(resolve, 20));
      const nothing = { bytes: new Uint8Array(0), offset, isEnd: false, isTruncated: false };
      return { ...nothing, isTail: false, fence: range.fence };
    }
    const { live, output } = this.kept(job);
    const { state } = live.record.job;
    const from = Math.max(offset, this.tailFrom);
    const bytes = output[stream].subarray(from, from + maxBytes);
    if (this.readFailure) throw this.readFailure;
    this.readBytes += bytes.length;
    const isFinal = state.tag === 'final';
    const fence =
      state.tag === 'granted'
        ? state.grant.fence
        : isFinal
          ? state.final.outcome?.fence
          : undefined;
    return {
      bytes,
      offset: from,
      isEnd: isFinal && from + bytes.length >= output[stream].length,
      isTruncated: from > offset,
      isTail: this.tailFrom > 0,
      fence: range.fence ?? fence,
      totalBytes: isFinal ? output[stream].length : undefined,
      keptBytes: output[stream].length,
    };
  }

  /** Its executor cannot be asked any more. */
  private isLost(job: JobId, fence: Fence): boolean {
    const { history } = this.kept(job).live.record.job;
    return history.some((past) => past.fence.attempt === fence.attempt);
  }

  private async changeOf(
    job: JobId,
    waitMs: number,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    if (signal) this.reading.add(signal);
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, waitMs);
    const end = this.subscribe((event) => {
      if (event.kind === 'jobChanged' && event.job === job) resolve();
    });
    const onAbort = (): void => resolve();
    signal?.addEventListener('abort', onAbort, { once: true });
    await promise;
    signal?.removeEventListener('abort', onAbort);
    clearTimeout(timer);
    end();
    if (signal) this.reading.delete(signal);
  }

  /** Ends the processes of jobs that still run. */
  async close(): Promise<void> {
    for (const kept of this.jobs.values()) {
      const { child } = kept;
      if (!child || child.exitCode !== null || child.signalCode !== null) continue;
      const closed = once(child, 'close');
      this.kill(kept);
      await closed;
    }
  }
}
