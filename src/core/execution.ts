/**
 * The jobs this node runs, for whoever owns them. A slot is held from the claim on; a fence is
 * written down before its attempt starts and is never started again; an outcome is written into
 * the outbox before anybody hears of it, and told until it is acknowledged.
 *
 * | attempt    | entered when                        | left when                                      |
 * |------------|-------------------------------------|------------------------------------------------|
 * | committing | its grant was taken                 | its fence is on disk                           |
 * | active     | told to start                       | it ended, of itself or by a stop               |
 * | (outbox)   | its outcome is known                | a replica of the job acknowledged the outcome  |
 */
import type { JobId, NodeId } from '../base/ids.ts';
import { afterMono, asMono, type MonoMs } from '../base/instant.ts';
import type { SupervisedLease, Write } from './effects.ts';
import { misfitOf } from './election.ts';
import type { Load, NodeFacts } from './facts.ts';
import { HeldLease } from './held-lease.ts';
import type { AttemptReport, StartedRow, StoredState, Survivor } from './inputs.ts';
import { type AttemptEnd, type AttemptOutcome, NO_OUTPUT, type Progress } from './job.ts';
import { LEASE_GRACE_MS, LEASE_MS, RENEW_INTERVAL_MS } from './lease.ts';
import type { AttemptRef, Grant, JobMessage, LeaseRef, RefusalReason } from './messages.ts';
import { Outbox } from './outbox.ts';
import type { Outgoing } from './outgoing.ts';
import { replicasOf } from './quorum.ts';
import { attemptKey, compareEpochs } from './record.ts';
import { Slots } from './slots.ts';

export interface ExecutionParts {
  readonly out: Outgoing;
  readonly facts: () => NodeFacts;
  readonly isBanned: (node: NodeId) => boolean;
  /** From the SIGTERM at a timeout or cancel to the SIGKILL. */
  readonly killGraceMs: number;
  /** Jobs that this node owns and that wait for a node. */
  readonly queued: () => number;
}

interface Attempt {
  readonly grant: Grant;
  /** Who decides about the job now: the one that gave it, or that adopted it. */
  owner: NodeId;
  phase: 'committing' | 'active';
  readonly lease: HeldLease;
  startedAt?: number | undefined;
  deadline?: MonoMs | undefined;
  /** End of the job's total time. */
  readonly jobDeadline: MonoMs | undefined;
  progress?: Progress | undefined;
  /** Why this node ends it; then its exit tells nothing about the job. */
  stop?: AttemptEnd | undefined;
  /** Its lease ran out: whatever grace it was given before, it is killed with the lease. */
  isCutShort: boolean;
}

/** One that starts with less would be ended before its first renewal is answered. */
const LEAST_TO_START_MS = 500;
/** Fences rejected lately; beyond that the oldest are forgotten, and a grant would have to be later still. */
const MAX_REJECTED = 10_000;

export class Execution {
  private readonly parts: ExecutionParts;
  private readonly attempts = new Map<string, Attempt>();
  readonly slots: Slots;
  readonly outbox: Outbox;
  private renewedAt: MonoMs = asMono(Number.NEGATIVE_INFINITY);
  /** Rejected before their grant came, until when it may come. */
  private readonly rejected = new Map<string, MonoMs>();

  constructor(parts: ExecutionParts) {
    this.parts = parts;
    this.slots = new Slots(parts.out);
    this.outbox = new Outbox(parts.out, parts.isBanned);
  }

  load(): Load {
    return this.slots.load({
      slots: this.parts.facts().slots,
      running: this.attempts.size,
      queued: this.parts.queued(),
    });
  }

  get running(): number {
    return this.attempts.size;
  }

  // -------------------------------------------------------------- offers and grants

  onOffer(from: NodeId, offer: Extract<JobMessage, { kind: 'offer' }>): void {
    const { out, facts } = this.parts;
    const reason = misfitOf(offer.needs, offer.taskType, facts()) ?? this.unwilling();
    if (reason) {
      if (reason === 'no free slot') this.slots.rememberAsker(from);
      out.send(from, { kind: 'refuse', job: offer.job, reason, load: this.load() });
      return;
    }
    const nonce = this.slots.reserve(from, offer.job);
    out.send(from, { kind: 'claim', nonce, job: offer.job, load: this.load() });
  }

