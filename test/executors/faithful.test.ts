/** What real programs do to the one who runs them, and that it is kept whole and nobody is left. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { fenceText } from '../../src/core/record.ts';
import { firstLine, order, startBench, textOf, until } from './attempts.ts';
import { childrenNamed, isAlive, processesAbout } from './processes.ts';

const DEADLINE = { timeout: 120_000 };
const MIB = 1024 * 1024;

describe('a job through a shell that is used again and again', DEADLINE, () => {
  test('is what it would be through one of its own', async (t) => {
    const { run } = await startBench(t, { outputLimitBytes: 8 * MIB });
    const exits = async (command: string) => {
      const { end, stdout, stderr } = await run(command);
      return [end.tag === 'exited' ? end.code : end, textOf(stdout), textOf(stderr)];
    };
    assert.deepEqual(await exits('echo out; echo err >&2; exit 7'), [7, 'out\n', 'err\n']);
    assert.deepEqual(await exits(`echo "it's" 'a "b"' \\$x`), [0, `it's a "b" $x\n`, '']);
    assert.deepEqual(await exits('echo a\necho b'), [0, 'a\nb\n', '']);
    const [code, , said] = await exits('if');
    assert.deepEqual([code, /yntax/.test(String(said))], [2, true]);
    assert.equal((await exits('nosuchcommand'))[0], 127);
    assert.deepEqual(await exits('cat; read x; echo "[$x]"'), [0, '[]\n', '']);
    const big = await run('head -c 3000000 /dev/zero | tr "\\0" x');
    assert.equal(big.stdout.totalBytes, 3_000_000);
    // The runner's own descriptors are not the job's.
    for (const descriptor of [3, 4, 9, 10]) {
      assert.notEqual((await exits(`echo 5 >&${descriptor}`))[0], 0);
    }
    assert.deepEqual((await run('kill -9 $$')).end, { tag: 'signalled', signal: 'SIGKILL' });
  });

  test('ends with its main process, whatever that left in the background', async (t) => {
    const { run, folder } = await startBench(t);
    const { stdout, end } = await run(`sleep 1000 & sh -c 'sleep 1000; : ${folder}' & echo bg`);
    assert.deepEqual(end, { tag: 'exited', code: 0 });
    assert.equal(textOf(stdout), 'bg\n');
    assert.deepEqual(processesAbout(`: ${folder}`), []);
  });

  test('may close all its descriptors, or hold them open for others', async (t) => {
    const { run } = await startBench(t);
    assert.deepEqual((await run('exec <&- >&- 2>&-; exit 5')).end, { tag: 'exited', code: 5 });
    const held = await run('(trap "" TERM HUP; sleep 1000) & echo "held"; exit 6');
    assert.deepEqual(held.end, { tag: 'exited', code: 6 });
    assert.deepEqual((await run('echo next')).end, { tag: 'exited', code: 0 });
  });

  test('that kills its group has ended by that signal, and its runner lives', async (t) => {
    const { run } = await startBench(t);
    for (const signal of ['TERM', 'INT', 'HUP', 'QUIT', 'KILL'] as const) {
      // That of SIGINT cannot be told from an exit with its code.
      const expected =
        signal === 'INT'
          ? { tag: 'exited', code: 130 }
          : { tag: 'signalled', signal: `SIG${signal}` };
      assert.deepEqual((await run(`kill -${signal} 0; sleep 5`)).end, expected);
    }
    assert.deepEqual((await run('exit 4')).end, { tag: 'exited', code: 4 });
  });
});

describe('a kill and a timeout', DEADLINE, () => {
  test('leave nobody: not who ignores SIGTERM, stops itself, or makes groups', async (t) => {
    const { executor, reports, folder } = await startBench(t);
    const mark = `: ${folder}`;
    const command = [
      `sh -c 'trap "" TERM; while :; do sleep 1; done; ${mark}' &`,
      `sh -c 'kill -STOP $$; ${mark}' &`,
      `timeout 1000 sh -c 'sleep 1000; ${mark}' &`,
      `sh -c 'sh -c "sleep 1000; ${mark}" & sleep 1000; ${mark}' &`,
      'echo up; wait',
    ].join('\n');
    for (const graceMs of [0, 300]) {
      const ordered = order(command);
      executor.run(ordered);
      await firstLine(executor, ordered);
      await until('all are there', () => processesAbout(mark).length >= 6);
      executor.end(ordered.job, ordered.fence, graceMs);
      await reports.ended(ordered);
      assert.deepEqual(processesAbout(mark), []);
    }
  });
});

describe('output', DEADLINE, () => {
  test('of bytes, of one line of a megabyte, and of nothing is kept as it is', async (t) => {
    const { run, executor, folder } = await startBench(t, { outputLimitBytes: 32 * MIB });
    const kept = (ordered: ReturnType<typeof order>) =>
      readFileSync(join(folder, 'output', ordered.job, `${fenceText(ordered.fence)}.stdout`));
    const random = await run('head -c 5000000 /dev/urandom | tee copy; sha256sum <copy >&2');
    const sum = createHash('sha256').update(kept(random.order)).digest('hex');
    assert.equal(textOf(random.stderr), `${sum}  -\n`);
    const line = await run('head -c 1048576 /dev/zero | tr "\\0" x; echo');
    assert.equal(line.stdout.totalBytes, MIB + 1);
    const range = { offset: MIB - 3, maxBytes: 10 };
    const end = await executor.outputs.read(line.order, 'stdout', range);
    assert.equal(textOf(end ?? { bytes: new Uint8Array(0) }), 'xxx\n');
    const nothing = await run(':');
    assert.deepEqual([nothing.stdout.totalBytes, nothing.stderr.totalBytes], [0, 0]);
  });

  test('faster than its reader keeps the job going and the node small', async (t) => {
    const { executor, reports } = await startBench(t, { outputLimitBytes: 64 * MIB });
    const ordered = order('head -c 50000000 /dev/zero; echo; echo done');
    executor.run(ordered);
    const before = process.memoryUsage().rss;
    let offset = 0;
    // A reader that takes its time: the job does not wait for it.
    while (offset < 2_000_000) {
      const part = await executor.outputs.read(ordered, 'stdout', {
        offset,
        maxBytes: 256 * 1024,
        waitMs: 1000,
      });
      offset += part?.bytes.length ?? 0;
    }
    const { end, stdout } = await reports.ended(ordered);
    assert.deepEqual(end, { tag: 'exited', code: 0 });
    assert.equal(stdout.totalBytes, 50_000_006);
    assert(process.memoryUsage().rss - before < 100 * MIB);
  });
});

describe('2,000 short jobs', { timeout: 300_000 }, () => {
  test('leave no descriptor, no process and no file', async (t) => {
    const { run, executor, folder } = await startBench(t);
    const batch = (count: number) =>
      Promise.all(
        [1, 2].map(async () => {
          for (let i = 0; i < count / 2; i++) {
            const { end } = await run('true');
            assert.deepEqual(end, { tag: 'exited', code: 0 });
          }
        }),
      );
    await batch(100);
    const descriptors = readdirSync('/proc/self/fd').length;
    const runners = childrenNamed(process.pid, 'mesh-runner');
    const inRunners = () => runners.map((pid) => readdirSync(`/proc/${pid}/fd`).length);
    const open = inRunners();
    await batch(1900);
    assert(readdirSync('/proc/self/fd').length <= descriptors);
    assert.deepEqual(inRunners(), open);
    const left = (name: string) => readdirSync(join(folder, name));
    await until('few working folders are kept', () => left('work').length <= 8);
    assert.deepEqual(left('progress'), []);
    const [life = ''] = left('running');
    const groups = readdirSync(join(folder, 'running', life)).filter((name) => /\d/.test(name));
    assert.deepEqual(groups, []);
    await executor.stop();
    assert.deepEqual(left('work'), []);
    await until('no process is left', () => processesAbout(folder).filter(isAlive).length === 0);
  });
});
