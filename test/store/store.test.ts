import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import Database from 'better-sqlite3';
import { asWall } from '../../src/base/instant.ts';
import { openDatabase } from '../../src/store/database.ts';
import { type OpenedStore, openStore } from '../../src/store/store.ts';
import {
  completed,
  facts,
  failed,
  fence,
  grant,
  granted,
  jobId,
  NODE_A,
  NODE_B,
  outcome,
  printed,
  record,
  T0,
} from '../conformance/store-samples.ts';

function makeFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'mesh-store-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

function open(t: TestContext, folder = makeFolder(t)): OpenedStore & { folder: string } {
  const opened = openStore({ folder, node: NODE_A });
  t.after(() => opened.store.close());
  return { ...opened, folder };
}

const put = (entry: ReturnType<typeof record>) => ({ kind: 'record' as const, ...entry });

/** As a person would look at it, while the node has it open. */
function select(file: string, sql: string): unknown[] {
  const client = new Database(file, { readonly: true });
  try {
    return client.prepare(sql).all();
  } finally {
    client.close();
  }
}

describe('the database file', () => {
  test('is readable with plain SQL while the node runs', (t) => {
    const { store, file } = open(t);
    const result = outcome({ stdout: printed('HELLO Ä\n'), stderr: printed('warned\n') });
    store.commit([
      put(record(1, { state: completed(result), spec: { env: { A: '1' }, timeoutMs: 1500 } })),
      put(record(2, { state: granted(NODE_B) })),
      put(record(3, { state: failed(7) })),
    ]);
    const rows = select(
      file,
      `SELECT job_id, status, command, target_node_id, env, timeout_seconds, exit_code, stdout, stderr,
         error_message, created_by_node, created_at, started_at, finished_at FROM jobs ORDER BY job_id`,
    );
    assert.deepEqual(rows[0], {
      job_id: 'job-000001',
      status: 'JOB_COMPLETED',
      command: `echo "ä 'quoted'" | tr a-z A-Z`,
      target_node_id: NODE_B,
      env: '{"A":"1"}',
      timeout_seconds: 1.5,
      exit_code: 0,
      stdout: 'HELLO Ä\n',
      stderr: 'warned\n',
      error_message: null,
      created_by_node: NODE_A,
      created_at: '2026-01-02T03:04:05.679Z',
      started_at: '2026-01-02T03:04:05.698Z',
      finished_at: '2026-01-02T03:04:05.718Z',
    });
    const [, second, third] = rows as Record<string, unknown>[];
    assert.deepEqual(
      [second?.status, second?.exit_code, second?.stdout, second?.finished_at],
      ['JOB_ASSIGNED', null, null, null],
    );
    assert.deepEqual(
      [third?.exit_code, third?.stdout, third?.error_message],
      [7, '', 'exited with code 7'],
    );
  });

  test('is flushed beside the loop, also when it is closed meanwhile', async (t) => {
    const { store } = open(t);
    const flush = () =>
      new Promise<Error | undefined>((resolve) => store.flush((failure) => resolve(failure)));
    store.write([put(record(1))]);
    assert.equal(store.readRecord(jobId(1))?.job.state.tag, 'pending');
    assert.equal(await flush(), undefined);
    store.write([put(record(2))]);
    const flushed = flush();
    store.close();
    assert.equal(await flushed, undefined);
  });

  test('shows the instants of created_at to the millisecond', (t) => {
    const { store, file } = open(t);
    store.commit(Array.from({ length: 1000 }, (_, i) => put(record(i))));
    const rows = select(file, 'SELECT created_ms AS ms, created_at AS at FROM jobs') as {
      ms: number;
      at: string;
    }[];
    assert.equal(rows.length, 1000);
    for (const { ms, at } of rows) assert.equal(at, new Date(ms).toISOString());
  });

  test('is readable with the sqlite3 tool', (t) => {
    const hasTool = toolExists('sqlite3');
    if (!hasTool) return t.skip('sqlite3 is not installed');
    const { store, file } = open(t);
    store.commit([put(record(1, { state: completed(outcome({ stdout: printed('hi\n') })) }))]);
    const shown = execFileSync('sqlite3', [
      file,
      'SELECT job_id, status, exit_code, stdout, created_at FROM jobs',
    ]);
    assert.equal(shown.toString(), 'job-000001|JOB_COMPLETED|0|hi\n|2026-01-02T03:04:05.679Z\n');
  });

  test('lists peers in worker_nodes', (t) => {
    const { store, file } = open(t);
    const boot = { counter: 2, salt: 'f'.repeat(16) };
    store.writePeer({
      facts: facts(NODE_B, { hosts: ['fe80::7'] }),
      boot,
      status: 'BUSY',
      lastHeartbeat: asWall(T0),
    });
    const [row] = select(
      file,
      'SELECT node_id, address, status, last_heartbeat, version, metadata, labels FROM worker_nodes',
    ) as Record<string, unknown>[];
    assert.deepEqual(row, {
      node_id: NODE_B,
      address: '[fe80::7]:40000',
      status: 'BUSY',
      last_heartbeat: '2026-01-02T03:04:05.678Z',
      version: '0.1.0',
      metadata: '{"hostname":"lab-1.example","pid":"42","platform":"linux-x64"}',
      labels: '{"zone":"b"}',
    });
  });

  test('counts boots, and commits with the start', (t) => {
    const { store, file } = open(t);
    store.commit([put(record(1))]);
    store.commit([]);
    store.commit([put(record(2)), put(record(3))]);
    assert.deepEqual(select(file, 'SELECT * FROM meta ORDER BY name'), [
      { name: 'boots', value: 1 },
      { name: 'commits', value: 3 },
    ]);
  });

  test('and its folder belong to their user alone', (t) => {
    const folder = join(makeFolder(t), 'new', 'deeper');
    const { file, store } = open(t, folder);
    store.commit([put(record(1))]);
    assert.equal(statSync(folder).mode & 0o777, 0o700);
    for (const name of [file, `${file}-wal`, `${file}-shm`]) {
      assert.equal(statSync(name).mode & 0o077, 0, name);
    }
  });

  test('is opened so that a commit survives the loss of power', (t) => {
    const { client } = openDatabase(join(makeFolder(t), 'worker.db'));
    t.after(() => client.close());
    const value = (pragma: string): unknown => client.pragma(pragma, { simple: true });
    assert.equal(value('journal_mode'), 'wal');
    assert.equal(value('synchronous'), 2, 'FULL');
  });

  test('forgets peers that were away for more than a month', (t) => {
    const folder = makeFolder(t);
    const first = open(t, folder);
    const boot = { counter: 2, salt: 'f'.repeat(16) };
    const at = (agoMs: number) => asWall(Date.now() - agoMs);
    const peer = { boot, status: 'IDLE' };
    first.store.writePeer({ ...peer, facts: facts(NODE_B), lastHeartbeat: at(31 * 86_400_000) });
    first.store.writePeer({ ...peer, facts: facts(NODE_A), lastHeartbeat: at(29 * 86_400_000) });
    first.store.close();
    const { store } = open(t, folder);
    store.restore();
    assert.deepEqual(
      store.readPeers().map(({ node }) => node),
      [NODE_A],
    );
  });
});

