import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { MeshError } from '../../src/base/errors.ts';
import { bytesOf, MIB, newFolder, put, sha256Of } from '../blobs/blob-folders.ts';
import { FileMesh as Mesh, type FileNode as Node } from './file-mesh.ts';

const BYTES = bytesOf(5 * MIB + 11);
const SHA256 = sha256Of(BYTES);

const isCode =
  (code: string) =>
  (thrown: unknown): boolean =>
    thrown instanceof MeshError && thrown.code === code;

async function readAll({ files }: Node): Promise<Buffer> {
  const file = await files.open({ sha256: SHA256 });
  const pieces: Uint8Array[] = [];
  for (let at = 0; at < file.totalBytes; at += pieces.at(-1)?.length ?? 0)
    pieces.push(await file.read(at, 100_000));
  file.close();
  return Buffer.concat(pieces);
}

const damage = ({ blobs }: Node): Promise<void> =>
  writeFile(join(blobs.folder, SHA256.slice(0, 2), SHA256), bytesOf(BYTES.length, 7));

describe('a file of another node', () => {
  test('is asked of whoever should have it, and of nobody else', async (t) => {
    const mesh = new Mesh();
    const { one, two, three } = await mesh.three(t);
    await put(two.blobs, BYTES);
    await put(three.blobs, BYTES);
    await one.files.ensure({ sha256: SHA256, hints: [three.id] });
    assert.equal(await one.blobs.find(SHA256), BYTES.length);
    assert(mesh.asked.every(({ to }) => to === three.id));
  });

  test('is read as it comes, by several at once, and fetched once', async (t) => {
    const mesh = new Mesh();
    const { one, two } = await mesh.three(t);
    await put(two.blobs, BYTES);
    const [a, b] = await Promise.all([readAll(one), readAll(one)]);
    assert(a.equals(BYTES) && b.equals(BYTES));
    const starts = mesh.asked.filter(
      ({ call }) => call.kind === 'readBlob' && call.offset === 0 && call.maxBytes > 0,
    );
    assert.equal(starts.length, 1);
    assert.equal(await one.blobs.find(SHA256), BYTES.length);
  });

  test('goes on at another node when its link is cut', async (t) => {
    const mesh = new Mesh();
    const { one, two, three } = await mesh.three(t);
    await put(two.blobs, BYTES);
    await put(three.blobs, BYTES);
    mesh.onCall = (to, call) => {
      if (to === two.id && call.kind === 'readBlob' && call.offset > 2 * MIB) mesh.away.add(two.id);
      if (mesh.away.has(to)) throw new MeshError('NODE_UNREACHABLE', 'cut');
    };
    await one.files.ensure({ sha256: SHA256, hints: [two.id] });
    const again = mesh.asked.filter(
      ({ to, call }) => to === three.id && call.kind === 'readBlob' && call.maxBytes > 0,
    );
    const first = again.map(({ call }) => (call.kind === 'readBlob' ? call.offset : 0));
    assert(Math.min(...first) > MIB, 'what had come was not asked for again');
    assert(mesh.away.has(two.id));
  });

  test('goes on when the only node that has it is back', async (t) => {
    const mesh = new Mesh();
    const { one, two } = await mesh.three(t);
    await put(two.blobs, BYTES);
    let isBack = false;
    mesh.onCall = (_to, call) => {
      if (isBack || call.kind !== 'readBlob' || call.offset < MIB) return;
      mesh.away.add(two.id);
      // It is looked for again and again meanwhile.
      setImmediate(() => {
        isBack = true;
        mesh.away.delete(two.id);
      });
      throw new MeshError('NODE_UNREACHABLE', 'cut');
    };
    assert((await readAll(one)).equals(BYTES));
    assert(isBack);
  });

  test('of one that comes back while the others are asked is not missed', async (t) => {
    const mesh = new Mesh();
    const { one, two, three } = await mesh.three(t);
    await put(two.blobs, BYTES);
    mesh.away.add(two.id);
    mesh.onCall = (to) => {
      if (to === three.id) mesh.away.delete(two.id);
    };
    assert((await readAll(one)).equals(BYTES));
  });

  test('that is damaged there is fetched anew elsewhere', async (t) => {
    const mesh = new Mesh();
    const { one, two, three } = await mesh.three(t);
    for (const { blobs } of [two, three]) await put(blobs, BYTES);
    await damage(two);
    await one.files.ensure({ sha256: SHA256, hints: [two.id] });
    assert((await readAll(one)).equals(BYTES));
  });

  test('of which a reader had damaged bytes is not read to an end', async (t) => {
    const mesh = new Mesh();
    const { one, two, three } = await mesh.three(t);
    for (const { blobs } of [two, three]) await put(blobs, BYTES);
    await damage(two);
    const file = await one.files.open({ sha256: SHA256, hints: [two.id] });
    await file.read(0, 1000);
    await assert.rejects(file.read(BYTES.length - 1, 1), isCode('BLOB_MISMATCH'));
    file.close();
    assert((await readAll(one)).equals(BYTES));
  });

  test('that is shorter here than its job says is fetched anew', async (t) => {
    const mesh = new Mesh();
    const { one, two } = await mesh.three(t);
    for (const { blobs } of [one, two]) await put(blobs, BYTES);
    await writeFile(join(one.blobs.folder, SHA256.slice(0, 2), SHA256), 'short');
    await one.files.ensure({ sha256: SHA256, bytes: BYTES.length });
    assert((await readAll(one)).equals(BYTES));
  });

  test('that nobody has is not found, at once', async (t) => {
    const { one } = await new Mesh().three(t);
    await assert.rejects(one.files.open({ sha256: SHA256 }), isCode('BLOB_NOT_FOUND'));
  });

  test('that everybody wants to stop waiting for is left as it is', async (t) => {
    const mesh = new Mesh();
    const { one, two } = await mesh.three(t);
    mesh.away.add(two.id);
    const stop = new AbortController();
    const waiting = one.files.ensure({ sha256: SHA256, signal: stop.signal });
    stop.abort(new Error('enough'));
    await assert.rejects(waiting, /enough/);
  });

  test('is kept twice when it is asked to', async (t) => {
    const mesh = new Mesh();
    const { one, two } = await mesh.three(t);
    await put(one.blobs, BYTES);
    const answer = await two.files.answer(one.id, { kind: 'keepBlob', sha256: SHA256 });
    assert.deepEqual(answer, {
      kind: 'blob',
      chunk: { bytes: Buffer.alloc(0), totalBytes: BYTES.length },
    });
    assert.equal(await two.blobs.find(SHA256), BYTES.length);
  });

  test('that is damaged here is fetched anew before a job gets it', async (t) => {
    const mesh = new Mesh();
    const { one, two } = await mesh.three(t);
    for (const { blobs } of [one, two]) await put(blobs, BYTES);
    await damage(one);
    const path = join(newFolder(t), 'input');
    const wanted = { sha256: SHA256, bytes: BYTES.length, path, mode: 0o640 };
    await one.files.place(wanted);
    assert((await readFile(path)).equals(BYTES));
    assert.equal((await stat(path)).mode & 0o777, 0o640);
    mesh.away.add(two.id);
    await damage(one);
    const other = { ...wanted, path: `${path}2`, signal: AbortSignal.timeout(500) };
    await assert.rejects(one.files.place(other));
    assert(!existsSync(`${path}2`), 'no job gets it');
  });
});
