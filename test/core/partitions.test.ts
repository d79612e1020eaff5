/** Nodes that lose each other, or stand still and wake, with real cores. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { B, C, D, nodeId } from './core-bench.ts';
import { MeshBench } from './mesh-bench.ts';
import { A, assertAll, runningAtD, THREE } from './mesh-jobs.ts';

const E = nodeId('e');

describe('a partition', () => {
  test('has one owner that decides: the one on the side of the majority', () => {
    const { mesh, job } = runningAtD();
    mesh.partition([A], [B, C, D]);
    const early = mesh.cancel(A, job);
    mesh.advance(10_000);
    assert.deepEqual(mesh.replies(A, early), [], 'a minority decides nothing');
    mesh.end(job);
    mesh.advance(1000);
    assert.equal(mesh.node(B).status(job), 'JOB_COMPLETED');
    assert.equal(mesh.node(C).status(job), 'JOB_COMPLETED');
    mesh.heal();
    mesh.advance(5000);
    assert.deepEqual(mesh.replies(A, early), [{ kind: 'deposed', job }]);
    mesh.advance(15_000);
    assertAll(mesh, job, 'JOB_COMPLETED');
    assert.equal(mesh.runs.length, 1);
  });

  test('ends an attempt on the side of the minority before another one starts', () => {
    const mesh = new MeshBench(THREE, { slots: 1 });
    const job = mesh.accept(A);
    assert.equal(mesh.running(job)[0]?.node, A);
    mesh.partition([A], [B, C]);
    mesh.until(() => mesh.running(job).length === 0, 'the first one is ended');
    mesh.until(() => mesh.runs.length === 2, 'the second one starts');
    mesh.end(job);
    mesh.heal();
    mesh.advance(15_000);
    assertAll(mesh, job, 'JOB_COMPLETED');
    assert.equal(mesh.runs.length, 2);
  });

  test('lets both sides take new jobs, that are known everywhere afterwards', () => {
    const mesh = new MeshBench(THREE, { slots: 1 });
    mesh.partition([A], [B, C]);
    mesh.advance(10_000);
    const left = mesh.submit(A);
    const right = mesh.submit(B);
    mesh.advance(2500);
    assert.equal(mesh.node(A).reply(left.request).kind, 'submitted');
    assert.equal(mesh.node(B).reply(right.request).kind, 'submitted');
    mesh.end(left.job);
    mesh.end(right.job);
    mesh.heal();
    mesh.advance(20_000);
    for (const job of [left.job, right.job]) assertAll(mesh, job, 'JOB_COMPLETED');
    assert.equal(mesh.runs.length, 2);
  });

  test('in which a deposed owner still reaches the executor does not let it end the attempt', () => {
    const { mesh, job } = runningAtD();
    mesh.partition([A], [B, C]);
    // Else D, who hears them all, would tell B and C that A lives.
    mesh.isLost = ({ message }) => message.kind === 'heard';
    mesh.until(() => mesh.owners(job).some((node) => node !== A), 'it is followed');
    mesh.advance(1000);
    const adopted = mesh.running(job).length;
    mesh.node(D).hear(A, {
      kind: 'cancel',
      job,
      fence: mesh.runs[0]?.fence ?? assert.fail(),
      epoch: { counter: 1, node: A },
    });
    mesh.settle();
    assert.deepEqual([adopted, mesh.running(job).length], [1, 1]);
    mesh.end(job);
    mesh.heal();
    mesh.advance(15_000);
    assertAll(mesh, job, 'JOB_COMPLETED');
  });

  test('of one direction only neither loses a job nor runs it twice', () => {
    for (const [from, to] of [
      [A, D],
      [D, A],
      [A, B],
      [B, A],
    ]) {
      const { mesh, job } = runningAtD({ timeoutMs: 600_000 });
      mesh.isLost = (letter) => letter.from === from && letter.to === to;
      mesh.advance(30_000);
      mesh.isLost = () => false;
      mesh.heal();
      mesh.advance(30_000);
      assert.equal(mesh.running(job).length, 1, `${from} to ${to}`);
      mesh.end(job);
      mesh.advance(1000);
      assertAll(mesh, job, 'JOB_COMPLETED');
    }
  });
});

describe('a node that is frozen', () => {
  test('as an executor is replaced after its lease, and its late outcome counts for nothing', () => {
    const { mesh, job } = runningAtD();
    mesh.start(E, { slots: 1 });
    mesh.freeze(D);
    mesh.until(() => mesh.runs.length === 2, 'another attempt starts');
    const [frozen] = mesh.runs;
    assert.ok(frozen);
    mesh.endRun(frozen, { tag: 'exited', code: 1 });
    mesh.end(job);
    assertAll(mesh, job, 'JOB_COMPLETED');
    mesh.thaw(D);
    mesh.advance(15_000);
    assertAll(mesh, job, 'JOB_COMPLETED');
    assert.equal(mesh.runs.length, 2);
    const found = THREE.flatMap((node) => [...mesh.disk(node).tables.conflicts.values()]);
    assert.ok(found.length > 0 && found.every(({ tag }) => tag === 'outcomes'));
  });

  test('as an owner is followed, and tells its clients so as it wakes', () => {
    const { mesh, job } = runningAtD();
    mesh.isLost = ({ from }) => from === A;
    const request = mesh.cancel(A, job);
    mesh.freeze(A);
    mesh.isLost = () => false;
    mesh.until(() => mesh.owners(job).some((node) => node !== A), 'it is followed');
    mesh.thaw(A);
    mesh.advance(15_000);
    assert.equal(mesh.owners(job).length, 1);
    assert.deepEqual(
      mesh.replies(A, request).map(({ kind }) => kind),
      ['deposed'],
    );
    mesh.end(job);
    mesh.advance(1000);
    assertAll(mesh, job, 'JOB_COMPLETED');
  });
});

describe('a pair', () => {
  const pair = () => {
    const mesh = new MeshBench([A, B], { slots: 0 });
    return { mesh, job: mesh.accept(A) };
  };

  test('parted decides at the owner alone, and the peer takes nothing over', () => {
    const { mesh, job } = pair();
    mesh.partition([A], [B]);
    mesh.advance(10_000);
    const request = mesh.cancel(A, job);
    assert.equal(mesh.node(A).reply(request).kind, 'cancelled');
    mesh.advance(60_000);
    assert.equal(mesh.node(B).status(job), 'JOB_PENDING');
    assert.deepEqual(mesh.owners(job), []);
    mesh.heal();
    mesh.advance(5000);
    assertAll(mesh, job, 'JOB_CANCELLED');
  });

  test('whose owner was killed is led by the peer at once, when its port refuses', () => {
    const { mesh, job } = pair();
    mesh.advance(2000);
    mesh.crash(A);
    mesh.advance(2000);
    assert.deepEqual(mesh.owners(job), [B]);
    mesh.start(A);
    mesh.advance(10_000);
    assert.deepEqual(mesh.owners(job), [B]);
  });

  test('whose owner had decided alone and was killed waits for its disk', () => {
    const { mesh, job } = pair();
    const other = mesh.accept(A);
    mesh.partition([A], [B]);
    mesh.advance(10_000);
    assert.equal(mesh.node(A).reply(mesh.cancel(A, job)).kind, 'cancelled');
    mesh.crash(A);
    mesh.heal();
    mesh.advance(60_000);
    assert.deepEqual([mesh.owners(job), mesh.owners(other)], [[], []]);
    mesh.start(A);
    mesh.advance(10_000);
    assertAll(mesh, job, 'JOB_CANCELLED');
    assert.deepEqual(mesh.owners(other), [A]);
  });

  test('of which one stays goes on when the other was forgotten', () => {
    const { mesh, job } = pair();
    mesh.freeze(A);
    mesh.advance(20_000);
    assert.deepEqual(mesh.owners(job), [A]);
    mesh.node(B).put({ kind: 'forget', request: 'f' as never, node: A });
    mesh.advance(1000);
    assert.ok(mesh.owners(job).includes(B));
  });
});
