/**
 * The table of jobs this node owns: it alone decides their moves. Every move is proposed to the
 * job's register, and what must not be taken back waits for the decision. Unfinished jobs are kept
 * in memory; a final one is left to its replicas as soon as it is decided.
 *
 * A node owns a job by having created it in this life, or by having won its takeover (takeover.ts),
 * its own earlier life's jobs among them; it stops owning it the moment it learns of a higher
 * epoch. Whoever waits for an answer then hears that another node decides.
 *
 * Three parts work on this table: intake.ts (submit, cancel), dispatch.ts (who is offered a job)
 * and assignments.ts (grants, outcomes, executors that die).
 */
import type { JobId, NodeId, RequestId } from '../base/ids.ts';
import { afterMono, asMono, type MonoMs } from '../base/instant.ts';
import { Interned } from '../base/interned.ts';
import { type Job, type JobStatus, type Progress, recordedStatus } from './job.ts';
import type { JobRecord } from './job-record.ts';
import type { Outgoing } from './outgoing.ts';
import { isOwnEvidence } from './quorum.ts';
import type { Accepted, Epoch, RecordHeader, ReplicaSets } from './record.ts';
import type { Decision, Register } from './register.ts';

/** From a submit to its answer, although only this disk has it. */
const LOCAL_AFTER_MS = 2000;

/** What the owner knows beside the record; lost with the process, and found out again. */
export type Stage =
  /** Its newest value is proposed, and what comes next hangs on the decision. */
  | { readonly tag: 'settling' }
  /** In the queue. */
  | { readonly tag: 'queued' }
  | { readonly tag: 'offered'; readonly to: NodeId; readonly at: MonoMs; readonly why: string }
  | { readonly tag: 'given'; readonly run: Run }
  /** Until then an attempt may still run somewhere: a revoked one, or one that only a dead owner knew. */
  | { readonly tag: 'waiting'; readonly until: MonoMs };

/** The same for all, of which there may be a million. */
export const QUEUED: Stage = { tag: 'queued' };

export interface Run {
  /** Last time the grant, or the cancel, was sent; undefined: not yet, it waits for its decision. */
  sentAt: MonoMs | undefined;
  /** Of the grant, from the executor's claim on. */
  leaseMs: number;
  /** The executor said that it runs. */
  isStarted: boolean;
  /** It was asked for as an attempt that should run: no word of it then is no proof that it never did. */
  isAdopted: boolean;
  /** Wall time, by the executor's calendar. */
  startedAt?: number | undefined;
  /** The last that the executor told. */
  progress?: Progress | undefined;
  /** Its lease ends at most LEASE_MS after this. */
  lastYesAt: MonoMs;
  /** Its executor is dead: why. It is given up a little before the lease is over. */
  doom?: string | undefined;
}

export interface OwnedJob {
  /** The newest proposed value. */
  record: JobRecord;
  stage: Stage;
  /** Highest decided version of the record's epoch; 0: none. */
  decidedVersion: number;
  /** When the newest decided value was sent: nobody else can have led the job then. */
  evidenceAt: MonoMs;
  /** The youngest yes to a lease that is known of. */
  youngestYes: MonoMs;
  /** Taken up with its last owner's word that nothing of it runs. */
  readonly isIdle: boolean;
  /** Nodes that refused this job or handed it back, and until when they are not asked again. */
  refusedBy?: readonly Refusal[] | undefined;
  /** How often it was handed back since this node owns it. */
  handBacks?: number | undefined;
  /** To be done once this version is decided, in order. */
  afterDecision: readonly AfterDecision[];
}

export interface Refusal {
  readonly node: NodeId;
  readonly until: MonoMs;
}

interface AfterDecision {
  readonly version: number;
  readonly act: () => void;
  /** Told when the job is lost to another owner first. */
  readonly request?: RequestId | undefined;
}

