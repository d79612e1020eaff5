/** What a group's file says, who may write into it, and that nobody is hurt by what it says. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  appendFileSync,
  closeSync,
  existsSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { asJobId } from '../../src/base/ids.ts';
import { asWall } from '../../src/base/instant.ts';
import { fenceText } from '../../src/core/record.ts';
import { asBootTime, bootTime } from '../../src/executors/groups/boot-clock.ts';
import { takeOverEarlierLives } from '../../src/executors/groups/earlier-lives.ts';
import {
  type FileLease,
  LEASE_BYTES,
  leaseText,
  limitsLine,
  parseGroupFile,
} from '../../src/executors/groups/group-file.ts';
import { LeaseWriter } from '../../src/executors/groups/lease-writer.ts';
import { HOST_FILE, Life, type Listing } from '../../src/executors/groups/life.ts';
import {
  NOT_LISTED_CODE,
  PLAIN_SCRIPT,
  plainArguments,
  runnerPreamble,
  runnerText,
} from '../../src/executors/groups/start-scripts.ts';
import { SUPERVISOR_SCRIPT } from '../../src/executors/groups/supervisor-script.ts';
import { fence, release, temporaryFolder, until } from './attempts.ts';
import { isAlive, sessionMembers } from './processes.ts';

const FENCE = fenceText(fence());
const REF = { job: asJobId('listed'), fence: fence() };

interface Way {
  readonly name: string;
  readonly isSupervised: boolean;
  readonly procFolder: string;
  /** One that is over. */
  readonly over: FileLease;
}

const SUPERVISED: Way = {
  name: 'a supervised group',
  isSupervised: true,
  procFolder: '/proc',
  over: { tag: 'until', at: asBootTime(1) },
};
const PLAIN: Way = {
  name: 'a plain group, where there is no /proc and ps is asked',
  isSupervised: false,
  procFolder: '/no-such-folder',
  over: { tag: 'withNode' },
};

interface Listed {
  readonly life: Life;
  readonly listing: Listing;
  readonly child: ChildProcess;
  readonly groupId: number;
}

interface ListedOptions {
  readonly way?: Way;
  readonly command?: string;
  readonly life?: Life;
  readonly lease?: FileLease;
  readonly env?: object;
}

/** Prints into this file. The process is the group's leader: its main process, or a runner that ends with it. */
const outputOf = ({ path }: Listing): string => `${path}.out`;

function spawnGroup(listing: Listing, options: ListedOptions): ChildProcess {
  const { way = SUPERVISED, command = 'echo begun; exec sleep 1000', lease = way.over } = options;
  const entry = {
    ...listing,
    procFolder: way.procFolder,
    lease: leaseText(lease),
    startedAt: 1_700_000_000_000,
  };
  const program = ['/bin/sh', '-c', command];
  const spawned = { detached: true, env: { ...process.env, ...options.env } };
  if (!way.isSupervised) {
    const args = ['-c', PLAIN_SCRIPT, 'mesh-job', ...plainArguments(entry, ''), ...program];
    const output = openSync(outputOf(listing), 'a');
    const child = spawn('/bin/sh', args, { ...spawned, stdio: ['ignore', output, 'inherit'] });
    closeSync(output);
    return child;
  }
  const child = spawn('/bin/sh', ['-s'], { ...spawned, stdio: ['pipe', 'ignore', 'inherit'] });
  const files = { stdout: outputOf(listing), stderr: '/dev/null' };
  const about = { begin: '', workingFolder: '/', variables: {}, spentMs: 0 };
  const job = { entry, env: '/usr/bin/env', ...files, program, ...about };
  child.stdin?.end(`${runnerPreamble(way.procFolder)}${runnerText(job)}exit "$__mesh_code"\n`);
  return child;
}

