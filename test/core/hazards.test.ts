/** What must not happen when nodes die, stall, lose each other or come back, with real cores. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { JobId } from '../../src/base/ids.ts';
import { LEASE_MS, REVOKE_WAIT_MS } from '../../src/core/lease.ts';
import { ALONE, B, C, D, nodeId } from './core-bench.ts';
import { MeshBench } from './mesh-bench.ts';
import { A, assertAll, runningAtD, THREE } from './mesh-jobs.ts';
import { outcomeOf } from './peers.ts';

const E = nodeId('e');
/** From the death of a process to the first word of who follows it. */
const FOLLOWED_MS = 3000;

describe('a mesh without faults', () => {
  test('runs a job once, and all its replicas know that it is final', () => {
    const mesh = new MeshBench(THREE, { slots: 1 });
    const job = mesh.accept(A);
    assert.equal(mesh.runs.length, 1);
    mesh.end(job);
    mesh.advance(20_000);
    assertAll(mesh, job, 'JOB_COMPLETED');
    assert.equal(Object.keys(mesh.statuses(job)).length, 3);
    assert.equal(mesh.runs.length, 1);
    assert.equal(mesh.countOf('prepare'), 0);
    assert.equal(mesh.node(A).core.owned().unfinished, 0);
  });

  test('runs a long job without losing its lease or its owner', () => {
    const { mesh, job } = runningAtD({ timeoutMs: 600_000 });
    mesh.advance(120_000);
    assert.deepEqual([mesh.running(job).length, mesh.runs.length], [1, 1]);
    assert.equal(mesh.countOf('prepare'), 0);
  });
});

describe('an owner that dies', () => {
  test('and its disk with it is followed by one replica, and what runs elsewhere runs on', () => {
    const { mesh, job } = runningAtD();
    mesh.crash(A);
    mesh.until(() => mesh.owners(job).length === 1, 'somebody follows');
    mesh.advance(20_000);
    assert.equal(mesh.owners(job).length, 1);
    assert.equal(mesh.runs.length, 1);
    mesh.end(job);
    mesh.advance(1000);
    assertAll(mesh, job, 'JOB_COMPLETED');
  });

  test('and comes back finds its job led by another, or over', () => {
    const { mesh, job } = runningAtD();
    mesh.crash(A);
    mesh.advance(FOLLOWED_MS);
    const [owner] = mesh.owners(job);
    mesh.start(A);
    mesh.advance(15_000);
    assert.deepEqual(mesh.owners(job), [owner]);
    mesh.crash(A);
    mesh.end(job);
    mesh.start(A);
    mesh.advance(15_000);
    assertAll(mesh, job, 'JOB_COMPLETED');
    assert.equal(mesh.runs.length, 1);
  });

  test('and is back before anybody followed leads its job again, under a higher epoch', () => {
    const { mesh, job } = runningAtD();
    const { epoch } = mesh.node(A).record(job).header.accepted;
    mesh.crash(A);
    mesh.start(A);
    mesh.advance(10_000);
    assert.deepEqual(mesh.owners(job), [A]);
    assert.ok(mesh.node(A).record(job).header.accepted.epoch.counter > epoch.counter);
    mesh.end(job);
    assert.equal(mesh.runs.length, 1);
    assert.equal(mesh.node(A).status(job), 'JOB_COMPLETED');
  });

  test('between a grant and its assignment leaves an attempt that its follower finds', () => {
    const mesh = new MeshBench(THREE, { slots: 0 });
    const job = mesh.accept(A);
    mesh.isLost = ({ from, message }) => from === A && message.kind === 'accept';
    mesh.start(D, { slots: 1 });
    mesh.until(() => mesh.runs.length === 1, 'it starts on fresh evidence');
    mesh.crash(A);
    mesh.isLost = () => false;
    mesh.advance(20_000);
    assert.equal(mesh.runs.length, 1);
    assert.equal(mesh.owners(job).length, 1);
    const [owner = B] = mesh.owners(job);
    const { state } = mesh.node(owner).record(job).job;
    assert.deepEqual(state.tag === 'granted' && state.grant.fence, mesh.runs[0]?.fence);
    mesh.end(job);
    assertAll(mesh, job, 'JOB_COMPLETED');
  });

  test('between the two, with nobody to follow for long, leaves an outcome that is taken then', () => {
    const mesh = new MeshBench(THREE, { slots: 0 });
    const job = mesh.accept(A);
    mesh.isLost = ({ from, message }) => from === A && message.kind === 'accept';
    for (const node of [D, E]) mesh.start(node, { slots: 1 });
    mesh.until(() => mesh.runs.length === 1, 'it starts on fresh evidence');
    mesh.crash(A);
    mesh.partition([C], [B, D, E]);
    mesh.end(job, { tag: 'exited', code: 3 });
    mesh.advance(20_000);
    assert.deepEqual(mesh.owners(job), []);
    mesh.heal();
    mesh.advance(20_000);
    assert.equal(mesh.runs.length, 1);
    assertAll(mesh, job, 'JOB_FAILED');
  });

  test('after a client was told of its cancel is followed by one who keeps to it', () => {
    const { mesh, job } = runningAtD();
    // The executor does not hear of it.
    mesh.isLost = ({ to, message }) => to === D && message.kind === 'cancel';
    const request = mesh.cancel(A, job);
    assert.equal(mesh.node(A).reply(request).kind, 'cancelling');
    mesh.crash(A);
    mesh.isLost = () => false;
    mesh.end(job);
    mesh.advance(FOLLOWED_MS);
    assertAll(mesh, job, 'JOB_CANCELLED');
  });
});

