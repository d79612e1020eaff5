import assert from 'node:assert/strict';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import Database from 'better-sqlite3';
import { asBirth, asJobId } from '../../src/base/ids.ts';
import { asWall } from '../../src/base/instant.ts';
import type { Write } from '../../src/core/effects.ts';
import type { JobRecord } from '../../src/core/job-record.ts';
import { openDatabase } from '../../src/store/database.ts';
import { drizzle, migrate } from '../../src/store/drizzle.ts';
import { SqliteStore } from '../../src/store/sqlite-store.ts';
import { type OpenedStore, openStore } from '../../src/store/store.ts';
import { encodeJob, isUnread, parseBody, parseJob } from '../../src/wire/jobs.ts';
import {
  completed,
  ids,
  jobId,
  NODE_A,
  NODE_B,
  put,
  record,
  T0,
} from '../conformance/store-samples.ts';
import { ON_OLD_DISKS } from '../wire/golden.ts';
import { FENCE, JOB, JOBS, OUTCOME, SPEC } from '../wire/samples.ts';

/** When the old job of the samples ended. */
const T_OLD = 1_767_323_045_678;
const DRIZZLE = resolve(import.meta.dirname, '../../drizzle');

function makeFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'mesh-store-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

function open(t: TestContext, folder: string): OpenedStore {
  const opened = openStore({ folder, node: NODE_A });
  t.after(() => opened.store.close());
  return opened;
}

/** What somebody else does to the file while no node runs. */
function alter(file: string, sql: string): void {
  const client = new Database(file);
  client.exec(sql);
  client.close();
}

function select(file: string, sql: string): Record<string, unknown>[] {
  const client = new Database(file, { readonly: true });
  try {
    return client.prepare(sql).all() as Record<string, unknown>[];
  } finally {
    client.close();
  }
}

describe('a database of the version before', () => {
  /** As that version left it: a file with its first migration alone, and its own bytes in it. */
  function makeOld(t: TestContext): { folder: string; file: string } {
    const folder = makeFolder(t);
    const before = join(folder, 'migrations');
    mkdirSync(join(before, 'meta'), { recursive: true });
    cpSync(join(DRIZZLE, '0000_first.sql'), join(before, '0000_first.sql'));
    const journal = JSON.parse(readFileSync(join(DRIZZLE, 'meta/_journal.json'), 'utf8'));
    const first = { ...journal, entries: journal.entries.slice(0, 1) };
    writeFileSync(join(before, 'meta/_journal.json'), JSON.stringify(first));
    const file = join(folder, `worker_${NODE_A}.db`);
    const client = new Database(file);
    migrate(drizzle({ client }), { migrationsFolder: before });
    const insert =
      client.prepare(`INSERT INTO jobs (job_id, status, task_type, command, created_by_node,
      env, timeout_seconds, priority, attempt, created_ms, finished_ms, updated_ms, birth, rs, old_rs,
      promised_counter, promised_node, accepted_counter, accepted_node, accepted_version, writer_boot,
      min_version, body) VALUES (?, ?, 'shell', 'c', ?, '{}', 1, 5, 1, ?, ?, 0, 'b', ?, '', 5, ?, 5, ?, 4,
      '3.0123456789abcdef', 1, ?)`);
    const job = (id: string, status: string, finishedMs: number | null, body: Uint8Array) => {
      const { createdAt } = parseJob(body) ?? assert.fail();
      insert.run(id, status, NODE_A, createdAt, finishedMs, NODE_A, NODE_A, NODE_A, body);
    };
    const final = Buffer.from(ON_OLD_DISKS.job, 'hex');
    job('job-final', 'JOB_COMPLETED', T_OLD, final);
    job('job-waiting', 'JOB_PENDING', null, encodeJob(record(1).job));
    const fence = `${FENCE.epoch.counter}.${FENCE.epoch.node}.${FENCE.attempt}`;
    client
      .prepare(
        'INSERT INTO started (job_id, fence, started_ms, is_over, granted) VALUES (?, ?, 1, 0, ?)',
      )
      .run(JOB, fence, Buffer.from(ON_OLD_DISKS.grant, 'hex'));
    client
      .prepare('INSERT INTO outbox (job_id, fence, rs, outcome) VALUES (?, ?, ?, ?)')
      .run(JOB, fence, NODE_A, Buffer.from(ON_OLD_DISKS.outcome, 'hex'));
    client.close();
    return { folder, file };
  }

  test('opens, and has its jobs, its fences and its outcomes', (t) => {
    const { folder } = makeOld(t);
    const { store, quarantined } = open(t, folder);
    const state = store.restore();
    assert.deepEqual(quarantined(), []);
    assert.deepEqual(ids(state.records), ['job-waiting']);
    assert.deepEqual(state.started[0]?.grant.oldRs, []);
    assert.equal(state.started[0]?.grant.spec.delivery, 'at_least_once');
    assert.deepEqual(state.outbox[0]?.outcome, OUTCOME);
    assert.deepEqual(ids(store.listRecords({ limit: 9 })).sort(), ['job-final', 'job-waiting']);
    const final = store.readRecord(asJobId('job-final'));
    assert.deepEqual(final?.job.state, JOBS[5]?.state);
    assert.equal(final?.job.spec.command, SPEC.command);
  });

  test('has decided all that had ended, on the only disk there was', (t) => {
    const { folder, file } = makeOld(t);
    const { store } = open(t, folder);
    assert.deepEqual(select(file, 'SELECT job_id, settled, is_stub FROM jobs ORDER BY job_id'), [
      { job_id: 'job-final', settled: 2, is_stub: 0 },
      { job_id: 'job-waiting', settled: 0, is_stub: 0 },
    ]);
    assert.equal(store.expire(asWall(T_OLD + 1), asWall(0), 10), 1);
    assert.equal(store.readRecord(asJobId('job-final')), undefined);
  });
});