/** A group as the executor starts it, of a program that is running when this settles. */
async function startListed(t: TestContext, options: ListedOptions = {}): Promise<Listed> {
  const life = options.life ?? (await Life.begin(temporaryFolder(t)));
  const listing = life.newListing(REF);
  const child = spawnGroup(listing, options);
  await until('it has begun', () => existsSync(outputOf(listing)) && textOf(listing) !== '');
  const groupId = parseGroupFile(readFileSync(listing.path, 'utf8'))?.groupId;
  assert(groupId !== undefined);
  release(t, async () => {
    for (const pid of sessionMembers(groupId)) process.kill(pid, 'SIGKILL');
    await until('it is gone', () => sessionMembers(groupId).length === 0);
  });
  return { life, listing, child, groupId };
}

/** A supervisor whose node is already dead when it starts. */
function runSupervisor(life: Life, procFolder = '/proc'): ChildProcess {
  const args = [
    '-c',
    SUPERVISOR_SCRIPT,
    'mesh-supervisor',
    life.folder,
    procFolder,
    '999999999',
    '1',
  ];
  const supervisor = spawn('/bin/sh', args, { stdio: ['pipe', 'ignore', 'inherit'] });
  supervisor.stdin?.end();
  return supervisor;
}

/** As if the number had been given to another process since. */
function changeStartTime({ path }: Listing): void {
  const [lease, id, , ...rest] = readFileSync(path, 'utf8').split('\n');
  writeFileSync(path, [lease, id, '12345', ...rest].join('\n'));
}

for (const way of [SUPERVISED, PLAIN]) {
  describe(way.name, () => {
    test('is listed before its program begins, by its leader', async (t) => {
      const { life, listing, groupId } = await startListed(t, { way });
      const lines = readFileSync(listing.path, 'utf8').split('\n');
      const [lease, id, startTime, job, text, startedAt, end] = lines;
      assert.equal(lease, leaseText(way.over));
      assert.deepEqual([Number(id), job, text, end], [groupId, 'listed', FENCE, 'end']);
      assert.match(startTime ?? '', way === PLAIN ? /^\w+ \w+ \d+ [\d:]+ \d+$/ : /^\d+$/);
      assert.equal(startedAt, '1700000000000');
      const [, , group, session] = statOf(groupId);
      assert.deepEqual([group, session], [String(groupId), String(groupId)]);
      assert(await life.listed(listing));
    });

    test('is ended by a supervisor whose node is dead when its lease is over', async (t) => {
      const { life, groupId } = await startListed(t, { way });
      const supervisor = runSupervisor(life, way.procFolder);
      await until('it is gone', () => !isAlive(groupId));
      await once(supervisor, 'exit');
      assert(!existsSync(join(life.folder, 'open')));
    });

    test('hurts no stranger that was given the same number', async (t) => {
      const { life, groupId, listing } = await startListed(t, { way });
      changeStartTime(listing);
      await once(runSupervisor(life, way.procFolder), 'exit');
      assert(isAlive(groupId));
    });

    test('does not start in a life that is closed', async (t) => {
      const life = await Life.begin(temporaryFolder(t));
      rmSync(join(life.folder, 'open'));
      const listing = life.newListing(REF);
      const late = spawnGroup(listing, { way, command: 'exit 0' });
      assert.deepEqual(await once(late, 'exit'), [NOT_LISTED_CODE, null]);
      assert.equal(await life.listed(listing), undefined);
      const group = parseGroupFile(readFileSync(listing.path, 'utf8'));
      assert.equal(group?.isRefused, way.isSupervised);
    });
  });
}

