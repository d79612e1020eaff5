/**
 * Files on this node's disk, each named by the SHA-256 of its bytes: inputs that were uploaded or
 * fetched for a job, and what jobs have left. A file is whole and right, or it is not there.
 *
 *     blobs/ab/abcd…      whole, on the disk, its bytes have this hash
 *     blobs/partial/…     on their way; the ones named by a hash can be gone on with
 *
 * - A job gets a copy, never a link: it may write to its files, and must not write to these. Where
 *   the file system shares blocks until one is written (XFS, btrfs, APFS) a copy costs nothing.
 *   It is checked as it is placed, for the disk may have gone bad since it was written; what this life
 *   of the node has hashed within the last hour, and nobody has written to since, is right.
 * - What a job leaves is read once from the opened file and written here as it is hashed: what is
 *   kept is what was hashed, whoever still writes to the original.
 */
import { randomBytes } from 'node:crypto';
import { chmod, constants, copyFile, type FileHandle, mkdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { MeshError } from '../base/errors.ts';
import type { BlobChunk } from '../core/calls.ts';
import type { Blobs, BlobWriter } from '../node/ports.ts';
import { BlobFile, hashOfFile, piecesOf, readAt } from './blob-file.ts';
import { CheckedFiles } from './checked-files.ts';
import { isMissing, toBlobError } from './failures.ts';
import { blobPath, partialFolder, partialPath } from './layout.ts';
import { OpenFiles } from './open-files.ts';
import { Room } from './room.ts';

export interface BlobOptions {
  /** Made when missing. */
  readonly folder: string;
  /** Of all files together. */
  readonly limitBytes: number;
  /** By the calendar. */
  readonly now: () => number;
  readonly namedByJobs: (among: ReadonlySet<string>) => Promise<ReadonlySet<string>>;
}

/** Of a single read, whatever was asked for. */
const MAX_READ_BYTES = 256 * 1024;
const COPY_BYTES = 1024 * 1024;
const REST_MS = 30_000;
const MAX_RESTING = 64;

export class KeptBlobs implements Blobs {
  private readonly options: BlobOptions;
  private readonly room: Room;
  private readonly open = new OpenFiles();
  private readonly checked = new CheckedFiles();
  private readonly writing = new Set<string>();
  /** Left a moment ago, by name, the oldest first: who goes on soon need not read all of it again. */
  private readonly resting = new Map<string, { file: BlobFile; timer: NodeJS.Timeout }>();

  constructor(options: BlobOptions) {
    this.options = options;
    this.room = new Room(options);
  }

  /** @throws MeshError DISK_FULL, DATA_FAILED */
  async start(): Promise<void> {
    await this.guarded(async () => {
      await mkdir(partialFolder(this.options.folder), { recursive: true, mode: 0o700 });
      await this.room.measure();
    });
  }

  get usedBytes(): number {
    return this.room.usedBytes;
  }

  // -------------------------------------------------------------- reading

  async find(sha256: string): Promise<number | undefined> {
    return lengthOf(blobPath(this.options.folder, sha256));
  }

  async read(
    sha256: string,
    { offset, maxBytes }: { offset: number; maxBytes: number },
  ): Promise<BlobChunk | undefined> {
    const wanted = Math.min(maxBytes, MAX_READ_BYTES);
    try {
      return await this.open.use(blobPath(this.options.folder, sha256), async (blob) => {
        const there = Math.max(0, Math.min(wanted, blob.bytes - offset));
        return { bytes: await readAt(blob.file, offset, there), totalBytes: blob.bytes };
      });
    } catch (thrown) {
      if (isMissing(thrown)) return undefined;
      throw toBlobError(thrown, this.options.folder);
    }
  }

  /** Bytes that have come of one that is not whole. */
  async begun(sha256: string): Promise<number> {
    return (await lengthOf(partialPath(this.options.folder, sha256))) ?? 0;
  }

  noteUse(sha256: string): Promise<void> {
    const path = blobPath(this.options.folder, sha256);
    return this.checked.keep(path, () => this.room.noteUse(sha256));
  }

  async place(sha256: string, path: string, mode: number): Promise<void> {
    const { COPYFILE_EXCL, COPYFILE_FICLONE } = constants;
    const source = blobPath(this.options.folder, sha256);
    try {
      const isChecked = await this.checked.has(source);
      await copyFile(source, path, COPYFILE_EXCL | COPYFILE_FICLONE);
      // The copy: what the job gets is what was looked at.
      if (!isChecked && (await hashOfFile(path)) !== sha256) {
        await rm(path);
        await this.remove(sha256);
        const sentence = `What was kept here as ${sha256} was damaged. It is deleted.`;
        throw new MeshError('BLOB_MISMATCH', sentence);
      }
      await chmod(path, mode);
      if (!isChecked) await this.checked.add(source);
      await this.noteUse(sha256);
    } catch (thrown) {
      if (!isMissing(thrown)) throw toBlobError(thrown, path);
      throw new MeshError('BLOB_NOT_FOUND', `The file ${sha256} is not kept here any more.`);
    }
  }

  // -------------------------------------------------------------- writing

  async write(sha256: string, totalBytes: number): Promise<BlobWriter> {
    if (this.writing.has(sha256)) {
      const sentence = `The file ${sha256} is just being written here. Try again when that is over.`;
      throw new MeshError('BUSY', sentence);
    }
    this.writing.add(sha256);
    try {
      await this.room.promise(sha256, totalBytes);
    } catch (thrown) {
      this.writing.delete(sha256);
      throw thrown;
    }
    try {
      const path = partialPath(this.options.folder, sha256);
      const file = this.wake(sha256) ?? (await this.guarded(() => BlobFile.open(path, true)));
      return this.writerOf(sha256, totalBytes, file);
    } catch (thrown) {
      this.end(sha256);
      throw thrown;
    }
  }

  private end(sha256: string): void {
    this.writing.delete(sha256);
    this.room.giveBack(sha256);
  }

  private rest(sha256: string, file: BlobFile): void {
    this.writing.delete(sha256);
    this.room.left(sha256, file.offset);
    const timer = setTimeout(() => void this.wake(sha256)?.leave(), REST_MS).unref();
    this.resting.set(sha256, { file, timer });
    const [oldest = ''] = this.resting.keys();
    if (this.resting.size > MAX_RESTING) void this.wake(oldest)?.leave();
  }

  private wake(sha256: string): BlobFile | undefined {
    const found = this.resting.get(sha256);
    clearTimeout(found?.timer);
    this.resting.delete(sha256);
    return found?.file;
  }

  private writerOf(sha256: string, totalBytes: number, file: BlobFile): BlobWriter {
    const { folder } = this.options;
    const discard = async (): Promise<void> => {
      await file.discard().catch(() => {});
      this.end(sha256);
    };
    /** A disk that takes no more gets back what it took. */
    const orDiscard = async (body: () => Promise<void>): Promise<void> => {
      try {
        await body();
      } catch (thrown) {
        await discard();
        throw toBlobError(thrown, folder);
      }
    };
    return {
      get offset() {
        return file.offset;
      },
      append: (bytes) =>
        orDiscard(async () => {
          if (file.offset + bytes.length > totalBytes) throw mismatch(sha256, 'it is longer');
          await file.append(bytes);
        }),
      read: (offset, maxBytes) => file.read(offset, Math.min(maxBytes, MAX_READ_BYTES)),
      finish: () =>
        orDiscard(async () => {
          if (file.offset !== totalBytes) throw mismatch(sha256, `${file.offset} bytes came`);
          if (file.digest() !== sha256) throw mismatch(sha256, 'its bytes are others');
          await file.name(blobPath(folder, sha256));
          await this.checked.add(blobPath(folder, sha256));
          this.writing.delete(sha256);
          this.room.kept(sha256, totalBytes);
        }),
      leave: async () => this.rest(sha256, file),
      discard,
    };
  }

  /** Keeps what an opened file has from its begin to its end. @throws MeshError STORAGE_FULL, DISK_FULL */
  async keep(source: FileHandle): Promise<{ sha256: string; bytes: number }> {
    const { folder } = this.options;
    const name = `keep-${randomBytes(12).toString('hex')}`;
    await this.room.promise(name, (await source.stat()).size);
    let file: BlobFile | undefined;
    try {
      file = await BlobFile.open(join(partialFolder(folder), name), false);
      for await (const bytes of piecesOf(source, COPY_BYTES)) await file.append(bytes);
      return await this.nameKept(name, file);
    } catch (thrown) {
      await file?.discard().catch(() => {});
      this.room.giveBack(name);
      throw toBlobError(thrown, folder);
    }
  }

  private async nameKept(name: string, file: BlobFile): Promise<{ sha256: string; bytes: number }> {
    const [sha256, bytes] = [file.digest(), file.offset];
    if ((await this.find(sha256)) !== undefined) {
      await file.discard();
      this.room.giveBack(name);
      await this.noteUse(sha256);
    } else {
      await file.name(blobPath(this.options.folder, sha256));
      await this.checked.add(blobPath(this.options.folder, sha256));
      this.room.kept(name, bytes);
    }
    return { sha256, bytes };
  }

  /** It was found to be damaged. */
  async remove(sha256: string): Promise<void> {
    this.open.forget(blobPath(this.options.folder, sha256));
    await this.room.remove(sha256);
  }

  expire(unusedMs: number): Promise<number> {
    return this.room.expire(unusedMs);
  }

  private async guarded<T>(body: () => Promise<T>): Promise<T> {
    try {
      return await body();
    } catch (thrown) {
      throw toBlobError(thrown, this.options.folder);
    }
  }
}

const mismatch = (sha256: string, how: string): MeshError =>
  new MeshError(
    'BLOB_MISMATCH',
    `What was sent is not the file ${sha256}: ${how}. Nothing of it was kept; send it anew from its begin.`,
  );

async function lengthOf(path: string): Promise<number | undefined> {
  try {
    return (await stat(path)).size;
  } catch (thrown) {
    if (isMissing(thrown)) return undefined;
    throw toBlobError(thrown, path);
  }
}
