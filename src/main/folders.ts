/**
 * The folders a node needs, before any part of it looks for its own file there: so what is wrong
 * with one is said of the setting that names it.
 *
 * Made one by one: where the system answers ENOENT below a folder that exists (/proc, a home that
 * an automounter does not know), mkdir with `recursive` tries for ever.
 */
import { accessSync, constants, existsSync, mkdirSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { MeshError, messageOf } from '../base/errors.ts';

/**
 * @param flag names the setting, `--data-dir`
 * @throws MeshError DATA_FAILED
 */
export function makeFolder(folder: string, flag: string): void {
  try {
    for (const one of [...ancestorsOf(folder), folder]) makeOne(one);
    if (!statSync(folder).isDirectory()) throw new Error('it is a file');
    accessSync(folder, constants.R_OK | constants.W_OK | constants.X_OK);
  } catch (cause) {
    const sentence = `The folder ${folder} cannot be used (${messageOf(cause)}). Make it one that this user may write to, or name another with ${flag}.`;
    throw new MeshError('DATA_FAILED', sentence, { cause });
  }
}

/** From the root down. */
function ancestorsOf(folder: string): string[] {
  const parent = dirname(folder);
  return parent === folder ? [] : [...ancestorsOf(parent), parent];
}

/** Secrets lie in these folders: what is made here belongs to its user alone. */
function makeOne(folder: string): void {
  if (existsSync(folder)) return;
  try {
    mkdirSync(folder, { mode: 0o700 });
  } catch (failure) {
    // Another node of this user was faster.
    if ((failure as NodeJS.ErrnoException).code !== 'EEXIST') throw failure;
  }
}
