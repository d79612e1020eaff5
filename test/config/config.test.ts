import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { MeshError } from '../../src/base/errors.ts';
import { settingsHelp, settingsTable } from '../../src/config/help.ts';
import { SETTINGS } from '../../src/config/settings.ts';
import { readSettingsFile } from '../../src/config/settings-file.ts';
import { type Config, parseConfig } from '../../src/config.ts';

const machine = { home: '/home/ada', hostname: 'lab 7.example', cores: 6 };

function parse(
  given: {
    flags?: Record<string, unknown>;
    env?: Record<string, string>;
    files?: Record<string, string>;
  } = {},
): Config {
  const { flags = {}, env = {}, files = {} } = given;
  return parseConfig({ flags, env, machine, readFile: (path) => files[path] });
}

function refusal(given: Parameters<typeof parse>[0]): string {
  try {
    parse(given);
  } catch (thrown) {
    assert.ok(thrown instanceof MeshError && thrown.code === 'BAD_SETTING', String(thrown));
    return thrown.message;
  }
  return assert.fail('it was taken');
}

const MESH_YAML = '/home/ada/.config/worker-mesh/mesh.yaml';

describe('parseConfig', () => {
  test('gives every setting its default on a bare machine', () => {
    const config = parse();
    assert.equal(config.name, 'lab-7.example');
    assert.equal(config.dataDir, '/home/ada/.local/share/worker-mesh/default');
    assert.equal(config.configDir, '/home/ada/.config/worker-mesh');
    assert.deepEqual(
      [config.apiHost, config.apiPort, config.discoveryPort, config.linkPort],
      ['127.0.0.1', 3000, 8080, 0],
    );
    assert.deepEqual([config.heartbeatIntervalMs, config.peerTimeoutMs], [1000, 30_000]);
    assert.deepEqual([config.slots, config.taskTypes, config.peers], [6, ['all'], []]);
    assert.deepEqual([config.defaultTimeoutMs, config.outputLimitBytes], [300_000, 64 * 1024 ** 2]);
    assert.deepEqual([config.discovery, config.open], [true, false]);
    assert.deepEqual(
      [config.key, config.keyFile, config.config],
      [undefined, undefined, undefined],
    );
    assert.ok(Object.isFrozen(config));
  });

  test('prefers a flag to the environment, that to the file, that to the default', () => {
    const files = { [MESH_YAML]: 'api-port: 3003\nslots: 3\n' };
    const env = { API_PORT: '3002' };
    assert.equal(parse({ flags: { apiPort: '3001' }, env, files }).apiPort, 3001);
    assert.equal(parse({ flags: { 'api-port': '3001' }, env, files }).apiPort, 3001);
    assert.equal(parse({ env, files }).apiPort, 3002);
    assert.equal(parse({ files }).apiPort, 3003);
    assert.equal(parse({ files }).slots, 3);
    assert.equal(parse().apiPort, 3000);
  });

  test('reads durations and sizes with and without a unit', () => {
    const interval = (text: string): number =>
      parse({ env: { HEARTBEAT_INTERVAL: text } }).heartbeatIntervalMs;
    assert.deepEqual(['5s', '500ms', '5', '0.5'].map(interval), [5000, 500, 5000, 500]);
    const limit = (text: string): number =>
      parse({ flags: { outputLimit: text } }).outputLimitBytes;
    assert.deepEqual(['2KiB', '2048', '3 mb', '1.5MiB'].map(limit), [2048, 2048, 3e6, 1_572_864]);
  });

  test('reads lists, pairs and switches from every source', () => {
    const file = [
      'labels: { zone: b, rack: r1 }',
      'peers: [Alpha.example:9000, 10.0.0.7]',
      'discovery: off',
      'open: true',
    ].join('\n');
    const fromFile = parse({ files: { [MESH_YAML]: file } });
    assert.deepEqual(fromFile.labels, { zone: 'b', rack: 'r1' });
    assert.deepEqual(fromFile.peers, ['10.0.0.7', 'alpha.example:9000']);
    assert.deepEqual([fromFile.discovery, fromFile.open], [false, true]);
    const others = parse({
      flags: { labels: 'zone=b,note=a=b', open: true, discovery: false },
      env: { CAPABILITIES: 'gpu, cuda=12', MESH_TASK_TYPES: 'Shell,python,shell' },
    });
    assert.deepEqual(others.labels, { zone: 'b', note: 'a=b' });
    assert.deepEqual(others.capabilities, { gpu: 'true', cuda: '12' });
    assert.deepEqual(others.taskTypes, ['python', 'shell']);
    assert.deepEqual([others.open, others.discovery], [true, false]);
  });

  test('keeps the data of a named node apart and follows the XDG variables', () => {
    const env = { XDG_DATA_HOME: '/data', XDG_CONFIG_HOME: '/etc/xdg' };
    assert.equal(parse({ flags: { name: 'node1' }, env }).dataDir, '/data/worker-mesh/node1');
    assert.equal(parse({ env }).configDir, '/etc/xdg/worker-mesh');
    const files = { '/etc/xdg/worker-mesh/mesh.yaml': 'name: node2\ndata-dir: ~/mesh' };
    assert.equal(parse({ env, files }).dataDir, '/home/ada/mesh');
    assert.equal(parse({ flags: { dataDir: 'here' } }).dataDir, join(process.cwd(), 'here'));
  });

  test('takes an empty environment variable for one that is not set', () => {
    assert.equal(parse({ env: { API_PORT: '' } }).apiPort, 3000);
  });

  test('names setting, value, source and what is allowed when a value is bad', () => {
    assert.equal(
      refusal({ flags: { apiPort: '70000' } }),
      'The setting api-port is "70000" (from --api-port). It must be a port number from 0 to 65535, where 0 takes any free port.',
    );
    const env = refusal({ env: { PEER_TIMEOUT: 'soon' } });
    assert.match(env, /peer-timeout is "soon" \(from the environment variable PEER_TIMEOUT\)/);
    assert.match(env, /a duration from 1s to 30d, such as 500ms/);
    const file = refusal({ files: { [MESH_YAML]: 'log-level: loud' } });
    assert.match(file, /log-level is "loud" \(from .*mesh\.yaml\).*trace, debug, info/);
    for (const flags of [
      { slots: '-1' },
      { slots: '1.5' },
      { name: '../up' },
      { labels: 'a' },
      { labels: 'a=1,a=2' },
      { peers: 'a b' },
      { taskTypes: 'sh ell' },
      { discovery: 'maybe' },
      { outputLimit: '3 parsecs' },
      { killGrace: '1y' },
      { dataDir: '' },
    ]) {
      assert.match(refusal({ flags }), /It must be /, JSON.stringify(flags));
    }
  });

  test('never shows the key, and takes it from the environment alone', () => {
    assert.equal(parse({ env: { MESH_KEY: 'mesh1-abc' } }).key, 'mesh1-abc');
    assert.equal(parse({ flags: { key: 'mesh1-abc' } }).key, undefined);
    assert.doesNotMatch(refusal({ env: { MESH_KEY: 'two words' } }), /two|words/);
    assert.match(refusal({ files: { [MESH_YAML]: 'key: mesh1-abc' } }), /names "key"/);
  });

  test('refuses settings that contradict each other', () => {
    const cases: [Parameters<typeof parse>[0], RegExp][] = [
      [{ flags: { peerTimeout: '1s', heartbeatInterval: '2s' } }, /peer-timeout.*longer than/],
      [{ flags: { open: true }, env: { MESH_KEY: 'mesh1-abc' } }, /open.*leave out one/],
      [{ flags: { keyFile: 'k' }, env: { MESH_KEY: 'mesh1-abc' } }, /MESH_KEY.*leave out one/],
      [{ flags: { apiPort: '4000', linkPort: '4000' } }, /api-port and link-port are both 4000/],
      [{ env: { API_PORT: '1', MESH_API_PORT: '2' } }, /MESH_API_PORT and API_PORT both/],
    ];
    for (const [given, pattern] of cases) assert.match(refusal(given), pattern);
  });

  test('refuses a settings file that is missing, malformed or knows unknown keys', () => {
    assert.match(
      refusal({ flags: { config: '/etc/no.yaml' } }),
      /no settings file \/etc\/no\.yaml/,
    );
    const file = (content: string): string => refusal({ files: { [MESH_YAML]: content } });
    assert.match(file('api_port: 1'), /mesh\.yaml names "api_port", which is not a setting/);
    assert.match(file('config-dir: /tmp'), /names "config-dir"/);
    assert.match(file('a: [1'), /mesh\.yaml is not YAML: .*line 1/);
    assert.match(file('- a\n- b'), /must be a list of lines like/);
    assert.match(file('slots: 1\nslots: 2'), /is not YAML/);
    assert.match(file('labels: { a: [1] }'), /gives labels a value of the wrong form/);
    assert.equal(parse({ files: { [MESH_YAML]: '# nothing yet\n' } }).apiPort, 3000);
    assert.equal(
      parse({ files: { '/x.yaml': 'slots: 2' }, env: { MESH_CONFIG: '/x.yaml' } }).slots,
      2,
    );
  });
});