  /** Offers free slots, `most` at most, to those who asked in vain; says how many. */
  askForWork(queuedAt: (owner: NodeId) => number, most: number): number {
    let asked = 0;
    while (asked < most && this.unwilling() === undefined) {
      const claim = this.slots.claimFromAsker(queuedAt);
      if (!claim) break;
      asked++;
      this.parts.out.send(claim.owner, { kind: 'claim', nonce: claim.nonce, load: this.load() });
    }
    return asked;
  }

  private unwilling(): RefusalReason | undefined {
    const load = this.load();
    if (load.draining) return 'draining';
    if (!load.accepting) return 'disk takes no writes';
    return load.running + load.claimed < load.slots ? undefined : 'no free slot';
  }

  onGrant(from: NodeId, grant: Grant): void {
    const { out } = this.parts;
    const key = attemptKey(grant.job, grant.fence);
    const known = this.attempts.get(key);
    if (known) {
      this.sayStarted(known);
      return;
    }
    if (this.outbox.repeat(key) || this.outbox.isUsed(key)) return;
    const claim = this.slots.take(grant.nonce, from, grant.job);
    const refusal = this.rejected.has(key)
      ? CANCELLED_BEFORE
      : this.refusalOf(grant, claim?.sentAt);
    if (!claim || refusal) {
      this.reject(from, grant, refusal ?? 'the claim is not open');
      return;
    }
    const leaseUntil = afterMono(claim.sentAt, grant.leaseMs);
    this.attempts.set(key, {
      grant,
      owner: from,
      phase: 'committing',
      lease: new HeldLease(grant.fence.epoch, grant, leaseUntil),
      jobDeadline: grant.leftMs === undefined ? undefined : afterMono(claim.sentAt, grant.leftMs),
      isCutShort: false,
    });
    out.persist({ kind: 'started', job: grant.job, fence: grant.fence, grant, at: out.now.wall });
  }

  /** A word that is kept: this fence has not started here and never will. */
  private reject(owner: NodeId, { job, fence }: AttemptRef, reason: string): void {
    this.parts.out.send(owner, { kind: 'reject', job, fence, reason });
  }

  private refusalOf(grant: Grant, claimedAt: MonoMs | undefined): string | undefined {
    if (claimedAt === undefined) return 'the claim it answers is not open here any more';
    if (this.parts.out.now.mono >= claimedAt + grant.leaseMs)
      return 'the grant came after its lease';
    if (this.slots.isDraining) return 'the node is shutting down';
    return undefined;
  }

  /** The fence is on disk: it starts, unless that took too long or somebody stopped it meanwhile. */
  onStartedWritten(write: Extract<Write, { kind: 'started' }>): void {
    const { out } = this.parts;
    const attempt = this.attempts.get(attemptKey(write.job, write.fence));
    if (attempt?.phase !== 'committing') return;
    if (!attempt.stop && this.leftMs(attempt) < LEAST_TO_START_MS) {
      attempt.stop = {
        tag: 'returned',
        reason: 'too little was left of its lease to start it: the disk or this node was too slow',
      };
    }
    if (attempt.stop) {
      this.conclude(attempt, attempt.stop, NOTHING_RAN(out.now.wall));
      return;
    }
    attempt.phase = 'active';
    const { job, fence } = attempt.grant;
    const lease = this.supervisedLease(attempt);
    out.emit({ kind: 'start', attempt: { job, fence, grant: attempt.grant, lease } });
  }

  /** Of its lease, until this node begins to end it. */
  private leftMs(attempt: Attempt): number {
    const graceMs = this.isBound(attempt) ? LEASE_GRACE_MS : 0;
    return attempt.lease.until - graceMs - this.parts.out.now.mono;
  }

  /** A machine that slept must not end its own node's attempts as it wakes, so not those. */
  private isBound({ lease, grant }: Attempt): boolean {
    return !lease.isOwnQuorum(this.parts.out.self) && grant.spec.onIsolation !== 'continue';
  }

  // -------------------------------------------------------------- the attempt

