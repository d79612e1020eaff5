/**
 * Jobs that were given away: grants, what their executors say of them, and what happens when an
 * executor says nothing any more. A grant that is not answered binds like a run: it is repeated
 * until the executor says started, rejected or ended, and given up only with the executor itself.
 *
 * - A grant goes out with the assignment, before the replicas have it, as long as the owner has
 *   evidence younger than half a lease that nobody else leads the job; else it waits for the
 *   assignment's own decision, which is such evidence. At-most-once jobs always wait: what was
 *   never agreed on was then never started. Its lease ends 6 s after the evidence.
 * - An executor that is dead may be back: its attempts go on under its supervisor until their
 *   leases end. So a grant is revoked only shortly before that, and the job is given to another
 *   node when the lease is over on every clock.
 * - A new owner knows what the record says, and the record may lack the last grant. It asks every
 *   node for an attempt of the job, and starts nothing until any lease would be over. Leases that
 *   are over leave outcomes, though: of a job that one was told of here before this node led it,
 *   the executor is asked again first.
 */
import type { BootId, JobId, NodeId, Nonce, RequestId } from '../base/ids.ts';
import { afterMono, asMono, type MonoMs } from '../base/instant.ts';
import { leftOf } from './deadlines.ts';
import type { AttemptOutcome, FinalState, GrantNote, Job, JobState } from './job.ts';
import { LEASE_MS, REVOKE_AFTER_MS, REVOKE_WAIT_MS } from './lease.ts';
import type { MemberState } from './member.ts';
import type { DispatchMessage } from './messages.ts';
import { afterLostAttempt, cancelledFinal, conflictOf, judgeOutcome, revoke } from './outcome.ts';
import type { Outgoing } from './outgoing.ts';
import { avoidNode, type OwnedJob, type Ownership, type Run } from './ownership.ts';
import { attemptKey, compareEpochs, type Fence, isSameFence } from './record.ts';
import type { Replicas } from './replicas.ts';

/** A node that refused a job is not asked again for so long, one that handed it back twice as long each time. */
const REFUSED_PAUSE_MS = 1000;
const MAX_REFUSED_PAUSE_MS = 30_000;
const REPEAT_MS = 1000;
/** A started attempt is asked for again when nothing was heard of it for so long. */
const QUIET_MS = 10_000;
/** An executor that has not been a member for so long, since the job was taken up, counts as dead. */
const UNSEEN_MS = 7000;
/** An executor tells an outcome again when it is asked, and so long is waited for it. */
const ANSWER_MS = 1000;
const MAX_NOTED = 10_000;

export interface AssignmentParts {
  readonly out: Outgoing;
  readonly ownership: Ownership;
  readonly replicas: Replicas;
  readonly enqueue: (owned: OwnedJob) => void;
  readonly dequeue: (job: JobId) => void;
  /** Undefined: not a member. The own node is alive. */
  readonly stateOf: (node: NodeId) => MemberState | undefined;
  /** Every other node that can be asked now. */
  readonly linked: () => readonly NodeId[];
}

type Granted = Extract<JobState, { tag: 'granted' }>;
type Of<K extends DispatchMessage['kind']> = Extract<DispatchMessage, { kind: K }>;

export class Assignments {
  private readonly parts: AssignmentParts;
  /** Late outcomes that people were told of, the oldest first. */
  private readonly noted = new Set<string>();
  /** Jobs of others, not decided here, of which an executor told an outcome; the oldest first. */
  private readonly told = new Set<JobId>();

  constructor(parts: AssignmentParts) {
    this.parts = parts;
  }

  // -------------------------------------------------------------- giving

  grant(owned: OwnedJob, to: { node: NodeId; boot: BootId; nonce: Nonce }, why: string): void {
    const { out, ownership, dequeue } = this.parts;
    const { header, job } = owned.record;
    const { mono } = out.now;
    const grant: GrantNote = {
      fence: { epoch: header.accepted.epoch, attempt: job.attempts + 1 },
      executor: to.node,
      executorBoot: to.boot,
      nonce: to.nonce,
      at: out.now.wall,
      why,
    };
    const evidenceAt = ownership.evidenceAt(owned);
    const isFresh = mono - evidenceAt < LEASE_MS / 2 && job.spec.delivery === 'at_least_once';
    const run = newRun(isFresh ? evidenceAt : mono);
    dequeue(header.job);
    ownership.setStage(owned, { tag: 'given', run });
    ownership.propose(
      owned,
      { ...job, attempts: job.attempts + 1, state: { tag: 'granted', grant } },
      () => this.onAssignmentDecided(owned, grant, run),
    );
    if (isFresh) this.sendGrant(owned, grant, run);
  }

