import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { pathWithLauncher } from '../../src/main/launcher-path.ts';

test('the folder of the launcher is the last of the PATH, once, and only if there is one', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'mesh-launcher-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const program = join(folder, 'mesh.mjs');
  assert.equal(pathWithLauncher('/bin', program), '/bin');
  writeFileSync(join(folder, 'mesh'), '');
  assert.equal(pathWithLauncher('/bin:/usr/bin', program), `/bin:/usr/bin:${folder}`);
  assert.equal(pathWithLauncher(`/bin:${folder}:/usr/bin`, program), `/bin:${folder}:/usr/bin`);
  assert.equal(pathWithLauncher(undefined, program), undefined);
  assert.equal(pathWithLauncher('/bin', undefined), '/bin');
  // Somebody's own program, that has a node in it.
  assert.equal(pathWithLauncher('/bin', join(folder, 'server.js')), '/bin');
});
