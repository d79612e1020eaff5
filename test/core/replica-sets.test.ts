import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { JobId, NodeId } from '../../src/base/ids.ts';
import { IDLE_LOAD } from '../../src/core/facts.ts';
import { rendezvousOrder } from '../../src/core/placement.ts';
import { ALONE, B, bootOf, C, CoreBench, D, nodeId, SELF } from './core-bench.ts';
import { PeerExecutor } from './peers.ts';

const E = nodeId('e');

/** An owner whose peers vote and have no slots. */
function owner(peers: readonly NodeId[]): CoreBench {
  const bench = new CoreBench({ facts: { slots: 0 } });
  for (const node of peers) bench.link(node, { slots: 0 });
  return bench;
}

const setsOf = (bench: CoreBench, job: JobId) => {
  const { rs, oldRs } = bench.record(job).header;
  return { rs, oldRs };
};
const sorted = (nodes: readonly NodeId[]): NodeId[] => [...nodes].sort();

/** Time passes, and dials come to nothing. */
function wait(bench: CoreBench, ms: number): void {
  for (let passed = 0; passed < ms; passed += 1000) {
    bench.advance(1000);
    for (const { node } of bench.take('dial'))
      bench.put({ kind: 'dialFailed', node, isRefused: true, reason: 'refused' });
  }
}

describe('the replica set of a new job', () => {
  test('is its owner and the first two others in the order of the job', () => {
    const bench = owner([B, C, D, E]);
    for (let i = 0; i < 20; i++) {
      const job = bench.accept();
      const expected = [SELF, ...rendezvousOrder(job, [B, C, D, E]).slice(0, 2)];
      assert.deepEqual(setsOf(bench, job), { rs: expected, oldRs: [] });
    }
  });

  test('is smaller where fewer nodes live, down to the owner alone', () => {
    const alone = owner([]);
    assert.deepEqual(setsOf(alone, alone.accept()).rs, [SELF]);
    const two = owner([B]);
    assert.deepEqual(setsOf(two, two.accept()).rs, [SELF, B]);
  });

  test('has no node that is suspect, silent for two seconds, or about to leave for good', () => {
    const bench = owner([B, C, D]);
    bench.talking.set(B, { ...IDLE_LOAD, draining: true, leaving: true });
    bench.talk();
    bench.unlink(C);
    bench.talking.delete(D);
    bench.advance(1900);
    assert.deepEqual(setsOf(bench, bench.submit().job).rs, [SELF, D]);
    bench.advance(300);
    assert.deepEqual(setsOf(bench, bench.submit().job).rs, [SELF]);
  });

  test('may have a node that only drains: it comes back', () => {
    const bench = owner([B]);
    bench.talking.set(B, { ...IDLE_LOAD, draining: true });
    bench.talk();
    assert.deepEqual(setsOf(bench, bench.accept()).rs, [SELF, B]);
  });
});

describe('a set that is too small', () => {
  test('grows as soon as another member lives: first both sets, then the new one', () => {
    const bench = owner([B]);
    const job = bench.accept();
    bench.link(C, { slots: 0 });
    bench.replica(C).isSilent = true;
    bench.replica(B).isSilent = true;
    bench.advance(1100);
    assert.deepEqual(setsOf(bench, job), { rs: [SELF, B, C], oldRs: [SELF, B] });
    const version = bench.record(job).header.accepted.version;
    const epoch = { counter: 1, node: SELF };
    bench.hear(C, { kind: 'accepted', job, epoch, version });
    // A majority of the new set; the old one needs both of its two.
    assert.deepEqual(setsOf(bench, job).oldRs, [SELF, B]);
    bench.hear(B, { kind: 'accepted', job, epoch, version });
    assert.deepEqual(setsOf(bench, job), { rs: [SELF, B, C], oldRs: [] });
  });

  test('grows no further than three, and not at all when one disk was asked for', () => {
    const bench = owner([]);
    const job = bench.accept();
    const alone = bench.accept(ALONE);
    for (const node of [B, C, D]) bench.link(node, { slots: 0 });
    bench.advance(5000);
    assert.equal(setsOf(bench, job).rs.length, 3);
    assert.deepEqual(setsOf(bench, job).oldRs, []);
    assert.deepEqual(setsOf(bench, alone).rs, [SELF]);
    bench.assertQuiet();
  });

  test('grows while an attempt runs, whose fence stays as it is', () => {
    const bench = new CoreBench({ facts: { slots: 0 } });
    bench.link(B);
    const job = bench.accept();
    const executor = new PeerExecutor(bench, B);
    const grant = executor.takeOffered(job);
    executor.started(grant);
    bench.link(C, { slots: 0 });
    bench.advance(2000);
    assert.deepEqual(sorted(setsOf(bench, job).rs), sorted([SELF, B, C]));
    const { state } = bench.record(job).job;
    assert.deepEqual(state.tag === 'granted' && state.grant.fence, grant.fence);
    executor.result(grant);
    assert.equal(bench.status(job), 'JOB_COMPLETED');
  });

  test('of a final job does not grow', () => {
    const bench = owner([]);
    const job = bench.accept();
    bench.cancel(job);
    bench.link(B, { slots: 0 });
    bench.advance(5000);
    assert.deepEqual(setsOf(bench, job).rs, [SELF]);
  });
});

