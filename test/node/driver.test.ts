import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { asJobId, asNonce } from '../../src/base/ids.ts';
import { asWall } from '../../src/base/instant.ts';
import { IDLE_LOAD } from '../../src/core/facts.ts';
import { NO_OUTPUT } from '../../src/core/job.ts';
import { B, C, CoreBench, SPEC } from '../core/core-bench.ts';
import { PeerOwner } from '../core/peers.ts';
import { DriverBench } from './driver-bench.ts';

/** Places in the trace, of which the first must come before the second. */
function assertBefore(bench: DriverBench, first: string, second: string): void {
  const [a, b] = [first, second].map((what) => bench.trace.findIndex((it) => it.startsWith(what)));
  assert.ok(a !== undefined && b !== undefined && a >= 0 && b >= 0, bench.trace.join(', '));
  assert.ok(a < b, `${second} before ${first}: ${bench.trace.join(', ')}`);
}

/** A job of B runs here. */
async function runForPeer(bench: DriverBench): Promise<{ job: ReturnType<typeof asJobId> }> {
  const owner = new PeerOwner(new CoreBench(), B);
  const job = owner.newJob();
  const { taskType, needs } = SPEC;
  bench.hear({ kind: 'offer', job, taskType, needs });
  await bench.settle();
  const claim = bench.sent.map(({ message }) => message).findLast(({ kind }) => kind === 'claim');
  assert.ok(claim?.kind === 'claim');
  bench.hear({ kind: 'grant', grant: owner.grantOf(job, claim.nonce) });
  await bench.settle();
  const order = bench.started.at(-1);
  assert.equal(order?.job, job);
  bench.driver.push({
    kind: 'report',
    report: { kind: 'running', job, fence: order.fence, startedAt: asWall(1) },
  });
  await bench.settle();
  return { job };
}

describe('a turn', () => {
  test('writes before it replies, sends or starts', async () => {
    const bench = new DriverBench({ slots: 1 });
    bench.link();
    await bench.settle();
    bench.clear();
    bench.submit();
    bench.submit();
    await bench.settle();
    assertBefore(bench, 'commit', 'reply submitted');
    assertBefore(bench, 'commit', 'run job-1');
    bench.clear();
    bench.hear({ kind: 'claim', nonce: asNonce('1.1'), job: asJobId('job-2'), load: IDLE_LOAD });
    await bench.settle();
    assert.deepEqual(bench.trace, ['commit 1', 'send grant']);
  });

  test('makes a job and starts it with one commit', async () => {
    const bench = new DriverBench();
    const job = bench.submit();
    await bench.settle();
    assert.deepEqual(
      bench.trace.filter((it) => !it.startsWith('commit')),
      [`run ${job}`, 'reply submitted'],
    );
    assert.equal(bench.disk.commits, 1);
    const reply = bench.replies.get(job);
    assert.equal(reply?.kind === 'submitted' && reply.record.job.state.tag, 'pending');
  });

  test('commits all inputs that wait in one transaction', async () => {
    const bench = new DriverBench({ slots: 0 });
    for (let i = 0; i < 100; i++) bench.submit();
    await bench.settle();
    assert.equal(bench.disk.commits, 1);
    assert.equal(bench.replies.size, 100);
  });

  test('takes so many inputs and no more, and the next one the rest', async () => {
    const bench = new DriverBench({ slots: 0 });
    for (let i = 0; i < 10_000; i++) bench.submit();
    await bench.settle();
    assert.equal(bench.replies.size, 10_000);
    const commits = bench.trace.filter((it) => it.startsWith('commit'));
    assert.equal(commits.length, 3, commits.join(', '));
    assert.ok(commits.every((it) => Number(it.split(' ')[1]) <= 4096));
    const order = [...bench.replies.keys()];
    assert.deepEqual(
      order,
      [...order].sort((a, b) => Number(a.slice(4)) - Number(b.slice(4))),
    );
  });

  test('is a tick, too, when one is due and inputs leave no pause for its timer', async () => {
    const bench = new DriverBench({ slots: 0 });
    bench.link();
    await bench.settle();
    bench.clear();
    for (let i = 0; i < 50; i++) {
      bench.submit();
      await bench.pass(40);
    }
    assert.ok(bench.trace.includes('send ping'), bench.trace.join(', '));
  });

  test('without writes touches no disk', async () => {
    const bench = new DriverBench();
    bench.link();
    await bench.advance(2000);
    assert.equal(bench.disk.commits, 0);
    assert.ok(bench.trace.includes('send ping'));
  });

  test('reads what the core asks for, after what was written before', async () => {
    const bench = new DriverBench({ slots: 0 });
    bench.submit({}, 'key');
    await bench.settle();
    bench.driver.push({
      kind: 'cancel',
      request: 'none' as never,
      job: asJobId('key'),
    });
    bench.submit({}, 'key');
    await bench.settle();
    bench.submit({}, 'key');
    await bench.settle();
    const reply = bench.replies.get(asJobId('key'));
    assert.equal(reply?.kind === 'submitted' && reply.record.job.state.tag, 'final');
    assert.equal(reply?.kind === 'submitted' && reply.isRepeat, true);
  });

  test('takes a record that cannot be read for one that is not there, and names it', async () => {
    const bench = new DriverBench({ slots: 0 });
    await bench.settle();
    bench.store.readRecord = () => {
      throw new Error('a damaged row');
    };
    bench.submit({}, 'key');
    await bench.settle();
    assert.equal(bench.replies.get(asJobId('key'))?.kind, 'submitted');
    const anomaly = bench.events.find((event) => event.kind === 'anomaly');
    assert.match(anomaly?.kind === 'anomaly' ? anomaly.note : '', /key .*a damaged row/);
  });
});