  /** The decision is as old as its sending, which was the moment of the claim's arrival. */
  private onAssignmentDecided(owned: OwnedJob, grant: GrantNote, run: Run): void {
    const { state } = owned.record.job;
    const isStillGiven = owned.stage.tag === 'given' && owned.stage.run === run;
    if (!isStillGiven || state.tag !== 'granted' || run.sentAt !== undefined) return;
    if (state.cancelAt === undefined) this.sendGrant(owned, grant, run);
    else this.repeat(owned, state, run);
  }

  private sendGrant(owned: OwnedJob, grant: GrantNote, run: Run): void {
    const { out } = this.parts;
    const { header, job } = owned.record;
    if (run.sentAt === undefined) run.leaseMs = LEASE_MS - (out.now.mono - run.lastYesAt);
    run.sentAt = out.now.mono;
    out.send(grant.executor, {
      kind: 'grant',
      grant: {
        job: header.job,
        birth: header.birth,
        fence: grant.fence,
        nonce: grant.nonce,
        rs: header.rs,
        oldRs: header.oldRs,
        leaseMs: Math.max(0, Math.floor(run.leaseMs)),
        leftMs: leftOf(job, out.now.wall),
        spec: job.spec,
      },
    });
  }

  // -------------------------------------------------------------- taking up

  /** After a takeover: nothing is known of the attempt but what the record says. */
  resume(owned: OwnedJob): void {
    const { ownership, enqueue, out } = this.parts;
    const { header, job } = owned.record;
    const { state } = job;
    const answerAt = afterMono(out.now.mono, this.told.delete(header.job) ? ANSWER_MS : 0);
    const until = asMono(Math.max(answerAt, owned.youngestYes + REVOKE_WAIT_MS));
    if (state.tag === 'granted') {
      const run = newRun(owned.youngestYes);
      ownership.setStage(owned, { tag: 'given', run });
      this.repeat(owned, state, run);
    } else if (state.tag === 'revoked') {
      ownership.setStage(owned, { tag: 'waiting', until });
    } else if (state.tag === 'pending') {
      if (owned.isIdle || out.now.mono >= until) enqueue(owned);
      else this.search(owned, until);
    }
  }

  /** Somebody may run it under a grant that only the dead owner knew of. */
  private search(owned: OwnedJob, until: MonoMs): void {
    const { out, ownership, linked } = this.parts;
    ownership.setStage(owned, { tag: 'waiting', until });
    for (const node of [out.self, ...linked()]) this.askFor(owned, node);
  }

  private askFor(owned: OwnedJob, node: NodeId): void {
    const { job, accepted, birth } = owned.record.header;
    this.parts.out.send(node, { kind: 'whoHas', job, epoch: accepted.epoch, birth });
  }

  onHave(from: NodeId, message: Of<'have'>): void {
    const { out, ownership } = this.parts;
    const owned = ownership.get(message.job);
    if (!owned || !isSearched(owned) || message.fence.attempt <= owned.record.job.attempts) return;
    const run = newRun(owned.youngestYes);
    const grant: GrantNote = {
      fence: message.fence,
      executor: from,
      executorBoot: out.boot,
      nonce: message.nonce,
      at: out.now.wall,
      why: 'found running when its owner had died',
    };
    ownership.setStage(owned, { tag: 'given', run });
    ownership.propose(owned, grantedTo(owned.record.job, grant), () => {
      const { state } = owned.record.job;
      if (state.tag === 'granted') this.repeat(owned, state, run);
    });
  }

  // -------------------------------------------------------------- the executor's words

  onStarted(from: NodeId, message: Of<'started'>): void {
    const owned = this.parts.ownership.get(message.job);
    if (owned?.stage.tag !== 'given' || !isCurrent(owned, from, message.fence)) return;
    const { run } = owned.stage;
    run.sentAt = this.parts.out.now.mono;
    if (run.isStarted) return;
    run.isStarted = true;
    run.startedAt = message.startedAt;
    this.parts.ownership.announce(owned, 'JOB_RUNNING', '');
  }

