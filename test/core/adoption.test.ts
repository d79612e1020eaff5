/** Attempts and owners that find each other again, after one of them was started anew or followed. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { asNonce, type NodeId } from '../../src/base/ids.ts';
import { asWall } from '../../src/base/instant.ts';
import type { Survivor } from '../../src/core/inputs.ts';
import { LEASE_GRACE_MS, LEASE_MS, REVOKE_WAIT_MS } from '../../src/core/lease.ts';
import type { Grant } from '../../src/core/messages.ts';
import { B, bootOf, C, CoreBench, D, SELF } from './core-bench.ts';
import { endOf, executing, running } from './executing.ts';
import { EXIT_0, outcomeOf, PeerExecutor, PeerOwner, reportEnd } from './peers.ts';
import { epochOf, FENCE, grantedTo, JOB, type RecordChange, recordOf } from './record-of.ts';

/** An attempt of B's job runs on the bench; C and D are there as well. */
function runningForB(spec = {}) {
  const parts = running({}, spec);
  for (const node of [C, D]) parts.bench.link(node, { slots: 0 });
  return parts;
}

const adopt = (bench: CoreBench, from: NodeId, { job, fence }: Grant, counter = 2): void =>
  bench.hear(from, {
    kind: 'adopt',
    job,
    fence,
    epoch: epochOf(from, counter),
    sets: { rs: [from, D, B], oldRs: [] },
  });

describe('an attempt whose owner was followed', () => {
  test('goes on under the new owner: it is told as started, asks the new sets, ends there', () => {
    const { bench, grant } = runningForB();
    bench.messages(B, 'renew');
    adopt(bench, C, grant);
    assert.deepEqual(bench.message(C, 'started').fence, grant.fence);
    const [ref] = bench.message(C, 'renew').attempts;
    assert.deepEqual(ref?.epoch, epochOf(C, 2));
    assert.deepEqual(bench.message(D, 'renew').attempts, [ref]);
    reportEnd(bench, grant);
    assert.deepEqual(bench.message(C, 'result').outcome.fence, grant.fence);
    bench.hear(C, { kind: 'acknowledge', job: grant.job, fence: grant.fence });
    assert.equal(bench.core.owned().untold, 0);
  });

  test('hears no older owner any more, neither its adoption nor its cancel', () => {
    const { bench, owner, grant } = runningForB();
    adopt(bench, C, grant, 3);
    bench.take('send');
    adopt(bench, D, grant, 2);
    owner.cancel(grant);
    assert.deepEqual(bench.messages(D, 'started'), []);
    assert.deepEqual(bench.take('stop'), []);
    bench.hear(C, { kind: 'cancel', job: grant.job, fence: grant.fence, epoch: epochOf(C, 3) });
    bench.one('stop');
  });

  test('does not live on by what was said yes to before', () => {
    const { bench, grant } = runningForB();
    bench.advance(2000);
    const { sentAt, attempts } = bench.messages(B, 'renew').at(-1) ?? assert.fail();
    const epoch = epochOf(B, 2);
    const sets = { rs: [B], oldRs: [] };
    bench.hear(B, { kind: 'adopt', job: grant.job, fence: grant.fence, epoch, sets });
    bench.hear(B, { kind: 'renewed', sentAt, granted: attempts, revoked: [], moved: [] });
    bench.advance(LEASE_MS - LEASE_GRACE_MS - 2000 + 100);
    bench.one('stop');
  });

  test('is named to a new owner that looks for it, with its fence', () => {
    const { bench, grant } = runningForB();
    bench.hear(C, { kind: 'whoHas', job: grant.job, epoch: epochOf(C, 2) });
    const { fence, nonce } = bench.message(C, 'have');
    assert.deepEqual([fence, nonce], [grant.fence, grant.nonce]);
    adopt(bench, C, grant, 4);
    bench.hear(D, { kind: 'whoHas', job: grant.job, epoch: epochOf(D, 2) });
    assert.deepEqual(bench.messages(D, 'have'), []);
  });

  test('is not named to the owner of another birth of its id', () => {
    const { bench, owner } = executing();
    bench.link(C, { slots: 0 });
    owner.offer(JOB);
    const { nonce } = bench.message(B, 'claim');
    const grant = owner.grantOf(JOB, nonce, { birth: 'birth-b' as never });
    owner.grant(grant);
    bench.one('start');
    const ask = { kind: 'whoHas', job: grant.job, epoch: epochOf(C, 2) } as const;
    bench.hear(C, { ...ask, birth: 'birth-c' as never });
    assert.deepEqual(bench.messages(C, 'have'), []);
    bench.hear(C, { ...ask, birth: 'birth-b' as never });
    assert.deepEqual(bench.message(C, 'have').fence, grant.fence);
  });

  test('is not made younger by being looked for: that is no right to run', () => {
    const { bench, grant } = runningForB();
    bench.advance(3000);
    bench.hear(C, { kind: 'whoHas', job: grant.job, epoch: epochOf(C, 2) });
    bench.advance(LEASE_MS - LEASE_GRACE_MS - 3000 + 100);
    assert.deepEqual(bench.one('stop').fence, grant.fence);
  });

  test('and has ended is told to the new owner when it asks, whichever way it asks', () => {
    const { bench, grant } = runningForB();
    reportEnd(bench, grant);
    bench.message(B, 'result');
    bench.hear(C, { kind: 'whoHas', job: grant.job, epoch: epochOf(C, 2) });
    assert.deepEqual(bench.message(C, 'result').outcome.end, EXIT_0);
    adopt(bench, D, grant, 3);
    assert.deepEqual(bench.message(D, 'result').outcome.end, EXIT_0);
    bench.hear(D, { kind: 'acknowledge', job: grant.job, fence: grant.fence });
    assert.equal(bench.core.owned().untold, 0);
  });

  test('and never started is rejected, and its grant that comes late starts nothing', () => {
    const bench = new CoreBench({ facts: { slots: 1 } });
    for (const node of [B, C]) bench.link(node, { slots: 0 });
    const owner = new PeerOwner(bench, B);
    const job = owner.newJob();
    owner.offer(job);
    const grant = owner.grantOf(job, bench.message(B, 'claim').nonce);
    adopt(bench, C, grant);
    bench.message(C, 'reject');
    owner.grant(grant);
    bench.message(B, 'reject');
    assert.deepEqual(bench.take('start'), []);
  });
});

