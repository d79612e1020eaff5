/**
 * What the core wants done. The driver writes every `persist` of a turn in one transaction and
 * performs the rest in order after the commit, so nothing is visible before it is durable. What
 * hangs on nothing that this turn writes does not wait: `signal`, `dial`, `hangUp`, `start` (its
 * fence was committed before), `stop` (a lease ends with a full disk too) and `load`.
 */
import type { Birth, JobId, NodeId, RequestId } from '../base/ids.ts';
import type { MonoMs, WallMs } from '../base/instant.ts';
import type { AttemptOutcome, JobStatus, Progress } from './job.ts';
import type { JobRecord } from './job-record.ts';
import type { Grant, Message, Signal } from './messages.ts';
import type { Ban, Epoch, Fence, RecordHeader } from './record.ts';

export type Effect =
  | { readonly kind: 'persist'; readonly write: Write }
  | { readonly kind: 'send'; readonly to: NodeId; readonly message: Message }
  | { readonly kind: 'signal'; readonly to: NodeId; readonly message: Signal }
  | { readonly kind: 'dial'; readonly node: NodeId; readonly host: string; readonly port: number }
  | { readonly kind: 'hangUp'; readonly node: NodeId; readonly reason: string }
  | { readonly kind: 'start'; readonly attempt: AttemptOrder }
  | { readonly kind: 'stop'; readonly job: JobId; readonly fence: Fence; readonly graceMs: number }
  /** To the supervisor, which ends attempts whose node does not. */
  | {
      readonly kind: 'prolong';
      readonly job: JobId;
      readonly fence: Fence;
      readonly lease: SupervisedLease;
    }
  /**
   * The disk refused the first write of this job and its client was told so: neither it nor the
   * start of an attempt at it may ever be written or told.
   */
  | { readonly kind: 'withdraw'; readonly job: JobId }
  /**
   * Read the record and answer with a `stored` input. Only asked for what is not in memory, so
   * nothing that is still to be written can be missed.
   */
  | { readonly kind: 'load'; readonly job: JobId }
  | { readonly kind: 'reply'; readonly request: RequestId; readonly reply: Reply }
  | { readonly kind: 'event'; readonly event: MeshEvent }
  /** Nothing is left to wait for: the node may close. */
  | { readonly kind: 'drained' };

/** One row to write. All writes of a turn share one transaction. */
export type Write =
  /** A value this node keeps as a replica, with its promise. Never regresses what is there. */
  | ({
      readonly kind: 'record';
      /** A final state that needs nobody else's word: as with a `settled` in the same commit. */
      readonly isSettled?: true;
    } & JobRecord)
  /** Nothing below this epoch is taken; also for a job of which no value is here. */
  | { readonly kind: 'promise'; readonly job: JobId; readonly epoch: Epoch }
  /** Its final state is decided; `isEverywhere`: and on every disk of its sets. */
  | { readonly kind: 'settled'; readonly job: JobId; readonly isEverywhere: boolean }
  /**
   * This node keeps the record no more, only its promise: it moved away, or another birth of its
   * id won.
   */
  | {
      readonly kind: 'dropped';
      readonly job: JobId;
      readonly promised: Epoch;
      /** It moved away: this node has no say about it until a value names it again. */
      readonly isRetired: boolean;
    }
  /** This birth of the id was dropped for a lower one, and is never to be led again. */
  | { readonly kind: 'birthLost'; readonly job: JobId; readonly birth: Birth }
  /** A pair's owner decided alone: the peer lacks the value. Undefined: it has it now. */
  | { readonly kind: 'marked'; readonly job: JobId; readonly lacking: NodeId | undefined }
  | { readonly kind: 'ban'; readonly ban: Ban }
  | { readonly kind: 'conflict'; readonly conflict: Conflict }
  /** The executor's word, before it starts, that this fence is used up. */
  | {
      readonly kind: 'started';
      readonly job: JobId;
      readonly fence: Fence;
      readonly grant: Grant;
      readonly at: WallMs;
    }
  /** The attempt is over: into the outbox, until the owner has acknowledged it. */
  | {
      readonly kind: 'outcome';
      readonly job: JobId;
      readonly rs: readonly NodeId[];
      readonly outcome: AttemptOutcome;
    }
  | { readonly kind: 'acknowledged'; readonly job: JobId; readonly fence: Fence }
  /** The lease is over and the outcome acknowledged: the fence need not be remembered. */
  | { readonly kind: 'forgotten'; readonly job: JobId; readonly fence: Fence };

