/**
 * What nodes say to each other over a link, decoded and checked. A message may arrive late, twice
 * or never; whoever needs an answer asks again. `wire` maps each variant to proto/mesh.proto.
 */
import type { Birth, JobId, NodeId, Nonce } from '../base/ids.ts';
import type { DiskAge } from './disk-ages.ts';
import type { Load, NodeFacts } from './facts.ts';
import type { AttemptOutcome, JobSpec, Needs, Progress } from './job.ts';
import type { JobRecord } from './job-record.ts';
import type { Accepted, Ban, Epoch, Fence, ReplicaSets } from './record.ts';

export type Message = MembershipMessage | JobMessage;

/**
 * What promises nothing and so does not wait for the disk: an executor whose disk is full must
 * still be able to keep the leases of what it runs.
 */
export type Signal = MembershipMessage | Extract<JobMessage, { kind: 'renew' | 'renewed' }>;

/** Signs of life and tables of members: sent even while the disk takes no writes. */
export type MembershipMessage =
  | { readonly kind: 'ping'; readonly serial: number; readonly load: Load }
  /**
   * `marks`: values of pair records that the sender decided alone and that the other does not have.
   */
  | { readonly kind: 'pong'; readonly serial: number; readonly load: Load; readonly marks: number }
  /** "Have you heard `target` lately?", to a third node. */
  | { readonly kind: 'probe'; readonly target: NodeId }
  /** The answer, only given when it was heard: so many milliseconds ago. */
  | { readonly kind: 'heard'; readonly target: NodeId; readonly agoMs: number }
  /** An empty one asks the other for its own. */
  | { readonly kind: 'members'; readonly members: readonly MemberEntry[] }
  /** What the sender says of itself has changed since its hello. */
  | { readonly kind: 'facts'; readonly facts: NodeFacts }
  /** The sender ends now, of its own will; `isBack`: it will be started again within seconds. */
  | { readonly kind: 'goodbye'; readonly isBack: boolean }
  /** To a node that was banned, before its link is closed: its identity is not taken any more. */
  | { readonly kind: 'banned' };

/** A line of a member table: where a node can be dialled. At most 256 in a message. */
export interface MemberEntry extends DiskAge {
  readonly node: NodeId;
  /** None: it is not linked there now, and only how far its disk had come is told. */
  readonly hosts: readonly string[];
  readonly linkPort: number;
}

export type JobMessage = DispatchMessage | RegisterMessage;

/** Who runs a job, and what became of it. */
export type DispatchMessage =
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
  /** Executor → owner: how far the attempt is. */
  | {
      readonly kind: 'progress';
      readonly job: JobId;
      readonly fence: Fence;
      readonly progress: Progress;
    }
  /** Executor → owner: this very fence has not started here and never will. */
  | { readonly kind: 'reject'; readonly job: JobId; readonly fence: Fence; readonly reason: string }
  /** Executor → each of rs: may these run on? `sentAt` is the sender's own clock, echoed. */
  | { readonly kind: 'renew'; readonly sentAt: number; readonly attempts: readonly LeaseRef[] }
  | {
      readonly kind: 'renewed';
      readonly sentAt: number;
      readonly granted: readonly AttemptRef[];
      /** Known to be revoked, cancelled or over: stop them. */
      readonly revoked: readonly AttemptRef[];
      /** The job has other replica sets than the executor thinks: no yes, ask those. */
      readonly moved: readonly MovedSets[];
    }
  /** Executor → each of rs, from its outbox, until acknowledged. */
  | { readonly kind: 'result'; readonly job: JobId; readonly outcome: AttemptOutcome }
  | { readonly kind: 'acknowledge'; readonly job: JobId; readonly fence: Fence }
  /** Replica → executor: no record of this job is here. */
  | { readonly kind: 'gone'; readonly job: JobId; readonly fence: Fence }
  /** Owner of this epoch → executor: end this attempt. */
  | { readonly kind: 'cancel'; readonly job: JobId; readonly fence: Fence; readonly epoch: Epoch }
  /** New owner → every node: does anybody run this, or hold its outcome? */
  | {
      readonly kind: 'whoHas';
      readonly job: JobId;
      readonly epoch: Epoch;
      /** Of the record it leads: attempts of another birth are none of it. */
      readonly birth?: Birth | undefined;
    }
  /** Executor → new owner: this attempt is mine and not over. */
  | { readonly kind: 'have'; readonly job: JobId; readonly fence: Fence; readonly nonce: Nonce }
  /** New owner → executor: the attempt goes on under this epoch. */
  | {
      readonly kind: 'adopt';
      readonly job: JobId;
      readonly fence: Fence;
      readonly epoch: Epoch;
      readonly sets: ReplicaSets;
    };

