/**
 * Files that are read piece by piece stay open between two pieces: a transfer asks for thousands of
 * them, and opening and closing each time costs more than reading, most of all on a busy machine.
 */
import { type FileHandle, open } from 'node:fs/promises';

/** After the last piece. */
const IDLE_MS = 2000;

/** They are whole when they are opened, and never written to. */
export interface OpenBlob {
  readonly file: FileHandle;
  readonly bytes: number;
}

interface Entry {
  readonly blob: Promise<OpenBlob>;
  users: number;
  timer: NodeJS.Timeout | undefined;
}

export class OpenFiles {
  private readonly entries = new Map<string, Entry>();

  /** Rejects with what opening it says. */
  async use<T>(path: string, body: (blob: OpenBlob) => Promise<T>): Promise<T> {
    const entry = this.entries.get(path) ?? { blob: openBlob(path), users: 0, timer: undefined };
    this.entries.set(path, entry);
    entry.users += 1;
    clearTimeout(entry.timer);
    try {
      return await body(await entry.blob);
    } catch (thrown) {
      this.forget(path);
      throw thrown;
    } finally {
      entry.users -= 1;
      if (entry.users === 0) this.rest(path, entry);
    }
  }

  /** The name means another file from now on, or none. */
  forget(path: string): void {
    this.entries.delete(path);
  }

  private rest(path: string, entry: Entry): void {
    const isForgotten = this.entries.get(path) !== entry;
    const close = (): void => {
      if (this.entries.get(path) === entry) this.entries.delete(path);
      entry.blob.then(({ file }) => file.close()).catch(() => {});
    };
    if (isForgotten) close();
    else entry.timer = setTimeout(close, IDLE_MS).unref();
  }
}

async function openBlob(path: string): Promise<OpenBlob> {
  const file = await open(path, 'r');
  try {
    return { file, bytes: (await file.stat()).size };
  } catch (thrown) {
    await file.close();
    throw thrown;
  }
}
