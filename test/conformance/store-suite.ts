/** What every store must do: run by each implementation, the real one and the one in memory. */
import assert from 'node:assert/strict';
import { describe, type TestContext, test } from 'node:test';
import { MeshError } from '../../src/base/errors.ts';
import { asJobId } from '../../src/base/ids.ts';
import { asWall } from '../../src/base/instant.ts';
import type { RecordQuery } from '../../src/core/calls.ts';
import type { Write } from '../../src/core/effects.ts';
import type { Store } from '../../src/node/ports.ts';
import { noteTests, registerTests, retentionTests } from './store-record-tests.ts';
import {
  completed,
  facts,
  failed,
  fence,
  grant,
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

const start = (serial: number, attempt = 1): Write => ({
  kind: 'started',
  job: jobId(serial),
  fence: fence(attempt),
  grant: grant(serial, attempt),
  at: asWall(T0),
});
const end = (serial: number): Write => ({
  kind: 'outcome',
  job: jobId(serial),
  rs: [NODE_A, NODE_B],
  outcome: outcome({ stdout: printed('out\n') }),
});
const acknowledge = (serial: number): Write => ({
  kind: 'acknowledged',
  job: jobId(serial),
  fence: fence(),
});
const forget = (serial: number): Write => ({
  kind: 'forgotten',
  job: jobId(serial),
  fence: fence(),
});

export function describeStore(name: string, makeBench: (t: TestContext) => StoreBench): void {
  describe(`${name} as a store: records`, () => recordTests(makeBench));
  describe(`${name} as a store: the register`, () => registerTests(makeBench));
  describe(`${name} as a store: what is known of a record`, () => noteTests(makeBench));
  describe(`${name} as a store: retention`, () => retentionTests(makeBench));
  describe(`${name} as a store: attempts`, () => attemptTests(makeBench));
  describe(`${name} as a store: failures`, () => failureTests(makeBench));
  describe(`${name} as a store: lists`, () => listTests(makeBench));
  describe(`${name} as a store: peers and boots`, () => peerTests(makeBench));
}

function recordTests(makeBench: (t: TestContext) => StoreBench): void {
  test('the births of ids that clients chose are told by age, ended or not', (t) => {
    const { store } = makeBench(t).open();
    const { header, job } = record(1);
    const made = { header: { ...header, job: asJobId('job-1m7zaw293j99c1xq547g3') }, job };
    const older = record(3);
    const ended: Write = { ...record(2, { state: completed() }), kind: 'record', isSettled: true };
    const newer = { ...ended, job: { ...ended.job, createdAt: asWall(T0 + 60_000) } };
    store.commit([put(made), newer, put(older)]);
    assert.deepEqual(
      store.restore().births,
      [older, newer].map((one) => ({
        job: one.header.job,
        birth: one.header.birth,
        accepted: one.header.accepted,
        createdAt: one.job.createdAt,
      })),
    );
    store.close();
  });

  test('a committed record is read back whole, also in the next life', (t) => {
    const bench = makeBench(t);
    const entries = [
      record(1),
      record(2, { state: granted(NODE_B, T0 + 5), version: 7, epoch: 4 }),
      record(3, {
        state: completed(outcome({ stdout: printed('ünïcödé\n'), stderr: printed('e') })),
        spec: {
          env: {},
          workingDir: '/tmp',
          needs: { target: NODE_B, labels: { a: 'b' }, capabilities: {} },
        },
      }),
    ];
    const first = bench.open().store;
    first.commit(entries.map(put));
    for (const entry of entries) assert.deepEqual(first.readRecord(entry.header.job), entry);
    first.close();
    const { store } = bench.open();
    for (const entry of entries) assert.deepEqual(store.readRecord(entry.header.job), entry);
    assert.equal(store.readRecord(jobId(9)), undefined);
    store.close();
  });

  test('a set that is changing and a promise above the accepted value are kept', (t) => {
    const { store } = makeBench(t).open();
    const { header, job } = record(1);
    const moving = {
      header: {
        ...header,
        rs: [NODE_A, NODE_B],
        oldRs: [NODE_B],
        promised: { counter: 9, node: NODE_B },
        minVersion: 2,
      },
      job,
    };
    store.commit([put(moving)]);
    assert.deepEqual(store.readRecord(jobId(1)), moving);
    store.close();
  });

  test('the last of several writes of a job in one commit stands', (t) => {
    const { store } = makeBench(t).open();
    const last = record(1, { state: completed(), version: 3 });
    store.commit([
      put(record(1)),
      put(record(1, { state: granted(NODE_B), version: 2 })),
      put(last),
    ]);
    assert.deepEqual(store.readRecord(jobId(1)), last);
    store.close();
  });

  test('counts jobs by recorded status', (t) => {
    const { store } = makeBench(t).open();
    assert.deepEqual(store.countByStatus(), {});
    store.commit([put(record(1)), put(record(2)), put(record(3, { state: granted(NODE_B) }))]);
    store.commit([put(record(2, { state: completed(), version: 2 }))]);
    assert.deepEqual(store.countByStatus(), {
      JOB_PENDING: 1,
      JOB_ASSIGNED: 1,
      JOB_COMPLETED: 1,
    });
    store.close();
  });
}

function attemptTests(makeBench: (t: TestContext) => StoreBench): void {
  test('a fence is remembered from its start until it is forgotten', (t) => {
    const bench = makeBench(t);
    let { store } = bench.open();
    const reopen = () => {
      store.close();
      store = bench.open().store;
      return store.restore();
    };
    store.commit([start(1), start(2)]);
    const row = { job: jobId(1), fence: fence(), grant: grant(1), at: asWall(T0), isOver: false };
    assert.deepEqual(
      reopen().started.find(({ job }) => job === jobId(1)),
      row,
    );
    store.commit([end(1)]);
    const afterEnd = reopen();
    assert.equal(afterEnd.started.length, 2);
    assert.deepEqual(afterEnd.outbox, [
      { job: jobId(1), rs: [NODE_A, NODE_B], outcome: outcome({ stdout: printed('out\n') }) },
    ]);
    store.commit([acknowledge(1)]);
    const afterAck = reopen();
    assert.deepEqual(afterAck.outbox, []);
    assert.equal(afterAck.started.find(({ job }) => job === jobId(1))?.isOver, true);
    store.commit([forget(1)]);
    assert.deepEqual(
      reopen().started.map(({ job }) => job),
      [jobId(2)],
    );
    store.close();
  });

  test('a whole life in one commit leaves nothing behind', (t) => {
    const { store } = makeBench(t).open();
    store.commit([start(1), end(1), acknowledge(1), forget(1)]);
    const nothing = {
      records: [],
      promises: [],
      lostBirths: [],
      births: [],
      bans: [],
      started: [],
      outbox: [],
    };
    assert.deepEqual(store.restore(), nothing);
    store.close();
  });

  test('attempts of one job are told apart, and an unknown one is ignored', (t) => {
    const { store } = makeBench(t).open();
    store.commit([start(1, 1), start(1, 2), acknowledge(1), forget(1), acknowledge(7), forget(7)]);
    assert.deepEqual(
      store.restore().started.map((row) => row.fence.attempt),
      [2],
    );
    store.close();
  });
}

function failureTests(makeBench: (t: TestContext) => StoreBench): void {
  const assertRefused = (store: Store, writes: Write[]) =>
    assert.throws(
      () => store.commit(writes),
      (thrown) => !(thrown instanceof MeshError),
    );

  test('a full disk takes nothing of a commit, and takes it whole when there is room', (t) => {
    const bench = makeBench(t);
    const { store } = bench.open();
    store.commit([put(record(1))]);
    const many = Array.from({ length: 400 }, (_, i) =>
      put(record(i + 2, { spec: { command: 'x'.repeat(5000) } })),
    );
    bench.setFull(true);
    for (let i = 0; i < 3; i++) {
      assert.throws(() => store.commit(many), { name: 'MeshError', code: 'DISK_FULL' });
      assert.deepEqual(store.countByStatus(), { JOB_PENDING: 1 });
      assert.deepEqual(store.readRecord(jobId(1)), record(1));
    }
    store.writePeer({
      facts: facts(NODE_B),
      boot: { counter: 1, salt: 'f'.repeat(16) },
      status: 'IDLE',
      lastHeartbeat: asWall(Date.now()),
    });
    bench.setFull(false);
    store.commit(many);
    assert.deepEqual(store.countByStatus(), { JOB_PENDING: 401 });
    store.close();
  });

  test('a fence is used up once and has one outcome', (t) => {
    const { store } = makeBench(t).open();
    store.commit([start(1), end(1)]);
    assertRefused(store, [put(record(1)), start(1)]);
    assertRefused(store, [put(record(1)), end(1)]);
    assert.equal(store.readRecord(jobId(1)), undefined);
    store.close();
  });
}

function listTests(makeBench: (t: TestContext) => StoreBench): void {
  const filled = (t: TestContext): Store => {
    const { store } = makeBench(t).open();
    store.commit([
      put(record(1)),
      put(record(2, { state: granted(NODE_B) })),
      put(record(3, { state: completed() })),
      put(record(4, { state: failed(1), spec: { taskType: 'python' } })),
      put(record(5, { spec: { needs: { target: NODE_A, labels: {}, capabilities: {} } } })),
      put(record(6, { ageMs: 1 })),
    ]);
    return store;
  };
  const list = (store: Store, query: Partial<RecordQuery>): number[] =>
    ids(store.listRecords({ limit: 100, ...query })).map((id) => Number(id.slice(4)));

  test('are newest first, by id where the time is the same', (t) => {
    const store = filled(t);
    assert.deepEqual(list(store, {}), [6, 5, 4, 3, 2, 1]);
    assert.deepEqual(list(store, { limit: 2 }), [6, 5]);
    store.close();
  });

  test('are filtered by status, task type and node', (t) => {
    const store = filled(t);
    assert.deepEqual(list(store, { statuses: ['JOB_PENDING'] }), [6, 5, 1]);
    assert.deepEqual(
      list(store, { statuses: ['JOB_FAILED', 'JOB_COMPLETED', 'JOB_FAILED'] }),
      [4, 3],
    );
    assert.deepEqual(list(store, { statuses: ['JOB_FAILED', 'JOB_PENDING'], limit: 2 }), [6, 5]);
    assert.deepEqual(list(store, { statuses: [] }), [6, 5, 4, 3, 2, 1]);
    assert.deepEqual(list(store, { taskType: 'python' }), [4]);
    assert.deepEqual(list(store, { node: NODE_B }), [4, 3, 2]);
    assert.deepEqual(list(store, { node: NODE_A }), [5]);
    assert.deepEqual(list(store, { node: NODE_B, statuses: ['JOB_COMPLETED'] }), [3]);
    store.close();
  });

  test('go on after the position of the last one, without a gap or a repetition', (t) => {
    const { store } = makeBench(t).open();
    const all = Array.from({ length: 25 }, (_, i) => record(i, { ageMs: i % 2 }));
    store.commit(all.map(put));
    for (const statuses of [undefined, ['JOB_PENDING', 'JOB_LOST'] as const]) {
      const seen: string[] = [];
      let before: RecordQuery['before'];
      for (;;) {
        const page = store.listRecords({ limit: 4, before, statuses });
        seen.push(...ids(page));
        const last = page.at(-1);
        if (!last) break;
        before = { createdAt: last.job.createdAt, job: last.header.job };
      }
      assert.equal(seen.length, 25);
      assert.deepEqual(seen, ids(store.listRecords({ limit: 100 })));
      assert.equal(new Set(seen).size, 25);
    }
    store.close();
  });
}

function peerTests(makeBench: (t: TestContext) => StoreBench): void {
  test('remembers peers between lives, the one heard last first', (t) => {
    const bench = makeBench(t);
    const first = bench.open().store;
    const peer = (node: typeof NODE_A, agoMs: number, counter = 1) => ({
      facts: facts(node),
      boot: { counter, salt: 'f'.repeat(16) },
      commits: 10 * counter,
      status: 'IDLE',
      lastHeartbeat: asWall(Date.now() - agoMs),
    });
    first.writePeer(peer(NODE_A, 1000));
    first.writePeer(peer(NODE_B, 2000));
    first.writePeer(peer(NODE_B, 100, 2));
    first.close();
    const { store } = bench.open();
    const remembered = store.readPeers();
    assert.deepEqual(
      remembered.map(({ node }) => node),
      [NODE_B, NODE_A],
    );
    assert.deepEqual(remembered[0], {
      node: NODE_B,
      name: facts(NODE_B).name,
      boot: { counter: 2, salt: 'f'.repeat(16) },
      commits: 20,
      clonedCounter: undefined,
      hosts: ['10.0.0.7', 'fe80::7'],
      linkPort: 40_000,
    });
    store.close();
  });

  test('remembers which peer was met in two lives of one boot counter, whatever is heard of it', (t) => {
    const bench = makeBench(t);
    const first = bench.open().store;
    const row = { status: 'IDLE', lastHeartbeat: asWall(Date.now()) };
    const met = (counter: number) =>
      first.writePeer({ ...row, facts: facts(NODE_A), boot: { counter, salt: 'f'.repeat(16) } });
    first.noteCloned(NODE_B, 1);
    met(3);
    first.noteCloned(NODE_A, 3);
    met(4);
    first.close();
    const { store } = bench.open();
    const [peer, ...others] = store.readPeers();
    assert.deepEqual(others, []);
    assert.deepEqual([peer?.node, peer?.boot.counter], [NODE_A, 4]);
    assert.deepEqual([peer?.clonedCounter, peer?.commits], [3, undefined]);
    store.close();
  });

  test('counts its starts and its commits, over all its lives', (t) => {
    const bench = makeBench(t);
    const { store } = bench.open();
    const before = store.commits();
    assert.ok(before > 0, 'a disk that was started has something to tell');
    store.commit([put(record(1))]);
    store.commit([]);
    store.commit([put(record(2)), put(record(3))]);
    assert.equal(store.commits(), before + 2);
    store.close();
    const next = bench.open().store;
    assert.equal(next.commits(), before + 3);
    next.close();
  });

  test('each life has a higher boot counter and another salt', (t) => {
    const bench = makeBench(t);
    const boots = [1, 2, 3].map(() => {
      const { store, boot } = bench.open();
      store.close();
      store.close();
      return boot;
    });
    assert.deepEqual(
      boots.map(({ counter }) => counter),
      [1, 2, 3],
    );
    assert.equal(new Set(boots.map(({ salt }) => salt)).size, 3);
    for (const { salt } of boots) assert.match(salt, /^[0-9a-f]{16}$/);
  });
}
