/**
 * Jobs that were given away: grants, what their executors say of them, and what happens when an
 * executor says nothing any more. A grant that is not answered binds like a run: it is repeated
 * until the executor says started, rejected or ended, and given up only with the executor itself.
 */
import type { BootId, JobId, NodeId, Nonce } from '../base/ids.ts';
import { afterMono } from '../base/instant.ts';
import type { AttemptOutcome, GrantNote, JobState } from './job.ts';
import { LEASE_MS, REVOKE_WAIT_MS } from './lease.ts';
import type { MemberState } from './member.ts';
import type { AttemptRef, JobMessage } from './messages.ts';
import { afterLostAttempt, cancelledFinal, judgeOutcome, revoke } from './outcome.ts';
import type { Outgoing } from './outgoing.ts';
import type { OwnedJob, Ownership, Run } from './ownership.ts';
import { type Fence, isSameFence } from './record.ts';

const REFUSED_PAUSE_MS = 1000;
const REPEAT_MS = 1000;
/** An executor that has not been a member for so long, since this node started, counts as dead. */
const UNSEEN_MS = 7000;

export interface AssignmentParts {
  readonly out: Outgoing;
  readonly ownership: Ownership;
  readonly enqueue: (owned: OwnedJob) => void;
  readonly dequeue: (job: JobId) => void;
  /** Undefined: not a member. The own node is alive. */
  readonly stateOf: (node: NodeId) => MemberState | undefined;
}

type Granted = Extract<JobState, { tag: 'granted' }>;

export class Assignments {
  private readonly parts: AssignmentParts;

  constructor(parts: AssignmentParts) {
    this.parts = parts;
  }

  /** Gives the job to a claim. The assignment is on disk before the grant leaves. */
  grant(owned: OwnedJob, to: { node: NodeId; boot: BootId; nonce: Nonce }, why: string): void {
    const { out, ownership, dequeue } = this.parts;
    const { header, job } = owned.record;
    const grant: GrantNote = {
      fence: { epoch: header.accepted.epoch, attempt: job.attempts + 1 },
      executor: to.node,
      executorBoot: to.boot,
      nonce: to.nonce,
      at: out.now.wall,
      why,
    };
    dequeue(header.job);
    ownership.propose(owned, {
      ...job,
      attempts: job.attempts + 1,
      state: { tag: 'granted', grant },
    });
    ownership.setStage(owned, { tag: 'given', run: this.newRun() });
    this.sendGrant(owned, grant);
  }

  /** After a restart: nothing is known of the attempt but what the record says. */
  resume(owned: OwnedJob): void {
    const { out, ownership, enqueue } = this.parts;
    const { state } = owned.record.job;
    if (state.tag === 'pending') enqueue(owned);
    else if (state.tag === 'granted')
      ownership.setStage(owned, { tag: 'given', run: this.newRun() });
    else if (state.tag === 'revoked') {
      ownership.setStage(owned, { tag: 'waiting', until: afterMono(out.now.mono, REVOKE_WAIT_MS) });
    }
  }

  sendCancel(owned: OwnedJob): void {
    const { state } = owned.record.job;
    if (state.tag !== 'granted' && state.tag !== 'revoked') return;
    this.cancelAttempt(owned.record.header.job, state.grant);
  }

  private newRun(): Run {
    const { mono } = this.parts.out.now;
    return { sentAt: mono, isStarted: false, lastYesAt: mono };
  }

  private cancelAttempt(job: JobId, grant: GrantNote): void {
    this.parts.out.send(grant.executor, { kind: 'cancel', job, fence: grant.fence });
  }

  private sendGrant(owned: OwnedJob, grant: GrantNote): void {
    const { header, job } = owned.record;
    this.parts.out.send(grant.executor, {
      kind: 'grant',
      grant: {
        job: header.job,
        fence: grant.fence,
        nonce: grant.nonce,
        rs: header.rs,
        leaseMs: LEASE_MS,
        spec: job.spec,
      },
    });
  }

  // -------------------------------------------------------------- the executor's words

  onStarted(from: NodeId, message: Extract<JobMessage, { kind: 'started' }>): void {
    const owned = this.parts.ownership.get(message.job);
    if (owned?.stage.tag !== 'given' || !isCurrent(owned, from, message.fence)) return;
    const { run } = owned.stage;
    if (run.isStarted) return;
    run.isStarted = true;
    run.startedAt = message.startedAt;
    this.parts.ownership.announce(owned, 'JOB_RUNNING', '');
  }

  /** About this very fence: nothing runs, so nothing needs to be waited for. */
  onReject(from: NodeId, message: Extract<JobMessage, { kind: 'reject' }>): void {
    const { out, ownership } = this.parts;
    const owned = ownership.get(message.job);
    if (!owned || !isCurrent(owned, from, message.fence)) return;
    const { state } = owned.record.job;
    owned.refusedBy = { node: from, until: afterMono(out.now.mono, REFUSED_PAUSE_MS) };
    if (state.tag === 'granted' && state.cancelAt !== undefined) {
      ownership.setStage(owned, { tag: 'settling' });
      ownership.propose(owned, {
        ...owned.record.job,
        state: { tag: 'final', final: cancelledFinal(out.now.wall) },
      });
    } else if (state.tag === 'granted' || state.tag === 'revoked') {
      this.settleWithout(owned, state.grant, message.reason);
    }
  }

