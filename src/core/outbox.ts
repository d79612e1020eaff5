/**
 * Outcomes that no owner has acknowledged, and fences that may not be started again. An outcome
 * goes to all of the job's replica set until one of them has acknowledged it; its fence is kept
 * after that until the lease is over, because a grant of it may still be on its way.
 */
import type { JobId, NodeId } from '../base/ids.ts';
import { asMono, type MonoMs } from '../base/instant.ts';
import type { OutboxRow } from './inputs.ts';
import type { Outgoing } from './outgoing.ts';
import { attemptKey, type Fence } from './record.ts';

const REPEAT_MS = 2000;
/** Outcomes told again in one tick, and bytes of output in them; the rest follows in the next ones. */
const MAX_REPEATS = 500;
const MAX_REPEAT_BYTES = 2 * 1024 * 1024;

interface Entry {
  readonly row: OutboxRow;
  readonly leaseUntil: MonoMs;
  sentAt: MonoMs;
}

interface UsedFence {
  readonly job: JobId;
  readonly fence: Fence;
  readonly leaseUntil: MonoMs;
}

export class Outbox {
  private readonly out: Outgoing;
  /** In the order of the last telling. */
  private readonly entries = new Map<string, Entry>();
  /** Acknowledged. */
  private readonly used = new Map<string, UsedFence>();

  constructor(out: Outgoing) {
    this.out = out;
  }

  get size(): number {
    return this.entries.size;
  }

  /** Some outcome has somebody who may acknowledge it; looks at all of them. */
  hasHearers(isReachable: (node: NodeId) => boolean): boolean {
    for (const { row } of this.entries.values()) if (row.rs.some(isReachable)) return true;
    return false;
  }

  /** Written with this turn, told after its commit. */
  add(row: OutboxRow, leaseUntil: MonoMs): void {
    this.out.persist({ kind: 'outcome', ...row });
    this.tell(attemptKey(row.job, row.outcome.fence), {
      row,
      leaseUntil,
      sentAt: this.out.now.mono,
    });
  }

  /** Was on disk already. */
  restore(row: OutboxRow, leaseUntil: MonoMs): void {
    const sentAt = asMono(Number.NEGATIVE_INFINITY);
    this.entries.set(attemptKey(row.job, row.outcome.fence), { row, leaseUntil, sentAt });
  }

  /** An acknowledged fence of an earlier life. */
  remember(ref: { job: JobId; fence: Fence }, leaseUntil: MonoMs): void {
    this.used.set(attemptKey(ref.job, ref.fence), { job: ref.job, fence: ref.fence, leaseUntil });
  }

  /** Tells the outcome of this attempt again; false: it is not here. */
  repeat(key: string): boolean {
    const entry = this.entries.get(key);
    if (entry) this.tell(key, entry);
    return entry !== undefined;
  }

  isUsed(key: string): boolean {
    return this.used.has(key);
  }

  onAcknowledge(from: NodeId, job: JobId, fence: Fence): void {
    const key = attemptKey(job, fence);
    const entry = this.entries.get(key);
    if (!entry?.row.rs.includes(from)) return;
    this.entries.delete(key);
    this.used.set(key, { job, fence, leaseUntil: entry.leaseUntil });
    this.out.persist({ kind: 'acknowledged', job, fence });
  }

  onPeerUp(node: NodeId): void {
    this.tellAgain([...this.entries].filter(([, entry]) => entry.row.rs.includes(node)));
  }

  onTick(): void {
    const { mono } = this.out.now;
    const due: [string, Entry][] = [];
    for (const [key, entry] of this.entries) {
      if (mono - entry.sentAt < REPEAT_MS || due.length >= MAX_REPEATS) break;
      due.push([key, entry]);
    }
    this.tellAgain(due);
    // In the order they came in, so one may wait for another, for no longer than a lease; looking
    // at all of them in each tick would cost more than the jobs themselves.
    for (const [key, used] of this.used) {
      if (mono < used.leaseUntil) break;
      this.used.delete(key);
      this.out.persist({ kind: 'forgotten', job: used.job, fence: used.fence });
    }
  }

  private tellAgain(due: readonly [string, Entry][]): void {
    let bytesLeft = MAX_REPEAT_BYTES;
    for (const [key, entry] of due.slice(0, MAX_REPEATS)) {
      if (bytesLeft <= 0) return;
      const { stdout, stderr } = entry.row.outcome;
      bytesLeft -= stdout.bytes.length + stderr.bytes.length;
      this.tell(key, entry);
    }
  }

  private tell(key: string, entry: Entry): void {
    entry.sentAt = this.out.now.mono;
    this.entries.delete(key);
    this.entries.set(key, entry);
    for (const replica of entry.row.rs) {
      this.out.send(replica, { kind: 'result', job: entry.row.job, outcome: entry.row.outcome });
    }
  }
}
