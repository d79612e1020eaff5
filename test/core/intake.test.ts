import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { asJobId } from '../../src/base/ids.ts';
import type { JobSpec } from '../../src/core/job.ts';
import { REVOKE_WAIT_MS } from '../../src/core/lease.ts';
import { ALONE, B, bootOf, C, CoreBench, SELF } from './core-bench.ts';
import { MeshBench } from './mesh-bench.ts';
import { EXIT_0, PeerExecutor, reportEnd } from './peers.ts';

/** Runs a job to its end on the own node. */
function runToEnd(bench: CoreBench, options: { key?: string } = {}): string {
  const { job, request } = bench.submit({}, options);
  assert.equal(bench.reply(request).kind, 'submitted');
  reportEnd(bench, bench.one('start').attempt, EXIT_0);
  assert.equal(bench.status(asJobId(job)), 'JOB_COMPLETED');
  return job;
}

describe('a submit', () => {
  test('is answered only after its record is on disk', () => {
    const bench = new CoreBench();
    bench.isDiskHeld = true;
    const { job, request } = bench.submit();
    assert.deepEqual(bench.replies(request), []);
    assert.deepEqual(bench.take('start'), []);
    bench.isDiskHeld = false;
    bench.commit();
    const reply = bench.reply(request);
    assert.equal(reply.kind === 'submitted' && reply.record.header.job, job);
    assert.equal(reply.kind === 'submitted' && reply.isRepeat, false);
    assert.equal(bench.one('start').attempt.job, job);
    bench.assertQuiet();
  });

  test('makes a record of epoch 1 and version 1, with this node as replica and owner', () => {
    const bench = new CoreBench({ facts: { slots: 0 } });
    const { header, job } = bench.record(bench.accept());
    const epoch = { counter: 1, node: SELF };
    assert.deepEqual(header.accepted, { epoch, version: 1 });
    assert.deepEqual(header.promised, epoch);
    assert.deepEqual(header.rs, [SELF]);
    assert.deepEqual(header.writerBoot, bootOf(1));
    assert.deepEqual(job.state, { tag: 'pending' });
  });

  test('keeps one copy of what is equal in all jobs that wait', () => {
    const bench = new CoreBench({ facts: { slots: 0 } });
    const spec = (): Partial<JobSpec> => ({
      env: { A: 'b' },
      needs: { labels: { zone: 'eu' }, capabilities: {} },
    });
    const [one, two] = [bench.accept(spec()), bench.accept(spec())].map((job) => bench.record(job));
    assert.ok(one && two);
    assert.equal(one.job.spec.env, two.job.spec.env);
    assert.equal(one.job.spec.needs, two.job.spec.needs);
    assert.equal(one.header.rs, two.header.rs);
    assert.equal(one.header.accepted, two.header.accepted);
    assert.deepEqual(one.job.spec.needs.labels, { zone: 'eu' });
  });

  test('over the limit of unfinished jobs is refused, and makes room again when one ends', () => {
    const bench = new CoreBench({ maxJobs: 2, facts: { slots: 1 } });
    bench.accept();
    bench.accept();
    const { request } = bench.submit();
    assert.deepEqual(bench.reply(request), { kind: 'queueFull', limit: 2 });
    reportEnd(bench, bench.one('start').attempt);
    bench.accept();
  });

  test('is refused by a node that drains', () => {
    const bench = new CoreBench();
    bench.put({ kind: 'drain', deadlineMs: 1000, way: 'stop' });
    assert.deepEqual(bench.reply(bench.submit().request), {
      kind: 'notAccepting',
      reason: 'draining',
    });
  });
});