describe('the outcome of an attempt', () => {
  test('is kept while anybody may know the job, and a minute longer when nobody does', () => {
    const { bench, grant } = runningForB();
    adopt(bench, C, grant);
    bench.take('send');
    reportEnd(bench, grant);
    for (const node of [C, D])
      bench.hear(node, { kind: 'gone', job: grant.job, fence: grant.fence });
    bench.advance(70_000);
    assert.equal(bench.core.owned().untold, 1);
    bench.hear(B, { kind: 'gone', job: grant.job, fence: grant.fence });
    bench.advance(50_000);
    assert.equal(bench.core.owned().untold, 1);
    bench.advance(15_000);
    assert.equal(bench.core.owned().untold, 0);
  });

  test('is not kept for ever when all who may know the job were forgotten', () => {
    const { bench, grant } = runningForB();
    reportEnd(bench, grant);
    const sets = bench.disk.tables.outbox.values().flatMap(({ rs }) => rs);
    for (const node of sets) bench.put({ kind: 'forget', request: node as never, node });
    bench.advance(50_000);
    assert.equal(bench.core.owned().untold, 1);
    bench.advance(20_000);
    assert.equal(bench.core.owned().untold, 0);
  });
});

describe('a node that is started again while its attempts run on', () => {
  const survivorOf = ({ job, fence }: Grant, leaseLeftMs: number | undefined): Survivor => ({
    job,
    fence,
    startedAt: new CoreBench().now().wall,
    leaseLeftMs,
  });

  test('takes them up: same fence, no second start, what is left of the lease', () => {
    const before = running();
    const { grant } = before;
    const bench = before.bench.restarted({ survivors: [survivorOf(grant, 3000)] });
    assert.equal(bench.core.load().running, 1);
    assert.deepEqual(bench.take('start'), []);
    bench.link(B);
    bench.advance(1000);
    const owner = new PeerOwner(bench, B);
    owner.renewAll();
    bench.advance(LEASE_MS - LEASE_GRACE_MS - 100);
    assert.deepEqual(bench.take('stop'), []);
    reportEnd(bench, grant);
    assert.deepEqual(endOf(bench), EXIT_0);
  });

  test('ends them with the lease that was left when nobody says yes', () => {
    const before = running();
    const { grant } = before;
    const bench = before.bench.restarted({ survivors: [survivorOf(grant, 3000)] });
    bench.advance(3000 - LEASE_GRACE_MS - 200);
    assert.deepEqual(bench.take('stop'), []);
    bench.advance(300);
    assert.deepEqual(bench.one('stop').fence, grant.fence);
  });

  test('ends those that it does not know', () => {
    const stranger = new PeerOwner(new CoreBench(), B).grantOf(JOB, '1.1');
    const bench = new CoreBench({ survivors: [survivorOf(stranger, undefined)] });
    assert.deepEqual(bench.one('stop').fence, stranger.fence);
  });

  test('tells the others as lost', () => {
    const before = running();
    const bench = before.bench.restarted();
    bench.link(B);
    const lost = bench.messages(B, 'result').at(-1) ?? assert.fail('nothing told');
    assert.equal(lost.outcome.end.tag, 'lost');
    assert.deepEqual(lost.outcome.fence, before.grant.fence);
  });
});

