import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { JobId } from '../../src/base/ids.ts';
import { IDLE_LOAD } from '../../src/core/facts.ts';
import { LEASE_MS, REVOKE_AFTER_MS, REVOKE_WAIT_MS } from '../../src/core/lease.ts';
import type { Grant } from '../../src/core/messages.ts';
import { ALONE, B, type BenchOptions, bootOf, C, CoreBench, SELF } from './core-bench.ts';
import { EXIT_0, outcomeOf, PeerExecutor } from './peers.ts';

const LOST = { tag: 'lost', reason: 'its node was ended and started again' } as const;

interface Given {
  readonly bench: CoreBench;
  readonly executor: PeerExecutor;
  readonly job: JobId;
  readonly grant: Grant;
}

/** An owner without slots of its own, whose one job, kept by it alone, was granted to B. */
function given(): Given {
  const bench = new CoreBench({ facts: { slots: 0 } });
  bench.link(B);
  const job = bench.accept(ALONE);
  const executor = new PeerExecutor(bench, B);
  return { bench, executor, job, grant: executor.takeOffered(job) };
}

/** The owner is started again on the disk of an earlier life. */
const restart = (bench: CoreBench, options: BenchOptions = {}): CoreBench =>
  bench.restarted({ facts: { slots: 0 }, ...options });

describe('a grant', () => {
  test('leaves only when the assignment is on disk', () => {
    const bench = new CoreBench({ facts: { slots: 0 } });
    bench.link(B);
    const job = bench.accept(ALONE);
    bench.message(B, 'offer');
    bench.isDiskHeld = true;
    new PeerExecutor(bench, B).claim(job);
    bench.assertQuiet();
    bench.isDiskHeld = false;
    bench.commit();
    bench.message(B, 'grant');
    assert.equal(bench.status(job), 'JOB_ASSIGNED');
  });

  test('names epoch, attempt, nonce, replicas and lease', () => {
    const { grant } = given();
    assert.deepEqual(grant.fence, { epoch: { counter: 1, node: SELF }, attempt: 1 });
    assert.equal(grant.nonce, '1.1');
    assert.deepEqual(grant.rs, [SELF]);
    assert.equal(grant.leaseMs, 6000);
  });

  test('is repeated each second until it is answered', () => {
    const { bench, executor, grant } = given();
    bench.advance(900);
    assert.equal(bench.messages(B, 'grant').length, 0);
    bench.advance(2200);
    const repeated = bench.messages(B, 'grant');
    assert.equal(repeated.length, 3);
    assert.deepEqual(repeated[0]?.grant, grant);
    executor.started(grant);
    bench.advance(3000);
    bench.assertQuiet();
  });

  test('that is rejected is no loss: the job is offered elsewhere, and there first', () => {
    const { bench, executor, grant, job } = given();
    bench.link(C);
    executor.reject(grant);
    assert.equal(bench.message(C, 'offer').job, job);
    const { losses, history } = bench.record(job).job;
    assert.equal(losses, 0);
    assert.equal(history.at(-1)?.note, 'the claim is not open');
  });

  test('counts only the word of its executor about its own fence', () => {
    const { bench, executor, grant, job } = given();
    bench.link(C);
    new PeerExecutor(bench, C).started(grant);
    new PeerExecutor(bench, C).reject(grant);
    executor.reject({ ...grant, fence: { ...grant.fence, attempt: 2 } });
    assert.equal(bench.status(job), 'JOB_ASSIGNED');
    bench.assertQuiet();
  });
});

