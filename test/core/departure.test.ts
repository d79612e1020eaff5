import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Leaving } from '../../src/core/inputs.ts';
import { ALONE, B, C, CoreBench, D, nodeId, SELF } from './core-bench.ts';
import { MeshBench } from './mesh-bench.ts';
import { PeerExecutor, PeerOwner, reportRunning } from './peers.ts';
import { epochOf } from './record-of.ts';

const A = nodeId('a');

const drain = (bench: CoreBench, way: Leaving, deadlineMs = 10_000): void =>
  bench.put({ kind: 'drain', deadlineMs, way });

/** An owner without slots of a waiting job that two silent replicas keep as well. */
function owner() {
  const bench = new CoreBench({ facts: { slots: 0 } });
  for (const node of [B, C]) bench.link(node, { slots: 0 });
  const job = bench.accept();
  const [, heir] = bench.record(job).header.rs;
  return { bench, job, heir: heir ?? assert.fail() };
}

const taken = (bench: CoreBench, job: ReturnType<typeof owner>['job'], by = B): void =>
  bench.hear(by, { kind: 'prepare', job, epoch: epochOf(by, 2), ifAbsent: false });

describe('a node that goes', () => {
  for (const way of ['stop', 'restart', 'leave'] as const) {
    test(`asks the first replica that lives to take over what waits (${way})`, () => {
      const { bench, job, heir } = owner();
      drain(bench, way);
      const { epoch, idleVersion } = bench.message(heir, 'handOver');
      assert.deepEqual(epoch, epochOf(SELF));
      assert.equal(idleVersion, bench.record(job).header.accepted.version);
      assert.deepEqual(bench.messages(heir === B ? C : B, 'handOver'), []);
      if (way !== 'leave') {
        taken(bench, job, heir);
        bench.advance(100);
        bench.one('drained');
      }
    });
  }

  test('asks again while nobody takes it, and goes in the end all the same', () => {
    const { bench, heir } = owner();
    drain(bench, 'restart', 2000);
    bench.advance(2500);
    assert.equal(bench.messages(heir, 'handOver').length, 3);
    assert.deepEqual(bench.take('drained'), []);
    bench.advance(2700);
    bench.one('drained');
    assert.equal(bench.core.owned().unfinished, 1);
  });

  test('hands a long queue over in portions, and each job once in a round', () => {
    const bench = new CoreBench({ facts: { slots: 0 }, maxJobs: 2000 });
    bench.link(B, { slots: 0 });
    const jobs = Array.from({ length: 1200 }, () => bench.accept());
    const handedOver = (): string[] => bench.messages(B, 'handOver').map(({ job }) => job);
    drain(bench, 'restart');
    const first = handedOver();
    assert.equal(first.length, 1000);
    bench.advance(100);
    assert.deepEqual([...first, ...handedOver()].sort(), [...jobs].sort());
    bench.advance(100);
    assert.deepEqual(handedOver(), []);
  });

  test('asks nobody who goes as well', () => {
    const { bench, job } = owner();
    for (const node of [B, C]) {
      const load = { ...bench.core.load(), draining: true };
      bench.talking.set(node, load);
    }
    bench.talk();
    drain(bench, 'restart');
    assert.deepEqual([...bench.messages(B, 'handOver'), ...bench.messages(C, 'handOver')], []);
    bench.one('drained');
    assert.equal(bench.status(job), 'JOB_PENDING');
  });

  test('keeps a job that nobody else has for its next start', () => {
    const bench = new CoreBench({ facts: { slots: 0 } });
    bench.link(B);
    const job = bench.accept({ ...ALONE, taskType: 'none' });
    drain(bench, 'stop');
    bench.one('drained');
    const next = bench.restarted({ facts: { slots: 0 } });
    assert.equal(next.status(job), 'JOB_PENDING');
    next.advance(100);
    assert.equal(next.core.owned().unfinished, 1);
  });
});

