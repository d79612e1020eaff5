/**
 * The jobs that wait for a node, at their owner. Jobs of equal needs share a lane, lanes are
 * looked at by their first job: a job that no node can run now blocks only its own lane, and a
 * million equal jobs cost one look.
 */
import { compareText, type JobId } from '../base/ids.ts';
import type { JobSpec } from './job.ts';

export interface Lane {
  readonly key: string;
  /** Of every job in it. */
  readonly spec: JobSpec;
  /** Per priority (index), the jobs in order of arrival. */
  readonly levels: (Level | undefined)[];
  count: number;
}

interface Level {
  readonly jobs: (Queued | undefined)[];
  /** Index of the first one not taken. */
  head: number;
}

interface Queued {
  readonly job: JobId;
  readonly arrival: number;
}

const MAX_PRIORITY = 10;
const GAP_LIMIT = 4096;

export class JobQueue {
  private readonly lanes = new Map<string, Lane>();
  private readonly places = new Map<JobId, Lane>();
  private arrivals = 0;
  /** Jobs put back go before all that came later: they have waited already. */
  private returns = 0;

  get size(): number {
    return this.places.size;
  }

  add(job: JobId, spec: JobSpec): void {
    this.insert(job, spec, ++this.arrivals);
  }

  /** Puts back a job that was taken and could not be placed: it keeps its turn. */
  putBack(job: JobId, spec: JobSpec): void {
    this.insert(job, spec, --this.returns);
  }

  remove(job: JobId): void {
    const lane = this.places.get(job);
    if (!lane) return;
    this.places.delete(job);
    this.shrink(lane);
  }

  has(job: JobId): boolean {
    return this.places.has(job);
  }

  /** Lanes by the priority and age of their first job, best first. */
  byUrgency(): Lane[] {
    const heads = [...this.lanes.values()].map((lane) => ({ lane, ...this.headOf(lane) }));
    heads.sort(
      (a, b) =>
        b.priority - a.priority || a.arrival - b.arrival || compareText(a.lane.key, b.lane.key),
    );
    return heads.map((head) => head.lane);
  }

  /** Takes the first job of a lane out of the queue. */
  take(lane: Lane): JobId | undefined {
    for (let priority = MAX_PRIORITY; priority >= 1; priority--) {
      const level = lane.levels[priority];
      const first = level && this.skipGone(lane, level);
      if (!level || !first) continue;
      level.head++;
      this.places.delete(first.job);
      this.shrink(lane);
      return first.job;
    }
    return undefined;
  }

  private insert(job: JobId, spec: JobSpec, arrival: number): void {
    if (this.places.has(job)) return;
    const lane = this.laneFor(spec);
    let level = lane.levels[spec.priority];
    if (!level) lane.levels[spec.priority] = level = { jobs: [], head: 0 };
    if (arrival < 0) {
      if (level.head > 0) level.jobs[--level.head] = { job, arrival };
      else level.jobs.unshift({ job, arrival });
    } else {
      level.jobs.push({ job, arrival });
    }
    this.places.set(job, lane);
    lane.count++;
  }

  private laneFor(spec: JobSpec): Lane {
    const key = needsText(spec);
    let lane = this.lanes.get(key);
    if (!lane) {
      lane = { key, spec, levels: [], count: 0 };
      this.lanes.set(key, lane);
    }
    return lane;
  }

  private headOf(lane: Lane): { priority: number; arrival: number } {
    for (let priority = MAX_PRIORITY; priority >= 1; priority--) {
      const level = lane.levels[priority];
      const first = level && this.skipGone(lane, level);
      if (first) return { priority, arrival: first.arrival };
    }
    return { priority: 0, arrival: 0 };
  }

  /** Removed jobs leave a gap, which is passed over here and given back in blocks. */
  private skipGone(lane: Lane, level: Level): Queued | undefined {
    for (; level.head < level.jobs.length; level.head++) {
      const queued = level.jobs[level.head];
      if (queued && this.places.get(queued.job) === lane) {
        if (level.head > GAP_LIMIT) {
          level.jobs.splice(0, level.head);
          level.head = 0;
        }
        return queued;
      }
    }
    level.jobs.length = 0;
    level.head = 0;
    return undefined;
  }

  private shrink(lane: Lane): void {
    if (--lane.count === 0) this.lanes.delete(lane.key);
  }
}

/** Jobs of equal text fit the same nodes. */
function needsText(spec: JobSpec): string {
  const { target, labels, capabilities } = spec.needs;
  const sorted = (map: Readonly<Record<string, string>>): [string, string][] =>
    Object.entries(map).sort((a, b) => compareText(a[0], b[0]));
  return JSON.stringify([spec.taskType, target ?? '', sorted(labels), sorted(capabilities)]);
}