describe('a record whose columns are not those of its body', () => {
  const damages: Record<string, string> = {
    'another status': `status = 'JOB_ASSIGNED'`,
    'another time of its making': 'created_ms = created_ms + 1',
    'an end it has not come to': 'finished_ms = 5',
    'an owner that is no node': `accepted_node = 'node-x'`,
    'a promise to nobody': `promised_node = ''`,
    'an epoch that is no number': `accepted_counter = 'many'`,
    'a version below nothing': 'accepted_version = -1',
    'no replicas': `rs = ''`,
    'replicas that are no nodes': `rs = '${NODE_A} ${NODE_A}x'`,
    'old replicas that are no nodes': `old_rs = ','`,
    'no birth': `birth = ''`,
    'a writer that is no boot': `writer_boot = '3'`,
    'a peer that is no node': `lacking = 'somebody'`,
    'a body that is cut off': 'body = substr(body, 1, 40)',
  };
  for (const [what, change] of Object.entries(damages)) {
    test(`is quarantined and named, for ${what}`, (t) => {
      const folder = makeFolder(t);
      const first = open(t, folder);
      first.store.commit([put(record(1)), put(record(2))]);
      first.store.close();
      alter(first.file, `UPDATE jobs SET ${change} WHERE job_id = '${jobId(1)}'`);
      const { store, quarantined } = open(t, folder);
      assert.deepEqual(ids(store.restore().records), [jobId(2)]);
      assert.deepEqual(
        quarantined().map(({ table, job }) => `${table} ${job}`),
        [`jobs ${jobId(1)}`],
      );
      if (what === 'a peer that is no node') return;
      assert.throws(() => store.readRecord(jobId(1)), { code: 'DATA_CORRUPT' });
    });
  }

  test('is not trusted where a start does not look either', (t) => {
    const folder = makeFolder(t);
    const first = open(t, folder);
    first.store.commit([put(record(1)), put(record(2))]);
    first.store.close();
    alter(first.file, `UPDATE jobs SET status = 'JOB_COMPLETED' WHERE job_id = '${jobId(1)}'`);
    const { store } = open(t, folder);
    assert.deepEqual(ids(store.restore().records), [jobId(2)]);
    assert.deepEqual(ids(store.listRecords({ limit: 9 })), [jobId(2)]);
    assert.throws(() => store.readRecord(jobId(1)), { code: 'DATA_CORRUPT' });
  });

  test('promises without a value, and lost births, go when nobody can come back for them', (t) => {
    const folder = makeFolder(t);
    const { store } = open(t, folder);
    const epoch = { counter: 3, node: NODE_B };
    store.commit([
      { kind: 'promise', job: jobId(1), epoch },
      { kind: 'dropped', job: jobId(2), promised: epoch, isRetired: true },
      { kind: 'birthLost', job: jobId(2), birth: asBirth('b') },
    ]);
    const day = 24 * 3_600_000;
    assert.equal(store.expire(asWall(0), asWall(Date.now() - day), 10), 0);
    assert.deepEqual(
      store.restore().promises.map(({ job, isRetired }) => [job, isRetired]),
      [
        [jobId(1), false],
        [jobId(2), true],
      ],
    );
    assert.equal(store.expire(asWall(0), asWall(Date.now() + day), 1), 1);
    assert.equal(store.restore().lostBirths.length, 1);
    assert.equal(store.expire(asWall(0), asWall(Date.now() + day), 10), 2);
    assert.deepEqual(store.restore().promises, []);
    assert.deepEqual(store.restore().lostBirths, []);
  });

  test('is quarantined when it has ended and is not decided', (t) => {
    const folder = makeFolder(t);
    const first = open(t, folder);
    const ended = (serial: number) => put(record(serial, { state: completed(), version: 2 }));
    first.store.commit([ended(1), ended(2)]);
    first.store.close();
    alter(first.file, `UPDATE jobs SET body = x'ff' WHERE job_id = '${jobId(2)}'`);
    const { store, quarantined } = open(t, folder);
    assert.deepEqual(ids(store.restore().records), [jobId(1)]);
    assert.deepEqual(
      quarantined().map(({ job }) => job),
      [jobId(2)],
    );
    // It cannot shrink; it is out of the way and goes with the stubs.
    assert.equal(store.expire(asWall(T0 + 1e6), asWall(0), 10), 2);
    assert.equal(store.expire(asWall(T0 + 1e6), asWall(0), 10), 0);
    assert.equal(store.expire(asWall(T0 + 1e6), asWall(T0 + 1e6), 10), 2);
  });

  test('is whole again when the same value or a newer one comes', (t) => {
    const folder = makeFolder(t);
    const first = open(t, folder);
    first.store.commit([put(record(1)), put(record(2))]);
    first.store.close();
    alter(first.file, `UPDATE jobs SET body = x'ff'`);
    const { store, file } = open(t, folder);
    store.restore();
    store.commit([put(record(1)), put(record(2, { version: 2 }))]);
    assert.deepEqual(store.readRecord(jobId(1)), record(1));
    assert.deepEqual(store.readRecord(jobId(2)), record(2, { version: 2 }));
    assert.deepEqual(select(file, 'SELECT 1 FROM jobs WHERE unreadable IS NOT NULL'), []);
  });

  test('of a promise or a ban: is named, and the promise still keeps values out', (t) => {
    const folder = makeFolder(t);
    const first = open(t, folder);
    const writes = [1, 2].flatMap((serial): Write[] => [
      { kind: 'promise', job: jobId(serial), epoch: { counter: 4, node: NODE_A } },
      { kind: 'ban', ban: { node: serial === 1 ? NODE_A : NODE_B, name: '', at: asWall(T0) } },
    ]);
    first.store.commit(writes);
    first.store.close();
    alter(
      first.file,
      `UPDATE promises SET node = 'x' WHERE job_id = '${jobId(1)}';
       UPDATE bans SET node_id = 'y' WHERE node_id = '${NODE_A}'`,
    );
    const { store, quarantined } = open(t, folder);
    const state = store.restore();
    assert.deepEqual(
      state.promises.map(({ job }) => job),
      [jobId(2)],
    );
    assert.deepEqual(
      state.bans.map(({ node }) => node),
      [NODE_B],
    );
    assert.deepEqual(
      quarantined().map(({ table, job }) => `${table} ${job}`),
      [`promises ${jobId(1)}`, 'bans y'],
    );
    store.commit([put(record(1, { epoch: 9 }))]);
    assert.equal(store.readRecord(jobId(1)), undefined);
  });
});

