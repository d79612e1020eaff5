/**
 * A job's output as a stream of bytes, read piece by piece as the client takes it: nothing is
 * gathered here, however long it is. A followed output ends when its attempt is over, also when
 * that attempt was given up and another node runs the next one; which attempt the bytes are of is
 * in a header, and a client goes on where it stopped by naming attempt and offset.
 */
import { HEADERS } from '../api/api.ts';
import { MeshError, messageOf } from '../base/errors.ts';
import { asNodeId, isNodeId, type JobId } from '../base/ids.ts';
import type { OutputStream } from '../core/calls.ts';
import { type Fence, fenceText, isSameFence } from '../core/record.ts';
import type { MeshService, OutputPart } from '../node/service.ts';
import { badQuery, type Query } from './json-request.ts';

const PIECE_BYTES = 128 * 1024;
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
}

export interface OutputAnswer {
  readonly headers: Readonly<Record<string, string>>;
  readonly body: ReadableStream<Uint8Array>;
}

/** @throws MeshError BAD_REQUEST */
export function parseOutputRequest(job: JobId, query: Query): OutputRequest {
  const attempt = query.text('attempt');
  return {
    job,
    stream: query.choice('stream', ['stdout', 'stderr']),
    offset: query.integer('offset', { min: 0, max: Number.MAX_SAFE_INTEGER, fallback: 0 }),
    isFollowed: query.choice('follow', ['false', 'true']) === 'true',
    fence: attempt === undefined ? undefined : parseFence(attempt),
  };
}

function parseFence(text: string): Fence {
  const [, counter, node, attempt] =
    /^(\d{1,15})\.(node-[0-9a-f]{32})\.(\d{1,9})$/.exec(text) ?? [];
  if (counter === undefined || node === undefined || !isNodeId(node)) {
    badQuery(`attempt must be what an earlier answer had as ${HEADERS.attempt}`);
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
  return {
    headers: headersOf(first),
    body: reading.toStream(first, ends.onCut),
  };
}

function headersOf(part: OutputPart): Record<string, string> {
  return {
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
  private isOver = false;
  private isBegun = false;

  constructor(service: MeshService, request: OutputRequest, signal: AbortSignal) {
    this.service = service;
    this.request = request;
    this.signal = signal;
    this.offset = request.offset;
    this.fence = request.fence;
  }

  async next(waitMs: number): Promise<OutputPart> {
    const { job, stream, isFollowed } = this.request;
    const part = await this.service.readOutput(job, stream, {
      offset: this.offset,
      maxBytes: PIECE_BYTES,
      ...(isFollowed && { waitMs }),
      ...(this.fence && { fence: this.fence }),
      signal: this.signal,
    });
    // Where only the end is left there is a gap: a client may begin behind it, by the header that
    // says so, but must not be led across it unknowing.
    if (this.isBegun && part.offset > this.offset) {
      throw new MeshError('OUTPUT_GONE', `${job}: nothing is kept from ${this.offset} on.`);
    }
    this.isBegun = true;
    this.fence ??= part.fence;
    this.offset = part.offset + part.bytes.length;
    this.isOver = part.isEnd || (part.bytes.length === 0 && (await this.isAllThereIs()));
    return part;
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
