import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { constants, existsSync, mkdtempSync, rmSync } from 'node:fs';
import { open, readdir, readFile, symlink, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { MeshError } from '../../src/base/errors.ts';
import { bytesOf, MIB, newBlobs, newFolder, put, sha256Of } from './blob-folders.ts';

const isCode =
  (code: string) =>
  (thrown: unknown): boolean =>
    thrown instanceof MeshError && thrown.code === code;

const BYTES = bytesOf(3 * MIB + 17);
const SHA256 = sha256Of(BYTES);

describe('a file on its way', () => {
  test('is there when all of it is', async (t) => {
    const blobs = await newBlobs(t);
    const writer = await blobs.write(SHA256, BYTES.length);
    await writer.append(BYTES.subarray(0, MIB));
    assert.equal(await blobs.find(SHA256), undefined);
    await writer.append(BYTES.subarray(MIB));
    await writer.finish();
    assert.equal(await blobs.find(SHA256), BYTES.length);
    const chunk = await blobs.read(SHA256, { offset: 3 * MIB, maxBytes: MIB });
    assert.deepEqual(chunk, { bytes: BYTES.subarray(3 * MIB), totalBytes: BYTES.length });
    assert.deepEqual(await readdir(join(blobs.folder, 'partial')), []);
  });

  test('is gone on with by the next life of the node', async (t) => {
    const folder = newFolder(t);
    const before = await (await newBlobs(t, { folder })).write(SHA256, BYTES.length);
    await before.append(BYTES.subarray(0, MIB));
    // No word of an end: its process was killed.
    const blobs = await newBlobs(t, { folder });
    assert.equal(await blobs.begun(SHA256), MIB);
    const writer = await blobs.write(SHA256, BYTES.length);
    assert.equal(writer.offset, MIB);
    await writer.append(BYTES.subarray(MIB));
    await writer.finish();
    assert.equal(await blobs.find(SHA256), BYTES.length);
    await before.leave();
  });

  test('of other bytes, or more or less of them, is refused and leaves nothing', async (t) => {
    const blobs = await newBlobs(t);
    const wrong = Buffer.from(BYTES);
    wrong[MIB] = (wrong[MIB] ?? 0) ^ 1;
    for (const bytes of [wrong, BYTES.subarray(1), Buffer.concat([BYTES, BYTES.subarray(0, 1)])]) {
      const writer = await blobs.write(SHA256, BYTES.length);
      await assert.rejects(async () => {
        await writer.append(bytes);
        await writer.finish();
      }, isCode('BLOB_MISMATCH'));
      assert.equal(await blobs.begun(SHA256), 0);
      assert.equal(blobs.usedBytes, 0);
    }
  });

  test('has one writer at a time', async (t) => {
    const blobs = await newBlobs(t);
    const writer = await blobs.write(SHA256, BYTES.length);
    await assert.rejects(blobs.write(SHA256, BYTES.length), isCode('BUSY'));
    await writer.leave();
    await (await blobs.write(SHA256, BYTES.length)).leave();
  });

  test('with a name that is no hash gets no path', async (t) => {
    const blobs = await newBlobs(t);
    for (const name of ['../../etc/passwd', '..', 'A'.repeat(64), `${'a'.repeat(63)}/`])
      await assert.rejects(blobs.write(name, 1), /not a SHA-256/);
  });
});

describe('a full disk', () => {
  test('takes nothing of a file and says so, and takes one again when there is room', async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'mesh-small-'));
    const mount = ['-t', 'tmpfs', '-o', 'size=2m', 'tmpfs', folder];
    const isMounted = spawnSync('mount', mount).status === 0;
    t.after(() => {
      if (isMounted) spawnSync('umount', ['-l', folder]);
      rmSync(folder, { recursive: true });
    });
    if (!isMounted) return t.skip('only root can mount a small disk');
    const blobs = await newBlobs(t, { folder });
    const writer = await blobs.write(SHA256, BYTES.length);
    await assert.rejects(writer.append(BYTES), isCode('DISK_FULL'));
    assert.deepEqual(await readdir(join(folder, 'partial')), []);
    assert.equal(blobs.usedBytes, 0);

    const source = await open(join(newFolder(t), 'result'), 'w+');
    await source.write(BYTES);
    await assert.rejects(blobs.keep(source), isCode('DISK_FULL'));
    await source.close();
    assert.deepEqual(await readdir(join(folder, 'partial')), []);

    const small = await put(blobs, BYTES.subarray(0, MIB));
    assert.equal(await blobs.find(small), MIB);
  });
});