describe('a body of a newer version', () => {
  const unknown = Buffer.from('fa3f0568656c6c6f', 'hex');
  const strange = Buffer.from('4a00', 'hex');
  const { header } = record(1);
  const newer = (body: Buffer): JobRecord => {
    const above = { ...header, minVersion: 99 };
    return { header: above, job: parseBody(body, above) ?? assert.fail() };
  };
  const bodyIn = (file: string) =>
    select(file, 'SELECT body, status FROM jobs')[0] ?? assert.fail();

  test('lies on the disk as it came, with the fields nobody here knows', (t) => {
    const { store, file } = open(t, makeFolder(t));
    const body = Buffer.concat([encodeJob(record(1).job), unknown]);
    store.commit([put(newer(body))]);
    assert.deepEqual(bodyIn(file), { body, status: 'JOB_PENDING' });
    const read = store.readRecord(jobId(1)) ?? assert.fail();
    assert.deepEqual(Buffer.from(encodeJob(read.job)), body);
    store.commit([
      put({ ...read, header: { ...read.header, accepted: { ...header.accepted, version: 2 } } }),
    ]);
    assert.deepEqual(bodyIn(file).body, body);
  });

  test('is kept unread, restored to be passed on, and in no list', (t) => {
    const folder = makeFolder(t);
    const first = open(t, folder);
    first.store.commit([put(newer(strange)), put(record(2))]);
    assert.deepEqual(bodyIn(first.file), { body: strange, status: 'JOB_UNKNOWN' });
    first.store.close();
    const { store, quarantined } = open(t, folder);
    const restored = store.restore().records.find(({ header }) => header.job === jobId(1));
    assert.deepEqual(quarantined(), []);
    assert.ok(restored && isUnread(restored.job));
    assert.equal(restored.header.minVersion, 99);
    assert.deepEqual(Buffer.from(encodeJob(restored.job)), strange);
    assert.deepEqual(ids(store.listRecords({ limit: 9 })), [jobId(2)]);
    assert.deepEqual(store.countByStatus(), { JOB_PENDING: 1 });
  });

  test('is read, and shown to people, by a version that can', (t) => {
    const folder = makeFolder(t);
    const first = open(t, folder);
    first.store.commit([put(newer(strange))]);
    first.store.close();
    // The update of the program, from the file's point of view: the same row, but it can be read.
    const readable = Buffer.from(encodeJob(record(1).job)).toString('hex');
    alter(first.file, `UPDATE jobs SET min_version = 1, body = x'${readable}'`);
    const { store, file } = open(t, folder);
    assert.deepEqual(store.restore().records, [record(1)]);
    assert.deepEqual(store.listRecords({ limit: 9 }), [record(1)]);
    const columns = 'SELECT status, created_ms, command FROM jobs';
    const { spec, createdAt } = record(1).job;
    assert.deepEqual(select(file, columns), [
      { status: 'JOB_PENDING', created_ms: createdAt, command: spec.command },
    ]);
  });
});

