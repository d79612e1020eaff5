/**
 * The jobs that wait for a node, at their owner. Jobs of equal needs share a lane, lanes are
 * looked at by their first job: a job that no node can run now blocks only its own lane, and a
 * million equal jobs cost one look. Between lanes the order is by priority, then age, job by job.
 * A lane that fits no member at all is parked until the members change, so that a million jobs of
 * which no two need the same cost nothing while they wait.
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
  /** Removed jobs that still have a place in it, at least. */
  gaps: number;
}

interface Level {
  jobs: Queued[];
  /** Index of the first one not taken. */
  head: number;
}

interface Queued {
  readonly job: JobId;
  readonly lane: Lane;
  readonly arrival: number;
}

/** A lane and how urgent its first job is. */
interface Head {
  readonly lane: Lane;
  readonly priority: number;
  readonly arrival: number;
}

const MAX_PRIORITY = 10;
const GAP_LIMIT = 4096;

export class JobQueue {
  private readonly lanes = new Map<string, Lane>();
  /** Those that are not parked. */
  private active = new Set<Lane>();
  private readonly places = new Map<JobId, Queued>();
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
    const queued = this.places.get(job);
    if (!queued) return;
    const { lane } = queued;
    this.places.delete(job);
    lane.gaps++;
    // Behind a job that waits for ever the gaps would never be passed over.
    if (lane.gaps > GAP_LIMIT && lane.gaps > lane.count) this.closeGaps(lane);
    this.shrink(lane);
  }

  has(job: JobId): boolean {
    return this.places.has(job);
  }

  /** Lanes that are not parked by the priority and age of their first job, best first. */
  byUrgency(): Lane[] {
    return this.heads().map((head) => head.lane);
  }

  /**
   * Asks `place` to take a job from the lane with the most urgent first job, again and again; a
   * lane for which it answers false is passed over from then on.
   */
  serve(place: (lane: Lane) => boolean): void {
    const heads = this.heads();
    for (let first = 0; first < heads.length; ) {
      const lane = heads[first]?.lane;
      if (!lane || !place(lane) || lane.count === 0) first++;
      else sink(heads, first, this.headOf(lane));
    }
  }

  private heads(): Head[] {
    return [...this.active].map((lane) => this.headOf(lane)).sort(byHead);
  }

  park(lane: Lane): void {
    this.active.delete(lane);
  }

  unparkAll(): void {
    this.active = new Set(this.lanes.values());
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
    // A job at a level that is never looked at would be counted and never found.
    const priority = Math.min(MAX_PRIORITY, Math.max(1, Math.trunc(spec.priority) || 1));
    let level = lane.levels[priority];
    if (!level) lane.levels[priority] = level = { jobs: [], head: 0 };
    const queued: Queued = { job, lane, arrival };
    if (arrival >= 0) level.jobs.push(queued);
    else if (level.head > 0) level.jobs[--level.head] = queued;
    else level.jobs.unshift(queued);
    this.places.set(job, queued);
    lane.count++;
  }

  private laneFor(spec: JobSpec): Lane {
    const key = needsText(spec);
    let lane = this.lanes.get(key);
    if (!lane) {
      lane = { key, spec, levels: [], count: 0, gaps: 0 };
      this.lanes.set(key, lane);
      this.active.add(lane);
    }
    return lane;
  }

  private headOf(lane: Lane): Head {
    for (let priority = MAX_PRIORITY; priority >= 1; priority--) {
      const level = lane.levels[priority];
      const first = level && this.skipGone(lane, level);
      if (first) return { lane, priority, arrival: first.arrival };
    }
    return { lane, priority: 0, arrival: 0 };
  }

  /** Removed jobs leave a gap, which is passed over here and given back in blocks. */
  private skipGone(lane: Lane, level: Level): Queued | undefined {
    for (; level.head < level.jobs.length; level.head++) {
      const queued = level.jobs[level.head];
      if (queued && this.places.get(queued.job) === queued) {
        if (level.head > GAP_LIMIT) {
          level.jobs.splice(0, level.head);
          level.head = 0;
        }
        return queued;
      }
      lane.gaps--;
    }
    level.jobs.length = 0;
    level.head = 0;
    return undefined;
  }

  private closeGaps(lane: Lane): void {
    for (const level of lane.levels) {
      if (!level) continue;
      const waits = (queued: Queued): boolean => this.places.get(queued.job) === queued;
      level.jobs = level.jobs.slice(level.head).filter(waits);
      level.head = 0;
    }
    lane.gaps = 0;
  }

  private shrink(lane: Lane): void {
    if (--lane.count > 0) return;
    this.lanes.delete(lane.key);
    this.active.delete(lane);
  }
}

const byHead = (a: Head, b: Head): number =>
  b.priority - a.priority || a.arrival - b.arrival || compareText(a.lane.key, b.lane.key);

/** Moves the head at this place, which is now this urgent, behind all that are more urgent. */
function sink(heads: Head[], from: number, head: Head): void {
  let at = from;
  for (let next = heads[at + 1]; next && byHead(next, head) < 0; next = heads[at + 1]) {
    heads[at++] = next;
  }
  heads[at] = head;
}

/** Jobs of equal text fit the same nodes. */
function needsText(spec: JobSpec): string {
  const { target, labels, capabilities } = spec.needs;
  const sorted = (map: Readonly<Record<string, string>>): [string, string][] =>
    Object.entries(map).sort((a, b) => compareText(a[0], b[0]));
  return JSON.stringify([spec.taskType, target ?? '', sorted(labels), sorted(capabilities)]);
}
