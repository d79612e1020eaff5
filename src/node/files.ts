/**
 * Files by their content, wherever in the mesh they are: uploads that come to this node, and
 * reads of what this or any other node has. What is read here from elsewhere is kept here as well,
 * until it has not been used for a while.
 */
import { MeshError } from '../base/errors.ts';
import type { NodeId } from '../base/ids.ts';
import type { Answer, Call } from '../core/calls.ts';
import { BlobFetch, type FetchParts } from './blob-fetch.ts';
import type { FileService, OpenFile, Upload, UploadResult } from './service.ts';

export type FileCall = Extract<Call, { kind: 'readBlob' | 'keepBlob' }>;

export type FilesParts = Omit<FetchParts, 'patienceMs' | 'turn'>;

export interface Wanted {
  readonly sha256: string;
  /** Nodes that should have it. */
  readonly hints?: readonly NodeId[] | undefined;
  /** What is here of another length is damaged. */
  readonly bytes?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Each has up to 4 MiB on its way; a link takes 16 at most. */
const MAX_FETCHES = 3;
const MAX_WAITING = 1000;
/** A node that is started again is back by then. */
const PATIENCE_MS = 15_000;
/** Shorter than whoever asks waits for an answer. */
const KEEP_WAIT_MS = 8000;
/** A copy that is found to be damaged as it is placed is fetched anew. */
const PLACE_TRIES = 3;

interface Shared {
  readonly fetch: BlobFetch;
  users: number;
}

export class MeshFiles implements FileService {
  private readonly parts: FilesParts;
  private readonly fetches = new Map<string, Shared>();
  private readonly queue: (() => void)[] = [];
  private running = 0;

  constructor(parts: FilesParts) {
    this.parts = parts;
  }

  static isFileCall(call: Call): call is FileCall {
    return call.kind === 'readBlob' || call.kind === 'keepBlob';
  }

  async answer(from: NodeId, call: FileCall): Promise<Answer> {
    const { sha256 } = call;
    if (call.kind === 'keepBlob') await this.keepFor(from, sha256);
    const range = call.kind === 'readBlob' ? call : { offset: 0, maxBytes: 0 };
    return { kind: 'blob', chunk: await this.parts.blobs.read(sha256, range) };
  }

  /** It goes on when this has been waited for long enough: who wants to know asks again. */
  private async keepFor(from: NodeId, sha256: string): Promise<void> {
    const kept = this.ensure({ sha256, hints: [from] });
    kept.catch(() => {});
    const { promise: late, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, KEEP_WAIT_MS);
    await Promise.race([kept, late]).finally(() => clearTimeout(timer));
    if ((await this.parts.blobs.find(sha256)) !== undefined) await this.parts.blobs.noteUse(sha256);
  }

  // -------------------------------------------------------------- uploads

  async look(sha256: string): Promise<UploadResult> {
    const bytes = await this.parts.blobs.find(sha256);
    if (bytes !== undefined) return { isWhole: true, bytes };
    return { isWhole: false, bytes: await this.parts.blobs.begun(sha256) };
  }

  async receive({ sha256, offset, totalBytes, body }: Upload): Promise<UploadResult> {
    const { blobs } = this.parts;
    const here = await blobs.find(sha256);
    if (here !== undefined) {
      await blobs.noteUse(sha256);
      return { isWhole: true, bytes: here };
    }
    let writer = await blobs.write(sha256, totalBytes);
    if (offset === 0 && writer.offset > 0) {
      await writer.discard();
      writer = await blobs.write(sha256, totalBytes);
    }
    if (writer.offset !== offset) {
      await writer.leave();
      const sentence = `${writer.offset} bytes of ${sha256} are here; the upload must begin there, not at ${offset}.`;
      throw new MeshError('WRONG_OFFSET', sentence);
    }
    try {
      for await (const bytes of body) await writer.append(bytes);
    } catch (thrown) {
      await writer.leave();
      throw thrown;
    }
    const bytes = writer.offset;
    if (bytes === totalBytes) await writer.finish();
    else await writer.leave();
    return { isWhole: bytes === totalBytes, bytes };
  }

  // -------------------------------------------------------------- reads