describe('an executor that dies', () => {
  test('is followed by another attempt, after its lease and soon after it', () => {
    const { mesh, job } = runningAtD();
    mesh.advance(3000);
    mesh.start(E, { slots: 1 });
    mesh.crash(D);
    const diedAt = mesh.monoMs;
    mesh.until(() => mesh.runs.length === 2, 'it runs again');
    const [, second] = mesh.runs;
    assert.ok(second && second.at - diedAt >= LEASE_MS - 1000, `${(second?.at ?? 0) - diedAt} ms`);
    assert.ok(second.at - diedAt <= REVOKE_WAIT_MS + 1000, `${second.at - diedAt} ms`);
    mesh.end(job);
    assertAll(mesh, job, 'JOB_COMPLETED');
  });

  test('between its effect and its report is run again: at least once', () => {
    const { mesh, job } = runningAtD();
    mesh.isLost = ({ from, message }) => from === D && message.kind === 'result';
    mesh.end(job);
    mesh.crash(D);
    mesh.loseDisk(D);
    mesh.isLost = () => false;
    mesh.start(E, { slots: 1 });
    mesh.until(() => mesh.runs.length === 2, 'it runs again');
    mesh.end(job);
    assertAll(mesh, job, 'JOB_COMPLETED');
  });

  test('with its outcome on disk tells it when it is back, before it is run again', () => {
    const { mesh, job } = runningAtD();
    mesh.isLost = ({ from, message }) => from === D && message.kind === 'result';
    mesh.end(job);
    mesh.crash(D);
    mesh.isLost = () => false;
    mesh.start(D);
    mesh.advance(1000);
    assertAll(mesh, job, 'JOB_COMPLETED');
    assert.equal(mesh.runs.length, 1);
  });

  test('again and again, whoever it is, makes a poison job JOB_LOST and no more', () => {
    const { mesh, job } = runningAtD();
    for (const node of [E, nodeId('f'), nodeId('9'), nodeId('8')]) {
      const at = mesh.runs.length;
      mesh.start(node, { slots: 1 });
      const victim = mesh.running(job)[0]?.node;
      if (!victim) break;
      mesh.crash(victim);
      mesh.advance(REVOKE_WAIT_MS + 2000);
      assert.ok(mesh.runs.length <= at + 1);
    }
    assertAll(mesh, job, 'JOB_LOST');
    assert.equal(mesh.runs.length, 4);
  });

  test('with its owner on the same machine is waited for, and the job runs once more', () => {
    const mesh = new MeshBench(THREE, { slots: 1 });
    const job = mesh.accept(A);
    assert.equal(mesh.running(job)[0]?.node, A);
    mesh.crash(A);
    mesh.until(() => mesh.runs.length === 2, 'it runs again');
    assert.notEqual(mesh.runs[1]?.node, A);
    mesh.end(job);
    mesh.start(A);
    mesh.advance(15_000);
    assertAll(mesh, job, 'JOB_COMPLETED');
    assert.equal(mesh.runs.length, 2);
  });
});

