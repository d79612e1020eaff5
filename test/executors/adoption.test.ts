/** A node's restart is not a job's death. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { shell } from '../../src/executors/shell.ts';
import type { Sighting, TaskType } from '../../src/executors/task-type.ts';
import { order, startBench, temporaryFolder, textOf, until } from './attempts.ts';
import { doomedAttempt, kill, numbersOf, outputOf, startDoomed } from './doomed.ts';
import { isAlive, sessionMembers, supervisorsOf } from './processes.ts';

const DEADLINE = { timeout: 60_000 };
/** Prints its number, goes on until there is a file `go` in its folder, and ends with 7. */
const WAITS = 'echo $$; while [ ! -e go ]; do sleep 0.1; done; echo went; exit 7';

const workFolders = (folder: string): string[] => readdirSync(join(folder, 'work'));
const letGo = (folder: string): void => {
  for (const name of workFolders(folder)) writeFileSync(join(folder, 'work', name, 'go'), '');
};

describe('a node that is killed and started again', DEADLINE, () => {
  test('finds its attempt: same process, same output, its exit code', async (t) => {
    const folder = temporaryFolder(t);
    const { child, supervisor } = await startDoomed(t, folder, [WAITS]);
    const [pid = 0] = await numbersOf(folder, 0);
    await kill(child);
    const { executor, reports, survivors, problems } = await startBench(t, { folder });
    const attempt = doomedAttempt(0);
    const [survivor] = survivors;
    assert.equal(survivors.length, 1);
    assert.deepEqual([survivor?.job, survivor?.fence], [attempt.job, attempt.fence]);
    assert(survivor?.leaseLeftMs !== undefined && survivor.leaseLeftMs > 30_000);
    assert(Date.now() - survivor.startedAt < 30_000 && survivor.startedAt <= Date.now());
    assert(isAlive(pid));
    await until('the old supervisor has ended', () => !isAlive(supervisor));
    assert.equal(supervisorsOf(folder).length, 1);
    const rest = executor.outputs.read(attempt, 'stdout', {
      offset: outputOf(folder, 0).length,
      maxBytes: 100,
      waitMs: 20_000,
    });
    letGo(folder);
    assert.equal(textOf((await rest) ?? { bytes: new Uint8Array(0) }), 'went\n');
    const { end, stdout, startedAt, finishedAt } = await reports.ended(attempt);
    assert.deepEqual(end, { tag: 'exited', code: 7 });
    assert.equal(textOf(stdout), `${pid}\nwent\n`);
    assert.equal(startedAt, survivor.startedAt);
    assert(finishedAt > survivor.startedAt && finishedAt <= Date.now());
    assert.deepEqual(
      reports.all.map(({ kind }) => kind),
      ['ended'],
    );
    await until('working folder removed', () => workFolders(folder).length === 0);
    assert.deepEqual(problems, []);
  });

  test('reports what ended while it was away, after its start', async (t) => {
    const folder = temporaryFolder(t);
    const orders = [WAITS, 'echo $$; while [ ! -e go ]; do sleep 0.1; done; kill -SEGV $$', WAITS];
    const { child } = await startDoomed(t, folder, orders);
    const pids = (await Promise.all([0, 1, 2].map((i) => numbersOf(folder, i)))).flat();
    await kill(child);
    const killedAt = Date.now();
    letGo(folder);
    await until('all have ended', () => !pids.some(isAlive));
    const { reports, survivors } = await startBench(t, { folder });
    assert.equal(survivors.length, 3);
    assert.deepEqual(reports.all, []);
    const ends = await Promise.all([0, 1, 2].map((i) => reports.ended(doomedAttempt(i))));
    assert.deepEqual(
      ends.map(({ end }) => end),
      [
        { tag: 'exited', code: 7 },
        { tag: 'signalled', signal: 'SIGSEGV' },
        { tag: 'exited', code: 7 },
      ],
    );
    for (const { finishedAt, stdout } of ends) {
      assert(finishedAt >= killedAt - 50 && finishedAt <= Date.now());
      assert.match(textOf(stdout), /^\d+\n(went\n)?$/);
    }
    await until('nothing is listed', () => workFolders(folder).length === 0);
  });

  test('says first what it found, however long it looks for task types', async (t) => {
    const folder = temporaryFolder(t);
    const { child } = await startDoomed(t, folder, ['echo done; exit 3']);
    await until('it has ended', () => outputOf(folder, 0) === 'done\n');
    await kill(child);
    const look = async (): Promise<Sighting> => {
      await delay(200);
      return { tag: 'present' };
    };
    const slow: TaskType = { ...shell, name: 'slow', look };
    const { reports, survivors } = await startBench(t, { folder, taskTypes: [shell, slow] });
    assert.equal(survivors.length, 1);
    assert.deepEqual(reports.all, []);
    assert.deepEqual((await reports.ended(doomedAttempt(0))).end, { tag: 'exited', code: 3 });
  });

  test('reports again what had ended before its death, until that is on its disk', async (t) => {
    const folder = temporaryFolder(t);
    const { child, lines } = await startDoomed(t, folder, ['echo done; exit 3', WAITS]);
    await numbersOf(folder, 1);
    // Told to a node that writes nothing down.
    await until('it has ended', () => lines.length > 0);
    await kill(child);
    const attempt = doomedAttempt(0);
    const { executor, reports, survivors } = await startBench(t, { folder });
    assert(survivors.some(({ job }) => job === attempt.job));
    const { end, stdout } = await reports.ended(attempt);
    assert.deepEqual(end, { tag: 'exited', code: 3 });
    assert.equal(textOf(stdout), 'done\n');
    await executor.stop('leave');
    const later = await startBench(t, { folder });
    assert.deepEqual(
      later.survivors.map(({ job }) => job),
      [doomedAttempt(1).job],
    );
    letGo(folder);
    await later.reports.ended(doomedAttempt(1));
  });

  test('keeps an attempt over several lives', async (t) => {
    const folder = temporaryFolder(t);
    const { child } = await startDoomed(t, folder, [WAITS]);
    const [pid = 0] = await numbersOf(folder, 0);
    await kill(child);
    for (let life = 0; life < 3; life++) {
      const bench = await startBench(t, { folder });
      assert.equal(bench.survivors.length, 1);
      await bench.executor.stop('leave');
      assert(isAlive(pid));
    }
    const { reports } = await startBench(t, { folder });
    letGo(folder);
    const { end, stdout } = await reports.ended(doomedAttempt(0));
    assert.deepEqual(end, { tag: 'exited', code: 7 });
    assert.equal(textOf(stdout), `${pid}\nwent\n`);
  });

  test('adopts fifty at once', async (t) => {
    const folder = temporaryFolder(t);
    const orders = Array.from({ length: 50 }, () => WAITS);
    const { child } = await startDoomed(t, folder, orders);
    const pids = (await Promise.all(orders.map((_, i) => numbersOf(folder, i)))).flat();
    await kill(child);
    const { reports, survivors } = await startBench(t, { folder });
    assert.equal(survivors.length, 50);
    assert.equal(pids.filter(isAlive).length, 50);
    letGo(folder);
    for (let i = 0; i < 50; i++) {
      const { end, stdout } = await reports.ended(doomedAttempt(i));
      assert.deepEqual(end, { tag: 'exited', code: 7 });
      assert.equal(textOf(stdout), `${pids[i]}\nwent\n`);
    }
  });

  test('cuts the output of an adopted attempt at the limit', async (t) => {
    const folder = temporaryFolder(t);
    const { child } = await startDoomed(t, folder, [
      `${WAITS.replace('echo went', 'yes | head -c 90000')}`,
    ]);
    await numbersOf(folder, 0);
    await kill(child);
    const { reports } = await startBench(t, { folder, outputLimitBytes: 1000 });
    letGo(folder);
    const { stdout } = await reports.ended(doomedAttempt(0));
    assert(stdout.isTruncated);
    assert.match(textOf(stdout), /y\n\[output truncated at 1000 bytes\]\n$/);
  });
});

