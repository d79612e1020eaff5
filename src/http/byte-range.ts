/** The header Range of a request, of which a server may leave alone what it does not understand. */

/** First and last byte, or so many at the end. */
export type ByteRange =
  | { readonly tag: 'from'; readonly first: number; readonly last: number }
  | { readonly tag: 'suffix'; readonly count: number };

/** Undefined: none, one of a form that is not served (several ranges, other units), or nonsense. */
export function parseRange(header: string | undefined): ByteRange | undefined {
  const [, from, to] = /^bytes=\s*(\d{0,15})-(\d{0,15})$/i.exec(header ?? '') ?? [];
  if (from === undefined || to === undefined || from + to === '') return undefined;
  if (from === '') return { tag: 'suffix', count: Number(to) };
  const last = to === '' ? Number.POSITIVE_INFINITY : Number(to);
  return Number(from) <= last ? { tag: 'from', first: Number(from), last } : undefined;
}

/** Undefined: no byte of it is there. */
export function rangeWithin(
  range: ByteRange,
  length: number,
): { first: number; last: number } | undefined {
  const first = range.tag === 'from' ? range.first : Math.max(0, length - range.count);
  const last = Math.min(range.tag === 'from' ? range.last : length, length - 1);
  return first <= last ? { first, last } : undefined;
}
