import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { asWall } from '../../src/base/instant.ts';
import { IDLE_LOAD } from '../../src/core/facts.ts';
import { LEASE_MS } from '../../src/core/lease.ts';
import type { Grant } from '../../src/core/messages.ts';
import { B, bootOf, C, CoreBench, SELF, SPEC } from './core-bench.ts';
import { assertQuiet, endOf, executing, running, SIGTERM } from './executing.ts';
import { outcomeOf, PeerOwner, reportEnd } from './peers.ts';

describe('an offer', () => {
  test('is claimed while a slot is free, and a slot is held from then on', () => {
    const { bench, owner } = executing({ facts: { slots: 2 } });
    for (let i = 0; i < 3; i++) owner.offer(owner.newJob());
    assert.equal(bench.messages(B, 'claim').length, 2);
    assert.equal(bench.message(B, 'refuse').reason, 'no free slot');
    assert.equal(bench.core.load().claimed, 2);
  });

  test('heard twice holds one slot', () => {
    const { bench, owner } = executing({ facts: { slots: 2 } });
    const job = owner.newJob();
    owner.offer(job);
    owner.offer(job);
    const [first, second] = bench.messages(B, 'claim');
    assert.equal(first?.nonce, second?.nonce);
    assert.equal(bench.core.load().claimed, 1);
  });

  test('of a job that this node may not run is refused with the reason', () => {
    const { bench, owner } = executing();
    owner.offer(owner.newJob(), { taskType: 'docker' });
    owner.offer(owner.newJob(), { needs: { ...SPEC.needs, labels: { zone: 'a' } } });
    owner.offer(owner.newJob(), { needs: { ...SPEC.needs, target: C } });
    assert.deepEqual(
      bench.messages(B, 'refuse').map(({ reason }) => reason),
      ['task type not served', 'label missing', 'pinned to another node'],
    );
  });

  test('holds its slot for three seconds at most', () => {
    const { bench, owner } = executing({ facts: { slots: 1 } });
    owner.offer(owner.newJob());
    bench.message(B, 'claim');
    bench.advance(2900);
    assert.equal(bench.core.load().claimed, 1);
    bench.advance(200);
    assert.equal(bench.core.load().claimed, 0);
  });

  test('of an owner that died gives its slot back', () => {
    const { bench, owner } = executing({ facts: { slots: 1 } });
    owner.offer(owner.newJob());
    bench.message(B, 'claim');
    bench.kill(B);
    assert.equal(bench.core.load().claimed, 0);
  });
});