describe('an outcome', () => {
  test('is acknowledged only when it is decided', () => {
    const { bench, executor, grant, job } = given();
    bench.isDiskHeld = true;
    executor.result(grant);
    executor.result(grant);
    bench.assertQuiet();
    bench.isDiskHeld = false;
    bench.commit();
    assert.equal(bench.status(job), 'JOB_COMPLETED');
    assert.equal(bench.messages(B, 'acknowledge').length, 2);
    bench.assertQuiet();
  });

  test('told again after the job left the memory is acknowledged again', () => {
    const { bench, executor, grant, job } = given();
    executor.result(grant);
    bench.message(B, 'acknowledge');
    const { accepted } = bench.record(job).header;
    executor.result(grant);
    assert.deepEqual(bench.message(B, 'acknowledge').fence, grant.fence);
    assert.deepEqual(bench.record(job).header.accepted, accepted);
    assert.equal(bench.core.owned().unfinished, 0);
  });

  test('of a job that is not here is answered so, and makes no record', () => {
    const { bench, executor, grant } = given();
    executor.result({ ...grant, job: 'unknown' as JobId });
    assert.equal(bench.message(B, 'gone').job, 'unknown');
    assert.deepEqual(bench.messages(B, 'acknowledge'), []);
    assert.equal(bench.records.size, 1);
  });

  test('frees the slot of its executor for the next job, before its next ping', () => {
    const bench = new CoreBench({ facts: { slots: 0 } });
    bench.link(B, { slots: 1 });
    const executor = new PeerExecutor(bench, B);
    const grant = executor.takeOffered(bench.accept());
    const next = bench.accept();
    assert.deepEqual(bench.messages(B, 'offer'), []);
    executor.result(grant);
    assert.deepEqual(
      bench.messages(B, 'offer').map((offer) => offer.job),
      [next],
    );
  });

  test('told by another node than its executor counts for nothing', () => {
    const { bench, grant, job } = given();
    bench.link(C);
    bench.hear(C, { kind: 'result', job, outcome: outcomeOf(grant.fence, B) });
    assert.equal(bench.status(job), 'JOB_ASSIGNED');
    assert.deepEqual(bench.messages(C, 'acknowledge'), []);
  });

  test('that comes after the final one changes nothing, is told to people once, and acknowledged', () => {
    const { bench, executor, grant, job } = given();
    executor.reject(grant);
    bench.advance(1100);
    const second = executor.takeOffered(job);
    executor.result(second);
    bench.message(B, 'acknowledge');
    const decided = bench.record(job);
    for (let i = 0; i < 3; i++) {
      executor.result(grant, { tag: 'exited', code: 1 });
      assert.deepEqual(bench.message(B, 'acknowledge').fence, grant.fence);
    }
    assert.deepEqual(bench.record(job), decided);
    const [conflict, ...others] = bench.disk.tables.conflicts.values();
    assert.match(conflict?.note ?? '', /attempt 1 on .*exit code 1.*JOB_COMPLETED/);
    assert.deepEqual(others, []);
  });

  test('of each of two late attempts is told, though both come at once', () => {
    const { bench, executor, grant, job } = given();
    executor.result(grant);
    bench.take('send');
    const decided = bench.record(job);
    bench.isDiskHeld = true;
    const fences = [2, 3].map((attempt) => ({ ...grant.fence, attempt }));
    for (const fence of fences) executor.result({ ...grant, fence }, { tag: 'exited', code: 9 });
    assert.deepEqual(bench.messages(B, 'acknowledge'), []);
    bench.isDiskHeld = false;
    bench.commit();
    assert.equal(bench.messages(B, 'acknowledge').length, 2);
    assert.equal(bench.disk.tables.conflicts.size, 2);
    assert.deepEqual(bench.record(job), decided);
  });

  test('exit 0 of an older attempt wins before the final state, and the newer one is ended', () => {
    const { bench, executor, grant, job } = given();
    bench.kill(B);
    bench.advance(REVOKE_WAIT_MS);
    bench.link(C);
    const second = new PeerExecutor(bench, C).takeOffered(job);
    new PeerExecutor(bench, C).started(second);
    bench.link(B, {}, bootOf(2));
    executor.result(grant, EXIT_0);
    assert.equal(bench.status(job), 'JOB_COMPLETED');
    assert.deepEqual(bench.message(C, 'cancel').fence, second.fence);
    assert.deepEqual(bench.message(B, 'acknowledge').fence, grant.fence);
    new PeerExecutor(bench, C).renew(second);
    assert.equal(bench.message(C, 'renewed').revoked.length, 1);
  });

  test('that its executor lost in a restart gives another attempt, without a wait for the lease', () => {
    const { bench, executor, grant, job } = given();
    executor.started(grant);
    executor.result(grant, LOST);
    bench.message(B, 'acknowledge');
    // Others would be asked first, but there are none.
    bench.advance(1100);
    const second = executor.takeOffered(job);
    assert.equal(second.fence.attempt, 2);
    assert.equal(bench.record(job).job.losses, 1);
  });
});

