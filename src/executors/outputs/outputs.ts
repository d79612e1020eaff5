/**
 * The outputs kept on this node's disk. All that a reader needs is in the files, so outputs of
 * earlier lives are read like those of this one; beside them only the attempts that run are known,
 * to tell "nothing more now" from "nothing more ever".
 *
 * An attempt writes its files itself, so the limit is held from outside: the node looks at their
 * sizes and cuts off what is over, while readers are never shown anything beyond. The mark of the
 * cut is written once, behind the limit, when the attempt is over: until then every byte that was
 * shown at an offset stays what is there. Readers look at the file again and again while they
 * wait; fs.watch would be told by the kernel, but not on every file system.
 */

import { closeSync, fstatSync, openSync, read as readFile } from 'node:fs';
import { promisify } from 'node:util';
import type { JobId } from '../../base/ids.ts';
import type { OutputChunk, OutputRemoval, OutputStream } from '../../core/calls.ts';
import type { AttemptRef } from '../../core/messages.ts';
import { attemptKey, type Fence } from '../../core/record.ts';
import type { Outputs } from '../../node/ports.ts';
import { isNameable, outputFolder, outputPath } from '../layout.ts';
import { LiveOutput } from './live-output.ts';
import { type Growth, readCut, settleOutputFile } from './output-file.ts';
import { type PruneRequest, type PruneResult, Retention, readRemoval } from './retention.ts';

/** Of a single read, whatever was asked for. */
export const MAX_READ_BYTES = 256 * 1024;
/** How often a waiting reader looks: soon at first, for who watches, then with patience. */
const FIRST_LOOK_MS = 10;
const LAST_LOOK_MS = 100;
const MAX_WAIT_MS = 3_600_000;

/** How soon running attempts are held to their limit again, by what the busiest of them does. */
const NEXT_LOOK_MS = { overflows: 20, grows: 100, rests: 250 } as const satisfies Record<
  Growth,
  number
>;

export interface KeptOutputsOptions {
  readonly folder: string;
  /** Of each stream of an attempt. */
  readonly limitBytes: number;
}

export interface ReadRange {
  readonly offset: number;
  readonly maxBytes: number;
  readonly waitMs?: number;
  readonly signal?: AbortSignal;
}

export class KeptOutputs implements Outputs {
  private readonly options: KeptOutputsOptions;
  private readonly live = new Map<string, LiveOutput>();
  private readonly retention: Retention;
  private timer: NodeJS.Timeout | undefined;
  private isClosed = false;
  /** Of attempts that ended since the last walk. */
  private endedBytes = 0;

  constructor(options: KeptOutputsOptions) {
    this.options = options;
    this.retention = new Retention(options.folder, {
      isLive: (attempt) => this.live.has(keyOf(attempt)),
      isAwaited: (job) => [...this.live.values()].some((output) => output.job === job),
    });
  }

  async read(
    attempt: { job: JobId; fence: Fence },
    stream: OutputStream,
    range: ReadRange,
  ): Promise<OutputChunk | undefined> {
    if (!isNameable(attempt)) return undefined;
    const path = outputPath(this.options.folder, attempt, stream);
    const from = { offset: wholeNumber(range.offset), maxBytes: wholeNumber(range.maxBytes) };
    const deadline = performance.now() + Math.min(wholeNumber(range.waitMs ?? 0), MAX_WAIT_MS);
    for (let pauseMs = FIRST_LOOK_MS; ; pauseMs = Math.min(pauseMs * 1.5, LAST_LOOK_MS)) {
      // Asked before the file: what is written after the answer cannot be taken for the end.
      const live = this.live.get(keyOf(attempt));
      if (!live) return readKept(path, from);
      const chunk = await readLive(path, from, this.options.limitBytes);
      const leftMs = deadline - performance.now();
      const isWaiting = leftMs > 0 && !range.signal?.aborted && !live.isLeft;
      if (chunk.bytes.length > 0 || !isWaiting) {
        return { ...chunk, isEnd: false, isTruncated: live.isCut(stream) };
      }
      await live.change(Math.min(pauseMs, leftMs), range.signal);
    }
  }

  /**
   * Deletes outputs whose last byte is older than `olderThanMs`, those of jobs that are forgotten,
   * and the oldest while all take more than they may. Looks at `maxCount` jobs at most and goes on where the last call stopped; call again while it `isComplete` is false.
   */
  async prune(request: PruneRequest): Promise<PruneResult> {
    const result = await this.retention.prune(request);
    if (result.isComplete) this.endedBytes = 0;
    return result;
  }

