/**
 * The last bytes that a terminal has shown, by their offset in all that it ever showed. What its
 * client has not seen is never dropped: the program is made to wait instead.
 */

/** Kept after the client said that it has them: what was on its way when a connection broke. */
const KEPT_BYTES = 256 * 1024;
/** Not seen by the client: more make the program wait. */
const MAX_UNSEEN_BYTES = 256 * 1024;

export class Scrollback {
  private readonly chunks: Buffer[] = [];
  /** Of the first byte kept. */
  private start = 0;
  private end = 0;
  private seen = 0;

  get endOffset(): number {
    return this.end;
  }

  get isFull(): boolean {
    return this.end - this.seen > MAX_UNSEEN_BYTES;
  }

  add(chunk: Buffer): void {
    this.chunks.push(chunk);
    this.end += chunk.length;
    this.dropOld();
  }

  /** The client has all before this. */
  see(offset: number): void {
    this.seen = Math.min(this.end, Math.max(this.seen, offset));
    this.dropOld();
  }

  private dropOld(): void {
    for (let first = this.chunks[0]; first; first = this.chunks[0]) {
      if (this.start + first.length > this.seen - KEPT_BYTES) return;
      this.chunks.shift();
      this.start += first.length;
    }
  }

  /** From there on, or from the first byte that is kept; at most so many. */
  read(offset: number, maxBytes: number): { offset: number; bytes: Buffer } {
    const from = Math.min(this.end, Math.max(offset, this.start));
    const parts: Buffer[] = [];
    let at = this.start;
    let leftBytes = maxBytes;
    for (const chunk of this.chunks) {
      const part = chunk.subarray(Math.max(0, from - at), Math.max(0, from - at) + leftBytes);
      at += chunk.length;
      if (part.length > 0) parts.push(part);
      leftBytes -= part.length;
      if (leftBytes === 0) break;
    }
    return { offset: from, bytes: Buffer.concat(parts) };
  }
}
