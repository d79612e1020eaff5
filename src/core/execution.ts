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
import type { AttemptReport, StartedRow, StoredState, Survivor } from './inputs.ts';
import { type AttemptEnd, type AttemptOutcome, NO_OUTPUT } from './job.ts';
import { LEASE_GRACE_MS, LEASE_MS, RENEW_INTERVAL_MS } from './lease.ts';
import type { AttemptRef, Grant, JobMessage, RefusalReason } from './messages.ts';
import { Outbox } from './outbox.ts';
import type { Outgoing } from './outgoing.ts';
import { attemptKey, type Fence } from './record.ts';
import { majorityOf } from './register.ts';
import { Slots } from './slots.ts';

export interface ExecutionParts {
  readonly out: Outgoing;
  readonly facts: () => NodeFacts;
  /** From the SIGTERM at a timeout or cancel to the SIGKILL. */
  readonly killGraceMs: number;
  /** Jobs that this node owns and that wait for a node. */
  readonly queued: () => number;
}

interface Attempt {
  readonly grant: Grant;
  /** Who gave it; the first it speaks to. */
  readonly owner: NodeId;
  phase: 'committing' | 'active';
  leaseUntil: MonoMs;
  /** Answers to the newest renewal. */
  renewal: { sentAt: MonoMs; yes: Set<NodeId> };
  startedAt?: number | undefined;
  deadline?: MonoMs | undefined;
  /** Why this node ends it; then its exit tells nothing about the job. */
  stop?: AttemptEnd | undefined;
  /** Its lease ran out: whatever grace it was given before, it is killed with the lease. */
  isCutShort: boolean;
}

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
    this.outbox = new Outbox(parts.out);
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
      leaseUntil,
      renewal: noRenewal(),
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
    if (!attempt.stop && out.now.mono >= attempt.leaseUntil) {
      attempt.stop = {
        tag: 'returned',
        reason: 'the disk was too slow: the lease ended before the start',
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

  // -------------------------------------------------------------- the attempt

  onReport(report: AttemptReport): void {
    const attempt = this.attempts.get(attemptKey(report.job, report.fence));
    if (attempt?.phase !== 'active') return;
    if (report.kind === 'running') {
      attempt.startedAt = report.startedAt;
      attempt.deadline = afterMono(this.parts.out.now.mono, attempt.grant.spec.timeoutMs);
      this.sayStarted(attempt);
      this.parts.out.event({ kind: 'attemptStarted', job: report.job, fence: report.fence });
    } else {
      this.conclude(attempt, attempt.stop ?? report.end, report);
    }
  }

  private conclude(
    attempt: Attempt,
    end: AttemptEnd,
    report: Pick<AttemptOutcome, 'startedAt' | 'finishedAt' | 'stdout' | 'stderr'>,
  ): void {
    const { out } = this.parts;
    const { job, fence, rs } = attempt.grant;
    const { startedAt, finishedAt, stdout, stderr } = report;
    const outcome: AttemptOutcome = {
      fence,
      executor: out.self,
      end,
      startedAt,
      finishedAt,
      stdout,
      stderr,
    };
    this.attempts.delete(attemptKey(job, fence));
    this.outbox.add({ job, rs, outcome }, attempt.leaseUntil);
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

  onCancel(from: NodeId, job: JobId, fence: Fence): void {
    const key = attemptKey(job, fence);
    const attempt = this.attempts.get(key);
    if (attempt) this.stop(attempt, { tag: 'cancelled' }, this.parts.killGraceMs);
    else if (!this.outbox.repeat(key) && !this.outbox.isUsed(key)) {
      this.slots.dropJob(from, job);
      this.rememberRejected(key);
      this.reject(from, { job, fence }, CANCELLED_BEFORE);
    }
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
      this.stop(attempt, { tag: 'returned', reason: 'its node shut down' }, LEASE_GRACE_MS);
    }
  }

  // -------------------------------------------------------------- leases, time

  onRenewed(from: NodeId, answer: Extract<JobMessage, { kind: 'renewed' }>): void {
    for (const ref of answer.granted) {
      const attempt = this.attempts.get(attemptKey(ref.job, ref.fence));
      if (!attempt || attempt.renewal.sentAt !== answer.sentAt || !attempt.grant.rs.includes(from))
        continue;
      attempt.renewal.yes.add(from);
      if (attempt.renewal.yes.size < majorityOf(attempt.grant.rs)) continue;
      const until = afterMono(attempt.renewal.sentAt, LEASE_MS);
      if (until <= attempt.leaseUntil) continue;
      attempt.leaseUntil = until;
      this.prolong(attempt);
    }
    for (const ref of answer.revoked) {
      const attempt = this.attempts.get(attemptKey(ref.job, ref.fence));
      if (attempt?.grant.rs.includes(from))
        this.stop(attempt, { tag: 'cancelled' }, this.parts.killGraceMs);
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
    const isLeaseOver = mono >= attempt.leaseUntil - LEASE_GRACE_MS;
    if (isLeaseOver && attempt.phase === 'active' && !this.isOwnQuorum(attempt)) {
      this.cutShort(attempt, mono);
    } else if (attempt.deadline !== undefined && mono >= attempt.deadline) {
      this.stop(attempt, { tag: 'timeout' }, this.parts.killGraceMs);
    }
  }

  /**
   * This node alone decides about the job, so nobody can have given it to another one. Without
   * this a machine that slept would end all its own attempts as it wakes.
   */
  private isOwnQuorum({ grant: { rs } }: Attempt): boolean {
    return majorityOf(rs) === 1 && rs.includes(this.parts.out.self);
  }

  /** Also an attempt that is being ended already: its grace may be longer than its lease. */
  private cutShort(attempt: Attempt, mono: MonoMs): void {
    if (attempt.isCutShort) return;
    attempt.isCutShort = true;
    attempt.stop ??= { tag: 'lost', reason: 'its lease ran out: the owner was not heard' };
    const { job, fence } = attempt.grant;
    const graceMs = Math.max(0, Math.min(LEASE_GRACE_MS, attempt.leaseUntil - mono));
    this.parts.out.emit({ kind: 'stop', job, fence, graceMs });
  }

  private renewAll(mono: MonoMs): void {
    this.renewedAt = mono;
    const byPeer = new Map<NodeId, AttemptRef[]>();
    for (const attempt of this.attempts.values()) {
      attempt.renewal = { sentAt: mono, yes: new Set() };
      const ref = { job: attempt.grant.job, fence: attempt.grant.fence };
      for (const peer of attempt.grant.rs) {
        const refs = byPeer.get(peer);
        if (refs) refs.push(ref);
        else byPeer.set(peer, [ref]);
      }
    }
    for (const [peer, attempts] of byPeer)
      this.parts.out.signal(peer, { kind: 'renew', sentAt: mono, attempts });
  }

  private supervisedLease(attempt: Attempt): SupervisedLease {
    if (this.isOwnQuorum(attempt)) return { tag: 'ownNode', afterDeathMs: LEASE_MS };
    return { tag: 'leased', leftMs: Math.max(0, attempt.leaseUntil - this.parts.out.now.mono) };
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
      this.outbox.add({ job: row.job, rs: row.grant.rs, outcome }, leaseUntil);
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
      leaseUntil: afterMono(now.mono, Math.min(LEASE_MS, leaseLeftMs ?? LEASE_MS)),
      renewal: noRenewal(),
      startedAt,
      deadline: afterMono(now.mono, Math.max(0, grant.spec.timeoutMs - ranMs)),
      isCutShort: false,
    });
  }
}

const CANCELLED_BEFORE = 'cancelled before its start';

const noRenewal = (): Attempt['renewal'] => ({
  sentAt: asMono(Number.NEGATIVE_INFINITY),
  yes: new Set(),
});

const NOTHING_SEEN = (finishedAt: AttemptOutcome['finishedAt']) => ({
  finishedAt,
  stdout: NO_OUTPUT,
  stderr: NO_OUTPUT,
});
const NOTHING_RAN = (finishedAt: AttemptOutcome['finishedAt']) => ({
  startedAt: undefined,
  ...NOTHING_SEEN(finishedAt),
});