describe('a disk that is busy', () => {
  test('lets nothing be seen before it is done, and what comes meanwhile is the next turn', async () => {
    const bench = new DriverBench({ slots: 1 });
    bench.isDiskBusy = true;
    const first = bench.submit();
    await bench.settle();
    const others = [bench.submit(), bench.submit()];
    await bench.settle();
    assert.deepEqual(bench.trace, ['commit 3']);
    await bench.flushes();
    assert.deepEqual(bench.trace, ['commit 3', `run ${first}`, 'commit 2', 'reply submitted']);
    await bench.flushes();
    for (const job of [first, ...others])
      assert.equal(bench.replies.get(job)?.kind, 'submitted', job);
  });

  test('does not hold up signs of life when it is slow, but all that hangs on it', async () => {
    const bench = new DriverBench({ slots: 1 });
    bench.link();
    await bench.settle();
    bench.isDiskBusy = true;
    const first = bench.submit();
    await bench.settle();
    bench.clear();
    const second = bench.submit();
    await bench.advance(1500);
    assert.ok(bench.trace.includes('send ping'), bench.trace.join(', '));
    assert.deepEqual([...bench.replies.keys(), ...bench.started], []);
    assert.equal(bench.driver.isStoreFailing, false);
    bench.isDiskBusy = false;
    await bench.flushes();
    assert.deepEqual([...bench.replies.keys()].sort(), [first, second]);
    assert.equal(bench.started[0]?.job, first);
  });

  test('that refuses what came while it was slow is tried again', async () => {
    const bench = new DriverBench({ slots: 0 });
    bench.isDiskBusy = true;
    const first = bench.submit();
    await bench.settle();
    const second = bench.submit();
    await bench.advance(1000);
    bench.isDiskBusy = false;
    bench.disk.isFull = true;
    await bench.flushes();
    assert.deepEqual(bench.replies.get(second), { kind: 'notAccepting', reason: 'disk' });
    bench.disk.isFull = false;
    await bench.advance(1100);
    assert.equal(bench.replies.get(first)?.kind, 'submitted');
    assert.equal(bench.core.load().accepting, true);
    assert.equal(bench.disk.tables.records.size, 1);
  });

  test('that did not keep what it took ends this life: nothing is told of it', async () => {
    const bench = new DriverBench();
    bench.isDiskBusy = true;
    bench.submit();
    await bench.settle();
    await assert.rejects(bench.flushes(new Error('EIO')), /EIO/);
    bench.submit();
    await bench.advance(2000);
    assert.deepEqual([...bench.replies.keys(), ...bench.started], []);
  });

  test('is waited for by a node that ends', async () => {
    const bench = new DriverBench({ slots: 0 });
    bench.isDiskBusy = true;
    bench.submit();
    let isSettled = false;
    const settled = bench.driver.settled().then(() => {
      isSettled = true;
    });
    await bench.settle();
    assert.equal(isSettled, false);
    await bench.flushes();
    await settled;
  });
});