  onReport(report: AttemptReport): void {
    const attempt = this.attempts.get(attemptKey(report.job, report.fence));
    if (attempt?.phase !== 'active') return;
    if (report.kind === 'running') {
      attempt.startedAt = report.startedAt;
      attempt.deadline = afterMono(this.parts.out.now.mono, attempt.grant.spec.timeoutMs);
      this.sayStarted(attempt);
      this.parts.out.event({ kind: 'attemptStarted', job: report.job, fence: report.fence });
    } else if (report.kind === 'keeping') {
      attempt.deadline = undefined;
    } else if (report.kind === 'progress') {
      const { job, fence, progress } = report;
      attempt.progress = progress;
      this.sayProgress(attempt);
      this.parts.out.event({ kind: 'attemptProgressed', job, fence, progress });
    } else {
      this.conclude(attempt, attempt.stop ?? report.end, report);
    }
  }

  private sayProgress({ grant, owner, progress }: Attempt): void {
    const { job, fence } = grant;
    if (progress) this.parts.out.send(owner, { kind: 'progress', job, fence, progress });
  }

  private conclude(
    attempt: Attempt,
    end: AttemptEnd,
    report: Pick<AttemptOutcome, 'startedAt' | 'finishedAt' | 'stdout' | 'stderr' | 'receipt'>,
  ): void {
    const { out } = this.parts;
    const { job, fence } = attempt.grant;
    const { startedAt, finishedAt, stdout, stderr, receipt } = report;
    const outcome: AttemptOutcome = {
      fence,
      executor: out.self,
      end,
      startedAt,
      finishedAt,
      stdout,
      stderr,
      receipt,
    };
    this.attempts.delete(attemptKey(job, fence));
    const rs = [...new Set([...replicasOf(attempt.lease.sets), attempt.owner])];
    this.outbox.add({ job, rs, outcome }, attempt.lease.until, attempt.owner);
    out.event({ kind: 'attemptEnded', job, outcome });
  }

  private sayStarted(attempt: Attempt): void {
    const { job, fence } = attempt.grant;
    if (attempt.startedAt === undefined) return;
    this.parts.out.send(attempt.owner, {
      kind: 'started',
      job,
      fence,
      startedAt: attempt.startedAt,
    });
  }

  private stop(attempt: Attempt, why: AttemptEnd, graceMs: number): void {
    if (attempt.stop) return;
    attempt.stop = why;
    const { job, fence } = attempt.grant;
    if (attempt.phase === 'active') this.parts.out.emit({ kind: 'stop', job, fence, graceMs });
  }

  onCancel(from: NodeId, { job, fence, epoch }: Extract<JobMessage, { kind: 'cancel' }>): void {
    const key = attemptKey(job, fence);
    const attempt = this.attempts.get(key);
    if (attempt && compareEpochs(epoch, attempt.lease.epoch) < 0) return;
    if (attempt) this.stop(attempt, { tag: 'cancelled' }, this.parts.killGraceMs);
    else if (!this.outbox.repeat(key) && !this.outbox.isUsed(key)) {
      this.slots.dropJob(from, job);
      this.rememberRejected(key);
      this.reject(from, { job, fence }, CANCELLED_BEFORE);
    }
  }

  /** The job was never written here, nor was the start of an attempt at it. */
  withdraw(job: JobId): void {
    this.slots.dropJob(this.parts.out.self, job);
    for (const [key, { grant, phase }] of this.attempts)
      if (grant.job === job && phase === 'committing') this.attempts.delete(key);
  }

  /** Its grant may still be on its way, for a claim that names no job. */
  private rememberRejected(key: string): void {
    this.rejected.delete(key);
    this.rejected.set(key, afterMono(this.parts.out.now.mono, LEASE_MS));
    const [oldest] = this.rejected.keys();
    if (this.rejected.size > MAX_REJECTED && oldest !== undefined) this.rejected.delete(oldest);
  }

  /** Before the node leaves: what still runs is given back to its owners. */
  giveBackAll(): void {
    for (const attempt of this.attempts.values()) {
      this.stop(attempt, { tag: 'returned', reason: 'its node shut down' }, GIVE_BACK_GRACE_MS);
    }
  }

  // -------------------------------------------------------------- new owners