describe('a runner', () => {
  const endOf = async (command: string, t: TestContext) => {
    const { child, listing } = await startListed(t, { command: `echo begun; ${command}` });
    if (child.exitCode === null) await once(child, 'exit');
    return parseGroupFile(readFileSync(listing.path, 'utf8'))?.exit;
  };

  test('notes how the main process ended, and when', async (t) => {
    const before = bootTime();
    const exit = await endOf('exit 3', t);
    assert.deepEqual([exit?.code, exit?.isSignalled], [3, false]);
    assert(exit && exit.at >= before - 1 && exit.at <= bootTime() + 1);
    const killed = await endOf('kill -KILL $$', t);
    assert.deepEqual([killed?.code, killed?.isSignalled], [137, true]);
    const same = await endOf('exit 137', t);
    assert.deepEqual([same?.code, same?.isSignalled], [137, false]);
  });

  test('leads the group, and goes with it when all of it is killed', async (t) => {
    const { child, groupId, listing } = await startListed(t);
    assert.equal(child.pid, groupId);
    const ended = once(child, 'exit');
    process.kill(-groupId, 'SIGKILL');
    assert.deepEqual(await ended, [null, 'SIGKILL']);
    const group = parseGroupFile(readFileSync(listing.path, 'utf8'));
    assert.equal(group?.exit, undefined);
  });

  test('is deaf to what ends a terminal, and its job is not', async (t) => {
    for (const [signal, code] of [
      ['SIGHUP', 129],
      ['SIGTERM', 143],
      ['SIGQUIT', 131],
    ] as const) {
      const { child, groupId, listing } = await startListed(t);
      const ended = once(child, 'exit');
      process.kill(-groupId, signal);
      assert.deepEqual(await ended, [code, null]);
      const group = parseGroupFile(readFileSync(listing.path, 'utf8'));
      assert.deepEqual([group?.exit?.code, group?.exit?.isSignalled], [code, true]);
    }
  });
});

describe('the file of a group', () => {
  const lease: string = leaseText({ tag: 'until', at: asBootTime(123_456) });
  const whole = `${lease}\n4711\n98765\njob-1\n${FENCE}\n1700000000000\nend\n`;
  const listed = {
    groupId: 4711,
    startTime: '98765',
    job: 'job-1',
    fence: fence(),
    startedAt: asWall(1_700_000_000_000),
    lease: { tag: 'until', at: 123_456 },
    isRefused: false,
    isCut: false,
    unable: undefined,
    limits: undefined,
    exit: undefined,
  };

  test('counts only when it is complete and names a group that can be one', () => {
    assert.deepEqual(parseGroupFile(whole), listed);
    for (let length = 0; length < whole.length - 1; length++) {
      assert.equal(parseGroupFile(whole.slice(0, length)), undefined, `${length} bytes`);
    }
    for (const id of ['0', '1', '-1', '-4711', 'x', '1.5', '']) {
      assert.equal(parseGroupFile(whole.replace('4711', id)), undefined, `group ${id}`);
    }
    assert.equal(parseGroupFile(whole.replace('job-1', '../job')), undefined);
  });

  test('has each kind of lease in the same space', () => {
    const leases: FileLease[] = [
      { tag: 'until', at: asBootTime(0) },
      { tag: 'until', at: asBootTime(3_000_000_000) },
      { tag: 'afterDeath', hundredths: 600 },
      { tag: 'never' },
      { tag: 'withNode' },
    ];
    for (const each of leases) {
      assert.equal(leaseText(each).length + 1, LEASE_BYTES);
      assert.deepEqual(parseGroupFile(whole.replace(lease, leaseText(each)))?.lease, each);
    }
  });

  test('with a lease that was read while it was written does not count', () => {
    assert.equal(parseGroupFile(whole.replace('123456\n', '123457\n')), undefined);
  });

  test('tells a signal by what the shell said, and an end only by a whole line', () => {
    const at = 12_345;
    const exit = (text: string) => parseGroupFile(whole + text)?.exit;
    const unsignalled = { isSignalled: false, at, cpuMs: undefined };
    assert.deepEqual(exit('exit 0 123.45\n'), { code: 0, ...unsignalled });
    assert.deepEqual(exit('exit 137 123.45\n'), { code: 137, ...unsignalled });
    assert.deepEqual(exit('Killed\nexit 137 123.45\n'), {
      ...unsignalled,
      code: 137,
      isSignalled: true,
    });
    assert.deepEqual(exit('cut\nexit 143 123.45\n'), { code: 143, ...unsignalled });
    for (const text of ['exit 0 123.45', 'exit 0\n', 'exit x 1.00\n', 'Killed\n']) {
      assert.equal(exit(text), undefined, text);
    }
    assert.equal(parseGroupFile(`${whole}cut\nTerminated\nexit 143 1.00\n`)?.isCut, true);
    // The supervisor came too late.
    const late = parseGroupFile(`${whole}exit 0 123.45\ncut\n`);
    assert.deepEqual([late?.isCut, late?.exit?.code], [false, 0]);
    assert.equal(parseGroupFile(`${whole}refused\nexit 253 1.00\n`)?.isRefused, true);
  });

  test('tells what the job took beyond the earlier jobs of its runner', () => {
    const took = (text: string) => parseGroupFile(whole + text)?.exit?.cpuMs;
    const times = '0m0.00s 0m0.01s\n1m2.500000s 0m0,250s\n';
    assert.equal(took(`${times}exit 0 1.00 62000\n`), 750);
    assert.equal(took(`${times}exit 0 1.00 70000\n`), 0);
    assert.equal(took('exit 0 1.00 0\n'), undefined);
    assert.equal(parseGroupFile(`${whole}${times}exit 137 1.00 0\n`)?.exit?.isSignalled, false);
  });

  test('tells the limits it is held to, and what could not be done', () => {
    const folders = ['/sys/fs/cgroup/a/b', '/sys/fs/cgroup/c'];
    const limits = { cpuSeconds: 60, cgroupFolders: folders };
    const text = `${whole}${limitsLine(limits)}\nunable open_files\nexit 251 1.00\n`;
    const group = parseGroupFile(text);
    assert.deepEqual(group?.limits, limits);
    assert.equal(group?.unable, 'open_files');
    assert.equal(group?.exit?.isSignalled, false);
    const none = { cpuSeconds: 0, cgroupFolders: [] };
    assert.deepEqual(parseGroupFile(`${whole}${limitsLine(none)}\n`)?.limits, none);
  });

  test('gets a new lease over the old one, once it is there', async (t) => {
    const path = join(temporaryFolder(t), '1.group');
    const failures: unknown[] = [];
    const writer = new LeaseWriter(path, (failure) => failures.push(failure));
    const text = leaseText({ tag: 'until', at: asBootTime(777) });
    writer.write(leaseText({ tag: 'never' }));
    writer.write(text);
    writeFileSync(path, '');
    writeFileSync(path, whole);
    await until('it is written', () => readFileSync(path, 'utf8').startsWith(text));
    appendFileSync(path, 'cut\n');
    await writer.finish(leaseText({ tag: 'never' }));
    const group = parseGroupFile(readFileSync(path, 'utf8'));
    assert.deepEqual([group?.lease, group?.isCut], [{ tag: 'never' }, true]);
    writer.write(text);
    assert.deepEqual(failures, []);
  });
});

