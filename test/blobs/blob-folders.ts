/** Stores of files in folders of a test's own. */
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { type BlobOptions, KeptBlobs } from '../../src/blobs/blobs.ts';

export const MIB = 1024 * 1024;

export function newFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'mesh-blobs-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

export async function newBlobs(
  t: TestContext,
  options: Partial<BlobOptions> = {},
): Promise<KeptBlobs & { readonly folder: string }> {
  const folder = options.folder ?? newFolder(t);
  const blobs = new KeptBlobs({
    folder,
    limitBytes: 1024 * MIB,
    now: () => Date.now(),
    namedByJobs: async () => new Set(),
    ...options,
  });
  await blobs.start();
  return Object.assign(blobs, { folder });
}

export const sha256Of = (bytes: Uint8Array): string =>
  createHash('sha256').update(bytes).digest('hex');

/** The same for the same number, and without a pattern that would hide a wrong offset. */
export function bytesOf(length: number, seed = 1): Buffer {
  const bytes = Buffer.alloc(length);
  let state = seed * 0x9e3779b1;
  for (let at = 0; at + 4 <= length; at += 4) {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    bytes.writeInt32LE(state ^ (state >>> 15), at);
  }
  return bytes;
}

/** As if it had been uploaded. */
export async function put(blobs: KeptBlobs, bytes: Uint8Array): Promise<string> {
  const sha256 = sha256Of(bytes);
  const writer = await blobs.write(sha256, bytes.length);
  await writer.append(bytes);
  await writer.finish();
  return sha256;
}
