import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { JobId } from '../../src/base/ids.ts';
import { IDLE_LOAD } from '../../src/core/facts.ts';
import type { JobSpec } from '../../src/core/job.ts';
import { ALONE, B, C, CoreBench, D, SELF, SPEC } from './core-bench.ts';
import { PeerExecutor, PeerOwner, reportEnd } from './peers.ts';

const needing = (change: Partial<JobSpec['needs']>): Partial<JobSpec> => ({
  needs: { ...SPEC.needs, ...change },
});

/** Jobs that the own node starts, one after the other, each ended at once. */
function startsInOrder(bench: CoreBench): JobId[] {
  const order: JobId[] = [];
  for (;;) {
    const [start] = bench.take('start');
    if (!start) return order;
    order.push(start.attempt.job);
    reportEnd(bench, start.attempt);
  }
}

/** Why the job waits, node by node. */
function reasons(bench: CoreBench, job: JobId): Record<string, string> {
  const { waiting } = bench.core.enliven(bench.record(job));
  return Object.fromEntries(waiting.map(({ node, reason }) => [node, reason]));
}

describe('the election of a node', () => {
  test('takes the own free slot first', () => {
    const bench = new CoreBench({ facts: { slots: 1 } });
    bench.link(B);
    const job = bench.accept();
    assert.equal(bench.one('start').attempt.job, job);
    const { state } = bench.record(job).job;
    assert.equal(state.tag === 'granted' && state.grant.why, 'own free slot');
    bench.accept();
    bench.message(B, 'offer');
    bench.assertQuiet();
  });

  test('gives the higher priority first, then the older job', () => {
    const bench = new CoreBench({ facts: { slots: 1 } });
    const running = bench.accept();
    const jobs = [5, 1, 9, 5].map((priority) => bench.accept({ priority }));
    assert.deepEqual(startsInOrder(bench), [running, jobs[2], jobs[0], jobs[3], jobs[1]]);
  });

  test('keeps the order of priority and age between jobs of different needs', () => {
    const bench = new CoreBench({ facts: { slots: 1, labels: { zone: 'a' } } });
    const zoned = needing({ labels: { zone: 'a' } });
    const running = bench.accept();
    const low = bench.accept({ priority: 1 });
    const high = bench.accept({ ...zoned, priority: 9 });
    const highest = bench.accept({ priority: 10 });
    const old = bench.accept({ ...zoned, priority: 1 });
    bench.isDiskHeld = true;
    assert.deepEqual(startsInOrder(bench).slice(0, 1), [running]);
    bench.isDiskHeld = false;
    bench.commit();
    assert.deepEqual(startsInOrder(bench), [highest, high, low, old]);
  });

  test('fills several free slots in that order too', () => {
    const bench = new CoreBench({ facts: { slots: 0 } });
    const zoned = needing({ labels: { zone: 'a' } });
    const first = bench.accept({ priority: 10 });
    bench.accept({ priority: 1 });
    const second = bench.accept({ ...zoned, priority: 9 });
    bench.link(B, { slots: 2, labels: { zone: 'a' } });
    const offered = bench.messages(B, 'offer').map(({ job }) => job);
    assert.deepEqual(offered, [first, second]);
  });

  test('lets no job that nobody can run hold up the others', () => {
    const bench = new CoreBench({ facts: { slots: 1 } });
    const stuck = [
      bench.accept({ taskType: 'docker', priority: 10 }),
      bench.accept({ ...needing({ target: B }), priority: 10 }),
      bench.accept({ ...needing({ labels: { zone: 'b' } }), priority: 10 }),
    ];
    const job = bench.accept({ priority: 1 });
    assert.equal(bench.one('start').attempt.job, job);
    for (const other of stuck) assert.equal(bench.status(other), 'JOB_PENDING');
  });

  test('places a waiting job when a node comes that can run it', () => {
    const bench = new CoreBench();
    const pinned = bench.accept(needing({ target: C }));
    const special = bench.accept(needing({ capabilities: { gpu: 'true' } }));
    bench.link(B, { capabilities: { gpu: 'true' } });
    assert.equal(bench.message(B, 'offer').job, special);
    bench.link(C);
    assert.equal(bench.message(C, 'offer').job, pinned);
    bench.assertQuiet();
  });

  test('offers no more than a node has free, and counts offers on their way', () => {
    const bench = new CoreBench({ facts: { slots: 0 } });
    bench.link(B, { slots: 3 });
    for (let i = 0; i < 5; i++) bench.accept();
    assert.equal(bench.messages(B, 'offer').length, 3);
    bench.assertQuiet();
  });

  test('gives nothing to a suspect', () => {
    const bench = new CoreBench({ facts: { slots: 0 } });
    bench.link(B);
    bench.unlink(B);
    bench.accept();
    assert.deepEqual(bench.messages(B, 'offer'), []);
  });
});

