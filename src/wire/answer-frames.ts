/**
 * An answer as the frames that carry it, a part in each. The bytes of a piece of a file or of an
 * output go out as they were read: the encoder would copy them twice into memory of its own, and with a large file
 * it is not the copying that costs, but the garbage collector, which is called for each 64 MiB of
 * memory outside of its heap.
 */
import type { Answer, OutputChunk } from '../core/calls.ts';
import { type AnswerError, encodeAnswer } from './answers.ts';
import { Writer } from './schema.ts';

/** What is not longer may as well be copied. */
const COPIED_BYTES = 16 * 1024;

const TAG = {
  frameAnswer: (6 << 3) | 2,
  partId: (1 << 3) | 0,
  partBytes: (2 << 3) | 2,
  partIsLast: (3 << 3) | 0,
  answerOutput: (5 << 3) | 2,
  answerBlob: (8 << 3) | 2,
  /** The rest is in BlobChunk and OutputChunk the same. */
  chunk: (1 << 3) | 2,
  chunkBytes: (1 << 3) | 2,
  blobTotalBytes: (2 << 3) | 0,
  outputOffset: (2 << 3) | 0,
  outputIsEnd: (3 << 3) | 0,
  outputIsTruncated: (4 << 3) | 0,
  outputKeptBytes: (5 << 3) | 0,
} as const;

/** Each frame with its length in front, in pieces that follow each other. */
export function* answerFrames(
  id: number,
  answer: Answer | AnswerError,
  partBytes: number,
): Generator<readonly Uint8Array[]> {
  const pieces = piecesOf(answer);
  const length = pieces.reduce((sum, piece) => sum + piece.length, 0);
  for (let from = 0; from === 0 || from < length; from += partBytes) {
    const end = Math.min(length, from + partBytes);
    yield [headOf(id, end - from, end === length), ...cut(pieces, from, end)];
  }
}

/** Joined they are what `parseAnswer` reads. */
function piecesOf(answer: Answer | AnswerError): readonly Uint8Array[] {
  const chunk = answer.kind === 'blob' || answer.kind === 'output' ? answer.chunk : undefined;
  if (!chunk || chunk.bytes.length <= COPIED_BYTES) return [encodeAnswer(answer)];
  const { bytes } = chunk;
  const [tag, fields] =
    'totalBytes' in chunk
      ? [TAG.answerBlob, Writer.create().uint32(TAG.blobTotalBytes).uint64(chunk.totalBytes)]
      : [TAG.answerOutput, outputFields(chunk)];
  const head = fields.uint32(TAG.chunkBytes).uint32(bytes.length).finish();
  return [nest(tag, nest(TAG.chunk, head, bytes.length), bytes.length), bytes];
}

function outputFields({ offset, isEnd, isTruncated, keptBytes }: OutputChunk) {
  const fields = Writer.create()
    .uint32(TAG.outputOffset)
    .uint64(offset)
    .uint32(TAG.outputIsEnd)
    .bool(isEnd)
    .uint32(TAG.outputIsTruncated)
    .bool(isTruncated);
  return keptBytes === undefined ? fields : fields.uint32(TAG.outputKeptBytes).uint64(keptBytes);
}

function headOf(id: number, bytes: number, isLast: boolean): Uint8Array {
  const partHead = Writer.create()
    .uint32(TAG.partId)
    .uint32(id)
    .uint32(TAG.partIsLast)
    .bool(isLast)
    .uint32(TAG.partBytes)
    .uint32(bytes)
    .finish();
  const frame = nest(TAG.frameAnswer, partHead, bytes);
  const length = Writer.create()
    .uint32(frame.length + bytes)
    .finish();
  return Buffer.concat([length, frame]);
}

/** A message in a field: its tag, its length, and what it begins with. @param bytes of what follows */
function nest(tag: number, head: Uint8Array, bytes: number): Uint8Array {
  const front = Writer.create()
    .uint32(tag)
    .uint32(head.length + bytes)
    .finish();
  return Buffer.concat([front, head]);
}

/** Windows onto what lies between, as if they were joined. */
function cut(pieces: readonly Uint8Array[], from: number, end: number): Uint8Array[] {
  let at = 0;
  return pieces.flatMap((piece) => {
    const window = piece.subarray(Math.max(0, from - at), Math.max(0, end - at));
    at += piece.length;
    return window.length > 0 ? [window] : [];
  });
}