describe('a supervisor', () => {
  test('knows a group by a leader whose name looks like a line of /proc', async (t) => {
    const name = ') S 1 1\n';
    const command = `printf '${name}' >/proc/$$/comm; echo begun; while :; do read -r x <"$0"; done`;
    const way = { ...PLAIN, procFolder: '/proc' };
    const { life, groupId } = await startListed(t, { way, command });
    runSupervisor(life);
    await until('it is gone', () => !isAlive(groupId));
  });

  test('ends a group whose leader is gone', async (t) => {
    const command = 'sleep 1000 & echo $!; exec sleep 999';
    const { life, groupId } = await startListed(t, { command });
    process.kill(groupId, 'SIGKILL');
    await until('leader gone', () => !isAlive(groupId));
    const pids = sessionMembers(groupId);
    assert.equal(pids.length, 2);
    runSupervisor(life);
    await until('members gone', () => !pids.some(isAlive));
  });

  test('passes over files that are being written', async (t) => {
    const life = await Life.begin(temporaryFolder(t));
    const lease = leaseText(SUPERVISED.over);
    const texts = ['', `${lease}\n1\n`, `${lease}\n0\n`, `${lease}\n-1\n`, 'x\ny\n', lease];
    texts.forEach((text, i) => {
      writeFileSync(join(life.folder, `${i}.group`), text);
    });
    const supervisor = runSupervisor(life);
    release(t, () => supervisor.kill('SIGKILL'));
    await until('it has looked', () => existsSync(join(life.folder, 'death')));
    assert.equal(supervisor.exitCode, null);
    for (const name of readdirSync(life.folder)) {
      if (name.endsWith('.group')) rmSync(join(life.folder, name));
    }
    assert.deepEqual(await once(supervisor, 'exit'), [0, null]);
  });
});