describe('openStore', () => {
  const refusal = (folder: string): { code: string; message: string } => {
    try {
      openStore({ folder, node: NODE_A }).store.close();
    } catch (thrown) {
      const { name, code, message } = thrown as { name: string; code: string; message: string };
      assert.equal(name, 'MeshError', message);
      return { code, message };
    }
    return assert.fail('it was opened');
  };

  test('refuses a file that is no database, by name and with what to do', (t) => {
    const folder = makeFolder(t);
    const file = join(folder, `worker_${NODE_A}.db`);
    writeFileSync(file, 'This is not a database. '.repeat(1000));
    const { code, message } = refusal(folder);
    assert.equal(code, 'DATA_CORRUPT');
    assert.ok(message.includes(file) && message.includes('.recover'), message);
    rmSync(file);
    open(t, folder);
  });

  test('refuses a file whose pages are damaged, at the start or when it reads them', (t) => {
    const folder = makeFolder(t);
    const { store, file } = open(t, folder);
    store.commit(Array.from({ length: 2000 }, (_, i) => put(record(i))));
    store.close();
    const size = statSync(file).size;
    execFileSync('dd', [
      'if=/dev/urandom',
      `of=${file}`,
      'bs=4096',
      'seek=2',
      `count=${Math.floor(size / 4096) - 2}`,
      'conv=notrunc',
      'status=none',
    ]);
    assert.throws(
      () => {
        const opened = openStore({ folder, node: NODE_A });
        t.after(() => opened.store.close());
        opened.store.restore();
      },
      { name: 'MeshError', code: 'DATA_CORRUPT', message: /is damaged/ },
    );
  });

  test('refuses a database of a newer version, untouched', (t) => {
    const folder = makeFolder(t);
    const { store, file } = open(t, folder);
    store.close();
    const client = new Database(file);
    client
      .prepare('INSERT INTO __drizzle_migrations (hash, created_at) VALUES (?, ?)')
      .run('from the future', 4_102_444_800_000);
    client.close();
    const { code, message } = refusal(folder);
    assert.equal(code, 'DATA_NEWER');
    assert.match(message, /newer version.*--data-dir/);
    assert.deepEqual(select(file, `SELECT value FROM meta WHERE name = 'boots'`), [{ value: 1 }]);
  });

  test('refuses a folder in use, in this process too, and takes it once it is free', (t) => {
    const folder = makeFolder(t);
    const { store } = open(t, folder);
    const { code, message } = refusal(folder);
    assert.equal(code, 'DATA_LOCKED');
    assert.ok(message.includes(`process ${process.pid}`), message);
    assert.match(message, /--name or --data-dir/);
    // The refused attempt must not have loosened the lock.
    assert.equal(refusal(folder).code, 'DATA_LOCKED');
    store.commit([put(record(1))]);
    store.close();
    assert.deepEqual(open(t, folder).store.readRecord(jobId(1)), record(1));
  });

  test('names databases of other identities in the folder', (t) => {
    const folder = makeFolder(t);
    const first = open(t, folder);
    assert.deepEqual(first.otherFiles, []);
    first.store.close();
    const second = openStore({ folder, node: NODE_B });
    t.after(() => second.store.close());
    assert.deepEqual(second.otherFiles, [first.file]);
  });

  test('says what is wrong with a folder it may not use', (t) => {
    const folder = makeFolder(t);
    writeFileSync(join(folder, 'file'), '');
    const { code, message } = refusal(join(folder, 'file', 'below'));
    assert.equal(code, 'DATA_FAILED');
    assert.match(message, /ENOTDIR.*|EEXIST.*/);
    if (process.getuid?.() === 0) return;
    const closed = join(folder, 'closed');
    mkdirSync(closed);
    chmodSync(closed, 0o500);
    assert.match(refusal(closed).message, /permission.*--data-dir/);
  });
});

