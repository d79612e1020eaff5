/**
 * The text form of server-sent events, and of the position that is their id. Hono's streamSSE
 * writes into a queue; here every event is made when its reader takes it, so that a slow reader
 * holds one event and no more, and the text of an output is made once for all who follow it.
 */
import { isUtf8 } from 'node:buffer';
import { NO_ATTEMPT_YET, type OutputEventJson } from '../../api/event-json.ts';
import { MeshError } from '../../base/errors.ts';
import { asNodeId } from '../../base/ids.ts';
import type { OutputStream } from '../../core/calls.ts';
import { type Fence, fenceText } from '../../core/record.ts';

/** How much of a job's output a reader has. */
export interface Position {
  /** Undefined: no attempt has begun. */
  readonly fence: Fence | undefined;
  readonly stdout: number;
  readonly stderr: number;
}

export const START: Position = { fence: undefined, stdout: 0, stderr: 0 };

/** A line that no client takes for an event; it keeps a connection from being taken for dead. */
export const HEARTBEAT = ':\n\n';

/** @param data without line breaks, as JSON is */
export const eventText = (event: string, data: string, id?: string): string =>
  `event: ${event}\n${id === undefined ? '' : `id: ${id}\n`}data: ${data}\n\n`;

export const positionText = ({ fence, stdout, stderr }: Position): string =>
  `${fence ? fenceText(fence) : NO_ATTEMPT_YET}:${stdout}:${stderr}`;

const POSITION =
  /^(?:-|(?<counter>\d{1,15})\.(?<node>node-[0-9a-f]{32})\.(?<attempt>\d{1,9})):(?<stdout>\d{1,15}):(?<stderr>\d{1,15})$/;

/** @throws MeshError BAD_REQUEST */
export function parsePosition(text: string): Position {
  const { counter, node, attempt, stdout, stderr } = POSITION.exec(text)?.groups ?? {};
  if (stdout === undefined || stderr === undefined) {
    throw new MeshError(
      'BAD_REQUEST',
      'Last-Event-ID (or after) must be the id of an event of this job, as it was sent.',
    );
  }
  const offsets = { stdout: Number(stdout), stderr: Number(stderr) };
  if (node === undefined) return START;
  const epoch = { counter: Number(counter), node: asNodeId(node) };
  return { fence: { epoch, attempt: Number(attempt) }, ...offsets };
}

/**
 * The data of an output event, and how many of the bytes are in it: a character that the last byte
 * cuts in two is left for the next event, unless it is all there is.
 */
export function outputData(part: {
  readonly stream: OutputStream;
  readonly offset: number;
  readonly bytes: Uint8Array;
  readonly isTruncated: boolean;
}): { data: string; byteCount: number } {
  const { stream, offset, isTruncated } = part;
  const bytes = part.bytes.subarray(0, wholeCharacters(part.bytes) || part.bytes.length);
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  const make = (content: Pick<OutputEventJson, 'text' | 'base64'>): string =>
    JSON.stringify({ stream, offset, ...content, ...(isTruncated && { truncated: true }) });
  const text = isUtf8(buffer) ? make({ text: buffer.toString('utf8') }) : undefined;
  // Six characters stand for a zero byte: what is mostly such is no text that anybody reads.
  const isReadable = text !== undefined && text.length <= ABOUT_CHARS + 2 * bytes.length;
  const data = isReadable ? text : make({ base64: buffer.toString('base64') });
  return { data, byteCount: bytes.length };
}

/** Of an event without its bytes. */
const ABOUT_CHARS = 100;

/** Length without a character that has begun at the end and is not whole. */
function wholeCharacters(bytes: Uint8Array): number {
  for (let back = 1; back <= Math.min(3, bytes.length); back++) {
    const byte = bytes[bytes.length - back] ?? 0;
    if ((byte & 0xc0) === 0x80) continue;
    const wanted = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1;
    return wanted > back ? bytes.length - back : bytes.length;
  }
  return bytes.length;
}
