import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { JobId, NodeId } from '../../src/base/ids.ts';
import { asMono, asWall } from '../../src/base/instant.ts';
import { seededRandom } from '../../src/base/random.ts';
import { Outgoing } from '../../src/core/outgoing.ts';
import type { Epoch } from '../../src/core/record.ts';
import { Replicas } from '../../src/core/replicas.ts';
import { B, bootOf, C, CoreBench, D, SELF } from './core-bench.ts';
import { epochOf, finalOf, grantedTo, JOB, type RecordChange, recordOf } from './record-of.ts';

/** A node without slots that keeps what others tell it. */
function replica(options: ConstructorParameters<typeof CoreBench>[0] = {}): CoreBench {
  const bench = new CoreBench({ facts: { slots: 0 }, ...options });
  for (const node of [B, C]) {
    bench.link(node);
    bench.replica(node).isSilent = true;
  }
  return bench;
}

const accept = (bench: CoreBench, from: NodeId, change: RecordChange = {}): void =>
  bench.hear(from, { kind: 'accept', record: recordOf(change) });

const prepare = (bench: CoreBench, from: NodeId, epoch: Epoch, ifAbsent = false, job = JOB): void =>
  bench.hear(from, { kind: 'prepare', job, epoch, ifAbsent });

/** A replica that keeps the first value of B's job. */
function keeping(change: RecordChange = {}): CoreBench {
  const bench = replica();
  accept(bench, B, change);
  bench.message(B, 'accepted');
  return bench;
}

const kept = (bench: CoreBench, job: JobId = JOB) => bench.record(job).header;

describe('a value', () => {
  test('is answered when it is on disk, with what the disk has', () => {
    const bench = replica();
    bench.isDiskHeld = true;
    accept(bench, B);
    bench.assertQuiet();
    bench.isDiskHeld = false;
    bench.commit();
    const { job, epoch, version, yesAgoMs } = bench.message(B, 'accepted');
    assert.deepEqual({ job, epoch, version }, { job: JOB, epoch: epochOf(B), version: 1 });
    assert.equal(yesAgoMs, undefined);
    assert.deepEqual(kept(bench).accepted, { epoch: epochOf(B), version: 1 });
  });

  test('told twice is answered twice and written once', () => {
    const bench = keeping();
    const { commits } = bench.disk;
    accept(bench, B);
    assert.equal(bench.message(B, 'accepted').version, 1);
    assert.equal(bench.disk.commits, commits);
  });

  test('that comes late, behind a newer one, is answered with the newer', () => {
    const bench = keeping({ version: 3 });
    accept(bench, B, { version: 2 });
    assert.equal(bench.message(B, 'accepted').version, 3);
    assert.equal(kept(bench).accepted.version, 3);
  });

  test('of a higher epoch is taken and promises that epoch, also without a question before', () => {
    const bench = keeping({ version: 9 });
    accept(bench, C, { epoch: epochOf(C, 2) });
    assert.equal(bench.message(C, 'accepted').version, 1);
    assert.deepEqual(kept(bench).promised, epochOf(C, 2));
    accept(bench, B, { version: 10 });
    assert.deepEqual(bench.message(B, 'refused').promised, epochOf(C, 2));
    assert.deepEqual(kept(bench).accepted, { epoch: epochOf(C, 2), version: 1 });
  });

  test('below the promise is refused, with the promise, and changes nothing', () => {
    const bench = keeping();
    prepare(bench, C, epochOf(C, 2));
    bench.message(C, 'promise');
    accept(bench, B, { version: 2 });
    const refused = bench.message(B, 'refused');
    assert.deepEqual(refused.promised, epochOf(C, 2));
    assert.deepEqual(refused.epoch, epochOf(B));
    assert.equal(kept(bench).accepted.version, 1);
  });

  test('of another birth of the id is refused, with the birth that is kept', () => {
    const bench = keeping();
    accept(bench, C, { birth: 'birth-c', epoch: epochOf(C, 7) });
    assert.equal(bench.message(C, 'refused').birth, 'birth-b');
    assert.equal(kept(bench).birth, 'birth-b');
  });

  test('that is final stays to be asked for until it is known to be decided', () => {
    const bench = keeping({ version: 2, state: finalOf() });
    assert.equal(bench.isSettled(JOB), false);
    assert.equal(bench.core.enliven(bench.record(JOB)).isSettling, true);
    assert.equal(bench.status(JOB), 'JOB_RUNNING');
    const settled = { kind: 'settled', job: JOB, epoch: epochOf(B), isEverywhere: false } as const;
    bench.hear(B, { ...settled, version: 1 });
    assert.equal(bench.isSettled(JOB), false, 'another version was decided');
    bench.hear(B, { ...settled, version: 2 });
    assert.equal(bench.isSettled(JOB), true);
    assert.equal(bench.status(JOB), 'JOB_COMPLETED');
  });

  test('that is not final is never settled', () => {
    const bench = keeping();
    bench.hear(B, {
      kind: 'settled',
      job: JOB,
      epoch: epochOf(B),
      version: 1,
      isEverywhere: false,
    });
    assert.equal(bench.isSettled(JOB), false);
  });

  test('that left the memory is read back before anything is answered about it', () => {
    const bench = keeping({ version: 2, state: finalOf() });
    bench.hear(B, { kind: 'settled', job: JOB, epoch: epochOf(B), version: 2, isEverywhere: true });
    accept(bench, C, { birth: 'birth-c', epoch: epochOf(C, 7) });
    assert.equal(bench.message(C, 'refused').birth, 'birth-b');
    accept(bench, B, { version: 2, state: finalOf() });
    assert.equal(bench.message(B, 'accepted').version, 2);
    assert.ok(bench.reads.includes(JOB));
  });
});

