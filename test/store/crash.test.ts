import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { describe, type TestContext, test } from 'node:test';
import type { Store } from '../../src/node/ports.ts';
import { openStore } from '../../src/store/store.ts';
import { jobId, NODE_A, record } from '../conformance/store-samples.ts';

const PROGRAM = new URL('committing-process.ts', import.meta.url).pathname;
const DEADLINE = { timeout: 60_000 };

function makeFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'mesh-store-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

function startCommitting(t: TestContext, folder: string, first: number): ChildProcess {
  const args = ['--import', 'tsx', PROGRAM, folder, String(first)];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(() => child.kill('SIGKILL'));
  return child;
}

/** Kills it in mid-stream; settles with what it had printed by then. */
async function killAfter(child: ChildProcess, lines: number): Promise<string[]> {
  assert.ok(child.stdout);
  const printed: string[] = [];
  for await (const line of createInterface({ input: child.stdout })) {
    printed.push(line);
    if (printed.length === lines) child.kill('SIGKILL');
  }
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
  assert.equal(child.signalCode, 'SIGKILL');
  return printed;
}

describe('a store whose process is killed', () => {
  test('has every commit that had returned, five times over', DEADLINE, async (t) => {
    const folder = makeFolder(t);
    const returned: number[] = [];
    let next = 0;
    for (let life = 1; life <= 5; life++) {
      const [boot, ...printed] = await killAfter(startCommitting(t, folder, next), 40 * life);
      assert.equal(boot, `boot ${2 * life - 1}`);
      returned.push(...printed.map(Number));
      const { store } = openStore({ folder, node: NODE_A });
      const started = new Set(store.restore().started.map(({ job }) => job));
      for (const serial of returned) {
        assert.equal(store.readRecord(jobId(serial))?.job.state.tag, 'final', `job ${serial}`);
        assert.ok(started.has(jobId(serial)));
      }
      // The commit that was under way is there whole or not at all, and none is beyond it.
      const last = returned.at(-1) ?? 0;
      const isThere = store.readRecord(jobId(last + 1)) !== undefined;
      assert.equal(started.has(jobId(last + 1)), isThere);
      assert.equal(store.readRecord(jobId(last + 2)), undefined);
      store.close();
      next = last + 2;
    }
  });

  test('is locked while that process lives and free when it is gone', DEADLINE, async (t) => {
    const folder = makeFolder(t);
    const child = startCommitting(t, folder, 0);
    assert.ok(child.stdout);
    const lines = createInterface({ input: child.stdout });
    await once(lines, 'line');
    assert.throws(
      () => openStore({ folder, node: NODE_A }),
      (thrown: Error) => {
        assert.equal((thrown as Error & { code: string }).code, 'DATA_LOCKED');
        return thrown.message.includes(`process ${child.pid}`);
      },
    );
    child.kill('SIGKILL');
    await once(child, 'exit');
    openStore({ folder, node: NODE_A }).store.close();
  });
});

describe('a store on a disk that is really full', () => {
  test('takes nothing, stays readable, and goes on when there is room', (t) => {
    const folder = mountSmallDisk(t);
    if (folder === undefined) return t.skip('a small disk cannot be mounted here');
    const { store } = openStore({ folder, node: NODE_A });
    try {
      fillAndFree(folder, store);
    } finally {
      store.close();
      execFileSync('umount', [folder]);
    }
  });
});

function fillAndFree(folder: string, store: Store): void {
  store.commit([{ kind: 'record', ...record(0) }]);
  const ballast = join(folder, 'ballast');
  assert.throws(() => writeFileSync(ballast, Buffer.alloc(64 * 1024 * 1024)), { code: 'ENOSPC' });
  let serial = 1;
  const commitNext = () => {
    store.commit([{ kind: 'record', ...record(serial, { spec: { command: 'x'.repeat(4000) } }) }]);
    serial += 1;
  };
  assert.throws(
    () => {
      for (;;) commitNext();
    },
    { name: 'MeshError', code: 'DISK_FULL', message: /Free some space/ },
  );
  assert.throws(commitNext, { code: 'DISK_FULL' });
  const elsewhere = join(folder, 'new');
  assert.throws(() => openStore({ folder: elsewhere, node: NODE_A }), { code: 'DISK_FULL' });
  assert.equal(store.readRecord(jobId(serial)), undefined);
  assert.equal(store.countByStatus().JOB_PENDING, serial);
  rmSync(ballast);
  commitNext();
  store.close();
  const again = openStore({ folder, node: NODE_A });
  assert.equal(again.store.restore().records.length, serial);
  again.store.close();
}

/** A disk of 2 MiB in memory; undefined without the right to mount one. */
function mountSmallDisk(t: TestContext): string | undefined {
  const folder = mkdtempSync(join(tmpdir(), 'mesh-disk-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=2m', 'tmpfs', folder], { stdio: 'ignore' });
    return folder;
  } catch {
    return undefined;
  }
}