  onProgress(from: NodeId, { job, fence, progress }: Of<'progress'>): void {
    const owned = this.parts.ownership.get(job);
    if (owned?.stage.tag !== 'given' || !isCurrent(owned, from, fence)) return;
    owned.stage.run.progress = progress;
    // The executor's own node has told its followers.
    if (from !== this.parts.out.self)
      this.parts.out.event({ kind: 'attemptProgressed', job, fence, progress });
  }

  /** About this very fence: nothing runs, so nothing needs to be waited for. */
  onReject(from: NodeId, message: Of<'reject'>): void {
    const { out, ownership } = this.parts;
    const owned = ownership.get(message.job);
    if (!owned || !isCurrent(owned, from, message.fence)) return;
    const { state } = owned.record.job;
    this.avoid(owned, from);
    if (state.tag === 'granted' && state.cancelAt !== undefined) {
      ownership.setStage(owned, { tag: 'settling' });
      ownership.propose(owned, {
        ...owned.record.job,
        state: { tag: 'final', final: cancelledFinal(out.now.wall) },
      });
    } else if (state.tag === 'granted' || state.tag === 'revoked') {
      const run = owned.stage.tag === 'given' ? owned.stage.run : undefined;
      const hasRun = run === undefined || run.isStarted || run.isAdopted;
      this.settleWithout(owned, state.grant, { reason: message.reason, hasRun });
    }
  }

  /** Only the executor itself tells how its attempt ended: no member can do it for another. */
  onResult(from: NodeId, job: JobId, outcome: AttemptOutcome): void {
    if (outcome.executor !== from) return;
    const { out, ownership, replicas } = this.parts;
    replicas.with(job, (kept) => {
      const owned = ownership.get(job);
      if (owned) this.judge(owned, from, outcome);
      else if (!kept?.record) out.send(from, { kind: 'gone', job, fence: outcome.fence });
      else if (kept.isSettled) this.noteLate(kept.record.job, job, outcome, from);
      else addBounded(this.told, job);
    });
  }

  /** The job was decided without it. */
  private noteLate(decided: Job, job: JobId, outcome: AttemptOutcome, from: NodeId): void {
    const { out } = this.parts;
    const conflict = conflictOf(decided, job, outcome, out.now.wall);
    if (conflict && this.isNews(attemptKey(job, outcome.fence))) {
      out.persist({ kind: 'conflict', conflict });
      out.event({ kind: 'conflictFound', conflict });
    }
    this.acknowledge(from, job, outcome.fence);
  }

  /** A late outcome is told again until its acknowledgement arrives. */
  private isNews(key: string): boolean {
    if (this.noted.has(key)) return false;
    addBounded(this.noted, key);
    return true;
  }

  private judge(owned: OwnedJob, from: NodeId, outcome: AttemptOutcome): void {
    const { out, ownership, dequeue, enqueue } = this.parts;
    const { job } = owned.record.header;
    const before = owned.record.job.state;
    const verdict = judgeOutcome(this.withFound(owned, outcome), outcome, out.now.wall);
    const acknowledge = (): void => this.acknowledge(from, job, outcome.fence);
    if (verdict.kind === 'known') {
      ownership.whenDecided(owned, acknowledge);
      return;
    }
    if (verdict.kind === 'late') {
      ownership.whenDecided(owned, () => this.noteLate(owned.record.job, job, outcome, from));
      return;
    }
    if (verdict.kind !== 'superseded') {
      dequeue(job);
      ownership.setStage(owned, { tag: 'settling' });
      const isOther = before.tag === 'granted' && !isSameFence(before.grant.fence, outcome.fence);
      if (isOther) this.cancelAttempt(owned, before.grant);
    }
    const isHandedBack = outcome.end.tag === 'returned' || outcome.startedAt === undefined;
    if (verdict.kind === 'again' && isHandedBack) this.avoid(owned, from);
    ownership.propose(owned, verdict.job, () => {
      acknowledge();
      if (verdict.kind === 'again') enqueue(owned);
    });
  }

