import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { ALONE, B, C, CoreBench } from './core-bench.ts';
import { PeerExecutor, PeerOwner, reportEnd, reportRunning } from './peers.ts';

const drain = (bench: CoreBench, deadlineMs = 10_000): void =>
  bench.put({ kind: 'drain', deadlineMs, way: 'stop' });

describe('a drain', () => {
  test('of an idle node says goodbye and is over at once, once', () => {
    const bench = new CoreBench();
    bench.link(B);
    drain(bench);
    bench.message(B, 'goodbye');
    bench.one('drained');
    drain(bench, 0);
    bench.advance(20_000);
    bench.assertQuiet();
  });

  test('is told to the peers at once', () => {
    const bench = new CoreBench();
    bench.link(B);
    bench.signs.length = 0;
    drain(bench);
    const ping = bench.signs.find(({ message }) => message.kind === 'ping')?.message;
    assert.equal(ping?.kind === 'ping' && ping.load.draining, true);
  });

  test('starts nothing more of the own queue and refuses offers', () => {
    const bench = new CoreBench({ facts: { slots: 1 } });
    bench.link(B, { slots: 0 });
    bench.accept(ALONE);
    bench.accept(ALONE);
    drain(bench);
    const { attempt } = bench.one('start');
    const owner = new PeerOwner(bench, B);
    owner.offer(owner.newJob());
    assert.equal(bench.message(B, 'refuse').reason, 'draining');
    reportEnd(bench, attempt);
    bench.advance(100);
    bench.message(B, 'goodbye');
    bench.one('drained');
    assert.deepEqual(bench.core.owned(), { unfinished: 1, given: 0, untold: 0 });
    bench.assertQuiet();
  });

  test('waits for what runs here, and for its outcome to be acknowledged', () => {
    const bench = new CoreBench({ facts: { slots: 1 } });
    bench.link(B);
    const owner = new PeerOwner(bench, B);
    const grant = owner.give();
    bench.one('start');
    reportRunning(bench, grant);
    bench.message(B, 'started');
    drain(bench);
    bench.advance(3000);
    owner.renewAll();
    bench.assertQuiet();
    reportEnd(bench, grant);
    bench.message(B, 'result');
    bench.advance(500);
    bench.assertQuiet();
    owner.acknowledge(grant);
    bench.advance(100);
    bench.message(B, 'goodbye');
    bench.one('drained');
    bench.assertQuiet();
  });

  test('waits for the own jobs that run elsewhere', () => {
    const bench = new CoreBench({ facts: { slots: 0 } });
    bench.link(B);
    const executor = new PeerExecutor(bench, B);
    const grant = executor.takeOffered(bench.accept());
    executor.started(grant);
    drain(bench);
    bench.advance(3000);
    bench.assertQuiet();
    executor.result(grant);
    bench.message(B, 'acknowledge');
    bench.advance(100);
    bench.message(B, 'goodbye');
    bench.one('drained');
  });

  test('gives back what still runs after its deadline', () => {
    const bench = new CoreBench({ facts: { slots: 1 } });
    bench.link(B);
    const owner = new PeerOwner(bench, B);
    const grant = owner.give();
    bench.one('start');
    reportRunning(bench, grant);
    bench.message(B, 'started');
    drain(bench, 2000);
    bench.advance(1900);
    owner.renewAll();
    bench.assertQuiet();
    bench.advance(200);
    owner.renewAll();
    assert.equal(bench.one('stop').graceMs, 1000);
    reportEnd(bench, grant, { tag: 'signalled', signal: 'SIGTERM' });
    assert.equal(bench.message(B, 'result').outcome.end.tag, 'returned');
    owner.acknowledge(grant);
    bench.advance(100);
    bench.message(B, 'goodbye');
    bench.one('drained');
    bench.assertQuiet();
  });

  test('does not wait for ever for an owner that does not acknowledge', () => {
    const bench = new CoreBench({ facts: { slots: 1 } });
    bench.link(B);
    const owner = new PeerOwner(bench, B);
    const grant = owner.give();
    reportEnd(bench, bench.one('start').attempt);
    bench.message(B, 'result');
    drain(bench, 2000);
    bench.advance(4900);
    assert.deepEqual(bench.take('drained'), []);
    bench.advance(200);
    bench.one('drained');
    assert.ok(grant);
  });

  test('does not wait at all for an owner that is dead', () => {
    const bench = new CoreBench({ facts: { slots: 1 } });
    bench.link(B);
    new PeerOwner(bench, B).give();
    reportEnd(bench, bench.one('start').attempt);
    bench.message(B, 'result');
    bench.unlink(B);
    bench.advance(8000);
    bench.take('send');
    bench.take('dial');
    drain(bench);
    bench.one('drained');
  });

  test('asked again with a shorter deadline ends sooner', () => {
    const bench = new CoreBench({ facts: { slots: 1 } });
    bench.accept();
    bench.one('start');
    drain(bench, 60_000);
    bench.advance(1000);
    bench.assertQuiet();
    drain(bench, 0);
    bench.one('stop');
    bench.advance(3100);
    bench.one('drained');
  });
});

describe('the owner of a job that is given back', () => {
  test('gives it to another node at once, and counts no loss', () => {
    const bench = new CoreBench({ facts: { slots: 0 } });
    bench.link(B);
    const executor = new PeerExecutor(bench, B);
    const job = bench.accept();
    const grant = executor.takeOffered(job);
    bench.link(C);
    executor.result(grant, { tag: 'returned', reason: 'its node shut down' });
    assert.equal(bench.record(job).job.losses, 0);
    assert.equal(new PeerExecutor(bench, C).takeOffered(job).fence.attempt, 2);
  });

  test('asks a node that hands it back again and again less and less, though it has begun it', () => {
    const bench = new CoreBench({ facts: { slots: 0 } });
    bench.link(B);
    const executor = new PeerExecutor(bench, B);
    const job = bench.accept();
    const pauses: number[] = [];
    for (let attempt = 1; attempt <= 7; attempt++) {
      const before = bench.monoMs;
      const isOffered = () => bench.messages(B, 'offer').length > 0;
      while (!isOffered()) bench.advance(100);
      pauses.push(bench.monoMs - before);
      executor.claim(job);
      const { grant } = bench.message(B, 'grant');
      executor.result(grant, { tag: 'returned', reason: 'no room' });
    }
    assert.ok(
      pauses.every((ms, i) => i < 1 || Math.abs(ms - Math.min(30_000, 500 * 2 ** i)) < 300),
    );
    assert.equal(bench.record(job).job.history.length, 7);
  });
});