describe('an adopted attempt', DEADLINE, () => {
  test('can be ended, with a chance to clean up', async (t) => {
    const folder = temporaryFolder(t);
    const command = 'trap "echo cleaned; exit 5" TERM; echo $$; while :; do sleep 0.05; done';
    const { child } = await startDoomed(t, folder, [command]);
    await numbersOf(folder, 0);
    await kill(child);
    const { executor, reports } = await startBench(t, { folder });
    const { job, fence } = doomedAttempt(0);
    executor.end(job, fence, 15_000);
    const { end, stdout } = await reports.ended({ job, fence });
    assert.deepEqual(end, { tag: 'exited', code: 5 });
    assert.match(textOf(stdout), /^\d+\ncleaned\n$/);
  });

  test('is killed after the grace time, with all of its session', async (t) => {
    const folder = temporaryFolder(t);
    const command = 'trap "" TERM; timeout 999 sleep 999 & echo $PPID; while :; do sleep 1; done';
    const { child } = await startDoomed(t, folder, [command]);
    const [pid = 0] = await numbersOf(folder, 0);
    await until('all are there', () => sessionMembers(pid).length === 5);
    await kill(child);
    const { executor, reports } = await startBench(t, { folder });
    const { job, fence } = doomedAttempt(0);
    executor.end(job, fence, 200);
    const { end } = await reports.ended({ job, fence });
    assert.deepEqual(end, { tag: 'signalled', signal: 'SIGKILL' });
    assert.deepEqual(sessionMembers(pid), []);
  });

  test('takes what it left in the background with it', async (t) => {
    const folder = temporaryFolder(t);
    const command = 'sleep 999 & echo $!; while [ ! -e go ]; do sleep 0.1; done';
    const { child } = await startDoomed(t, folder, [command]);
    const [left = 0] = await numbersOf(folder, 0);
    await kill(child);
    const { reports } = await startBench(t, { folder });
    letGo(folder);
    assert.deepEqual((await reports.ended(doomedAttempt(0))).end, { tag: 'exited', code: 0 });
    assert(!isAlive(left));
  });

  test('is ended by a stop, and not reported', async (t) => {
    const folder = temporaryFolder(t);
    const { child } = await startDoomed(t, folder, [WAITS]);
    const [pid = 0] = await numbersOf(folder, 0);
    await kill(child);
    const { executor, reports } = await startBench(t, { folder });
    await executor.stop();
    assert(!isAlive(pid));
    assert.deepEqual(reports.all, []);
    assert.deepEqual(readdirSync(join(folder, 'running')), []);
    assert(!existsSync(join(folder, 'work', 'go')));
  });
});

