/** What a pair's owner decided alone, and when its peer may follow it again. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { B } from './core-bench.ts';
import { MeshBench } from './mesh-bench.ts';
import { A, assertAll } from './mesh-jobs.ts';

test("a job that a pair's owner ended alone, after it had let its peer go, is not led again by that one", () => {
  const mesh = new MeshBench([A, B], { slots: 0 });
  const job = mesh.accept(A);
  mesh.partition([A], [B]);
  mesh.advance(75_000);
  assert.deepEqual(mesh.node(A).record(job).header.rs, [A]);
  assert.equal(mesh.node(A).reply(mesh.cancel(A, job)).kind, 'cancelled');
  // The owner's process goes before it has answered all that its peer names.
  mesh.isLost = ({ message }) => message.kind === 'retire';
  mesh.heal();
  mesh.advance(1500);
  mesh.crash(A);
  mesh.isLost = () => false;
  mesh.advance(10_000);
  assert.deepEqual(mesh.owners(job), []);
  mesh.start(A);
  mesh.advance(20_000);
  assertAll(mesh, job, 'JOB_CANCELLED');
});

test('once the peer has said that it keeps nothing of it, it may follow alone again', () => {
  const mesh = new MeshBench([A, B], { slots: 0 });
  const over = mesh.accept(A);
  mesh.partition([A], [B]);
  mesh.advance(75_000);
  mesh.cancel(A, over);
  mesh.heal();
  const job = mesh.accept(A);
  mesh.advance(3000);
  mesh.crash(A);
  mesh.advance(5000);
  assert.deepEqual(mesh.owners(job), [B]);
});