describe('a key', () => {
  test('gives the same job for the same content: undecided, waiting and final', () => {
    const bench = new CoreBench({ facts: { slots: 1 } });
    bench.isDiskHeld = true;
    const first = bench.submit({}, { key: 'k' });
    bench.commit();
    bench.isDiskHeld = true;
    const second = bench.submit({}, { key: 'k' });
    bench.isDiskHeld = false;
    bench.commit();
    const answers = [first, second].map(({ request }) => bench.reply(request));
    assert.deepEqual(
      answers.map((reply) => reply.kind === 'submitted' && reply.isRepeat),
      [false, true],
    );
    const third = bench.reply(bench.submit({}, { key: 'k' }).request);
    assert.equal(third.kind === 'submitted' && third.isRepeat, true);
    reportEnd(bench, bench.one('start').attempt);
    const last = bench.reply(bench.submit({}, { key: 'k' }).request);
    assert.equal(last.kind === 'submitted' && last.record.job.state.tag, 'final');
    bench.assertQuiet();
  });

  test('asked twice before its first record is on disk is answered twice and written once', () => {
    const bench = new CoreBench({ facts: { slots: 0 } });
    bench.isDiskHeld = true;
    const first = bench.submit({}, { key: 'k' });
    bench.commit();
    const second = bench.submit({}, { key: 'k' });
    bench.commit();
    bench.isDiskHeld = false;
    bench.commit();
    assert.equal(bench.reply(first.request).kind, 'submitted');
    assert.equal(bench.reply(second.request).kind, 'submitted');
    assert.equal(bench.record(asJobId('k')).header.accepted.version, 1);
    assert.equal(bench.core.owned().unfinished, 1);
  });

  test('with other content is a conflict: undecided, waiting and final', () => {
    const bench = new CoreBench({ facts: { slots: 1 } });
    const conflict = { kind: 'keyConflict', job: 'k' };
    const other = () => bench.submit({}, { key: 'k', hash: 'other' }).request;
    bench.isDiskHeld = true;
    bench.submit({}, { key: 'k' });
    bench.commit();
    const early = other();
    bench.isDiskHeld = false;
    bench.commit();
    assert.deepEqual(bench.reply(early), conflict);
    bench.take('reply');
    assert.deepEqual(bench.reply(other()), conflict);
    reportEnd(bench, bench.one('start').attempt);
    assert.deepEqual(bench.reply(other()), conflict);
    bench.assertQuiet();
  });

  test('of a job that three disks had to have is known when it is over, as any other', () => {
    const bench = new CoreBench({ facts: { slots: 1 } });
    for (const node of [B, C]) bench.link(node, { slots: 0 });
    const first = bench.submit({ replicas: 3 }, { key: 'k' });
    bench.advance(100);
    assert.equal(bench.reply(first.request).kind, 'submitted');
    const open = bench.reply(bench.submit({ replicas: 3 }, { key: 'k' }).request);
    assert.equal(open.kind === 'submitted' && open.isRepeat, true);
    reportEnd(bench, bench.one('start').attempt);
    const over = bench.reply(bench.submit({ replicas: 3 }, { key: 'k' }).request);
    assert.equal(over.kind === 'submitted' && over.isRepeat, true, over.kind);
  });

  test('of a job that goes on without one of its three disks is not told that it is cancelled', () => {
    const mesh = new MeshBench([SELF, B, C], { slots: 0 });
    const first = mesh.submit(SELF, { replicas: 3 }, { key: 'k' });
    mesh.advance(100);
    assert.equal(mesh.node(SELF).reply(first.request).kind, 'submitted');
    mesh.crash(SELF);
    const job = asJobId('k');
    mesh.until(() => mesh.owners(job).length > 0, 'another one leads it');
    const [owner] = mesh.owners(job);
    assert.ok(owner);
    const again = (): string => {
      const { request } = mesh.submit(owner, { replicas: 3 }, { key: 'k' });
      return mesh.node(owner).reply(request).kind;
    };
    assert.equal(again(), 'noQuorum');
    mesh.start(SELF);
    mesh.advance(3000);
    assert.equal(mesh.statuses(job)[owner], 'JOB_PENDING');
    assert.equal(again(), 'submitted');
  });

  test('is known after a restart, of an unfinished and of a final job', () => {
    const before = new CoreBench({ facts: { slots: 1 } });
    runToEnd(before, { key: 'done' });
    before.submit({ taskType: 'none' }, { key: 'open' });
    before.take('reply');
    const bench = new CoreBench({
      boot: bootOf(2),
      disk: before.disk,
    });
    for (const key of ['done', 'open']) {
      const reply = bench.reply(bench.submit({}, { key }).request);
      assert.equal(reply.kind === 'submitted' && reply.isRepeat, true, key);
      const other = bench.reply(bench.submit({}, { key, hash: 'other' }).request);
      assert.equal(other.kind, 'keyConflict');
    }
  });
});