// ---------------------------------------------------------------- the owner's side

/** The bench has taken over the job of B, of which it kept this. C may run something of it. */
function successor(change: RecordChange = {}, yesAgoMs = 1000): CoreBench {
  const bench = new CoreBench({ facts: { slots: 0 } });
  bench.link(B, { slots: 0 });
  bench.link(C);
  bench.link(D, { slots: 2 });
  for (const node of [B, C, D]) bench.replica(node).isSilent = true;
  bench.hear(B, { kind: 'accept', record: recordOf(change) });
  bench.message(B, 'accepted');
  bench.advance(10_000);
  bench.kill(B);
  bench.advance(100);
  const epoch = epochOf(SELF, 2);
  bench.hear(C, { kind: 'promise', job: JOB, epoch, record: recordOf(change), yesAgoMs });
  bench.hear(C, { kind: 'accepted', job: JOB, epoch, version: 1 });
  for (const kind of ['prepare', 'accept', 'holding', 'settled'] as const)
    for (const node of [B, C, D]) bench.messages(node, kind);
  return bench;
}

const versionOf = (bench: CoreBench): number => bench.record(JOB).header.accepted.version;
const decide = (bench: CoreBench): void =>
  bench.hear(C, {
    kind: 'accepted',
    job: JOB,
    epoch: epochOf(SELF, 2),
    version: versionOf(bench),
  });

