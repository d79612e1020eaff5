/**
 * The slots of this node that are promised but not used: each claim holds one until the owner
 * grants, declines or stays silent. Also remembers who asked in vain, to ask back when a slot falls
 * free.
 */
import { asNonce, type JobId, type NodeId, type Nonce } from '../base/ids.ts';
import { afterMono, asMono, type MonoMs } from '../base/instant.ts';
import type { Load } from './facts.ts';
import type { Outgoing } from './outgoing.ts';

/** An owner that does not answer a claim for so long has lost it. */
const CLAIM_TIMEOUT_MS = 3000;
const MAX_ASKERS = 1024;
/**
 * What owners told of their queues is half a second old, and a slot that is held for an answer is
 * refused to others meanwhile. With every node asking every owner that had said it has work, a mesh
 * of 200 nodes at 70 % load made 22 asks in vain a job, and its free slots were taken by them: so
 * after two in a row the next waits, twice as long each time.
 */
const VAIN_PAUSE_MS = 100;
const MAX_VAIN_PAUSE_MS = 1000;

export interface Claim {
  readonly nonce: Nonce;
  readonly owner: NodeId;
  /** Undefined: for any job of this owner. */
  readonly job: JobId | undefined;
  readonly sentAt: MonoMs;
}

export class Slots {
  private readonly out: Outgoing;
  private readonly claims = new Map<Nonce, Claim>();
  /** Owners with waiting jobs, the one that has waited longest first. */
  private readonly askers = new Set<NodeId>();
  /** Claims for any job that were declined since one was granted. */
  private asksInVain = 0;
  private askAt: MonoMs = asMono(Number.NEGATIVE_INFINITY);
  private serial = 0;
  isDraining = false;
  isLeaving = false;
  isAccepting = true;

  constructor(out: Outgoing) {
    this.out = out;
  }

  load(counts: { slots: number; running: number; queued: number }): Load {
    return {
      ...counts,
      claimed: this.claims.size,
      draining: this.isDraining,
      leaving: this.isLeaving,
      accepting: this.isAccepting,
    };
  }

  reserve(owner: NodeId, job: JobId | undefined): Nonce {
    for (const claim of this.claims.values()) {
      if (job !== undefined && claim.owner === owner && claim.job === job) return claim.nonce;
    }
    const nonce = asNonce(`${this.out.boot.counter}.${++this.serial}`);
    this.claims.set(nonce, { nonce, owner, job, sentAt: this.out.now.mono });
    return nonce;
  }

  /** Ends the claim that a grant answers; undefined: there is none, or it is another's. */
  take(nonce: Nonce, owner: NodeId, job: JobId): Claim | undefined {
    const claim = this.claims.get(nonce);
    if (!claim || claim.owner !== owner || (claim.job !== undefined && claim.job !== job))
      return undefined;
    this.claims.delete(nonce);
    if (claim.job === undefined) {
      this.asksInVain = 0;
      this.askAt = this.out.now.mono;
    }
    // It may have more: it is asked as soon as a slot falls free.
    this.rememberAsker(owner);
    return claim;
  }

  onDecline(owner: NodeId, nonce: Nonce): void {
    const claim = this.claims.get(nonce);
    if (claim?.owner !== owner) return;
    this.claims.delete(nonce);
    if (claim.job !== undefined) return;
    this.askers.delete(owner);
    if (++this.asksInVain < 2) return;
    const pauseMs = Math.min(VAIN_PAUSE_MS * 2 ** (this.asksInVain - 2), MAX_VAIN_PAUSE_MS);
    this.askAt = afterMono(this.out.now.mono, pauseMs);
  }

  dropJob(owner: NodeId, job: JobId): void {
    for (const claim of this.claims.values()) {
      if (claim.owner === owner && claim.job === job) this.claims.delete(claim.nonce);
    }
  }

  rememberAsker(owner: NodeId): void {
    if (owner !== this.out.self && this.askers.size < MAX_ASKERS) this.askers.add(owner);
  }

  /** Nothing waits there any more. */
  forgetAsker(owner: NodeId): void {
    this.askers.delete(owner);
  }

  /** Holds a slot for the owner that has waited longest; the last of the line afterwards. */
  claimFromAsker(queuedAt: (owner: NodeId) => number): Claim | undefined {
    if (this.out.now.mono < this.askAt) return undefined;
    for (const owner of this.askers) {
      this.askers.delete(owner);
      const open = [...this.claims.values()].filter(
        (claim) => claim.owner === owner && claim.job === undefined,
      ).length;
      const queued = queuedAt(owner);
      if (open >= Math.max(1, queued)) continue;
      const nonce = this.reserve(owner, undefined);
      if (open + 1 < queued) this.askers.add(owner);
      const claim = this.claims.get(nonce);
      if (claim) return claim;
    }
    return undefined;
  }

  onOwnerGone(owner: NodeId): void {
    this.askers.delete(owner);
    for (const claim of this.claims.values())
      if (claim.owner === owner) this.claims.delete(claim.nonce);
  }

  onTick(): void {
    const { mono } = this.out.now;
    for (const claim of this.claims.values()) {
      if (mono - claim.sentAt >= CLAIM_TIMEOUT_MS) this.claims.delete(claim.nonce);
    }
  }
}
