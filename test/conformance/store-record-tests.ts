/** What every store must keep of the register, whatever order its writes come in. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { asWall } from '../../src/base/instant.ts';
import type { Conflict, Write } from '../../src/core/effects.ts';
import type { StoredPromise, StoredState } from '../../src/core/inputs.ts';
import type { JobState } from '../../src/core/job.ts';
import type { JobRecord } from '../../src/core/job-record.ts';
import type { Epoch } from '../../src/core/record.ts';
import type { Store } from '../../src/node/ports.ts';
import {
  completed,
  failed,
  granted,
  ids,
  jobId,
  NODE_A,
  NODE_B,
  outcome,
  printed,
  put,
  record,
  type StoreBench,
  T0,
} from './store-samples.ts';

type MakeBench = (t: TestContext) => StoreBench;

const epoch = (counter: number, node = NODE_A): Epoch => ({ counter, node });
const promise = (serial: number, to: Epoch): Write => ({
  kind: 'promise',
  job: jobId(serial),
  epoch: to,
});
const settle = (serial: number, isEverywhere: boolean): Write => ({
  kind: 'settled',
  job: jobId(serial),
  isEverywhere,
});
const drop = (serial: number, promised = epoch(1), isRetired = true): Write => ({
  kind: 'dropped',
  job: jobId(serial),
  promised,
  isRetired,
});
const mark = (serial: number, lacking: typeof NODE_B | undefined): Write => ({
  kind: 'marked',
  job: jobId(serial),
  lacking,
});
const decided = (entry: JobRecord): Write => ({ ...entry, kind: 'record', isSettled: true });

/** One life: what it is told to write is what the next one starts from. */
function lifeOf(bench: StoreBench, commits: readonly (readonly Write[])[]): StoredState {
  const first = bench.open().store;
  for (const writes of commits) first.commit(writes);
  first.close();
  const { store } = bench.open();
  const state = store.restore();
  store.close();
  return state;
}

/** The same writes, each in a commit of its own and all in one, must come to the same. */
function bothWays(
  makeBench: MakeBench,
  t: TestContext,
  writes: readonly Write[],
  check: (store: Store) => void,
): void {
  for (const commits of [writes.map((write) => [write]), [writes]]) {
    const { store } = makeBench(t).open();
    for (const commit of commits) store.commit(commit);
    check(store);
    store.close();
  }
}

