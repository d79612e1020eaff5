import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { promisify } from 'node:util';
import { parseLedger, readLedger, readLedgerClock, workCommand } from '../../src/torture/ledger.ts';

const CLOCK = { uptimeMs: 100_000, calendarMs: 1_000_000 };
const run = promisify(execFile);

/** One line; fences 1.n.1, 1.n.2, … */
const line = (what: string, attempt: number, seconds: number, pid = attempt): string =>
  `${what} long-1 job-a ${attempt} 1.n.${attempt} node${attempt} ${pid} u${seconds}\n`;

describe('a ledger', () => {
  test('tells an execution that came to its end', () => {
    const [one, ...more] = parseLedger(
      line('start', 1, 110.5) + line('tick', 1, 111) + line('end:3', 1, 112.25),
      CLOCK,
    );
    assert.deepEqual(more, []);
    assert.deepEqual(one, {
      job: 'job-a',
      label: 'long-1',
      attempt: 1,
      fence: '1.n.1',
      node: 'node1',
      pid: 1,
      start: 10_500,
      last: 12_250,
      exitCode: 3,
      isMute: false,
      overlaps: [],
    });
  });

  test('tells one that was cut short by its last sign of life', () => {
    const [one] = parseLedger(line('start', 1, 110) + line('tick', 1, 111), CLOCK);
    assert.deepEqual([one?.last, one?.exitCode], [11_000, undefined]);
  });

  test('sees an overlap in the order of the lines, whatever the clocks say', () => {
    const text = line('start', 1, 110) + line('start', 2, 120) + line('tick', 1, 115);
    const [first, second] = parseLedger(text, CLOCK);
    assert.deepEqual(first?.overlaps, []);
    assert.deepEqual(second?.overlaps, [{ other: '1.n.1' }]);
  });

  test('sees none when one wrote its last line before the other began', () => {
    const text = line('start', 1, 110) + line('tick', 1, 111) + line('start', 2, 111);
    assert.ok(parseLedger(text, CLOCK).every(({ overlaps }) => overlaps.length === 0));
  });

  test('keeps that the lock was held though nothing was written meanwhile', () => {
    const text = line('start', 1, 110) + line('start', 2, 112) + line('contested', 2, 112);
    assert.deepEqual(parseLedger(text, CLOCK)[1]?.overlaps, [{ other: undefined }]);
  });

  test('counts two starts of one fence as two', () => {
    const text = line('start', 1, 110, 77) + line('start', 1, 112, 78);
    assert.equal(parseLedger(text, CLOCK).length, 2);
  });

  test('reads times of the calendar where there is no other, and skips half a line', () => {
    const text = 'start short-1 job-a 1 1.n.1 node1 5 d1007\nend:0 short-1 job';
    const [one] = parseLedger(text, CLOCK);
    assert.deepEqual([one?.start, one?.exitCode], [7000, undefined]);
  });
});

describe('the command of a job', () => {
  const folderFor = (t: TestContext): string => {
    const folder = mkdtempSync(join(tmpdir(), 'mesh-ledger-'));
    t.after(() => rmSync(folder, { recursive: true, force: true }));
    return folder;
  };
  const envFor = (folder: string, attempt: number) => ({
    PATH: process.env.PATH,
    TORTURE_LEDGER: folder,
    TORTURE_LABEL: 'long-1',
    MESH_JOB_ID: 'job-a',
    MESH_ATTEMPT: String(attempt),
    MESH_FENCE: `1.n.${attempt}`,
    MESH_NODE_NAME: `node${attempt}`,
  });

  test('writes down its start and end, prints its fence and exits as it is told', async (t) => {
    const folder = folderFor(t);
    const clock = readLedgerClock(0);
    const command = workCommand({ runsMs: 600, exitCode: 3, isStubborn: false });
    const ended = await run('/bin/sh', ['-c', command], { env: envFor(folder, 1) }).catch(
      (failure: { code: number; stdout: string }) => failure,
    );
    assert.deepEqual([(ended as { code?: number }).code, ended.stdout], [3, '1.n.1\n']);
    const [one, ...more] = readLedger(folder, clock);
    assert.deepEqual([more.length, one?.exitCode, one?.overlaps], [0, 3, []]);
    assert.ok(one && one.last - one.start >= 590 && one.start >= -1000, JSON.stringify(one));
  });

  test('says so when it cannot print, and goes on', async (t) => {
    if (!existsSync('/dev/full')) return t.skip('there is no /dev/full');
    const folder = folderFor(t);
    const clock = readLedgerClock(0);
    const command = workCommand({ runsMs: 10, exitCode: 0, isStubborn: false });
    await run('/bin/sh', ['-c', `exec >/dev/full\n${command}`], { env: envFor(folder, 1) });
    const [one] = readLedger(folder, clock);
    assert.deepEqual([one?.isMute, one?.exitCode], [true, 0]);
  });

  test('says so when another execution lives, also one that is silent', async (t) => {
    if (!existsSync('/usr/bin/flock')) return t.skip('there is no flock');
    const folder = folderFor(t);
    const clock = readLedgerClock(0);
    const quick = workCommand({ runsMs: 10, exitCode: 0, isStubborn: false });
    const slow = workCommand({ runsMs: 60_000, exitCode: 0, isStubborn: true });
    const first = spawn('/bin/sh', ['-c', slow], {
      env: envFor(folder, 1),
      detached: true,
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    const group = first.pid ?? assert.fail('it did not start');
    // Its fence is printed once it holds the lock.
    await once(first.stdout, 'data');
    process.kill(-group, 'SIGSTOP');
    await run('/bin/sh', ['-c', quick], { env: envFor(folder, 2) });
    process.kill(-group, 'SIGKILL');
    await once(first, 'exit');
    // Its child may take a moment longer to die, and holds the lock until then.
    await run('flock', [join(folder, 'job-a'), 'true']);
    await run('/bin/sh', ['-c', quick], { env: envFor(folder, 3) });
    const [, second, third] = readLedger(folder, clock);
    assert.deepEqual(second?.overlaps, [{ other: undefined }]);
    assert.deepEqual(third?.overlaps, []);
    assert.match(readFileSync(join(folder, 'job-a'), 'utf8'), /^contested long-1 job-a 2 /m);
  });
});