describe('a grant', () => {
  test('starts only when its fence is on disk', () => {
    const { bench, owner } = executing();
    bench.isDiskHeld = true;
    const grant = owner.give();
    assertQuiet(bench, owner);
    bench.isDiskHeld = false;
    bench.commit();
    const { job, fence } = grant;
    const lease = { tag: 'leased', leftMs: LEASE_MS } as const;
    assert.deepEqual(bench.one('start').attempt, { job, fence, grant, lease });
  });

  test('heard twice starts once, and is answered each time', () => {
    const { bench, owner, grant } = running();
    owner.grant(grant);
    assert.deepEqual(bench.message(B, 'started').fence, grant.fence);
    reportEnd(bench, grant);
    bench.message(B, 'result');
    owner.grant(grant);
    bench.message(B, 'result');
    owner.acknowledge(grant);
    owner.grant(grant);
    assertQuiet(bench, owner);
  });

  test('for a claim that is not open is rejected, however often', () => {
    const { bench, owner } = executing();
    const grant = owner.grantOf(owner.newJob(), '1.77');
    owner.grant(grant);
    owner.grant(grant);
    assert.equal(bench.messages(B, 'reject').length, 2);
    assertQuiet(bench, owner);
  });

  test('for the claim of another owner or another job is rejected', () => {
    const { bench, owner } = executing();
    bench.link(C);
    const job = owner.newJob();
    owner.offer(job);
    const { nonce } = bench.message(B, 'claim');
    owner.grant(owner.grantOf(owner.newJob(), nonce));
    bench.message(B, 'reject');
    const thief = new PeerOwner(bench, C);
    thief.grant(thief.grantOf(job, nonce));
    bench.message(C, 'reject');
    assertQuiet(bench, owner);
  });

  test('of one claim counts once: a second job on it is rejected', () => {
    const { bench, owner } = executing();
    bench.hear(B, {
      kind: 'pong',
      serial: 1,
      load: { ...IDLE_LOAD, queued: 9 },
      marks: 0,
    });
    const { nonce } = bench.messages(B, 'claim')[0] ?? assert.fail('no claim');
    owner.grant(owner.grantOf(owner.newJob(), nonce));
    bench.one('start');
    owner.grant(owner.grantOf(owner.newJob(), nonce));
    bench.message(B, 'reject');
    assert.deepEqual(bench.take('start'), []);
  });

  test('that comes after its lease is rejected', () => {
    const { bench, owner } = executing();
    const job = owner.newJob();
    owner.offer(job);
    const { nonce } = bench.message(B, 'claim');
    bench.stall(1000);
    owner.grant(owner.grantOf(job, nonce, { leaseMs: 900 }));
    assert.equal(bench.message(B, 'reject').reason, 'the grant came after its lease');
    assertQuiet(bench, owner);
  });

  test('whose fence got to the disk after the lease does not start and is given back', () => {
    const { bench, owner } = executing();
    bench.isDiskHeld = true;
    owner.give();
    bench.stall(LEASE_MS + 100);
    bench.isDiskHeld = false;
    bench.commit();
    assert.deepEqual(bench.take('start'), []);
    assert.equal(endOf(bench).tag, 'returned');
  });

  test('whose lease is nearly over does not start: it would be ended at once', () => {
    const { bench, owner } = executing();
    const job = owner.newJob();
    owner.offer(job);
    const { nonce } = bench.message(B, 'claim');
    owner.grant(owner.grantOf(job, nonce, { leaseMs: 900 }));
    assert.deepEqual(bench.take('start'), []);
    assert.equal(endOf(bench).tag, 'returned');
  });

  test('to a node that drains is rejected', () => {
    const { bench, owner } = executing();
    owner.offer(owner.newJob());
    const claim = bench.message(B, 'claim');
    bench.put({ kind: 'drain', deadlineMs: 60_000, way: 'stop' });
    bench.take('drained');
    bench.messages(B, 'goodbye');
    owner.grant(owner.grantOf(claim.job ?? owner.newJob(), claim.nonce));
    assert.equal(bench.message(B, 'reject').reason, 'the node is shutting down');
  });
});

describe('a cancel', () => {
  test('stops what runs, once', () => {
    const { bench, owner, grant } = running({ killGraceMs: 900 });
    owner.cancel(grant);
    owner.cancel(grant);
    assert.equal(bench.one('stop').graceMs, 900);
    reportEnd(bench, grant, SIGTERM);
    assert.deepEqual(endOf(bench), { tag: 'cancelled' });
  });

  test('before the fence is on disk lets nothing start', () => {
    const { bench, owner } = executing();
    bench.isDiskHeld = true;
    const grant = owner.give();
    owner.cancel(grant);
    bench.isDiskHeld = false;
    bench.commit();
    assert.deepEqual(bench.take('start'), []);
    assert.deepEqual(endOf(bench), { tag: 'cancelled' });
  });

  test('before its grant rejects the fence, and the grant that comes late starts nothing', () => {
    const { bench, owner } = executing();
    const job = owner.newJob();
    owner.offer(job);
    const grant = owner.grantOf(job, bench.message(B, 'claim').nonce);
    owner.cancel(grant);
    owner.cancel(grant);
    assert.equal(bench.messages(B, 'reject').length, 2);
    owner.grant(grant);
    bench.message(B, 'reject');
    assertQuiet(bench, owner);
  });

  test('before the grant of a claim for any job lets that grant start nothing either', () => {
    const { bench, owner } = executing();
    bench.hear(B, {
      kind: 'pong',
      serial: 1,
      load: { ...IDLE_LOAD, queued: 1 },
      marks: 0,
    });
    const grant = owner.grantOf(owner.newJob(), bench.message(B, 'claim').nonce);
    owner.cancel(grant);
    bench.message(B, 'reject');
    owner.grant(grant);
    bench.message(B, 'reject');
    assertQuiet(bench, owner);
  });

  test('of an attempt that has ended is answered with its outcome', () => {
    const { bench, owner, grant } = running();
    reportEnd(bench, grant);
    bench.message(B, 'result');
    owner.cancel(grant);
    assert.deepEqual(endOf(bench), { tag: 'exited', code: 0 });
    assertQuiet(bench, owner);
  });
});