interface OpenSubmit {
  /** As it is told: a job that finds a slot at once may have gone on when it is decided. */
  readonly first: JobRecord;
  readonly requests: RequestId[];
  readonly at: MonoMs;
  /** Every client was told; what follows the first decision may still do. */
  isTold: boolean;
  /** Given up with so many disks, and being cancelled: only when that is decided it can be told. */
  tooFew: number | undefined;
  /** Takes the job up, if it may run only when as many disks have it as its client wants. */
  readonly begin: (() => void) | undefined;
}

export interface OwnershipParts {
  readonly out: Outgoing;
  readonly register: Register;
  /** This node decides from now on. */
  readonly onOwned: (owned: OwnedJob) => void;
  /** Another node decides from now on, or it was never there. */
  readonly onDeposed: (owned: OwnedJob) => void;
  /** The disk refused its first value: it was never there. */
  readonly onRefused: (job: JobId) => void;
  /** Too few disks took it in time: it is to be cancelled. */
  readonly onTooFew: (owned: OwnedJob) => void;
}

export class Ownership {
  private readonly parts: OwnershipParts;
  private readonly out: Outgoing;
  private readonly jobs = new Map<JobId, OwnedJob>();
  /** Given to an executor, or waiting for a lease to end: all that time alone can move. */
  private readonly moving = new Set<OwnedJob>();
  private readonly firstValues = new Interned<Accepted>();
  /** Submits that are not answered, oldest first. */
  private readonly submits = new Map<JobId, OpenSubmit>();

  constructor(parts: OwnershipParts) {
    this.parts = parts;
    this.out = parts.out;
  }

  get(job: JobId): OwnedJob | undefined {
    return this.jobs.get(job);
  }

  get size(): number {
    return this.jobs.size;
  }

  all(): IterableIterator<OwnedJob> {
    return this.jobs.values();
  }

  /** Jobs whose attempt is with an executor or may still be, in the order of their grants. */
  inMotion(): OwnedJob[] {
    return [...this.moving];
  }

  get movingCount(): number {
    return this.moving.size;
  }

  // -------------------------------------------------------------- entering and leaving

  /**
   * A new job; `requests` are answered with its first decision. It looks for a slot at once: a grant
   * is a value of its own, with a decision of its own, so one commit may do for both.
   */
  create(record: JobRecord, requests: RequestId[], then: (owned: OwnedJob) => void): void {
    const { job } = record.header;
    const owned = newlyOwned(record);
    this.jobs.set(job, owned);
    const at = this.out.now.mono;
    const needsDisks = (record.job.spec.replicas ?? 1) > 1;
    const begin = needsDisks ? () => then(owned) : undefined;
    this.submits.set(job, { first: record, requests, at, isTold: false, tooFew: undefined, begin });
    this.parts.onOwned(owned);
    this.write(owned, record.header, record.job, { hasPairRight: true });
    if (!needsDisks) then(owned);
  }

  /**
   * The value found among a quorum of replicas becomes this node's first under its own epoch; what
   * an earlier epoch may still have running counts from `youngestYes`.
   */
  takeOver(
    found: JobRecord,
    won: { epoch: Epoch; youngestYes: MonoMs; hasPairRight: boolean; isIdle: boolean },
    then: (owned: OwnedJob) => void,
  ): void {
    const { epoch, hasPairRight } = won;
    const { youngestYes, isIdle } = won;
    // A start takes all its jobs over under the same epoch.
    const accepted = this.firstValues.get(`${epoch.counter}`, () => ({ epoch, version: 1 }));
    const owned = newlyOwned(found, { youngestYes, isIdle });
    this.jobs.set(found.header.job, owned);
    this.parts.onOwned(owned);
    const header = {
      ...found.header,
      promised: accepted.epoch,
      accepted,
      writerBoot: this.out.boot,
    };
    this.write(owned, header, found.job, { act: () => then(owned), hasPairRight });
  }

  /** A higher epoch is known: this node decides no more. */
  depose(job: JobId): void {
    const owned = this.jobs.get(job);
    this.parts.register.withdraw(job);
    for (const request of this.submits.get(job)?.requests ?? [])
      this.out.reply(request, { kind: 'deposed', job });
    this.submits.delete(job);
    if (!owned) return;
    for (const { request } of owned.afterDecision)
      if (request) this.out.reply(request, { kind: 'deposed', job });
    this.jobs.delete(job);
    this.moving.delete(owned);
    this.parts.onDeposed(owned);
  }

