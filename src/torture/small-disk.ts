/** A disk that can be full: a small file system in memory, mounted for one node's data. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync } from 'node:fs';
import { open, rm } from 'node:fs/promises';
import { join } from 'node:path';

/** Enough for an hour's jobs; the rest is ballast in a moment. */
const SIZE = '64m';

export class SmallDisk {
  readonly folder: string;
  private readonly ballast: string;

  constructor(folder: string) {
    this.folder = folder;
    this.ballast = join(folder, 'ballast');
    mkdirSync(folder, { recursive: true });
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${SIZE}`, 'tmpfs', folder]);
  }

  /** To the last byte. */
  async fill(): Promise<void> {
    const file = await open(this.ballast, 'w');
    try {
      for (let bytes = 1024 * 1024; bytes >= 1; bytes = Math.floor(bytes / 16)) {
        while (await isWritten(file.write(Buffer.alloc(bytes))));
      }
    } finally {
      await file.close();
    }
  }

  async empty(): Promise<void> {
    await rm(this.ballast, { force: true });
  }

  remove(): void {
    unmount(this.folder);
  }
}

/** Why there can be none here; undefined: there can. */
export const whyNoSmallDisk = (): string | undefined =>
  process.platform === 'linux' && process.getuid?.() === 0
    ? undefined
    : 'only root on Linux can mount a small disk';

/** Unmounts what a crashed run has left below this folder. */
export function removeStaleDisks(folder: string): void {
  const mounts = readFileSync('/proc/self/mounts', 'utf8').split('\n');
  for (const line of mounts) {
    const [, path = ''] = line.split(' ');
    if (path.startsWith(`${folder}/`)) unmount(path);
  }
}

/** Lazily: a process that is being killed may still stand in it. */
function unmount(folder: string): void {
  execFileSync('umount', ['-l', folder]);
}

async function isWritten(writing: Promise<unknown>): Promise<boolean> {
  try {
    await writing;
    return true;
  } catch (failure) {
    if ((failure as NodeJS.ErrnoException).code === 'ENOSPC') return false;
    throw failure;
  }
}
