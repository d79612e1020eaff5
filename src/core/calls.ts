/**
 * Questions from node to node that expect one answer: reads, and commands on their way to the
 * node that decides. Nothing here decides anything; `node/` asks and answers them.
 */
import type { JobId, NodeId } from '../base/ids.ts';
import type { WallMs } from '../base/instant.ts';
import type { Conflict, Reply } from './effects.ts';
import type { Submission } from './inputs.ts';
import type { JobStatus, Progress } from './job.ts';
import type { JobRecord } from './job-record.ts';
import type { Fence } from './record.ts';

export type Call =
  /** This node's own record of a job. */
  | { readonly kind: 'lookUp'; readonly job: JobId }
  /** This node's own records, newest first. */
  | { readonly kind: 'list'; readonly query: RecordQuery }
  | { readonly kind: 'submit'; readonly submission: Submission }
  | { readonly kind: 'cancel'; readonly job: JobId }
  /** This node's own list, newest first, at most 1,000. */
  | { readonly kind: 'conflicts' }
  /** Of a node that serves the type. `params`: JSON texts, 1 to 1,000, 1 MiB together. */
  | {
      readonly kind: 'checkParams';
      readonly taskType: string;
      readonly params: readonly string[];
    }
  | {
      readonly kind: 'readOutput';
      readonly job: JobId;
      readonly fence: Fence;
      readonly stream: OutputStream;
      readonly offset: number;
      /** At most 256 KiB. */
      readonly maxBytes: number;
      /** Wait so long for bytes beyond `offset` while the attempt runs. */
      readonly waitMs: number;
    }
  | {
      readonly kind: 'readBlob';
      readonly sha256: string;
      readonly offset: number;
      /** At most 256 KiB; 0: only its length is asked for. */
      readonly maxBytes: number;
    }
  /** To get it from whoever has it and keep it; answered when it is here, or, with nothing, in a few seconds. */
  | { readonly kind: 'keepBlob'; readonly sha256: string }
  | TerminalCall;

/** To the node where a terminal runs. */
export interface TerminalCall {
  readonly kind: 'terminal';
  readonly job: JobId;
  readonly fence: Fence;
  /** Of the client; a new one takes the terminal over from the one before. */
  readonly session: string;
  readonly ask: TerminalAsk;
}

export type TerminalAsk =
  /** Waits for output behind what the client has. */
  | { readonly tag: 'read'; readonly offset: number; readonly waitMs: number }
  | {
      readonly tag: 'write';
      /** Of the first byte among all that the session typed: what comes twice is taken once. */
      readonly offset: number;
      /** At most 64 KiB. */
      readonly bytes: Uint8Array;
      readonly size: TerminalSize | undefined;
    };

export interface TerminalSize {
  readonly columns: number;
  readonly rows: number;
}

export type TerminalReply =
  /** No such terminal runs here. */
  | { readonly tag: 'unknown' }
  /** Another session has it. */
  | { readonly tag: 'takenOver' }
  | {
      readonly tag: 'shown';
      readonly bytes: Uint8Array;
      /** Of the first byte: behind the one asked for if that is kept no more. */
      readonly offset: number;
      readonly isEnd: boolean;
    }
  /** How many bytes of the session have been typed. */
  | { readonly tag: 'taken'; readonly offset: number };

export type Answer =
  /** Undefined: there is no such record here. */
  | { readonly kind: 'lookUp'; readonly found: LiveRecord | undefined }
  | { readonly kind: 'list'; readonly records: readonly LiveRecord[] }
  | { readonly kind: 'conflicts'; readonly conflicts: readonly Conflict[] }
  | { readonly kind: 'reply'; readonly reply: Reply }
  /** In order; undefined: nothing is wrong, as far as the node knows. */
  | { readonly kind: 'checkedParams'; readonly problems: readonly (string | undefined)[] }
  /** Undefined: nothing is kept for this attempt here; `removal` says why, where that is known. */
  | {
      readonly kind: 'output';
      readonly chunk: OutputChunk | undefined;
      readonly removal?: OutputRemoval | undefined;
    }
  /** Undefined: it is not here, or not whole. */
  | { readonly kind: 'blob'; readonly chunk: BlobChunk | undefined }
  | { readonly kind: 'terminal'; readonly reply: TerminalReply };

export interface RecordQuery {
  /** 1 to 1,000. */
  readonly limit: number;
  /** Only older than this. */
  readonly before?: { readonly createdAt: WallMs; readonly job: JobId } | undefined;
  /** Recorded statuses (JOB_RUNNING is recorded as JOB_ASSIGNED); empty or undefined: all. */
  readonly statuses?: readonly JobStatus[] | undefined;
  readonly taskType?: string | undefined;
  /** Executor of the newest grant, or pinned target. */
  readonly node?: NodeId | undefined;
}

/** A record and what its owner knows beside it. */
export interface LiveRecord {
  readonly record: JobRecord;
  /** JOB_RUNNING once the executor said so; else the recorded status. */
  readonly status: JobStatus;
  /** `local`: lost with one disk; `replicated`: on two at least. */
  readonly durability: Durability;
  /** An outcome is known and is being agreed on: not final yet. */
  readonly isSettling: boolean;
  /** The answering node decides about the job, and so knows all of it. */
  readonly isOwner: boolean;
  readonly startedAt?: WallMs | undefined;
  /** The last that its attempt told. */
  readonly progress?: Progress | undefined;
  /** While it waits: what each node says. Sorted by node. */
  readonly waiting: readonly WaitingReason[];
}

export type Durability = 'local' | 'replicated';

export interface WaitingReason {
  readonly node: NodeId;
  readonly reason: string;
}

export type OutputStream = 'stdout' | 'stderr';

export interface OutputChunk {
  readonly bytes: Uint8Array;
  /** Where `bytes` begins in the stream. */
  readonly offset: number;
  /** Nothing will ever follow these bytes. */
  readonly isEnd: boolean;
  readonly isTruncated: boolean;
  /** Length of the stream as it is kept now; undefined: a node of an older version answered. */
  readonly keptBytes?: number | undefined;
}

/** Retention removes outputs that are old, and the oldest when all of them take too much space. */
export type OutputRemoval = 'age' | 'space';

/** Of a file that is named by its content. */
export interface BlobChunk {
  /** Empty from its end on. */
  readonly bytes: Uint8Array;
  readonly totalBytes: number;
}