  /** The owner is another one now, or asks again; the attempt goes on under its epoch. */
  onAdopt(from: NodeId, { job, fence, epoch, sets }: Extract<JobMessage, { kind: 'adopt' }>): void {
    const key = attemptKey(job, fence);
    const attempt = this.attempts.get(key);
    if (attempt) {
      if (!attempt.lease.adopt(epoch, sets, this.parts.out.now.mono)) return;
      attempt.owner = from;
      this.sayStarted(attempt);
      this.sayProgress(attempt);
      this.renew([attempt]);
    } else if (!this.outbox.repeat(key, from)) {
      this.rememberRejected(key);
      this.reject(from, { job, fence }, 'its node knows nothing of it');
    }
  }

  /** A new owner whose record may lack the last grant. */
  onWhoHas(from: NodeId, { job, epoch, birth }: Extract<JobMessage, { kind: 'whoHas' }>): void {
    for (const { grant, lease } of this.attempts.values()) {
      if (grant.job !== job || compareEpochs(lease.epoch, epoch) > 0) continue;
      if (birth !== undefined && grant.birth !== undefined && birth !== grant.birth) continue;
      this.parts.out.send(from, { kind: 'have', job, fence: grant.fence, nonce: grant.nonce });
    }
    this.outbox.repeatJob(job, from);
  }

  // -------------------------------------------------------------- leases, time

  onRenewed(from: NodeId, answer: Extract<JobMessage, { kind: 'renewed' }>): void {
    const { mono } = this.parts.out.now;
    for (const ref of answer.granted) {
      const attempt = this.attempts.get(attemptKey(ref.job, ref.fence));
      if (attempt?.lease.onYes(from, asMono(answer.sentAt), mono, this.parts.isBanned))
        this.prolong(attempt);
    }
    for (const { job, fence, accepted, sets } of answer.moved) {
      const attempt = this.attempts.get(attemptKey(job, fence));
      // Yes counts only from those who keep the record now, so they are asked at once.
      if (attempt?.lease.move(accepted, sets, mono)) this.renew([attempt]);
    }
    for (const ref of answer.revoked) {
      const attempt = this.attempts.get(attemptKey(ref.job, ref.fence));
      if (attempt) this.stop(attempt, { tag: 'cancelled' }, this.parts.killGraceMs);
    }
  }

  onTick(): void {
    const { mono } = this.parts.out.now;
    for (const attempt of this.attempts.values()) this.checkTimes(attempt, mono);
    if (mono - this.renewedAt >= RENEW_INTERVAL_MS) this.renewAll(mono);
    for (const [key, until] of this.rejected) {
      if (mono < until) break;
      this.rejected.delete(key);
    }
    this.slots.onTick();
    this.outbox.onTick();
  }

  private checkTimes(attempt: Attempt, mono: MonoMs): void {
    if (this.isBound(attempt) && this.leftMs(attempt) <= 0 && attempt.phase === 'active') {
      this.cutShort(attempt, mono);
    } else if (isPast(attempt.deadline, mono) || isPast(attempt.jobDeadline, mono)) {
      this.stop(attempt, { tag: 'timeout' }, this.parts.killGraceMs);
    }
  }

  /** Also an attempt that is being ended already: its grace may be longer than its lease. */
  private cutShort(attempt: Attempt, mono: MonoMs): void {
    if (attempt.isCutShort) return;
    attempt.isCutShort = true;
    attempt.stop ??= { tag: 'lost', reason: 'its lease ran out: the owner was not heard' };
    const { job, fence } = attempt.grant;
    const graceMs = Math.max(0, Math.min(LEASE_GRACE_MS, attempt.lease.until - mono));
    this.parts.out.emit({ kind: 'stop', job, fence, graceMs });
  }

  private renewAll(mono: MonoMs): void {
    this.renewedAt = mono;
    this.renew(this.attempts.values());
  }

  private renew(attempts: Iterable<Attempt>): void {
    const { mono } = this.parts.out.now;
    const byPeer = new Map<NodeId, LeaseRef[]>();
    let sentAt = mono;
    for (const attempt of attempts) {
      const { job, birth, fence } = attempt.grant;
      const { epoch, hash, sets } = attempt.lease;
      sentAt = asMono(Math.max(sentAt, attempt.lease.stamp(mono)));
      const ref = { job, birth, fence, epoch, sets: hash };
      for (const peer of replicasOf(sets)) {
        const refs = byPeer.get(peer);
        if (refs) refs.push(ref);
        else byPeer.set(peer, [ref]);
      }
    }
    for (const [peer, attempts] of byPeer)
      this.parts.out.signal(peer, { kind: 'renew', sentAt, attempts });
  }