describe('a disk that refuses', () => {
  test('takes back what was not written, and tells each client so', () => {
    const bench = new CoreBench();
    bench.isDiskHeld = true;
    const first = bench.submit();
    bench.failDisk();
    assert.deepEqual(bench.reply(first.request), { kind: 'notAccepting', reason: 'disk' });
    assert.equal(bench.one('withdraw').job, first.job);
    assert.deepEqual(bench.reply(bench.submit().request), {
      kind: 'notAccepting',
      reason: 'disk',
    });
    bench.mendDisk();
    assert.equal(bench.records.size, 0);
    assert.equal(bench.core.owned().unfinished, 0);
    bench.accept();
    assert.equal(bench.take('start').length, 1);
    bench.assertQuiet();
  });

  test('leaves nothing of a key that it took back: the same key is a new job later', () => {
    const bench = new CoreBench({ facts: { slots: 0 } });
    bench.isDiskHeld = true;
    const { job, request } = bench.submit({}, { key: 'k' });
    bench.failDisk();
    assert.equal(bench.reply(request).kind, 'notAccepting');
    bench.one('withdraw');
    bench.mendDisk();
    bench.events.length = 0;
    const again = bench.reply(bench.submit({}, { key: 'k', hash: 'other' }).request);
    assert.ok(again.kind === 'submitted' && !again.isRepeat, again.kind);
    const told = bench.events.filter((event) => event.kind === 'jobChanged' && event.job === job);
    assert.equal(told.length, 1);
  });

  test('is told to the peers at once, and makes this node no candidate', () => {
    const bench = new CoreBench();
    bench.link(B);
    bench.signs.length = 0;
    bench.failDisk();
    const told = bench.signs.map(
      ({ message }) => message.kind === 'ping' && message.load.accepting,
    );
    assert.deepEqual(told, [false]);
    bench.hear(B, {
      kind: 'offer',
      job: asJobId('x'),
      taskType: 'shell',
      needs: { labels: {}, capabilities: {} },
    });
    assert.equal(bench.message(B, 'refuse').reason, 'disk takes no writes');
  });

  test('does not end the leases of what runs: a renewal is answered all the same', () => {
    const bench = new CoreBench({ facts: { slots: 0 } });
    bench.link(B);
    const executor = new PeerExecutor(bench, B);
    const grant = executor.takeOffered(bench.accept());
    bench.failDisk();
    executor.renew(grant);
    assert.equal(bench.message(B, 'renewed').granted.length, 1);
  });
});

