/**
 * One output file while its attempt runs. The attempt makes and writes it itself, always at the end
 * (O_APPEND), so the node can cut what is over the limit away under it. How far it shoots over
 * between two looks is bounded by the speed of the disk; nobody is ever shown those bytes. The node
 * opens it only to read or cut it: most jobs print little or nothing, and many are over at once.
 */
import { rmSync, statSync } from 'node:fs';
import {
  appendFile,
  type FileHandle,
  open,
  readFile,
  stat,
  truncate,
  writeFile,
} from 'node:fs/promises';
import { MAX_TAIL_BYTES, NO_OUTPUT, type OutputTail } from '../../core/job.ts';
import { cutPath } from '../layout.ts';

/** A mark is a line of its own: it begins one if the kept text ends within a line. */
const markOf = (limitBytes: number, isLineOpen: boolean): string =>
  `${isLineOpen ? '\n' : ''}[output truncated at ${limitBytes} bytes]\n`;

/** What a file has done since the last look; the busiest first. */
export const GROWTHS = ['overflows', 'grows', 'rests'] as const;
export type Growth = (typeof GROWTHS)[number];

export class OutputFile {
  readonly path: string;
  readonly limitBytes: number;
  isCut = false;
  private isCutNoted = false;
  private looking: Promise<Growth> | undefined;
  private lastSize = 0;

  constructor(path: string, limitBytes: number) {
    this.path = path;
    this.limitBytes = limitBytes;
  }

  /** Whatever an attempt of the same name left is gone: so is the database that knew of it. */
  clear(): void {
    if (sizeNow(this.path) !== undefined) rmSync(this.path);
  }

  /** An earlier life began with it, and its attempt goes on printing into it. */
  async resume(): Promise<void> {
    this.isCutNoted = (await readCut(this.path)) !== undefined;
    this.isCut = this.isCutNoted;
  }

  /** Cuts the file back if it is over the limit. */
  look(): Promise<Growth> {
    this.looking ??= this.cut().finally(() => {
      this.looking = undefined;
    });
    return this.looking;
  }

  private async cut(): Promise<Growth> {
    const { size } = await stat(this.path);
    const hasGrown = size > this.lastSize;
    this.lastSize = Math.min(size, this.limitBytes);
    if (size <= this.limitBytes) return hasGrown ? 'grows' : 'rests';
    this.isCut = true;
    await truncate(this.path, this.limitBytes);
    if (!this.isCutNoted) {
      // So that it is still known when this node has been killed. On a full disk: next time.
      await writeFile(cutPath(this.path), String(this.limitBytes), { mode: 0o600 });
      this.isCutNoted = true;
    }
    return 'overflows';
  }

  /** After the last write of the attempt. */
  async close(): Promise<OutputTail> {
    await this.looking?.catch(() => {});
    // At once, as most are empty: the system knows it of a file that was written just now.
    const size = sizeNow(this.path) ?? 0;
    if (size === 0 && !this.isCut) return NO_OUTPUT;
    if (size > this.limitBytes) await this.cut().catch(() => {});
    const kept = Math.min(size, this.limitBytes);
    const handle = await open(this.path, 'r');
    try {
      const mark = this.isCut ? await this.mark(handle, kept) : 0;
      return { ...(await tailOf(handle, kept + mark)), isTruncated: this.isCut };
    } finally {
      await handle.close();
    }
  }

  /** The attempt goes on without this node. */
  async leave(): Promise<void> {
    await this.looking?.catch(() => {});
  }

  /** Length of the mark. On a full disk there may be none; that it was cut is known anyway. */
  private async mark(handle: FileHandle, keptBytes: number): Promise<number> {
    const text = markOf(this.limitBytes, await isLineOpen(handle, keptBytes));
    try {
      await appendFile(this.path, text);
      return Buffer.byteLength(text);
    } catch {
      return 0;
    }
  }
}

/** Undefined: there is no such file. */
const sizeNow = (path: string): number | undefined =>
  statSync(path, { throwIfNoEntry: false })?.size;

async function tailOf(
  handle: FileHandle,
  totalBytes: number,
): Promise<Omit<OutputTail, 'isTruncated'>> {
  const length = Math.min(totalBytes, MAX_TAIL_BYTES);
  const buffer = Buffer.alloc(length);
  const { bytesRead } = await handle.read(buffer, 0, length, totalBytes - length);
  return { bytes: new Uint8Array(buffer.buffer, buffer.byteOffset, bytesRead), totalBytes };
}

/** Brings the output of an attempt whose node was killed into its final form. May be repeated. */
export async function settleOutputFile(path: string, limitBytes: number): Promise<void> {
  let handle: FileHandle;
  try {
    handle = await open(path, 'r+');
  } catch (thrown) {
    if ((thrown as { code?: string }).code === 'ENOENT') return;
    throw thrown;
  }
  try {
    const { size } = await handle.stat();
    const cutAt = await readCut(path);
    if (cutAt === undefined && size <= limitBytes) return;
    const limit = cutAt ?? limitBytes;
    await writeFile(cutPath(path), String(limit), { mode: 0o600 });
    const kept = Math.min(size, limit);
    if (size > limit) await truncate(path, limit);
    await handle.write(markOf(limit, await isLineOpen(handle, kept)), kept);
  } finally {
    await handle.close();
  }
}

/** The limit the stream was cut at; undefined: it was not. */
export async function readCut(path: string): Promise<number | undefined> {
  try {
    const text = await readFile(cutPath(path), 'utf8');
    return /^\d+$/.test(text) ? Number(text) : undefined;
  } catch (thrown) {
    if ((thrown as { code?: string }).code === 'ENOENT') return undefined;
    throw thrown;
  }
}

async function isLineOpen(handle: FileHandle, bytes: number): Promise<boolean> {
  if (bytes === 0) return false;
  const last = Buffer.alloc(1);
  await handle.read(last, 0, 1, bytes - 1);
  return last[0] !== 0x0a;
}