export function registerTests(makeBench: MakeBench): void {
  const held = record(1, { epoch: 5, version: 3 });
  const stays: Record<string, JobRecord> = {
    'a lower version of its epoch': record(1, { epoch: 5, version: 2, state: failed(1) }),
    'a higher version of a lower epoch': record(1, { epoch: 4, version: 9, state: failed(1) }),
    'another birth, however high': record(1, { epoch: 9, birth: 'another', state: failed(1) }),
    'another birth at the very same place': record(1, { epoch: 5, version: 3, birth: 'another' }),
  };
  for (const [what, late] of Object.entries(stays)) {
    test(`a value is not replaced by ${what}, and what is written beside it is`, (t) => {
      bothWays(makeBench, t, [put(held), put(late), put(record(2))], (store) => {
        assert.deepEqual(store.readRecord(jobId(1)), held);
        assert.deepEqual(store.readRecord(jobId(2)), record(2));
      });
    });
  }

  const goes: Record<string, JobRecord> = {
    'a higher version of its epoch': record(1, { epoch: 5, version: 4, state: granted(NODE_B) }),
    'the first version of a higher epoch': record(1, { epoch: 6, version: 1, state: failed(1) }),
  };
  for (const [what, next] of Object.entries(goes)) {
    test(`a value is replaced by ${what}`, (t) => {
      bothWays(makeBench, t, [put(held), put(next)], (store) =>
        assert.deepEqual(store.readRecord(jobId(1)), next),
      );
    });
  }

  test('epochs of one counter are ordered by their nodes', (t) => {
    const { header, job } = record(1);
    const of = (node: typeof NODE_A): JobRecord => ({
      header: {
        ...header,
        promised: epoch(5, node),
        accepted: { epoch: epoch(5, node), version: 1 },
      },
      job,
    });
    bothWays(makeBench, t, [put(of(NODE_A)), put(of(NODE_B)), put(of(NODE_A))], (store) =>
      assert.deepEqual(store.readRecord(jobId(1)), of(NODE_B)),
    );
  });

  test('nothing below a promise is taken, and a promise never falls', (t) => {
    const writes = [
      put(held),
      promise(1, epoch(7, NODE_B)),
      promise(1, epoch(6)),
      put(record(1, { epoch: 7, version: 1, state: failed(1) })),
      put(record(1, { epoch: 6, version: 9, state: failed(2) })),
    ];
    bothWays(makeBench, t, writes, (store) => {
      const { header, job } = held;
      const promised = { header: { ...header, promised: epoch(7, NODE_B) }, job };
      assert.deepEqual(store.readRecord(jobId(1)), promised);
    });
  });

  test('the promise of a record is in its row alone, also one that came too late', (t) => {
    for (const to of [epoch(4), epoch(5), epoch(6)]) {
      const state = lifeOf(makeBench(t), [[put(held)], [promise(1, to)]]);
      assert.deepEqual([state.promises, ids(state.records)], [[], [jobId(1)]]);
    }
  });

  test('a value at the promise is taken', (t) => {
    const next = record(1, { epoch: 7 });
    bothWays(makeBench, t, [put(held), promise(1, epoch(7)), put(next)], (store) =>
      assert.deepEqual(store.readRecord(jobId(1)), next),
    );
  });

  test('a higher promise in the row outlives a value with a lower one', (t) => {
    const high = record(1, { epoch: 5, promised: epoch(9, NODE_B) });
    const low = record(1, { epoch: 9, version: 1, promised: epoch(9) });
    const taken = record(1, { epoch: 10, promised: epoch(10) });
    bothWays(makeBench, t, [put(high), put(low)], (store) =>
      assert.deepEqual(store.readRecord(jobId(1)), high),
    );
    bothWays(makeBench, t, [put(high), put(low), put(taken)], (store) =>
      assert.deepEqual(store.readRecord(jobId(1)), taken),
    );
    for (const lower of [epoch(8, NODE_B), epoch(9)]) {
      const sloppy = record(1, { promised: lower });
      const accepted = { epoch: epoch(9, NODE_B), version: 1 };
      const value = { header: { ...sloppy.header, accepted }, job: sloppy.job };
      bothWays(makeBench, t, [put(high), put(value)], (store) => {
        const kept = { ...value.header, promised: epoch(9, NODE_B) };
        assert.deepEqual(store.readRecord(jobId(1))?.header, kept);
      });
    }
  });

  test('a promise without a value is kept, and the highest of several', (t) => {
    const writes = [promise(1, epoch(3)), promise(1, epoch(4, NODE_B)), promise(1, epoch(4))];
    for (const commits of [writes.map((write) => [write]), [writes]]) {
      const state = lifeOf(makeBench(t), commits);
      assert.deepEqual(state.promises, [
        { job: jobId(1), epoch: epoch(4, NODE_B), isRetired: false },
      ]);
      assert.deepEqual(state.records, []);
    }
  });

  test('a promise without a value keeps older values out', (t) => {
    const writes = [promise(1, epoch(4)), put(record(1, { epoch: 3, version: 9 }))];
    for (const commits of [writes.map((write) => [write]), [writes]]) {
      const state = lifeOf(makeBench(t), commits);
      assert.deepEqual(state.promises, [{ job: jobId(1), epoch: epoch(4), isRetired: false }]);
      assert.deepEqual(state.records, []);
    }
  });

  test('a value at such a promise takes it over, the higher of both', (t) => {
    const exact = record(1, { epoch: 4 });
    const above = record(2, { epoch: 6 });
    const below = record(3, { epoch: 4, promised: epoch(3) });
    const state = lifeOf(makeBench(t), [
      [1, 2, 3].map((serial) => promise(serial, epoch(4))),
      [put(exact), put(above), put(below)],
    ]);
    assert.deepEqual(state.promises, []);
    const raised = record(3, { epoch: 4, promised: epoch(4) });
    assert.deepEqual(sorted(state.records), [exact, above, raised]);
  });

  test('of what is dropped the highest promise is left, and that it was here', (t) => {
    const dropped = [put(held), promise(1, epoch(8)), drop(1, epoch(8))];
    const low = record(1, { epoch: 7, birth: 'another' });
    bothWays(makeBench, t, [...dropped, put(low)], (store) => {
      assert.equal(store.readRecord(jobId(1)), undefined);
      assert.deepEqual(store.countByStatus(), {});
      assert.deepEqual(store.restore().promises, [away(8)]);
    });
    const others: Record<string, Write[]> = {
      'its row had a higher promise': [put(held), promise(1, epoch(8)), drop(1, epoch(6))],
      'its row had a lower promise': [put(held), drop(1, epoch(8))],
      'only a promise was here': [promise(1, epoch(7)), drop(1, epoch(8))],
      'only a higher promise was here': [promise(1, epoch(8)), drop(1, epoch(7))],
      'nothing was here': [drop(1, epoch(8))],
      'it was dropped before': [...dropped, drop(1, epoch(7))],
      'the same was promised again': [...dropped, promise(1, epoch(8))],
      'less was promised later': [...dropped, promise(1, epoch(7))],
      'it is dropped for another reason later': [...dropped, drop(1, epoch(8), false)],
    };
    for (const [what, writes] of Object.entries(others))
      bothWays(makeBench, t, writes, (store) =>
        assert.deepEqual(store.restore().promises, [away(8)], what),
      );
    bothWays(makeBench, t, [...dropped, promise(1, epoch(9))], (store) =>
      assert.deepEqual(store.restore().promises, [away(9)]),
    );
  });

  test('what is dropped and has not moved away may come back at any promise', (t) => {
    const kept = { ...away(8), isRetired: false };
    for (const writes of [
      [put(held), drop(1, epoch(8), false)],
      [drop(1, epoch(7), false), promise(1, epoch(8))],
    ])
      bothWays(makeBench, t, writes, (store) => assert.deepEqual(store.restore().promises, [kept]));
  });

  test('another birth can come at the promise of what was dropped, and the lost one stays lost', (t) => {
    const lost = { job: jobId(1), birth: held.header.birth };
    const reborn = record(1, { epoch: 8, birth: 'another' });
    const bury: Write = { kind: 'birthLost', ...lost };
    const writes = [put(held), drop(1, epoch(8)), bury, bury, put(reborn)];
    bothWays(makeBench, t, writes, (store) => {
      assert.deepEqual(store.readRecord(jobId(1)), reborn);
      assert.deepEqual(store.restore().promises, []);
      assert.deepEqual(store.restore().lostBirths, [lost]);
    });
  });

  test('nothing of a commit that fails is kept', (t) => {
    const bench = makeBench(t);
    const { store } = bench.open();
    store.commit([put(held), promise(2, epoch(2))]);
    const used = { job: jobId(9), fence: { epoch: epoch(1), attempt: 1 } };
    const end: Write = { kind: 'outcome', job: used.job, rs: [NODE_A], outcome: outcome() };
    const conflict: Conflict = { job: jobId(1), at: asWall(T0), tag: 'births', note: 'n' };
    const ban = { node: NODE_B, name: 'lab-2', at: asWall(T0) };
    assert.throws(() =>
      store.commit([
        promise(1, epoch(9)),
        promise(2, epoch(9)),
        promise(3, epoch(9)),
        put(record(4)),
        drop(1),
        { kind: 'ban', ban },
        { kind: 'conflict', conflict },
        end,
        end,
      ]),
    );
    assert.deepEqual(store.readRecord(jobId(1)), held);
    assert.deepEqual(store.listConflicts(10), []);
    const state = store.restore();
    assert.deepEqual(state.promises, [{ job: jobId(2), epoch: epoch(2), isRetired: false }]);
    assert.deepEqual([state.bans, state.outbox, ids(state.records)], [[], [], [jobId(1)]]);
    store.close();
  });
}