describe("somebody else's transaction", () => {
  test('of reading hinders no commit', (t) => {
    const { store, file } = open(t);
    store.commit([put(record(1))]);
    const reader = new Database(file, { readonly: true });
    t.after(() => reader.close());
    reader.exec('BEGIN');
    const count = reader.prepare('SELECT count(*) FROM jobs').pluck();
    assert.equal(count.get(), 1);
    store.commit([put(record(2))]);
    assert.equal(count.get(), 1);
    reader.exec('COMMIT');
    assert.equal(count.get(), 2);
  });

  test('of writing makes a commit fail with a sentence, and it succeeds afterwards', (t) => {
    const { store, file } = open(t);
    const writer = new Database(file);
    t.after(() => writer.close());
    writer.exec('BEGIN IMMEDIATE');
    assert.throws(() => store.commit([put(record(1))]), {
      code: 'DATA_FAILED',
      message: /Another program keeps .* End its transaction/,
    });
    writer.exec('COMMIT');
    store.commit([put(record(1))]);
    assert.deepEqual(store.readRecord(jobId(1)), record(1));
  });
});

describe('rows that cannot be read', () => {
  test('are kept, marked and reported, and everything else is restored', (t) => {
    const folder = makeFolder(t);
    const first = open(t, folder);
    const attempt = (serial: number) => [
      {
        kind: 'started' as const,
        job: jobId(serial),
        fence: fence(),
        grant: grant(serial),
        at: asWall(T0),
      },
      { kind: 'outcome' as const, job: jobId(serial), rs: [NODE_A], outcome: outcome() },
    ];
    first.store.commit([1, 2, 3].flatMap((serial) => [put(record(serial)), ...attempt(serial)]));
    first.store.close();
    const client = new Database(first.file);
    client.exec(`UPDATE jobs SET body = x'ff00ff' WHERE job_id = 'job-000002';
      UPDATE started SET granted = x'ff' WHERE job_id = 'job-000003';
      UPDATE outbox SET outcome = x'ff' WHERE job_id = 'job-000001';`);
    client.close();

    const { store, file, quarantined } = open(t, folder);
    const state = store.restore();
    assert.deepEqual(state.records, [record(1), record(3)]);
    assert.deepEqual(
      state.started.map(({ job }) => job),
      [jobId(1), jobId(2)],
    );
    assert.deepEqual(
      state.outbox.map(({ job }) => job),
      [jobId(2), jobId(3)],
    );
    assert.deepEqual(
      quarantined().map(({ table, job }) => `${table} ${job}`),
      ['jobs job-000002', 'started job-000003', 'outbox job-000001'],
    );
    assert.throws(() => store.readRecord(jobId(2)), { code: 'DATA_CORRUPT' });
    assert.deepEqual(store.listRecords({ limit: 2 }), [record(3), record(1)]);
    const marked = 'SELECT job_id, unreadable FROM jobs WHERE unreadable IS NOT NULL';
    assert.deepEqual(select(file, marked), [
      { job_id: 'job-000002', unreadable: 'body cannot be read' },
    ]);
  });
});

