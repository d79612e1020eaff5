/**
 * The folder an attempt runs in: the one its job names, else an empty one of its own. One that was
 * left as it was given is renamed for a later attempt, because to make and to remove a folder is
 * what costs a file system most; but never while somebody may still be in it.
 */
import { existsSync, lstatSync, readdirSync, renameSync } from 'node:fs';
import { access, chmod, constants, mkdir, readdir, rm, rmdir, stat } from 'node:fs/promises';
import { dirname, isAbsolute, join } from 'node:path';
import { messageOf } from '../base/errors.ts';
import type { AttemptOrder } from '../core/effects.ts';
import { workPath } from './layout.ts';

export type WorkingFolder =
  | { readonly tag: 'ready'; readonly path: string; readonly isOwn: boolean }
  /** `reason` is a sentence for the user. */
  | { readonly tag: 'unusable'; readonly reason: string };

const MODE = 0o700;
const MAX_IDLE = 8;

export class WorkingFolders {
  readonly folder: string;
  private readonly onProblem: (sentence: string) => void;
  private readonly idle: string[] = [];
  private readonly removals = new Set<Promise<void>>();

  constructor(folder: string, onProblem: (sentence: string) => void) {
    this.folder = folder;
    this.onProblem = onProblem;
  }

  /** Rejects only when an own folder cannot be made. @param place where, if not here */
  async prepare(order: AttemptOrder, place = this.folder): Promise<WorkingFolder> {
    const { workingDir } = order.grant.spec;
    if (workingDir !== undefined) return checkNamed(workingDir);
    const path = workPath(place, order);
    if (place !== this.folder || !this.takeIdle(path)) {
      await mkdir(path, { recursive: true, mode: MODE });
    }
    return { tag: 'ready', path, isOwn: true };
  }

  /** Where its own is, or would be. */
  pathOf(order: AttemptOrder): string {
    return workPath(this.folder, order);
  }

  private takeIdle(path: string): boolean {
    const idle = existsSync(path) ? undefined : this.idle.pop();
    if (idle === undefined) return false;
    try {
      renameSync(idle, path);
      return true;
    } catch {
      this.remove(idle);
      return false;
    }
  }

  /** After the end. @param isDeserted nobody who was in it can be there any more */
  release(path: string, isDeserted: boolean): void {
    if (!existsSync(path)) return;
    const hasRoom = this.idle.length < MAX_IDLE && dirname(path) === this.folder;
    if (isDeserted && hasRoom && isAsMade(path)) this.idle.push(path);
    else this.remove(path);
  }

  /** In the background: a job may leave a million files, and its outcome does not wait for that. */
  remove(path: string): void {
    const removal = removeTree(path).then((failure) => {
      if (failure) this.onProblem(failure);
    });
    this.removals.add(removal);
    void removal.then(() => this.removals.delete(removal));
  }

  /** After the last attempt. */
  async close(): Promise<void> {
    for (const path of this.idle.splice(0)) this.remove(path);
    await Promise.all(this.removals);
  }
}

function isAsMade(path: string): boolean {
  try {
    const { mode, uid } = lstatSync(path);
    const isOurs = (mode & 0o7777) === MODE && uid === process.getuid?.();
    return isOurs && readdirSync(path).length === 0;
  } catch {
    return false;
  }
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