describe('jobs that nobody can run', () => {
  test('cost nothing while they wait, though no two of them need the same', () => {
    const bench = new CoreBench({ maxJobs: 50_000 });
    for (const node of [B, C]) bench.link(node);
    bench.isDiskHeld = true;
    for (let i = 0; i < 20_000; i++) bench.submit(needing({ labels: { batch: `${i}` } }));
    bench.isDiskHeld = false;
    bench.commit();
    bench.take('reply');
    const startedAt = performance.now();
    bench.advance(10_000);
    const elapsedMs = performance.now() - startedAt;
    assert.ok(elapsedMs < 1000, `ten seconds of waiting took ${Math.round(elapsedMs)} ms`);
    bench.link(D, { labels: { batch: '12345' } });
    assert.equal(bench.message(D, 'offer').job, 'job-12346');
    bench.assertQuiet();
  });
});

describe('the reasons why a job waits', () => {
  test('are those of each node, by node', () => {
    const bench = new CoreBench({ facts: { slots: 0 } });
    bench.link(B, { taskTypes: ['convert'] });
    bench.link(C);
    bench.unlink(C);
    const job = bench.accept();
    assert.deepEqual(reasons(bench, job), {
      [SELF]: 'no free slot',
      [B]: 'task type not served',
      [C]: 'suspect',
    });
  });

  test('say while it lasts that a node just refused, and not for longer', () => {
    const bench = new CoreBench({ facts: { slots: 0 } });
    bench.link(B);
    const job = bench.accept();
    bench.message(B, 'offer');
    new PeerExecutor(bench, B).refuse(job, 'task type not served');
    assert.equal(reasons(bench, job)[B], 'just refused');
    bench.advance(1200);
    bench.message(B, 'offer');
    assert.equal(reasons(bench, job)[B], 'asked, not answered yet');
  });

  test('are gone when the job is given', () => {
    const bench = new CoreBench({ facts: { slots: 0 } });
    bench.link(B);
    const job = bench.accept();
    const executor = new PeerExecutor(bench, B);
    executor.started(executor.takeOffered(job));
    const live = bench.core.enliven(bench.record(job));
    assert.deepEqual(live.waiting, []);
    assert.equal(live.status, 'JOB_RUNNING');
    assert.equal(live.startedAt, 1);
  });
});

