/**
 * Births of ids that were kept here and dropped for a lower one. Without this a replica that was
 * away would find nobody who keeps its birth, take that for an id that was never written, and lead
 * on from an old value what may long have ended. So it is on disk with the drop, and outlives the
 * records: whoever names such a birth is told, and drops it too. It goes with the retention of
 * promises, when such a node would not be let in any more.
 *
 * The birth that lost is named, not the one that won: a new birth of the id, once the winner's
 * record has expired or is gone with its disk, is not to be taken for a dead one.
 */
import type { Birth, JobId } from '../base/ids.ts';
import type { LostBirth } from './inputs.ts';

/** Each takes a partition and one key used on both sides; the oldest are left to the disk. */
const MAX_LOST = 100_000;

export class LostBirths {
  private readonly lost = new Map<JobId, Set<Birth>>();

  restore(lost: readonly LostBirth[]): void {
    for (const { job, birth } of lost) this.add(job, birth);
  }

  add(job: JobId, birth: Birth): void {
    const known = this.lost.get(job);
    if (known) known.add(birth);
    else this.lost.set(job, new Set([birth]));
    const [oldest] = this.lost.keys();
    if (this.lost.size > MAX_LOST && oldest !== undefined) this.lost.delete(oldest);
  }

  has(job: JobId, birth: Birth): boolean {
    return this.lost.get(job)?.has(birth) === true;
  }
}