describe('the next start', () => {
  const takeOver = async (running: string) => {
    const settled: string[] = [];
    const problems: string[] = [];
    const adopted = await takeOverEarlierLives({
      runningFolder: running,
      life: await Life.begin(running),
      mayAdopt: true,
      settle: async (attempt) => {
        settled.push(`${attempt.job} ${fenceText(attempt.fence)}`);
      },
      onProblem: (sentence) => problems.push(sentence),
    });
    return { settled, problems, adopted };
  };
  const parentOf = ({ life }: Listed): string => join(life.folder, '..');

  test('ends the groups of every earlier life that have no lease, and names their attempts', async (t) => {
    const way = { ...PLAIN, procFolder: '/proc' };
    const one = await startListed(t);
    const two = await startListed(t, { life: await Life.begin(parentOf(one)), way });
    const { settled, problems, adopted } = await takeOver(parentOf(one));
    assert.deepEqual(
      [one, two].map(({ groupId }) => isAlive(groupId)),
      [false, false],
    );
    assert.deepEqual(settled, [`listed ${FENCE}`, `listed ${FENCE}`]);
    assert.deepEqual([problems, adopted], [[], []]);
    assert(!existsSync(one.life.folder));
  });

  test('takes the file of a group that has one, and its runner writes on into it', async (t) => {
    const one = await startListed(t, { lease: { tag: 'never' } });
    const { settled, adopted } = await takeOver(parentOf(one));
    assert.deepEqual(settled, []);
    const path = adopted[0]?.listing.path ?? '';
    assert(!existsSync(one.life.folder) && isAlive(one.groupId));
    const ended = once(one.child, 'exit');
    process.kill(-one.groupId, 'SIGTERM');
    await ended;
    assert.equal(parseGroupFile(readFileSync(path, 'utf8'))?.exit?.code, 143);
  });

  test('settles a group that is over, and spares what its runner does since', async (t) => {
    const one = await startListed(t, { lease: { tag: 'never' } });
    appendFileSync(one.listing.path, 'exit 0 1.00 0\n');
    const path = one.listing.path.replace('.group', '.ended');
    renameSync(one.listing.path, path);
    const { adopted } = await takeOver(parentOf(one));
    assert.deepEqual(
      adopted.map(({ group }) => group.exit?.code),
      [0],
    );
    assert(isAlive(one.groupId));
  });

  test('neither adopts nor hurts a stranger that was given the same number', async (t) => {
    for (const lease of [SUPERVISED.over, { tag: 'never' } as const]) {
      const listed = await startListed(t, { lease });
      changeStartTime(listed.listing);
      const { adopted } = await takeOver(parentOf(listed));
      assert.deepEqual(adopted, []);
      assert(isAlive(listed.groupId));
    }
  });

  test('ends no process for a file that was made before the machine started', async (t) => {
    const listed = await startListed(t, { lease: { tag: 'never' } });
    writeFileSync(join(listed.life.folder, HOST_FILE), 'another boot');
    const { settled, adopted } = await takeOver(parentOf(listed));
    assert(isAlive(listed.groupId));
    assert.deepEqual(settled, [`listed ${FENCE}`]);
    assert.deepEqual(adopted, []);
  });

  for (const isOurs of [true, false]) {
    const fact = isOurs ? 'knows a group without its leader by' : 'spares one that has not';
    test(`${fact} the attempt in its environment`, async (t) => {
      const env = { MESH_JOB_ID: 'listed', MESH_FENCE: isOurs ? FENCE : 'another' };
      const listed = await startListed(t, { env, command: 'sleep 1000 & echo $!' });
      await until('leader gone', () => !isAlive(listed.groupId));
      const pids = sessionMembers(listed.groupId);
      assert.equal(pids.length, 1);
      await takeOver(parentOf(listed));
      assert.equal(pids.some(isAlive), !isOurs);
    });
  }
});

function textOf(listing: Listing): string {
  return readFileSync(outputOf(listing), 'utf8');
}

/** Fields of /proc/PID/stat from the third on. */
function statOf(pid: number): string[] {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ');
}