describe('a set of one that was to grow', () => {
  /** A restarted node alone, whose one job is being shared with B, which has not answered yet. */
  function growing() {
    const first = owner([]);
    const job = first.accept();
    const bench = first.restarted({ facts: { slots: 0 } });
    bench.advance(1000);
    bench.link(B, { slots: 0 });
    bench.replica(B).isSilent = true;
    bench.advance(1200);
    assert.deepEqual(setsOf(bench, job), { rs: [SELF, B], oldRs: [SELF] });
    return { bench, job };
  }

  test('when the newcomer has it is a pair like any other: its owner goes on without it', () => {
    const { bench, job } = growing();
    bench.replica(B).isSilent = false;
    bench.advance(1200);
    assert.deepEqual(setsOf(bench, job), { rs: [SELF, B], oldRs: [] });
    bench.kill(B);
    assert.equal(bench.reply(bench.cancel(job)).kind, 'cancelled');
    assert.equal(bench.lackingOf(job), B);
  });

  test('with a newcomer that is gone before it had the record is not stuck', () => {
    const { bench, job } = growing();
    bench.kill(B);
    wait(bench, 10_000);
    assert.equal(bench.reply(bench.cancel(job)).kind, 'cancelled');
  });
});

describe('a place in a full set', () => {
  /** A job kept by three, and the fourth node that is not among them. */
  function full(): { bench: CoreBench; job: JobId; gone: NodeId; spare: NodeId } {
    const bench = owner([B, C, D]);
    const job = bench.accept();
    const { rs } = setsOf(bench, job);
    const gone = rs[1] ?? assert.fail();
    const spare = [B, C, D].find((node) => !rs.includes(node)) ?? assert.fail();
    return { bench, job, gone, spare };
  }

  test('is kept for a node that is started again', () => {
    const { bench, job, gone } = full();
    const before = setsOf(bench, job);
    bench.kill(gone);
    wait(bench, 10_000);
    bench.link(gone, { slots: 0 }, bootOf(2));
    wait(bench, 70_000);
    assert.deepEqual(setsOf(bench, job), before);
  });

  test('is filled by another node when its node has been dead for a minute', () => {
    const { bench, job, gone, spare } = full();
    bench.kill(gone);
    wait(bench, 58_000);
    assert.ok(setsOf(bench, job).rs.includes(gone));
    wait(bench, 5000);
    const { rs, oldRs } = setsOf(bench, job);
    assert.deepEqual([rs.length, rs.includes(gone), rs.includes(spare)], [3, false, true]);
    assert.deepEqual(oldRs, []);
  });

  test('is filled at once when its node left', () => {
    const { bench, job, gone, spare } = full();
    bench.hear(gone, { kind: 'goodbye', isBack: false });
    bench.advance(1200);
    assert.ok(setsOf(bench, job).rs.includes(spare));
    assert.ok(!setsOf(bench, job).rs.includes(gone));
  });

  test('is filled at once when its node was forgotten', () => {
    const { bench, job, gone, spare } = full();
    bench.kill(gone);
    bench.put({ kind: 'forget', request: 'f' as never, node: gone });
    bench.advance(1200);
    assert.ok(setsOf(bench, job).rs.includes(spare));
    assert.ok(!setsOf(bench, job).rs.includes(gone));
  });

  test('is filled while its node still lives that goes for good, and that one is let go', () => {
    const { bench, job, gone, spare } = full();
    // Nothing but this makes the owner look at its sets.
    bench.advance(5000);
    assert.ok(bench.replica(gone).get(job));
    bench.talking.set(gone, { ...IDLE_LOAD, draining: true, leaving: true });
    bench.talk();
    bench.advance(2200);
    assert.ok(setsOf(bench, job).rs.includes(spare));
    assert.equal(bench.replica(gone).get(job)?.record, undefined);
    assert.equal(bench.replica(spare).get(job)?.record?.header.job, job);
  });

  test('is given up when nobody is left to fill it', () => {
    const bench = owner([B, C]);
    const job = bench.accept();
    bench.hear(B, { kind: 'goodbye', isBack: false });
    bench.advance(2200);
    assert.deepEqual(setsOf(bench, job), { rs: [SELF, C], oldRs: [] });
  });
});

