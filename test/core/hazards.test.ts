/** What must not happen when nodes die, stall, lose each other or come back, with real cores. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { JobId } from '../../src/base/ids.ts';
import { B, C, D, nodeId } from './core-bench.ts';
import { MeshBench } from './mesh-bench.ts';

const A = nodeId('a');
const THREE = [A, B, C] as const;

/** All nodes that have the job say the same, and this. */
function assertAll(mesh: MeshBench, job: JobId, status: string): void {
  const statuses = mesh.statuses(job);
  const isAll = Object.values(statuses).every((it) => it === status);
  assert.ok(isAll, JSON.stringify(statuses));
}

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
  });
});

describe('an owner that dies', () => {
  test('is followed by one replica, and the attempt that runs elsewhere runs on', () => {
    const mesh = new MeshBench(THREE, { slots: 0 });
    mesh.start(D, { slots: 1 });
    mesh.advance(100);
    const job = mesh.accept(A);
    const [ran] = mesh.running(job);
    assert.equal(ran?.node, D);
    mesh.crash(A);
    mesh.until(() => mesh.owners(job).length === 1, 'somebody follows');
    mesh.advance(20_000);
    assert.equal(mesh.owners(job).length, 1);
    assert.equal(mesh.runs.length, 1);
    mesh.end(job);
    mesh.advance(1000);
    assertAll(mesh, job, 'JOB_COMPLETED');
    mesh.start(A);
    mesh.advance(20_000);
    assert.equal(mesh.node(A).status(job), 'JOB_COMPLETED');
  });
});

describe('a replica that was let go', () => {
  test('helps nobody who missed the change to lead with what had been before it', () => {
    const mesh = new MeshBench(THREE, { slots: 0 });
    const job = mesh.accept(A);
    // B misses all that is said from now on; nobody has to notice.
    mesh.isLost = ({ to, message }) => to === B && message.kind === 'accept';
    mesh.start(D);
    mesh.node(C).put({ kind: 'drain', deadlineMs: 60_000, way: 'leave' });
    mesh.until(() => !mesh.node(A).record(job).header.rs.includes(C), 'C is let go');
    mesh.until(() => mesh.node(A).record(job).header.oldRs.length === 0, 'the change is over');
    mesh.advance(500);
    assert.deepEqual(mesh.node(B).record(job).header.rs.includes(C), true, 'B has missed it');
    const request = mesh.cancel(A, job);
    assert.equal(mesh.node(A).reply(request).kind, 'cancelled');
    // Now the owner dies, and D, who alone knows the end, is out of reach for a while.
    mesh.partition([A, D], [B, C]);
    mesh.isLost = () => false;
    mesh.advance(15_000);
    mesh.heal();
    mesh.advance(20_000);
    assertAll(mesh, job, 'JOB_CANCELLED');
  });
});
