import assert from 'node:assert/strict';
import {
  chmodSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { inspect } from 'node:util';
import { MeshError } from '../../src/base/errors.ts';
import { isNodeId } from '../../src/base/ids.ts';
import {
  createMeshKey,
  deriveSecret,
  findOrCreateMeshKey,
  formatMeshKey,
  joinMesh,
  openMeshKey,
  parseMeshKey,
  readMeshKey,
} from '../../src/links/mesh-key.ts';
import { findOrCreateNodeIdentity } from '../../src/links/node-identity.ts';

function folder(t: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), 'mesh-key-'));
  t.after(() => rmSync(path, { recursive: true }));
  return path;
}

const isBadKey = (advice: RegExp) => (thrown: unknown) => {
  assert.ok(thrown instanceof MeshError);
  assert.equal(thrown.code, 'BAD_KEY');
  assert.match(thrown.message, advice);
  return true;
};

const hex = (key: { secret: { export(): Uint8Array } }) =>
  Buffer.from(key.secret.export()).toString('hex');

describe('a mesh key as text', () => {
  const key = createMeshKey();
  const text = formatMeshKey(key);

  test('is 64 characters, all of them easy to read aloud', () => {
    assert.match(text, /^mesh1-[a-z2-7]{58}$/);
  });

  test('is read back, also in upper case and with line breaks', () => {
    for (const form of [text, text.toUpperCase(), ` ${text.slice(0, 30)}\n  ${text.slice(30)}\n`]) {
      assert.equal(hex(parseMeshKey(form) ?? assert.fail()), hex(key));
    }
  });

  test('of a known key is what it always was', () => {
    const known = parseMeshKey('mesh1-aaaqeayeaudaocajbifqydiob4ibceqtcqkrmfyydenbwha5dyp5vycvm4');
    assert.equal(known && hex(known).slice(0, 16), '0001020304050607');
    assert.equal(known?.id, 'b8046b7355af731f');
    assert.equal(known && deriveSecret(known, 'heartbeat', 4).toString('hex'), '633577a4');
  });

  test('is refused with any one letter wrong, missing or too many', () => {
    for (let at = 6; at < text.length; at++) {
      const other = text[at] === 'a' ? 'b' : 'a';
      assert.equal(parseMeshKey(text.slice(0, at) + other + text.slice(at + 1)), undefined);
      assert.equal(parseMeshKey(text.slice(0, at) + text.slice(at + 1)), undefined);
    }
    assert.equal(parseMeshKey(`${text}a`), undefined);
    assert.equal(parseMeshKey(text.replace('mesh1', 'mesh2')), undefined);
    assert.equal(parseMeshKey(''), undefined);
  });
});

describe('a mesh key in memory', () => {
  const key = createMeshKey();

  test('does not show itself when it is printed', () => {
    const printed = inspect(key, { depth: 9, showHidden: true }) + JSON.stringify(key);
    assert.ok(!printed.includes(hex(key).slice(0, 8)));
    assert.ok(!printed.includes(key.secret.export().toString('base64').slice(0, 8)));
  });

  test('has another secret for each purpose', () => {
    const secrets = (['ca-ed25519-seed', 'heartbeat', 'key-id'] as const).map((purpose) =>
      deriveSecret(key, purpose, 32).toString('hex'),
    );
    assert.equal(new Set([hex(key), ...secrets]).size, 4);
  });

  test('is the same for all who use none', () => {
    assert.equal(hex(openMeshKey()), hex(openMeshKey()));
    assert.ok(openMeshKey().isOpen);
    assert.ok(!key.isOpen);
  });
});

describe('a mesh key on disk', () => {
  test('is created once, for its owner alone, and found afterwards', (t) => {
    const file = join(folder(t), 'config', 'mesh.key');
    const first = findOrCreateMeshKey(file);
    const second = findOrCreateMeshKey(file);
    assert.ok(first.isNew && !second.isNew);
    assert.equal(hex(second.key), hex(first.key));
    assert.equal(statSync(file).mode & 0o777, 0o600);
    assert.equal(statSync(join(file, '..')).mode & 0o777, 0o700);
    assert.deepEqual(readdirSync(join(file, '..')), ['mesh.key']);
  });

  test('is not there when it is not there', (t) => {
    assert.equal(readMeshKey(join(folder(t), 'mesh.key')), undefined);
  });

  for (const mode of [0o640, 0o604, 0o620, 0o602]) {
    test(`is refused with mode ${mode.toString(8)}, with the command that mends it`, (t) => {
      const file = join(folder(t), 'mesh.key');
      findOrCreateMeshKey(file);
      chmodSync(file, mode);
      assert.throws(() => findOrCreateMeshKey(file), isBadKey(/chmod 600 '.*mesh\.key'/));
    });
  }

  test('is refused when it was cut short, and left as it is', (t) => {
    const file = join(folder(t), 'mesh.key');
    const text = formatMeshKey(createMeshKey()).slice(0, 40);
    writeFileSync(file, text, { mode: 0o600 });
    assert.throws(() => findOrCreateMeshKey(file), isBadKey(/mesh join/));
    assert.equal(readFileSync(file, 'utf8'), text);
  });

  test('is refused when the name is that of a folder', (t) => {
    assert.throws(() => readMeshKey(folder(t)), isBadKey(/not a key file/));
  });

  test('of another mesh replaces the own one, which is kept beside it', (t) => {
    const file = join(folder(t), 'mesh.key');
    const { key: before } = findOrCreateMeshKey(file);
    const other = createMeshKey();
    const { keptAt } = joinMesh(file, other);
    assert.equal(keptAt, `${file}.${before.id}`);
    assert.equal(hex(readMeshKey(file) ?? assert.fail()), hex(other));
    assert.equal(hex(readMeshKey(keptAt ?? '') ?? assert.fail()), hex(before));
    assert.deepEqual(joinMesh(file, other), { keptAt: undefined });
  });
});

describe("a node's identity", () => {
  test('is made once for a data folder and survives restarts', (t) => {
    const dataDir = join(folder(t), 'data');
    const first = findOrCreateNodeIdentity(dataDir);
    assert.ok(isNodeId(first.node));
    assert.equal(findOrCreateNodeIdentity(dataDir).node, first.node);
    assert.equal(statSync(join(dataDir, 'node.key')).mode & 0o777, 0o600);
    assert.notEqual(findOrCreateNodeIdentity(join(dataDir, 'other')).node, first.node);
  });

  test('is refused when others may read it or it is damaged', (t) => {
    const dataDir = folder(t);
    findOrCreateNodeIdentity(dataDir);
    const file = join(dataDir, 'node.key');
    chmodSync(file, 0o644);
    assert.throws(() => findOrCreateNodeIdentity(dataDir), isBadKey(/chmod 600/));
    chmodSync(file, 0o600);
    writeFileSync(file, 'damaged');
    assert.throws(() => findOrCreateNodeIdentity(dataDir), isBadKey(/move the whole data folder/));
  });
});
