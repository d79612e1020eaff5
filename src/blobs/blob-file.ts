/**
 * A file on its way into the store: written from its begin, hashed as it is written, and named by
 * its hash only when all of it is on the disk. What has come of a transfer that broke stays under
 * the same name in `partial/`; its hash is made anew from the disk when the transfer goes on, so
 * that nothing but the file itself has to survive a crash.
 */
import { createHash, type Hash } from 'node:crypto';
import { type FileHandle, mkdir, open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';

const READ_BYTES = 256 * 1024;

export class BlobFile {
  readonly path: string;
  private readonly file: FileHandle;
  private readonly hash: Hash;
  private length: number;
  private isClosed = false;

  private constructor(path: string, file: FileHandle, begin: { hash: Hash; length: number }) {
    this.path = path;
    this.file = file;
    this.hash = begin.hash;
    this.length = begin.length;
  }

  /** @param isResumed what is there of it is kept, else it begins anew */
  static async open(path: string, isResumed: boolean): Promise<BlobFile> {
    const file = await open(path, isResumed ? 'a+' : 'w+', 0o600);
    try {
      return new BlobFile(path, file, await hashOf(file));
    } catch (thrown) {
      await file.close();
      throw thrown;
    }
  }

  /** Bytes that have come. */
  get offset(): number {
    return this.length;
  }

  async append(bytes: Uint8Array): Promise<void> {
    this.hash.update(bytes);
    // A single write may take less than all.
    for (let written = 0; written < bytes.length; ) {
      const { bytesWritten } = await this.file.write(bytes, written, bytes.length - written);
      written += bytesWritten;
    }
    this.length += bytes.length;
  }

  /** Of what has come; also when it is closed meanwhile: then nothing. */
  async read(offset: number, maxBytes: number): Promise<Uint8Array> {
    const wanted = Math.max(0, Math.min(maxBytes, this.length - offset));
    return readAt(this.file, offset, wanted);
  }

  /** In hex; nothing can be appended after it. */
  digest(): string {
    return this.hash.digest('hex');
  }

  /** On the disk under its name when it settles, and closed. */
  async name(path: string): Promise<void> {
    await this.file.sync();
    await this.leave();
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    await rename(this.path, path);
    await syncFolder(dirname(path));
  }

  /** What has come stays. */
  async leave(): Promise<void> {
    if (this.isClosed) return;
    this.isClosed = true;
    await this.file.close();
  }

  async discard(): Promise<void> {
    await this.leave();
    await rm(this.path, { force: true });
  }
}

/** Less than wanted only at the end of the file. */
export async function readAt(
  file: FileHandle,
  offset: number,
  wanted: number,
): Promise<Uint8Array> {
  return fill(Buffer.allocUnsafeSlow(wanted), file, offset);
}

/**
 * All of a file from its begin, piece by piece, each only until the next is asked for: a buffer for
 * each piece would call the collector for every 64 MiB of the file.
 */
export async function* piecesOf(file: FileHandle, pieceBytes: number): AsyncGenerator<Uint8Array> {
  const buffer = Buffer.allocUnsafeSlow(pieceBytes);
  for (let offset = 0; ; ) {
    const bytes = await fill(buffer, file, offset);
    if (bytes.length === 0) return;
    yield bytes;
    offset += bytes.length;
  }
}

async function fill(buffer: Buffer, file: FileHandle, offset: number): Promise<Uint8Array> {
  let filled = 0;
  while (filled < buffer.length) {
    const { bytesRead } = await file.read(buffer, filled, buffer.length - filled, offset + filled);
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return buffer.subarray(0, filled);
}

/** In hex, of all that is in it. */
export async function hashOfFile(path: string): Promise<string> {
  const file = await open(path, 'r');
  try {
    return (await hashOf(file)).hash.digest('hex');
  } finally {
    await file.close();
  }
}

async function hashOf(file: FileHandle): Promise<{ hash: Hash; length: number }> {
  const hash = createHash('sha256');
  let length = 0;
  for await (const bytes of piecesOf(file, READ_BYTES)) {
    hash.update(bytes);
    length += bytes.length;
  }
  return { hash, length };
}

/** The new name must be on the disk, too; systems that cannot sync a folder do without. */
async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r');
  try {
    await folder.sync().catch(() => {});
  } finally {
    await folder.close();
  }
}