describe('an offer', () => {
  test('that is refused goes to another node', () => {
    const bench = new CoreBench({ facts: { slots: 0 } });
    bench.link(B);
    const job = bench.accept();
    bench.message(B, 'offer');
    bench.link(C);
    new PeerExecutor(bench, B).refuse(job, 'draining');
    assert.equal(bench.message(C, 'offer').job, job);
    bench.assertQuiet();
  });

  test('that is not answered within a second goes to another node', () => {
    const bench = new CoreBench({ facts: { slots: 0 } });
    bench.link(B);
    const job = bench.accept();
    bench.message(B, 'offer');
    bench.link(C);
    bench.advance(900);
    bench.assertQuiet();
    bench.advance(200);
    assert.equal(bench.message(C, 'offer').job, job);
  });

  test('to a node that is gone goes to another at once', () => {
    const bench = new CoreBench({ facts: { slots: 0 } });
    bench.link(B);
    const job = bench.accept();
    bench.message(B, 'offer');
    bench.link(C);
    bench.unlink(B);
    assert.equal(bench.message(C, 'offer').job, job);
  });

  test('is answered by a grant to the first claim; a late one is declined', () => {
    const bench = new CoreBench({ facts: { slots: 0 } });
    bench.link(B);
    const job = bench.accept();
    bench.message(B, 'offer');
    bench.link(C);
    bench.advance(1100);
    bench.message(C, 'offer');
    new PeerExecutor(bench, C).claim(job);
    assert.equal(bench.message(C, 'grant').grant.job, job);
    const nonce = new PeerExecutor(bench, B).claim(job);
    assert.equal(bench.message(B, 'decline').nonce, nonce);
    bench.assertQuiet();
  });

  test('that timed out is still granted to its claim while the job waits', () => {
    const bench = new CoreBench({ facts: { slots: 0 } });
    bench.link(B);
    const job = bench.accept();
    bench.message(B, 'offer');
    bench.advance(1100);
    new PeerExecutor(bench, B).claim(job);
    assert.equal(bench.message(B, 'grant').grant.job, job);
  });
});

describe('a claim for any job', () => {
  test('gets the most urgent one that fits the claimer', () => {
    const bench = new CoreBench({ facts: { slots: 0 } });
    bench.link(B);
    bench.talking.set(B, { ...IDLE_LOAD, slots: 2, running: 2 });
    bench.talk();
    bench.accept({ ...needing({ target: C }), priority: 10 });
    bench.accept({ priority: 2 });
    const job = bench.accept({ priority: 8 });
    new PeerExecutor(bench, B).claim();
    assert.equal(bench.message(B, 'grant').grant.job, job);
    const { state } = bench.record(job).job;
    assert.equal(state.tag === 'granted' && state.grant.why, 'asked for work');
  });

  test('is declined when nothing fits, and by a node that drains', () => {
    const bench = new CoreBench({ facts: { slots: 0 } });
    bench.link(B, { slots: 0 });
    bench.accept(needing({ target: C }));
    const executor = new PeerExecutor(bench, B);
    assert.equal(executor.claim(), bench.message(B, 'decline').nonce);
    bench.accept();
    bench.put({ kind: 'drain', deadlineMs: 60_000, way: 'stop' });
    assert.equal(executor.claim(), bench.message(B, 'decline').nonce);
  });
});

