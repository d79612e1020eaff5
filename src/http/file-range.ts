/** Which bytes a request is about (RFC 9110, section 14). */
import type { IncomingHttpHeaders } from 'node:http';
import { MeshError } from '../base/errors.ts';

/**
 * Of an upload: the whole, by its Content-Length, or a piece that says where it lies.
 * @throws MeshError BAD_REQUEST
 */
export function parseContentRange(headers: IncomingHttpHeaders): {
  offset: number;
  totalBytes: number;
} {
  const range = headers['content-range'];
  const length = headers['content-length'];
  if (range === undefined) {
    if (length === undefined) return bad('An upload needs a Content-Length or a Content-Range.');
    return { offset: 0, totalBytes: Number(length) };
  }
  const [, first, last, total] = /^bytes (\d{1,15})-(\d{1,15})\/(\d{1,15})$/.exec(range) ?? [];
  const [offset, end, totalBytes] = [Number(first), Number(last) + 1, Number(total)];
  const isSound = total !== undefined && offset < end && end <= totalBytes;
  if (!isSound) bad('Content-Range must be of the form `bytes FIRST-LAST/TOTAL`.');
  if (length !== undefined && Number(length) !== end - offset)
    bad('Content-Range names another number of bytes than Content-Length.');
  return { offset, totalBytes };
}

function bad(sentence: string): never {
  throw new MeshError('BAD_REQUEST', sentence);
}

/**
 * Of a download. Undefined: all of it, also where several ranges are asked for, or other units: the
 * standard lets a server answer these as if none had been asked for.
 * @throws MeshError BAD_RANGE
 */
export function parseRange(
  header: string | undefined,
  totalBytes: number,
): { begin: number; end: number } | undefined {
  const match = /^bytes=(\d{0,15})-(\d{0,15})$/.exec(header ?? '');
  if (!match || match[0] === 'bytes=-') return undefined;
  const [, first = '', last = ''] = match;
  const range =
    first === ''
      ? { begin: Math.max(0, totalBytes - Number(last)), end: totalBytes }
      : {
          begin: Number(first),
          end: last === '' ? totalBytes : Math.min(totalBytes, Number(last) + 1),
        };
  if (range.begin < range.end) return range;
  throw new MeshError(
    'BAD_RANGE',
    `The file has ${totalBytes} bytes: nothing of it is in the range ${header}.`,
  );
}
