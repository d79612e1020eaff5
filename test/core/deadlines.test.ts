import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { asWall } from '../../src/base/instant.ts';
import { NO_OUTPUT as NOTHING } from '../../src/core/job.ts';
import { B, CoreBench, SPEC } from './core-bench.ts';
import { PeerExecutor, reportEnd, reportRunning } from './peers.ts';

const QUEUE = { ...SPEC, queueTimeoutMs: 5000 };
const TOTAL = { ...SPEC, timeoutMs: 60_000, totalTimeoutMs: 10_000 };

const busy = (): CoreBench => new CoreBench({ facts: { slots: 0 } });
const finalOf = (bench: CoreBench, job: Parameters<CoreBench['record']>[0]) => {
  const { state } = bench.record(job).job;
  return state.tag === 'final' ? state.final : undefined;
};

describe('a job that may wait only so long', () => {
  test('times out when no node took it', () => {
    const bench = busy();
    const job = bench.accept(QUEUE);
    bench.advance(4900);
    assert.equal(finalOf(bench, job), undefined);
    bench.advance(2100);
    const final = finalOf(bench, job);
    assert.equal(final?.status, 'JOB_TIMEOUT');
    assert.equal(final?.reason, 'no node took it within 5 s');
    assert.equal(final?.outcome, undefined);
  });

  test('is not touched once it was given to a node, although that takes longer', () => {
    const bench = new CoreBench({ facts: { slots: 1 } });
    const job = bench.accept(QUEUE);
    const { attempt } = bench.one('start');
    reportRunning(bench, attempt);
    bench.advance(20_000);
    assert.equal(finalOf(bench, job), undefined);
    reportEnd(bench, attempt);
    assert.equal(finalOf(bench, job)?.status, 'JOB_COMPLETED');
  });

  test('is watched by its next life too', () => {
    const bench = busy();
    const job = bench.accept(QUEUE);
    bench.advance(2000);
    const next = bench.restarted({ facts: { slots: 0 } });
    // Only when nothing that an earlier life gave away can still run.
    next.advance(9000);
    assert.equal(finalOf(next, job)?.status, 'JOB_TIMEOUT');
  });

  test('is cancelled as ever before that', () => {
    const bench = busy();
    const job = bench.accept(QUEUE);
    bench.put({ kind: 'cancel', request: 'c' as never, job });
    assert.equal(bench.reply('c').kind, 'cancelled');
    bench.advance(10_000);
    assert.equal(finalOf(bench, job)?.status, 'JOB_CANCELLED');
  });
});

describe('a job that may last only so long in all', () => {
  test('tells its executor what is left, which ends it then', () => {
    const bench = new CoreBench({ facts: { slots: 1 } });
    const job = bench.accept(TOTAL);
    const { attempt } = bench.one('start');
    assert.ok((attempt.grant.leftMs ?? 0) > 9000 && (attempt.grant.leftMs ?? 0) <= 10_000);
    reportRunning(bench, attempt);
    bench.advance(9800);
    assert.deepEqual(bench.take('stop'), []);
    bench.advance(400);
    bench.one('stop');
    bench.put({
      kind: 'report',
      report: {
        kind: 'ended',
        ...attempt,
        end: { tag: 'signalled', signal: 'SIGTERM' },
        startedAt: asWall(0),
        finishedAt: asWall(10_000),
        stdout: NOTHING,
        stderr: NOTHING,
      },
    });
    assert.equal(finalOf(bench, job)?.status, 'JOB_TIMEOUT');
    assert.equal(finalOf(bench, job)?.reason, 'not ended within 10 s of its creation');
  });

  test('ends while it waits, also for its second attempt', () => {
    const bench = busy();
    bench.link(B, { slots: 1 });
    const executor = new PeerExecutor(bench, B);
    const job = bench.accept(TOTAL);
    const grant = executor.takeOffered(job);
    bench.advance(3000);
    bench.hear(B, { kind: 'reject', job, fence: grant.fence, reason: 'no' });
    bench.talking.delete(B);
    bench.unlink(B);
    bench.advance(9000);
    assert.equal(finalOf(bench, job)?.status, 'JOB_TIMEOUT');
  });
});

describe('progress', () => {
  test('goes to the owner, and is shown until the end', () => {
    const bench = busy();
    bench.link(B, { slots: 1 });
    const executor = new PeerExecutor(bench, B);
    const job = bench.accept();
    const { fence } = executor.takeOffered(job);
    const progress = { percent: 40, message: 'half' };
    bench.hear(B, { kind: 'started', job, fence, startedAt: 1 });
    bench.hear(B, { kind: 'progress', job, fence, progress });
    assert.deepEqual(bench.core.enliven(bench.record(job)).progress, progress);
    const told = bench.events.filter((event) => event.kind === 'attemptProgressed');
    assert.deepEqual(told, [{ kind: 'attemptProgressed', job, fence, progress }]);
    const late = { ...fence, attempt: fence.attempt + 1 };
    bench.hear(B, { kind: 'progress', job, fence: late, progress: { percent: 1, message: '' } });
    assert.deepEqual(bench.core.enliven(bench.record(job)).progress, progress);
  });
});

describe('what a node says of itself', () => {
  test('can change, and what waited for it is offered at once', () => {
    const bench = busy();
    bench.link(B, { slots: 1 });
    const job = bench.accept({ ...SPEC, taskType: 'render' });
    bench.assertQuiet();
    const { facts } = bench.core.peers()[0] ?? assert.fail('no peer');
    bench.hear(B, { kind: 'facts', facts: { ...facts, taskTypes: ['render', 'shell'] } });
    assert.equal(bench.message(B, 'offer').job, job);
    bench.put({ kind: 'factsChanged' });
    assert.equal(bench.message(B, 'facts').facts.node, bench.node);
  });

  test('is not taken from another node', () => {
    const bench = busy();
    bench.link(B, { slots: 1 });
    const { facts } = bench.core.peers()[0] ?? assert.fail('no peer');
    bench.hear(B, { kind: 'facts', facts: { ...facts, node: bench.node, slots: 99 } });
    assert.equal(bench.core.peers()[0]?.facts.slots, 1);
  });
});