export function noteTests(makeBench: MakeBench): void {
  const final = (serial: number, version = 2) => record(serial, { state: completed(), version });

  test('restored is what is unfinished, and what ended and is not known to be decided', (t) => {
    const state = lifeOf(makeBench(t), [
      [put(record(1)), put(record(2, { state: granted(NODE_B) }))],
      [put(final(3)), put(final(4)), put(final(5)), decided(final(6)), put(record(7))],
      [settle(4, false), settle(5, true), settle(7, true), settle(9, true)],
    ]);
    assert.deepEqual(ids(state.records).sort(), [jobId(1), jobId(2), jobId(3), jobId(7)]);
  });

  test('a state that was decided stays so, whatever is written later', (t) => {
    const writes = [put(final(1)), settle(1, false), put(final(1, 3)), put(record(2))];
    for (const commits of [writes.map((write) => [write]), [writes]])
      assert.deepEqual(ids(lifeOf(makeBench(t), commits).records), [jobId(2)]);
    const inOne = [decided(final(1)), put(final(1, 3))];
    assert.deepEqual(lifeOf(makeBench(t), [inOne]).records, []);
  });

  test('a state that has not ended cannot be decided', (t) => {
    const writes = [put(record(1)), settle(1, true), put(final(1))];
    for (const commits of [writes.map((write) => [write]), [writes]])
      assert.deepEqual(lifeOf(makeBench(t), commits).records, [final(1)]);
  });

  test('what was dropped takes along what was known of it', (t) => {
    const reborn = record(1, { state: completed(), birth: 'another' });
    const writes = [put(final(1)), settle(1, true), mark(1, NODE_B), drop(1), put(reborn)];
    assert.deepEqual(lifeOf(makeBench(t), [writes]).records, [reborn]);
  });

  test('a mark is restored with its record until it is taken back', (t) => {
    const changed = record(1, { version: 5 });
    const state = lifeOf(makeBench(t), [
      [put(record(1)), mark(1, NODE_B), put(record(2)), mark(2, NODE_B)],
      [put(changed), mark(2, undefined), mark(9, NODE_B)],
      [put(final(3)), settle(3, false), mark(3, NODE_B)],
    ]);
    assert.deepEqual(sorted(state.records), [
      { ...changed, lacking: NODE_B },
      record(2),
      { ...final(3), lacking: NODE_B },
    ]);
  });

  test('bans are restored, each node once', (t) => {
    const ban = (node: typeof NODE_A, name: string): Write => ({
      kind: 'ban',
      ban: { node, name, at: asWall(T0) },
    });
    const state = lifeOf(makeBench(t), [
      [ban(NODE_A, 'lab-1'), ban(NODE_B, 'lab-2')],
      [ban(NODE_A, 'lab-1a')],
    ]);
    assert.deepEqual(
      state.bans.map(({ node, name, at }) => [node, name, at]),
      [
        [NODE_A, 'lab-1a', T0],
        [NODE_B, 'lab-2', T0],
      ],
    );
  });

  test('conflicts are listed from the newest on, and the newest 10,000 are kept', (t) => {
    const { store } = makeBench(t).open();
    const conflict = (serial: number, at: number): Conflict => ({
      job: jobId(serial),
      at: asWall(T0 + at),
      tag: serial % 2 === 0 ? 'births' : 'outcomes',
      note: `what happened to job ${serial}`,
    });
    const write = (serial: number, at = serial): Write => ({
      kind: 'conflict',
      conflict: conflict(serial, at),
    });
    assert.deepEqual(store.listConflicts(10), []);
    store.commit([write(1), write(3, 7), write(2)]);
    store.commit([write(4, 7)]);
    const newest = [conflict(4, 7), conflict(3, 7), conflict(2, 2), conflict(1, 1)];
    assert.deepEqual(store.listConflicts(10), newest);
    assert.deepEqual(store.listConflicts(2), newest.slice(0, 2));
    store.commit(Array.from({ length: 9_998 }, (_, i) => write(i + 5, 100 + i)));
    const all = store.listConflicts(20_000);
    assert.equal(all.length, 10_000);
    assert.deepEqual(all.at(-1), conflict(2, 2));
    store.close();
  });
}

