/**
 * What a reported outcome does to a job: the rule of the first outcome, as a pure function.
 *
 * Exit 0 of any attempt counts if it comes before the final state; failure, timeout and loss count
 * only for the current fence; after a decided cancel nothing but JOB_CANCELLED is possible. All
 * else is superseded: kept in the history, without effect.
 */
import type { JobId } from '../base/ids.ts';
import type { WallMs } from '../base/instant.ts';
import type { Conflict } from './effects.ts';
import {
  type AttemptEnd,
  type AttemptOutcome,
  type FinalState,
  type FinalStatus,
  type GrantNote,
  type Job,
  type JobSpec,
  type JobState,
  MAX_HISTORY,
  MAX_LOSSES,
  type PastAttempt,
  PENDING,
} from './job.ts';
import { type Fence, isSameFence } from './record.ts';

export type Verdict =
  /** Told before: only acknowledge. */
  | { readonly kind: 'known' }
  | { readonly kind: 'final'; readonly job: Job }
  /** Without outcome: wait for a node again. */
  | { readonly kind: 'again'; readonly job: Job }
  | { readonly kind: 'superseded'; readonly job: Job }
  /** The job is final already, by another word. */
  | { readonly kind: 'late' };

export function judgeOutcome(job: Job, outcome: AttemptOutcome, at: WallMs): Verdict {
  const { state } = job;
  switch (state.tag) {
    case 'final':
      return isToldBefore(job, outcome) ? { kind: 'known' } : { kind: 'late' };
    case 'pending':
      return judgeStray(job, outcome, at);
    case 'granted':
    case 'revoked':
      if (!isSameFence(state.grant.fence, outcome.fence)) return judgeStray(job, outcome, at);
      if (state.cancelAt !== undefined) return final(job, cancelledFinal(at, outcome));
      if (isSuccess(outcome.end))
        return final(job, { status: 'JOB_COMPLETED', at, reason: '', outcome });
      return state.tag === 'granted'
        ? judgeCurrent(job, outcome, at)
        : judgeRevoked(job, state, outcome, at);
  }
}

/** The job after its executor was given up: no other attempt starts before the lease is over. */
export function revoke(job: Job, grant: GrantNote, reason: string): Job {
  const cancelAt = job.state.tag === 'granted' ? job.state.cancelAt : undefined;
  return { ...job, losses: job.losses + 1, state: { tag: 'revoked', grant, reason, cancelAt } };
}

/**
 * The job once nothing of a revoked, rejected or returned attempt can still run.
 * @param end hasRun: it started, or may have
 */
export function afterLostAttempt(
  job: Job,
  { reason, hasRun }: { reason: string; hasRun: boolean },
  grant: GrantNote,
  at: WallMs,
): Job {
  const past: PastAttempt = {
    fence: grant.fence,
    executor: grant.executor,
    at,
    note: reason,
    isSuperseded: false,
  };
  const last = job.history.at(-1);
  const isSame = last?.executor === past.executor && last.note === past.note && !last.isSuperseded;
  // A node that hands it back again and again for one reason is one line, the newest.
  const before = isSame && !hasRun ? { ...job, history: job.history.slice(0, -1) } : job;
  const history = remember(before, past);
  if (job.state.tag === 'revoked' && job.state.cancelAt !== undefined) {
    return { ...job, history, state: { tag: 'final', final: cancelledFinal(at) } };
  }
  const isOnlyOnce = hasRun && job.spec.delivery === 'at_most_once';
  if (isOnlyOnce || job.losses > MAX_LOSSES) {
    const final: FinalState = {
      status: 'JOB_LOST',
      at,
      reason: isOnlyOnce
        ? `not run again, as it may run at most once: ${reason}`
        : `given up after ${job.losses} lost attempts; the last: ${reason}`,
    };
    return { ...job, history, state: { tag: 'final', final } };
  }
  return { ...job, history, state: PENDING };
}

export const cancelledFinal = (at: WallMs, outcome?: AttemptOutcome): FinalState => ({
  status: 'JOB_CANCELLED',
  at,
  reason: 'cancelled',
  outcome,
});

export const isSuccess = (end: AttemptEnd): boolean => end.tag === 'exited' && end.code === 0;

function judgeCurrent(job: Job, outcome: AttemptOutcome, at: WallMs): Verdict {
  const { end } = outcome;
  switch (end.tag) {
    case 'exited':
      return final(job, { status: 'JOB_FAILED', at, reason: `exit code ${end.code}`, outcome });
    case 'signalled':
      return final(job, { status: 'JOB_FAILED', at, reason: `ended by ${end.signal}`, outcome });
    case 'failed':
      return final(job, { status: 'JOB_FAILED', at, reason: end.reason, outcome });
    case 'timeout':
      return final(job, {
        status: 'JOB_TIMEOUT',
        at,
        reason: timeoutReason(job.spec, outcome),
        outcome,
      });
    case 'cancelled':
      return again(job, outcome, 'ended by its executor', at);
    case 'returned':
      return again(job, outcome, end.reason, at);
    case 'lost':
      return again({ ...job, losses: job.losses + 1 }, outcome, end.reason, at);
  }
}