describe('a promise', () => {
  test('is given when it is on disk, with the value that is kept', () => {
    const bench = keeping();
    bench.isDiskHeld = true;
    prepare(bench, C, epochOf(C, 2));
    bench.assertQuiet();
    bench.isDiskHeld = false;
    bench.commit();
    const { epoch, record } = bench.message(C, 'promise');
    assert.deepEqual(epoch, epochOf(C, 2));
    assert.equal(record?.header.accepted.version, 1);
    assert.deepEqual(kept(bench).promised, epochOf(C, 2));
  });

  test('is repeated to the same candidate, and not written again', () => {
    const bench = keeping();
    prepare(bench, C, epochOf(C, 2));
    bench.message(C, 'promise');
    const { commits } = bench.disk;
    prepare(bench, C, epochOf(C, 2));
    bench.message(C, 'promise');
    assert.equal(bench.disk.commits, commits);
  });

  test('never falls: a lower epoch is refused, of equal counters the lower node', () => {
    const bench = keeping();
    prepare(bench, D, epochOf(D, 2));
    bench.message(D, 'promise');
    for (const epoch of [epochOf(C, 2), epochOf(C, 1)]) {
      prepare(bench, C, epoch);
      assert.deepEqual(bench.message(C, 'refused').promised, epochOf(D, 2));
    }
    assert.deepEqual(kept(bench).promised, epochOf(D, 2));
  });

  test('outlives the process, for a job that is kept and for one that is not', () => {
    const bench = keeping();
    const unknown = 'unknown' as JobId;
    prepare(bench, C, epochOf(C, 5));
    prepare(bench, C, epochOf(C, 5), false, unknown);
    bench.messages(C, 'promise');
    const next = bench.restarted({ facts: { slots: 0 } });
    next.link(B);
    for (const job of [JOB, unknown]) {
      accept(next, B, { job, version: 2 });
      assert.deepEqual(next.message(B, 'refused').promised, epochOf(C, 5), job);
    }
    assert.equal(kept(next).accepted.version, 1);
  });

  test('for an id that must be free is refused where a value is kept, whatever its epoch', () => {
    const bench = keeping();
    prepare(bench, C, epochOf(C, 9), true);
    assert.equal(bench.message(C, 'refused').birth, 'birth-b');
    prepare(bench, C, epochOf(C, 9), true, 'free' as JobId);
    assert.equal(bench.message(C, 'promise').record, undefined);
    accept(bench, B, { job: 'free' as JobId });
    assert.equal(bench.message(B, 'refused').birth, undefined);
    assert.equal(bench.records.has('free' as JobId), false);
  });

  test('is given of a final state that is settled too, which stays shown as final', () => {
    const bench = keeping({ version: 2, state: finalOf() });
    bench.hear(B, {
      kind: 'settled',
      job: JOB,
      epoch: epochOf(B),
      version: 2,
      isEverywhere: false,
    });
    prepare(bench, C, epochOf(C, 2));
    assert.equal(bench.message(C, 'promise').record?.job.state.tag, 'final');
    assert.equal(bench.status(JOB), 'JOB_COMPLETED');
    accept(bench, C, { epoch: epochOf(C, 2), state: finalOf() });
    assert.equal(bench.message(C, 'accepted').version, 1);
    assert.equal(bench.status(JOB), 'JOB_COMPLETED');
  });

  test('to another node ends what this node led', () => {
    const bench = new CoreBench({ facts: { slots: 0 } });
    bench.link(B);
    const job = bench.accept();
    assert.equal(bench.core.owned().unfinished, 1);
    prepare(bench, B, epochOf(B, 2), false, job);
    assert.equal(bench.core.owned().unfinished, 0);
    assert.equal(bench.message(B, 'promise').record?.header.job, job);
  });
});