describe('a node that leaves', DEADLINE, () => {
  test('ends, and its attempts go on for the next start', async (t) => {
    const folder = temporaryFolder(t);
    const { child, lines } = await startDoomed(t, folder, [WAITS]);
    const [pid = 0] = await numbersOf(folder, 0);
    child.kill('SIGUSR2');
    await until('it has ended by itself', () => child.exitCode === 0);
    assert(isAlive(pid));
    assert.deepEqual(lines, []);
    const { reports, survivors } = await startBench(t, { folder });
    assert.equal(survivors.length, 1);
    letGo(folder);
    assert.deepEqual((await reports.ended(doomedAttempt(0))).end, { tag: 'exited', code: 7 });
  });

  test('gives back what has not started', async (t) => {
    const slow: TaskType = {
      name: 'slow',
      launch: async ({ ending }) => {
        await once(ending, 'abort');
        return { tag: 'failed', reason: 'it never began' };
      },
    };
    const { executor, reports } = await startBench(t, { taskTypes: [slow] });
    const ordered = order('', { taskType: 'slow' });
    executor.run(ordered);
    await executor.stop('leave');
    const { end, startedAt } = await reports.ended(ordered);
    assert.deepEqual(end, { tag: 'returned', reason: 'its node was started again' });
    assert.equal(startedAt, undefined);
  });
});