describe('lists', () => {
  test('walk an index and sort nothing', (t) => {
    const { store, file } = open(t);
    store.commit([put(record(1))]);
    for (const where of [
      'is_stub = 0',
      `is_stub = 0 AND status = 'JOB_PENDING'`,
      `is_stub = 0 AND status = 'JOB_PENDING' AND (created_ms, job_id) < (5, 'x')`,
      `is_stub = 0 AND (created_ms, job_id) < (5, 'x')`,
    ]) {
      const plan = select(
        file,
        `EXPLAIN QUERY PLAN SELECT body FROM jobs WHERE ${where} ORDER BY created_ms DESC, job_id DESC LIMIT 9`,
      ) as { detail: string }[];
      const text = plan.map(({ detail }) => detail).join('; ');
      assert.match(text, /USING INDEX jobs_by_(age|status)/, where);
      assert.doesNotMatch(text, /B-TREE/, where);
    }
  });

  test('stay quick over 10,000 rows', (t) => {
    const { store } = open(t);
    for (let i = 0; i < 10; i++) {
      store.commit(Array.from({ length: 1000 }, (_, j) => put(record(i * 1000 + j))));
    }
    assert.equal(store.restore().records.length, 10_000);
    assert.deepEqual(store.countByStatus(), { JOB_PENDING: 10_000 });
    const begin = performance.now();
    for (let i = 0; i < 20; i++) assert.equal(store.listRecords({ limit: 50 }).length, 50);
    const perListMs = (performance.now() - begin) / 20;
    assert.ok(perListMs < 50, `${perListMs} ms for a page`);
  });
});

function toolExists(name: string): boolean {
  try {
    execFileSync('sh', ['-c', `command -v ${name}`]);
    return true;
  } catch {
    return false;
  }
}