/** An attempt that did not reach its own limit met that of the whole job. */
function timeoutReason(
  { timeoutMs, totalTimeoutMs }: JobSpec,
  { startedAt, finishedAt }: AttemptOutcome,
): string {
  const ranMs = startedAt === undefined ? 0 : finishedAt - startedAt;
  const isTotal = totalTimeoutMs !== undefined && ranMs < timeoutMs;
  return isTotal
    ? `not ended within ${totalTimeoutMs / 1000} s of its creation`
    : `still running after ${timeoutMs / 1000} s`;
}

/** The executor's own word about a revoked fence ends the waiting, but decides nothing. */
function judgeRevoked(
  job: Job,
  state: Extract<JobState, { tag: 'revoked' }>,
  outcome: AttemptOutcome,
  at: WallMs,
): Verdict {
  return again(job, outcome, `${state.reason}; it ended with: ${endText(outcome.end)}`, at);
}

/** An outcome of an attempt that is not the current one. */
function judgeStray(job: Job, outcome: AttemptOutcome, at: WallMs): Verdict {
  const { state } = job;
  const isCancelled =
    (state.tag === 'granted' || state.tag === 'revoked') && state.cancelAt !== undefined;
  if (isSuccess(outcome.end) && !isCancelled)
    return final(job, { status: 'JOB_COMPLETED', at, reason: '', outcome });
  // What never ran is nothing to remember.
  if (outcome.startedAt === undefined || isToldBefore(job, outcome)) return { kind: 'known' };
  return superseded(job, outcome, at);
}

function final(job: Job, state: FinalState): Verdict {
  return { kind: 'final', job: { ...job, state: { tag: 'final', final: state } } };
}

function again(job: Job, outcome: AttemptOutcome, reason: string, at: WallMs): Verdict {
  const grant =
    job.state.tag === 'granted' || job.state.tag === 'revoked' ? job.state.grant : undefined;
  if (!grant) return { kind: 'known' };
  const hasRun = outcome.startedAt !== undefined || outcome.end.tag === 'lost';
  const next = afterLostAttempt(job, { reason, hasRun }, grant, at);
  const withOutcome =
    next.state.tag === 'final'
      ? { ...next.state, final: { ...next.state.final, outcome } }
      : next.state;
  return {
    kind: next.state.tag === 'final' ? 'final' : 'again',
    job: { ...next, state: withOutcome },
  };
}

/** What a person must know when an attempt ends after its job; undefined: nothing. */
export function conflictOf(
  decided: Job,
  job: JobId,
  outcome: AttemptOutcome,
  at: WallMs,
): Conflict | undefined {
  const { end, fence, executor, startedAt } = outcome;
  const isWithout = isWithoutOutcome(end) || end.tag === 'cancelled' || startedAt === undefined;
  if (isWithout || decided.state.tag !== 'final' || isToldBefore(decided, outcome))
    return undefined;
  const { status } = decided.state.final;
  const note = `attempt ${fence.attempt} on ${executor} ended as well (${endText(end)}), after the job was ${status}; it does not count`;
  return { job, at, tag: 'outcomes', note };
}

function superseded(job: Job, outcome: AttemptOutcome, at: WallMs): Verdict {
  const past: PastAttempt = {
    fence: outcome.fence,
    executor: outcome.executor,
    at,
    note: endText(outcome.end),
    isSuperseded: true,
  };
  return { kind: 'superseded', job: { ...job, history: remember(job, past) } };
}

function isKnown(job: Job, fence: Fence): boolean {
  const decided = job.state.tag === 'final' ? job.state.final.outcome?.fence : undefined;
  if (decided && isSameFence(decided, fence)) return true;
  return job.history.some((past) => past.isSuperseded && isSameFence(past.fence, fence));
}

const isToldBefore = (job: Job, { fence, end }: AttemptOutcome): boolean =>
  isKnown(job, fence) || (isWithoutOutcome(end) && isPast(job, fence));

/** It says no more than that the attempt is over, which the history may know already. */
const isWithoutOutcome = (end: AttemptEnd): boolean => end.tag === 'lost' || end.tag === 'returned';

const isPast = (job: Job, fence: Fence): boolean =>
  job.history.some((past) => isSameFence(past.fence, fence));

const remember = (job: Job, past: PastAttempt): PastAttempt[] =>
  [...job.history, past].slice(-MAX_HISTORY);

/** `exit code 3`, `ended by SIGSEGV`, `lost: …`. */
export function endText(end: AttemptEnd): string {
  switch (end.tag) {
    case 'exited':
      return `exit code ${end.code}`;
    case 'signalled':
      return `ended by ${end.signal}`;
    case 'timeout':
      return 'timeout';
    case 'cancelled':
      return 'cancelled';
    case 'failed':
    case 'lost':
    case 'returned':
      return `${end.tag}: ${end.reason}`;
  }
}

export const isFinal = (status: string): status is FinalStatus =>
  status === 'JOB_COMPLETED' ||
  status === 'JOB_FAILED' ||
  status === 'JOB_TIMEOUT' ||
  status === 'JOB_CANCELLED' ||
  status === 'JOB_LOST';