/** Until when an attempt may run although its node says nothing any more. */
export type SupervisedLease =
  /** Its end holds whatever the node does, also while the node's process is frozen. */
  | { readonly tag: 'leased'; readonly leftMs: number }
  /** Only this node decides about the job: ended so long after the node's death, not before. */
  | { readonly tag: 'ownNode'; readonly afterDeathMs: number }
  /** Never ended for its lease: the job prefers to run on, perhaps twice. */
  | { readonly tag: 'unlimited' };

/** What a person must know of although the mesh went on: listed by `mesh doctor`. */
export interface Conflict {
  readonly job: JobId;
  readonly at: WallMs;
  /**
   * `births`: one id was taken on both sides of a partition. `outcomes`: another attempt ended as
   * well, after the job was decided. `forgotten`: a forgotten node came back with it.
   */
  readonly tag: 'births' | 'outcomes' | 'forgotten';
  /** What happened, as a sentence. */
  readonly note: string;
}

/** All an executor adapter needs to run one attempt. */
export interface AttemptOrder {
  readonly job: JobId;
  readonly fence: Fence;
  readonly grant: Grant;
  readonly lease: SupervisedLease;
}

export type Reply =
  | {
      readonly kind: 'submitted';
      readonly record: JobRecord;
      readonly isRepeat: boolean;
      /** How many disks have it. */
      readonly disks: number;
    }
  /** It is recorded as cancelled: not enough disks took it in time. */
  | { readonly kind: 'fewReplicas'; readonly wanted: number; readonly disks: number }
  /** Too few replicas of this id answer to say whether it is taken; nothing was recorded for it. */
  | { readonly kind: 'noQuorum'; readonly job: JobId }
  /** Another node decides about it now: whether it was taken must be asked there. */
  | { readonly kind: 'deposed'; readonly job: JobId }
  | { readonly kind: 'forgotten'; readonly ban: Ban }
  | { readonly kind: 'unknownNode' }
  | { readonly kind: 'keyConflict'; readonly job: JobId }
  | { readonly kind: 'queueFull'; readonly limit: number }
  | { readonly kind: 'notAccepting'; readonly reason: 'draining' | 'disk' }
  | { readonly kind: 'cancelled'; readonly job: JobId }
  /** The attempt is being ended; the job will be JOB_CANCELLED and nothing else. */
  | { readonly kind: 'cancelling'; readonly job: JobId }
  | { readonly kind: 'alreadyFinal'; readonly job: JobId; readonly status: JobStatus }
  | { readonly kind: 'unknownJob'; readonly job: JobId }
  | { readonly kind: 'notOwner'; readonly job: JobId; readonly owner: NodeId };

/** For logs, followers and pages; nothing is decided on one. */
export type MeshEvent =
  | {
      readonly kind: 'jobChanged';
      readonly job: JobId;
      readonly status: JobStatus;
      readonly header: RecordHeader;
      readonly note: string;
    }
  | {
      readonly kind: 'memberChanged';
      readonly node: NodeId;
      readonly name: string;
      readonly state: string;
      readonly reason: string;
    }
  | { readonly kind: 'attemptStarted'; readonly job: JobId; readonly fence: Fence }
  /** At its executor and at the job's owner. */
  | {
      readonly kind: 'attemptProgressed';
      readonly job: JobId;
      readonly fence: Fence;
      readonly progress: Progress;
    }
  | { readonly kind: 'attemptEnded'; readonly job: JobId; readonly outcome: AttemptOutcome }
  /** The mesh has forgotten this node. */
  | { readonly kind: 'banned'; readonly by: NodeId }
  | { readonly kind: 'conflictFound'; readonly conflict: Conflict }
  | { readonly kind: 'anomaly'; readonly note: string; readonly node?: NodeId | undefined }
  | { readonly kind: 'stalled'; readonly lateMs: number; readonly at: MonoMs };
