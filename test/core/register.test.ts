import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { JobId, NodeId } from '../../src/base/ids.ts';
import { IDLE_LOAD } from '../../src/core/facts.ts';
import { B, bootOf, C, CoreBench, D, SELF } from './core-bench.ts';
import { PeerExecutor } from './peers.ts';
import { epochOf } from './record-of.ts';

/** An owner without slots, linked to replicas that say nothing of themselves. */
function owner(replicas: readonly NodeId[]): CoreBench {
  const bench = new CoreBench({ facts: { slots: 0 } });
  for (const node of replicas) {
    bench.link(node, { slots: 0 });
    bench.replica(node).isSilent = true;
  }
  return bench;
}

const vote = (bench: CoreBench, from: NodeId, job: JobId, version = 1, counter = 1): void =>
  bench.hear(from, { kind: 'accepted', job, epoch: epochOf(SELF, counter), version });

const acceptsTo = (bench: CoreBench, node: NodeId): number[] =>
  bench.messages(node, 'accept').map(({ record }) => record.header.accepted.version);

describe('a submit', () => {
  test('is answered only when a quorum of its replicas has it, and says how many', () => {
    const bench = owner([B, C]);
    const { job, request } = bench.submit();
    assert.deepEqual(bench.record(job).header.rs.toSorted(), [SELF, B, C].toSorted());
    assert.deepEqual([acceptsTo(bench, B), acceptsTo(bench, C)], [[1], [1]]);
    assert.deepEqual(bench.replies(request), []);
    vote(bench, C, job);
    const reply = bench.reply(request);
    assert.equal(reply.kind === 'submitted' && reply.disks, 2);
    assert.equal(bench.core.enliven(bench.record(job)).durability, 'replicated');
  });

  test('is written to the own disk before anybody is told', () => {
    const bench = owner([B, C]);
    bench.isDiskHeld = true;
    bench.submit();
    bench.assertQuiet();
    bench.advance(1500);
    bench.assertQuiet();
    bench.isDiskHeld = false;
    bench.commit();
    assert.deepEqual(acceptsTo(bench, B), [1]);
  });

  test('is no nearer to its answer by votes of strangers, of other epochs or other versions', () => {
    const bench = owner([B, C]);
    const { job, request } = bench.submit();
    vote(bench, D, job);
    vote(bench, B, job, 0);
    vote(bench, B, job, 1, 2);
    bench.hear(B, { kind: 'accepted', job, epoch: epochOf(B), version: 1 });
    assert.deepEqual(bench.replies(request), []);
  });

  test('that no quorum answers within two seconds is accepted on this disk alone', () => {
    const bench = owner([B, C]);
    const { job, request } = bench.submit();
    bench.advance(1900);
    assert.deepEqual(bench.replies(request), []);
    bench.advance(200);
    const reply = bench.reply(request);
    assert.equal(reply.kind === 'submitted' && reply.disks, 1);
    assert.equal(bench.core.enliven(bench.record(job)).durability, 'local');
    vote(bench, B, job);
    assert.equal(bench.core.enliven(bench.record(job)).durability, 'replicated');
    assert.deepEqual(bench.replies(request), []);
  });

  test('accepted on this disk alone is given to nobody before it is decided', () => {
    const bench = owner([B, C]);
    bench.link(D, { slots: 2 });
    bench.replica(D).isSilent = true;
    const { job } = bench.submit();
    const executor = new PeerExecutor(bench, D);
    assert.equal(bench.message(D, 'offer').job, job);
    executor.claim(job);
    bench.advance(5000);
    assert.deepEqual(bench.messages(D, 'grant'), []);
    for (const node of [B, C, D]) vote(bench, node, job, 2);
    assert.equal(bench.message(D, 'grant').grant.job, job);
  });

  test('that asks for one disk is kept here alone', () => {
    const bench = owner([B, C]);
    const { job, request } = bench.submit({ replicas: 1 });
    assert.equal(bench.reply(request).kind, 'submitted');
    assert.deepEqual(bench.record(job).header.rs, [SELF]);
    bench.assertQuiet();
  });

  test('that asks for three disks waits for all three', () => {
    const bench = owner([B, C]);
    const { job, request } = bench.submit({ replicas: 3 });
    vote(bench, B, job);
    bench.advance(500);
    assert.deepEqual(bench.replies(request), []);
    vote(bench, C, job);
    bench.advance(100);
    const reply = bench.reply(request);
    assert.equal(reply.kind === 'submitted' && reply.disks, 3);
  });

  test('that too few disks take in time is refused, and recorded as cancelled', () => {
    const bench = owner([B, C]);
    const { job, request } = bench.submit({ replicas: 3 });
    vote(bench, B, job);
    bench.advance(2100);
    // Its owner may die now, and the next one find it without the cancel.
    assert.deepEqual(bench.replies(request), []);
    vote(bench, C, job);
    assert.deepEqual(bench.replies(request), [], 'all three have it, too late');
    vote(bench, B, job, 2);
    assert.deepEqual(bench.reply(request), { kind: 'fewReplicas', wanted: 3, disks: 2 });
    assert.equal(bench.status(job), 'JOB_CANCELLED');
    bench.take('send');
    bench.assertQuiet();
  });

  test('that is being cancelled for too few disks is not answered when another node takes it', () => {
    const bench = owner([B, C]);
    const { job, request } = bench.submit({ replicas: 3 });
    vote(bench, B, job);
    bench.advance(2100);
    bench.hear(B, { kind: 'prepare', job, epoch: epochOf(B, 2), ifAbsent: false });
    assert.deepEqual(bench.reply(request), { kind: 'deposed', job });
  });

  test('that is cancelled by another client before enough disks have it is answered too', () => {
    const bench = owner([B, C]);
    const { job, request } = bench.submit({ replicas: 3 });
    vote(bench, B, job);
    const cancel = bench.cancel(job);
    vote(bench, B, job, 2);
    assert.equal(bench.reply(cancel).kind, 'cancelled');
    bench.advance(3000);
    assert.equal(bench.replies(request).length, 1);
  });

  test('that asks for three disks is offered to nobody before', () => {
    const bench = owner([B, C]);
    bench.link(D, { slots: 2 });
    bench.replica(D).isSilent = true;
    const { job } = bench.submit({ replicas: 3 });
    const { rs } = bench.record(job).header;
    const [, first = B, second = C] = rs;
    vote(bench, first, job);
    bench.advance(500);
    assert.deepEqual(bench.messages(D, 'offer'), []);
    vote(bench, second, job);
    bench.advance(100);
    assert.equal(bench.message(D, 'offer').job, job);
  });

  test('that asks for more disks than there are nodes is refused at once, and not recorded', () => {
    const bench = owner([B]);
    const { request } = bench.submit({ replicas: 3 });
    assert.deepEqual(bench.reply(request), { kind: 'fewReplicas', wanted: 3, disks: 0 });
    assert.equal(bench.records.size, 0);
  });
});