describe('the age of the youngest yes', () => {
  test('is told with votes and promises, and a value counts as a yes', () => {
    const bench = keeping();
    bench.advance(700);
    accept(bench, B, { version: 2 });
    assert.equal(bench.message(B, 'accepted').yesAgoMs, 700);
    bench.advance(300);
    prepare(bench, C, epochOf(C, 2));
    assert.equal(bench.message(C, 'promise').yesAgoMs, 300);
  });

  test('is not made younger by a promise, which is no right to run anything', () => {
    const bench = keeping();
    bench.advance(500);
    prepare(bench, C, epochOf(C, 2));
    bench.message(C, 'promise');
    bench.advance(500);
    prepare(bench, D, epochOf(D, 2));
    assert.equal(bench.message(D, 'promise').yesAgoMs, 1000);
  });

  test('is counted from the start by a node that was started again', () => {
    const bench = keeping({ state: grantedTo(C) });
    const next = bench.restarted({ facts: { slots: 0 }, monoMs: bench.monoMs + 60_000 });
    next.link(C);
    next.advance(400);
    prepare(next, C, epochOf(C, 2));
    assert.equal(next.messages(C, 'promise').at(-1)?.yesAgoMs, 400);
  });
});

describe('a record that is kept here no more', () => {
  test('is dropped when its owner says so, and not for an older owner', () => {
    const bench = keeping();
    prepare(bench, C, epochOf(C, 2));
    bench.message(C, 'promise');
    bench.hear(B, { kind: 'retire', job: JOB, epoch: epochOf(B) });
    assert.equal(bench.records.has(JOB), true);
    bench.hear(C, { kind: 'retire', job: JOB, epoch: epochOf(C, 2) });
    assert.equal(bench.records.has(JOB), false);
  });

  test('is dropped when its end is decided elsewhere, whatever was promised here', () => {
    const bench = keeping();
    prepare(bench, C, epochOf(C, 5));
    bench.message(C, 'promise');
    const birth = recordOf().header.birth;
    const decided = { kind: 'retire', job: JOB, birth, epoch: epochOf(B), version: 8 } as const;
    bench.hear(B, decided);
    assert.equal(bench.records.has(JOB), true, 'its sender may be deposed');
    bench.hear(B, { ...decided, isSettled: true });
    assert.equal(bench.records.has(JOB), false);
    prepare(bench, C, epochOf(C, 4));
    assert.deepEqual(bench.messages(C, 'promise'), [], 'nor is less promised than before');
  });

  test('is not dropped for the owner of another birth of its id', () => {
    const bench = keeping();
    const birth = 'birth-c' as never;
    bench.hear(C, { kind: 'retire', job: JOB, epoch: epochOf(C, 3), birth });
    assert.equal(bench.records.has(JOB), true);
  });

  test('stays for a late word, that is about a value before the one that names it again', () => {
    const bench = keeping({ version: 6 });
    const birth = recordOf().header.birth;
    const late = { kind: 'retire', job: JOB, birth, epoch: epochOf(B) } as const;
    bench.hear(B, { ...late, version: 4 });
    assert.equal(bench.records.has(JOB), true);
    bench.assertQuiet();
    bench.hear(B, { ...late, version: 8 });
    assert.equal(bench.records.has(JOB), false);
  });

  test('is not promised to anybody: whoever missed the move must not find it empty', () => {
    const bench = keeping();
    bench.hear(B, { kind: 'retire', job: JOB, epoch: epochOf(B) });
    for (const next of [bench, bench.restarted({ facts: { slots: 0 } })]) {
      if (next !== bench) next.link(C, { slots: 0 });
      prepare(next, C, epochOf(C, 2));
      assert.deepEqual([...next.messages(C, 'promise'), ...next.messages(C, 'refused')], []);
      const { epoch, version } = next.message(C, 'accepted');
      assert.deepEqual([epoch, version], [epochOf(C, 2), 0], 'it says that it keeps nothing');
    }
  });

  test('is taken again only when a value names this node again', () => {
    const bench = keeping();
    bench.hear(B, { kind: 'retire', job: JOB, epoch: epochOf(B) });
    assert.equal(bench.message(B, 'accepted').version, 0);
    accept(bench, B, { version: 5, rs: [B, C, D] });
    assert.equal(bench.records.has(JOB), false);
    accept(bench, B, { version: 6 });
    assert.equal(bench.message(B, 'accepted').version, 6);
    prepare(bench, C, epochOf(C, 2));
    assert.equal(bench.message(C, 'promise').record?.header.accepted.version, 6);
  });

  test('is not brought back by a value of before the move that somebody else passes on', () => {
    const bench = keeping({ version: 3 });
    bench.hear(B, { kind: 'retire', job: JOB, epoch: epochOf(B) });
    assert.equal(bench.message(B, 'accepted').version, 0);
    accept(bench, C, { version: 2 });
    assert.deepEqual(bench.messages(C, 'accepted'), []);
    prepare(bench, C, epochOf(C, 2));
    assert.deepEqual(bench.messages(C, 'promise'), []);
    accept(bench, B, { version: 4 });
    assert.equal(bench.message(B, 'accepted').version, 4);
  });

  test('is led here no more, though its owner slept and has not heard that it was followed', () => {
    const bench = new CoreBench({ facts: { slots: 0 } });
    bench.link(B);
    const { job, request } = bench.submit();
    bench.reply(request);
    const { birth } = bench.record(job).header;
    bench.hear(B, { kind: 'retire', job, epoch: epochOf(B, 2), birth });
    assert.equal(bench.core.owned().unfinished, 0);
    assert.equal(bench.reply(bench.cancel(job)).kind, 'unknownJob');
    assert.equal(bench.records.has(job), false);
  });

  test('does not come back with the next start', () => {
    const bench = keeping();
    bench.hear(B, { kind: 'retire', job: JOB, epoch: epochOf(B) });
    const next = bench.restarted({ facts: { slots: 0 } });
    next.advance(20_000);
    next.assertQuiet();
    assert.equal(next.records.size, 0);
  });
});

