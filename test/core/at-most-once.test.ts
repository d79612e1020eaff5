import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { JobRecord } from '../../src/core/job-record.ts';
import { LEASE_MS, REVOKE_WAIT_MS } from '../../src/core/lease.ts';
import { B, C, CoreBench, D, nodeId, SELF } from './core-bench.ts';
import { MeshBench } from './mesh-bench.ts';
import { PeerExecutor } from './peers.ts';
import { epochOf } from './record-of.ts';

const ONCE = { delivery: 'at_most_once' } as const;
const A = nodeId('a');

function finalOf({ job: { state } }: JobRecord): { status: string; reason: string } {
  return state.tag === 'final' ? state.final : assert.fail(`it is ${state.tag}`);
}

/** An owner whose replicas C and D vote only when they are told to; B has slots. */
function owner(): CoreBench {
  const bench = new CoreBench({ facts: { slots: 0 } });
  for (const node of [C, D]) bench.link(node, { slots: 0 });
  return bench;
}

describe('the grant of a job that may run at most once', () => {
  test('waits until the assignment is decided; of any other job it does not', () => {
    for (const delivery of ['at_least_once', 'at_most_once'] as const) {
      const bench = owner();
      const job = bench.accept({ delivery });
      for (const node of [C, D]) bench.replica(node).isSilent = true;
      bench.link(B);
      bench.message(B, 'offer');
      new PeerExecutor(bench, B).claim(job);
      assert.equal(bench.messages(B, 'grant').length, delivery === 'at_least_once' ? 1 : 0);
      const { version } = bench.record(job).header.accepted;
      bench.hear(D, { kind: 'accepted', job, epoch: epochOf(SELF), version });
      assert.equal(bench.messages(B, 'grant').length, delivery === 'at_least_once' ? 0 : 1);
    }
  });

  test('has a lease from the moment of the claim on, however long the decision took', () => {
    const bench = owner();
    const job = bench.accept(ONCE);
    for (const node of [C, D]) bench.replica(node).isSilent = true;
    bench.link(B);
    bench.message(B, 'offer');
    new PeerExecutor(bench, B).claim(job);
    bench.advance(1500);
    const { version } = bench.record(job).header.accepted;
    bench.hear(D, { kind: 'accepted', job, epoch: epochOf(SELF), version });
    const [grant] = bench.messages(B, 'grant');
    assert.ok(grant && grant.grant.leaseMs <= LEASE_MS - 1500, `${grant?.grant.leaseMs} ms`);
  });

  test('of a job that was cancelled meanwhile is not sent: its executor is told to end it', () => {
    const bench = owner();
    const job = bench.accept(ONCE);
    for (const node of [C, D]) bench.replica(node).isSilent = true;
    bench.link(B);
    bench.message(B, 'offer');
    new PeerExecutor(bench, B).claim(job);
    const request = bench.cancel(job);
    const { version } = bench.record(job).header.accepted;
    bench.hear(D, { kind: 'accepted', job, epoch: epochOf(SELF), version });
    assert.equal(bench.reply(request).kind, 'cancelling');
    assert.deepEqual(bench.messages(B, 'grant'), []);
    assert.ok(bench.messages(B, 'cancel').length > 0);
  });
});

describe('any other grant', () => {
  test('waits for its decision too when the last evidence is half a lease ago', () => {
    const bench = owner();
    const job = bench.accept();
    for (const node of [C, D]) bench.replica(node).isSilent = true;
    bench.advance(LEASE_MS / 2 + 100);
    bench.link(B);
    bench.message(B, 'offer');
    new PeerExecutor(bench, B).claim(job);
    assert.deepEqual(bench.messages(B, 'grant'), []);
    const { version } = bench.record(job).header.accepted;
    bench.hear(D, { kind: 'accepted', job, epoch: epochOf(SELF), version });
    bench.message(B, 'grant');
  });

  test('sent on fresh evidence ends with it, not later', () => {
    const bench = owner();
    const job = bench.accept();
    bench.advance(2000);
    bench.link(B);
    bench.message(B, 'offer');
    new PeerExecutor(bench, B).claim(job);
    assert.equal(bench.message(B, 'grant').grant.leaseMs, LEASE_MS - 2000);
  });
});

describe('a job that may run at most once', () => {
  test('is lost with its executor, and is not run again', () => {
    const mesh = new MeshBench([A, B, C], { slots: 0 });
    mesh.start(D, { slots: 1 });
    const job = mesh.accept(A, ONCE);
    assert.equal(mesh.running(job).length, 1);
    mesh.crash(D);
    mesh.start(nodeId('e'), { slots: 1 });
    mesh.advance(REVOKE_WAIT_MS + 2000);
    const { status, reason } = finalOf(mesh.node(A).record(job));
    assert.equal(status, 'JOB_LOST');
    assert.match(reason, /^not run again, as it may run at most once: /);
    assert.equal(mesh.runs.length, 1);
  });

  test('is not run again by a new owner, whose record names the attempt', () => {
    const mesh = new MeshBench([A, B, C], { slots: 0 });
    mesh.start(D, { slots: 1 });
    const job = mesh.accept(A, ONCE);
    mesh.crash(A);
    mesh.advance(10_000);
    assert.equal(mesh.runs.length, 1);
    mesh.end(job);
    mesh.advance(1000);
    for (const status of Object.values(mesh.statuses(job))) assert.equal(status, 'JOB_COMPLETED');
  });

  test('is run by a new owner when its assignment was never agreed on: nothing was started', () => {
    const mesh = new MeshBench([A, B, C], { slots: 0 });
    const job = mesh.accept(A, ONCE);
    // The assignment gets to nobody.
    mesh.isLost = ({ from, message }) => from === A && message.kind === 'accept';
    mesh.start(D, { slots: 1 });
    mesh.advance(500);
    assert.equal(mesh.runs.length, 0);
    mesh.crash(A);
    mesh.isLost = () => false;
    mesh.advance(20_000);
    assert.equal(mesh.runs.length, 1);
    assert.equal(mesh.running(job)[0]?.node, D);
  });

  test('goes to another node when its executor refuses: nothing was started', () => {
    const bench = new CoreBench({ facts: { slots: 0 } });
    bench.link(B);
    const executor = new PeerExecutor(bench, B);
    const job = bench.accept(ONCE);
    executor.reject(executor.takeOffered(job));
    assert.equal(bench.status(job), 'JOB_PENDING');
    bench.advance(1100);
    assert.equal(executor.takeOffered(job).fence.attempt, 2);
  });

  test('is lost when its executor says that it lost the attempt', () => {
    const bench = new CoreBench({ facts: { slots: 0 } });
    bench.link(B);
    const executor = new PeerExecutor(bench, B);
    const job = bench.accept(ONCE);
    const grant = executor.takeOffered(job);
    executor.started(grant);
    executor.result(grant, { tag: 'lost', reason: 'its node was ended and started again' });
    assert.equal(finalOf(bench.record(job)).status, 'JOB_LOST');
  });
});
