/**
 * What nodes say to each other over a link, decoded and checked. A message may arrive late, twice
 * or never; whoever needs an answer asks again. `wire` maps each variant to proto/mesh.proto.
 */
import type { BootId, JobId, NodeId, Nonce } from '../base/ids.ts';
import type { Load } from './facts.ts';
import type { AttemptOutcome, JobSpec, Needs } from './job.ts';
import type { Fence } from './record.ts';

export type Message = MembershipMessage | JobMessage;

/**
 * What promises nothing and so does not wait for the disk: an executor whose disk is full must
 * still be able to keep the leases of what it runs.
 */
export type Signal = MembershipMessage | Extract<JobMessage, { kind: 'renew' | 'renewed' }>;

/** Signs of life and tables of members: sent even while the disk takes no writes. */
export type MembershipMessage =
  | { readonly kind: 'ping'; readonly serial: number; readonly load: Load }
  | { readonly kind: 'pong'; readonly serial: number; readonly load: Load }
  /** "Have you heard `target` lately?", to a third node. */
  | { readonly kind: 'probe'; readonly target: NodeId }
  /** The answer, only given when it was heard: so many milliseconds ago. */
  | { readonly kind: 'heard'; readonly target: NodeId; readonly agoMs: number }
  | { readonly kind: 'members'; readonly members: readonly MemberEntry[] }
  /** The sender ends now, of its own will. */
  | { readonly kind: 'goodbye' };

/** A line of a member table: where a node can be dialled. At most 256 in a message. */
export interface MemberEntry {
  readonly node: NodeId;
  readonly boot: BootId;
  readonly hosts: readonly string[];
  readonly linkPort: number;
}

export type JobMessage =
  /** Owner → candidate: would you run this? */
  | {
      readonly kind: 'offer';
      readonly job: JobId;
      readonly taskType: string;
      readonly needs: Needs;
    }
  /** Executor → owner: a slot is held for this job, or (job undefined) for any that fits. */
  | {
      readonly kind: 'claim';
      readonly nonce: Nonce;
      readonly job?: JobId | undefined;
      readonly load: Load;
    }
  /** Executor → owner: not here, and why. */
  | {
      readonly kind: 'refuse';
      readonly job: JobId;
      readonly reason: RefusalReason;
      readonly load: Load;
    }
  /** Owner → executor: nothing for this claim, free the slot. */
  | { readonly kind: 'decline'; readonly nonce: Nonce }
  | { readonly kind: 'grant'; readonly grant: Grant }
  /** Executor → owner: the attempt runs. */
  | {
      readonly kind: 'started';
      readonly job: JobId;
      readonly fence: Fence;
      readonly startedAt: number;
    }
  /** Executor → owner: this very fence has not started here and never will. */
  | { readonly kind: 'reject'; readonly job: JobId; readonly fence: Fence; readonly reason: string }
  /** Executor → each of rs: may these run on? `sentAt` is the sender's own clock, echoed. */
  | { readonly kind: 'renew'; readonly sentAt: number; readonly attempts: readonly AttemptRef[] }
  | {
      readonly kind: 'renewed';
      readonly sentAt: number;
      readonly granted: readonly AttemptRef[];
      /** Known to be revoked, cancelled or over: stop them. */
      readonly revoked: readonly AttemptRef[];
    }
  /** Executor → each of rs, from its outbox, until acknowledged. */
  | { readonly kind: 'result'; readonly job: JobId; readonly outcome: AttemptOutcome }
  | { readonly kind: 'acknowledge'; readonly job: JobId; readonly fence: Fence }
  /** Owner → executor: end this attempt. */
  | { readonly kind: 'cancel'; readonly job: JobId; readonly fence: Fence };

export interface AttemptRef {
  readonly job: JobId;
  readonly fence: Fence;
}

/** The right to run one attempt. */
export interface Grant {
  readonly job: JobId;
  readonly fence: Fence;
  /** Of the claim it answers; counts once. */
  readonly nonce: Nonce;
  readonly rs: readonly NodeId[];
  /** From the sending of the claim on. */
  readonly leaseMs: number;
  readonly spec: JobSpec;
}

/** Why a node would not run a job; shown by `explain` as it is. */
export type RefusalReason =
  | 'no free slot'
  | 'draining'
  | 'disk takes no writes'
  | 'task type not served'
  | 'label missing'
  | 'capability missing'
  | 'pinned to another node'
  | 'suspect'
  | 'dead'
  | 'left'
  | 'just refused';