test('a disk that was let go is not counted any more for who submits its key again', () => {
  const bench = owner([B, C]);
  const disks = (): unknown => {
    const reply = bench.reply(bench.submit({}, { key: 'k' }).request);
    return reply.kind === 'submitted' && reply.disks;
  };
  bench.submit({}, { key: 'k' });
  bench.take('reply');
  assert.equal(disks(), 3);
  bench.talking.set(B, { ...IDLE_LOAD, draining: true, leaving: true });
  bench.talk();
  bench.advance(2200);
  assert.equal(bench.replica(B).get('k' as JobId)?.record, undefined);
  assert.equal(disks(), 2);
});

describe('changes of sets', () => {
  test('wait until the job has nothing undecided', () => {
    const bench = owner([B, C]);
    for (const node of [B, C]) bench.replica(node).isSilent = true;
    const { job } = bench.submit();
    bench.link(D, { slots: 0 });
    bench.hear(B, { kind: 'goodbye', isBack: false });
    bench.advance(1500);
    assert.deepEqual(setsOf(bench, job).oldRs, []);
    bench.replica(C).isSilent = false;
    bench.advance(3000);
    assert.deepEqual(sorted(setsOf(bench, job).rs), sorted([SELF, C, D]));
  });

  test('are made for a bounded number of jobs at a time', () => {
    const bench = owner([]);
    const jobs = Array.from({ length: 600 }, () => bench.accept());
    bench.link(B, { slots: 0 });
    bench.replica(B).isSilent = true;
    bench.advance(1100);
    const moving = jobs.filter((job) => setsOf(bench, job).oldRs.length > 0);
    assert.ok(moving.length > 0 && moving.length <= 200, `${moving.length} at once`);
    bench.replica(B).isSilent = false;
    bench.advance(20_000);
    for (const job of jobs) assert.deepEqual(setsOf(bench, job), { rs: [SELF, B], oldRs: [] });
  });
});

test('a value that its replica was let go before it had voted holds up nothing that comes after', () => {
  const bench = owner([B]);
  const job = bench.accept();
  const replica = bench.replica(B);
  bench.talking.set(B, { ...IDLE_LOAD, draining: true, leaving: true });
  replica.isSilent = true;
  bench.talk();
  bench.advance(2000);
  assert.deepEqual(setsOf(bench, job), { rs: [SELF], oldRs: [SELF, B] });
  bench.link(C, { slots: 1 });
  bench.replica(C).isSilent = true;
  const executor = new PeerExecutor(bench, C);
  const grant = executor.takeOffered(job);
  const { version } = bench.record(job).header.accepted;
  // B has the change of the sets, and not what was written between it and its end.
  const epoch = { counter: 1, node: SELF };
  bench.hear(B, { kind: 'accepted', job, epoch, version: version - 1 });
  assert.deepEqual(setsOf(bench, job), { rs: [SELF], oldRs: [] });
  bench.messages(B, 'accept');
  executor.result(grant);
  assert.equal(bench.message(C, 'acknowledge').job, job);
  assert.equal(bench.status(job), 'JOB_COMPLETED');
});
