import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { asJobId } from '../../src/base/ids.ts';
import { fenceText } from '../../src/core/record.ts';
import { GUARD_SCRIPT } from '../../src/executors/groups/guard.ts';
import { endEarlierLives } from '../../src/executors/groups/leftovers.ts';
import {
  HOST_FILE,
  LISTING_SCRIPT,
  Life,
  type Listing,
  NOT_LISTED_CODE,
  parseListing,
} from '../../src/executors/groups/listing.ts';
import { fence, release, temporaryFolder, until } from './attempts.ts';
import { isAlive } from './processes.ts';

const FENCE = fenceText(fence());

interface Listed {
  readonly life: Life;
  readonly listing: Listing;
  readonly child: ChildProcess;
  readonly groupId: number;
  readonly file: string;
}

/** A group as the executor starts it, of a program that is running when this settles. */
async function startListed(
  t: TestContext,
  options: { procFolder?: string; command?: string; life?: Life; env?: object } = {},
): Promise<Listed> {
  const { procFolder = '/proc', command = 'echo begun; exec sleep 1000', env = {} } = options;
  const life = options.life ?? (await Life.begin(temporaryFolder(t)));
  const listing = life.newListing({ job: asJobId('listed'), fence: fence() });
  const { folder, name, job, fence: text } = listing;
  const listed = ['mesh-job', folder, name, job, text, procFolder, '/bin/sh', '-c', command];
  const child = spawn('/bin/sh', ['-c', LISTING_SCRIPT, ...listed], {
    detached: true,
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const { pid } = child;
  assert(pid !== undefined && child.stdout);
  release(t, () => {
    child.stdout?.destroy();
    try {
      process.kill(-pid, 'SIGKILL');
    } catch {
      // It is gone, as most tests want it.
    }
  });
  await once(child.stdout, 'data');
  return { life, listing, child, groupId: pid, file: join(folder, name) };
}

/** A guard whose node is already dead when it starts. */
async function runGuard(life: Life, procFolder = '/proc'): Promise<ChildProcess> {
  const args = ['-c', GUARD_SCRIPT, 'mesh-guard', life.folder, procFolder];
  const guard = spawn('/bin/sh', args, { stdio: ['pipe', 'ignore', 'inherit'] });
  guard.stdin?.end();
  return guard;
}

/** As if the number had been given to another process since. */
function changeStartTime(file: string): void {
  const [id, , ...rest] = readFileSync(file, 'utf8').split('\n');
  writeFileSync(file, [id, '12345', ...rest].join('\n'));
}

for (const procFolder of ['/proc', '/no-such-folder']) {
  const source = procFolder === '/proc' ? '/proc' : 'ps, where there is no /proc';

  describe(`a list of groups, start times from ${source}`, () => {
    test('has a group on it before its program begins', async (t) => {
      const { life, listing, groupId, file } = await startListed(t, { procFolder });
      const [id, startTime, job, text, end] = readFileSync(file, 'utf8').split('\n');
      assert.deepEqual([Number(id), job, text, end], [groupId, 'listed', FENCE, 'end']);
      assert.match(startTime ?? '', procFolder === '/proc' ? /^\d+$/ : /^\w+ \w+ \d+ [\d:]+ \d+$/);
      assert(await life.isListed(listing));
    });

    test('is worked off by a guard whose node is dead', async (t) => {
      const { life, child } = await startListed(t, { procFolder });
      const ended = once(child, 'exit');
      await runGuard(life, procFolder);
      assert.deepEqual(await ended, [null, 'SIGKILL']);
      assert(!existsSync(join(life.folder, 'open')));
    });

    test('hurts no stranger that was given the same number', async (t) => {
      const { life, groupId, file } = await startListed(t, { procFolder });
      changeStartTime(file);
      const guard = await runGuard(life, procFolder);
      await once(guard, 'exit');
      assert(isAlive(groupId));
    });

    test('that is closed lets no further group start', async (t) => {
      const { life } = await startListed(t, { procFolder });
      rmSync(join(life.folder, 'open'));
      const listing = life.newListing({ job: asJobId('late'), fence: fence() });
      const listed = ['mesh-job', life.folder, listing.name, 'late', FENCE, procFolder];
      const late = spawn('/bin/sh', ['-c', LISTING_SCRIPT, ...listed, '/bin/sh', '-c', 'exit 0']);
      assert.deepEqual(await once(late, 'exit'), [NOT_LISTED_CODE, null]);
      assert.equal(await life.isListed(listing), false);
    });
  });
}

describe('a listing', () => {
  test('counts only when it is complete and names a group that can be one', () => {
    const whole = `4711\n98765\njob-1\n${FENCE}\nend\n`;
    assert.deepEqual(parseListing(whole), {
      groupId: 4711,
      startTime: '98765',
      job: 'job-1',
      fence: fence(),
    });
    for (let length = 0; length < whole.length - 1; length++) {
      assert.equal(parseListing(whole.slice(0, length)), undefined, `${length} bytes`);
    }
    for (const id of ['0', '1', '-1', '-4711', 'x', '1.5', '']) {
      assert.equal(parseListing(whole.replace('4711', id)), undefined, `group ${id}`);
    }
    assert.equal(parseListing(whole.replace('job-1', '../job')), undefined);
  });
});

describe('a guard', () => {
  test('knows a group by a leader whose name looks like a line of /proc', async (t) => {
    const name = ') S 1 1\n';
    const command = `printf '${name}' >/proc/$$/comm; echo begun; while :; do read -r x <"$0"; done`;
    const { life, child } = await startListed(t, { command });
    const ended = once(child, 'exit');
    await runGuard(life);
    assert.deepEqual(await ended, [null, 'SIGKILL']);
  });

  test('ends a group whose leader is gone', async (t) => {
    const { life, groupId } = await startListed(t, { command: 'sleep 1000 & echo $!' });
    await until('leader gone', () => !existsSync(`/proc/${groupId}`));
    const pids = membersOf(groupId);
    assert.equal(pids.length, 1);
    await runGuard(life);
    await until('members gone', () => !pids.some(isAlive));
  });

  test('passes over a list that is being written', async (t) => {
    const life = await Life.begin(temporaryFolder(t));
    const texts = ['', '1\n', '0\n', '-1\n', `${process.pid}`, 'x\n'];
    texts.forEach((text, i) => {
      writeFileSync(join(life.folder, `${i}.group`), text);
    });
    const guard = await runGuard(life);
    assert.deepEqual(await once(guard, 'exit'), [0, null]);
  });
});

describe('the next start', () => {
  const endAll = async (folder: string): Promise<{ settled: string[]; problems: string[] }> => {
    const settled: string[] = [];
    const problems: string[] = [];
    await endEarlierLives({
      runningFolder: folder,
      settle: async (attempt) => {
        settled.push(`${attempt.job} ${fenceText(attempt.fence)}`);
      },
      onProblem: (sentence) => problems.push(sentence),
    });
    return { settled, problems };
  };
  const parentOf = ({ life }: Listed): string => join(life.folder, '..');

  test('ends the groups of every earlier life and names their attempts', async (t) => {
    const one = await startListed(t);
    const two = await startListed(t, { life: await Life.begin(parentOf(one)) });
    const { settled, problems } = await endAll(parentOf(one));
    assert.deepEqual(
      [one, two].map(({ groupId }) => isAlive(groupId)),
      [false, false],
    );
    assert.deepEqual(settled, [`listed ${FENCE}`, `listed ${FENCE}`]);
    assert.deepEqual(problems, []);
    assert(!existsSync(one.life.folder));
  });

  test('hurts no stranger that was given the same number', async (t) => {
    const listed = await startListed(t);
    changeStartTime(listed.file);
    await endAll(parentOf(listed));
    assert(isAlive(listed.groupId));
  });

  test('ends no process for a list that was made before the machine started', async (t) => {
    const listed = await startListed(t);
    writeFileSync(join(listed.life.folder, HOST_FILE), 'another boot');
    const { settled } = await endAll(parentOf(listed));
    assert(isAlive(listed.groupId));
    assert.deepEqual(settled, [`listed ${FENCE}`]);
  });

  for (const isOurs of [true, false]) {
    const fact = isOurs ? 'knows a group without its leader by' : 'spares one that has not';
    test(`${fact} the attempt in its environment`, async (t) => {
      const env = { MESH_JOB_ID: 'listed', MESH_FENCE: isOurs ? FENCE : 'another' };
      const listed = await startListed(t, { env, command: 'sleep 1000 & echo $!' });
      await until('leader gone', () => !existsSync(`/proc/${listed.groupId}`));
      const pids = membersOf(listed.groupId);
      assert.equal(pids.length, 1);
      await endAll(parentOf(listed));
      assert.equal(pids.some(isAlive), !isOurs);
    });
  }
});

/** Members of a group. */
function membersOf(groupId: number): number[] {
  const processes = spawnSync('ps', ['-eo', 'pid=,pgid=']).stdout.toString().trim().split('\n');
  return processes
    .map((line) => line.trim().split(/\s+/).map(Number))
    .filter(([, group]) => group === groupId)
    .map(([pid]) => pid ?? 0);
}