  /**
   * Yes prolongs the lease, also of an attempt that is cancelled: it may have a long grace. One of
   * a job that is being settled gets neither yes nor no.
   */
  onRenew(from: NodeId, message: Extract<JobMessage, { kind: 'renew' }>): void {
    const { out, ownership } = this.parts;
    const granted: AttemptRef[] = [];
    const revoked: AttemptRef[] = [];
    for (const attempt of message.attempts) {
      const owned = ownership.get(attempt.job);
      const isOpen = owned !== undefined && isCurrent(owned, from, attempt.fence);
      if (isOpen && owned.stage.tag === 'settling') continue;
      if (isOpen && owned.stage.tag === 'given') {
        owned.stage.run.lastYesAt = out.now.mono;
        granted.push(attempt);
      } else {
        revoked.push(attempt);
      }
    }
    out.signal(from, { kind: 'renewed', sentAt: message.sentAt, granted, revoked });
  }

  /** Only the executor itself tells how its attempt ended: no member can do it for another. */
  onResult(from: NodeId, job: JobId, outcome: AttemptOutcome): void {
    if (outcome.executor !== from) return;
    const { ownership } = this.parts;
    ownership.withRecord(job, (owned, stored) => {
      if (owned) this.judge(owned, from, outcome);
      else if (stored) this.judge(ownership.revisit(stored), from, outcome);
      else this.acknowledge(from, job, outcome.fence);
    });
  }

  private judge(owned: OwnedJob, from: NodeId, outcome: AttemptOutcome): void {
    const { out, ownership, dequeue, enqueue } = this.parts;
    const { job } = owned.record.header;
    const before = owned.record.job.state;
    const verdict = judgeOutcome(owned.record.job, outcome, out.now.wall);
    const acknowledge = (): void => this.acknowledge(from, job, outcome.fence);
    if (verdict.kind === 'known') {
      if (isStored(owned)) acknowledge();
      else ownership.whenDecided(owned, acknowledge);
      return;
    }
    if (verdict.kind !== 'superseded') {
      dequeue(job);
      ownership.setStage(owned, { tag: 'settling' });
      const isOther = before.tag === 'granted' && !isSameFence(before.grant.fence, outcome.fence);
      if (isOther) this.cancelAttempt(job, before.grant);
    }
    ownership.propose(owned, verdict.job, () => {
      acknowledge();
      if (verdict.kind === 'again') enqueue(owned);
    });
  }

  private acknowledge(to: NodeId, job: JobId, fence: Fence): void {
    this.parts.out.send(to, { kind: 'acknowledge', job, fence });
  }

  // -------------------------------------------------------------- executors that are silent

  /** Nobody else starts the job before the lease of the attempt is over on every clock. */
  onExecutorDead(node: NodeId, reason: string): void {
    for (const owned of this.parts.ownership.inMotion()) {
      const { state } = owned.record.job;
      if (state.tag === 'granted' && state.grant.executor === node && owned.stage.tag === 'given') {
        this.giveUp(owned, state.grant, owned.stage.run, reason);
      }
    }
  }

  private giveUp(owned: OwnedJob, grant: GrantNote, run: Run, reason: string): void {
    const { ownership } = this.parts;
    ownership.propose(owned, revoke(owned.record.job, grant, reason));
    ownership.setStage(owned, { tag: 'waiting', until: afterMono(run.lastYesAt, REVOKE_WAIT_MS) });
  }

  /** A new link: what became of the grants is asked again at once. */
  onExecutorUp(node: NodeId): void {
    for (const owned of this.parts.ownership.inMotion()) {
      const { state } = owned.record.job;
      if (state.tag === 'granted' && state.grant.executor === node && owned.stage.tag === 'given') {
        this.repeat(owned, state, owned.stage.run);
      }
    }
  }

  onTick(): void {
    const { mono } = this.parts.out.now;
    for (const owned of this.parts.ownership.inMotion()) {
      const { state } = owned.record.job;
      if (owned.stage.tag === 'waiting' && state.tag === 'revoked') {
        if (mono >= owned.stage.until) this.settleWithout(owned, state.grant, state.reason);
      } else if (owned.stage.tag === 'given' && state.tag === 'granted') {
        this.watch(owned, state, owned.stage.run);
      }
    }
  }

  private watch(owned: OwnedJob, state: Granted, run: Run): void {
    const { out, stateOf } = this.parts;
    const executor = stateOf(state.grant.executor);
    const isUnseen = executor === undefined || executor === 'dead' || executor === 'left';
    if (isUnseen && out.now.mono - run.lastYesAt > UNSEEN_MS) {
      this.giveUp(
        owned,
        state.grant,
        run,
        executor ? `its executor is ${executor}` : 'its executor was not seen again',
      );
      return;
    }
    const isOpen = !run.isStarted || state.cancelAt !== undefined;
    if (isOpen && !isUnseen && out.now.mono - run.sentAt >= REPEAT_MS)
      this.repeat(owned, state, run);
  }

  private repeat(owned: OwnedJob, state: Granted, run: Run): void {
    run.sentAt = this.parts.out.now.mono;
    if (state.cancelAt === undefined) this.sendGrant(owned, state.grant);
    else this.cancelAttempt(owned.record.header.job, state.grant);
  }

  private settleWithout(owned: OwnedJob, grant: GrantNote, reason: string): void {
    const { out, ownership, enqueue } = this.parts;
    const next = afterLostAttempt(owned.record.job, reason, grant, out.now.wall);
    ownership.setStage(owned, { tag: 'settling' });
    ownership.propose(owned, next, () => {
      if (next.state.tag === 'pending') enqueue(owned);
    });
  }
}

function isCurrent(owned: OwnedJob, executor: NodeId, fence: Fence): boolean {
  const { state } = owned.record.job;
  if (state.tag !== 'granted' && state.tag !== 'revoked') return false;
  return state.grant.executor === executor && isSameFence(state.grant.fence, fence);
}

/** Read from disk and not written since: decided long ago. */
const isStored = (owned: OwnedJob): boolean =>
  owned.decidedVersion === 0 && owned.afterDecision.length === 0;
