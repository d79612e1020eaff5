import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { JobId } from '../../src/base/ids.ts';
import { REVOKE_WAIT_MS } from '../../src/core/lease.ts';
import type { Grant } from '../../src/core/messages.ts';
import { B, bootOf, C, CoreBench, SELF } from './core-bench.ts';
import { EXIT_0, outcomeOf, PeerExecutor } from './peers.ts';

const LOST = { tag: 'lost', reason: 'its node was ended and started again' } as const;

interface Given {
  readonly bench: CoreBench;
  readonly executor: PeerExecutor;
  readonly job: JobId;
  readonly grant: Grant;
}

/** An owner without slots of its own, whose one job was granted to B. */
function given(): Given {
  const bench = new CoreBench({ facts: { slots: 0 } });
  bench.link(B);
  const job = bench.accept();
  const executor = new PeerExecutor(bench, B);
  return { bench, executor, job, grant: executor.takeOffered(job) };
}

/** The owner is started again on the disk of an earlier life. */
const restart = (bench: CoreBench): CoreBench =>
  new CoreBench({
    boot: bootOf(2),
    facts: { slots: 0 },
    records: bench.records,
    monoMs: 77_000,
    stored: { records: [...bench.records.values()].filter(({ job }) => job.state.tag !== 'final') },
  });

describe('a grant', () => {
  test('leaves only when the assignment is on disk', () => {
    const bench = new CoreBench({ facts: { slots: 0 } });
    bench.link(B);
    const job = bench.accept();
    bench.message(B, 'offer');
    bench.isDiskHeld = true;
    const written = bench.core.enliven(bench.record(job)).status;
    new PeerExecutor(bench, B).claim(job);
    // The driver sends after the commit; what was proposed must be in the same turn.
    assert.equal(written, 'JOB_PENDING');
    assert.equal(bench.messages(B, 'grant').length, 1);
    bench.isDiskHeld = false;
    bench.commit();
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

  test('of a job that nobody knows is acknowledged, so that its executor can forget it', () => {
    const { bench, executor, grant } = given();
    executor.result({ ...grant, job: 'unknown' as JobId });
    assert.equal(bench.message(B, 'acknowledge').job, 'unknown');
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

  test('of a superseded attempt is kept beside the final one, once, and acknowledged', () => {
    const { bench, executor, grant, job } = given();
    executor.reject(grant);
    bench.advance(1100);
    const second = executor.takeOffered(job);
    executor.result(second);
    bench.message(B, 'acknowledge');
    for (let i = 0; i < 3; i++) {
      executor.result(grant, { tag: 'exited', code: 1 });
      assert.deepEqual(bench.message(B, 'acknowledge').fence, grant.fence);
    }
    const { job: kept } = bench.record(job);
    assert.equal(kept.state.tag === 'final' && kept.state.final.status, 'JOB_COMPLETED');
    assert.deepEqual(
      kept.history.map(({ note, isSuperseded }) => [note, isSuperseded]),
      [
        ['the claim is not open', false],
        ['exit code 1', true],
      ],
    );
  });

  test('of two superseded attempts that come at once keeps both', () => {
    const { bench, executor, grant, job } = given();
    executor.result(grant);
    bench.take('send');
    bench.isDiskHeld = true;
    const fences = [2, 3].map((attempt) => ({ ...grant.fence, attempt }));
    for (const fence of fences) executor.result({ ...grant, fence }, { tag: 'exited', code: 9 });
    // What is still to be written must not be read past.
    assert.deepEqual(bench.reads, [job]);
    bench.isDiskHeld = false;
    bench.commit();
    assert.equal(bench.messages(B, 'acknowledge').length, 2);
    assert.equal(bench.record(job).job.history.length, 2);
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

  test('that its executor lost in a restart gives another attempt at once', () => {
    const { bench, executor, grant, job } = given();
    executor.started(grant);
    executor.result(grant, LOST);
    bench.message(B, 'acknowledge');
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
    assert.equal(bench.status(job), 'JOB_ASSIGNED');
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

  test('is told no when it asks for a revoked attempt, and its own word ends the waiting', () => {
    const { bench, executor, grant, job } = given();
    executor.started(grant);
    bench.link(C);
    bench.kill(B);
    bench.link(B);
    bench.talking.set(B, {
      running: 2,
      claimed: 0,
      slots: 2,
      queued: 0,
      draining: false,
      accepting: true,
    });
    bench.talk();
    executor.renew(grant);
    assert.deepEqual(bench.message(B, 'renewed').revoked, [{ job, fence: grant.fence }]);
    bench.assertQuiet();
    executor.result(grant, { tag: 'cancelled' });
    bench.message(B, 'acknowledge');
    assert.equal(bench.message(C, 'offer').job, job);
    assert.equal(bench.record(job).job.losses, 1);
  });

  test('again and again makes the job JOB_LOST, with the reason', () => {
    const bench = new CoreBench({ facts: { slots: 0 } });
    const job = bench.accept();
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
    const job = bench.accept();
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
    const after = new CoreBench({ boot: bootOf(2), facts: { slots: 1 } });
    after.isDiskHeld = true;
    after.put({
      kind: 'restored',
      state: { records: [...bench.records.values()], started: [], outbox: [] },
      survivors: [],
    });
    after.assertQuiet();
    after.isDiskHeld = false;
    after.commit();
    after.one('start');
  });

  test('asks the executors again, whose attempts go on under the old fence', () => {
    const { bench, executor, grant, job } = given();
    executor.started(grant);
    const after = restart(bench);
    after.link(B);
    assert.deepEqual(after.message(B, 'grant').grant.fence, grant.fence);
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
    after.assertQuiet();
    after.advance(500);
    const next = new PeerExecutor(after, C).takeOffered(job);
    assert.deepEqual(next.fence, { epoch: { counter: 2, node: SELF }, attempt: 2 });
    assert.match(after.record(job).job.history.at(-1)?.note ?? '', /not seen again/);
  });

  test('waits anew for the lease of an attempt it had revoked', () => {
    const { bench, job } = given();
    bench.kill(B);
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
    const after = new CoreBench({ boot: bootOf(2), facts: { slots: 0 }, records: bench.records });
    after.isDiskHeld = true;
    after.put({
      kind: 'restored',
      state: { records: [...bench.records.values()], started: [], outbox: [] },
      survivors: [],
    });
    after.link(B);
    after.hear(B, { kind: 'result', job, outcome: outcomeOf(grant.fence, B) });
    after.isDiskHeld = false;
    after.commit();
    assert.equal(after.status(job), 'JOB_COMPLETED');
    assert.deepEqual(after.message(B, 'acknowledge').fence, grant.fence);
    assert.equal(after.core.owned().given, 0);
  });
});
