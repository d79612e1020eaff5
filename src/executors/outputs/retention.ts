/**
 * Deletes old outputs, a bounded number of jobs per call: the folder may hold a million of them,
 * so it is walked with a cursor and never listed as a whole. An output's age is the time of its
 * last byte, which the file system keeps.
 */
import type { Dir } from 'node:fs';
import { opendir, readdir, rm, rmdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { asJobId, isJobId } from '../../base/ids.ts';
import type { WallMs } from '../../base/instant.ts';
import type { AttemptRef } from '../../core/messages.ts';
import { parseFence } from '../layout.ts';

export interface PruneRequest {
  readonly olderThanMs: number;
  readonly now: WallMs;
  /** Jobs looked at. */
  readonly maxCount?: number;
}

export interface PruneResult {
  /** Attempts whose output was deleted. */
  readonly deletedCount: number;
  /** All jobs have been looked at; the next call begins anew. */
  readonly isComplete: boolean;
}

const DEFAULT_MAX_COUNT = 1000;
const OUTPUT_NAME = /^(.+)\.(?:stdout|stderr)(?:\.cut)?$/;

export class Retention {
  private readonly folder: string;
  private readonly isLive: (attempt: AttemptRef) => boolean;
  private cursor: Dir | undefined;
  private running: Promise<PruneResult> | undefined;

  constructor(folder: string, isLive: (attempt: AttemptRef) => boolean) {
    this.folder = folder;
    this.isLive = isLive;
  }

  /** A call while another one runs gets that one's result. */
  prune(request: PruneRequest): Promise<PruneResult> {
    this.running ??= this.walk(request).finally(() => {
      this.running = undefined;
    });
    return this.running;
  }

  private async walk(request: PruneRequest): Promise<PruneResult> {
    const before = request.now - request.olderThanMs;
    let deletedCount = 0;
    for (let left = request.maxCount ?? DEFAULT_MAX_COUNT; left > 0; left--) {
      this.cursor ??= await opendir(this.folder);
      const entry = await this.cursor.read();
      if (!entry) {
        await this.closeCursor();
        return { deletedCount, isComplete: true };
      }
      if (entry.isDirectory() && isJobId(entry.name)) {
        deletedCount += await this.pruneJob(entry.name, before);
      }
    }
    return { deletedCount, isComplete: false };
  }

  private async pruneJob(job: string, before: number): Promise<number> {
    const folder = join(this.folder, job);
    const names = await readdir(folder);
    const attempts = new Map<string, string[]>();
    for (const name of names) {
      const fence = OUTPUT_NAME.exec(name)?.[1];
      if (fence) attempts.set(fence, [...(attempts.get(fence) ?? []), join(folder, name)]);
    }
    let deletedCount = 0;
    for (const [fenceText, files] of attempts) {
      const fence = parseFence(fenceText);
      if (!fence || this.isLive({ job: asJobId(job), fence })) continue;
      if ((await youngest(files)) >= before) continue;
      for (const file of files) await rm(file, { force: true });
      deletedCount += 1;
    }
    // It may not be empty: then another attempt's output is kept in it.
    if (deletedCount === attempts.size) await rmdir(folder).catch(() => {});
    return deletedCount;
  }

  async close(): Promise<void> {
    await this.running?.catch(() => {});
    await this.closeCursor();
  }

  private async closeCursor(): Promise<void> {
    const { cursor } = this;
    this.cursor = undefined;
    await cursor?.close();
  }
}

/** Time of the last change of any of them. */
async function youngest(files: readonly string[]): Promise<number> {
  const times = await Promise.all(files.map(async (file) => (await stat(file)).mtimeMs));
  return Math.max(...times);
}
