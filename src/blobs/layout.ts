/** Names on the disk. Hashes come from other nodes: only those that are one get near it. */
import { join } from 'node:path';
import { isSha256 } from '../base/ids.ts';

export const partialFolder = (folder: string): string => join(folder, 'partial');

/** By the first byte: a folder of a million names is slow to list. */
export const shardOf = (folder: string, sha256: string): string =>
  join(folder, checked(sha256).slice(0, 2));

export const blobPath = (folder: string, sha256: string): string =>
  join(shardOf(folder, sha256), sha256);

export const partialPath = (folder: string, sha256: string): string =>
  join(partialFolder(folder), checked(sha256));

function checked(sha256: string): string {
  if (!isSha256(sha256)) throw new Error('not a SHA-256');
  return sha256;
}