describe('what a job has left', () => {
  test('is kept under the hash of what was read', async (t) => {
    const blobs = await newBlobs(t);
    const path = join(blobs.folder, 'result');
    await writeFile(path, BYTES);
    const source = await open(path, constants.O_RDONLY);
    assert.deepEqual(await blobs.keep(source), { sha256: SHA256, bytes: BYTES.length });
    // The same again takes no more room.
    assert.deepEqual(await blobs.keep(source), { sha256: SHA256, bytes: BYTES.length });
    await source.close();
    assert.equal(blobs.usedBytes, BYTES.length);
  });

  test('is copied for the next job, which may write to its copy', async (t) => {
    const blobs = await newBlobs(t);
    await put(blobs, BYTES);
    const path = join(blobs.folder, 'input');
    await blobs.place(SHA256, path, 0o600);
    await writeFile(path, 'other');
    const kept = await blobs.read(SHA256, { offset: 0, maxBytes: 5 });
    assert.deepEqual(kept?.bytes, BYTES.subarray(0, 5));
  });

  test('is looked at before a job gets it, if it was written to or by an earlier life', async (t) => {
    const folder = newFolder(t);
    const first = await newBlobs(t, { folder });
    await put(first, BYTES);
    const kept = join(folder, SHA256.slice(0, 2), SHA256);
    const damage = async (): Promise<void> => {
      const file = await open(kept, 'r+');
      await file.write('damage', MIB);
      await file.close();
    };
    const path = join(newFolder(t), 'input');
    const refuses = async (blobs: typeof first): Promise<void> => {
      await assert.rejects(blobs.place(SHA256, path, 0o600), isCode('BLOB_MISMATCH'));
      assert(!existsSync(path), 'no job gets it');
      assert.equal(await blobs.find(SHA256), undefined);
      assert.equal(blobs.usedBytes, 0);
    };
    await damage();
    await refuses(first);

    await put(first, BYTES);
    const second = await newBlobs(t, { folder });
    await damage();
    await refuses(second);

    await put(second, BYTES);
    const third = await newBlobs(t, { folder });
    await third.place(SHA256, path, 0o600);
    assert((await readFile(path)).equals(BYTES));
  });

  test('is not written through a link that lies in its way', async (t) => {
    const blobs = await newBlobs(t);
    await put(blobs, BYTES);
    const [victim, path] = [join(blobs.folder, 'victim'), join(blobs.folder, 'link')];
    await writeFile(victim, 'mine');
    await symlink(victim, path);
    await assert.rejects(blobs.place(SHA256, path, 0o600), MeshError);
    assert.equal(await readFile(victim, 'utf8'), 'mine');
  });
});

describe('the limit', () => {
  const old = new Date('2026-01-01');
  const later = new Date('2026-01-02');

  async function twoOld(t: Parameters<typeof newBlobs>[0], named: ReadonlySet<string>) {
    const blobs = await newBlobs(t, { limitBytes: 5 * MIB, namedByJobs: async () => named });
    const hashes = [await put(blobs, bytesOf(2 * MIB, 2)), await put(blobs, bytesOf(2 * MIB, 3))];
    for (const [at, sha256] of hashes.entries()) {
      const usedAt = at === 0 ? old : later;
      await utimes(join(blobs.folder, sha256.slice(0, 2), sha256), usedAt, usedAt);
    }
    return { blobs, first: hashes[0] ?? '', second: hashes[1] ?? '' };
  }

  test('is held by deleting what was not used for the longest time', async (t) => {
    const { blobs, first, second } = await twoOld(t, new Set());
    await put(blobs, BYTES.subarray(0, 2 * MIB));
    assert.equal(await blobs.find(first), undefined);
    assert.equal(await blobs.find(second), 2 * MIB);
    assert.equal(blobs.usedBytes, 4 * MIB);
  });

  test('spares what jobs name', async (t) => {
    const named = new Set([sha256Of(bytesOf(2 * MIB, 2))]);
    const { blobs, first, second } = await twoOld(t, named);
    await put(blobs, BYTES.subarray(0, 2 * MIB));
    assert.equal(await blobs.find(first), 2 * MIB);
    assert.equal(await blobs.find(second), undefined);
  });

  test('refuses what does not fit beside that, by name', async (t) => {
    const named = new Set([2, 3].map((seed) => sha256Of(bytesOf(2 * MIB, seed))));
    const { blobs, first, second } = await twoOld(t, named);
    await assert.rejects(blobs.write(SHA256, BYTES.length), isCode('STORAGE_FULL'));
    assert.equal(await blobs.find(first), 2 * MIB);
    assert.equal(await blobs.find(second), 2 * MIB);
  });

  test('counts what is on its way', async (t) => {
    const blobs = await newBlobs(t, { limitBytes: 5 * MIB });
    const writer = await blobs.write(SHA256, BYTES.length);
    const other = sha256Of(bytesOf(3 * MIB, 9));
    await assert.rejects(blobs.write(other, 3 * MIB), isCode('STORAGE_FULL'));
    await writer.leave();
    await (await blobs.write(other, 3 * MIB)).leave();
  });

  test('is counted again by the next life of the node', async (t) => {
    const blobs = await newBlobs(t);
    await put(blobs, BYTES);
    assert.equal((await newBlobs(t, { folder: blobs.folder })).usedBytes, BYTES.length);
  });

  test('after the retention time deletes what no job names', async (t) => {
    const { blobs, first, second } = await twoOld(t, new Set([sha256Of(bytesOf(2 * MIB, 2))]));
    const fresh = await put(blobs, BYTES.subarray(0, 100));
    assert.equal(await blobs.expire(24 * 3_600_000), 1);
    assert.equal(await blobs.find(first), 2 * MIB);
    assert.equal(await blobs.find(second), undefined);
    assert.equal(await blobs.find(fresh), 100);
  });
});