describe('a node that was asked in vain', () => {
  test('asks back when a slot falls free', () => {
    const bench = new CoreBench({ facts: { slots: 1 } });
    bench.link(B);
    const own = bench.accept(ALONE);
    const owner = new PeerOwner(bench, B);
    owner.offer(owner.newJob());
    assert.equal(bench.message(B, 'refuse').reason, 'no free slot');
    const { attempt } = bench.one('start');
    assert.equal(attempt.job, own);
    reportEnd(bench, attempt);
    assert.equal(bench.message(B, 'claim').job, undefined);
    bench.assertQuiet();
  });

  test('asks nobody any more who declined', () => {
    const bench = new CoreBench({ facts: { slots: 1 } });
    bench.link(B);
    bench.accept(ALONE);
    const owner = new PeerOwner(bench, B);
    owner.offer(owner.newJob());
    bench.message(B, 'refuse');
    reportEnd(bench, bench.one('start').attempt);
    const { nonce } = bench.message(B, 'claim');
    bench.hear(B, { kind: 'decline', nonce });
    bench.accept(ALONE);
    reportEnd(bench, bench.one('start').attempt);
    bench.assertQuiet();
  });

  test('serves its own queue and those who ask in turn', () => {
    const bench = new CoreBench({ facts: { slots: 1 } });
    bench.link(B);
    bench.talking.set(B, { ...IDLE_LOAD, queued: 50 });
    bench.talk();
    for (const { nonce } of bench.messages(B, 'claim')) bench.hear(B, { kind: 'decline', nonce });
    for (let i = 0; i < 6; i++) bench.accept();
    const owner = new PeerOwner(bench, B);
    const served: string[] = [];
    for (let i = 0; i < 8; i++) {
      bench.talk();
      for (const { nonce } of bench.messages(B, 'claim'))
        owner.grant(owner.grantOf(owner.newJob(), nonce));
      const { attempt } = bench.one('start');
      served.push(attempt.grant.rs[0] === SELF ? 'own' : 'peer');
      reportEnd(bench, attempt);
    }
    assert.equal(served.filter((one) => one === 'own').length, 4, served.join(' '));
  });

  test('asks back though a job of its own waits for a node that is away', () => {
    const bench = new CoreBench({ facts: { slots: 1 } });
    bench.link(B);
    bench.accept(needing({ target: C }));
    const owner = new PeerOwner(bench, B);
    let grant = owner.give();
    for (let round = 0; round < 5; round++) {
      owner.offer(owner.newJob());
      bench.message(B, 'refuse');
      bench.one('start');
      reportEnd(bench, grant);
      const { nonce } = bench.message(B, 'claim');
      grant = owner.grantOf(owner.newJob(), nonce);
      owner.grant(grant);
      bench.messages(B, 'result');
    }
  });

  test('asks those at once who declined it once, and after two in vain only after a while', () => {
    const bench = new CoreBench({ facts: { slots: 1 } });
    bench.link(B);
    bench.talking.set(B, { ...IDLE_LOAD, queued: 1 });
    const ask = (): boolean => {
      bench.talk();
      const claims = bench.messages(B, 'claim');
      for (const { nonce } of claims) bench.hear(B, { kind: 'decline', nonce });
      return claims.length > 0;
    };
    assert.deepEqual([ask(), ask(), ask()], [true, true, false]);
    const pauses = [100, 200, 400, 800, 1000, 1000];
    for (const ms of pauses) {
      bench.advance(ms - 1);
      assert.equal(ask(), false, `${ms} ms`);
      bench.advance(1);
      assert.equal(ask(), true, `${ms} ms`);
    }
    bench.advance(1000);
    bench.talk();
    const owner = new PeerOwner(bench, B);
    owner.grant(owner.grantOf(owner.newJob(), bench.message(B, 'claim').nonce));
    reportEnd(bench, bench.one('start').attempt);
    assert.deepEqual([ask(), ask(), ask()], [true, true, false]);
  });

  test('does not ask an owner back that has told since that nothing waits there', () => {
    const bench = new CoreBench({ facts: { slots: 1 } });
    bench.link(B);
    bench.accept(ALONE);
    const owner = new PeerOwner(bench, B);
    owner.offer(owner.newJob());
    bench.message(B, 'refuse');
    bench.talking.set(B, { ...IDLE_LOAD, queued: 0 });
    bench.talk();
    reportEnd(bench, bench.one('start').attempt);
    bench.assertQuiet();
  });

  test('is not told of jobs that are offered to another', () => {
    const bench = new CoreBench({ facts: { slots: 0 } });
    bench.link(B);
    bench.accept();
    bench.message(B, 'offer');
    assert.equal(bench.core.load().queued, 0);
    new PeerExecutor(bench, B).refuse(bench.accept(), 'no free slot');
    assert.equal(bench.core.load().queued, 1);
  });

  test('tells its own waiting jobs with each claim', () => {
    const bench = new CoreBench({ facts: { slots: 1 } });
    bench.link(B);
    for (let i = 0; i < 3; i++) bench.accept(needing({ target: C }));
    const owner = new PeerOwner(bench, B);
    owner.offer(owner.newJob());
    assert.equal(bench.message(B, 'claim').load.queued, 3);
  });
});

describe('a job that comes back', () => {
  test('without an outcome waits before those that came later', () => {
    const bench = new CoreBench({ facts: { slots: 1 } });
    bench.accept();
    const { attempt } = bench.one('start');
    bench.link(B, { slots: 1 });
    const executor = new PeerExecutor(bench, B);
    const old = bench.accept();
    const grant = executor.takeOffered(old);
    for (let i = 0; i < 3; i++) bench.accept();
    executor.reject(grant);
    reportEnd(bench, attempt);
    assert.equal(bench.one('start').attempt.job, old);
  });
});
