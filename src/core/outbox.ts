/**
 * Outcomes that no owner has acknowledged, and fences that may not be started again. An outcome
 * goes to all of the job's replica set until one of them has acknowledged it; its fence is kept
 * after that until the lease is over, because a grant of it may still be on its way.
 */
import type { JobId, NodeId } from '../base/ids.ts';
import { afterMono, asMono, type MonoMs } from '../base/instant.ts';
import type { OutboxRow } from './inputs.ts';
import type { Outgoing } from './outgoing.ts';
import { attemptKey, type Fence } from './record.ts';

const REPEAT_MS = 2000;
/** An outcome of which nobody knows the job is kept so long. */
const GONE_MS = 60_000;
/** Outcomes told again in one tick, and bytes of output in them; the rest follows in the next ones. */
const MAX_REPEATS = 500;
const MAX_REPEAT_BYTES = 2 * 1024 * 1024;

interface Entry {
  readonly row: OutboxRow;
  readonly leaseUntil: MonoMs;
  sentAt: MonoMs;
  /** Replicas that have no record of the job. */
  readonly goneFrom: Set<NodeId>;
  /** Nobody knows the job: when to give up. */
  collectAt?: MonoMs;
  /** An owner outside of the sets known here, who asked for it. */
  toldOwner?: NodeId;
}

interface UsedFence {
  readonly job: JobId;
  readonly fence: Fence;
  readonly leaseUntil: MonoMs;
}

export class Outbox {
  private readonly out: Outgoing;
  private readonly isBanned: (node: NodeId) => boolean;
  /** In the order of the last telling. */
  private readonly entries = new Map<string, Entry>();
  /** Acknowledged. */
  private readonly used = new Map<string, UsedFence>();

  constructor(out: Outgoing, isBanned: (node: NodeId) => boolean) {
    this.out = out;
    this.isBanned = isBanned;
  }

  get size(): number {
    return this.entries.size;
  }

  /** Looks at all of them. */
  isNamed(node: NodeId): boolean {
    return this.entries.values().some(({ row }) => row.rs.includes(node));
  }

  /** Some outcome has somebody who may acknowledge it; looks at all of them. */
  hasHearers(isReachable: (node: NodeId) => boolean): boolean {
    for (const { row, collectAt } of this.entries.values())
      if (collectAt === undefined && row.rs.some(isReachable)) return true;
    return false;
  }

  /**
   * Written with this turn, told after its commit: at first only to the owner, who passes it on to
   * the other replicas with the final state; to all of them should that one not answer.
   * @param owner undefined: unknown
   */
  add(row: OutboxRow, leaseUntil: MonoMs, owner: NodeId | undefined): void {
    this.out.persist({ kind: 'outcome', ...row });
    const key = attemptKey(row.job, row.outcome.fence);
    const entry: Entry = { row, leaseUntil, sentAt: this.out.now.mono, goneFrom: new Set() };
    if (owner === undefined) this.tell(key, entry);
    else {
      this.entries.set(key, entry);
      this.tellTo(owner, entry);
    }
  }

  /** Was on disk already. */
  restore(row: OutboxRow, leaseUntil: MonoMs): void {
    const sentAt = asMono(Number.NEGATIVE_INFINITY);
    this.entries.set(attemptKey(row.job, row.outcome.fence), {
      row,
      leaseUntil,
      sentAt,
      goneFrom: new Set(),
    });
  }

  /** An acknowledged fence of an earlier life. */
  remember(ref: { job: JobId; fence: Fence }, leaseUntil: MonoMs): void {
    this.used.set(attemptKey(ref.job, ref.fence), { job: ref.job, fence: ref.fence, leaseUntil });
  }

  /** Tells the outcome of this attempt again, also to `owner`; false: it is not here. */
  repeat(key: string, owner?: NodeId): boolean {
    const entry = this.entries.get(key);
    if (!entry) return false;
    this.tell(key, entry);
    if (owner && !entry.row.rs.includes(owner)) this.tellTo(owner, entry);
    return true;
  }

  /** Tells a new owner the outcomes of all attempts at the job. */
  repeatJob(job: JobId, owner: NodeId): void {
    for (const entry of this.entries.values()) if (entry.row.job === job) this.tellTo(owner, entry);
  }

  isUsed(key: string): boolean {
    return this.used.has(key);
  }

  onAcknowledge(from: NodeId, job: JobId, fence: Fence): void {
    const key = attemptKey(job, fence);
    const entry = this.entries.get(key);
    if (!entry || !this.isHearer(from, entry)) return;
    this.collect(key, entry);
  }

  /**
   * Only when nobody of them has a record of it, and after a while: the job may have moved to an
   * owner that this node has not heard of since its restart, and that will ask.
   */
  onGone(from: NodeId, job: JobId, fence: Fence): void {
    const entry = this.entries.get(attemptKey(job, fence));
    if (!entry) return;
    entry.goneFrom.add(from);
    this.collectIfGone(entry);
  }

  private collectIfGone(entry: Entry): void {
    const isGone = entry.row.rs.every((node) => entry.goneFrom.has(node) || this.isBanned(node));
    if (isGone) entry.collectAt ??= afterMono(this.out.now.mono, GONE_MS);
  }

  private isHearer(from: NodeId, entry: Entry): boolean {
    return entry.row.rs.includes(from) || entry.toldOwner === from;
  }

  private collect(key: string, entry: Entry): void {
    const { job } = entry.row;
    const { fence } = entry.row.outcome;
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
      if (entry.collectAt !== undefined && mono >= entry.collectAt) this.collect(key, entry);
      else due.push([key, entry]);
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
    for (const replica of entry.row.rs) this.tellTo(replica, entry);
    // They may all have been forgotten, and then nobody says so.
    this.collectIfGone(entry);
  }

  private tellTo(node: NodeId, entry: Entry): void {
    if (!entry.row.rs.includes(node)) entry.toldOwner = node;
    this.out.send(node, { kind: 'result', job: entry.row.job, outcome: entry.row.outcome });
  }
}
