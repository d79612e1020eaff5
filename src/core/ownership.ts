/**
 * The table of jobs this node owns: it alone decides their moves. Every move is proposed to the
 * job's register, and what must not be taken back waits for the decision. Unfinished jobs are kept
 * in memory; a final one is left to the disk as soon as it is decided.
 *
 * Three parts work on this table: intake.ts (submit, cancel), dispatch.ts (who is offered a job)
 * and assignments.ts (grants, outcomes, executors that die).
 */
import { isSameBoot, type JobId, type NodeId, type RequestId } from '../base/ids.ts';
import type { MonoMs } from '../base/instant.ts';
import { type Job, type JobStatus, recordedStatus } from './job.ts';
import type { JobRecord } from './job-record.ts';
import type { Outgoing } from './outgoing.ts';
import { ownerOf, type RecordHeader } from './record.ts';
import { Register } from './register.ts';

/** What the owner knows beside the record; lost with the process, and found out again. */
export type Stage =
  /** Its newest value is proposed, and what comes next hangs on the decision. */
  | { readonly tag: 'settling' }
  /** In the queue. */
  | { readonly tag: 'queued' }
  | { readonly tag: 'offered'; readonly to: NodeId; readonly at: MonoMs; readonly why: string }
  | { readonly tag: 'given'; readonly run: Run }
  /** Revoked: until then its attempt may still run somewhere. */
  | { readonly tag: 'waiting'; readonly until: MonoMs };

export interface Run {
  /** Last time the grant, or the cancel, was sent. */
  sentAt: MonoMs;
  /** The executor said that it runs. */
  isStarted: boolean;
  /** Wall time, by the executor's calendar. */
  startedAt?: number | undefined;
  /** Its lease ends at most LEASE_MS after this. */
  lastYesAt: MonoMs;
}

export interface OwnedJob {
  /** The newest proposed value. */
  record: JobRecord;
  stage: Stage;
  /** Highest decided version of the record's epoch; 0: none. */
  decidedVersion: number;
  /** A node that just refused this job, and until when it is not asked again. */
  refusedBy?: { readonly node: NodeId; readonly until: MonoMs } | undefined;
  /** To be done once this version is decided, in order. */
  readonly afterDecision: { readonly version: number; readonly act: () => void }[];
}

export class Ownership {
  private readonly out: Outgoing;
  private readonly register: Register;
  private readonly jobs = new Map<JobId, OwnedJob>();
  /** Given to an executor, or waiting for a lease to end: all that time alone can move. */
  private readonly moving = new Set<OwnedJob>();
  /** Final jobs read back from disk to note a late outcome, until that is decided. */
  private readonly revisited = new Map<JobId, OwnedJob>();
  /** Acts that need a record which is not in memory. */
  private readonly parked = new Map<JobId, ((record: JobRecord | undefined) => void)[]>();
  /** Requests whose job's first value is not decided yet. */
  private readonly unacknowledged = new Map<JobId, RequestId[]>();

  constructor(out: Outgoing) {
    this.out = out;
    this.register = new Register(out, (record) => this.onDecided(record));
  }

  get(job: JobId): OwnedJob | undefined {
    return this.jobs.get(job);
  }

  get size(): number {
    return this.jobs.size;
  }

  /** Jobs whose attempt is with an executor or may still be, in the order of their grants. */
  inMotion(): OwnedJob[] {
    return [...this.moving];
  }

  get movingCount(): number {
    return this.moving.size;
  }

  // -------------------------------------------------------------- entering

  /** A new job; `request` is answered with its first decision. */
  create(record: JobRecord, request: RequestId, then: (owned: OwnedJob) => void): void {
    const owned = newlyOwned(record);
    this.jobs.set(record.header.job, owned);
    this.unacknowledged.set(record.header.job, [request]);
    this.write(owned, record.header, record.job, () => {
      this.acknowledgeSubmit(owned);
      then(owned);
    });
  }

  /**
   * An old epoch is never resumed: what this node wrote before it died may have been decided
   * without it knowing, so each unfinished job gets a higher epoch before anything is done with it.
   */
  adopt(record: JobRecord, then: (owned: OwnedJob) => void): void {
    if (ownerOf(record.header) !== this.out.self || record.job.state.tag === 'final') return;
    const owned = newlyOwned(record);
    this.jobs.set(record.header.job, owned);
    this.propose(owned, record.job, () => then(owned));
  }

  /** A final record, to which something is to be added. */
  revisit(record: JobRecord): OwnedJob {
    return this.revisited.get(record.header.job) ?? newlyOwned(record);
  }

