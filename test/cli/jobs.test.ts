import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { asJobId } from '../../src/base/ids.ts';
import { writeRunningNode } from '../../src/client/running-nodes.ts';
import { SELF, StandInService } from '../http/stand-in-service.ts';
import { startApi, type TestApi } from '../http/test-api.ts';
import { TestUser } from './mesh-command.ts';

const DEADLINE = { timeout: 60_000 };

const user = new TestUser();
let api: TestApi;
before(async () => {
  api = await startApi({}, new StandInService({ runsJobs: true }));
  writeRunningNode(user.configDir, { node: SELF, name: 'alpha', pid: process.pid, api: api.url });
});
after(async () => {
  await api.stop();
  user.remove();
});

const submit = async (command: string): Promise<string> => {
  const { stdout, code } = await user.mesh(['run', '-d', command]);
  assert.equal(code, 0);
  return stdout.trim();
};

describe('mesh run', () => {
  test('prints what the command prints and ends as it ends', DEADLINE, async () => {
    const ended = await user.mesh(['run', '--', 'sh', '-c', 'echo "a  b"; echo oops >&2; exit 7']);
    assert.deepEqual(ended, { code: 7, stdout: 'a  b\n', stderr: 'oops\n' });
  });

  test(
    'hands on several words as they are, and one as a line for the shell',
    DEADLINE,
    async () => {
      const words = await user.mesh(['run', 'printf', '%s|', "it's", '$HOME', 'a b', '*']);
      assert.equal(words.stdout, "it's|$HOME|a b|*|");
      const line = await user.mesh(['run', 'echo $((1 + 2)) | tr 3 4']);
      assert.equal(line.stdout, '4\n');
    },
  );

  test('asks for manners, limits and a sandbox, each by its flag', DEADLINE, async () => {
    const flags = ['--umask', '027', '--nice', '19', '--cpu-time', '1m', '--memory', '64MiB'];
    const more = ['--processes', '20', '--open-files', '64', '--file-size', '1MiB'];
    const box = ['--network', '--writable', '/srv/a', '--writable', '/srv/b', '--user', 'nobody'];
    const ends = ['--queue-timeout', '1m', '--total-timeout', '2h'];
    const { stdout } = await user.mesh(['run', '-d', ...flags, ...more, ...box, ...ends, 'true']);
    const { spec } = (await api.service.getJob(asJobId(stdout.trim()))).record.job;
    assert.deepEqual([spec.queueTimeoutMs, spec.totalTimeoutMs], [60_000, 7_200_000]);
    assert.deepEqual(JSON.parse(spec.run), {
      umask: '027',
      user: 'nobody',
      nice: 19,
      limits: {
        cpu_seconds: 60,
        memory_bytes: 64 * 1024 * 1024,
        open_files: 64,
        file_bytes: 1024 * 1024,
        processes: 20,
      },
      sandbox: { network: true, writable: ['/srv/a', '/srv/b'] },
    });
    for (const wrong of [
      ['--memory', 'much'],
      ['--nice', '20'],
      ['--stdin', '/no/such/file'],
    ]) {
      assert.equal((await user.mesh(['run', ...wrong, 'true'])).code, 125, wrong.join(' '));
    }
  });

  test('gives it a file as its standard input', DEADLINE, async () => {
    const { stdout } = await user.mesh(['run', '-d', '--stdin', 'LICENSE', '--', 'sort', '-u']);
    const { spec } = (await api.service.getJob(asJobId(stdout.trim()))).record.job;
    assert.deepEqual(JSON.parse(spec.run), {
      argv: ['sort', '-u'],
      stdin: readFileSync('LICENSE', 'utf8'),
    });
  });

  test('sets variables, also those that are set here', DEADLINE, async () => {
    const env = { HERE: 'yes' };
    const args = ['run', '-e', 'A=1=2', '--env', 'HERE', 'echo $A $HERE'];
    assert.equal((await user.mesh(args, { env })).stdout, '1=2 yes\n');
  });

  test('ends with 124 on its timeout, 128 and more on a signal', DEADLINE, async () => {
    const late = await user.mesh(['run', '--timeout', '300ms', 'sleep 100']);
    assert.equal(late.code, 124);
    assert.match(late.stderr, /^mesh: It ran longer/);
    assert.equal((await user.mesh(['run', 'kill -TERM $$'])).code, 143);
  });

  test('ends with 125 and a sentence when the mesh will not have it', DEADLINE, async () => {
    const unknown = await user.mesh(['run', '--node', 'zeta', 'true']);
    assert.equal(unknown.code, 125);
    assert.match(unknown.stderr, /^mesh: .*zeta.*\n$/);
    assert.equal((await user.mesh(['run', '--bogus', 'true'])).code, 125);
    assert.equal((await user.mesh(['run', ' '])).code, 125);
  });

  test('asks for delivery, isolation and disks, each by its flag', DEADLINE, async () => {
    const flags = ['--at-most-once', '--on-isolation', 'continue', '--replicas', '2'];
    const { stdout } = await user.mesh(['run', '-d', ...flags, 'true']);
    const { spec } = (await api.service.getJob(asJobId(stdout.trim()))).record.job;
    assert.deepEqual(
      [spec.delivery, spec.onIsolation, spec.replicas],
      ['at_most_once', 'continue', 2],
    );
    for (const wrong of [
      ['--replicas', '4'],
      ['--replicas', 'all'],
      ['--on-isolation', 'wait'],
    ])
      assert.equal((await user.mesh(['run', ...wrong, 'true'])).code, 125, wrong.join(' '));
  });

  test('prints JSON lines when asked', DEADLINE, async () => {
    const { stdout, code } = await user.mesh(['run', '--json', 'echo é; exit 3']);
    assert.equal(code, 3);
    const lines = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    assert.deepEqual(
      lines.map((line) => line.type),
      ['submitted', 'output', 'ended'],
    );
    assert.equal(lines[1].text, 'é\n');
    assert.equal(lines[2].job.exit_code, 3);
  });

  test('passes on many bytes unchanged', DEADLINE, async () => {
    const { stdout } = await user.mesh(['run', 'seq 1 200000']);
    assert.equal(stdout, Array.from({ length: 200_000 }, (_, i) => `${i + 1}\n`).join(''));
  });

  test('cancels the job on the first Ctrl-C and waits for its end', DEADLINE, async () => {
    const run = user.start(['run', 'echo begun; sleep 100']);
    await run.printed('begun');
    run.child.kill('SIGINT');
    const ended = await run.ended;
    assert.equal(ended.code, 130);
    assert.match(ended.stderr, /cancelling/);
    const [job] = (await api.service.listJobs({ limit: 1 }, 'node')).jobs;
    assert.equal(job?.status, 'JOB_CANCELLED');
  });

  test('leaves on the second', DEADLINE, async () => {
    const run = user.start(['run', 'echo begun; sleep 100']);
    await run.printed('begun');
    api.service.ignoresCancel = true;
    run.child.kill('SIGINT');
    await run.printed('cancelling');
    run.child.kill('SIGINT');
    const ended = await run.ended;
    api.service.ignoresCancel = false;
    assert.equal(ended.code, 130);
    assert.match(ended.stderr, /may still run: mesh job job-/);
  });

  test('cancels the job when nobody reads on', DEADLINE, async () => {
    const run = user.start(['run', 'while echo y; do :; done']);
    await run.printed('y');
    run.child.stdout?.destroy();
    const [code] = (await once(run.child, 'exit')) as [number];
    assert.equal(code, 141);
  });

  test('tells of a lost attempt and follows the next one', DEADLINE, async (t) => {
    const quiet = await startApi();
    t.after(() => quiet.stop());
    const run = user.start(['--api', quiet.url, 'run', 'x']);
    const job = asJobId('job-1');
    await quiet.service.submitted();
    quiet.service.start(job);
    quiet.service.print(job, 'stdout', 'first\n');
    await run.printed('first');
    quiet.service.loseAttempt(job);
    quiet.service.start(job);
    quiet.service.print(job, 'stdout', 'second\n');
    await run.printed('second');
    quiet.service.end(job, 'JOB_COMPLETED', { tag: 'exited', code: 0 });
    const { code, stdout, stderr } = await run.ended;
    assert.deepEqual([code, stdout], [0, 'first\nsecond\n']);
    assert.match(stderr, /attempt 1 was lost.*attempt 2/);
  });
});

