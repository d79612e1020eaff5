/**
 * Cuts a stream of bytes into frames. It holds one unfinished frame at most, and refuses a length
 * over the limit before anything of that frame is kept.
 */
import { MAX_FRAME_BYTES } from './limits.ts';

/** Four groups of seven bits hold every length up to the limit. */
const MAX_LENGTH_BYTES = 4;

export class FrameReader {
  /** Of the unfinished frame or length; joined only when it is whole, or slow peers cost squares. */
  private chunks: Uint8Array[] = [];
  private heldBytes = 0;
  private neededBytes = 1;

  /**
   * Gives each frame that is whole now, without its length, in order; its bytes are windows onto
   * the chunks. `onFrame` returns false to stop reading for good.
   * @returns false when the stream cannot be read any further: a length is over the limit
   */
  push(chunk: Uint8Array, onFrame: (bytes: Uint8Array) => boolean): boolean {
    this.chunks.push(chunk);
    this.heldBytes += chunk.length;
    if (this.heldBytes < this.neededBytes) return true;
    const buffer = this.join();
    let position = 0;
    for (;;) {
      const head = readLength(buffer, position);
      if (head === undefined) return false;
      const end = position + head.lengthBytes + head.frameBytes;
      if (!head.isWhole || end > buffer.length) {
        this.keep(buffer.subarray(position), head.isWhole ? end - position : 0);
        return true;
      }
      if (!onFrame(buffer.subarray(position + head.lengthBytes, end))) return true;
      position = end;
    }
  }

  private join(): Uint8Array {
    const [only] = this.chunks;
    return this.chunks.length === 1 && only ? only : Buffer.concat(this.chunks);
  }

  private keep(rest: Uint8Array, neededBytes: number): void {
    this.chunks = rest.length > 0 ? [rest] : [];
    this.heldBytes = rest.length;
    this.neededBytes = Math.max(neededBytes, rest.length + 1);
  }
}

/** The varint at `position`; undefined: longer or larger than any frame's. */
function readLength(buffer: Uint8Array, position: number) {
  let frameBytes = 0;
  for (let index = 0; index < MAX_LENGTH_BYTES; index++) {
    const byte = buffer[position + index];
    if (byte === undefined) return { isWhole: false, frameBytes: 0, lengthBytes: index };
    frameBytes |= (byte & 0x7f) << (7 * index);
    if (byte < 0x80) {
      if (frameBytes > MAX_FRAME_BYTES) return undefined;
      return { isWhole: true, frameBytes, lengthBytes: index + 1 };
    }
  }
  return undefined;
}
