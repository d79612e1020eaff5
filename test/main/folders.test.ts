import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { makeFolder } from '../../src/main/folders.ts';

const root = mkdtempSync(join(tmpdir(), 'mesh-folders-'));
after(() => rmSync(root, { recursive: true, force: true }));

const refused = (why: RegExp): Record<string, unknown> => ({ code: 'DATA_FAILED', message: why });

describe('folders of a node', () => {
  test('are made with all above them, for their user alone', () => {
    const folder = join(root, 'a', 'b', 'c');
    makeFolder(folder, '--data-dir');
    makeFolder(folder, '--data-dir');
    for (const one of [folder, join(root, 'a')]) assert.equal(statSync(one).mode & 0o777, 0o700);
  });

  test('that are files, or lie below one, are refused with the setting', () => {
    const file = join(root, 'file');
    writeFileSync(file, '');
    assert.throws(() => makeFolder(file, '--data-dir'), refused(/it is a file.*--data-dir\.$/));
    assert.throws(() => makeFolder(join(file, 'x'), '--config-dir'), refused(/--config-dir\.$/));
  });

  test('that the system will not make are refused, and not tried for ever', (t) => {
    if (!existsSync('/proc/self')) return t.skip('no /proc here');
    assert.throws(() => makeFolder('/proc/mesh/data', '--data-dir'), refused(/ENOENT.*--data-dir/));
  });
});