export function retentionTests(makeBench: MakeBench): void {
  const ended = (serial: number, at: number, tail = 'output\n'): JobRecord => {
    const result = outcome({ stdout: printed(tail), stderr: printed('e') });
    const final = { status: 'JOB_COMPLETED', at: asWall(T0 + at), reason: '' } as const;
    const state: JobState = { tag: 'final', final: { ...final, outcome: result } };
    const spec = { env: { SECRET: 's' }, command: 'x' };
    const { header, job } = record(serial, { state, version: 2, spec });
    const { fence, executor, finishedAt } = result;
    const past = { fence, executor, at: finishedAt, note: 'lost', isSuperseded: false };
    return { header, job: { ...job, history: [past] } };
  };
  const at = (ms: number) => asWall(T0 + ms);

  test('what every disk has is deleted when it ended before', (t) => {
    const { store } = makeBench(t).open();
    store.commit([
      decided(ended(1, 100)),
      decided(ended(2, 200)),
      put(ended(3, 100)),
      settle(3, true),
    ]);
    store.commit([put(record(4)), put(record(5, { state: granted(NODE_B) }))]);
    assert.equal(store.expire(at(200), at(0), 10), 2);
    assert.equal(store.readRecord(jobId(1)), undefined);
    assert.equal(store.readRecord(jobId(3)), undefined);
    assert.deepEqual(ids(store.listRecords({ limit: 9 })), [jobId(5), jobId(4), jobId(2)]);
    assert.equal(store.expire(at(200), at(0), 10), 0);
    assert.equal(store.expire(at(201), at(0), 10), 1);
    store.close();
  });

  test('what some disk may lack shrinks to its end, in no list and in no count', (t) => {
    const bench = makeBench(t);
    const { store } = bench.open();
    store.commit([put(ended(1, 100)), settle(1, false), put(ended(2, 100)), put(record(3))]);
    assert.equal(store.expire(at(150), at(0), 10), 2);
    const stub = store.readRecord(jobId(1)) ?? assert.fail();
    const { spec, state, contentHash, createdAt } = stub.job;
    assert.deepEqual(stub.header, ended(1, 100).header);
    assert.deepEqual([spec.command, spec.env, spec.taskType], ['', {}, '']);
    assert.deepEqual(stub.job.history, []);
    assert.deepEqual([contentHash, createdAt], ['c0ffee', ended(1, 100).job.createdAt]);
    assert.ok(state.tag === 'final' && state.final.status === 'JOB_COMPLETED');
    assert.deepEqual(state.final.outcome?.fence, outcome().fence);
    assert.deepEqual(state.final.outcome?.stdout, {
      bytes: new Uint8Array(0),
      totalBytes: 7,
      isTruncated: true,
    });
    assert.deepEqual(ids(store.listRecords({ limit: 9 })), [jobId(3)]);
    assert.deepEqual(ids(store.listRecords({ limit: 9, statuses: ['JOB_COMPLETED'] })), []);
    assert.deepEqual(store.countByStatus(), { JOB_PENDING: 1 });
    assert.equal(store.expire(at(150), at(0), 10), 0);
    store.close();
    const again = bench.open().store;
    // What is not decided is still to be decided, although its output is gone.
    assert.deepEqual(ids(again.restore().records).sort(), [jobId(2), jobId(3)]);
    assert.deepEqual(again.readRecord(jobId(1)), stub);
    again.close();
  });

  test('a stub goes when it is too old, or when every disk has the end', (t) => {
    const { store } = makeBench(t).open();
    store.commit([1, 2, 3].map((serial) => put(ended(serial, 100 * serial))));
    assert.equal(store.expire(at(301), at(0), 10), 3);
    assert.equal(store.expire(at(301), at(101), 10), 1);
    assert.equal(store.readRecord(jobId(1)), undefined);
    store.commit([settle(3, true)]);
    assert.equal(store.expire(at(301), at(101), 10), 1);
    assert.equal(store.readRecord(jobId(3)), undefined);
    assert.notEqual(store.readRecord(jobId(2)), undefined);
    store.close();
  });

  test('a newer value makes a whole record of a stub', (t) => {
    const { store } = makeBench(t).open();
    store.commit([put(ended(1, 100))]);
    store.expire(at(101), at(0), 10);
    const { header, job } = ended(1, 100);
    const newer = { header: { ...header, accepted: { ...header.accepted, version: 3 } }, job };
    store.commit([put(newer)]);
    assert.deepEqual(store.listRecords({ limit: 9 }), [newer]);
    store.close();
  });

  test('an old value cannot come back over a stub', (t) => {
    const { store } = makeBench(t).open();
    store.commit([put(ended(1, 100))]);
    store.expire(at(101), at(0), 10);
    const stub = store.readRecord(jobId(1));
    store.commit([put(record(1)), put(record(1, { epoch: 9, birth: 'another' }))]);
    assert.deepEqual(store.readRecord(jobId(1)), stub);
    store.close();
  });

  test('it is done in small steps, and unfinished jobs are never touched', (t) => {
    const { store } = makeBench(t).open();
    const serials = Array.from({ length: 25 }, (_, i) => i);
    store.commit(serials.map((i) => (i % 2 === 0 ? decided(ended(i, 100)) : put(ended(i, 100)))));
    store.commit([put(record(100, { ageMs: 1e9 }))]);
    const steps: number[] = [];
    for (;;) {
      const step = store.expire(at(101), at(0), 4);
      if (step === 0) break;
      steps.push(step);
    }
    assert.deepEqual(steps, [4, 4, 4, 4, 4, 4, 1]);
    assert.equal(store.expire(at(101), at(101), 7), 7);
    assert.equal(store.expire(at(101), at(101), 7), 5);
    assert.deepEqual(store.countByStatus(), { JOB_PENDING: 1 });
    store.close();
  });
}

const away = (counter: number): StoredPromise => ({
  job: jobId(1),
  epoch: epoch(counter),
  isRetired: true,
});

const sorted = <T extends JobRecord>(records: readonly T[]): T[] =>
  [...records].sort((a, b) => (a.header.job < b.header.job ? -1 : 1));
