/**
 * A job's output as a stream of bytes, read piece by piece as the client takes it: no more than
 * the next two are gathered here, however long it is. A followed output ends when its attempt is over, also when
 * that attempt was given up and another node runs the next one; which attempt the bytes are of is
 * in a header, and a client goes on where it stopped by naming attempt and offset, or as HTTP has it
 * (RFC 9110, 14): by a Range, with the ETag of the attempt in If-Range. What was printed at an offset
 * stays there, so bytes of an output that still grows may be put together as well; only its length
 * is not known, and a Content-Range says `*`.
 */
import { HEADERS } from '../api/api.ts';
import { MeshError, messageOf } from '../base/errors.ts';
import { asNodeId, isNodeId, type JobId } from '../base/ids.ts';
import type { OutputStream } from '../core/calls.ts';
import { type Fence, fenceText, isSameFence } from '../core/record.ts';
import type { MeshService, OutputPart, OutputSource } from '../node/service.ts';
import { toJobJson } from './job-view.ts';
import { badQuery, type Query } from './json-request.ts';

/** One goes from node to node in one frame, with what else it says. */
const PIECE_BYTES = 255 * 1024;
/** Asked for while the one before is written to the client, where they are known to be there. */
const PIECES_AHEAD = 2;
/** The first answer comes at the latest after so long, so that clients know they are heard. */
const FIRST_WAIT_MS = 500;
const WAIT_MS = 5000;

export const OUTPUT_PARAMETERS = ['stream', 'offset', 'follow', 'attempt'] as const;

export interface OutputRequest {
  readonly job: JobId;
  readonly stream: OutputStream;
  readonly offset: number;
  readonly isFollowed: boolean;
  /** Undefined: the newest. */
  readonly fence: Fence | undefined;
  /** Where to stop, if not at the end. */
  readonly endOffset?: number | undefined;
}

export interface OutputAnswer {
  readonly status: 200 | 206;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: ReadableStream<Uint8Array>;
}

/** @throws MeshError BAD_REQUEST; of a numbered attempt as those of getJob */
export async function parseOutputRequest(
  service: MeshService,
  job: JobId,
  query: Query,
): Promise<OutputRequest> {
  const attempt = query.text('attempt');
  return {
    job,
    stream: query.choice('stream', ['stdout', 'stderr']),
    offset: query.integer('offset', { min: 0, max: Number.MAX_SAFE_INTEGER, fallback: 0 }),
    isFollowed: query.choice('follow', ['false', 'true']) === 'true',
    fence: attempt === undefined ? undefined : await fenceOf(service, job, attempt),
  };
}

/** @param attempt its fence, or its number among the attempts at this job */
async function fenceOf(service: MeshService, job: JobId, attempt: string): Promise<Fence> {
  if (!/^\d{1,9}$/.test(attempt)) return parseFence(attempt);
  const { attempts } = toJobJson(await service.getJob(job), 0);
  const found = attempts.findLast((each) => each.attempt === Number(attempt));
  if (found) return parseFence(found.fence);
  const known = attempts.map((each) => each.attempt).join(', ') || 'none yet';
  return badQuery(`there is no attempt ${attempt} at this job; there is ${known}`);
}

function parseFence(text: string): Fence {
  const [, counter, node, attempt] =
    /^(\d{1,15})\.(node-[0-9a-f]{32})\.(\d{1,9})$/.exec(text) ?? [];
  if (counter === undefined || node === undefined || !isNodeId(node)) {
    badQuery(`attempt must be a number, or what an earlier answer had as ${HEADERS.attempt}`);
  }
  return { epoch: { counter: Number(counter), node: asNodeId(node) }, attempt: Number(attempt) };
}

/**
 * Settles with the first piece at hand, so that what cannot be read is an error and not an
 * empty output. `onCut` is called when the rest cannot be read: the client must see a broken
 * connection, not an end.
 * @throws MeshError JOB_NOT_FOUND, NOT_KNOWABLE, OUTPUT_GONE, NODE_UNREACHABLE
 */
export async function openOutput(
  service: MeshService,
  request: OutputRequest,
  ends: { signal: AbortSignal; onCut: (reason: string) => void },
): Promise<OutputAnswer> {
  const reading = new Reading(service, request, ends.signal);
  const first = await reading.next(FIRST_WAIT_MS);
  // A length can be promised once nothing more is printed.
  const length = first.totalBytes === undefined ? undefined : keptBytesOf(first) - first.offset;
  return {
    status: 200,
    headers: {
      ...headersOf(first, request.stream),
      ...(length !== undefined && length >= 0 && { 'Content-Length': String(length) }),
    },
    body: reading.toStream(first, ends.onCut),
  };
}

/**
 * The bytes of a Range, once it is known which they are.
 * @throws MeshError like openOutput; OUTPUT_GONE also where only bytes behind its first one are left
 */
export async function openRange(
  service: MeshService,
  request: OutputRequest,
  range: { first: number; last: number; ends: Parameters<typeof openOutput>[2] },
): Promise<OutputAnswer> {
  const { first, last, ends } = range;
  const wanted = { ...request, isFollowed: false, offset: first, endOffset: last + 1 };
  const reading = new Reading(service, wanted, ends.signal);
  const part = await reading.next(FIRST_WAIT_MS);
  if (part.offset > first) {
    throw new MeshError(
      'OUTPUT_GONE',
      `Of the bytes before ${part.offset} none can be had: the node that has them cannot be asked.`,
    );
  }
  const length = part.totalBytes === undefined ? '*' : String(keptBytesOf(part));
  return {
    status: 206,
    headers: {
      ...headersOf(part, request.stream),
      'Content-Range': `bytes ${first}-${last}/${length}`,
      'Content-Length': String(last + 1 - first),
    },
    body: reading.toStream(part, ends.onCut),
  };
}

