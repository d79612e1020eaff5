import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { asJobId, asNonce } from '../../src/base/ids.ts';
import { asWall } from '../../src/base/instant.ts';
import {
  type AttemptEnd,
  type GrantNote,
  type Job,
  type JobState,
  MAX_HISTORY,
  MAX_LOSSES,
} from '../../src/core/job.ts';
import { afterLostAttempt, conflictOf, judgeOutcome, revoke } from '../../src/core/outcome.ts';
import type { Fence } from '../../src/core/record.ts';
import { B, bootOf, C, SELF, SPEC } from './core-bench.ts';
import { EXIT_0, outcomeOf } from './peers.ts';

const AT = asWall(1000);
const fence = (attempt: number, counter = 1): Fence => ({
  epoch: { counter, node: SELF },
  attempt,
});
const grantOf = (attempt: number): GrantNote => ({
  fence: fence(attempt),
  executor: B,
  executorBoot: bootOf(1),
  nonce: asNonce('1.1'),
  at: AT,
  why: '',
});
const granted = (attempt: number, cancelAt?: typeof AT): JobState => ({
  tag: 'granted',
  grant: grantOf(attempt),
  cancelAt,
});
const jobIn = (state: JobState, change: Partial<Job> = {}): Job => ({
  spec: SPEC,
  createdAt: AT,
  createdBy: SELF,
  contentHash: '',
  state,
  attempts: 2,
  losses: 0,
  history: [],
  ...change,
});
const EXIT_3: AttemptEnd = { tag: 'exited', code: 3 };
const DIED = { reason: 'died', hasRun: true };
const LOST: AttemptEnd = { tag: 'lost', reason: 'its node was ended and started again' };

function finalOf(job: Job): { status: string; reason: string } {
  if (job.state.tag !== 'final') return assert.fail(`the job is ${job.state.tag}`);
  const { status, reason } = job.state.final;
  return { status, reason };
}

function judged(job: Job, attempt: number, end: AttemptEnd): { kind: string; job: Job } {
  const verdict = judgeOutcome(job, outcomeOf(fence(attempt), B, end), AT);
  return { kind: verdict.kind, job: 'job' in verdict ? verdict.job : job };
}

describe('the first outcome', () => {
  test('of the current attempt is final, with the words of its end', () => {
    const ends: [AttemptEnd, string, string][] = [
      [EXIT_0, 'JOB_COMPLETED', ''],
      [EXIT_3, 'JOB_FAILED', 'exit code 3'],
      [{ tag: 'signalled', signal: 'SIGSEGV' }, 'JOB_FAILED', 'ended by SIGSEGV'],
      [{ tag: 'failed', reason: 'no such folder' }, 'JOB_FAILED', 'no such folder'],
      [{ tag: 'timeout' }, 'JOB_TIMEOUT', 'still running after 60 s'],
    ];
    for (const [end, status, reason] of ends) {
      const verdict = judged(jobIn(granted(2)), 2, end);
      assert.equal(verdict.kind, 'final');
      assert.deepEqual(finalOf(verdict.job), { status, reason });
    }
  });

  test('is exit 0 of any attempt that comes before the final state', () => {
    for (const state of [granted(2), { tag: 'pending' } as const])
      assert.equal(finalOf(judged(jobIn(state), 1, EXIT_0).job).status, 'JOB_COMPLETED');
  });

  test('is not a failure, timeout or loss of an attempt that is not the current one', () => {
    for (const end of [EXIT_3, { tag: 'timeout' } as const, LOST]) {
      const { kind, job } = judged(jobIn(granted(2)), 1, end);
      assert.equal(kind, 'superseded');
      assert.deepEqual(job.state, granted(2));
      assert.equal(job.history.at(-1)?.isSuperseded, true);
    }
  });

  test('compares fences whole: the same number of another epoch is another attempt', () => {
    const verdict = judgeOutcome(jobIn(granted(2)), outcomeOf(fence(2, 7), B, EXIT_3), AT);
    assert.equal(verdict.kind, 'superseded');
  });

  test('is cancelled and nothing else once a cancel was decided', () => {
    for (const end of [EXIT_0, EXIT_3, LOST, { tag: 'timeout' } as const])
      assert.equal(finalOf(judged(jobIn(granted(2, AT)), 2, end).job).status, 'JOB_CANCELLED');
    assert.equal(judged(jobIn(granted(2, AT)), 1, EXIT_0).kind, 'superseded');
    const revoked = revoke(jobIn(granted(2, AT)), grantOf(2), 'died');
    assert.equal(finalOf(judged(revoked, 2, EXIT_0).job).status, 'JOB_CANCELLED');
    assert.equal(finalOf(afterLostAttempt(revoked, DIED, grantOf(2), AT)).status, 'JOB_CANCELLED');
  });

  test('never changes: what decided it is known, all else is late', () => {
    const { job: final } = judged(jobIn(granted(2)), 2, EXIT_3);
    assert.equal(judged(final, 2, EXIT_3).kind, 'known');
    for (const end of [EXIT_0, EXIT_3]) assert.equal(judged(final, 1, end).kind, 'late');
  });
});

