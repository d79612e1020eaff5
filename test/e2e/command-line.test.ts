/** The command line against real nodes: what a user types, reads and gets as an exit code. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { MeshProcesses, type NodeProcess, processesWith, until } from './mesh-processes.ts';

const PROGRAM = new URL('../../dist/mesh.mjs', import.meta.url).pathname;
const DEADLINE = { timeout: 60_000 };

interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

class Typed {
  readonly child: ChildProcess;
  readonly ended: Promise<Ended>;
  private readonly seen = { stdout: '', stderr: '' };

  constructor(args: readonly string[], env: Readonly<Record<string, string>>) {
    this.child = spawn(process.execPath, [PROGRAM, ...args], {
      env: { PATH: process.env.PATH, HOME: '/nonexistent', ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    for (const stream of ['stdout', 'stderr'] as const)
      this.child[stream]?.setEncoding('utf8').on('data', (text: string) => {
        this.seen[stream] += text;
      });
    this.ended = once(this.child, 'close').then(([code]) => ({ code, ...this.seen }) as Ended);
  }

  prints(stream: 'stdout' | 'stderr', text: RegExp): Promise<void> {
    const last = (): string => JSON.stringify(this.seen);
    return until(`${text} is printed`, 20_000, () => text.test(this.seen[stream]), last);
  }
}

describe('the command line', () => {
  const mesh = new MeshProcesses();
  const env = { MESH_CONFIG_DIR: join(mesh.folder, 'config') };
  const type = (...args: string[]): Typed => new Typed(args, env);
  const typed = (...args: string[]): Promise<Ended> => type(...args).ended;
  let one: NodeProcess;

  before(async () => {
    const nodes = await mesh.startMesh(['one', 'two']);
    assert.ok(nodes[0]);
    one = nodes[0];
  }, DEADLINE);
  after(() => mesh.stop());

  test('runs a command on the node that is named, and ends as it ends', DEADLINE, async () => {
    const line = 'echo $MESH_NODE_NAME; echo oops >&2; exit 7';
    assert.deepEqual(await typed('run', '--node', 'two', line), {
      code: 7,
      stdout: 'two\n',
      stderr: 'oops\n',
    });
  });

  test('ends with 124 when the command takes too long', DEADLINE, async () => {
    const { code, stderr } = await typed('run', '--timeout', '300ms', '--', 'sleep', '60');
    assert.equal(code, 124);
    assert.match(stderr, /^mesh: .+0\.3 s\n$/);
  });

  test('cancels the job at Ctrl-C, and nothing of it is left', DEADLINE, async () => {
    const run = type('run', 'echo started; sleep 4711');
    await run.prints('stdout', /started/);
    run.child.kill('SIGINT');
    const { code, stderr } = await run.ended;
    assert.equal(code, 130);
    assert.match(stderr, /^mesh: cancelling the job/);
    await until('the sleep ends', 10_000, () => processesWith('sleep\x004711').length === 0);
  });

  test('says why a job waits, in place of silence', DEADLINE, async () => {
    const run = type('run', '--label', 'room=attic', '--', 'true');
    await run.prints('stderr', /^mesh: it waits for a node: label missing \(one, two\)\n/);
    run.child.kill('SIGINT');
    assert.equal((await run.ended).code, 130);
  });

  test('prints a job with all of its command and output', DEADLINE, async () => {
    const text = 'x'.repeat(200);
    const submitted = await typed('run', '--detach', `echo ${text}`);
    const id = submitted.stdout.trim();
    await one.jobEnds(id);
    const { stdout } = await typed('job', id);
    assert.ok(stdout.includes(`Command   echo ${text}\n`), stdout);
    assert.ok(stdout.includes(`  ${text}\n`), stdout);
  });

  test('prints tables of at most 80 columns', DEADLINE, async () => {
    await typed('run', '--detach', `echo ${'long '.repeat(40)}`);
    for (const command of ['jobs', 'peers']) {
      const { code, stdout } = await typed(command);
      assert.equal(code, 0);
      for (const line of stdout.split('\n').filter((text) => !text.startsWith('More:')))
        assert.ok(line.length <= 80, line);
    }
  });

  test('fails in one sentence, or as JSON where that is asked for', DEADLINE, async () => {
    const plain = await typed('run', '--node', 'nobody', '--', 'true');
    assert.equal(plain.code, 125);
    assert.match(plain.stderr, /^mesh: No node.+"nobody".+\n$/);
    const json = await typed('--json', 'run', '--node', 'nobody', '--', 'true');
    assert.equal(json.code, 125);
    assert.equal(JSON.parse(json.stderr).code, 'NODE_NOT_FOUND');
    const job = await typed('job', 'job-that-never-was');
    assert.deepEqual([job.code, job.stdout], [1, '']);
    assert.match(job.stderr, /^mesh: No node of the mesh knows.+\n$/);
  });

  test('follows a job through the death of the node that it asks about', DEADLINE, async () => {
    const three = await mesh.start('three');
    await one.seesPeers(2);
    const run = type(
      'run',
      '--api',
      one.url,
      '--node',
      'three',
      'echo attempt $MESH_ATTEMPT; sleep 2',
    );
    await run.prints('stdout', /attempt 1\n/);
    await three.kill('SIGKILL');
    await mesh.start('three');
    // The node is back in time: what it ran goes on, and nobody notices.
    assert.deepEqual(await run.ended, { code: 0, stdout: 'attempt 1\n', stderr: '' });
  });

  test('finds a node of this machine over HTTPS, by any of its names', DEADLINE, async () => {
    const wide = await mesh.start('wide', { flags: ['--api-host', '0.0.0.0'] });
    const { port } = new URL(wide.url);
    const { code, stdout, stderr } = await typed('--api', `https://localhost:${port}`, 'peers');
    assert.deepEqual([code, stderr], [0, '']);
    assert.match(stdout, /^wide\*/m);
    const strange = new Typed(['--api', wide.url, 'peers'], { MESH_CONFIG_DIR: mesh.folder });
    const refused = await strange.ended;
    assert.equal(refused.code, 1);
    assert.match(refused.stderr, /^mesh: The certificate of https.+mesh token --ca.+\n$/);
  });

  test(
    'leaves a node alone whose session ends, when no terminal is its own',
    DEADLINE,
    async () => {
      one.signal('SIGHUP');
      const { code, stdout } = await typed(
        'run',
        '--api',
        one.url,
        '--node',
        'one',
        'echo still here',
      );
      assert.deepEqual([code, stdout], [0, 'still here\n']);
    },
  );

  test('joins with a key that it is given, and keeps the old one', DEADLINE, async () => {
    const other = join(mesh.folder, 'other');
    const { stdout } = await typed('key');
    await new Typed(['key'], { MESH_CONFIG_DIR: other }).ended;
    const joined = await new Typed(['join', stdout.trim()], { MESH_CONFIG_DIR: other }).ended;
    assert.equal(joined.code, 0);
    assert.match(joined.stdout, /The key that was there is kept in/);
    assert.equal((await new Typed(['key'], { MESH_CONFIG_DIR: other }).ended).stdout, stdout);
    const wrong = await new Typed(['join', 'mesh1-abc'], { MESH_CONFIG_DIR: other }).ended;
    assert.equal(wrong.code, 1);
    rmSync(other, { recursive: true });
  });
});

describe('mesh demo', () => {
  const home = new MeshProcesses();
  const demo = (): Typed => new Typed(['demo'], { MESH_CONFIG_DIR: home.folder });
  const nodesOf = ({ child }: Typed): number[] => processesWith(`.data/demo/${child.pid}/`);
  after(() => home.stop());

  test('shows what it says, also beside another one', DEADLINE, async () => {
    const demos = [demo(), demo()];
    for (const { ended } of demos) {
      const { code, stdout, stderr } = await ended;
      assert.deepEqual([code, stderr], [0, ''], stdout);
      assert.match(stdout, /32 jobs in .+ as they were meant to/);
    }
    assert.deepEqual(demos.flatMap(nodesOf), []);
  });

  for (const signal of ['SIGINT', 'SIGHUP', 'SIGKILL'] as const)
    test(`leaves no process behind on ${signal}`, DEADLINE, async () => {
      const started = demo();
      await started.prints('stdout', /Submitting/);
      assert.ok(nodesOf(started).length >= 3);
      started.child.kill(signal);
      await started.ended;
      await until('its nodes end', 15_000, () => nodesOf(started).length === 0);
    });
});
