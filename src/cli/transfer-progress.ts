/** One line on a terminal that says how far a transfer is; nothing where nobody looks at it. */
import { visible } from './terminal.ts';

const SHOW_INTERVAL_MS = 200;

export class TransferProgress {
  private readonly what: string;
  private readonly totalBytes: number;
  private shownAt = performance.now();
  private isShown = false;

  /** @param what `uploading data.csv` */
  constructor(what: string, totalBytes: number) {
    this.what = visible(what);
    this.totalBytes = totalBytes;
  }

  show(bytes: number): void {
    const now = performance.now();
    if (!process.stderr.isTTY || now - this.shownAt < SHOW_INTERVAL_MS) return;
    this.shownAt = now;
    this.isShown = true;
    const percent = this.totalBytes === 0 ? 100 : Math.floor((100 * bytes) / this.totalBytes);
    process.stderr.write(`\r\x1b[Kmesh: ${this.what}: ${percent} %`);
  }

  /** Takes the line away. */
  end(): void {
    if (this.isShown) process.stderr.write('\r\x1b[K');
    this.isShown = false;
  }
}
