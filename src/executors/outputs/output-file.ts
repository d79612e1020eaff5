/**
 * One output file while its attempt runs. The attempt writes it itself, always at the end
 * (O_APPEND), so the node can cut what is over the limit away under it. How far it shoots over
 * between two looks is bounded by the speed of the disk; nobody is ever shown those bytes.
 */
import { constants, fstatSync } from 'node:fs';
import { type FileHandle, open, readFile, truncate, writeFile } from 'node:fs/promises';
import { MAX_TAIL_BYTES, NO_OUTPUT, type OutputTail } from '../../core/job.ts';
import { cutPath } from '../layout.ts';

const { O_RDWR, O_CREAT, O_TRUNC, O_APPEND } = constants;

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
  private readonly handle: FileHandle;
  private isCutNoted = false;
  private looking: Promise<Growth> | undefined;
  private lastSize = 0;

  private constructor(path: string, handle: FileHandle, limitBytes: number) {
    this.path = path;
    this.handle = handle;
    this.limitBytes = limitBytes;
  }

  /** Whatever an attempt of the same name left is gone: so is the database that knew of it. */
  static async create(path: string, limitBytes: number): Promise<OutputFile> {
    const flags = O_RDWR | O_CREAT | O_TRUNC | O_APPEND;
    return new OutputFile(path, await open(path, flags, 0o600), limitBytes);
  }

  /** The attempt goes on printing into it. */
  static async reopen(path: string, limitBytes: number): Promise<OutputFile> {
    const flags = O_RDWR | O_CREAT | O_APPEND;
    const file = new OutputFile(path, await open(path, flags, 0o600), limitBytes);
    file.isCutNoted = (await readCut(path)) !== undefined;
    file.isCut = file.isCutNoted;
    return file;
  }

  get descriptor(): number {
    return this.handle.fd;
  }

  /** Cuts the file back if it is over the limit. */
  look(): Promise<Growth> {
    this.looking ??= this.cut().finally(() => {
      this.looking = undefined;
    });
    return this.looking;
  }

  private async cut(): Promise<Growth> {
    const { size } = await this.handle.stat();
    const hasGrown = size > this.lastSize;
    this.lastSize = Math.min(size, this.limitBytes);
    if (size <= this.limitBytes) return hasGrown ? 'grows' : 'rests';
    this.isCut = true;
    await this.handle.truncate(this.limitBytes);
    if (!this.isCutNoted) {
      // So that it is still known when this node has been killed. On a full disk: next time.
      await writeFile(cutPath(this.path), String(this.limitBytes), { mode: 0o600 });
      this.isCutNoted = true;
    }
    return 'overflows';
  }

  /** After the last write of the attempt. */
  async close(): Promise<OutputTail> {
    try {
      await this.looking?.catch(() => {});
      // Of an open file the system knows it at once.
      const { size } = fstatSync(this.handle.fd);
      if (size === 0 && !this.isCut) return NO_OUTPUT;
      if (size > this.limitBytes) await this.cut().catch(() => {});
      const kept = Math.min(size, this.limitBytes);
      const mark = this.isCut ? await this.mark(kept) : 0;
      return { ...(await this.tail(kept + mark)), isTruncated: this.isCut };
    } finally {
      await this.handle.close();
    }
  }

  /** The attempt goes on without this node. */
  async leave(): Promise<void> {
    await this.looking?.catch(() => {});
    await this.handle.close();
  }

  /** Length of the mark. On a full disk there may be none; that it was cut is known anyway. */
  private async mark(keptBytes: number): Promise<number> {
    const text = markOf(this.limitBytes, await isLineOpen(this.handle, keptBytes));
    try {
      await this.handle.appendFile(text);
      return Buffer.byteLength(text);
    } catch {
      return 0;
    }
  }

  private async tail(totalBytes: number): Promise<Omit<OutputTail, 'isTruncated'>> {
    const length = Math.min(totalBytes, MAX_TAIL_BYTES);
    const buffer = Buffer.alloc(length);
    const { bytesRead } = await this.handle.read(buffer, 0, length, totalBytes - length);
    return { bytes: new Uint8Array(buffer.buffer, buffer.byteOffset, bytesRead), totalBytes };
  }
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