describe('a node that is started again', () => {
  const startedRow = (grant: Grant, isOver = false) => ({
    job: grant.job,
    fence: grant.fence,
    grant,
    at: asWall(5),
    isOver,
  });

  test('settles what it had started and not ended as lost, to its owner', () => {
    const { owner } = executing();
    const grant = owner.grantOf(owner.newJob(), '1.1');
    const bench = new CoreBench({ boot: bootOf(2), stored: { started: [startedRow(grant)] } });
    bench.messages(B, 'result');
    bench.link(B);
    const { outcome } = bench.message(B, 'result');
    assert.equal(outcome.end.tag, 'lost');
    assert.deepEqual(outcome.fence, grant.fence);
    assert.equal(outcome.startedAt, 5);
  });

  test('starts no fence that an earlier life had started', () => {
    const { owner } = executing();
    const lost = owner.grantOf(owner.newJob(), '2.1');
    const over = owner.grantOf(owner.newJob(), '2.2');
    const bench = new CoreBench({
      boot: bootOf(2),
      stored: { started: [startedRow(lost), startedRow(over, true)] },
    });
    bench.link(B);
    const again = new PeerOwner(bench, B);
    for (const grant of [lost, over]) {
      again.offer(grant.job);
      again.grant(grant);
    }
    assert.deepEqual(bench.take('start'), []);
  });

  test('tells an outcome that the earlier life had written', () => {
    const { owner } = executing();
    const grant = owner.grantOf(owner.newJob(), '1.1');
    const outcome = outcomeOf(grant.fence, SELF, { tag: 'exited', code: 3 });
    const bench = new CoreBench({
      boot: bootOf(2),
      stored: {
        started: [startedRow(grant)],
        outbox: [{ job: grant.job, rs: [B], outcome }],
      },
    });
    bench.link(B);
    const told = bench.messages(B, 'result');
    assert.deepEqual(told.at(-1)?.outcome, outcome);
    assert.ok(told.every((message) => message.outcome.end.tag === 'exited'));
  });

  test('tells many outcomes with much output bit by bit, so that the link is not flooded', () => {
    const { owner } = executing();
    const tail = { bytes: new Uint8Array(32 * 1024), totalBytes: 32 * 1024, isTruncated: false };
    const outbox = Array.from({ length: 400 }, () => {
      const { job, fence } = owner.grantOf(owner.newJob(), '1.1');
      const outcome = { ...outcomeOf(fence, SELF), stdout: tail, stderr: tail };
      return { job, rs: [B], outcome };
    });
    const bench = new CoreBench({ boot: bootOf(2), stored: { outbox } });
    bench.messages(B, 'result');
    bench.link(B);
    const told = new Set<string>();
    for (let tick = 0; tick < 40; tick++) {
      const results = bench.messages(B, 'result');
      assert.ok(results.length * 64 <= 4 * 1024, `${results.length} outcomes at once`);
      for (const { job } of results) told.add(job);
      bench.advance(100);
    }
    assert.equal(told.size, 400);
  });

  test('finds its own attempt of its own job lost, and runs it again', () => {
    const before = new CoreBench({ facts: { slots: 1 } });
    const job = before.accept();
    before.one('start');
    const bench = new CoreBench({
      boot: bootOf(2),
      facts: { slots: 1 },
      disk: before.disk,
    });
    bench.advance(1100);
    const again = bench.one('start').attempt;
    assert.equal(again.job, job);
    assert.deepEqual(again.fence, { epoch: { counter: 2, node: SELF }, attempt: 2 });
    assert.equal(bench.record(job).job.losses, 1);
  });
});
