/** Shells that run one job after the other: what one leaves behind must not reach the next. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { leaseText } from '../../src/executors/groups/group-file.ts';
import { watchRunner } from '../../src/executors/groups/main-process.ts';
import { childrenCpuMs } from '../../src/executors/groups/process-table.ts';
import { Runners } from '../../src/executors/groups/runners.ts';
import {
  firstLine,
  order,
  release,
  startBench,
  temporaryFolder,
  textOf,
  until,
} from './attempts.ts';
import { childrenNamed, isAlive, sessionMembers, stateOf } from './processes.ts';

const DEADLINE = { timeout: 60_000 };
const runners = (): number[] => childrenNamed(process.pid, 'mesh-runner');

describe('a runner', DEADLINE, () => {
  test('is kept for the next job, which finds nothing of the last one', async (t) => {
    const { run } = await startBench(t);
    const probe = 'echo $PPID; pwd; umask; echo "$MINE"; ulimit -n; ls /proc/self/fd';
    const first = await run(`${probe}; echo $MESH_ATTEMPT; umask 0; exit 3`, {
      env: { MINE: 'secret' },
    });
    const second = await run(`${probe}; echo $MESH_ATTEMPT`);
    const lines = [first, second].map(({ stdout }) => textOf(stdout).split('\n'));
    assert.equal(lines[0]?.[0], lines[1]?.[0], 'the same runner');
    assert.notEqual(lines[0]?.[1], lines[1]?.[1]);
    assert.deepEqual([lines[0]?.[3], lines[1]?.[3]], ['secret', '']);
    assert.deepEqual(lines[0]?.toSpliced(0, 4), lines[1]?.toSpliced(0, 4));
    // No pipe of the runner's or of another job's is open in it.
    const fresh = spawnSync('/bin/sh', ['-c', 'ls /proc/self/fd']).stdout.toString();
    assert.equal(lines[1]?.slice(5, -2).join('\n'), fresh.trim());
    assert.deepEqual(first.end, { tag: 'exited', code: 3 });
  });

  test('passes on any text as it is: quotes, lines, all bytes of UTF-8', async (t) => {
    const { run } = await startBench(t, { outputLimitBytes: 1_000_000 });
    const texts = [
      `it's "quoted" \`here\` $HOME $(date) \\ \\n \\'`,
      "'",
      "''\n'",
      '\n\n two\nlines\t\n',
      '-n',
      '*',
      '\u0001\u0002\u007f\u0081\u0088\u0089é漢字𝄞 \u2028',
      Array.from({ length: 0x7f }, (_, i) => String.fromCodePoint(0x80 + i)).join(''),
      'EOF\n)\n}\n__mesh_end 0',
      'x'.repeat(100_000),
    ];
    for (const text of texts) {
      const { stdout, end } = await run(`printf %s "$TEXT"; : '${text.replaceAll("'", '')}'`, {
        env: { TEXT: text },
      });
      assert.deepEqual(end, { tag: 'exited', code: 0 }, JSON.stringify(text.slice(0, 99)));
      assert.equal(stdout.totalBytes, Buffer.byteLength(text));
      assert(text.endsWith(textOf(stdout).slice(-30_000)));
    }
  });

  test('gives variables whose name no shell would take, or would take for its own', async (t) => {
    const { run } = await startBench(t);
    const env = {
      'a.b-c': '1',
      IFS: ',',
      OPTIND: '7',
      PS4: '$(echo no)',
      LC_ALL: 'C',
      __mesh: 'mine',
      setsid: 'mine',
      PATH: '/usr/bin:/bin:/own',
    };
    const { stdout } = await run('cat /proc/$$/environ; :', { env });
    const found = Object.fromEntries(
      textOf(stdout)
        .split('\0')
        .map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]),
    );
    for (const [name, value] of Object.entries(env)) assert.equal(found[name], value, name);
  });

  test('that is killed takes its job with it', async (t) => {
    const { executor, reports, run } = await startBench(t);
    const ordered = order('echo $PPID $$; sleep 999');
    executor.run(ordered);
    const [runner = 0, pid = 0] = (await firstLine(executor, ordered)).split(' ').map(Number);
    process.kill(runner, 'SIGKILL');
    const { end } = await reports.ended(ordered);
    assert.deepEqual(end, { tag: 'signalled', signal: 'SIGKILL' });
    assert(!isAlive(pid));
    assert.deepEqual((await run('exit 4')).end, { tag: 'exited', code: 4 });
  });

  test('goes with what a job has left, and with a job that kills its group', async (t) => {
    const { run } = await startBench(t);
    // Of a short job those that were born since are asked, of a long one everybody.
    for (const pause of ['', 'sleep 0.4; ']) {
      const lefts = ['sleep 999', 'timeout 999 sleep 999', '(sleep 999 & exec true)'];
      for (const left of lefts) {
        const first = await run(`${left} & ${pause}echo $PPID`);
        const runner = Number(textOf(first.stdout));
        assert.deepEqual(sessionMembers(runner), [], left);
        const next = Number(textOf((await run('echo $PPID')).stdout));
        assert.notEqual(next, runner);
      }
    }
    const { end } = await run('kill -KILL 0');
    assert.deepEqual(end, { tag: 'signalled', signal: 'SIGKILL' });
    assert.deepEqual((await run('kill -TERM 0; exit 4')).end, {
      tag: 'signalled',
      signal: 'SIGTERM',
    });
  });

  test('tells the processor time of a job that was killed with it', async (t) => {
    const { executor, reports } = await startBench(t);
    const ordered = order('i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; echo up; sleep 999');
    executor.run(ordered);
    await firstLine(executor, ordered);
    executor.end(ordered.job, ordered.fence, 0);
    const { end, receipt } = await reports.ended(ordered);
    assert.deepEqual(end, { tag: 'signalled', signal: 'SIGKILL' });
    assert((receipt?.usage?.cpuMs ?? 0) > 10, JSON.stringify(receipt));
  });

  test('that waits for nobody has used no processor time for a job', async (t) => {
    const { run } = await startBench(t);
    const runner = Number(textOf((await run('echo $PPID')).stdout));
    assert.equal(childrenCpuMs(runner), 0);
  });

  test('that is killed while it waits is replaced', async (t) => {
    const { run } = await startBench(t);
    const { stdout } = await run('echo $PPID');
    const runner = Number(textOf(stdout));
    process.kill(runner, 'SIGKILL');
    // Dead is not enough: its node must have fetched it.
    await until('it is gone', () => stateOf(runner) === undefined);
    assert.deepEqual((await run('exit 4')).end, { tag: 'exited', code: 4 });
  });

  test('is one of few when many have been at work, and of none after a stop', async (t) => {
    const before = runners().length;
    const { executor, reports } = await startBench(t);
    const orders = Array.from({ length: 40 }, (_, i) => order(`sleep 0.2; exit ${i}`));
    for (const ordered of orders) executor.run(ordered);
    for (const [i, ordered] of orders.entries()) {
      assert.deepEqual((await reports.ended(ordered)).end, { tag: 'exited', code: i });
    }
    await until('few are left', () => runners().length - before <= 16);
    await executor.stop();
    assert.equal(runners().length, before);
  });

  test('that cannot enter the working folder says so, and lists nothing', async (t) => {
    const folder = temporaryFolder(t);
    const runners = new Runners({ PATH: '/usr/bin:/bin' }, '/proc');
    release(t, () => runners.close());
    const path = join(folder, '1.group');
    const lease = leaseText({ tag: 'never' });
    const entry = { folder, name: '1.group', procFolder: '/proc', lease, job: 'a', fence: 'b' };
    const programs = { env: '/usr/bin/env', program: ['/bin/true'] };
    const files = { stdout: join(folder, 'out'), stderr: join(folder, 'err') };
    const job = { entry: { ...entry, startedAt: 1 }, ...programs, ...files, begin: '' };
    const handed = await runners.run({ ...job, workingFolder: join(folder, 'gone') }, {});
    const { end } = await watchRunner(handed, { path, outputs: Object.values(files) }).ended;
    assert(end.tag === 'failed');
    assert.match(end.reason, /working folder/);
    assert.doesNotMatch(readFileSync(path, 'utf8'), /end/);
  });
});
