/**
 * Where jobs of other users have their own working folders and tell their progress: a node's data
 * folder is closed to everybody, so a path in it could not be opened again by them. One folder in
 * the system's temporary folder, that everybody may go through and nobody but root may list.
 */
import { lstat, mkdir, readdir, rmdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ProgressFiles } from '../progress-files.ts';

const PASSABLE = 0o711;
const PROGRESS = 'progress';

export class SharedPlace {
  readonly path: string;
  readonly work: string;
  readonly progress: ProgressFiles;
  private making: Promise<void> | undefined;

  /** @param name this node's alone */
  constructor(name: string, onProblem: (sentence: string) => void) {
    this.path = join(tmpdir(), name);
    this.work = join(this.path, 'work');
    this.progress = new ProgressFiles(join(this.path, PROGRESS), onProblem);
  }

  /** Made when it is needed for the first time. @throws Error when it is somebody else's */
  async ready(): Promise<this> {
    this.making ??= this.make();
    try {
      await this.making;
      return this;
    } catch (thrown) {
      this.making = undefined;
      throw thrown;
    }
  }

  private async make(): Promise<void> {
    await mkdir(this.path, { mode: PASSABLE }).catch((thrown: unknown) => {
      if ((thrown as { code?: string }).code !== 'EEXIST') throw thrown;
    });
    const found = await lstat(this.path);
    if (!found.isDirectory() || found.uid !== process.getuid?.() || (found.mode & 0o22) !== 0) {
      throw new Error(`${this.path} is somebody else's: remove it`);
    }
    await mkdir(this.work, { mode: PASSABLE, recursive: true });
    await this.progress.start();
  }

  /** Paths of the working folders that are there. */
  async folders(): Promise<string[]> {
    const names = await readdir(this.work).catch(() => []);
    return names.map((name) => join(this.work, name));
  }

  /** What is still used stays. */
  async close(): Promise<void> {
    this.progress.stop();
    if (!this.making) return;
    for (const folder of [this.work, join(this.path, PROGRESS), this.path]) {
      await rmdir(folder).catch(() => {});
    }
  }
}
