/** Limits, kept by cgroups where this machine lets us, and by the system for each process. */
import assert from 'node:assert/strict';
import { readdirSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { describe, test } from 'node:test';
import { CgroupTree, cgroupName } from '../../src/executors/limits/cgroup-tree.ts';
import { type Limits, toRunText } from '../../src/run/run-options.ts';
import { firstLine, order, startBench, temporaryFolder, textOf, until } from './attempts.ts';
import { kill, outputOf, startDoomed } from './doomed.ts';
import { isAlive, processesAbout } from './processes.ts';

const DEADLINE = { timeout: 60_000 };
const MIB = 1024 * 1024;
const limited = (limits: Limits) => ({ run: toRunText({ limits }) });

const tree = await CgroupTree.find(`/test-${process.pid}`);
await tree?.remove();
const NO_CGROUPS = tree ? false : 'this user may make no cgroups here';

/** In tail's memory: a line without an end is kept until it has one. */
const eat = (bytes: number): string => `head -c ${bytes} /dev/zero | tail`;
const BURN = 'while :; do :; done';
/** In any hierarchy. */
const cgroupsOf = (folder: string): string[] =>
  readdirSync('/sys/fs/cgroup', { recursive: true })
    .map(String)
    .filter((path) => basename(path) === cgroupName(folder));

for (const mayMakeCgroups of [true, false]) {
  const by = mayMakeCgroups ? 'cgroup' : 'rlimit';
  const skip = mayMakeCgroups ? NO_CGROUPS : false;

  describe(`limits by ${by}`, { ...DEADLINE, skip }, () => {
    test('memory', async (t) => {
      const { run } = await startBench(t, { mayMakeCgroups });
      const fits = await run(eat(4 * MIB), limited({ memory_bytes: 64 * MIB }));
      assert.deepEqual(fits.end, { tag: 'exited', code: 0 });
      assert.equal(fits.receipt?.usage?.limitsBy, by);
      const over = await run(eat(200 * MIB), limited({ memory_bytes: 64 * MIB }));
      if (mayMakeCgroups) {
        assert(over.end.tag === 'failed', JSON.stringify(over.end));
        assert.match(over.end.reason, /^out of memory: .*67108864 bytes/);
        const peak = over.receipt?.usage?.peakMemoryBytes ?? 0;
        assert(peak > 32 * MIB && peak <= 64 * MIB, `${peak}`);
      } else {
        assert.deepEqual(over.end, { tag: 'exited', code: 1 });
        assert.match(textOf(over.stderr), /memory/);
      }
    });

    test('processor time', async (t) => {
      const { run } = await startBench(t, { mayMakeCgroups });
      for (const command of [BURN, `sh -c '${BURN}'; exit $?`]) {
        const { end, receipt } = await run(command, limited({ cpu_seconds: 1 }));
        assert(end.tag === 'failed', JSON.stringify(end));
        assert.match(end.reason, /^CPU time over: .* 1 s /);
        const { cpuMs = 0, limitsBy } = receipt?.usage ?? {};
        assert(cpuMs >= 700 && cpuMs < 2900, `${cpuMs} ms`);
        assert.equal(limitsBy, by);
      }
    });

    test('open files, and the size of each file', async (t) => {
      const { run } = await startBench(t, { mayMakeCgroups });
      const { stdout } = await run('ulimit -n; ulimit -Hn', limited({ open_files: 64 }));
      assert.equal(textOf(stdout), '64\n64\n');
      const file = 'head -c 100000 /dev/zero >big; stat -c %s big';
      const cut = await run(file, limited({ file_bytes: 4096 }));
      assert.equal(textOf(cut.stdout), '4096\n');
      assert.equal((await run('ulimit -n')).end.tag, 'exited');
    });

    test('above what the node itself is held to change nothing', async (t) => {
      const { run } = await startBench(t, { mayMakeCgroups });
      const { end } = await run('true', limited({ open_files: 2 ** 31 }));
      assert.deepEqual(end, { tag: 'exited', code: 0 });
    });
  });
}

const NEEDS_ROOT = process.getuid?.() === 0 ? false : 'only root may run jobs as another user';

describe('a limit of processes without cgroups', { ...DEADLINE, skip: NEEDS_ROOT }, () => {
  test('is that of the user a job names, and refused for root, who has none', async (t) => {
    const { run } = await startBench(t, { mayMakeCgroups: false });
    const limits = { processes: 60 };
    const { stdout } = await run('ulimit -p', { run: toRunText({ limits, user: 'nobody' }) });
    assert.equal(textOf(stdout), '60\n');
    const { end, startedAt } = await run('true', limited(limits));
    assert(end.tag === 'failed');
    assert.match(end.reason, /runs as root.*Name a user/);
    assert.equal(startedAt, undefined);
  });
});

describe('limits by cgroup', { ...DEADLINE, skip: NO_CGROUPS }, () => {
  test('hold processor time of all processes together', async (t) => {
    const { run } = await startBench(t);
    const command = 'for i in 1 2 3 4; do timeout 50 sh -c "while :; do :; done" & done; wait';
    const { end, receipt } = await run(command, limited({ cpu_seconds: 1 }));
    assert(end.tag === 'failed' && end.reason.startsWith('CPU time over'), JSON.stringify(end));
    const { cpuMs = 0 } = receipt?.usage ?? {};
    assert(cpuMs >= 1000 && cpuMs < 2500, `${cpuMs} ms`);
  });

  test('a pipeline whose first half was killed for its memory has not completed', async (t) => {
    const { run } = await startBench(t);
    const { end } = await run(`${eat(100 * MIB)} | cat`, limited({ memory_bytes: 16 * MIB }));
    assert(end.tag === 'failed' && end.reason.startsWith('out of memory'), JSON.stringify(end));
  });

  test('a fork bomb meets its limit, and all of it is ended', async (t) => {
    const { executor, reports, folder, run } = await startBench(t);
    const bomb = `bomb() { sh -c 'sleep 1000; : ${folder}' & bomb & bomb; }; echo lit; bomb`;
    const ordered = order(bomb, limited({ processes: 40, memory_bytes: 256 * MIB }));
    executor.run(ordered);
    await firstLine(executor, ordered);
    await until('it is refused processes', async () => {
      const range = { offset: 0, maxBytes: 1000 };
      const refused = await executor.outputs.read(ordered, 'stderr', range);
      return /fork/.test(textOf(refused ?? { bytes: new Uint8Array(0) }));
    });
    assert(processesAbout(folder).length <= 40);
    // The node has room for others meanwhile.
    assert.deepEqual((await run('exit 3')).end, { tag: 'exited', code: 3 });
    executor.end(ordered.job, ordered.fence, 0);
    await reports.ended(ordered);
    assert.deepEqual(processesAbout(`: ${folder}`), []);
  });

  test('who made a session of its own is ended with the rest', async (t) => {
    const { executor, reports } = await startBench(t);
    const straying = 'setsid sh -c "echo \\$\\$; exec sleep 1000" & wait; sleep 1000';
    const ordered = order(straying, limited({ processes: 100 }));
    executor.run(ordered);
    const strayed = Number(await firstLine(executor, ordered));
    assert(isAlive(strayed));
    executor.end(ordered.job, ordered.fence, 5000);
    await reports.ended(ordered);
    assert(!isAlive(strayed));
  });

  test('who strayed hears of the end in time to go by itself', async (t) => {
    const { executor, reports } = await startBench(t);
    const straying = `setsid sh -c 'trap "echo bye; exit" TERM; echo up; while :; do sleep 0.05; done' & wait; wait`;
    const ordered = order(straying, limited({ processes: 100 }));
    executor.run(ordered);
    await firstLine(executor, ordered);
    executor.end(ordered.job, ordered.fence, 20_000);
    const { stdout } = await reports.ended(ordered);
    assert.match(textOf(stdout), /bye/);
  });

  test('the supervisor of a node that is dead ends who strayed, too', async (t) => {
    const folder = temporaryFolder(t);
    const command = 'setsid sh -c "echo \\$\\$; exec sleep 1000" & wait; sleep 1000';
    const lease = { tag: 'leased', leftMs: 2500 } as const;
    const doomed = await startDoomed(t, folder, [
      { command, lease, ...limited({ processes: 100 }) },
    ]);
    await until('it has strayed', () => /^\d+\n/.test(outputOf(folder, 0)));
    const strayed = Number(outputOf(folder, 0).trim());
    assert(isAlive(strayed));
    await kill(doomed.child);
    await until('it is ended', () => !isAlive(strayed));
    // What is left of its cgroup goes with the next life.
    const { executor } = await startBench(t, { folder });
    await executor.stop();
    assert.deepEqual(cgroupsOf(folder), []);
  });

  test('are kept for one that was adopted, and its cgroup goes with it', async (t) => {
    const first = await startBench(t);
    const go = join(first.folder, 'go');
    const command = `echo begun; until [ -e ${go} ]; do sleep 0.05; done; ${BURN}`;
    const ordered = order(command, limited({ cpu_seconds: 1 }));
    first.executor.run(ordered);
    await firstLine(first.executor, ordered);
    await first.executor.stop('leave');
    const second = await startBench(t, { folder: first.folder });
    assert.equal(second.survivors.length, 1);
    assert(cgroupsOf(first.folder).length > 0);
    writeFileSync(go, '');
    const { end, receipt } = await second.reports.ended(ordered);
    assert(end.tag === 'failed' && end.reason.startsWith('CPU time over'), JSON.stringify(end));
    assert.equal(receipt?.usage?.limitsBy, 'cgroup');
    await second.executor.stop();
    assert.deepEqual(cgroupsOf(first.folder), []);
  });
});
