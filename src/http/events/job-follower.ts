/**
 * One client that follows a job: where it is, and what it is to be told next.
 *
 * | told       | when                                                                         |
 * |------------|------------------------------------------------------------------------------|
 * | `state`    | first, and after each change                                                 |
 * | `progress` | when its attempt has told some                                               |
 * | `attempt`  | before the first byte of an attempt that the client has nothing of           |
 * | `output`   | for every byte of both streams, each once and in the order of its stream     |
 * | `gap`      | before bytes that do not follow on the ones before                           |
 * | `end`      | last, when the job is final and all that its attempt printed has been told   |
 * | `error`    | last, when the job cannot be told of any more                                |
 */
import type { AttemptEventJson, GapEventJson } from '../../api/event-json.ts';
import { toProblem } from '../../api/problem.ts';
import type { OutputStream } from '../../core/calls.ts';
import { type Fence, fenceText } from '../../core/record.ts';
import { eventText, HEARTBEAT, type Position, positionText } from './event-text.ts';
import { type FeedReader, type JobFeed, newestAttempt, type Piece, placeKey } from './job-feed.ts';

export interface JobFollowerSetup {
  readonly feed: JobFeed;
  readonly after: Position;
  readonly streams: readonly OutputStream[];
}

type Mutable<T> = { -readonly [Key in keyof T]: T[Key] };

export class JobFollower implements FeedReader {
  /** Nothing more will be told. */
  isOver = false;
  private readonly feed: JobFeed;
  private readonly streams: readonly OutputStream[];
  private readonly position: Mutable<Position>;
  private readonly ended = new Map<OutputStream, 'end' | 'givenUp'>();
  private readonly awaited = new Set<string>();
  private toldState = '';
  private toldProgress = '';
  private isBeatDue = false;
  private turn = 0;
  private onWake: (() => void) | undefined;

  constructor({ feed, after, streams }: JobFollowerSetup) {
    this.feed = feed;
    this.streams = streams;
    this.position = { ...after };
  }

  wake(): void {
    const { onWake } = this;
    this.onWake = undefined;
    onWake?.();
  }

  /** Settles when `next` may have something. */
  woken(): Promise<void> {
    return new Promise((resolve) => {
      this.onWake = resolve;
    });
  }

  /** A client that has taken all hears that there is still somebody. */
  beat(): void {
    if (!this.onWake) return;
    this.isBeatDue = true;
    this.wake();
  }

  isWaitingFor(place: string): boolean {
    return this.awaited.has(place);
  }

  /** The next event; undefined: none now. */
  next(): string | undefined {
    if (this.isOver) return undefined;
    const text = this.news() ?? this.nextOutput() ?? this.nextAttempt() ?? this.lastEvent();
    if (text === undefined && this.isBeatDue) {
      this.isBeatDue = false;
      return HEARTBEAT;
    }
    this.isBeatDue &&= text === undefined;
    return text;
  }

  private event(name: string, data: string): string {
    return eventText(name, data, positionText(this.position));
  }

  // -------------------------------------------------------------- the state

  private news(): string | undefined {
    const { state, progress } = this.feed.news;
    if (state !== this.toldState) {
      this.toldState = state;
      return this.event('state', state);
    }
    if (progress === this.toldProgress) return undefined;
    this.toldProgress = progress;
    return progress === '' ? undefined : this.event('progress', progress);
  }

  // -------------------------------------------------------------- the output

  private nextOutput(): string | undefined {
    const { fence } = this.position;
    if (!fence) return undefined;
    for (let i = 0; i < this.streams.length; i++) {
      // In turn: one that is printed without end does not keep the other back.
      const stream = this.streams[this.turn++ % this.streams.length];
      if (!stream || this.hasEnded(stream, fence)) continue;
      const text = this.outputOf(stream, fence);
      if (text !== undefined) return text;
    }
    return undefined;
  }

  /** An attempt that seemed to be given up may go on, at a node that was thought dead. */
  private hasEnded(stream: OutputStream, fence: Fence): boolean {
    if (this.ended.get(stream) === 'givenUp' && !this.feed.isGivenUp(fence))
      this.ended.delete(stream);
    return this.ended.has(stream);
  }

  private outputOf(stream: OutputStream, fence: Fence): string | undefined {
    const place = { fence, stream, offset: this.position[stream] };
    const key = placeKey(place);
    this.awaited.add(key);
    const piece = this.feed.at(place);
    if (!piece) return undefined;
    this.awaited.delete(key);
    return this.tell(stream, piece);
  }

  private tell(stream: OutputStream, piece: Piece): string | undefined {
    const from = this.position[stream];
    switch (piece.tag) {
      case 'end':
      case 'givenUp':
        this.ended.set(stream, piece.tag);
        return undefined;
      case 'gone': {
        this.ended.set(stream, 'end');
        const gap: GapEventJson = { stream, from, to: null, reason: piece.reason };
        return this.event('gap', JSON.stringify(gap));
      }
      case 'bytes': {
        const gap = piece.offset > from ? this.gapTo(stream, piece.offset) : '';
        this.position[stream] = piece.offset + piece.byteCount;
        return gap + this.event('output', piece.data);
      }
    }
  }

  private gapTo(stream: OutputStream, to: number): string {
    const reason = 'the node that has them cannot be asked';
    const gap: GapEventJson = { stream, from: this.position[stream], to, reason };
    this.position[stream] = to;
    return this.event('gap', JSON.stringify(gap));
  }

  // -------------------------------------------------------------- attempts and the end

  private get isAttemptTold(): boolean {
    return !this.position.fence || this.streams.every((stream) => this.ended.has(stream));
  }

  private nextAttempt(): string | undefined {
    const newest = newestAttempt(this.feed.live);
    const { fence } = this.position;
    if (!newest || !this.isAttemptTold) return undefined;
    // A replica that lags behind must not lead back to an attempt before.
    if (fence && !this.feed.isGivenUp(fence)) return undefined;
    this.ended.clear();
    this.awaited.clear();
    Object.assign(this.position, { fence: newest.fence, stdout: 0, stderr: 0 });
    const attempt: AttemptEventJson = {
      attempt: newest.fence.attempt,
      fence: fenceText(newest.fence),
      node_id: newest.executor,
    };
    return this.event('attempt', JSON.stringify(attempt));
  }

  private lastEvent(): string | undefined {
    const { failure } = this.feed;
    if (failure) {
      this.isOver = true;
      return this.event('error', JSON.stringify(toProblem(failure)));
    }
    if (!this.feed.isFinal || !this.isAttemptTold) return undefined;
    this.isOver = true;
    return this.event('end', this.feed.end);
  }
}
