import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import {
  readRunningNodes,
  removeRunningNode,
  writeRunningNode,
} from '../../src/client/running-nodes.ts';

const PID = process.pid;
const node = (name: string, port: number, pid = PID) => ({
  node: `node-${name}`,
  name,
  pid,
  api: `http://127.0.0.1:${port}`,
});

describe('running nodes', () => {
  let folder = '';
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'mesh-run-'));
  });
  afterEach(() => rmSync(folder, { recursive: true }));
  const names = (): string[] => readRunningNodes(folder).map(({ name }) => name);

  test('are none where none has run', () => {
    assert.deepEqual(readRunningNodes(join(folder, 'nowhere')), []);
  });

  test('are found, the one on port 3000 first, then by name', () => {
    writeRunningNode(folder, node('b', 3001));
    writeRunningNode(folder, node('a', 3002));
    writeRunningNode(folder, node('z', 3000));
    assert.deepEqual(names(), ['z', 'a', 'b']);
    removeRunningNode(folder, 'node-a');
    removeRunningNode(folder, 'node-a');
    assert.deepEqual(names(), ['z', 'b']);
  });

  test('are for their user alone, since a token may be in them', () => {
    writeRunningNode(folder, { ...node('a', 3000), token: 'secret' });
    const file = join(folder, 'run', 'node-a.json');
    assert.equal(statSync(file).mode & 0o777, 0o600);
    assert.equal(statSync(join(folder, 'run')).mode & 0o777, 0o700);
    assert.deepEqual(readdirSync(join(folder, 'run')), ['node-a.json']);
    assert.equal(readRunningNodes(folder)[0]?.token, 'secret');
  });

  test('that are gone are skipped', () => {
    const { pid } = spawnSync('true');
    writeRunningNode(folder, node('gone', 3000, pid));
    writeRunningNode(folder, node('here', 3001));
    assert.deepEqual(names(), ['here']);
  });

  test('that others could have written, or that are damaged, are skipped', () => {
    writeRunningNode(folder, node('a', 3000));
    chmodSync(join(folder, 'run', 'node-a.json'), 0o666);
    for (const [i, text] of [
      '{',
      'null',
      '{"node":"x"}',
      JSON.stringify({ ...node('x', 1), api: 'x' }),
    ].entries())
      writeFileSync(join(folder, 'run', `${i}.json`), text, { mode: 0o600 });
    assert.deepEqual(names(), []);
  });
});