describe('a cancel', () => {
  test('of a job that nobody runs is final at once, and it is never offered again', () => {
    const bench = new CoreBench({ facts: { slots: 0 } });
    const job = bench.accept();
    bench.isDiskHeld = true;
    const request = bench.cancel(job);
    assert.deepEqual(bench.replies(request), []);
    bench.isDiskHeld = false;
    bench.commit();
    assert.deepEqual(bench.reply(request), { kind: 'cancelled', job });
    assert.equal(bench.status(job), 'JOB_CANCELLED');
    bench.link(B);
    bench.assertQuiet();
  });

  test('of a job that is offered declines the claim that comes after it', () => {
    const bench = new CoreBench({ facts: { slots: 0 } });
    bench.link(B);
    const job = bench.accept();
    bench.message(B, 'offer');
    assert.equal(bench.reply(bench.cancel(job)).kind, 'cancelled');
    const nonce = new PeerExecutor(bench, B).claim(job);
    assert.equal(bench.message(B, 'decline').nonce, nonce);
    bench.assertQuiet();
  });

  test('of a running job is answered when its intent is on disk, and told to the executor then', () => {
    const bench = new CoreBench({ facts: { slots: 0 } });
    bench.link(B);
    const executor = new PeerExecutor(bench, B);
    const job = bench.accept();
    const grant = executor.takeOffered(job);
    executor.started(grant);
    bench.isDiskHeld = true;
    const request = bench.cancel(job);
    bench.assertQuiet();
    bench.isDiskHeld = false;
    bench.commit();
    assert.deepEqual(bench.reply(request), { kind: 'cancelling', job });
    assert.deepEqual(bench.message(B, 'cancel').fence, grant.fence);
    assert.equal(bench.status(job), 'JOB_RUNNING');
    executor.result(grant, { tag: 'cancelled' });
    assert.equal(bench.status(job), 'JOB_CANCELLED');
    bench.message(B, 'acknowledge');
    bench.assertQuiet();
  });

  test('that was decided wins over exit 0, and is repeated to an executor that does not answer', () => {
    const bench = new CoreBench({ facts: { slots: 0 } });
    bench.link(B);
    const executor = new PeerExecutor(bench, B);
    const job = bench.accept();
    const grant = executor.takeOffered(job);
    executor.started(grant);
    assert.equal(bench.reply(bench.cancel(job)).kind, 'cancelling');
    assert.equal(bench.reply(bench.cancel(job)).kind, 'cancelling');
    bench.message(B, 'cancel');
    bench.advance(1200);
    bench.message(B, 'cancel');
    executor.renew(grant);
    assert.equal(bench.message(B, 'renewed').granted.length, 1);
    executor.result(grant, EXIT_0);
    assert.equal(bench.status(job), 'JOB_CANCELLED');
  });

  test('that comes after exit 0 was proposed is told that the job had ended', () => {
    const bench = new CoreBench({ facts: { slots: 0 } });
    bench.link(B);
    const executor = new PeerExecutor(bench, B);
    const job = bench.accept();
    const grant = executor.takeOffered(job);
    bench.isDiskHeld = true;
    executor.result(grant, EXIT_0);
    const request = bench.cancel(job);
    assert.deepEqual(bench.replies(request), []);
    bench.isDiskHeld = false;
    bench.commit();
    assert.deepEqual(bench.reply(request), { kind: 'alreadyFinal', job, status: 'JOB_COMPLETED' });
    assert.equal(bench.status(job), 'JOB_COMPLETED');
  });

  test('of a final job says how it had ended, and of a cancelled one that it is', () => {
    const bench = new CoreBench();
    const done = asJobId(runToEnd(bench));
    assert.deepEqual(bench.reply(bench.cancel(done)), {
      kind: 'alreadyFinal',
      job: done,
      status: 'JOB_COMPLETED',
    });
    const other = bench.accept({ taskType: 'none' });
    assert.equal(bench.reply(bench.cancel(other)).kind, 'cancelled');
    assert.equal(bench.reply(bench.cancel(other)).kind, 'cancelled');
  });

  test('of a job that is not here says so', () => {
    const bench = new CoreBench();
    assert.deepEqual(bench.reply(bench.cancel(asJobId('none'))), {
      kind: 'unknownJob',
      job: 'none',
    });
  });

  test('before the executor knows the grant is settled by its rejection', () => {
    const bench = new CoreBench({ facts: { slots: 0 } });
    bench.link(B);
    const executor = new PeerExecutor(bench, B);
    const job = bench.accept();
    const grant = executor.takeOffered(job);
    bench.cancel(job);
    bench.message(B, 'cancel');
    executor.reject(grant, 'cancelled before its start');
    assert.equal(bench.status(job), 'JOB_CANCELLED');
  });

  test('of a job whose executor died is final when its lease is over', () => {
    const bench = new CoreBench({ facts: { slots: 0 } });
    bench.link(B);
    const executor = new PeerExecutor(bench, B);
    const job = bench.accept(ALONE);
    executor.started(executor.takeOffered(job));
    bench.kill(B);
    assert.equal(bench.reply(bench.cancel(job)).kind, 'cancelling');
    bench.advance(REVOKE_WAIT_MS - 200);
    assert.equal(bench.status(job), 'JOB_ASSIGNED');
    bench.advance(300);
    assert.equal(bench.status(job), 'JOB_CANCELLED');
  });
});