  /** The outcome of a grant that the record lacks: it was the current attempt. */
  private withFound(owned: OwnedJob, outcome: AttemptOutcome): Job {
    const { job } = owned.record;
    const isNext = outcome.fence.attempt === job.attempts + 1;
    const isNew = owned.stage.tag === 'waiting' || owned.decidedVersion === 0;
    if (!isNew || job.state.tag !== 'pending' || !isNext) return job;
    return grantedTo(job, {
      fence: outcome.fence,
      executor: outcome.executor,
      executorBoot: this.parts.out.boot,
      nonce: NO_NONCE,
      at: outcome.startedAt ?? outcome.finishedAt,
      why: 'found ended when its owner had died',
    });
  }

  /** It could not, or would not: others are asked first. */
  private avoid(owned: OwnedJob, node: NodeId): void {
    const times = owned.handBacks ?? 0;
    owned.handBacks = times + 1;
    const pauseMs = Math.min(REFUSED_PAUSE_MS * 2 ** times, MAX_REFUSED_PAUSE_MS);
    avoidNode({ owned, node, now: this.parts.out.now.mono, pauseMs });
  }

  private acknowledge(to: NodeId, job: JobId, fence: Fence): void {
    this.parts.out.send(to, { kind: 'acknowledge', job, fence });
  }

  sendCancel(owned: OwnedJob): void {
    const { state } = owned.record.job;
    if (state.tag === 'granted' || state.tag === 'revoked') this.cancelAttempt(owned, state.grant);
  }

  private cancelAttempt({ record: { header } }: OwnedJob, { executor, fence }: GrantNote): void {
    const { epoch } = header.accepted;
    this.parts.out.send(executor, { kind: 'cancel', job: header.job, fence, epoch });
  }

  // -------------------------------------------------------------- executors that are silent

  onExecutorDead(node: NodeId, reason: string): void {
    for (const owned of this.parts.ownership.inMotion()) {
      const { state } = owned.record.job;
      if (state.tag === 'granted' && state.grant.executor === node && owned.stage.tag === 'given')
        owned.stage.run.doom = reason;
    }
    this.onTick();
  }

  /** A new link: what became of the grants is asked again at once. */
  onExecutorUp(node: NodeId): void {
    for (const owned of this.parts.ownership.inMotion()) {
      const { state } = owned.record.job;
      if (isSearched(owned)) this.askFor(owned, node);
      if (state.tag !== 'granted' || state.grant.executor !== node) continue;
      if (owned.stage.tag !== 'given' || owned.stage.run.sentAt === undefined) continue;
      owned.stage.run.doom = undefined;
      this.repeat(owned, state, owned.stage.run);
    }
  }

  onTick(): void {
    const { mono } = this.parts.out.now;
    for (const owned of this.parts.ownership.inMotion()) {
      const { state } = owned.record.job;
      if (owned.stage.tag === 'waiting') {
        if (mono >= owned.stage.until && state.tag !== 'granted') this.onWaited(owned, state);
      } else if (owned.stage.tag === 'given' && state.tag === 'granted') {
        this.watch(owned, state, owned.stage.run);
      }
    }
  }

  private onWaited(owned: OwnedJob, state: Exclude<JobState, Granted>): void {
    if (state.tag === 'pending') this.parts.enqueue(owned);
    else if (state.tag === 'revoked')
      this.settleWithout(owned, state.grant, { reason: state.reason, hasRun: true });
  }

  private watch(owned: OwnedJob, state: Granted, run: Run): void {
    const { out, stateOf } = this.parts;
    const { mono } = out.now;
    const executor = stateOf(state.grant.executor);
    const isUnseen = executor === undefined || executor === 'dead' || executor === 'left';
    const yesAt = this.lastYesAt(owned, run);
    if (executor !== undefined && isUnseen) run.doom ??= `its executor is ${executor}`;
    else if (isUnseen && mono - yesAt > UNSEEN_MS) run.doom ??= 'its executor was not seen again';
    if (isUnseen && run.doom !== undefined) {
      if (mono >= yesAt + REVOKE_AFTER_MS) this.giveUp(owned, state.grant, run, run.doom);
      return;
    }
    if (run.sentAt === undefined || isUnseen) return;
    const isOpen = !run.isStarted || state.cancelAt !== undefined;
    const isQuiet = mono - Math.max(yesAt, run.sentAt) >= QUIET_MS;
    if ((isOpen && mono - run.sentAt >= REPEAT_MS) || isQuiet) this.repeat(owned, state, run);
  }

