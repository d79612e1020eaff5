/** A terminal at one node, before it somebody at another one, in a terminal of their own. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { type IPty, spawn } from '@lydell/node-pty';
import { BUNDLE, type NodeProcess, newMesh, startOwnerAndTwo, until } from './mesh-processes.ts';

const DEADLINE = { timeout: 120_000 };

/** Somebody who types. */
class Person {
  text = '';
  exitCode: number | undefined;
  private readonly pty: IPty;
  private waiting: (() => void)[] = [];

  constructor(t: TestContext, node: NodeProcess, args: readonly string[]) {
    this.pty = spawn(process.execPath, [BUNDLE, '--api', node.url, 'run', ...args], {
      cols: 101,
      rows: 37,
      env: {
        PATH: process.env.PATH,
        TERM: 'xterm',
        MESH_CONFIG_DIR: join(node.dataDir, '../config'),
      },
    });
    this.pty.onData((text) => {
      this.text += text;
      this.wake();
    });
    this.pty.onExit(({ exitCode }) => {
      this.exitCode = exitCode;
      this.wake();
    });
    t.after(() => {
      if (this.exitCode === undefined) this.pty.kill('SIGKILL');
    });
  }

  private wake(): void {
    for (const settle of this.waiting.splice(0)) settle();
  }

  type(text: string): void {
    this.pty.write(text);
  }

  resize(columns: number, rows: number): void {
    this.pty.resize(columns, rows);
  }

  /** Only what is shown after what was seen before. */
  async sees(text: string): Promise<void> {
    await this.when(() => this.text.includes(text), `sees ${text}`);
    this.text = this.text.slice(this.text.indexOf(text) + text.length);
  }

  async leaves(): Promise<number> {
    await this.when(() => this.exitCode !== undefined, 'leaves');
    return this.exitCode ?? -1;
  }

  die(): void {
    this.pty.kill('SIGKILL');
  }

  private async when(holds: () => boolean, what: string): Promise<void> {
    const late = AbortSignal.timeout(40_000);
    while (!holds()) {
      if (this.exitCode !== undefined) assert.fail(`${what}: ended, ${this.text}`);
      await new Promise<void>((resolve, reject) => {
        this.waiting.push(resolve);
        late.addEventListener('abort', () => reject(new Error(`${what}: ${this.text}`)));
      });
    }
  }
}

const SHELL = ['-n', 'two', '--', '/bin/sh'];

