/**
 * An attempt that runs inside this node's process (a request, a container that is followed, a
 * handler) instead of being a process group: it ends with the node and is never left to the next
 * one. It is told twice that it is to end, by two signals: first `asked`, and `forced` once its
 * grace time is over.
 *
 * What runs here cannot be killed from outside. Work that does not settle a moment after it was
 * forced is taken for over, so that a cancelled job ends and a node can stop; that something of it
 * may go on is told with its end.
 */
import type { SupervisedLease } from '../core/effects.ts';
import type { AttemptEnd } from '../core/job.ts';
import type { Running } from './task-type.ts';

export interface Ending {
  /** Aborted when it is to end: what takes its time may still end in order. */
  readonly asked: AbortSignal;
  /** Aborted when its grace time is over: nothing of it may go on. */
  readonly forced: AbortSignal;
}

/** What it settles with is its end; a rejection is a failure with that message. */
export type HostedWork = (ending: Ending) => Promise<AttemptEnd>;

/** From `forced` until it is given up. */
const GIVEN_UP_MS = 5000;
/** Node's timers fire at once when they are set to more. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/** What an attempt that was told to end is reported with; the job's state says who asked. */
export const ENDED_ON_REQUEST: AttemptEnd = { tag: 'signalled', signal: 'SIGTERM' };
const FORCED: AttemptEnd = { tag: 'signalled', signal: 'SIGKILL' };

export class Hosted implements Running {
  readonly canBeLeft = false;
  readonly ended: Promise<AttemptEnd>;
  private readonly asked = new AbortController();
  private readonly forced = new AbortController();
  /** performance.now() at which `forced` is due; undefined: nobody asked it to end. */
  private forceDueAt: number | undefined;
  private timer: NodeJS.Timeout | undefined;
  private isOver = false;
  private giveUp: (end: AttemptEnd) => void = () => {};

  /** Begins the work before it returns. */
  constructor(work: HostedWork) {
    const givenUp = new Promise<AttemptEnd>((resolve) => {
      this.giveUp = resolve;
    });
    const ending = { asked: this.asked.signal, forced: this.forced.signal };
    this.ended = Promise.race([this.follow(work, ending), givenUp]).finally(() => {
      this.isOver = true;
      clearTimeout(this.timer);
    });
  }

  private async follow(work: HostedWork, { asked, forced }: Ending): Promise<AttemptEnd> {
    try {
      return await work({ asked, forced });
    } catch (thrown) {
      // An abort is how it was made to end, and no failure of its own.
      if (forced.aborted) return FORCED;
      if (asked.aborted) return ENDED_ON_REQUEST;
      return { tag: 'failed', reason: thrown instanceof Error ? thrown.message : String(thrown) };
    }
  }

  end(graceMs: number): void {
    if (this.isOver) return;
    const dueAt = performance.now() + graceMs;
    if (this.forceDueAt !== undefined && this.forceDueAt <= dueAt) return;
    this.forceDueAt = dueAt;
    clearTimeout(this.timer);
    this.asked.abort();
    if (graceMs <= 0) this.force();
    else this.timer = setTimeout(() => this.force(), Math.min(graceMs, MAX_TIMER_MS));
  }

  private force(): void {
    this.forced.abort();
    const reason =
      'It did not end when it was told to; something of it may go on until its node ends.';
    this.timer = setTimeout(() => this.giveUp({ tag: 'failed', reason }), GIVEN_UP_MS);
  }

  /** Ended by its node, which looks at the lease itself; one that stands still runs nothing. */
  prolong(_lease: SupervisedLease): void {}

  finishedAt<Time>(now: Time): Time {
    return now;
  }

  /** There is nothing that a next life could find. */
  async untilFound(): Promise<void> {}

  async leave(): Promise<void> {
    this.end(0);
    await this.ended;
  }
}