  /** Adds a request to those that wait for the job's first decision; false: it is decided. */
  awaitSubmit(job: JobId, request: RequestId): boolean {
    const open = this.submits.get(job);
    if (!open || open.isTold) return false;
    open.requests.push(request);
    return true;
  }

  /** Also one that ended before as many disks had it as its client had asked for. */
  private end(owned: OwnedJob): void {
    const { job } = owned.record.header;
    const open = this.submits.get(job);
    if (open?.tooFew !== undefined) this.refuseSubmit(owned, open, open.tooFew);
    else if (open) this.answerSubmit(open, this.parts.register.holdersOf(job), owned.record);
    this.submits.delete(job);
    this.jobs.delete(job);
  }

  /** Decided, and on as many disks as were asked for: the job is accepted and goes its way. */
  private beginIfKept(owned: OwnedJob): void {
    const { job } = owned.record.header;
    const open = this.submits.get(job);
    const disks = this.parts.register.holdersOf(job);
    const wanted = owned.record.job.spec.replicas ?? 1;
    if (!open || open.tooFew !== undefined) return;
    if (owned.decidedVersion === 0 || disks < wanted) return;
    this.submits.delete(job);
    this.answerSubmit(open, disks);
    open.begin?.();
  }

  private answerSubmit(open: OpenSubmit, disks: number, record = open.first): void {
    open.isTold = true;
    open.requests.splice(0).forEach((request, i) => {
      this.out.reply(request, { kind: 'submitted', record, isRepeat: i > 0, disks });
    });
  }

  private refuseSubmit(owned: OwnedJob, { requests }: OpenSubmit, disks: number): void {
    const wanted = owned.record.job.spec.replicas ?? 1;
    for (const request of requests.splice(0))
      this.out.reply(request, { kind: 'fewReplicas', wanted, disks });
  }

  /** The disk refused the first value of these jobs: their clients are told, nothing was accepted. */
  onStoreFailed(): void {
    for (const [job, { requests }] of [...this.submits]) {
      if (this.parts.register.isOnOwnDisk(job)) continue;
      for (const request of requests)
        this.out.reply(request, { kind: 'notAccepting', reason: 'disk' });
      const owned = this.jobs.get(job);
      this.jobs.delete(job);
      this.submits.delete(job);
      this.parts.register.withdraw(job);
      if (owned) {
        this.moving.delete(owned);
        this.parts.onDeposed(owned);
      }
      this.parts.onRefused(job);
      this.out.emit({ kind: 'withdraw', job });
    }
  }

  // -------------------------------------------------------------- moving

  propose(owned: OwnedJob, job: Job, decided?: () => void, request?: RequestId): void {
    const { header } = owned.record;
    this.write(owned, this.nextHeader(header), job, { act: decided, request });
  }

  proposeSets(owned: OwnedJob, sets: ReplicaSets, decided: () => void): void {
    const header = { ...this.nextHeader(owned.record.header), rs: sets.rs, oldRs: sets.oldRs };
    this.write(owned, header, owned.record.job, { act: decided });
  }

  setStage(owned: OwnedJob, stage: Stage): void {
    owned.stage = stage;
    if (stage.tag === 'given' || stage.tag === 'waiting') this.moving.add(owned);
    else this.moving.delete(owned);
  }

  isSettled(owned: OwnedJob): boolean {
    return owned.decidedVersion >= owned.record.header.accepted.version;
  }

  /** Runs `act` now if the newest value is decided, else with its decision. */
  whenDecided(owned: OwnedJob, act: () => void, request?: RequestId): void {
    const { version } = owned.record.header.accepted;
    if (owned.decidedVersion >= version) act();
    else doAfter(owned, { version, act, request });
  }

  /** Since when at the latest nobody else can have led the job. */
  evidenceAt(owned: OwnedJob): MonoMs {
    return isOwnEvidence(owned.record.header) ? this.out.now.mono : owned.evidenceAt;
  }

