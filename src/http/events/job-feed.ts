/**
 * All that is known here of one job that somebody follows: its state, and the pieces of its output
 * that were read last. However many clients follow it, the job is looked at once, and clients that
 * have come equally far share one read; one that lags behind reads by itself, at its own pace.
 *
 * Nothing is pushed: a follower asks for what is next when its client has taken what was before,
 * and is woken when there may be more. What is kept is bounded: MAX_PIECES pieces a job.
 */
import type { ProgressEventJson, StateEventJson } from '../../api/event-json.ts';
import { isFinalStatus } from '../../api/job-json.ts';
import { MeshError, messageOf } from '../../base/errors.ts';
import type { JobId, NodeId } from '../../base/ids.ts';
import type { LiveRecord, OutputStream } from '../../core/calls.ts';
import { compareEpochs, type Fence, fenceText, isSameFence } from '../../core/record.ts';
import type { MeshService, OutputPart } from '../../node/service.ts';
import { toJobJson } from '../job-view.ts';
import { outputData } from './event-text.ts';

/** An event has at most 65 KiB then. */
const PIECE_BYTES = 32 * 1024;
const MAX_PIECES = 8;
const WAIT_MS = 5000;
const FIRST_LOOK_AGAIN_MS = 20;
/** A change of a job that another node decides about is not told here. */
const MAX_LOOK_AGAIN_MS = 1000;
const TRY_AGAIN_MS = 250;
/** A node that is started again is back by then, with every byte. */
const GAP_PATIENCE_MS = 6000;

/** A place in the output of an attempt. */
export interface Place {
  readonly fence: Fence;
  readonly stream: OutputStream;
  readonly offset: number;
}

/** What is at a place. */
export type Piece =
  | {
      readonly tag: 'bytes';
      /** Behind the place: what is between is nowhere any more. */
      readonly offset: number;
      readonly byteCount: number;
      readonly data: string;
    }
  | { readonly tag: 'end' }
  /** Nothing came, and another attempt is due or under way. */
  | { readonly tag: 'givenUp' }
  | { readonly tag: 'gone'; readonly reason: string };

/** Data of the events that tell of the job's state. */
export interface News {
  readonly live: LiveRecord;
  readonly state: string;
  /** Empty: none was told. */
  readonly progress: string;
}

export interface FeedReader {
  /** Something may have changed. */
  wake(): void;
  /** It has asked for this place and has not got it yet. */
  isWaitingFor(place: string): boolean;
}

export class JobFeed {
  readonly job: JobId;
  /** Set when nothing more can be told, of the job being unknown or of a fault. */
  failure: MeshError | undefined;
  private readonly service: MeshService;
  private readonly readers = new Set<FeedReader>();
  private readonly pieces = new Map<string, Piece>();
  private readonly polls = new Set<string>();
  private readonly closing = new AbortController();
  private newest: LiveRecord;
  private endData: string | undefined;
  private madeNews: News | undefined;
  private readonly wasUnfinished: boolean;
  private wakeWatch: () => void = () => {};
  private lookAgainMs = FIRST_LOOK_AGAIN_MS;

  constructor(service: MeshService, live: LiveRecord) {
    this.service = service;
    this.job = live.record.header.job;
    this.newest = live;
    this.wasUnfinished = !isFinalStatus(live.status);
    if (this.wasUnfinished) void this.watch();
  }

  get live(): LiveRecord {
    return this.newest;
  }

  get isFinal(): boolean {
    return isFinalStatus(this.newest.status);
  }

  /** The whole job as its end shows it. This and the next one are made once for all readers. */
  get end(): string {
    this.endData ??= JSON.stringify(toJobJson(this.newest));
    return this.endData;
  }

  get news(): News {
    if (this.madeNews?.live !== this.newest) this.madeNews = toNews(this.newest);
    return this.madeNews;
  }

  get readerCount(): number {
    return this.readers.size;
  }

  join(reader: FeedReader): void {
    this.readers.add(reader);
  }

  leave(reader: FeedReader): void {
    this.readers.delete(reader);
  }

  close(): void {
    this.closing.abort();
    this.wakeWatch();
  }

  /** Soon: an attempt has ended or an event was told. */
  lookAgain(): void {
    this.lookAgainMs = FIRST_LOOK_AGAIN_MS;
    this.wakeWatch();
  }

  /** Undefined: not known yet; the reader is woken. */
  at(place: Place): Piece | undefined {
    const key = placeKey(place);
    const piece = this.pieces.get(key);
    const isStale = piece?.tag === 'givenUp' && !this.isGivenUp(place.fence);
    if (piece && !isStale) return piece;
    this.pieces.delete(key);
    if (!this.polls.has(key)) void this.poll(place, key);
    return undefined;
  }

  // -------------------------------------------------------------- the state

  private async watch(): Promise<void> {
    const { signal } = this.closing;
    while (!signal.aborted && !this.isFinal) {
      // Listened to before the look: what changes in between is not missed.
      const { promise, resolve } = Promise.withResolvers<void>();
      this.wakeWatch = resolve;
      await this.look();
      if (this.isFinal || signal.aborted || this.failure) return;
      const timer = setTimeout(resolve, this.lookAgainMs);
      await promise;
      clearTimeout(timer);
      this.lookAgainMs = Math.min(MAX_LOOK_AGAIN_MS, this.lookAgainMs * 2);
    }
  }