describe('a value', () => {
  test('is decided by votes for itself or a newer one, an older vote decides nothing', () => {
    const bench = owner([B, C]);
    const { job, request } = bench.submit();
    const cancel = bench.cancel(job);
    assert.equal(bench.record(job).header.accepted.version, 2);
    vote(bench, B, job, 1);
    assert.equal(bench.reply(request).kind, 'submitted');
    assert.deepEqual(bench.replies(cancel), []);
    vote(bench, C, job, 2);
    assert.equal(bench.reply(cancel).kind, 'cancelled');
  });

  test('counts for all older ones: a vote for it alone decides them too, in order', () => {
    const bench = owner([B, C]);
    const { job, request } = bench.submit();
    const cancel = bench.cancel(job);
    vote(bench, C, job, 2);
    assert.deepEqual(
      bench.take('reply').map(({ request: to }) => to),
      [request, cancel],
    );
  });

  test('is told again each second to a replica that lives and lacks it, and only the newest', () => {
    const bench = owner([B, C]);
    const { job } = bench.submit();
    bench.cancel(job);
    vote(bench, B, job, 2);
    assert.deepEqual(acceptsTo(bench, C), [1, 2]);
    acceptsTo(bench, B);
    bench.advance(2200);
    assert.deepEqual(acceptsTo(bench, C), [2, 2]);
    assert.deepEqual(acceptsTo(bench, B), []);
    vote(bench, C, job, 2);
    bench.advance(3000);
    assert.deepEqual(acceptsTo(bench, C), []);
  });

  test('is not told to a replica that is away, and at once when it is back', () => {
    const bench = owner([B, C]);
    const { job } = bench.submit();
    vote(bench, B, job);
    acceptsTo(bench, C);
    bench.kill(C);
    bench.advance(5000);
    assert.deepEqual(acceptsTo(bench, C), []);
    bench.link(C, { slots: 0 }, bootOf(2));
    assert.deepEqual(acceptsTo(bench, C), [1]);
  });

  test('is told again to each of many replicas in portions, until they have it', () => {
    const bench = owner([B]);
    const jobs = Array.from({ length: 900 }, () => bench.submit().job);
    bench.messages(B, 'accept');
    const told = new Set<JobId>();
    for (let ticks = 0; ticks < 25; ticks++) {
      bench.advance(100);
      const portion = bench.messages(B, 'accept');
      assert.ok(portion.length <= 100, `${portion.length} in one tick`);
      for (const { record } of portion) told.add(record.header.job);
    }
    assert.deepEqual(told, new Set(jobs));
  });
});