describe('thousands of unfinished jobs', () => {
  test('are all restored once, also those of one millisecond', (t) => {
    const { store } = open(t, makeFolder(t));
    const many = Array.from({ length: 2100 }, (_, i) => record(i, { ageMs: i < 1500 ? i : 0 }));
    store.commit(many.map(put));
    const restored = store.restore().records;
    assert.deepEqual(ids(restored), ids(many));
    assert.deepEqual(restored[1000], many[1000]);
  });
});

describe('the statements', () => {
  test('of commits, starts and retention look at no row of jobs that they do not need', (t) => {
    const folder = makeFolder(t);
    const opened = openDatabase(join(folder, 'worker.db'));
    t.after(() => opened.client.close());
    const prepare = opened.client.prepare.bind(opened.client);
    const texts: string[] = [];
    opened.client.prepare = ((text: string) => {
      texts.push(text);
      return prepare(text);
    }) as typeof prepare;
    new SqliteStore({ ...opened, file: 'worker.db', release: () => {} });
    const onJobs = texts.filter((text) => /(from|update|into) "jobs"/i.test(text));
    assert.ok(onJobs.length >= 12, `${onJobs.length} statements`);
    for (const text of onJobs) {
      const places = Array.from({ length: text.split('?').length - 1 }, () => null);
      const plan = prepare(`EXPLAIN QUERY PLAN ${text}`).all(places) as { detail: string }[];
      const details = plan.map(({ detail }) => detail);
      const isCount = text.includes('count(*)');
      // The first ones of an index of few.
      const isNewest =
        details.includes('SCAN jobs USING INDEX jobs_by_birth') && /limit/.test(text);
      const isFine = isCount || isNewest;
      assert.deepEqual(
        details.filter((detail) => /SCAN jobs|B-TREE|settled>/.test(detail) && !isFine),
        [],
        text,
      );
    }
  });

  test('of a start take no time for jobs that have ended', (t) => {
    const folder = makeFolder(t);
    const first = open(t, folder);
    const timed = (act: () => void): number => {
      const begin = performance.now();
      act();
      return performance.now() - begin;
    };
    const unfinished = Array.from({ length: 2000 }, (_, i) => put(record(i)));
    first.store.commit(unfinished);
    for (let at = 0; at < 30_000; at += 3000) {
      const writes = Array.from({ length: 3000 }, (_, i): Write => {
        const ended = record(10_000 + at + i, { state: completed() });
        return { ...ended, kind: 'record', isSettled: true };
      });
      first.store.commit(writes);
    }
    const some = timed(() => assert.equal(first.store.restore().records.length, 2000));
    alter(first.file, `UPDATE jobs SET settled = 2, status = 'JOB_LOST', finished_ms = 5`);
    const none = timed(() => assert.equal(first.store.restore().records.length, 0));
    assert.ok(
      none < some,
      `${none} ms for 32,000 that have ended, ${some} ms for 2,000 that have not`,
    );
  });
});
