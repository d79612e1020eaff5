/** Writes bytes to stdout or stderr no faster than they are taken, and notices when nobody reads. */
import { once } from 'node:events';

export class ByteSink {
  private readonly stream: NodeJS.WriteStream;
  private isClosed = false;

  /** @param onClosed the reader has gone, as `head` does once it has seen enough */
  constructor(stream: NodeJS.WriteStream, onClosed: () => void) {
    this.stream = stream;
    stream.on('error', (failure: NodeJS.ErrnoException) => {
      if (failure.code !== 'EPIPE') throw failure;
      if (!this.isClosed) onClosed();
      this.isClosed = true;
    });
  }

  async write(bytes: Uint8Array | string): Promise<void> {
    if (this.isClosed || this.stream.write(bytes)) return;
    const settled = new AbortController();
    const { signal } = settled;
    const either = ['drain', 'close'].map((event) => once(this.stream, event, { signal }));
    await Promise.race(either).catch(() => undefined);
    // The one that did not come is listened for no more.
    settled.abort();
  }
}