describe('a final state', () => {
  /** B runs the job of a set of three; C votes only when told to. */
  function running() {
    const bench = owner([C]);
    bench.link(B);
    const { job, request } = bench.submit();
    bench.reply(request);
    const executor = new PeerExecutor(bench, B);
    const grant = executor.takeOffered(job);
    executor.started(grant);
    bench.replica(B).isSilent = true;
    bench.take('send');
    executor.result(grant);
    const { version } = bench.record(job).header.accepted;
    return { bench, job, version };
  }

  test('is running and settling until it is decided, and its executor is not acknowledged', () => {
    const { bench, job, version } = running();
    const live = bench.core.enliven(bench.record(job));
    assert.equal(live.status, 'JOB_RUNNING');
    assert.equal(live.isSettling, true);
    assert.deepEqual(bench.messages(B, 'acknowledge'), []);
    vote(bench, C, job, version);
    assert.equal(bench.status(job), 'JOB_COMPLETED');
    assert.equal(bench.core.enliven(bench.record(job)).isSettling, false);
    bench.message(B, 'acknowledge');
  });

  test('is told as settled to those who have it, and as settled everywhere once all have', () => {
    const { bench, job, version } = running();
    vote(bench, C, job, version);
    assert.equal(bench.message(C, 'settled').isEverywhere, false);
    assert.deepEqual(bench.messages(B, 'settled'), []);
    vote(bench, B, job, version);
    assert.equal(bench.messages(B, 'settled').at(-1)?.isEverywhere, true);
    assert.equal(bench.messages(C, 'settled').at(-1)?.isEverywhere, true);
    bench.messages(B, 'accept');
    bench.advance(3000);
    assert.deepEqual(bench.messages(B, 'accept'), []);
  });

  test('of an undecided job is not told to a client that cancels: the answer waits', () => {
    const { bench, job, version } = running();
    const request = bench.cancel(job);
    assert.deepEqual(bench.replies(request), []);
    vote(bench, C, job, version);
    assert.deepEqual(bench.reply(request), { kind: 'alreadyFinal', job, status: 'JOB_COMPLETED' });
  });
});

describe('an owner that is refused', () => {
  test('for a higher promise decides no more, and tells those who wait for it', () => {
    const bench = owner([B, C]);
    const { job, request } = bench.submit();
    const cancel = bench.cancel(job);
    bench.hear(B, {
      kind: 'refused',
      job,
      epoch: epochOf(SELF),
      promised: epochOf(B, 2),
      isFinal: false,
    });
    assert.deepEqual(bench.reply(request), { kind: 'deposed', job });
    assert.deepEqual(bench.reply(cancel), { kind: 'deposed', job });
    assert.equal(bench.core.owned().unfinished, 0);
    bench.take('send');
    vote(bench, B, job, 2);
    vote(bench, C, job, 2);
    bench.assertQuiet();
  });

  test('about an epoch that is not its own any more decides on', () => {
    const bench = owner([B, C]);
    const { job, request } = bench.submit();
    bench.hear(B, {
      kind: 'refused',
      job,
      epoch: epochOf(SELF, 0),
      promised: epochOf(B, 2),
      isFinal: false,
    });
    vote(bench, C, job);
    assert.equal(bench.reply(request).kind, 'submitted');
  });
});

