/**
 * The lease of one attempt as its executor holds it: until when it may run, under which owner's
 * epoch, and who must say yes. It lasts 6 s from the sending of the newest renewal that a quorum
 * has answered; answers may come after the next renewal has been sent.
 */
import type { NodeId } from '../base/ids.ts';
import { afterMono, asMono, type MonoMs } from '../base/instant.ts';
import { LEASE_MS } from './lease.ts';
import { isLeased } from './quorum.ts';
import {
  type Accepted,
  compareEpochs,
  compareValues,
  type Epoch,
  type ReplicaSets,
  setsHash,
} from './record.ts';

/** Told apart from a renewal of the same millisecond that was sent before a change. */
const TICK_MS = 0.001;

export class HeldLease {
  epoch: Epoch;
  sets: ReplicaSets;
  until: MonoMs;
  hash: number;
  /** The value that named the sets, where a replica told it. */
  private setsAt: Accepted | undefined;
  /** By replica: when the newest renewal was sent that it said yes to. */
  private readonly yes = new Map<NodeId, MonoMs>();
  /** Only yes to what was sent after this is for the present epoch and sets. */
  private changedAt: MonoMs = asMono(Number.NEGATIVE_INFINITY);

  constructor(epoch: Epoch, sets: ReplicaSets, until: MonoMs) {
    this.epoch = epoch;
    this.sets = { rs: sets.rs, oldRs: sets.oldRs };
    this.hash = setsHash(this.sets);
    this.until = until;
  }

  /** Only the node itself keeps the record: nobody else can ever give its attempt away. */
  isOwnQuorum(self: NodeId): boolean {
    const { rs, oldRs } = this.sets;
    return rs.length === 1 && oldRs.length === 0 && rs[0] === self;
  }

  /** False: its end is where it was. */
  onYes(from: NodeId, sentAt: MonoMs, now: MonoMs, isBanned: (node: NodeId) => boolean): boolean {
    // An echo from the future is none of ours.
    if (sentAt <= this.changedAt || sentAt > now + 1) return false;
    if (sentAt > (this.yes.get(from) ?? Number.NEGATIVE_INFINITY)) this.yes.set(from, sentAt);
    const hasYesSince = (at: MonoMs) => (node: NodeId) =>
      (this.yes.get(node) ?? Number.NEGATIVE_INFINITY) >= at;
    const agreed = [...this.yes.values()].filter((at) =>
      isLeased(this.sets, this.epoch.node, hasYesSince(at), isBanned),
    );
    const until = afterMono(asMono(Math.max(...agreed)), LEASE_MS);
    if (until <= this.until) return false;
    this.until = until;
    return true;
  }

  /** Another owner, or the same with other sets. False: an older one speaks. */
  adopt(epoch: Epoch, sets: ReplicaSets, now: MonoMs): boolean {
    if (compareEpochs(epoch, this.epoch) < 0) return false;
    const isNews = compareEpochs(epoch, this.epoch) > 0 || setsHash(sets) !== this.hash;
    if (isNews) this.change(epoch, sets, now);
    return true;
  }

  /** A replica keeps a newer value than the one these sets are from. */
  move(accepted: Accepted, sets: ReplicaSets, now: MonoMs): boolean {
    if (this.setsAt && compareValues(accepted, this.setsAt) <= 0) return false;
    this.setsAt = accepted;
    this.change(this.epoch, sets, now);
    return true;
  }

  private change(epoch: Epoch, sets: ReplicaSets, now: MonoMs): void {
    this.epoch = epoch;
    this.sets = sets;
    this.hash = setsHash(sets);
    this.yes.clear();
    this.changedAt = this.stamp(now);
  }

  /** The `sentAt` of a renewal that is sent now. */
  stamp(now: MonoMs): MonoMs {
    return now > this.changedAt ? now : asMono(this.changedAt + TICK_MS);
  }
}
