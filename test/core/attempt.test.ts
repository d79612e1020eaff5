import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { LEASE_GRACE_MS, LEASE_MS, RENEW_INTERVAL_MS } from '../../src/core/lease.ts';
import { B, bootOf, C, CoreBench } from './core-bench.ts';
import { assertQuiet, endOf, executing, live, running, SIGTERM } from './executing.ts';
import { PeerOwner, reportEnd, reportRunning } from './peers.ts';

describe('an attempt', () => {
  test('is told as started, and its outcome from the outbox until it is acknowledged', () => {
    const { bench, owner, grant } = running();
    bench.isDiskHeld = true;
    reportEnd(bench, grant);
    bench.isDiskHeld = false;
    bench.commit();
    assert.deepEqual(endOf(bench), { tag: 'exited', code: 0 });
    bench.advance(2500);
    assert.equal(bench.messages(B, 'result').length, 1);
    owner.acknowledge(grant);
    bench.advance(5000);
    assertQuiet(bench, owner);
    assert.equal(bench.core.load().running, 0);
  });

  test('is told again at once when the owner comes back', () => {
    const { bench, grant } = running();
    bench.unlink(B);
    reportEnd(bench, grant);
    bench.messages(B, 'result');
    bench.link(B, {}, bootOf(2));
    bench.message(B, 'result');
  });

  test('is not acknowledged by a node outside of its replica set', () => {
    const { bench, grant } = running();
    bench.link(C);
    reportEnd(bench, grant);
    bench.message(B, 'result');
    new PeerOwner(bench, C).acknowledge(grant);
    bench.advance(2100);
    bench.message(B, 'result');
  });

  test('renews its lease, and lives as long as the owner says yes', () => {
    const { bench, owner } = running();
    live(bench, owner, 20_000);
    assertQuiet(bench, owner);
    assert.equal(bench.core.load().running, 1);
  });

  test('is stopped a little before its lease ends, with what is left of it as grace', () => {
    const { bench, owner, grant } = running({ killGraceMs: 60_000 });
    bench.advance(LEASE_MS - LEASE_GRACE_MS - 200);
    bench.messages(B, 'renew');
    assertQuiet(bench, owner);
    bench.advance(200);
    const stop = bench.one('stop');
    assert.deepEqual(stop.fence, grant.fence);
    assert.ok(stop.graceMs > 0 && stop.graceMs <= LEASE_GRACE_MS, `${stop.graceMs} ms`);
    reportEnd(bench, grant, SIGTERM);
    assert.equal(endOf(bench).tag, 'lost');
  });

  test('of an own job does not end because the own loop, or the machine, stood still', () => {
    const bench = new CoreBench();
    const job = bench.accept();
    const { attempt } = bench.one('start');
    reportRunning(bench, attempt);
    bench.stall(30_000);
    bench.advance(5000);
    bench.assertQuiet();
    reportEnd(bench, attempt);
    assert.equal(bench.status(job), 'JOB_COMPLETED');
  });

  test('lives six seconds from the sending of what was answered, however late the answer came', () => {
    const { bench, grant } = running();
    bench.messages(B, 'renew');
    bench.advance(RENEW_INTERVAL_MS + 100);
    const [first] = bench.messages(B, 'renew');
    assert.ok(first);
    bench.advance(2000);
    const { sentAt, attempts } = first;
    bench.hear(B, { kind: 'renewed', sentAt, granted: attempts, revoked: [], moved: [] });
    bench.advance(sentAt + LEASE_MS - LEASE_GRACE_MS - bench.monoMs - 100);
    assert.deepEqual(bench.take('stop'), []);
    bench.advance(200);
    assert.deepEqual(bench.one('stop').fence, grant.fence);
  });

  test('takes a yes only from its replicas', () => {
    const { bench, grant } = running();
    bench.link(C);
    bench.advance(2000);
    const { sentAt, attempts } = bench.messages(B, 'renew').at(-1) ?? assert.fail('no renewal');
    bench.hear(C, { kind: 'renewed', sentAt, granted: attempts, revoked: [], moved: [] });
    bench.advance(LEASE_MS - LEASE_GRACE_MS - 2000);
    assert.deepEqual(bench.one('stop').fence, grant.fence);
  });

  test('that the owner revoked is stopped, and says no more than that it ended', () => {
    const { bench, grant } = running();
    bench.advance(1600);
    const { sentAt, attempts } = bench.messages(B, 'renew').at(-1) ?? assert.fail('no renewal');
    bench.hear(B, { kind: 'renewed', sentAt, granted: [], revoked: attempts, moved: [] });
    bench.one('stop');
    reportEnd(bench, grant);
    assert.deepEqual(endOf(bench), { tag: 'cancelled' });
  });

  test('is ended at its timeout with the grace of the settings, and is a timeout', () => {
    const { bench, owner, grant } = running({ killGraceMs: 700 }, { timeoutMs: 4000 });
    live(bench, owner, 3900);
    assertQuiet(bench, owner);
    live(bench, owner, 200);
    const stop = bench.one('stop');
    assert.equal(stop.graceMs, 700);
    reportEnd(bench, grant, { tag: 'exited', code: 0 });
    assert.deepEqual(endOf(bench), { tag: 'timeout' });
  });

  test('counts its timeout from the start, not from the grant', () => {
    const { bench, owner } = executing();
    owner.give({ timeoutMs: 1000 });
    const { attempt } = bench.one('start');
    live(bench, owner, 3000);
    assertQuiet(bench, owner);
    reportRunning(bench, attempt);
    bench.message(B, 'started');
    live(bench, owner, 900);
    assertQuiet(bench, owner);
    live(bench, owner, 300);
    bench.one('stop');
  });

  test('in a long grace keeps its lease, and is killed at the end of it when isolated', () => {
    const { bench, owner, grant } = running({ killGraceMs: 60_000 }, { timeoutMs: 2000 });
    live(bench, owner, 2100);
    assert.equal(bench.one('stop').graceMs, 60_000);
    live(bench, owner, 10_000);
    assertQuiet(bench, owner);
    bench.advance(LEASE_MS);
    bench.messages(B, 'renew');
    const kills = bench.take('stop');
    assert.equal(kills.length, 1);
    assert.ok((kills[0]?.graceMs ?? 9999) <= LEASE_GRACE_MS, `${kills[0]?.graceMs} ms`);
    reportEnd(bench, grant, { tag: 'signalled', signal: 'SIGKILL' });
    assert.deepEqual(endOf(bench), { tag: 'timeout' });
  });

  test('ends once: a second report of its end is nothing', () => {
    const { bench, owner, grant } = running();
    reportEnd(bench, grant);
    reportEnd(bench, grant);
    bench.message(B, 'result');
    assertQuiet(bench, owner);
  });
});
