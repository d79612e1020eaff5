/**
 * All that can happen to a node, as data. Each input is handled to its end before the next one;
 * the time comes with it.
 */
import type { Birth, BootId, JobId, NodeId, RequestId } from '../base/ids.ts';
import type { WallMs } from '../base/instant.ts';
import type { Write } from './effects.ts';
import type { NodeFacts } from './facts.ts';
import type { AttemptEnd, AttemptOutcome, JobSpec, OutputTail, Progress, Receipt } from './job.ts';
import type { JobRecord } from './job-record.ts';
import type { Grant, Message } from './messages.ts';
import type { Ban, Epoch, Fence, RecordHeader } from './record.ts';

export type Input =
  /** First of all, once: what the disk holds, and which attempts of the earlier life still run. */
  | {
      readonly kind: 'restored';
      readonly state: StoredState;
      readonly survivors: readonly Survivor[];
    }
  | { readonly kind: 'tick' }
  /** These writes are on this node's disk, in this order. */
  | { readonly kind: 'committed'; readonly writes: readonly Write[] }
  /** Answers a `load`; undefined: this disk has no such record. */
  | { readonly kind: 'stored'; readonly job: JobId; readonly record: JobRecord | undefined }
  /** The disk refuses writes, or takes them again. */
  | { readonly kind: 'storeChanged'; readonly isWorking: boolean }
  /** An authenticated heartbeat: this node can probably be dialled there. */
  | {
      readonly kind: 'hint';
      readonly node: NodeId;
      readonly boot: BootId;
      readonly host: string;
      readonly port: number;
    }
  | {
      readonly kind: 'linkUp';
      readonly node: NodeId;
      readonly boot: BootId;
      /** Of its disk, as its hello told. */
      readonly commits?: number | undefined;
      readonly facts: NodeFacts;
      readonly host: string;
    }
  | {
      readonly kind: 'linkDown';
      readonly node: NodeId;
      readonly boot: BootId;
      readonly reason: string;
    }
  | {
      readonly kind: 'dialFailed';
      readonly node: NodeId;
      readonly isRefused: boolean;
      readonly reason: string;
    }
  | {
      readonly kind: 'message';
      readonly from: NodeId;
      readonly boot: BootId;
      readonly message: Message;
    }
  | { readonly kind: 'report'; readonly report: AttemptReport }
  /** What this node says of itself is not what it said before. */
  | { readonly kind: 'factsChanged' }
  | { readonly kind: 'submit'; readonly request: RequestId; readonly submission: Submission }
  | { readonly kind: 'cancel'; readonly request: RequestId; readonly job: JobId }
  /** Ban a node that will not return. */
  | { readonly kind: 'forget'; readonly request: RequestId; readonly node: NodeId }
  /** Take no new work; after `deadlineMs` give back what still runs. */
  | { readonly kind: 'drain'; readonly deadlineMs: number; readonly way: Leaving };

/**
 * `stop`: what runs may end, the jobs wait here for the next start or are handed over. `restart`:
 * at once; jobs are handed over, what runs goes on and is adopted by the next start. `leave`: for
 * good; records move to other nodes first.
 */
export type Leaving = 'stop' | 'restart' | 'leave';

export interface Submission {
  readonly job: JobId;
  readonly birth: Birth;
  readonly spec: JobSpec;
  readonly contentHash: string;
  /** The id is the client's choice, or made from its key: it may be there already. */
  readonly isKeyed: boolean;
}

/**
 * An attempt that an earlier life of this node started and that the supervisor still has: it runs,
 * or it ended meanwhile and its `ended` report follows.
 */
export interface Survivor {
  readonly job: JobId;
  readonly fence: Fence;
  readonly startedAt: WallMs;
  /** Milliseconds until the supervisor ends it; undefined: never. */
  readonly leaseLeftMs: number | undefined;
}

/** From the executor adapter, about an attempt it was told to start. */
export type AttemptReport =
  | {
      readonly kind: 'running';
      readonly job: JobId;
      readonly fence: Fence;
      readonly startedAt: WallMs;
    }
  /** How far it is; a few times a second at most. Never before `running`. */
  | {
      readonly kind: 'progress';
      readonly job: JobId;
      readonly fence: Fence;
      readonly progress: Progress;
    }
  /** Nothing of it is alive, and files that it left are being kept: its timeout is not for that. */
  | { readonly kind: 'keeping'; readonly job: JobId; readonly fence: Fence }
  /** Exactly once, and last. `end` is never `timeout` or `cancelled`: why it was stopped is the core's knowledge. */
  | {
      readonly kind: 'ended';
      readonly job: JobId;
      readonly fence: Fence;
      readonly end: AttemptEnd;
      readonly startedAt?: WallMs | undefined;
      readonly finishedAt: WallMs;
      readonly stdout: OutputTail;
      readonly stderr: OutputTail;
      readonly receipt?: Receipt | undefined;
    };

export interface StoredState {
  /** Those that are not final, or final and not known to be decided; owned or only kept. */
  readonly records: readonly StoredRecord[];
  /** Promises for jobs of which no value is here. */
  readonly promises: readonly StoredPromise[];
  /** Births of ids that were dropped here for lower ones. */
  readonly lostBirths: readonly LostBirth[];
  /** The newest births kept here of ids that clients chose, ended or not, the oldest first. */
  readonly births: readonly StoredBirth[];
  readonly bans: readonly Ban[];
  /** Fences used up here, with or without outcome. */
  readonly started: readonly StartedRow[];
  /** Outcomes that no owner has acknowledged. */
  readonly outbox: readonly OutboxRow[];
}

export interface StoredPromise {
  readonly job: JobId;
  readonly epoch: Epoch;
  /** The record was here, and moved away. */
  readonly isRetired: boolean;
}

export interface LostBirth {
  readonly job: JobId;
  readonly birth: Birth;
}

export interface StoredBirth {
  readonly job: JobId;
  readonly birth: Birth;
  readonly accepted: RecordHeader['accepted'];
  readonly createdAt: WallMs;
}

export interface StoredRecord extends JobRecord {
  /** The peer of a pair that lacks this value. */
  readonly lacking?: NodeId | undefined;
}

export interface StartedRow {
  readonly job: JobId;
  readonly fence: Fence;
  readonly grant: Grant;
  readonly at: WallMs;
  /** Its outcome was acknowledged; only the fence is remembered. */
  readonly isOver: boolean;
}

export interface OutboxRow {
  readonly job: JobId;
  readonly rs: readonly NodeId[];
  readonly outcome: AttemptOutcome;
}
