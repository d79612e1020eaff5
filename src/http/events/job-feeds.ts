/**
 * The jobs that are followed at this node, each with its one feed, and the streams of those who
 * follow. An idle stream is a promise that waits and a place in a set: nothing is asked for it.
 */
import type { JobId } from '../../base/ids.ts';
import type { OutputStream } from '../../core/calls.ts';
import type { MeshService } from '../../node/service.ts';
import type { Position } from './event-text.ts';
import { JobFeed } from './job-feed.ts';
import { JobFollower } from './job-follower.ts';

export interface Following {
  readonly job: JobId;
  readonly after: Position;
  readonly streams: readonly OutputStream[];
  /** The client has gone, or the server stops. */
  readonly signal: AbortSignal;
  /** The stream breaks off: its client must not take it for the end. */
  readonly onCut: () => void;
}

export class JobFeeds {
  private readonly service: MeshService;
  private readonly heartbeatMs: number;
  private readonly feeds = new Map<JobId, JobFeed>();
  private readonly followers = new Set<JobFollower>();
  private unsubscribe: (() => void) | undefined;
  private timer: NodeJS.Timeout | undefined;

  constructor(service: MeshService, heartbeatMs: number) {
    this.service = service;
    this.heartbeatMs = heartbeatMs;
  }

  start(): void {
    this.unsubscribe ??= this.service.subscribe((event) => {
      if ('job' in event) this.feeds.get(event.job)?.lookAgain();
    });
    this.timer ??= setInterval(() => {
      for (const follower of this.followers) follower.beat();
    }, this.heartbeatMs).unref();
  }

  stop(): void {
    this.unsubscribe?.();
    this.unsubscribe = undefined;
    clearInterval(this.timer);
    this.timer = undefined;
    for (const feed of this.feeds.values()) feed.close();
    this.feeds.clear();
  }

  /** @throws MeshError JOB_NOT_FOUND, NOT_KNOWABLE */
  async follow(following: Following): Promise<ReadableStream<Uint8Array>> {
    const { job, signal, onCut } = following;
    const feed = this.feeds.get(job) ?? this.add(new JobFeed(this.service, await this.look(job)));
    const follower = new JobFollower({ feed, ...following });
    feed.join(follower);
    this.followers.add(follower);
    const leave = (): void => {
      this.followers.delete(follower);
      feed.leave(follower);
      if (feed.readerCount === 0 && this.feeds.get(job) === feed) {
        feed.close();
        this.feeds.delete(job);
      }
      follower.wake();
    };
    if (signal.aborted) leave();
    else signal.addEventListener('abort', leave, { once: true });
    return toStream(follower, { signal, onCut });
  }

  private look(job: JobId) {
    return this.service.getJob(job);
  }

  /** Another client may have come first while the job was looked for. */
  private add(feed: JobFeed): JobFeed {
    const known = this.feeds.get(feed.job);
    if (known) {
      feed.close();
      return known;
    }
    this.feeds.set(feed.job, feed);
    return feed;
  }
}

const encoder = new TextEncoder();

/** Each event is made when the one before is on its way: a slow reader holds no more than one. */
function toStream(
  follower: JobFollower,
  { signal, onCut }: Pick<Following, 'signal' | 'onCut'>,
): ReadableStream<Uint8Array> {
  const pull = async (controller: ReadableStreamDefaultController<Uint8Array>): Promise<void> => {
    for (;;) {
      if (signal.aborted) return onCut();
      const text = follower.next();
      if (text !== undefined) controller.enqueue(encoder.encode(text));
      if (follower.isOver) controller.close();
      if (text !== undefined || follower.isOver) return;
      await follower.woken();
    }
  };
  return new ReadableStream({ pull }, { highWaterMark: 0 });
}