describe('an owner that has followed another one', () => {
  test('lets the attempt that the record names go on, under its own epoch', () => {
    const bench = successor({ state: grantedTo(C) });
    const { fence, epoch } = bench.messages(C, 'adopt').at(-1) ?? assert.fail('not asked');
    assert.deepEqual([fence, epoch], [FENCE, epochOf(SELF, 2)]);
    const grant = { job: JOB, fence: FENCE } as Grant;
    const executor = new PeerExecutor(bench, C);
    executor.started(grant);
    assert.equal(bench.status(JOB), 'JOB_RUNNING');
    executor.result(grant);
    decide(bench);
    assert.equal(bench.status(JOB), 'JOB_COMPLETED');
  });

  test('looks for an attempt that the record does not name, at every node and at who comes later', () => {
    const bench = successor();
    for (const node of [C, D])
      assert.deepEqual(bench.message(node, 'whoHas').epoch, epochOf(SELF, 2));
    bench.link(B, { slots: 0 }, bootOf(2));
    bench.message(B, 'whoHas');
  });

  test('takes up the attempt that is found, whose fence is of the dead owner', () => {
    const bench = successor();
    bench.hear(C, { kind: 'have', job: JOB, fence: FENCE, nonce: asNonce('1.1') });
    const { state, attempts } = bench.record(JOB).job;
    assert.deepEqual(state.tag === 'granted' && state.grant.fence, FENCE);
    assert.equal(attempts, 1);
    assert.deepEqual(bench.messages(C, 'adopt'), []);
    decide(bench);
    assert.deepEqual(bench.messages(C, 'adopt').at(-1)?.fence, FENCE);
    bench.advance(REVOKE_WAIT_MS);
    assert.deepEqual(bench.messages(D, 'offer'), []);
  });

  test('takes the outcome of an attempt that the record does not name', () => {
    const bench = successor();
    const outcome = outcomeOf(FENCE, C, { tag: 'exited', code: 3 });
    bench.hear(C, { kind: 'result', job: JOB, outcome });
    decide(bench);
    assert.equal(bench.status(JOB), 'JOB_FAILED');
    assert.deepEqual(bench.message(C, 'acknowledge').fence, FENCE);
  });

  test('gives the job to another node only 6.6 s after the youngest yes that it heard of', () => {
    const bench = successor({}, 2000);
    bench.advance(REVOKE_WAIT_MS - 2000 - 200);
    assert.deepEqual(bench.messages(D, 'offer'), []);
    bench.advance(300);
    assert.equal([...bench.messages(D, 'offer'), ...bench.messages(C, 'offer')].length, 1);
  });

  test('waits for no lease when the youngest yes is longer ago', () => {
    const bench = successor({}, 9000);
    assert.equal([...bench.messages(D, 'offer'), ...bench.messages(C, 'offer')].length, 1);
    assert.deepEqual(bench.messages(C, 'whoHas'), []);
  });

  test('waits out a revocation of the dead owner before the next attempt', () => {
    const grant = grantedTo(C);
    assert.ok(grant.tag === 'granted');
    const state = { tag: 'revoked', grant: grant.grant, reason: 'it died' } as const;
    const bench = successor({ state, body: { attempts: 1, losses: 1 } }, 3000);
    bench.advance(REVOKE_WAIT_MS - 3000 - 200);
    assert.equal(bench.record(JOB).job.state.tag, 'revoked');
    bench.advance(300);
    assert.equal(bench.record(JOB).job.state.tag, 'pending');
    assert.equal(bench.record(JOB).job.losses, 1);
  });

  test('does not look for an attempt that is past, and takes no other for the next one', () => {
    const bench = successor({ body: { attempts: 4 } });
    bench.hear(C, { kind: 'have', job: JOB, fence: { ...FENCE, attempt: 4 }, nonce: asNonce('1') });
    assert.equal(bench.record(JOB).job.state.tag, 'pending');
    bench.hear(C, { kind: 'have', job: JOB, fence: { ...FENCE, attempt: 5 }, nonce: asNonce('1') });
    assert.equal(bench.record(JOB).job.state.tag, 'granted');
  });

  test('ends what it finds of a job whose cancel was decided', () => {
    const granted = grantedTo(C);
    assert.ok(granted.tag === 'granted');
    const bench = successor({ state: { ...granted, cancelAt: asWall(9) } });
    assert.deepEqual(bench.messages(C, 'cancel').at(-1)?.epoch, epochOf(SELF, 2));
    const grant = { job: JOB, fence: FENCE } as Grant;
    new PeerExecutor(bench, C).result(grant);
    decide(bench);
    assert.equal(bench.status(JOB), 'JOB_CANCELLED');
  });
});
