/** The torture of the whole product, as a user gives it. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { describe, type TestContext, test } from 'node:test';
import type { Report } from '../../src/torture/report.ts';
import { processesWith, until } from './mesh-processes.ts';

const DEADLINE = { timeout: 300_000 };
const BUNDLE = new URL('../../dist/mesh.mjs', import.meta.url).pathname;

interface Tortured {
  readonly child: ChildProcess;
  readonly reportDir: string;
  /** Of all runs of this test, and of nothing else. */
  readonly temporary: string;
  readonly ended: Promise<{ code: number; report: Report }>;
}

function torture(t: TestContext, ...words: string[]): Tortured {
  const temporary = mkdtempSync(join(tmpdir(), 'torture-'));
  const reportDir = join(temporary, 'report');
  const all = ['torture', '--json', '--report', reportDir, ...words];
  const child = spawn(process.execPath, [BUNDLE, ...all], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, TMPDIR: temporary },
  });
  t.after(() => rmSync(temporary, { recursive: true, force: true }));
  const ended = Promise.all([text(child.stdout), once(child, 'exit')]).then(
    ([printed, [code]]) => ({ code: Number(code), report: JSON.parse(printed) as Report }),
  );
  return { child, reportDir, temporary, ended };
}

/** No process, no folder: only the report. */
function assertNothingLeft({ temporary, reportDir }: Tortured): void {
  assert.deepEqual(processesWith(`${temporary}/mesh-torture-`), []);
  assert.deepEqual(readdirSync(temporary), ['report']);
  assert.ok(existsSync(join(reportDir, 'report.html')));
}

describe('mesh torture', () => {
  test('without faults: every job runs once and every promise is kept', DEADLINE, async (t) => {
    const run = torture(t, '--seconds', '6', '--seed', '1', '--faults', 'none');
    const { code, report } = await run.ended;
    assert.deepEqual(report.violations, []);
    assert.deepEqual([code, report.verdict], [0, 'clean']);
    assert.ok(report.counts.acknowledged >= 10, String(report.counts.acknowledged));
    assert.deepEqual(report.duplicates, []);
    const saved = JSON.parse(readFileSync(join(run.reportDir, 'report.json'), 'utf8')) as Report;
    assert.deepEqual(saved.counts, report.counts);
    assertNothingLeft(run);
  });

  test('interrupted while a node is frozen: heals, ends all and reports', DEADLINE, async (t) => {
    const run = torture(t, '--nodes', '2', '--seconds', '60', '--seed', '1', '--faults', 'freeze');
    await until('a node is frozen', 60_000, () => frozenIn(run.temporary).length > 0);
    run.child.kill('SIGINT');
    const { code, report } = await run.ended;
    assert.deepEqual([code, report.verdict], [130, 'interrupted']);
    assertNothingLeft(run);
  });

  test('with nodes that die, freeze and restart: every promise is kept', DEADLINE, async (t) => {
    const faults = 'kill,freeze,restart,host';
    const run = torture(t, '--seconds', '35', '--seed', '7', '--faults', faults);
    const { code, report } = await run.ended;
    assert.deepEqual(report.violations, []);
    assert.deepEqual([code, report.verdict], [0, 'clean']);
    assert.deepEqual(report.faults.map(({ kind }) => kind).sort(), faults.split(',').sort());
    assert.ok(report.counts.acknowledged >= 80, String(report.counts.acknowledged));
    assertNothingLeft(run);
  });
});

/** Stopped processes of a run. */
const frozenIn = (folder: string): number[] =>
  processesWith(`${folder}/mesh-torture-`).filter((pid) => stateOf(pid) === 'T');

/** The letter of proc(5); empty when it has ended. */
function stateOf(pid: number): string {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return stat.charAt(stat.lastIndexOf(')') + 2);
  } catch {
    return '';
  }
}