  /** Adds a request to those that wait for the job's first decision; false: it is decided. */
  awaitSubmit(job: JobId, request: RequestId): boolean {
    const waiting = this.unacknowledged.get(job);
    waiting?.push(request);
    return waiting !== undefined;
  }

  private acknowledgeSubmit(owned: OwnedJob): void {
    const { job } = owned.record.header;
    const requests = this.unacknowledged.get(job) ?? [];
    this.unacknowledged.delete(job);
    requests.forEach((request, i) => {
      this.out.reply(request, { kind: 'submitted', record: owned.record, isRepeat: i > 0 });
    });
  }

  /** Runs `act` with the record from memory or, after a turn, from disk. */
  withRecord(
    job: JobId,
    act: (owned: OwnedJob | undefined, stored: JobRecord | undefined) => void,
  ): void {
    const owned = this.jobs.get(job);
    const revisited = this.revisited.get(job);
    if (owned || revisited) {
      act(owned, revisited?.record);
      return;
    }
    const later = (record: JobRecord | undefined): void => act(this.jobs.get(job), record);
    const waiting = this.parked.get(job);
    if (waiting) waiting.push(later);
    else {
      this.parked.set(job, [later]);
      this.out.load(job);
    }
  }

  onStored(job: JobId, record: JobRecord | undefined): void {
    const acts = this.parked.get(job) ?? [];
    this.parked.delete(job);
    for (const act of acts) act(record);
  }

  /** The disk refused the first value of these jobs: their clients are told, nothing was accepted. */
  onStoreFailed(): void {
    for (const [job, requests] of this.unacknowledged) {
      for (const request of requests)
        this.out.reply(request, { kind: 'notAccepting', reason: 'disk' });
      this.jobs.delete(job);
      this.register.withdraw(job);
      this.out.emit({ kind: 'withdraw', job });
    }
    this.unacknowledged.clear();
  }

  // -------------------------------------------------------------- moving

  propose(owned: OwnedJob, job: Job, decided?: () => void): void {
    this.write(owned, this.nextHeader(owned.record.header), job, decided);
  }

  setStage(owned: OwnedJob, stage: Stage): void {
    owned.stage = stage;
    if (stage.tag === 'given' || stage.tag === 'waiting') this.moving.add(owned);
    else this.moving.delete(owned);
  }

  /** Runs `act` now if the newest value is decided, else with its decision. */
  whenDecided(owned: OwnedJob, act: () => void): void {
    const { version } = owned.record.header.accepted;
    if (owned.decidedVersion >= version) act();
    else owned.afterDecision.push({ version, act });
  }

  onAccepted(by: NodeId, header: RecordHeader): void {
    this.register.onAccepted(by, header);
  }

  announce(owned: OwnedJob, status: JobStatus, note: string): void {
    const { header } = owned.record;
    this.out.event({ kind: 'jobChanged', job: header.job, status, header, note });
  }

  private nextHeader(header: RecordHeader): RecordHeader {
    const { epoch, version } = header.accepted;
    if (isSameBoot(header.writerBoot, this.out.boot))
      return { ...header, accepted: { epoch, version: version + 1 } };
    const higher = { counter: header.promised.counter + 1, node: this.out.self };
    return {
      ...header,
      writerBoot: this.out.boot,
      promised: higher,
      accepted: { epoch: higher, version: 1 },
    };
  }

  private write(owned: OwnedJob, header: RecordHeader, job: Job, decided?: () => void): void {
    const { epoch, version } = header.accepted;
    if (epoch !== owned.record.header.accepted.epoch) owned.decidedVersion = 0;
    owned.record = { header, job };
    if (this.jobs.get(header.job) !== owned) this.revisited.set(header.job, owned);
    if (decided) owned.afterDecision.push({ version, act: decided });
    this.register.propose(owned.record);
  }

  private onDecided(record: JobRecord): void {
    const { job } = record.header;
    const owned = this.jobs.get(job) ?? this.revisited.get(job);
    if (!owned) return;
    owned.decidedVersion = record.header.accepted.version;
    const { state } = record.job;
    if (this.jobs.has(job))
      this.announce(owned, recordedStatus(state), state.tag === 'final' ? state.final.reason : '');
    const isNewest = owned.record === record;
    while (owned.afterDecision[0] && owned.afterDecision[0].version <= owned.decidedVersion) {
      owned.afterDecision.shift()?.act();
    }
    if (isNewest) this.revisited.delete(job);
    if (isNewest && state.tag === 'final') this.jobs.delete(job);
  }
}

const newlyOwned = (record: JobRecord): OwnedJob => ({
  record,
  stage: { tag: 'settling' },
  decidedVersion: 0,
  afterDecision: [],
});