describe('a disk that takes no writes', () => {
  test('lets nothing be seen of a turn that could not be written', async () => {
    const bench = new DriverBench({ slots: 1 });
    bench.link();
    bench.submit();
    bench.submit();
    await bench.settle();
    bench.clear();
    bench.disk.isFull = true;
    bench.hear({ kind: 'claim', nonce: asNonce('1.1'), job: asJobId('job-2'), load: IDLE_LOAD });
    await bench.advance(900);
    assert.deepEqual(bench.words, []);
    assert.equal(bench.driver.isStoreFailing, true);
    bench.disk.isFull = false;
    await bench.advance(200);
    assert.equal(bench.driver.isStoreFailing, false);
    assert.deepEqual(new Set(bench.words), new Set(['grant']));
    assertBefore(bench, 'commit', 'send grant');
  });

  test('is told once, tried again each second, and recovered from by itself', async () => {
    const bench = new DriverBench({ slots: 0 });
    bench.submit();
    await bench.settle();
    bench.disk.isFull = true;
    bench.submit();
    await bench.advance(3500);
    assert.equal(bench.storeFailures, 1);
    assert.equal(bench.core.load().accepting, false);
    bench.disk.isFull = false;
    await bench.advance(1000);
    assert.equal(bench.core.load().accepting, true);
    bench.submit();
    await bench.settle();
    assert.equal(bench.replies.get(asJobId('job-3'))?.kind, 'submitted');
    bench.disk.isFull = true;
    bench.submit();
    await bench.settle();
    assert.equal(bench.storeFailures, 2);
  });

  test('refuses submits at once, and never writes what it refused', async () => {
    const bench = new DriverBench();
    bench.disk.isFull = true;
    const jobs = Array.from({ length: 5000 }, () => bench.submit());
    await bench.settle();
    jobs.push(bench.submit(), bench.submit({}, 'key'));
    await bench.settle();
    for (const job of jobs)
      assert.deepEqual(bench.replies.get(job), { kind: 'notAccepting', reason: 'disk' }, job);
    bench.disk.isFull = false;
    await bench.advance(1500);
    assert.equal(bench.disk.tables.records.size, 0);
    assert.equal(bench.disk.tables.started.size, 0);
    assert.deepEqual(bench.started, []);
    assert.equal(bench.core.load().running, 0);
    bench.submit({}, 'key');
    await bench.settle();
    assert.equal(bench.disk.tables.records.size > 0, true);
  });

  test('does not stop signs of life, renewals and dials', async () => {
    const bench = new DriverBench({ slots: 2 });
    bench.link();
    await bench.settle();
    await runForPeer(bench);
    bench.disk.isFull = true;
    bench.submit();
    await bench.settle();
    bench.clear();
    bench.hear({ kind: 'ping', serial: 3, load: IDLE_LOAD });
    bench.driver.push({
      kind: 'hint',
      node: C,
      boot: { counter: 1, salt: '' },
      host: 'c',
      port: 1,
    });
    await bench.advance(2000);
    for (const what of ['send pong', 'send ping', 'send renew', 'dial c'])
      assert.ok(bench.trace.includes(what), `${what}: ${bench.trace.join(', ')}`);
  });

  test('does not keep an attempt beyond its lease', async () => {
    const bench = new DriverBench({ slots: 2 });
    bench.link();
    await bench.settle();
    const { job } = await runForPeer(bench);
    bench.disk.isFull = true;
    bench.submit();
    await bench.advance(5500);
    assert.ok(bench.trace.includes(`end ${job}`));
  });

  test('gives the outcome of what ended meanwhile when it works again', async () => {
    const bench = new DriverBench({ slots: 2 });
    bench.link();
    await bench.settle();
    const { job } = await runForPeer(bench);
    bench.clear();
    bench.disk.isFull = true;
    const fence = bench.started.at(-1)?.fence ?? assert.fail();
    const end = { tag: 'exited', code: 0 } as const;
    const tails = { stdout: NO_OUTPUT, stderr: NO_OUTPUT };
    const report = { kind: 'ended', job, fence, end, finishedAt: asWall(9), ...tails } as const;
    bench.driver.push({ kind: 'report', report });
    await bench.advance(3000);
    assert.deepEqual(
      bench.words.filter((kind) => kind !== 'renew'),
      [],
    );
    assert.ok(!bench.trace.includes(`release ${job}`), 'a next start would have to find it');
    bench.disk.isFull = false;
    await bench.advance(1000);
    assert.ok(bench.words.includes('result'));
    assertBefore(bench, 'commit', 'send result');
    assertBefore(bench, 'commit', `release ${job}`);
  });

  test('does not make what waits to be sent grow without end', async () => {
    const bench = new DriverBench({ slots: 0 });
    bench.link();
    bench.submit();
    await bench.settle();
    bench.disk.isFull = true;
    bench.hear({ kind: 'claim', nonce: asNonce('1.1'), job: asJobId('job-1'), load: IDLE_LOAD });
    await bench.settle();
    const { taskType, needs } = SPEC;
    for (let i = 0; i < 50_000; i++)
      bench.hear({ kind: 'offer', job: asJobId(`x-${i}`), taskType, needs });
    await bench.settle();
    bench.clear();
    bench.disk.isFull = false;
    await bench.advance(1500);
    assert.ok(bench.words.includes('grant'));
    assert.ok(bench.words.length < 20_000, `${bench.words.length} messages were kept`);
  });

  test('does not hold up a node that leaves', async () => {
    const bench = new DriverBench({ slots: 0 });
    bench.link();
    bench.submit();
    await bench.settle();
    bench.disk.isFull = true;
    bench.hear({ kind: 'claim', nonce: asNonce('1.1'), job: asJobId('job-1'), load: IDLE_LOAD });
    await bench.settle();
    bench.driver.push({ kind: 'drain', deadlineMs: 1000, way: 'stop' });
    await bench.advance(4500);
    assert.equal(bench.drained, 1);
    bench.disk.isFull = false;
    await bench.advance(1500);
    assert.equal(bench.drained, 1);
  });
});

describe('a driver that is stopped', () => {
  test('does nothing any more and has no timer left', async () => {
    const bench = new DriverBench();
    bench.link();
    await bench.advance(1000);
    bench.clear();
    bench.submit();
    bench.driver.stop();
    bench.driver.stop();
    bench.submit();
    await bench.advance(5000);
    assert.deepEqual(bench.trace, []);
    assert.equal(bench.armed, 0);
  });

  test('while its disk takes no writes tries no more', async () => {
    const bench = new DriverBench();
    bench.disk.isFull = true;
    bench.submit();
    await bench.settle();
    bench.driver.stop();
    bench.disk.isFull = false;
    await bench.advance(5000);
    assert.equal(bench.disk.commits, 0);
    assert.equal(bench.armed, 0);
  });
});