describe('an executor that died', () => {
  test('is not followed by another attempt before its lease is over everywhere', () => {
    const { bench, executor, grant, job } = given();
    executor.started(grant);
    bench.link(C);
    bench.advance(4000);
    executor.renew(grant);
    assert.equal(bench.message(B, 'renewed').granted.length, 1);
    const yesAt = bench.monoMs;
    bench.kill(B);
    bench.advance(yesAt + REVOKE_WAIT_MS - bench.monoMs - 100);
    bench.take('dial');
    bench.assertQuiet();
    bench.advance(100);
    const second = new PeerExecutor(bench, C).takeOffered(job);
    assert.deepEqual(second.fence, { ...grant.fence, attempt: 2 });
    const { losses, history } = bench.record(job).job;
    assert.equal(losses, 1);
    assert.match(history.at(-1)?.note ?? '', /its executor died: .*refused two dials/);
  });

  test('keeps its grant while it may be back in time, and is then asked how it stands', () => {
    const { bench, executor, grant, job } = given();
    executor.started(grant);
    bench.link(C);
    const yesAt = bench.monoMs;
    bench.kill(B);
    bench.advance(yesAt + REVOKE_AFTER_MS - bench.monoMs - 100);
    assert.equal(bench.record(job).job.state.tag, 'granted');
    bench.link(B, {}, bootOf(2));
    assert.deepEqual(bench.message(B, 'adopt').fence, grant.fence);
    executor.renew(grant);
    assert.equal(bench.message(B, 'renewed').granted.length, 1);
    bench.advance(LEASE_MS);
    assert.equal(bench.record(job).job.state.tag, 'granted');
  });

  test('gets no yes for a revoked attempt, and its own word ends the waiting', () => {
    const { bench, executor, grant, job } = given();
    executor.started(grant);
    bench.link(C);
    const yesAt = bench.monoMs;
    bench.kill(B);
    bench.advance(yesAt + REVOKE_AFTER_MS - bench.monoMs);
    assert.equal(bench.record(job).job.state.tag, 'revoked');
    bench.link(B);
    bench.talking.set(B, { ...IDLE_LOAD, running: 2, slots: 2 });
    bench.talk();
    executor.renew(grant);
    bench.take('dial');
    bench.assertQuiet();
    executor.result(grant, { tag: 'cancelled' });
    bench.message(B, 'acknowledge');
    assert.equal(bench.message(C, 'offer').job, job);
    assert.equal(bench.record(job).job.losses, 1);
  });

  test('again and again makes the job JOB_LOST, with the reason', () => {
    const bench = new CoreBench({ facts: { slots: 0 } });
    const job = bench.accept(ALONE);
    for (let boot = 1; boot <= 4; boot++) {
      bench.link(B, {}, bootOf(boot));
      const executor = new PeerExecutor(bench, B);
      executor.started(executor.takeOffered(job));
      bench.kill(B);
      bench.advance(REVOKE_WAIT_MS);
    }
    const { state } = bench.record(job).job;
    assert.equal(state.tag === 'final' && state.final.status, 'JOB_LOST');
    assert.match(
      state.tag === 'final' ? state.final.reason : '',
      /^given up after 4 lost attempts; the last: its executor died: /,
    );
    bench.link(B, {}, bootOf(5));
    bench.take('dial');
    bench.assertQuiet();
  });

  test('while it is only suspect keeps what it runs', () => {
    const { bench, executor, grant, job } = given();
    executor.started(grant);
    bench.link(C);
    bench.unlink(B);
    bench.advance(2000);
    const { state } = bench.record(job).job;
    assert.equal(state.tag, 'granted');
    assert.deepEqual(bench.take('send'), []);
  });
});

describe('an owner that is started again', () => {
  test('raises the epoch before it does anything with a job', () => {
    const { bench } = given();
    const job = bench.accept(ALONE);
    const after = restart(bench);
    const { header } = after.record(job);
    assert.deepEqual(header.accepted, { epoch: { counter: 2, node: SELF }, version: 1 });
    assert.deepEqual(header.promised, header.accepted.epoch);
    assert.deepEqual(header.writerBoot, bootOf(2));
    assert.equal(after.status(job), 'JOB_PENDING');
  });

  test('offers nothing before that is on disk', () => {
    const bench = new CoreBench({ facts: { slots: 0 } });
    bench.accept();
    const after = restart(bench, { facts: { slots: 1 }, isDiskHeld: true });
    after.assertQuiet();
    after.isDiskHeld = false;
    after.commit();
    after.advance(REVOKE_WAIT_MS);
    after.one('start');
  });

  test('asks the executors again, whose attempts go on under the old fence', () => {
    const { bench, executor, grant, job } = given();
    executor.started(grant);
    const after = restart(bench);
    after.link(B);
    assert.deepEqual(after.messages(B, 'adopt').at(-1)?.fence, grant.fence);
    const same = new PeerExecutor(after, B);
    same.started(grant);
    assert.equal(after.status(job), 'JOB_RUNNING');
    same.renew(grant);
    assert.equal(after.message(B, 'renewed').granted.length, 1);
    same.result(grant);
    assert.equal(after.status(job), 'JOB_COMPLETED');
  });

  test('gives up an executor that does not come, after its lease', () => {
    const { bench, job } = given();
    const after = restart(bench);
    after.link(C);
    after.advance(7000);
    after.messages(B, 'adopt');
    after.assertQuiet();
    after.advance(200);
    const next = new PeerExecutor(after, C).takeOffered(job);
    assert.deepEqual(next.fence, { epoch: { counter: 2, node: SELF }, attempt: 2 });
    assert.match(after.record(job).job.history.at(-1)?.note ?? '', /not seen again/);
  });

  test('waits anew for the lease of an attempt it had revoked', () => {
    const { bench, job } = given();
    bench.kill(B);
    bench.advance(REVOKE_AFTER_MS);
    assert.equal(bench.record(job).job.state.tag, 'revoked');
    const after = restart(bench);
    after.link(C);
    after.advance(REVOKE_WAIT_MS - 100);
    after.assertQuiet();
    after.advance(200);
    new PeerExecutor(after, C).takeOffered(job);
  });

  test('knows an outcome that comes before it has decided its own epoch', () => {
    const { bench, grant, job } = given();
    const after = restart(bench, { isDiskHeld: true });
    after.link(B);
    after.hear(B, { kind: 'result', job, outcome: outcomeOf(grant.fence, B) });
    after.isDiskHeld = false;
    after.commit();
    assert.equal(after.status(job), 'JOB_COMPLETED');
    assert.deepEqual(after.message(B, 'acknowledge').fence, grant.fence);
    assert.equal(after.core.owned().given, 0);
  });
});