describe('a node that restarts', () => {
  test('lets run what runs here, and says that it will be back', () => {
    const bench = new CoreBench({ facts: { slots: 1 } });
    bench.link(B);
    const grant = new PeerOwner(bench, B).give();
    bench.one('start');
    reportRunning(bench, grant);
    bench.message(B, 'started');
    drain(bench, 'restart', 0);
    bench.one('drained');
    assert.equal(bench.message(B, 'goodbye').isBack, true);
    bench.advance(5000);
    assert.deepEqual(bench.take('stop'), []);
    assert.equal(bench.core.load().running, 1);
  });

  test('and says that it will be back is not taken for one that left', () => {
    const bench = new CoreBench({ facts: { slots: 0 } });
    bench.link(B);
    const executor = new PeerExecutor(bench, B);
    const grant = executor.takeOffered(bench.accept(ALONE));
    executor.started(grant);
    bench.hear(B, { kind: 'goodbye', isBack: true });
    assert.deepEqual(
      bench.core.peers().map(({ state }) => state),
      ['alive'],
    );
    const { state } = bench.record(grant.job).job;
    assert.equal(state.tag, 'granted');
  });
});

describe('a node that stops', () => {
  test('hands over only what does not move: what runs elsewhere is waited for', () => {
    const bench = new CoreBench({ facts: { slots: 0 } });
    bench.link(B);
    const executor = new PeerExecutor(bench, B);
    const grant = executor.takeOffered(bench.accept());
    executor.started(grant);
    drain(bench, 'stop');
    bench.advance(3000);
    assert.deepEqual(bench.messages(B, 'handOver'), []);
    assert.deepEqual(bench.take('drained'), []);
    executor.result(grant);
    bench.advance(200);
    bench.one('drained');
  });
});

describe('a node that leaves for good', () => {
  test('says so with its load, and is not chosen for new records', () => {
    const bench = new CoreBench();
    bench.link(B);
    bench.signs.length = 0;
    drain(bench, 'leave');
    const ping = bench.signs.find(({ message }) => message.kind === 'ping')?.message;
    assert.equal(ping?.kind === 'ping' && ping.load.leaving, true);
  });

  test('goes when its jobs are owned and its records are kept by others', () => {
    const mesh = new MeshBench([A, B, C, D], { slots: 0 });
    const jobs = [A, A, A, B, C, D].map((node) => mesh.accept(node));
    const leaving = mesh.node(A);
    leaving.put({ kind: 'drain', deadlineMs: 60_000, way: 'leave' });
    mesh.settle();
    const startedAt = mesh.monoMs;
    mesh.until(() => leaving.take('drained').length > 0, 'it may go');
    assert.ok(mesh.monoMs - startedAt < 20_000, `${mesh.monoMs - startedAt} ms`);
    assert.equal(leaving.records.size, 0);
    mesh.crash(A);
    for (const job of jobs) {
      assert.equal(mesh.owners(job).length, 1, job);
      const { rs, oldRs } = mesh.node(mesh.owners(job)[0] ?? B).record(job).header;
      assert.ok(!rs.includes(A), job);
      assert.deepEqual([rs.length, oldRs.length], [3, 0]);
    }
  });

  test('goes with its records when nobody is there to keep them', () => {
    const bench = new CoreBench({ facts: { slots: 0 } });
    bench.accept();
    drain(bench, 'leave');
    bench.one('drained');
  });
});

test('jobs that a restarted node handed over run on elsewhere, each once', () => {
  const mesh = new MeshBench([A, B, C], { slots: 0 });
  const jobs = [1, 2, 3].map(() => mesh.accept(A));
  const bench = mesh.node(A);
  bench.put({ kind: 'drain', deadlineMs: 5000, way: 'restart' });
  mesh.settle();
  mesh.until(() => bench.take('drained').length > 0, 'it may go');
  mesh.crash(A);
  mesh.start(D, { slots: 3 });
  mesh.until(() => mesh.runs.length === 3, 'all are started');
  for (const job of jobs) mesh.end(job);
  mesh.start(A);
  mesh.advance(30_000);
  assert.equal(mesh.runs.length, 3);
  for (const job of jobs)
    for (const status of Object.values(mesh.statuses(job))) assert.equal(status, 'JOB_COMPLETED');
});