describe('the owner of a pair', () => {
  /** The bench owns a job that B has. */
  function pair() {
    const bench = new CoreBench({ facts: { slots: 0 } });
    bench.link(B, { slots: 0 });
    const { job, request } = bench.submit();
    assert.equal(bench.reply(request).kind, 'submitted');
    return { bench, job };
  }

  const pongMarks = (bench: CoreBench): number => {
    bench.signs.length = 0;
    bench.hear(B, { kind: 'ping', serial: 1, load: bench.core.load() });
    const [pong] = bench.signs.map(({ message }) => message);
    return pong?.kind === 'pong' ? pong.marks : assert.fail('no pong');
  };

  test('decides nothing alone while its peer is only silent', () => {
    const { bench, job } = pair();
    bench.replica(B).isSilent = true;
    bench.talking.delete(B);
    const request = bench.cancel(job);
    bench.advance(6900);
    assert.deepEqual(bench.replies(request), []);
    bench.advance(400);
    assert.equal(bench.reply(request).kind, 'cancelled');
  });

  test('decides alone when its peer is dead, and notes durably what that one lacks', () => {
    const { bench, job } = pair();
    bench.kill(B);
    assert.equal(bench.lackingOf(job), undefined);
    assert.equal(bench.reply(bench.cancel(job)).kind, 'cancelled');
    assert.equal(bench.lackingOf(job), B);
    assert.equal(bench.core.enliven(bench.record(job)).durability, 'local');
  });

  test('tells its peer so with each pong, until the peer has it', () => {
    const { bench, job } = pair();
    assert.equal(pongMarks(bench), 0);
    bench.kill(B);
    bench.cancel(job);
    bench.replica(B).isSilent = true;
    bench.link(B, { slots: 0 }, bootOf(2));
    assert.equal(pongMarks(bench), 1);
    const { record } = bench.message(B, 'accept');
    vote(bench, B, job, record.header.accepted.version);
    assert.equal(pongMarks(bench), 0);
    assert.equal(bench.lackingOf(job), undefined);
  });

  test('knows its marks after a restart, and then decides nothing alone', () => {
    const { bench, job } = pair();
    const other = bench.accept();
    bench.kill(B);
    assert.equal(bench.reply(bench.cancel(job)).kind, 'cancelled');
    const next = bench.restarted({ facts: { slots: 0 } });
    const request = next.cancel(other);
    assert.equal(next.reply(request).kind, 'notOwner');
    next.advance(30_000);
    assert.equal(next.core.owned().unfinished, 0);
    next.replica(B).isSilent = true;
    next.link(B, { slots: 0 }, bootOf(2));
    assert.equal(pongMarks(next), 1);
  });

  test('that moves on to another peer, which dies, marks nothing that the old one has', () => {
    const { bench, job } = pair();
    for (const node of [B, D]) bench.replica(node).isSilent = true;
    bench.talking.set(B, { ...IDLE_LOAD, draining: true, leaving: true });
    bench.talk();
    bench.link(D, { slots: 0 });
    bench.advance(2200);
    const { rs, oldRs } = bench.record(job).header;
    assert.deepEqual({ rs, oldRs }, { rs: [SELF, D], oldRs: [SELF, B] });
    const request = bench.cancel(job);
    bench.kill(D);
    vote(bench, B, job, bench.record(job).header.accepted.version);
    assert.equal(bench.reply(request).kind, 'cancelled');
    assert.equal(bench.lackingOf(job), D);
    bench.link(D, { slots: 0 }, bootOf(2));
    vote(bench, D, job, bench.record(job).header.accepted.version);
    assert.equal(pongMarks(bench), 0);
  });

  test('of a restarted node has that right again once its peer gave its word for the epoch', () => {
    const { bench, job } = pair();
    const next = bench.restarted({ facts: { slots: 0 } });
    next.link(B, { slots: 0 });
    next.advance(1000);
    assert.equal(next.core.owned().unfinished, 1);
    assert.deepEqual(next.record(job).header.accepted.epoch, epochOf(SELF, 2));
    next.kill(B);
    assert.equal(next.reply(next.cancel(job)).kind, 'cancelled');
  });
});