describe('an attempt that ended after its job', () => {
  const decided = judged(jobIn(granted(2)), 2, EXIT_3).job;
  const noteOf = (attempt: number, end: AttemptEnd): string | undefined =>
    conflictOf(decided, asJobId('x'), outcomeOf(fence(attempt), B, end), AT)?.note;

  test('is told to people, with its end and that of the job', () => {
    assert.match(
      noteOf(1, EXIT_0) ?? '',
      /attempt 1 on .* \(exit code 0\), after the job was JOB_FAILED/,
    );
    assert.match(noteOf(1, EXIT_3) ?? '', /exit code 3/);
    assert.match(noteOf(1, { tag: 'timeout' }) ?? '', /timeout/);
  });

  test('is nothing when it did nothing, was ended for it, or is the one that decided', () => {
    assert.equal(noteOf(1, LOST), undefined);
    assert.equal(noteOf(1, { tag: 'returned', reason: 'its node shut down' }), undefined);
    assert.equal(noteOf(1, { tag: 'cancelled' }), undefined);
    assert.equal(noteOf(2, EXIT_3), undefined);
  });
});

describe('a job that may run at most once', () => {
  const once = (change: Partial<Job> = {}): Job =>
    jobIn(granted(1), { spec: { ...SPEC, delivery: 'at_most_once' }, attempts: 1, ...change });

  test('is lost with its first attempt that ran, and says why', () => {
    for (const job of [
      judged(once(), 1, LOST).job,
      afterLostAttempt(once(), DIED, grantOf(1), AT),
    ]) {
      const { status, reason } = finalOf(job);
      assert.equal(status, 'JOB_LOST');
      assert.match(reason, /^not run again, as it may run at most once: /);
    }
  });

  test('waits for another node when the fence never started', () => {
    const refused = { reason: 'the claim is not open', hasRun: false };
    assert.equal(afterLostAttempt(once(), refused, grantOf(1), AT).state.tag, 'pending');
  });

  test('ends with the outcome of its one attempt, though it had been revoked', () => {
    const revoked = revoke(once(), grantOf(1), 'its executor died');
    assert.equal(finalOf(judged(revoked, 1, EXIT_0).job).status, 'JOB_COMPLETED');
  });
});

describe('a lost attempt', () => {
  test('gives another one, three times; then the job is lost, with the reason', () => {
    let job = jobIn(granted(1));
    for (let attempt = 1; attempt <= MAX_LOSSES; attempt++) {
      job = judged({ ...job, state: granted(attempt) }, attempt, LOST).job;
      assert.equal(job.state.tag, 'pending');
    }
    const verdict = judged({ ...job, state: granted(4) }, 4, LOST);
    assert.equal(verdict.kind, 'final');
    assert.deepEqual(finalOf(verdict.job), {
      status: 'JOB_LOST',
      reason: 'given up after 4 lost attempts; the last: its node was ended and started again',
    });
  });

  test('counts once, though its executor comes back and says how it ended', () => {
    const revoked = revoke(jobIn(granted(2)), grantOf(2), 'its executor died');
    assert.equal(revoked.losses, 1);
    const back = judged(revoked, 2, { tag: 'cancelled' });
    assert.equal(back.kind, 'again');
    assert.equal(back.job.losses, 1);
    assert.equal(finalOf(judged(revoked, 2, EXIT_0).job).status, 'JOB_COMPLETED');
  });

  test('that is given back by a node that shuts down does not count', () => {
    const { kind, job } = judged(jobIn(granted(2)), 2, {
      tag: 'returned',
      reason: 'its node shut down',
    });
    assert.equal(kind, 'again');
    assert.equal(job.losses, 0);
    assert.equal(job.history.at(-1)?.note, 'its node shut down');
  });

  test('that never began is one line, however often its node hands it back', () => {
    let job = jobIn(granted(1));
    job = afterLostAttempt(job, { reason: 'died', hasRun: true }, grantOf(1), AT);
    for (let attempt = 2; attempt <= 20; attempt++)
      job = afterLostAttempt(job, { reason: 'disk full', hasRun: false }, grantOf(attempt), AT);
    assert.deepEqual(
      job.history.map(({ note, fence: { attempt } }) => [note, attempt]),
      [
        ['died', 1],
        ['disk full', 20],
      ],
    );
  });

  test('leaves a history that does not grow without end', () => {
    let job = jobIn({ tag: 'pending' });
    for (let attempt = 1; attempt <= 30; attempt++)
      job = afterLostAttempt(
        job,
        { reason: `loss ${attempt}`, hasRun: true },
        { ...grantOf(attempt), executor: C },
        AT,
      );
    assert.equal(job.history.length, MAX_HISTORY);
    assert.equal(job.history.at(-1)?.note, 'loss 30');
  });
});