  private supervisedLease(attempt: Attempt): SupervisedLease {
    if (attempt.grant.spec.onIsolation === 'continue') return { tag: 'unlimited' };
    if (attempt.lease.isOwnQuorum(this.parts.out.self))
      return { tag: 'ownNode', afterDeathMs: LEASE_MS };
    return { tag: 'leased', leftMs: Math.max(0, attempt.lease.until - this.parts.out.now.mono) };
  }

  private prolong(attempt: Attempt): void {
    if (attempt.phase !== 'active') return;
    const { job, fence } = attempt.grant;
    const lease = this.supervisedLease(attempt);
    this.parts.out.emit({ kind: 'prolong', job, fence, lease });
  }

  /**
   * Attempts of an earlier life: those that the supervisor still has go on as they were, with what
   * is left of their lease; the others were ended, so each that has no outcome is lost, and its
   * owner hears it.
   */
  onRestored(state: Pick<StoredState, 'started' | 'outbox'>, survivors: readonly Survivor[]): void {
    const { out } = this.parts;
    const living = new Map(survivors.map((found) => [attemptKey(found.job, found.fence), found]));
    const leaseUntil = afterMono(out.now.mono, LEASE_MS);
    const told = new Set(state.outbox.map((row) => attemptKey(row.job, row.outcome.fence)));
    for (const row of state.outbox) this.outbox.restore(row, leaseUntil);
    for (const row of state.started) {
      if (told.has(attemptKey(row.job, row.fence))) continue;
      if (row.isOver) {
        this.outbox.remember(row, leaseUntil);
        continue;
      }
      const survivor = living.get(attemptKey(row.job, row.fence));
      if (survivor) {
        living.delete(attemptKey(row.job, row.fence));
        this.adopt(row, survivor);
        continue;
      }
      const end: AttemptEnd = { tag: 'lost', reason: 'its node was ended and started again' };
      const outcome: AttemptOutcome = {
        fence: row.fence,
        executor: out.self,
        end,
        startedAt: row.at,
        ...NOTHING_SEEN(out.now.wall),
      };
      const rs = replicasOf(row.grant);
      this.outbox.add({ job: row.job, rs, outcome }, leaseUntil, undefined);
    }
    for (const { job, fence } of living.values())
      out.emit({ kind: 'stop', job, fence, graceMs: 0 });
  }

  private adopt({ grant }: StartedRow, { startedAt, leaseLeftMs }: Survivor): void {
    const { now } = this.parts.out;
    const ranMs = Math.max(0, now.wall - startedAt);
    this.attempts.set(attemptKey(grant.job, grant.fence), {
      grant,
      owner: grant.fence.epoch.node,
      phase: 'active',
      lease: new HeldLease(
        grant.fence.epoch,
        grant,
        afterMono(now.mono, Math.min(LEASE_MS, leaseLeftMs ?? LEASE_MS)),
      ),
      startedAt,
      deadline: afterMono(now.mono, Math.max(0, grant.spec.timeoutMs - ranMs)),
      jobDeadline:
        grant.leftMs === undefined
          ? undefined
          : afterMono(now.mono, Math.max(0, grant.leftMs - ranMs)),
      isCutShort: false,
    });
  }
}

const isPast = (deadline: MonoMs | undefined, now: MonoMs): boolean =>
  deadline !== undefined && now >= deadline;

/** From the SIGTERM to the SIGKILL of what a leaving node gives back. */
const GIVE_BACK_GRACE_MS = 1000;
const CANCELLED_BEFORE = 'cancelled before its start';

const NOTHING_SEEN = (finishedAt: AttemptOutcome['finishedAt']) => ({
  finishedAt,
  stdout: NO_OUTPUT,
  stderr: NO_OUTPUT,
});
const NOTHING_RAN = (finishedAt: AttemptOutcome['finishedAt']) => ({
  startedAt: undefined,
  ...NOTHING_SEEN(finishedAt),
});
