/**
 * Progress by a line in a file: `echo "40 half way" >>"$MESH_PROGRESS"`, from any language, with
 * nothing to install. The last whole line counts, so a program may write the file anew each time
 * (`>`) or append to it. All files are in one folder that the system watches for the node: a job
 * that tells nothing costs no timer, no descriptor and no file.
 */
import { existsSync, type FSWatcher, watch } from 'node:fs';
import { chown, mkdir, open, readdir, rm, truncate } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { messageOf } from '../base/errors.ts';
import type { Progress } from '../core/job.ts';
import type { AttemptRef } from '../core/messages.ts';
import { fenceText } from '../core/record.ts';

const TAIL_BYTES = 4096;
/** Whoever appends for hours does not fill the disk with it. */
const MAX_FILE_BYTES = 64 * 1024;
const LINE = /^\s*(\d{1,3}(?:\.\d*)?)\s*%?(?:\s+(.*?))?\s*$/;

export interface ProgressFile {
  readonly path: string;
  /** At what is in it now. */
  look(): void;
  /** For one who may not make it: it is there then. @param owner other than the node's user */
  make(owner: { readonly uid: number; readonly gid: number } | undefined): Promise<void>;
  /** After a last look. */
  close(): Promise<void>;
}

export class ProgressFiles {
  private readonly folder: string;
  private readonly onProblem: (sentence: string) => void;
  private readonly files = new Map<string, WatchedFile>();
  private watcher: FSWatcher | undefined;

  constructor(folder: string, onProblem: (sentence: string) => void) {
    this.folder = folder;
    this.onProblem = onProblem;
  }

  /** @throws what the file system says */
  async start(): Promise<void> {
    await mkdir(this.folder, { recursive: true, mode: 0o711 });
    try {
      this.watcher = watch(this.folder, { persistent: false }, (_, name) => this.onChange(name));
      this.watcher.on('error', (failure) => this.onFailure(failure));
    } catch (failure) {
      this.onFailure(failure);
    }
  }

  /** Nobody reads those of other attempts any more. */
  async clean(inUse: readonly AttemptRef[]): Promise<void> {
    const names = new Set(inUse.map(nameOf));
    for (const name of await readdir(this.folder)) {
      if (!names.has(name)) await rm(join(this.folder, name), { force: true });
    }
  }

  open(attempt: AttemptRef, tell: (progress: Progress) => void): ProgressFile {
    const name = nameOf(attempt);
    const file = new WatchedFile(join(this.folder, name), tell, () => this.files.delete(name));
    this.files.set(name, file);
    return file;
  }

  stop(): void {
    this.watcher?.close();
    this.watcher = undefined;
  }

  private onChange(name: string | null): void {
    if (name !== null) this.files.get(basename(name))?.look();
  }

  /** What jobs tell is seen at their end then. */
  private onFailure(failure: unknown): void {
    this.onProblem(
      `The progress of jobs is not seen while they run: their folder ${this.folder} cannot be watched (${messageOf(failure)}). Raise the system's limit of watches (fs.inotify).`,
    );
  }
}

const nameOf = ({ job, fence }: AttemptRef): string => `${job}.${fenceText(fence)}`;

class WatchedFile implements ProgressFile {
  readonly path: string;
  private readonly tell: (progress: Progress) => void;
  private readonly onClosed: () => void;
  private told = '';
  private looking: Promise<void> | undefined;
  private isChanged = false;

  constructor(path: string, tell: (progress: Progress) => void, onClosed: () => void) {
    this.path = path;
    this.tell = tell;
    this.onClosed = onClosed;
  }

  async make(owner: { readonly uid: number; readonly gid: number } | undefined): Promise<void> {
    await (await open(this.path, 'a', 0o600)).close();
    if (owner) await chown(this.path, owner.uid, owner.gid);
  }

  /** However often it changes, it is read once at a time. */
  look(): void {
    this.isChanged = true;
    this.looking ??= this.lookWhileChanged().finally(() => {
      this.looking = undefined;
    });
  }

  async close(): Promise<void> {
    this.onClosed();
    await this.looking;
    // At once, as most have none: an answer that is given a hundred times faster than in turn.
    if (!existsSync(this.path)) return;
    this.look();
    await this.looking;
    await rm(this.path, { force: true }).catch(() => {});
  }

  private async lookWhileChanged(): Promise<void> {
    while (this.isChanged) {
      this.isChanged = false;
      const line = await lastLine(this.path).catch(() => undefined);
      if (line === undefined || line === this.told) continue;
      this.told = line;
      const match = LINE.exec(line);
      if (match) this.tell({ percent: Number(match[1]), message: match[2] ?? '' });
    }
  }
}

/** Undefined: there is no whole line in it. */
async function lastLine(path: string): Promise<string | undefined> {
  const file = await open(path, 'r');
  try {
    const { size } = await file.stat();
    const start = Math.max(0, size - TAIL_BYTES);
    const { bytesRead, buffer } = await file.read({ length: TAIL_BYTES, position: start });
    const lines = buffer.toString('utf8', 0, bytesRead).split('\n');
    if (size > MAX_FILE_BYTES) await truncate(path);
    return lines.at(-2);
  } finally {
    await file.close();
  }
}
