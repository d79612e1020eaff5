/**
 * Deletes outputs: those of jobs that nobody knows any more, old ones, and the oldest when all
 * together take too much space. The folder may hold a million jobs, so it is walked with a cursor, a
 * bounded number of jobs per call, and never listed as a whole; of the candidates for a lack of
 * space only the oldest some thousands are remembered during a walk, and the next walk finds more.
 * An output's age is the time of its last byte, which the file system keeps.
 *
 * What was deleted before its job is forgotten leaves a file that says why, as long as the job is
 * known: "it is gone" without a reason looks like a fault.
 */
import type { Dir } from 'node:fs';
import { opendir, readdir, readFile, rm, rmdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { asJobId, isJobId, type JobId } from '../../base/ids.ts';
import type { WallMs } from '../../base/instant.ts';
import type { OutputRemoval } from '../../core/calls.ts';
import type { AttemptRef } from '../../core/messages.ts';
import { parseFence, removedPath } from '../layout.ts';

export interface PruneRequest {
  readonly olderThanMs: number;
  readonly now: WallMs;
  /** Of all outputs together; undefined: any. */
  readonly maxTotalBytes?: number;
  /** Jobs whose last byte is older than this may be forgotten, and are asked about. */
  readonly forgotten?: {
    readonly olderThanMs: number;
    readonly isForgotten: (job: JobId) => Promise<boolean>;
  };
  /** Jobs looked at. */
  readonly maxCount?: number;
}

/** What runs, and may print although nothing of it is in the folder yet. */
export interface Printing {
  isLive(attempt: AttemptRef): boolean;
  isAwaited(job: JobId): boolean;
}

export interface PruneResult {
  /** Attempts whose output was deleted. */
  readonly deletedCount: number;
  /** All jobs have been looked at and nothing more is to go; the next call begins anew. */
  readonly isComplete: boolean;
}

interface KeptAttempt {
  readonly folder: string;
  readonly attempt: AttemptRef;
  readonly files: readonly string[];
  readonly bytes: number;
  /** Of its last byte. */
  readonly atMs: number;
}

/** Remembered in a walk, as the next to go when space is needed. */
const MAX_OLDEST = 4096;
const DEFAULT_MAX_COUNT = 1000;
const OUTPUT_NAME = /^(.+)\.(?:stdout|stderr)(?:\.cut)?$/;

export class Retention {
  /** Of all outputs, when the last walk had ended. */
  totalBytes = 0;
  private readonly folder: string;
  private readonly printing: Printing;
  private cursor: Dir | undefined;
  private running: Promise<PruneResult> | undefined;
  private walkedBytes = 0;
  private oldest: KeptAttempt[] = [];

  constructor(folder: string, printing: Printing) {
    this.folder = folder;
    this.printing = printing;
  }

  /** A call while another one runs gets that one's result. */
  prune(request: PruneRequest): Promise<PruneResult> {
    this.running ??= this.walk(request).finally(() => {
      this.running = undefined;
    });
    return this.running;
  }

  private async walk(request: PruneRequest): Promise<PruneResult> {
    let deletedCount = 0;
    for (let left = request.maxCount ?? DEFAULT_MAX_COUNT; left > 0; left--) {
      this.cursor ??= await opendir(this.folder);
      const entry = await this.cursor.read();
      if (!entry) {
        await this.closeCursor();
        const freed = await this.freeSpace(request);
        return { deletedCount: deletedCount + freed.count, isComplete: freed.isEnough };
      }
      if (entry.isDirectory() && isJobId(entry.name)) {
        deletedCount += await this.pruneJob(asJobId(entry.name), request);
      }
    }
    return { deletedCount, isComplete: false };
  }

  private async pruneJob(job: JobId, request: PruneRequest): Promise<number> {
    const folder = join(this.folder, job);
    const { kept, youngestMs } = await this.lookInto(folder, job);
    const { forgotten, now } = request;
    const isOld = forgotten && youngestMs > 0 && youngestMs < now - forgotten.olderThanMs;
    const isIdle = !this.printing.isAwaited(job);
    if (isOld && isIdle && (await forgotten.isForgotten(job))) {
      await rm(folder, { recursive: true, force: true });
      return kept.length;
    }
    let deletedCount = 0;
    for (const each of kept) {
      if (each.atMs < now - request.olderThanMs && !this.printing.isLive(each.attempt)) {
        await removeAttempt(each, forgotten ? 'age' : undefined);
        deletedCount += 1;
      } else this.note(each);
    }
    // It may not be empty: then another attempt's output is kept in it, or why one is not.
    if (deletedCount === kept.length && isIdle) await rmdir(folder).catch(() => {});
    return deletedCount;
  }

  private async lookInto(
    folder: string,
    job: JobId,
  ): Promise<{ kept: KeptAttempt[]; youngestMs: number }> {
    const attempts = new Map<string, string[]>();
    let youngestMs = 0;
    for (const name of await readdir(folder)) {
      const fence = OUTPUT_NAME.exec(name)?.[1];
      if (fence) attempts.set(fence, [...(attempts.get(fence) ?? []), join(folder, name)]);
      else youngestMs = Math.max(youngestMs, (await stat(join(folder, name))).mtimeMs);
    }
    const kept: KeptAttempt[] = [];
    for (const [fenceText, files] of attempts) {
      const fence = parseFence(fenceText);
      if (!fence) continue;
      const stats = await Promise.all(files.map((file) => stat(file)));
      const atMs = Math.max(...stats.map(({ mtimeMs }) => mtimeMs));
      const bytes = stats.reduce((sum, { size }) => sum + size, 0);
      kept.push({ folder, attempt: { job, fence }, files, bytes, atMs });
      youngestMs = Math.max(youngestMs, atMs);
    }
    return { kept, youngestMs };
  }

  // -------------------------------------------------------------- space

  private note(kept: KeptAttempt): void {
    this.walkedBytes += kept.bytes;
    if (kept.bytes === 0) return;
    this.oldest.push(kept);
    if (this.oldest.length >= 2 * MAX_OLDEST) this.keepOldest();
  }

  private keepOldest(): void {
    this.oldest.sort((a, b) => a.atMs - b.atMs);
    this.oldest.length = Math.min(this.oldest.length, MAX_OLDEST);
  }

  /** At the end of a walk: what all of them take is known. */
  private async freeSpace({
    maxTotalBytes = Number.POSITIVE_INFINITY,
  }: PruneRequest): Promise<{ count: number; isEnough: boolean }> {
    this.keepOldest();
    const { oldest } = this;
    this.totalBytes = this.walkedBytes;
    this.walkedBytes = 0;
    this.oldest = [];
    let count = 0;
    for (const kept of oldest) {
      if (this.totalBytes <= maxTotalBytes) break;
      if (this.printing.isLive(kept.attempt)) continue;
      await removeAttempt(kept, 'space');
      this.totalBytes -= kept.bytes;
      count += 1;
    }
    // Where nothing could go although too much is there, it runs: another walk finds no more.
    return { count, isEnough: this.totalBytes <= maxTotalBytes || count === 0 };
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

/** @param why left behind, for who asks; undefined: nothing is */
async function removeAttempt(
  { folder, attempt, files }: KeptAttempt,
  why: OutputRemoval | undefined,
): Promise<void> {
  for (const file of files) await rm(file, { force: true });
  if (why === undefined) return;
  // On a disk that takes nothing the reason is not kept; that it is gone is true anyway.
  await writeFile(removedPath(folder, attempt), why, { mode: 0o600 }).catch(() => {});
}

export async function readRemoval(
  folder: string,
  attempt: AttemptRef,
): Promise<OutputRemoval | undefined> {
  const text = await readFile(removedPath(folder, attempt), 'utf8').catch(() => '');
  return text === 'age' || text === 'space' ? text : undefined;
}