test('a record that names this node is not led by it: it takes nothing from its owner', () => {
  const bench = keeping();
  bench.advance(9000);
  bench.assertQuiet();
  assert.equal(bench.core.owned().unfinished, 0);
  assert.equal(bench.core.enliven(bench.record(JOB)).isOwner, false);
  assert.ok(kept(bench).rs.includes(SELF));
});

test('mere promises, and places that moved away, are no jobs that somebody is to lead', () => {
  const out = new Outgoing({
    node: SELF,
    boot: bootOf(1),
    random: seededRandom(1),
    now: { mono: asMono(1), wall: asWall(1) },
  });
  const ignore = (): void => {};
  const never = (): boolean => false;
  const asks = { isWanted: never, isLostBirth: never };
  const replicas = new Replicas({ out, onDeposed: ignore, onForeign: ignore, ...asks });
  const ofSelf = epochOf(SELF, 3);
  replicas.onPrepare(SELF, { kind: 'prepare', job: JOB, epoch: ofSelf, ifAbsent: true });
  replicas.onStored(JOB, undefined);
  assert.deepEqual(replicas.get(JOB)?.promised, ofSelf);
  assert.deepEqual(replicas.leaders(), []);
  replicas.keepOwn(recordOf({ epoch: ofSelf }));
  assert.deepEqual([...replicas.ledBy(SELF)], [JOB]);
  replicas.drop(JOB, true);
  assert.deepEqual(replicas.leaders(), []);
});
