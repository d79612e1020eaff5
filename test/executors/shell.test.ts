import assert from 'node:assert/strict';
import { chmodSync, existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { fenceText } from '../../src/core/record.ts';
import { order, startBench, temporaryFolder, textOf, until } from './attempts.ts';

describe('a shell command', () => {
  test('has quotes, pipes, variables and lists', async (t) => {
    const { run } = await startBench(t);
    const command = `X='a  "b"'; printf '%s\\n' "$X" | tr a-z A-Z && echo "$((6 * 7))" | cat; false || echo or`;
    const { stdout, stderr, end } = await run(command);
    assert.equal(textOf(stdout), 'A  "B"\n42\nor\n');
    assert.equal(textOf(stderr), '');
    assert.deepEqual(end, { tag: 'exited', code: 0 });
  });

  test('has the exit code of the shell, also 127 for a command that is not there', async (t) => {
    const { run } = await startBench(t);
    for (const code of [0, 1, 2, 126, 253, 255]) {
      assert.deepEqual((await run(`exit ${code}`)).end, { tag: 'exited', code });
    }
    const missing = await run('no-such-command-here');
    assert.deepEqual(missing.end, { tag: 'exited', code: 127 });
    assert.match(textOf(missing.stderr), /no-such-command-here/);
  });

  test('that dies by a signal is not taken for one that exits with 128 and more', async (t) => {
    const { run } = await startBench(t);
    assert.deepEqual((await run('kill -SEGV $$')).end, { tag: 'signalled', signal: 'SIGSEGV' });
    assert.deepEqual((await run('kill -KILL $$')).end, { tag: 'signalled', signal: 'SIGKILL' });
    assert.deepEqual((await run('exit 137')).end, { tag: 'exited', code: 137 });
  });

  test('may begin with a dash, hold lines, and is in a session of its own', async (t) => {
    const { run } = await startBench(t);
    assert.deepEqual((await run('-x')).end, { tag: 'exited', code: 127 });
    const { stdout } = await run(
      'set -- $(cat /proc/$$/stat)\necho $(($5 - $PPID)) $(($6 - $PPID)) "$0" $PPID',
    );
    const [group, session, name, leader] = textOf(stdout).trim().split(' ');
    assert.deepEqual([group, session, name], ['0', '0', '/bin/sh']);
    assert.notEqual(Number(leader), process.pid);
  });

  test('finds an empty folder of its own, whatever the last one left in its', async (t) => {
    const { run, folder } = await startBench(t);
    const probe = 'pwd; ls -A; stat -c "%a %u" .';
    const paths = new Set<string>();
    for (const left of ['', 'chmod 755 .', 'echo x >.file', 'mkdir folder', 'rmdir "$PWD"']) {
      const { stdout } = await run(`${probe}; ${left}`);
      const lines = textOf(stdout).trim().split('\n');
      assert.equal(lines.length, 2, lines.join());
      assert.equal(lines[1], `700 ${process.getuid?.()}`);
      assert(lines[0]?.startsWith(join(folder, 'work')));
      paths.add(lines[0] ?? '');
    }
    assert.equal(paths.size, 5);
    // Who made a session of its own is not followed, and must not write where another job is.
    const go = join(folder, 'go');
    const straying = `setsid sh -c 'echo out; until [ -e ${go} ]; do sleep 0.02; done; echo late >late; : >${go}.done' & sleep 0.1`;
    await run(straying);
    const { stdout } = await run(`: >${go}; until [ -e ${go}.done ]; do sleep 0.02; done; ls -A`);
    assert.equal(textOf(stdout), '');
  });

  test('gets an empty stdin and signals as a terminal would leave them', async (t) => {
    const { run } = await startBench(t);
    const { stdout, end } = await run('cat; yes | head -n 1; grep SigIgn /proc/$$/status');
    // Signals 32 and 33 are the C library's own; make leaves them ignored in what it starts.
    assert.match(textOf(stdout), /^y\nSigIgn:\t0000000[01][08]0000000\n$/);
    assert.deepEqual(end, { tag: 'exited', code: 0 });
  });

  test('too long for the system is refused with a sentence', async (t) => {
    const { run } = await startBench(t);
    const { end, startedAt } = await run(`: ${'x'.repeat(200_000)}`);
    assert(end.tag === 'failed');
    assert.match(end.reason, /200002 bytes.*into a file/);
    assert.equal(startedAt, undefined);
  });

  test('with a zero byte is refused with a sentence', async (t) => {
    const { run } = await startBench(t);
    const { end } = await run('echo a\0b');
    assert(end.tag === 'failed');
    assert.match(end.reason, /zero byte/);
  });

  test('of a job whose id is no plain name goes nowhere near the disk', async (t) => {
    const { executor, reports, folder } = await startBench(t);
    const ordered = order('true', {}, { job: '../beside' });
    executor.run(ordered);
    assert.equal((await reports.ended(ordered)).end.tag, 'failed');
    assert(!existsSync(join(folder, 'beside')));
    mkdirSync(join(folder, 'beside'));
    writeFileSync(join(folder, 'beside', `${fenceText(ordered.fence)}.stdout`), 'not for you');
    const range = { offset: 0, maxBytes: 100 };
    assert.equal(await executor.outputs.read(ordered, 'stdout', range), undefined);
  });
});

describe('the working folder', () => {
  test('is an empty one of its own, removed after the end with all that is in it', async (t) => {
    const { run, folder } = await startBench(t);
    const { stdout } = await run('ls -A; mkdir -p a/b; echo x > a/b/c; chmod 000 a; pwd');
    const path = textOf(stdout).trim();
    assert(path.startsWith(join(folder, 'work')));
    await until('removed', () => !existsSync(path));
  });

  test('is the one the job names, which is left as it is', async (t) => {
    const { run, folder } = await startBench(t);
    const named = join(folder, 'named');
    mkdirSync(named);
    const { stdout } = await run('pwd; echo x > here', { workingDir: named });
    assert.equal(textOf(stdout).trim(), named);
    assert(existsSync(join(named, 'here')));
    assert.deepEqual(readdirSync(join(folder, 'work')), []);
  });

  test('that is missing or no folder is an end with a sentence that names it', async (t) => {
    const { run, folder } = await startBench(t);
    writeFileSync(join(folder, 'file'), '');
    const cases = {
      missing: /does not exist/,
      file: /not a folder/,
      'file/under': /does not exist/,
    };
    for (const [name, why] of Object.entries(cases)) {
      const { end, startedAt } = await run('true', { workingDir: join(folder, name) });
      assert(end.tag === 'failed');
      assert(end.reason.includes(join(folder, name)));
      assert.match(end.reason, why);
      assert.equal(startedAt, undefined);
    }
    const relative = await run('true', { workingDir: 'relative' });
    assert(relative.end.tag === 'failed');
    assert.match(relative.end.reason, /absolute/);
  });
});

describe('a data folder that takes no files', () => {
  test('gives jobs back with a sentence, and the node lives on', async (t) => {
    const { run, folder } = await startBench(t);
    rmSync(join(folder, 'output'), { recursive: true });
    writeFileSync(join(folder, 'output'), 'a file where a folder was');
    const { end } = await run('true');
    assert(end.tag === 'returned');
    assert.match(end.reason, /could not be made/);
    rmSync(join(folder, 'output'));
    assert.deepEqual((await run('true')).end, { tag: 'exited', code: 0 });
  });

  test('without room for the list of groups runs nothing', async (t) => {
    const { run, folder } = await startBench(t);
    rmSync(join(folder, 'running'), { recursive: true });
    const { end, stdout } = await run('echo ran');
    assert(end.tag === 'returned');
    assert.match(end.reason, /list of running groups/);
    assert.equal(textOf(stdout), '');
  });

  test('is refused at the start with a sentence', async (t) => {
    const folder = temporaryFolder(t);
    writeFileSync(join(folder, 'work'), 'a file where a folder should be');
    chmodSync(folder, 0o700);
    await assert.rejects(startBench(t, { folder }), { code: 'DATA_FAILED', message: /--data-dir/ });
  });
});

describe('the environment', () => {
  const nodeEnv = {
    PATH: '/usr/bin:/bin',
    HOME: '/home/of-node',
    TZ: 'Europe/Berlin',
    SHELL: '/bin/zsh',
    MESH_KEY: 'mesh1-secret',
    MESH_TOKEN: 'secret',
    AWS_SECRET_ACCESS_KEY: 'secret',
  };

  test('is clean: a few variables of the node, those of the job, and who it is', async (t) => {
    const meshEnv = { MESH_NODE_ID: 'node-x' };
    const { run, folder } = await startBench(t, { nodeEnv, meshEnv });
    const { stdout, order } = await run('env', {
      env: { GREETING: 'hi there\nyou', stat: 'kept' },
    });
    const lines = textOf(stdout)
      .split('\n')
      .filter((line) => !line.startsWith('PWD='));
    assert.deepEqual(lines.sort(), [
      '',
      'GREETING=hi there',
      'HOME=/home/of-node',
      'LANG=C.UTF-8',
      'MESH_ATTEMPT=1',
      `MESH_FENCE=1.${order.fence.epoch.node}.1`,
      `MESH_JOB_ID=${order.job}`,
      'MESH_NODE_ID=node-x',
      `MESH_PROGRESS=${folder}/progress/${order.job}.1.${order.fence.epoch.node}.1`,
      'PATH=/usr/bin:/bin',
      'TZ=Europe/Berlin',
      'stat=kept',
      'you',
    ]);
  });

  test('lets a job set anything but what says which attempt it is', async (t) => {
    const { run } = await startBench(t, { nodeEnv });
    const env = { MESH_FENCE: 'forged', MESH_JOB_ID: 'forged', MESH_ATTEMPT: '9', HOME: '/own' };
    const { stdout, order } = await run('echo $MESH_JOB_ID $MESH_ATTEMPT $MESH_FENCE $HOME', {
      env,
    });
    assert.equal(textOf(stdout), `${order.job} 1 1.${order.fence.epoch.node}.1 /own\n`);
  });

  test('has sensible values where the node itself has none', async (t) => {
    const { run } = await startBench(t, { nodeEnv: {} });
    const { stdout } = await run('echo $HOME; ls / >/dev/null && echo found');
    assert.equal(textOf(stdout), '/\nfound\n');
  });
});
