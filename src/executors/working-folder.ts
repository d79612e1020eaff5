/** The folder an attempt runs in: the one its job names, else an empty one of its own. */
import { access, chmod, constants, mkdir, readdir, rm, rmdir, stat } from 'node:fs/promises';
import { isAbsolute, join } from 'node:path';
import { messageOf } from '../base/errors.ts';
import type { AttemptOrder } from '../core/effects.ts';
import { workPath } from './layout.ts';

export type WorkingFolder =
  | { readonly tag: 'ready'; readonly path: string; readonly isOwn: boolean }
  /** `reason` is a sentence for the user. */
  | { readonly tag: 'unusable'; readonly reason: string };

/** Rejects only when an own folder cannot be made. */
export async function prepareWorkingFolder(
  order: AttemptOrder,
  workFolder: string,
): Promise<WorkingFolder> {
  const { workingDir } = order.grant.spec;
  if (workingDir !== undefined) return checkNamed(workingDir);
  const path = workPath(workFolder, order);
  await mkdir(path, { recursive: true, mode: 0o700 });
  return { tag: 'ready', path, isOwn: true };
}

async function checkNamed(path: string): Promise<WorkingFolder> {
  const unusable = (why: string): WorkingFolder => ({
    tag: 'unusable',
    reason: `The working folder ${path} cannot be used on this node: ${why}.`,
  });
  if (!isAbsolute(path) || path.includes('\0')) return unusable('it must be an absolute path');
  try {
    if (!(await stat(path)).isDirectory()) return unusable('it is not a folder');
    await access(path, constants.X_OK);
    return { tag: 'ready', path, isOwn: false };
  } catch (thrown) {
    const { code } = thrown as { code?: string };
    if (code === 'ENOENT' || code === 'ENOTDIR') return unusable('it does not exist');
    if (code === 'EACCES') return unusable("the node's user may not enter it");
    return unusable(messageOf(thrown));
  }
}

/** Says, as a sentence, what could not be removed. A job may have locked itself out of its folders. */
export async function removeTree(path: string): Promise<string | undefined> {
  const options = { recursive: true, force: true } as const;
  try {
    // Most jobs leave nothing in it, and this is one call instead of four. Never at once, nor the
    // making: ext4 was seen to wait 2 ms for its journal, and makes others in the folder wait, too.
    await rmdir(path)
      .catch(() => rm(path, options))
      .catch(async () => {
        await unlock(path);
        await rm(path, options);
      });
    return undefined;
  } catch (thrown) {
    return `The working folder ${path} cannot be removed (${messageOf(thrown)}); remove it by hand.`;
  }
}

async function unlock(folder: string): Promise<void> {
  await chmod(folder, 0o700);
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    if (entry.isDirectory()) await unlock(join(folder, entry.name));
  }
}