  announce(owned: OwnedJob, status: JobStatus, note: string): void {
    const { header } = owned.record;
    this.out.event({ kind: 'jobChanged', job: header.job, status, header, note });
  }

  private nextHeader(header: RecordHeader): RecordHeader {
    const { epoch, version } = header.accepted;
    return { ...header, accepted: { epoch, version: version + 1 } };
  }

  private write(
    owned: OwnedJob,
    header: RecordHeader,
    job: Job,
    then: {
      act?: (() => void) | undefined;
      request?: RequestId | undefined;
      hasPairRight?: boolean;
    },
  ): void {
    const { version } = header.accepted;
    owned.record = { header, job };
    if (then.act) doAfter(owned, { version, act: then.act, request: then.request });
    this.parts.register.propose(owned.record, then.hasPairRight);
  }

  onDecided(record: JobRecord, decision: Decision): void {
    const { job } = record.header;
    const owned = this.jobs.get(job);
    if (!owned) return;
    owned.decidedVersion = record.header.accepted.version;
    owned.evidenceAt = decision.sentAt;
    if (decision.youngestYes > owned.youngestYes) owned.youngestYes = decision.youngestYes;
    const { state } = record.job;
    this.announce(owned, recordedStatus(state), state.tag === 'final' ? state.final.reason : '');
    this.beginIfKept(owned);
    const isNewest = owned.record === record;
    for (;;) {
      const [first, ...others] = owned.afterDecision;
      if (!first || first.version > owned.decidedVersion) break;
      owned.afterDecision = others.length > 0 ? others : NOTHING;
      first.act();
    }
    if (isNewest && state.tag === 'final') this.end(owned);
  }

  // -------------------------------------------------------------- time

  /** Submits that no quorum answers in time are accepted on this disk alone, or refused. */
  onTick(): void {
    for (const [job, open] of this.submits) {
      const owned = this.jobs.get(job);
      if (!owned) this.submits.delete(job);
      else {
        this.beginIfKept(owned);
        const isOpen = !open.isTold && open.tooFew === undefined;
        const isLate = isOpen && this.out.now.mono - open.at >= LOCAL_AFTER_MS;
        if (isLate && this.parts.register.isOnOwnDisk(job)) this.giveUpWaiting(owned, open);
      }
    }
  }

  private giveUpWaiting(owned: OwnedJob, open: OpenSubmit): void {
    const { job } = owned.record.header;
    const wanted = owned.record.job.spec.replicas;
    const disks = this.parts.register.holdersOf(job);
    if (wanted === undefined || disks >= wanted) {
      this.answerSubmit(open, disks);
      return;
    }
    open.tooFew = disks;
    this.parts.onTooFew(owned);
  }
}

/** It could not, or would not: others are asked first. */
export function avoidNode({ owned, node, now, pauseMs }: Avoidance): void {
  const others = owned.refusedBy?.filter((one) => one.node !== node && one.until > now) ?? [];
  owned.refusedBy = [...others, { node, until: afterMono(now, pauseMs) }];
}

export interface Avoidance {
  readonly owned: OwnedJob;
  readonly node: NodeId;
  readonly now: MonoMs;
  readonly pauseMs: number;
}

export const isAvoided = ({ refusedBy }: OwnedJob, node: NodeId, now: MonoMs): boolean =>
  refusedBy?.some((one) => one.node === node && one.until > now) ?? false;

const doAfter = (owned: OwnedJob, next: AfterDecision): void => {
  owned.afterDecision = [...owned.afterDecision, next];
};

const NOTHING: readonly AfterDecision[] = [];
const SETTLING: Stage = { tag: 'settling' };

const UNKNOWN = { youngestYes: asMono(Number.NEGATIVE_INFINITY), isIdle: false };

const newlyOwned = (record: JobRecord, { youngestYes, isIdle } = UNKNOWN): OwnedJob => ({
  record,
  stage: SETTLING,
  decidedVersion: 0,
  evidenceAt: asMono(Number.NEGATIVE_INFINITY),
  youngestYes,
  isIdle,
  afterDecision: NOTHING,
});
