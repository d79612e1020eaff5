/**
 * A file as the body of an answer, read piece by piece as the client takes it, one piece ahead. One
 * that is sent whole is checked on the way: a copy that turns out to be damaged is thrown away and the
 * connection cut before its last piece, so that the client asks again and gets another copy.
 */
import { createHash } from 'node:crypto';
import type { OpenFile } from '../node/service.ts';

const PIECE_BYTES = 256 * 1024;

interface Sending {
  readonly sha256: string;
  readonly begin: number;
  /** Behind its last byte. */
  readonly end: number;
  readonly signal: AbortSignal;
  /** The rest cannot be read: the client must see a broken connection and not an end. */
  readonly onCut: () => void;
}

export function streamOf(file: OpenFile, sending: Sending): ReadableStream<Uint8Array> {
  const { sha256, begin, end, signal, onCut } = sending;
  const isAll = begin === 0 && end === file.totalBytes;
  const hash = isAll && file.damaged ? createHash('sha256') : undefined;
  let offset = begin;
  let ahead: Promise<Uint8Array> | undefined;
  const readOn = async (): Promise<Uint8Array> =>
    offset < end ? file.read(offset, Math.min(PIECE_BYTES, end - offset)) : new Uint8Array(0);
  signal.addEventListener('abort', () => file.close(), { once: true });
  const pull = async (controller: ReadableStreamDefaultController<Uint8Array>): Promise<void> => {
    try {
      const bytes = await (ahead ?? readOn());
      signal.throwIfAborted();
      offset += bytes.length;
      hash?.update(bytes);
      const isOver = offset >= end;
      if (bytes.length === 0 && !isOver) throw new Error('it is shorter than it was');
      if (isOver && hash && hash.digest('hex') !== sha256) {
        await file.damaged?.();
        throw new Error('it is damaged');
      }
      if (bytes.length > 0) controller.enqueue(bytes);
      if (!isOver) {
        ahead = readOn();
        // Whoever takes it hears of it.
        ahead.catch(() => {});
        return;
      }
      file.close();
      controller.close();
    } catch {
      // Whoever reads on asks anew, and is told by that answer what is wrong.
      file.close();
      onCut();
    }
  };
  return new ReadableStream({ pull, cancel: () => file.close() }, { highWaterMark: 0 });
}