  /** As far as it is known without a walk: what is printed by attempts that run is not in it. */
  get totalBytes(): number {
    return this.retention.totalBytes + this.endedBytes;
  }

  async whyRemoved(attempt: AttemptRef): Promise<OutputRemoval | undefined> {
    if (!isNameable(attempt)) return undefined;
    return readRemoval(outputFolder(this.options.folder, attempt), attempt);
  }

  // -------------------------------------------------------------- for the executors

  /** The attempt will print: readers may wait. */
  announce(attempt: AttemptRef): LiveOutput {
    const key = keyOf(attempt);
    const { folder, limitBytes } = this.options;
    const output = new LiveOutput({
      job: attempt.job,
      folder: outputFolder(folder, attempt),
      stdoutPath: outputPath(folder, attempt, 'stdout'),
      stderrPath: outputPath(folder, attempt, 'stderr'),
      limitBytes,
      onClosed: (bytes) => {
        this.live.delete(key);
        this.endedBytes += bytes;
      },
    });
    this.live.set(key, output);
    this.timer ??= setTimeout(() => void this.holdToLimit(), NEXT_LOOK_MS.grows);
    return output;
  }

  /** Of an attempt that this node's last life did not see end. */
  async settle(attempt: AttemptRef): Promise<void> {
    const { folder, limitBytes } = this.options;
    for (const stream of ['stdout', 'stderr'] as const) {
      await settleOutputFile(outputPath(folder, attempt, stream), limitBytes);
    }
  }

  async close(): Promise<void> {
    this.isClosed = true;
    clearTimeout(this.timer);
    await this.retention.close();
  }

  private async holdToLimit(): Promise<void> {
    const looks = await Promise.all([...this.live.values()].map((output) => output.look()));
    const pauseMs = Math.min(NEXT_LOOK_MS.rests, ...looks.map((growth) => NEXT_LOOK_MS[growth]));
    const isNeeded = this.live.size > 0 && !this.isClosed;
    this.timer = isNeeded ? setTimeout(() => void this.holdToLimit(), pauseMs) : undefined;
  }
}

/** What is there now of a running attempt, and within the limit. */
async function readLive(
  path: string,
  range: Range,
  limitBytes: number,
): Promise<Pick<OutputChunk, 'bytes' | 'offset' | 'keptBytes'>> {
  const part = await readPart(path, { ...range, endBytes: limitBytes });
  const keptBytes = part?.totalBytes ?? 0;
  return { bytes: part?.bytes ?? NOTHING, offset: range.offset, keptBytes };
}

/** Of an attempt that is over. Undefined: it was never here, or retention has deleted it. */
async function readKept(path: string, range: Range): Promise<OutputChunk | undefined> {
  const part = await readPart(path, { ...range, endBytes: Number.POSITIVE_INFINITY });
  if (!part) return undefined;
  const isTruncated = (await readCut(path)) !== undefined;
  const isEnd = range.offset + part.bytes.length >= part.totalBytes;
  const { bytes, totalBytes: keptBytes } = part;
  return { bytes, offset: range.offset, isEnd, isTruncated, keptBytes };
}

interface Range {
  readonly offset: number;
  readonly maxBytes: number;
}

const NOTHING = new Uint8Array(0);

const readAt = promisify(readFile);

/**
 * Undefined: there is no such file. Opened for each read: an idle reader costs no descriptor. Only
 * the bytes are waited for: what the system knows by heart costs less than a hop to another thread.
 */
async function readPart(
  path: string,
  { offset, maxBytes, endBytes }: Range & { endBytes: number },
): Promise<{ bytes: Uint8Array; totalBytes: number } | undefined> {
  let descriptor: number;
  try {
    descriptor = openSync(path, 'r');
  } catch (thrown) {
    if ((thrown as { code?: string }).code === 'ENOENT') return undefined;
    throw thrown;
  }
  try {
    const { size } = fstatSync(descriptor);
    const totalBytes = Math.min(size, endBytes);
    const length = Math.max(0, Math.min(maxBytes, MAX_READ_BYTES, totalBytes - offset));
    if (length === 0) return { bytes: NOTHING, totalBytes };
    const buffer = Buffer.allocUnsafeSlow(length);
    const { bytesRead } = await readAt(descriptor, buffer, 0, length, offset);
    return { bytes: buffer.subarray(0, bytesRead), totalBytes };
  } finally {
    closeSync(descriptor);
  }
}

const keyOf = ({ job, fence }: AttemptRef): string => attemptKey(job, fence);

/** Numbers come from other nodes: what is no number, or less than 0, is 0. */
const wholeNumber = (value: number): number =>
  Number.isFinite(value) && value > 0 ? Math.floor(value) : 0;
