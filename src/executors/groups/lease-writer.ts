/**
 * Writes the lease of one group into its file, over the one that is there. A lease that the node
 * could not write any more is the older one, which ends sooner: nothing is lost but work.
 */
import { closeSync, openSync, writeSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';

/** A group lists itself within milliseconds of its start, or is over. */
const NOT_LISTED_PAUSE_MS = 20;

export class LeaseWriter {
  private readonly path: string;
  private readonly onFailure: (failure: unknown) => void;
  private handle: FileHandle | undefined;
  private wanted: string | undefined;
  private writing: Promise<void> | undefined;
  private isClosed = false;

  constructor(path: string, onFailure: (failure: unknown) => void) {
    this.path = path;
    this.onFailure = onFailure;
  }

  /** In the background; of several at once the last counts. */
  write(text: string): void {
    if (this.isClosed) return;
    this.wanted = text;
    this.writing ??= this.work().finally(() => {
      this.writing = undefined;
    });
  }

  private async work(): Promise<void> {
    try {
      while (this.wanted !== undefined && !this.isClosed) await this.writeOne();
    } catch (failure) {
      this.wanted = undefined;
      if (!this.isClosed) this.onFailure(failure);
    }
  }

  private async writeOne(): Promise<void> {
    this.handle ??= await this.openListed();
    const text = this.wanted;
    this.wanted = undefined;
    if (this.handle && text !== undefined) await this.handle.write(text, 0);
  }

  /** What is written before the group has written would stand before it, not in it. */
  private async openListed(): Promise<FileHandle | undefined> {
    while (!this.isClosed) {
      try {
        const handle = await open(this.path, 'r+');
        if ((await handle.stat()).size > 0) return handle;
        await handle.close();
      } catch (thrown) {
        if ((thrown as { code?: string }).code !== 'ENOENT') throw thrown;
      }
      await delay(NOT_LISTED_PAUSE_MS);
    }
    return undefined;
  }

  /** The last word of this node about this group. @throws what the file system says */
  async finish(text: string): Promise<void> {
    await this.close();
    const file = openSync(this.path, 'r+');
    try {
      writeSync(file, text, 0);
    } finally {
      closeSync(file);
    }
  }

  async close(): Promise<void> {
    this.isClosed = true;
    await this.writing;
    await this.handle?.close();
    this.handle = undefined;
  }
}
