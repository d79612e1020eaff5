import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { describe, type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { asJobId } from '../../src/base/ids.ts';
import { Guard } from '../../src/executors/guard.ts';
import { Life } from '../../src/executors/listing.ts';
import { startProcessGroup } from '../../src/executors/process-group.ts';
import { fence, startBench, temporaryFolder, until } from './attempts.ts';
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
  t.after(() => child.kill('SIGKILL'));
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
    const { folder, problems } = await startBench(t);
    const guard = guardOf(folder);
    assert(guard !== undefined);
    for (const signal of ['SIGINT', 'SIGHUP', 'SIGTERM', 'SIGQUIT'] as const)
      process.kill(guard, signal);
    const stat = readFileSync(`/proc/${guard}/stat`, 'utf8').split(' ');
    assert.equal(stat[5], String(guard), 'a session of its own');
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

/** Also by the way that is left where the system has no /proc. */
for (const procFolder of ['/proc', '/no-such-folder']) {
  describe(`a list of groups, start times from ${procFolder}`, () => {
    const startListed = async (t: TestContext, program: readonly string[]) => {
      const runningFolder = temporaryFolder(t);
      const life = await Life.begin(runningFolder);
      const { devNull } = await import('node:os');
      const { open } = await import('node:fs/promises');
      const nowhere = await open(devNull, 'a');
      const listing = life.newListing({ job: asJobId('listed'), fence: fence() });
      const group = await startProcessGroup({
        program,
        folder: runningFolder,
        env: {},
        stdout: nowhere.fd,
        stderr: nowhere.fd,
        listing,
        procFolder,
      });
      await nowhere.close();
      t.after(() => group.end(0));
      return { life, listing, group };
    };
    const file = ({ folder, name }: { folder: string; name: string }): string => join(folder, name);
    /** As a node that dies: the pipe closes without a word. */
    const dropPipe = (guard: Guard): void => {
      (guard as unknown as { child: ChildProcess }).child.stdin?.destroy();
    };

    test('has a group on it before its program begins', async (t) => {
      const { life, listing, group } = await startListed(t, ['/bin/sh', '-c', 'exec sleep 1000']);
      await until('begun', () => readFileSync(`/proc/${group.groupId}/comm`, 'utf8') === 'sleep\n');
      const [id, startTime, job, fenceText, end] = readFileSync(file(listing), 'utf8').split('\n');
      assert.deepEqual([Number(id), job, end], [group.groupId, 'listed', 'end']);
      assert.equal(fenceText, `1.${fence().epoch.node}.1`);
      assert.match(startTime ?? '', procFolder === '/proc' ? /^\d+$/ : /^\w+ \w+ \d+ [\d:]+ \d+$/);
      assert(await life.isListed(listing));
    });

    test('is worked off when the pipe closes', async (t) => {
      const { life, group } = await startListed(t, ['/bin/sleep', '1000']);
      await until('begun', () => readFileSync(`/proc/${group.groupId}/comm`, 'utf8') === 'sleep\n');
      const guard = new Guard(life.folder, () => {}, procFolder);
      await guard.start();
      t.after(() => guard.stop());
      dropPipe(guard);
      assert.deepEqual(await group.ended, { tag: 'signalled', signal: 'SIGKILL' });
      assert(!existsSync(join(life.folder, 'open')));
    });

    test('does not hurt a stranger that was given the same number', async (t) => {
      const { life, listing, group } = await startListed(t, ['/bin/sleep', '1000']);
      await until('begun', () => readFileSync(`/proc/${group.groupId}/comm`, 'utf8') === 'sleep\n');
      const { writeFileSync } = await import('node:fs');
      const changed = readFileSync(file(listing), 'utf8').replace(/\d+\n/g, (text, at: number) =>
        at === 0 ? text : `${Number(text) - 1}\n`,
      );
      writeFileSync(file(listing), changed);
      const guard = new Guard(life.folder, () => {}, procFolder);
      await guard.start();
      t.after(() => guard.stop());
      const { pid } = guard;
      assert(pid !== undefined);
      dropPipe(guard);
      await until('worked off', () => !isAlive(pid));
      assert(isAlive(group.groupId));
    });

    test('that is closed lets no further group start', async (t) => {
      const { life } = await startListed(t, ['/bin/true']);
      const { rmSync } = await import('node:fs');
      rmSync(join(life.folder, 'open'));
      const listing = life.newListing({ job: asJobId('late'), fence: fence() });
      const group = await startProcessGroup({
        program: ['/bin/sh', '-c', 'exit 0'],
        folder: life.folder,
        env: {},
        stdout: 2,
        stderr: 2,
        listing,
        procFolder,
      });
      assert.deepEqual(await group.ended, { tag: 'exited', code: 253 });
      assert.equal(await life.isListed(listing), false);
    });
  });
}