describe('a node that is killed and started again within four seconds', () => {
  test('takes up what it ran: same process, no second run, whoever owns the job', () => {
    const { mesh, job } = runningAtD({ timeoutMs: 600_000 });
    mesh.advance(3000);
    mesh.restart(D, 4000, LEASE_MS - 500 - 4000);
    mesh.advance(30_000);
    assert.deepEqual([mesh.running(job).length, mesh.runs.length], [1, 1]);
    mesh.end(job);
    mesh.advance(1000);
    assertAll(mesh, job, 'JOB_COMPLETED');
    assert.equal(mesh.node(A).record(job).job.losses, 0);
  });

  test('takes up what it ran though its owner died meanwhile and was followed', () => {
    const { mesh, job } = runningAtD({ timeoutMs: 600_000 });
    mesh.advance(3000);
    mesh.crash(D, true);
    mesh.advance(500);
    mesh.crash(A);
    mesh.advance(2500);
    const [ran] = mesh.runs;
    assert.ok(ran);
    const leaseLeftMs = LEASE_MS - 3500;
    const startedAt = mesh.node(B).now().wall;
    mesh.start(D, undefined, [{ job, fence: ran.fence, startedAt, leaseLeftMs }]);
    mesh.advance(30_000);
    assert.deepEqual([mesh.running(job).length, mesh.runs.length], [1, 1]);
    mesh.end(job);
    mesh.advance(1000);
    assertAll(mesh, job, 'JOB_COMPLETED');
  });

  test('as owner and executor of its job in one goes on with it', () => {
    for (const nodes of [[A], [A, B], THREE]) {
      const mesh = new MeshBench(nodes, { slots: 1 });
      const job = mesh.accept(A, { timeoutMs: 600_000 });
      assert.equal(mesh.running(job)[0]?.node, A);
      mesh.advance(3000);
      mesh.restart(A, 3500, LEASE_MS - 500 - 3500);
      mesh.advance(30_000);
      assert.deepEqual([mesh.running(job).length, mesh.runs.length], [1, 1], `${nodes.length}`);
      mesh.end(job);
      mesh.advance(1000);
      assertAll(mesh, job, 'JOB_COMPLETED');
    }
  });

  test('and restarted as an owner keeps the attempts that run elsewhere, again and again', () => {
    const { mesh, job } = runningAtD({ timeoutMs: 600_000 });
    for (let round = 0; round < 5; round++) {
      mesh.restart(A, 1000 + 700 * round, undefined);
      mesh.advance(9000);
    }
    assert.deepEqual([mesh.running(job).length, mesh.runs.length], [1, 1]);
    mesh.end(job);
    mesh.advance(15_000);
    assertAll(mesh, job, 'JOB_COMPLETED');
  });
});

describe('a replica that was away', () => {
  test('learns that a job is over', () => {
    const { mesh, job } = runningAtD();
    mesh.crash(C);
    mesh.end(job);
    mesh.advance(5000);
    mesh.start(C);
    mesh.advance(5000);
    assertAll(mesh, job, 'JOB_COMPLETED');
    assert.equal(Object.keys(mesh.statuses(job)).length, 3);
  });

  test('while its place was filled is let go, and takes nothing up again', () => {
    const mesh = new MeshBench([A, B, C], { slots: 0 });
    const job = mesh.accept(A);
    mesh.crash(C);
    mesh.start(D);
    mesh.advance(65_000);
    assert.ok(!mesh.node(A).record(job).header.rs.includes(C));
    mesh.start(C);
    mesh.advance(15_000);
    assert.equal(mesh.node(C).records.has(job), false);
    mesh.crash(A);
    mesh.advance(10_000);
    const [owner, ...others] = mesh.owners(job);
    assert.deepEqual([others.length, owner === B || owner === D], [0, true]);
  });
});

