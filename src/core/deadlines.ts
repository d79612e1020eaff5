/**
 * Jobs that may wait only so long for a node, or last only so long in all. Only those that said so
 * are watched, in buckets of a second, so that a million others cost nothing.
 *
 * Here only what waits is ended. An attempt that runs is told with its grant what is left of the
 * job's total time, and is ended by its executor like one that reached its own timeout.
 *
 * Both count from the job's creation, by the calendar of the node that took it: an owner on another
 * machine is as exact as the two clocks agree. Once watched, a jump of the clock moves nothing.
 */
import type { JobId } from '../base/ids.ts';
import { afterMono, asMono, type MonoMs } from '../base/instant.ts';
import type { Job } from './job.ts';
import type { Outgoing } from './outgoing.ts';
import type { OwnedJob, Ownership } from './ownership.ts';

const BUCKET_MS = 1000;

export interface DeadlineParts {
  readonly out: Outgoing;
  readonly ownership: () => Ownership;
  /** Ends a job that waits as JOB_TIMEOUT. */
  readonly expire: (owned: OwnedJob, reason: string) => void;
}

interface Due {
  readonly at: number;
  readonly reason: string;
}

export class Deadlines {
  private readonly parts: DeadlineParts;
  /** By number, the jobs to look at once that second is over. */
  private readonly buckets = new Map<number, Set<JobId>>();
  private lookedAt: number;

  constructor(parts: DeadlineParts) {
    this.parts = parts;
    this.lookedAt = bucketOf(parts.out.now.mono);
  }

  /** This node decides about it from now on. */
  watch({ record: { header, job } }: OwnedJob): void {
    const due = dueOf(job);
    if (!due) return;
    const { mono, wall } = this.parts.out.now;
    this.put(header.job, afterMono(mono, Math.max(0, due.at - wall)));
  }

  private put(job: JobId, at: MonoMs): void {
    const number = Math.max(this.lookedAt + 1, bucketOf(at));
    const bucket = this.buckets.get(number);
    if (bucket) bucket.add(job);
    else this.buckets.set(number, new Set([job]));
  }

  onTick(): void {
    const last = bucketOf(asMono(this.parts.out.now.mono - BUCKET_MS));
    while (this.lookedAt < last) {
      this.lookedAt++;
      const jobs = this.buckets.get(this.lookedAt);
      this.buckets.delete(this.lookedAt);
      for (const job of jobs ?? []) this.look(job);
    }
  }

  private look(job: JobId): void {
    const { out, ownership, expire } = this.parts;
    const owned = ownership().get(job);
    const due = owned && dueOf(owned.record.job);
    if (!owned || !due) return;
    const isWaiting = owned.stage.tag === 'queued' || owned.stage.tag === 'offered';
    if (isWaiting && out.now.wall >= due.at) expire(owned, due.reason);
    // It is with an executor, or a decision is on its way; or the clock was set back.
    else this.put(job, afterMono(out.now.mono, Math.max(BUCKET_MS, due.at - out.now.wall)));
  }
}

const bucketOf = (at: MonoMs): number => Math.floor(at / BUCKET_MS);

/** The first of its deadlines that can still be missed. */
function dueOf({ spec, createdAt, attempts, state }: Job): Due | undefined {
  const { queueTimeoutMs, totalTimeoutMs } = spec;
  if (state.tag === 'final') return undefined;
  const total = totalTimeoutMs !== undefined && {
    at: createdAt + totalTimeoutMs,
    reason: `not ended within ${totalTimeoutMs / 1000} s of its creation`,
  };
  const queue = queueTimeoutMs !== undefined &&
    attempts === 0 && {
      at: createdAt + queueTimeoutMs,
      reason: `no node took it within ${queueTimeoutMs / 1000} s`,
    };
  if (queue && (!total || queue.at <= total.at)) return queue;
  return total || undefined;
}

/** What a grant made now says of the job's total time. */
export const leftOf = ({ spec, createdAt }: Job, wallNow: number): number | undefined =>
  spec.totalTimeoutMs === undefined
    ? undefined
    : Math.max(0, Math.round(createdAt + spec.totalTimeoutMs - wallNow));