  private async look(): Promise<void> {
    try {
      const live = await this.service.getJob(this.job);
      // A replica asked while owners change may know less than is known here already.
      if (this.isFinal) return;
      const before = this.news;
      this.newest = live;
      // Most looks find nothing new, and must not cost a turn of every follower.
      if (isNew(before, this.news)) this.wakeAll();
    } catch (failure) {
      // That nobody can be asked now passes, and the followers wait for it.
      if (!(failure instanceof MeshError) || !failure.retryable) this.fail(failure);
    }
  }

  private fail(failure: unknown): void {
    this.failure =
      failure instanceof MeshError ? failure : new MeshError('INTERNAL', messageOf(failure));
    this.wakeAll();
  }

  private wakeAll(): void {
    for (const reader of this.readers) reader.wake();
  }

  // -------------------------------------------------------------- the output

  private async poll(place: Place, key: string): Promise<void> {
    this.polls.add(key);
    const gapUntil = performance.now() + GAP_PATIENCE_MS;
    try {
      while (!this.closing.signal.aborted && this.isWanted(key)) {
        const piece = await this.read(place, gapUntil);
        if (!piece) continue;
        this.keep(key, piece);
        if (piece.tag !== 'bytes') this.lookAgain();
        break;
      }
    } catch (failure) {
      if (!this.closing.signal.aborted) this.fail(failure);
    } finally {
      this.polls.delete(key);
      this.wakeAll();
    }
  }

  private isWanted(key: string): boolean {
    for (const reader of this.readers) if (reader.isWaitingFor(key)) return true;
    return false;
  }

  private keep(key: string, piece: Piece): void {
    this.pieces.set(key, piece);
    const [oldest] = this.pieces.keys();
    if (this.pieces.size > MAX_PIECES && oldest !== undefined) this.pieces.delete(oldest);
  }

  /** Undefined: nothing yet. */
  private async read(
    { fence, stream, offset }: Place,
    gapUntil: number,
  ): Promise<Piece | undefined> {
    const { signal } = this.closing;
    try {
      const part = await this.service.readOutput(this.job, stream, {
        ...{ offset, fence, signal, maxBytes: PIECE_BYTES, waitMs: WAIT_MS },
      });
      const isGap = part.offset > offset && (offset > 0 || this.wasUnfinished);
      if (isGap && performance.now() < gapUntil) return await this.laterOn();
      if (part.bytes.length > 0) return toPiece(stream, part);
      if (part.isEnd) return { tag: 'end' };
      return this.isGivenUp(fence) ? { tag: 'givenUp' } : undefined;
    } catch (failure) {
      if (!(failure instanceof MeshError)) throw failure;
      if (failure.code === 'OUTPUT_GONE') {
        if (offset > 0 && performance.now() < gapUntil) return await this.laterOn();
        return { tag: 'gone', reason: failure.message };
      }
      if (!failure.retryable) throw failure;
      return await this.laterOn();
    }
  }

  private laterOn(): Promise<undefined> {
    return new Promise((resolve) => {
      const { signal } = this.closing;
      const settle = (): void => {
        clearTimeout(timer);
        signal.removeEventListener('abort', settle);
        resolve(undefined);
      };
      const timer = setTimeout(settle, TRY_AGAIN_MS);
      signal.addEventListener('abort', settle, { once: true });
    });
  }

  /** As far as it is known: a replica that is asked while owners change may lag behind. */
  isGivenUp(fence: Fence): boolean {
    const { state } = this.newest.record.job;
    if (state.tag === 'pending') return true;
    const newest = newestAttempt(this.newest);
    if (state.tag === 'final') return !newest || !isSameFence(newest.fence, fence);
    return newest !== undefined && compareFences(newest.fence, fence) > 0;
  }
}

/** Undefined: none is under way, and none has decided the job. */
export function newestAttempt({
  record,
}: LiveRecord): { fence: Fence; executor: NodeId } | undefined {
  const { state } = record.job;
  if (state.tag === 'granted' || state.tag === 'revoked') return state.grant;
  return state.tag === 'final' ? state.final.outcome : undefined;
}

export const compareFences = (one: Fence, other: Fence): number =>
  compareEpochs(one.epoch, other.epoch) || one.attempt - other.attempt;

function isNew(before: News, after: News): boolean {
  const one = before.live.record.job.state.tag;
  const other = after.live.record.job.state.tag;
  return before.state !== after.state || before.progress !== after.progress || one !== other;
}

function toNews(live: LiveRecord): News {
  const json = toJobJson(live, 0);
  const state: StateEventJson = {
    job_id: json.job_id,
    status: json.status,
    cancelling: json.cancelling,
    settling: json.settling,
    target_node_id: json.target_node_id,
    attempt: json.attempt,
    fence: json.fence,
    started_at: json.started_at,
  };
  const { progress, progress_message } = json;
  const told: ProgressEventJson | undefined =
    progress === null ? undefined : { progress, progress_message: progress_message ?? '' };
  return { live, state: JSON.stringify(state), progress: told ? JSON.stringify(told) : '' };
}

export const placeKey = ({ fence, stream, offset }: Place): string =>
  `${fenceText(fence)}:${stream}:${offset}`;

function toPiece(stream: OutputStream, { offset, bytes, isTruncated }: OutputPart): Piece {
  return { tag: 'bytes', offset, ...outputData({ stream, offset, bytes, isTruncated }) };
}