/** How the record of a job is agreed on; the rules are in register.ts, replicas.ts, takeover.ts. */
export type RegisterMessage =
  /** Owner → replicas: keep this value. */
  | { readonly kind: 'accept'; readonly record: JobRecord }
  /** Replica → owner: my disk has this version, and no higher one, of that epoch. */
  | {
      readonly kind: 'accepted';
      readonly job: JobId;
      readonly epoch: Epoch;
      /** 0: nothing of it is kept any more; no vote. */
      readonly version: number;
      /** Since the youngest yes to a lease of the job before this one; undefined: none. */
      readonly yesAgoMs?: number | undefined;
    }
  /** Replica → whoever wrote or asked below its promise, or under another birth. */
  | {
      readonly kind: 'refused';
      readonly job: JobId;
      /** Of the message that is refused. */
      readonly epoch: Epoch;
      readonly promised: Epoch;
      /** Present when the refuser keeps a value. */
      readonly birth?: Birth | undefined;
      readonly isFinal: boolean;
    }
  /**
   * Candidate → replicas: take nothing below this epoch any more. `ifAbsent`: only where no value
   * is kept, before the first write of an id that clients choose.
   */
  | {
      readonly kind: 'prepare';
      readonly job: JobId;
      readonly epoch: Epoch;
      readonly ifAbsent: boolean;
      /** Of the record the candidate keeps; undefined: of none, or it does not tell. */
      readonly birth?: Birth | undefined;
    }
  | {
      readonly kind: 'promise';
      readonly job: JobId;
      readonly epoch: Epoch;
      /** As in `accepted`. */
      readonly yesAgoMs?: number | undefined;
      /** The value kept, undefined: none. */
      readonly record?: JobRecord | undefined;
    }
  /** Owner → replicas: this final state is decided; `isEverywhere`: on every disk of its sets. */
  | {
      readonly kind: 'settled';
      readonly job: JobId;
      readonly epoch: Epoch;
      readonly version: number;
      readonly isEverywhere: boolean;
    }
  /** Owner → a node that is not in the job's sets any more: drop the record. */
  | {
      readonly kind: 'retire';
      readonly job: JobId;
      readonly epoch: Epoch;
      /** Only a record of this birth; undefined: whichever. */
      readonly birth?: Birth | undefined;
      /** Of the value that does not name it; what it keeps of a later one stays. */
      readonly version?: number | undefined;
      /** That value is a final state that was decided: no promise stands against it. */
      readonly isSettled?: boolean;
    }
  /** Replica → a node that is back: what I keep of the jobs you led. At most 1,000. */
  | { readonly kind: 'holding'; readonly held: readonly Held[] }
  /** Owner → replica: I go, take it over now. */
  | {
      readonly kind: 'handOver';
      readonly job: JobId;
      readonly birth: Birth;
      readonly epoch: Epoch;
      /**
       * Of the newest value, when nothing runs under it or an older one and the sender gives the
       * job to nobody any more: whoever finds just this value need not wait for any lease.
       */
      readonly idleVersion?: number | undefined;
    }
  /** To a node that keeps another birth of this id: mine, to compare. */
  | { readonly kind: 'clash'; readonly record: JobRecord }
  /** This birth of the id was dropped here for a lower one: whoever keeps it drops it too. */
  | { readonly kind: 'birthLost'; readonly job: JobId; readonly birth: Birth }
  /** Nodes that are never let in again; exchanged at each new link. */
  | { readonly kind: 'bans'; readonly bans: readonly Ban[] };

export interface AttemptRef {
  readonly job: JobId;
  readonly fence: Fence;
}

export interface Held {
  readonly job: JobId;
  readonly birth: Birth;
  readonly accepted: Accepted;
}

export interface LeaseRef extends AttemptRef {
  /** Undefined: an earlier version gave it, and knows no other. */
  readonly birth?: Birth | undefined;
  /** Of the owner it runs for now. */
  readonly epoch: Epoch;
  /** Which replica sets it was asked of: `setsHash`. */
  readonly sets: number;
}

export interface MovedSets extends AttemptRef {
  readonly accepted: Accepted;
  readonly sets: ReplicaSets;
}

/** The right to run one attempt. */
export interface Grant {
  readonly job: JobId;
  /** Undefined: given by an earlier version of the program. */
  readonly birth?: Birth | undefined;
  readonly fence: Fence;
  /** Of the claim it answers; counts once. */
  readonly nonce: Nonce;
  readonly rs: readonly NodeId[];
  /** The set it is changing from; empty when it is not changing. */
  readonly oldRs: readonly NodeId[];
  /** From the sending of the claim on. */
  readonly leaseMs: number;
  /** What is left of the job's total time; undefined: it has no such limit. */
  readonly leftMs?: number | undefined;
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
