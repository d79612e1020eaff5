/** A mesh in which one job is on its way, as several tests need it. */
import assert from 'node:assert/strict';
import type { JobId } from '../../src/base/ids.ts';
import { B, C, D, nodeId } from './core-bench.ts';
import { MeshBench } from './mesh-bench.ts';

export const A = nodeId('a');
export const THREE = [A, B, C] as const;

/** All nodes that have the job say the same, and this. */
export function assertAll(mesh: MeshBench, job: JobId, status: string): void {
  const statuses = mesh.statuses(job);
  const isAll = Object.values(statuses).every((it) => it === status);
  assert.ok(isAll, JSON.stringify(statuses));
}

/** Three nodes without slots that keep a job of A, which runs at D. */
export function runningAtD(spec = {}) {
  const mesh = new MeshBench(THREE, { slots: 0 });
  mesh.start(D, { slots: 1 });
  mesh.advance(200);
  const job = mesh.accept(A, spec);
  assert.deepEqual(
    mesh.running(job).map(({ node }) => node),
    [D],
  );
  const { rs } = mesh.node(A).record(job).header;
  return { mesh, job, rs };
}