describe('readSettingsFile', () => {
  test('tells a missing file from one that cannot be read', (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'mesh-config-'));
    t.after(() => rmSync(folder, { recursive: true }));
    assert.equal(readSettingsFile(join(folder, 'none.yaml')), undefined);
    const file = join(folder, 'mesh.yaml');
    writeFileSync(file, 'slots: 2');
    chmodSync(file, 0o600);
    assert.equal(readSettingsFile(file), 'slots: 2');
    assert.throws(() => readSettingsFile(folder), {
      code: 'BAD_SETTING',
      message: /cannot be read/,
    });
  });
});

describe('SETTINGS', () => {
  test('have defaults that their own kinds take', () => {
    for (const entry of Object.values(SETTINGS)) {
      if (typeof entry.fallback !== 'string') continue;
      assert.notEqual(entry.kind.parse(entry.fallback), undefined, entry.name);
    }
  });

  test('have names and environment variables that are used once', () => {
    const names = Object.values(SETTINGS).map((entry) => entry.name);
    const variables = Object.values(SETTINGS).flatMap((entry) => entry.env);
    assert.equal(new Set(names).size, names.length);
    assert.equal(new Set(variables).size, variables.length);
  });

  test('are all in the help, which fits 80 columns, and in the table', () => {
    const help = settingsHelp();
    for (const entry of Object.values(SETTINGS)) {
      for (const name of entry.env) {
        assert.ok(help.includes(name), name);
        assert.ok(settingsTable().includes(`\`${name}\``), name);
      }
    }
    for (const line of help.split('\n')) assert.ok(line.length <= 80, line);
  });
});