  /** As far as this node knows: its own yes, as a replica, and what it has heard of others'. */
  private lastYesAt(owned: OwnedJob, run: Run): MonoMs {
    const own = this.parts.replicas.get(owned.record.header.job)?.yesAt ?? run.lastYesAt;
    return asMono(Math.max(own, run.lastYesAt));
  }

  /** Nobody else starts the job before the lease of the attempt is over on every clock. */
  private giveUp(owned: OwnedJob, grant: GrantNote, run: Run, reason: string): void {
    const { ownership } = this.parts;
    const knownYes = this.lastYesAt(owned, run);
    ownership.setStage(owned, { tag: 'settling' });
    ownership.propose(owned, revoke(owned.record.job, grant, reason), () => {
      if (owned.record.job.state.tag !== 'revoked') return;
      const lastYes = Math.max(knownYes, owned.youngestYes);
      ownership.setStage(owned, { tag: 'waiting', until: asMono(lastYes + REVOKE_WAIT_MS) });
    });
  }

  private repeat(owned: OwnedJob, state: Granted, run: Run): void {
    const { out } = this.parts;
    const { job, accepted, rs, oldRs } = owned.record.header;
    const { fence, executor } = state.grant;
    run.sentAt ??= out.now.mono;
    const isOurs = compareEpochs(fence.epoch, accepted.epoch) === 0;
    if (state.cancelAt !== undefined) this.cancelAttempt(owned, state.grant);
    if (isOurs && !run.isStarted && state.cancelAt === undefined)
      this.sendGrant(owned, state.grant, run);
    else {
      run.isAdopted = true;
      out.send(executor, { kind: 'adopt', job, fence, epoch: accepted.epoch, sets: { rs, oldRs } });
    }
    run.sentAt = out.now.mono;
  }

  private settleWithout(
    owned: OwnedJob,
    grant: GrantNote,
    end: { reason: string; hasRun: boolean },
  ): void {
    const { out, ownership, enqueue } = this.parts;
    const next = afterLostAttempt(owned.record.job, end, grant, out.now.wall);
    ownership.setStage(owned, { tag: 'settling' });
    ownership.propose(owned, next, () => {
      if (next.state.tag === 'pending') enqueue(owned);
    });
  }

  /** Cancels a job of which nothing was granted. */
  cancelPending(owned: OwnedJob, reason: string, request?: RequestId): void {
    const { out } = this.parts;
    const { job } = owned.record.header;
    const final = { ...cancelledFinal(out.now.wall), reason };
    const tell = () => request && out.reply(request, { kind: 'cancelled', job });
    this.endPending(owned, final, tell, request);
  }

  /** Ends a job that waits: its time is over. */
  expirePending(owned: OwnedJob, reason: string): void {
    this.endPending(owned, { status: 'JOB_TIMEOUT', at: this.parts.out.now.wall, reason });
  }

  private endPending(
    owned: OwnedJob,
    final: FinalState,
    decided?: () => void,
    request?: RequestId,
  ): void {
    const { ownership, dequeue } = this.parts;
    dequeue(owned.record.header.job);
    ownership.setStage(owned, { tag: 'settling' });
    const job: Job = { ...owned.record.job, state: { tag: 'final', final } };
    ownership.propose(owned, job, decided, request);
  }
}

function addBounded<T>(noted: Set<T>, one: T): void {
  noted.add(one);
  const [oldest] = noted;
  if (noted.size > MAX_NOTED && oldest !== undefined) noted.delete(oldest);
}

const NO_NONCE = '' as Nonce;

const newRun = (lastYesAt: MonoMs): Run => ({
  sentAt: undefined,
  leaseMs: LEASE_MS,
  isStarted: false,
  isAdopted: false,
  lastYesAt,
});

const grantedTo = (job: Job, grant: GrantNote): Job => ({
  ...job,
  attempts: grant.fence.attempt,
  state: { tag: 'granted', grant },
});

/** An attempt of it is looked for that its record does not name. */
const isSearched = ({ stage, record }: OwnedJob): boolean =>
  stage.tag === 'waiting' && record.job.state.tag === 'pending';

function isCurrent(owned: OwnedJob, executor: NodeId, fence: Fence): boolean {
  const { state } = owned.record.job;
  if (state.tag !== 'granted' && state.tag !== 'revoked') return false;
  return state.grant.executor === executor && isSameFence(state.grant.fence, fence);
}
