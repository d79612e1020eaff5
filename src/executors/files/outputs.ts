/**
 * The files that an attempt leaves and its job asked to keep, found by their patterns when nothing
 * of the attempt is alive. A link is never followed, neither as a file nor on the way to one: what
 * is kept lies below the working folder, or a job could have its node read files for it that the
 * job itself may not read.
 */
import { constants } from 'node:fs';
import { type FileHandle, glob, lstat, open, readdir, realpath } from 'node:fs/promises';
import { dirname, join, normalize, relative } from 'node:path';
import { messageOf } from '../../base/errors.ts';
import { compareText } from '../../base/ids.ts';
import { type KeptFile, MAX_FILES, type Receipt } from '../../core/job.ts';
import type { Files } from './files.ts';

/** Beyond, the others are not even counted. */
const MAX_FOUND = 10_000;
const MAX_NAMED = 5;
/** Small files wait for the disk and not for the processor. */
const AT_ONCE = 8;
const MAX_PATH_BYTES = 4096;
const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = constants;

export interface OutputPlace {
  readonly folder: string;
  readonly files: Files;
  /** What is not kept by then is not kept at all. */
  readonly signal: AbortSignal;
}

/** Never rejects: how an attempt ended is known without its files. */
export async function keepOutputs(
  patterns: readonly string[],
  place: OutputPlace,
): Promise<Receipt> {
  const remarks: string[] = [];
  try {
    const root = await realpath(place.folder);
    const found = await findFiles(patterns, { ...place, folder: root }, remarks);
    const kept = await keepAll(found, { ...place, folder: root }, remarks);
    return receiptOf(kept, remarks);
  } catch (thrown) {
    return receiptOf([], [`the working folder cannot be read (${messageOf(thrown)})`]);
  }
}

const receiptOf = (files: readonly KeptFile[], remarks: readonly string[]): Receipt => ({
  ...(files.length > 0 && { files }),
  ...(remarks.length > 0 && { filesNote: `Not all files were kept: ${remarks.join('; ')}.` }),
});

/** Sorted, each once; a folder stands for the files in it. */
async function findFiles(
  patterns: readonly string[],
  { folder, signal }: OutputPlace,
  remarks: string[],
): Promise<string[]> {
  const found = new Set<string>();
  for (const pattern of patterns) {
    const before = found.size;
    let isAny = false;
    for await (const match of glob(pattern, { cwd: folder })) {
      isAny = true;
      if (signal.aborted || found.size >= MAX_FOUND) break;
      for await (const path of filesAt(folder, normalize(match))) {
        if (found.size >= MAX_FOUND) break;
        found.add(path);
      }
    }
    if (!isAny) remarks.push(`nothing is called ${pattern}`);
    else if (found.size === before && before < MAX_FOUND)
      remarks.push(`${pattern} names no plain files that are not named before`);
  }
  return [...found].sort(compareText);
}

/** Links, sockets and the like are no files. */
async function* filesAt(folder: string, path: string): AsyncGenerator<string> {
  const there = await lstat(join(folder, path)).catch(() => undefined);
  if (there?.isFile()) yield path;
  if (!there?.isDirectory() || !(await isBelow(folder, path))) return;
  const entries = await readdir(join(folder, path), { withFileTypes: true, recursive: true });
  for (const entry of entries)
    if (entry.isFile()) yield relative(folder, join(entry.parentPath, entry.name));
}

/** No part of the path is a link. @param folder without links itself */
const isBelow = async (folder: string, path: string): Promise<boolean> =>
  (await realpath(join(folder, path)).catch(() => '')) === join(folder, path);

async function keepAll(
  found: readonly string[],
  place: OutputPlace,
  remarks: string[],
): Promise<KeptFile[]> {
  const kept: KeptFile[] = [];
  const refused: string[] = [];
  const wanted = found.slice(0, MAX_FILES);
  for (let at = 0; at < wanted.length; at += AT_ONCE) {
    if (place.signal.aborted) {
      remarks.push('the attempt was ended while its files were being kept');
      break;
    }
    const paths = wanted.slice(at, at + AT_ONCE);
    const results = await Promise.allSettled(paths.map((path) => keepOne(path, place)));
    for (const [i, result] of results.entries()) {
      if (result.status === 'fulfilled') kept.push(result.value);
      else refused.push(`${paths[i]} (${messageOf(result.reason).replace(/\.$/, '')})`);
    }
  }
  if (refused.length > 0) remarks.push(listed(refused));
  const rest = found.slice(MAX_FILES);
  if (rest.length > 0) {
    const count = found.length >= MAX_FOUND ? `${rest.length} or more` : rest.length;
    remarks.push(`${count} are over the limit of ${MAX_FILES}: ${listed(rest)}`);
  }
  return kept;
}

async function keepOne(path: string, { folder, files }: OutputPlace): Promise<KeptFile> {
  if (Buffer.byteLength(path) > MAX_PATH_BYTES) throw new Error('its path is too long');
  if (!(await isBelow(folder, dirname(path)))) throw new Error('it is behind a link');
  // A pipe that was put in its place would be waited for, a link followed.
  const file = await open(join(folder, path), O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  try {
    return { path, ...(await keepOpened(file, files)) };
  } finally {
    await file.close();
  }
}

async function keepOpened(file: FileHandle, files: Files): Promise<Omit<KeptFile, 'path'>> {
  if (!(await file.stat()).isFile()) throw new Error('it is no plain file');
  return files.keep(file);
}

const listed = (names: readonly string[]): string => {
  const more = names.length - MAX_NAMED;
  const shown = names.slice(0, MAX_NAMED).map((name) => name.slice(0, 300));
  return [...shown, ...(more > 0 ? [`and ${more} more`] : [])].join(', ');
};
