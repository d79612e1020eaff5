import assert from 'node:assert/strict';
import { once } from 'node:events';
import { chmodSync, existsSync, readFileSync, statSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { commandText, quoteForShell, toCommand } from '../../src/cli/command-line.ts';
import { ageOf, clip, tableLines, visible, widthOf } from '../../src/cli/terminal.ts';
import { TestUser } from './mesh-command.ts';

const DEADLINE = { timeout: 60_000 };
const COMMANDS = [
  'up',
  'run',
  'progress',
  'jobs',
  'job',
  'logs',
  'cancel',
  'peers',
  'drain',
  'key',
  'join',
  'token',
  'doctor',
  'demo',
  'torture',
];

let user: TestUser;
beforeEach(() => {
  user = new TestUser();
});
afterEach(() => user.remove());

describe('the program', () => {
  test('has help of at most 80 columns for each command', DEADLINE, async () => {
    const overview = await user.mesh([]);
    assert.equal(overview.code, 0);
    for (const name of COMMANDS) {
      assert.match(overview.stdout, new RegExp(`^ {2}${name}(\\|[a-z]+)? `, 'm'));
      const { code, stdout } = await user.mesh([name, '--help']);
      assert.equal(code, 0, name);
      for (const line of stdout.split('\n')) assert.ok(widthOf(line) <= 80, `${name}: ${line}`);
    }
  });

  test('lists all settings with mesh up --help', DEADLINE, async () => {
    const { stdout } = await user.mesh(['up', '--help']);
    for (const text of [
      '--api-port <port>',
      '--heartbeat-interval',
      'DISCOVERY_PORT',
      'MESH_KEY only',
    ])
      assert.ok(stdout.includes(text), text);
  });

  test('guesses what was meant, and ends with 2 for wrong words', DEADLINE, async () => {
    const { code, stderr } = await user.mesh(['jbos']);
    assert.equal(code, 2);
    assert.match(stderr, /^mesh: unknown command 'jbos'\n\(Did you mean jobs\?\)/);
    assert.equal((await user.mesh(['jobs', '--limit', 'x'])).code, 2);
    assert.equal((await user.mesh(['job'])).code, 2);
  });

  test('without a node says how to start one', DEADLINE, async () => {
    for (const args of [['jobs'], ['peers'], ['drain']]) {
      const { code, stderr } = await user.mesh(args);
      assert.equal(code, 1);
      assert.match(stderr, /^mesh: No node of yours runs.*mesh up.*\n$/);
    }
    assert.equal((await user.mesh(['run', 'true'])).code, 125);
    const { stderr } = await user.mesh(['jobs'], { env: { MESH_API: 'http://127.0.0.1:9' } });
    assert.match(stderr, /^mesh: No node answers at http:\/\/127\.0\.0\.1:9.*\n$/);
  });

  test('names a setting that is wrong, without a stack', DEADLINE, async () => {
    const { code, stderr } = await user.mesh(['up', '--api-port', '99999']);
    assert.equal(code, 1);
    assert.match(stderr, /^mesh: The setting api-port is "99999" \(from --api-port\)\..*\n$/);
    assert.equal((await user.mesh(['up', '--bogus'])).code, 2);
  });
});

describe('mesh key, join and token', () => {
  test('make a key once, for its user alone', DEADLINE, async () => {
    const first = await user.mesh(['key']);
    assert.match(first.stdout, /^mesh1-[a-z2-7]{58}\n$/);
    assert.equal((await user.mesh(['key'])).stdout, first.stdout);
    assert.equal(statSync(join(user.configDir, 'mesh.key')).mode & 0o777, 0o600);
  });

  test('carry a key to another user, and keep the one that was there', DEADLINE, async (t) => {
    const other = new TestUser();
    t.after(() => other.remove());
    const { stdout: key } = await user.mesh(['key']);
    const { stdout: old } = await other.mesh(['key']);
    const joined = await other.mesh(['join', '-'], { input: key });
    assert.equal(joined.code, 0);
    assert.equal((await other.mesh(['key'])).stdout, key);
    const kept = /kept in (\S+)\.\n/.exec(joined.stdout)?.[1] ?? '';
    assert.ok(existsSync(kept) && readFileSync(kept, 'utf8') === old);
    assert.equal((await other.mesh(['token'])).stdout, (await user.mesh(['token'])).stdout);
    assert.ok(!(joined.stdout + joined.stderr).includes(key.trim()));
  });

  test('warn of a key on the command line, and refuse half a key', DEADLINE, async () => {
    const key = (await user.mesh(['key'])).stdout.trim();
    const { code, stderr } = await user.mesh(['join', key]);
    assert.equal(code, 0);
    assert.match(stderr, /history/);
    for (const bad of [key.slice(0, -1), `${key.slice(0, -1)}!`, 'hello'])
      assert.match((await user.mesh(['join', '-'], { input: bad })).stderr, /not a whole mesh key/);
  });

  test('print a token of each role, and the certificate', DEADLINE, async () => {
    const { token, role } = JSON.parse(
      (await user.mesh(['token', '--role', 'admin', '--json'])).stdout,
    );
    assert.equal(role, 'admin');
    assert.match(token, /^mesh-admin-/);
    assert.equal((await user.mesh(['token', '--role', 'king'])).code, 2);
    assert.match((await user.mesh(['token', '--ca'])).stdout, /^-----BEGIN CERTIFICATE-----/);
  });
});

describe('mesh doctor', () => {
  const examine = async (args: readonly string[] = [], env = {}) => {
    const { code, stdout } = await user.mesh(['doctor', '--json', ...args], { env });
    const { ok, findings } = JSON.parse(stdout) as {
      ok: boolean;
      findings: { area: string; level: string; text: string; advice?: string }[];
    };
    return { code, ok, findings, problems: findings.filter(({ level }) => level === 'problem') };
  };
  const freePorts = [
    '--api-port',
    '0',
    '--discovery-port',
    String(20_000 + (process.pid % 10_000)),
  ];

  test('looks at everything without a node', DEADLINE, async () => {
    const { findings } = await examine(freePorts);
    const areas = new Set(findings.map(({ area }) => area));
    for (const area of ['program', 'key', 'disk', 'ports', 'network', 'meshes', 'clock', 'nodes'])
      assert.ok(areas.has(area), area);
  });

  test('names who holds a port, and what to do', DEADLINE, async (t) => {
    const holder = createServer().listen(0, '127.0.0.1');
    t.after(() => holder.close());
    await once(holder, 'listening');
    const { port } = holder.address() as AddressInfo;
    const { code, ok, problems } = await examine([
      ...freePorts.slice(2),
      '--api-port',
      String(port),
    ]);
    assert.deepEqual([code, ok], [1, false]);
    const [problem] = problems.filter(({ area }) => area === 'ports');
    assert.match(problem?.text ?? '', new RegExp(`TCP ${port} .*held by pid ${process.pid} `));
    assert.match(problem?.advice ?? '', /--api-port/);
  });

  test('finds a key that others can read, with the command that mends it', DEADLINE, async () => {
    await user.mesh(['key']);
    chmodSync(join(user.configDir, 'mesh.key'), 0o644);
    const { code, problems } = await examine(freePorts);
    assert.equal(code, 1);
    assert.match(problems.map(({ text }) => text).join(), /chmod 600/);
  });

  test('tells of a wrong setting before all else', DEADLINE, async () => {
    const { problems } = await examine([], { MESH_SLOTS: 'many' });
    assert.match(problems[0]?.text ?? '', /setting slots is "many"/);
  });
});

describe('what is printed', () => {
  test('quotes words as a shell reads them', () => {
    const words = ['echo', "it's", 'a b', '', '$x'];
    const job = { command: '', task_type: 'shell', params: {}, run: { argv: words } };
    assert.equal(commandText(job), `echo 'it'\\''s' 'a b' '' '$x'`);
    assert.deepEqual(toCommand(words), { argv: words });
    assert.deepEqual(toCommand(['a | b']), { command: 'a | b' });
    assert.equal(commandText({ ...job, command: 'a | b', run: {} }), 'a | b');
    assert.equal(quoteForShell('--x=/a.b:c,d@e%f+g'), '--x=/a.b:c,d@e%f+g');
  });

  test('is cut by columns, not by letters', () => {
    assert.equal(widthOf('日本'), 4);
    assert.equal(clip('日本語', 5), '日本…');
    assert.equal(clip('abc', 3), 'abc');
    assert.equal(visible('a\nb\u001b[2Jc\u0000'), 'a ⏎ bc·');
  });

  test('is a table in which the last column gives way', () => {
    const columns = [
      { title: 'N', text: (row: string) => row.slice(0, 1), isRight: true },
      { title: 'REST', text: (row: string) => row },
    ];
    assert.deepEqual(tableLines(columns, ['a'.repeat(50), 'b'], 20), [
      'N  REST',
      `a  ${'a'.repeat(16)}…`,
      'b  b',
    ]);
  });

  test('has ages that are read at a glance', () => {
    const at = '2026-01-01T00:00:00.000Z';
    const ages = [5, 119, 600, 7300, 400_000].map((s) => ageOf(at, Date.parse(at) + s * 1000));
    assert.deepEqual(ages, ['5s', '119s', '10m', '2h', '5d']);
  });
});
