import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { describe, type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { asJobId } from '../../src/base/ids.ts';
import { fence, release, startBench, temporaryFolder, until } from './attempts.ts';
import { isAlive } from './processes.ts';

interface Doomed {
  readonly child: ChildProcess;
  readonly pid: number;
  readonly guard: number;
}

async function startDoomed(t: TestContext, folder: string, commands: string[]): Promise<Doomed> {
  const program = fileURLToPath(new URL('./doomed-node.ts', import.meta.url));
  const child = spawn(process.execPath, ['--import', 'tsx', program, folder, ...commands], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  release(t, () => child.kill('SIGKILL'));
  assert(child.stdout);
  const [line] = await once(createInterface(child.stdout), 'line');
  return { child, ...JSON.parse(line) };
}

async function kill(child: ChildProcess): Promise<void> {
  const ended = once(child, 'exit');
  child.kill('SIGKILL');
  await ended;
}

const outputOf = (folder: string, index: number): string =>
  readFileSync(
    join(folder, 'output', `doomed-${index}`, `1.${fence().epoch.node}.1.stdout`),
    'utf8',
  );

const lineOf = async (folder: string, index: number): Promise<number[]> => {
  await until('a line', () => outputOf(folder, index).includes('\n'));
  return (outputOf(folder, index).split('\n')[0] ?? '').split(' ').map(Number);
};

const STUBBORN = 'trap "" TERM INT HUP; sleep 1000 & echo $$ $!; while :; do sleep 1; done';

describe('a node that is killed', () => {
  test('takes its jobs with it within a second, and its guard ends', async (t) => {
    const folder = temporaryFolder(t);
    const { child, guard } = await startDoomed(t, folder, [STUBBORN, STUBBORN]);
    const pids = [...(await lineOf(folder, 0)), ...(await lineOf(folder, 1))];
    assert.equal(pids.filter(isAlive).length, 4);
    assert(isAlive(guard));
    await kill(child);
    const before = performance.now();
    await until('jobs gone', () => !pids.some(isAlive));
    assert(performance.now() - before < 1000, `${performance.now() - before} ms`);
    await until('guard gone', () => !isAlive(guard));
  });

  test('takes jobs with it whose main process has just ended', async (t) => {
    const folder = temporaryFolder(t);
    // The node is stopped, so that it does not see the end of the main process.
    const command = 'sleep 1000 & echo $! $$; while [ ! -e go ]; do sleep 0.02; done';
    const { child, guard } = await startDoomed(t, folder, [command]);
    const [left, main] = await lineOf(folder, 0);
    assert(left !== undefined && main !== undefined);
    child.kill('SIGSTOP');
    process.kill(main, 'SIGKILL');
    await until('main process dead', () => !isAlive(main));
    assert(isAlive(left));
    await kill(child);
    await until('background child gone', () => !isAlive(left));
    await until('guard gone', () => !isAlive(guard));
  });

  test('and its guard with it: the next start ends the jobs before it settles', async (t) => {
    const folder = temporaryFolder(t);
    const { child, guard } = await startDoomed(t, folder, [
      STUBBORN,
      'yes | head -c 5000; exec sleep 1000',
    ]);
    const pids = await lineOf(folder, 0);
    await lineOf(folder, 1);
    process.kill(guard, 'SIGSTOP');
    await kill(child);
    process.kill(guard, 'SIGKILL');
    await until('guard gone', () => !isAlive(guard));
    assert.equal(pids.filter(isAlive).length, 2);

    const { executor, problems } = await startBench(t, { folder, outputLimitBytes: 1000 });
    assert.deepEqual(pids.filter(isAlive), []);
    assert.deepEqual(problems, []);
    assert.equal(readdirSync(join(folder, 'running')).length, 1);
    await until('work folders removed', () => readdirSync(join(folder, 'work')).length === 0);
    const attempt = { job: asJobId('doomed-1'), fence: fence() };
    const chunk = await executor.outputs.read(attempt, 'stdout', { offset: 990, maxBytes: 1000 });
    assert(chunk?.isEnd && chunk.isTruncated);
    assert.equal(
      Buffer.from(chunk.bytes).toString(),
      'y\ny\ny\ny\ny\n[output truncated at 1000 bytes]\n',
    );
  });
});

describe('a guard', () => {
  const guardOf = (folder: string): number | undefined =>
    readdirSync('/proc')
      .filter((pid) => /^\d+$/.test(pid) && isAlive(Number(pid)))
      .map(Number)
      .find((pid) => {
        try {
          const argv = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
          return argv.includes('mesh-guard') && argv.some((word) => word.startsWith(folder));
        } catch {
          return false;
        }
      });

  test('that is killed is replaced, and said so', async (t) => {
    const { folder, problems, run } = await startBench(t);
    const first = guardOf(folder);
    assert(first !== undefined);
    process.kill(first, 'SIGKILL');
    await until('another guard', () => ![undefined, first].includes(guardOf(folder)));
    assert.match(problems.join(), /guard.*another one is started/);
    assert.deepEqual((await run('true')).end, { tag: 'exited', code: 0 });
  });

  test('is deaf to what a terminal sends', async (t) => {
    const { folder, problems, run } = await startBench(t);
    const guard = guardOf(folder);
    assert(guard !== undefined);
    const stat = readFileSync(`/proc/${guard}/stat`, 'utf8').split(' ');
    assert.equal(stat[5], String(guard), 'a session of its own');
    await run('sleep 0.1');
    for (const signal of ['SIGINT', 'SIGHUP', 'SIGTERM', 'SIGQUIT'] as const) {
      process.kill(guard, signal);
    }
    await run('sleep 0.1');
    assert(isAlive(guard));
    assert.deepEqual(problems, []);
  });

  test('ends with a stop, and leaves nothing behind', async (t) => {
    const { folder, executor } = await startBench(t);
    const guard = guardOf(folder);
    assert(guard !== undefined);
    await executor.stop();
    assert(!isAlive(guard));
    assert.deepEqual(readdirSync(join(folder, 'running')), []);
  });
});