describe('the progress of a job', () => {
  test('is shown by mesh jobs, mesh show and mesh run --json', DEADLINE, async () => {
    const running = user.start(['run', '--json', 'echo begun; exec sleep 100']);
    await running.printed('begun');
    const [, job = ''] =
      /"job_id":"([^"]+)"/.exec((await user.mesh(['jobs', '--json'])).stdout) ?? [];
    api.service.know(asJobId(job), { progress: { percent: 42.4, message: 'halfway' } });
    await running.printed('halfway');
    assert.match((await user.mesh(['jobs', '-n', '1'])).stdout, /DONE.*\n.* 42% /);
    assert.match((await user.mesh(['show', job])).stdout, /^Progress +42 % halfway$/m);
    await user.mesh(['cancel', job]);
    const { stdout } = await running.ended;
    assert.match(stdout, /^{"type":"progress","progress":42.4,"progress_message":"halfway"}$/m);
  });
});

describe('mesh jobs, job, logs, cancel and peers', () => {
  test('fit a terminal of 80 columns, whatever jobs are called', DEADLINE, async () => {
    await submit(`echo ${'long '.repeat(60)}`);
    await submit('printf "日本語の長い名前のコマンド日本語の長い名前のコマンド日本語の長い名前"');
    for (const args of [['jobs'], ['peers'], ['job', 'job-1']]) {
      const { stdout, code } = await user.mesh(args);
      assert.equal(code, 0);
      for (const line of stdout.split('\n')) assert.ok(columnsOf(line) <= 80, line);
    }
  });

  test('send no control characters of others to the terminal', DEADLINE, async () => {
    const id = await submit('true # \u001b[31mred\u001b]0;title\u0007 \u202eback');
    for (const args of [['jobs'], ['job', id]]) {
      const { stdout } = await user.mesh(args);
      // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must not get out
      assert.doesNotMatch(stdout, /[\x00-\x09\x0b-\x1f\x7f\u202e]/);
    }
  });

  test('print one JSON document when asked', DEADLINE, async () => {
    const id = await submit('echo hello');
    const list = JSON.parse((await user.mesh(['jobs', '--json', '-n', '2'])).stdout);
    assert.equal(list.count, 2);
    assert.equal(JSON.parse((await user.mesh(['--json', 'job', id])).stdout).job_id, id);
    assert.equal(JSON.parse((await user.mesh(['peers', '--json'])).stdout).count, 2);
  });

  test('show the output of a job, followed or not', DEADLINE, async () => {
    const id = await submit('echo one; echo err >&2; sleep 0.5; echo two');
    assert.equal((await user.mesh(['logs', '-f', id])).stdout, 'one\ntwo\n');
    assert.equal((await user.mesh(['logs', '--stderr', id])).stdout, 'err\n');
    const { stdout } = await user.mesh(['job', id]);
    assert.match(stdout, /Status +JOB_COMPLETED, exit code 0/);
    assert.match(stdout, /stdout:\n {2}one\n {2}two/);
  });

  test('cancel a job, once', DEADLINE, async () => {
    const id = await submit('sleep 100');
    assert.match((await user.mesh(['cancel', id])).stdout, /is cancelled/);
    const done = await submit('true');
    await user.mesh(['logs', '-f', done]);
    const { code, stderr } = await user.mesh(['cancel', done]);
    assert.equal(code, 1);
    assert.match(stderr, /^mesh: .*has ended as JOB_COMPLETED.*\n$/);
  });

  test('say what is wrong as one line, or as JSON', DEADLINE, async () => {
    const plain = await user.mesh(['job', 'none']);
    assert.deepEqual(
      [plain.code, plain.stderr],
      [1, 'mesh: No node of the mesh knows a job none.\n'],
    );
    const { code } = JSON.parse((await user.mesh(['job', 'none', '--json'])).stderr);
    assert.equal(code, 'JOB_NOT_FOUND');
  });
});

/** As terminals count: East Asian letters take two. */
const columnsOf = (line: string): number =>
  [...line].reduce((sum, letter) => sum + (/[\u3040-\u9fff]/.test(letter) ? 2 : 1), 0);
