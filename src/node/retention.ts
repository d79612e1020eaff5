/**
 * Final jobs are forgotten some time after their end, so that a node that runs for years does not
 * grow for ever. What every node of a job's replica set knows to be over is deleted; of the rest a
 * stub stays for a month: a node that comes back late must not revive a job that others forgot.
 *
 * In small steps with pauses: each is a commit, and jobs that run must not feel it.
 */
import { messageOf } from '../base/errors.ts';
import { asWall } from '../base/instant.ts';
import type { Clock, Store } from './ports.ts';

const ROWS_A_STEP = 500;
const PAUSE_MS = 20;
const ROUND_MS = 60_000;
const STUB_MS = 31 * 24 * 3600 * 1000;

export interface RetentionParts {
  readonly store: Pick<Store, 'expire'>;
  readonly clock: Clock;
  /** From the end of a job on. */
  readonly keepMs: number;
  /** Told once until it works again. */
  readonly onProblem: (sentence: string) => void;
}

export class Retention {
  private readonly parts: RetentionParts;
  private timer: NodeJS.Timeout | undefined;
  private isFailing = false;

  constructor(parts: RetentionParts) {
    this.parts = parts;
  }

  start(): void {
    this.timer ??= setTimeout(() => this.step(), PAUSE_MS);
  }

  stop(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
  }

  private step(): void {
    const isMore = this.expire() === ROWS_A_STEP;
    this.timer = setTimeout(() => this.step(), isMore ? PAUSE_MS : ROUND_MS);
  }

  private expire(): number {
    const { store, clock, keepMs } = this.parts;
    const before = clock.now().wall - keepMs;
    try {
      const count = store.expire(asWall(before), asWall(before - STUB_MS), ROWS_A_STEP);
      this.isFailing = false;
      return count;
    } catch (failure) {
      // A full disk takes no deletions either; the node says so itself.
      if (!this.isFailing)
        this.parts.onProblem(`old jobs could not be deleted: ${messageOf(failure)}`);
      this.isFailing = true;
      return 0;
    }
  }
}