describe('mesh run -it', () => {
  test('is a terminal on another node: keys, size, Ctrl-C, exit code', DEADLINE, async (t) => {
    const { one, two } = await startOwnerAndTwo(newMesh(t));
    const person = new Person(t, one, ['-it', ...SHELL]);
    person.type("tty; stty size; echo node $MESH_NODE_NAME; echo $((40 + 2))'!'\r");
    await person.sees('37 101');
    await person.sees('node two');
    await person.sees('42!');
    person.resize(90, 20);
    person.type('sleep 0.2; stty size\r');
    await person.sees('20 90');
    // Said by the one that Ctrl-C is for: before it has the terminal the shell gets that, and waits on.
    person.type("PS1='re''ady> '; sh -c 'echo asleep\"!\"; exec sleep 1000'\r");
    await person.sees('asleep!');
    person.type('\u0003');
    // A shell that is interrupted drops what was typed before its next prompt.
    await person.sees('ready> ');
    person.type("echo still 'here'\r");
    await person.sees('still here');
    const { stdout } = await two.mesh(['jobs']);
    assert.match(stdout, /running +two .*\/bin\/sh/);
    person.type('exit 7\r');
    assert.equal(await person.leaves(), 7);
  });

  test(
    'is refused by a policy about commands, here and there, with its rule',
    DEADLINE,
    async (t) => {
      const mesh = newMesh(t);
      const policy = join(mesh.folder, 'policy.yaml');
      writeFileSync(policy, 'rules: [{ name: no rm, deny: { command: "rm *" } }]');
      const one = await mesh.start('one', { slots: 0 });
      const two = await mesh.start('two', { flags: ['--policy', policy] });
      await Promise.all([one, two].map((node) => node.seesPeers(1)));
      for (const node of [one, two]) {
        const person = new Person(t, node, ['-it', ...SHELL]);
        assert.notEqual(await person.leaves(), 0);
        assert.match(person.text.replace(/\s+/g, ' '), /rule "no rm" .* typed into a terminal/);
      }
    },
  );

  test('goes on at another node when the one that was asked dies', DEADLINE, async (t) => {
    const { one } = await startOwnerAndTwo(newMesh(t));
    const person = new Person(t, one, ['-it', ...SHELL]);
    person.type("x=kept; echo begun'!'\r");
    await person.sees('begun!');
    await one.kill('SIGKILL');
    await person.sees('the connection broke');
    person.type('echo "$x"_typed_meanwhile\r');
    await person.sees('kept_typed_meanwhile');
    person.type('exit 3\r');
    assert.equal(await person.leaves(), 3);
  });

  test('is lost, and never run again, when the node that has it dies', DEADLINE, async (t) => {
    const { one, two } = await startOwnerAndTwo(newMesh(t));
    const person = new Person(t, one, ['-it', ...SHELL]);
    person.type("echo begun'!'\r");
    await person.sees('begun!');
    await two.killHost();
    assert.equal(await person.leaves(), 125);
  });

  test('ends when its client is gone for good', DEADLINE, async (t) => {
    const { one } = await startOwnerAndTwo(newMesh(t));
    const person = new Person(t, one, ['-it', '--id', 'left-alone', ...SHELL]);
    person.type("echo begun'!'\r");
    await person.sees('begun!');
    person.die();
    const from = performance.now();
    const job = await one.jobEnds('left-alone', 60_000);
    assert.equal(job.status, 'JOB_FAILED');
    assert.match(String(job.error_message), /client went away/);
    assert.ok(performance.now() - from > 25_000, 'it had time to come back');
  });
});

describe('the WebSocket of a terminal', () => {
  test('is for who may do anything, and for no page', DEADLINE, async (t) => {
    const mesh = newMesh(t);
    const node = await mesh.start('one');
    const job = await node.submit('', { task_type: 'terminal', delivery: 'at_most_once' });
    await node.jobIs(job, ['JOB_RUNNING']);
    const other = await node.submit('sleep 100');
    const { WebSocket } = await import('ws');
    const refused = async (path: string, headers: Record<string, string>): Promise<number> => {
      const socket = new WebSocket(`${node.url.replace('http', 'ws')}${path}`, { headers });
      socket.on('error', () => undefined);
      return new Promise((resolve) => {
        socket.on('open', () => resolve(101));
        socket.on('unexpected-response', (_request, response) => resolve(response.statusCode ?? 0));
      });
    };
    const path = `/api/v1/jobs/${job}/terminal?session=12345678`;
    assert.equal(await refused(path, { Origin: 'https://evil.example' }), 403);
    assert.equal(await refused(path, { Host: 'evil.example' }), 421);
    assert.equal(await refused(path, { Authorization: 'Bearer wrong' }), 401);
    const submit = (await node.mesh(['token', '--role', 'submit'])).stdout
      .trim()
      .split('\n')
      .at(-1);
    assert.equal(await refused(path, { Authorization: `Bearer ${submit}` }), 403);
    assert.equal(await refused(`/api/v1/jobs/${job}/terminal?session=1`, {}), 400);
    assert.equal(await refused(`/api/v1/jobs/${other}/terminal?session=12345678`, {}), 400);
    assert.equal(await refused('/api/v1/jobs/none/terminal?session=12345678', {}), 404);
    assert.equal(await refused('/api/v1/jobs', {}), 404);
    assert.equal(await refused(path, {}), 101);
    await node.delete(`/api/v1/jobs/${job}`);
    await until(
      'it has ended',
      20_000,
      async () => (await node.job(job)).status === 'JOB_CANCELLED',
    );
  });
});