describe('a replica that was let go', () => {
  test('helps nobody who missed the change to lead with what had been before it', () => {
    const mesh = new MeshBench(THREE, { slots: 0 });
    const job = mesh.accept(A);
    mesh.isLost = ({ to, message }) => to === B && message.kind === 'accept';
    mesh.start(D);
    mesh.node(C).put({ kind: 'drain', deadlineMs: 60_000, way: 'leave' });
    mesh.until(() => !mesh.node(A).record(job).header.rs.includes(C), 'C is let go');
    mesh.until(() => mesh.node(A).record(job).header.oldRs.length === 0, 'the change is over');
    mesh.advance(500);
    assert.deepEqual(mesh.node(B).record(job).header.rs.includes(C), true, 'B has missed it');
    const request = mesh.cancel(A, job);
    assert.equal(mesh.node(A).reply(request).kind, 'cancelled');
    // B and C are a majority of the set that B knows.
    mesh.partition([A, D], [B, C]);
    mesh.isLost = () => false;
    mesh.advance(15_000);
    mesh.heal();
    mesh.advance(20_000);
    assertAll(mesh, job, 'JOB_CANCELLED');
  });
});

describe('a disk', () => {
  test('that takes no writes for a while loses nothing that was accepted', () => {
    const { mesh, job } = runningAtD();
    mesh.node(A).failDisk();
    mesh.end(job);
    mesh.advance(2000);
    assert.notEqual(mesh.node(B).status(job), 'JOB_COMPLETED');
    mesh.node(A).mendDisk();
    mesh.advance(5000);
    assertAll(mesh, job, 'JOB_COMPLETED');
    assert.equal(mesh.runs.length, 1);
  });

  test('that is full takes back only what it does not have', () => {
    const mesh = new MeshBench(THREE, { slots: 0 });
    mesh.isLost = ({ message }) => message.kind === 'accepted';
    const written = mesh.submit(A);
    mesh.node(A).isDiskHeld = true;
    const refused = mesh.submit(A);
    mesh.node(A).failDisk();
    assert.deepEqual(mesh.replies(A, refused.request), [{ kind: 'notAccepting', reason: 'disk' }]);
    assert.deepEqual(mesh.replies(A, written.request), []);
    mesh.node(A).mendDisk();
    mesh.isLost = () => false;
    mesh.advance(3000);
    assert.equal(mesh.node(A).reply(written.request).kind, 'submitted');
    mesh.advance(10_000);
    assert.deepEqual(mesh.statuses(refused.job), {});
  });
});

describe('a result', () => {
  test('that comes twice, late, or of nobody, changes nothing', () => {
    const { mesh, job } = runningAtD();
    const fence = mesh.runs[0]?.fence ?? assert.fail();
    mesh.end(job);
    mesh.advance(1000);
    const before = mesh.node(A).record(job);
    for (const end of [{ tag: 'exited', code: 0 } as const, { tag: 'timeout' } as const])
      mesh.node(A).hear(D, { kind: 'result', job, outcome: outcomeOf(fence, D, end) });
    mesh.node(A).hear(D, {
      kind: 'result',
      job: 'unknown' as JobId,
      outcome: outcomeOf(fence, D),
    });
    mesh.settle();
    mesh.advance(1000);
    assert.deepEqual(mesh.node(A).record(job), before);
  });
});

test('a record of a later program is kept and passed on, and led by nobody who cannot read it', () => {
  const { mesh, job } = runningAtD({ timeoutMs: 600_000 });
  for (const node of [B, C]) {
    const { header, job: body } = mesh.node(node).record(job);
    const { accepted } = header;
    const newer = { ...accepted, version: accepted.version + 1 };
    const record = { header: { ...header, accepted: newer, minVersion: 99 }, job: body };
    mesh.node(node).hear(A, { kind: 'accept', record });
  }
  mesh.settle();
  mesh.crash(A);
  mesh.advance(15_000);
  assert.deepEqual(mesh.owners(job), []);
});

test('a job of its own node alone survives nothing but its own restart, which it does', () => {
  const mesh = new MeshBench(THREE, { slots: 1 });
  const job = mesh.accept(A, ALONE);
  mesh.crash(A);
  mesh.advance(20_000);
  assert.deepEqual(mesh.statuses(job), {});
  mesh.start(A);
  mesh.until(() => mesh.runs.length === 2, 'it runs again');
  mesh.end(job);
  assertAll(mesh, job, 'JOB_COMPLETED');
});