  async open(wanted: Wanted): Promise<OpenFile> {
    const { blobs } = this.parts;
    const { sha256 } = wanted;
    const bytes = await this.findHere(wanted);
    if (bytes !== undefined) {
      await blobs.noteUse(sha256);
      const read = async (offset: number, maxBytes: number): Promise<Uint8Array> =>
        (await blobs.read(sha256, { offset, maxBytes }))?.bytes ?? goneIn(sha256);
      return { totalBytes: bytes, read, damaged: () => blobs.remove(sha256), close: () => {} };
    }
    const shared = this.join(wanted);
    const close = (): void => this.leave(shared);
    try {
      const totalBytes = await shared.fetch.length();
      const { reading } = shared.fetch;
      const read = async (offset: number, maxBytes: number): Promise<Uint8Array> => {
        const piece = await shared.fetch.read(offset, maxBytes);
        if (shared.fetch.reading !== reading) goneIn(sha256);
        return piece;
      };
      return { totalBytes, read, damaged: undefined, close };
    } catch (thrown) {
      close();
      throw thrown;
    }
  }

  /** Settles when it is on this node's disk. @throws MeshError BLOB_NOT_FOUND, NOT_KNOWABLE, STORAGE_FULL, DISK_FULL, BUSY */
  async ensure(wanted: Wanted): Promise<void> {
    if ((await this.findHere(wanted)) !== undefined) return;
    const { signal } = wanted;
    signal?.throwIfAborted();
    const shared = this.join(wanted);
    const { promise: given, reject: giveUp } = Promise.withResolvers<never>();
    given.catch(() => {});
    const onAbort = (): void => giveUp(signal?.reason);
    signal?.addEventListener('abort', onAbort, { once: true });
    try {
      await Promise.race([shared.fetch.over, given]);
    } finally {
      signal?.removeEventListener('abort', onAbort);
      this.leave(shared);
    }
  }

  /**
   * A copy at `path`, which must not exist, with the right bytes.
   * @throws MeshError as `ensure`
   */
  async place(wanted: Wanted & { readonly path: string; readonly mode: number }): Promise<void> {
    for (let tries = PLACE_TRIES; ; tries--) {
      await this.ensure(wanted);
      try {
        await this.parts.blobs.place(wanted.sha256, wanted.path, wanted.mode);
        return;
      } catch (thrown) {
        const code = thrown instanceof MeshError ? thrown.code : '';
        const isGone = code === 'BLOB_MISMATCH' || code === 'BLOB_NOT_FOUND';
        if (!isGone || tries === 1) throw thrown;
      }
    }
  }

  private async findHere({ sha256, bytes }: Wanted): Promise<number | undefined> {
    const here = await this.parts.blobs.find(sha256);
    if (here === undefined || bytes === undefined || here === bytes) return here;
    await this.parts.blobs.remove(sha256);
    return undefined;
  }

  // -------------------------------------------------------------- fetches

  private join({ sha256, hints = [] }: Wanted): Shared {
    const known = this.fetches.get(sha256);
    if (known) {
      known.users += 1;
      known.fetch.hint(hints);
      return known;
    }
    if (this.queue.length >= MAX_WAITING) {
      const sentence = `${this.queue.length} files wait to be fetched to this node. Try again later.`;
      throw new MeshError('BUSY', sentence);
    }
    const parts = { ...this.parts, patienceMs: PATIENCE_MS, turn: () => this.turn() };
    const shared: Shared = { fetch: new BlobFetch(sha256, hints, parts), users: 1 };
    this.fetches.set(sha256, shared);
    const end = (): void => {
      if (this.fetches.get(sha256) === shared) this.fetches.delete(sha256);
    };
    shared.fetch.over.then(end, end);
    return shared;
  }

  private leave(shared: Shared): void {
    shared.users -= 1;
    if (shared.users > 0) return;
    // The next one who wants it begins a new fetch, where this one stopped.
    if (this.fetches.get(shared.fetch.sha256) === shared) this.fetches.delete(shared.fetch.sha256);
    shared.fetch.stop();
  }

  /** Settles when one more may be fetched, with the way to say that it is over. */
  private async turn(): Promise<() => void> {
    if (this.running < MAX_FETCHES) this.running += 1;
    else await new Promise<void>((resolve) => this.queue.push(resolve));
    return () => {
      const next = this.queue.shift();
      if (next) next();
      else this.running -= 1;
    };
  }
}

function goneIn(sha256: string): never {
  throw new MeshError(
    'BLOB_MISMATCH',
    `What was read of ${sha256} was not that file, or it was deleted meanwhile. Read it again from its begin.`,
  );
}