/** How much is there now, and of which attempt; nothing is read. @throws MeshError like openOutput */
export async function probeOutput(
  service: MeshService,
  { job, stream, fence }: OutputRequest,
): Promise<{ keptBytes: number; fence: Fence | undefined; etag: string | undefined }> {
  const range = { offset: 0, maxBytes: 0, ...(fence && { fence }) };
  const part = await service.readOutput(job, stream, range);
  return { keptBytes: keptBytesOf(part), fence: part.fence, etag: etagOf(part, stream) };
}

const keptBytesOf = ({ keptBytes, totalBytes }: OutputPart): number => keptBytes ?? totalBytes ?? 0;

const etagOf = ({ fence }: OutputPart, stream: OutputStream): string | undefined =>
  fence && `"${fenceText(fence)}.${stream}"`;

function headersOf(part: OutputPart, stream: OutputStream): Record<string, string> {
  const etag = etagOf(part, stream);
  return {
    'Accept-Ranges': 'bytes',
    ...(etag && { ETag: etag }),
    [HEADERS.offset]: String(part.offset),
    [HEADERS.truncated]: String(part.isTruncated),
    ...(part.fence && { [HEADERS.attempt]: fenceText(part.fence) }),
    ...(part.totalBytes !== undefined && { [HEADERS.total]: String(part.totalBytes) }),
    ...(part.isTail && { [HEADERS.tail]: 'true' }),
  };
}

class Reading {
  private readonly service: MeshService;
  private readonly request: OutputRequest;
  private readonly signal: AbortSignal;
  private offset: number;
  private fence: Fence | undefined;
  private source: OutputSource | undefined;
  private isOver = false;
  private isBegun = false;
  /** Of the pieces from `offset` on, in order. */
  private ahead: Promise<OutputPart>[] = [];

  constructor(service: MeshService, request: OutputRequest, signal: AbortSignal) {
    this.service = service;
    this.request = request;
    this.signal = signal;
    this.offset = request.offset;
    this.fence = request.fence;
  }

  async next(waitMs: number): Promise<OutputPart> {
    const { isFollowed, endOffset = Number.POSITIVE_INFINITY } = this.request;
    // What failed is asked for again: with its time to wait, or for its reason.
    const asked = await this.ahead.shift()?.catch(() => undefined);
    const part = asked ?? (await this.ask(this.offset, isFollowed ? waitMs : 0));
    // Where only the end is left there is a gap: a client may begin behind it, by the header that
    // says so, but must not be led across it unknowing.
    if (this.isBegun && part.offset > this.offset) {
      throw new MeshError(
        'OUTPUT_GONE',
        `${this.request.job}: nothing is kept from ${this.offset} on.`,
      );
    }
    this.isBegun = true;
    this.fence ??= part.fence;
    this.source ??= part.source;
    this.offset = part.offset + part.bytes.length;
    const isAll = part.isEnd || this.offset >= endOffset;
    this.isOver = isAll || (part.bytes.length === 0 && (await this.isAllThereIs()));
    if (part.bytes.length < PIECE_BYTES) this.ahead = [];
    else this.askAhead(Math.min(keptBytesOf(part), endOffset));
    return part;
  }

  private ask(offset: number, waitMs: number): Promise<OutputPart> {
    const { job, stream, endOffset = Number.POSITIVE_INFINITY } = this.request;
    return this.service.readOutput(job, stream, {
      offset,
      maxBytes: Math.min(PIECE_BYTES, endOffset - offset),
      ...(waitMs > 0 && { waitMs }),
      ...(this.fence && { fence: this.fence }),
      source: this.source,
      signal: this.signal,
    });
  }

  /** Whole pieces only: what follows a shorter one would not be what follows it. */
  private askAhead(endOffset: number): void {
    for (;;) {
      const offset = this.offset + this.ahead.length * PIECE_BYTES;
      if (this.ahead.length >= PIECES_AHEAD || offset + PIECE_BYTES > endOffset) return;
      const part = this.ask(offset, 0);
      // Whoever takes it hears of it.
      part.catch(() => {});
      this.ahead.push(part);
    }
  }

  /** Nothing came within the time: is there an attempt that more could come from? */
  private async isAllThereIs(): Promise<boolean> {
    if (!this.request.isFollowed || this.signal.aborted) return true;
    if (!this.fence) return false;
    const { state } = (await this.service.getJob(this.request.job)).record.job;
    return (
      state.tag === 'pending' ||
      (state.tag === 'granted' && !isSameFence(state.grant.fence, this.fence))
    );
  }

  toStream(first: OutputPart, onCut: (reason: string) => void): ReadableStream<Uint8Array> {
    let ready: Uint8Array | undefined = first.bytes;
    const pull = async (controller: ReadableStreamDefaultController<Uint8Array>): Promise<void> => {
      try {
        let bytes = ready ?? (await this.next(WAIT_MS)).bytes;
        ready = undefined;
        while (bytes.length === 0 && !this.isOver) bytes = (await this.next(WAIT_MS)).bytes;
        this.signal.throwIfAborted();
        if (bytes.length > 0) controller.enqueue(bytes);
        if (this.isOver) controller.close();
      } catch (failure) {
        // An error of the stream would be printed with its stack by the server below, and a
        // close would look like the end of the output.
        onCut(reasonOf(failure));
      }
    };
    return new ReadableStream({ pull }, { highWaterMark: 0 });
  }
}

const reasonOf = (failure: unknown): string =>
  failure instanceof MeshError ? `${failure.code}: ${failure.message}` : messageOf(failure);
