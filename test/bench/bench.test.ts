/**
 * The bench itself, run with small sizes: every row works, whatever its figures are. Nothing that
 * it starts may be left, also where it is interrupted.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { processesWith, until } from '../e2e/mesh-processes.ts';
import type { Results } from './report/results.ts';
import { ROWS } from './rows.ts';

const MAIN = new URL('main.ts', import.meta.url).pathname;
/** Alone on two cores it takes less than a minute. */
const DEADLINE_MS = 420_000;
const isLinux = process.platform === 'linux' || 'it reads /proc';

interface Bench {
  readonly child: ChildProcess;
  readonly folder: string;
  readonly results: () => Results;
  printed(): string;
}

function startBench(t: TestContext, only: string): Bench {
  const folder = mkdtempSync(join(tmpdir(), 'mesh-bench-test-'));
  const out = join(folder, 'results');
  const child = spawn(process.execPath, ['--no-warnings', MAIN], {
    env: { ...process.env, QUICK: '1', ONLY: only, OUT: out, TMPDIR: folder },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let text = '';
  child.stdout?.on('data', (chunk) => {
    text += chunk;
  });
  t.after(async () => {
    child.kill('SIGTERM');
    if (child.exitCode === null) await once(child, 'exit');
    rmSync(folder, { recursive: true, force: true });
  });
  return {
    child,
    folder,
    printed: () => text,
    results: () => JSON.parse(readFileSync(join(out, 'results.json'), 'utf8')),
  };
}

describe('the bench', { skip: isLinux !== true && isLinux }, () => {
  test('has a figure or a reason for each contestant of each row', {
    timeout: DEADLINE_MS,
  }, async (t) => {
    const bench = startBench(t, '');
    const [code] = await once(bench.child, 'exit');
    assert.equal(code, 0, bench.printed());
    const { rows } = bench.results();
    assert.deepEqual(
      rows.map(({ name }) => name),
      ROWS.map(({ name }) => name),
    );
    for (const row of rows) {
      const failed = row.without.filter(({ why }) => why.startsWith('failed'));
      assert.deepEqual(failed, [], row.name);
      const excused = new Set(row.without.map(({ contestant }) => contestant));
      for (const line of row.lines) {
        assert.ok(bench.printed().includes(line.what), `${row.name}: ${line.what} is not printed`);
        for (const { name, median } of line.contestants)
          assert.ok(Number.isFinite(median) && median >= 0, `${row.name}: ${name} has ${median}`);
      }
      const measured = row.lines.flatMap(({ contestants }) => contestants.map(({ name }) => name));
      const all = ROWS.find(({ name }) => name === row.name)?.contestants ?? [];
      const missing = all.filter(({ name }) => !excused.has(name) && !measured.includes(name));
      assert.deepEqual(missing, [], `${row.name}: neither figure nor reason`);
    }
    assert.deepEqual(processesWith(bench.folder), []);
  });

  test('leaves nothing behind where it is interrupted', { timeout: DEADLINE_MS }, async (t) => {
    const bench = startBench(t, 'spread');
    const nodes = (): number[] => processesWith(`--data-dir\0${bench.folder}`);
    await until('two nodes run', 120_000, () => nodes().length >= 2);
    bench.child.kill('SIGINT');
    const [code] = await once(bench.child, 'exit');
    assert.equal(code, 130);
    assert.deepEqual(processesWith(bench.folder), []);
  });
});
