/**
 * A job as its owner decides about it. The record's body is exactly a `Job`; everything else a
 * node knows of a job (who was offered it, since when it runs) is volatile and can be asked again.
 *
 * | state   | entered when                                   | left when, by the owner                      |
 * |---------|------------------------------------------------|----------------------------------------------|
 * | pending | submitted; or an attempt ended without outcome | granted to a claim; cancelled                |
 * | granted | a claim was answered with a grant              | outcome reported; executor given up; refused |
 * | revoked | its executor is dead to the owner              | its lease is over everywhere; exit 0 arrives |
 * | final   | an outcome was decided                         | never                                        |
 */
import type { BootId, NodeId, Nonce } from '../base/ids.ts';
import type { WallMs } from '../base/instant.ts';
import type { Fence } from './record.ts';

/** What the submitter asked for; never changes. */
export interface JobSpec {
  /** `shell`, … Lower case. */
  readonly taskType: string;
  /** For `/bin/sh -c`; empty for task types that take none. */
  readonly command: string;
  /** JSON text of the task type's parameters, `{}` when none; passed on unread. */
  readonly params: string;
  /** Added to the clean environment of the attempt. */
  readonly env: Readonly<Record<string, string>>;
  /** Absolute path; undefined: an own empty folder. */
  readonly workingDir?: string | undefined;
  /** JSON text of how its node runs it (limits, user, files, …), `{}` when nothing was said; passed on unread. */
  readonly run: string;
  /** From the start of an attempt to the SIGTERM that ends it. */
  readonly timeoutMs: number;
  /** From its creation on: JOB_TIMEOUT if no attempt was given to a node by then. */
  readonly queueTimeoutMs?: number | undefined;
  /** From its creation to its end, all waiting and all attempts counted. */
  readonly totalTimeoutMs?: number | undefined;
  /** 1 to 10; the higher goes first. */
  readonly priority: number;
  readonly needs: Needs;
  /** `at_most_once`: never run again; where another would be, the job is JOB_LOST. */
  readonly delivery: 'at_least_once' | 'at_most_once';
  /** What an attempt does whose node hears no majority of the job's replicas: end with its lease, or go on, perhaps twice. */
  readonly onIsolation: 'stop' | 'continue';
  /** Disks that must have it before it is accepted; undefined: a majority, else one. */
  readonly replicas?: 1 | 2 | 3 | undefined;
}

/** What an executor node must be or have. */
export interface Needs {
  /** Pinned: this node and no other. */
  readonly target?: NodeId | undefined;
  /** label → value it must have. */
  readonly labels: Readonly<Record<string, string>>;
  /** capability → value it must have. */
  readonly capabilities: Readonly<Record<string, string>>;
}

export interface Job {
  readonly spec: JobSpec;
  readonly createdAt: WallMs;
  /** The node that took it; its owner at first. */
  readonly createdBy: NodeId;
  /** Hash of the content that was submitted, to tell a repeated submit from a conflict. */
  readonly contentHash: string;
  readonly state: JobState;
  /** Attempts granted so far; the number of the newest. */
  readonly attempts: number;
  /** Of these, how many were lost with their executor. */
  readonly losses: number;
  /** Ended attempts that did not decide the job, oldest first, the last {@link MAX_HISTORY} of them. */
  readonly history: readonly PastAttempt[];
}

export const MAX_HISTORY = 10;
/** A job whose executor died is given to another one this often, then it is JOB_LOST. */
export const MAX_LOSSES = 3;

export type JobState =
  | { readonly tag: 'pending' }
  | {
      readonly tag: 'granted';
      readonly grant: GrantNote;
      /** A cancel that was decided: from then on no other final state than JOB_CANCELLED is possible. */
      readonly cancelAt?: WallMs | undefined;
    }
  | {
      readonly tag: 'revoked';
      readonly grant: GrantNote;
      readonly reason: string;
      readonly cancelAt?: WallMs | undefined;
    }
  | { readonly tag: 'final'; readonly final: FinalState };

/** The same for all that wait, of which there may be a million. */
export const PENDING: JobState = { tag: 'pending' };
export const NO_HISTORY: readonly PastAttempt[] = [];

/** To whom and how an attempt was given. */
export interface GrantNote {
  readonly fence: Fence;
  readonly executor: NodeId;
  readonly executorBoot: BootId;
  readonly nonce: Nonce;
  readonly at: WallMs;
  /** Why this node, as a phrase: `own free slot`, `less loaded of 2 out of 5`, `asked for work`. */
  readonly why: string;
}

export type FinalStatus =
  | 'JOB_COMPLETED'
  | 'JOB_FAILED'
  | 'JOB_TIMEOUT'
  | 'JOB_CANCELLED'
  | 'JOB_LOST';

export type JobStatus = 'JOB_PENDING' | 'JOB_ASSIGNED' | 'JOB_RUNNING' | FinalStatus;

export interface FinalState {
  readonly status: FinalStatus;
  readonly at: WallMs;
  /** A sentence for the user; empty for JOB_COMPLETED. */
  readonly reason: string;
  /** The attempt that decided; undefined when none did (cancelled before a start, lost). */
  readonly outcome?: AttemptOutcome | undefined;
}

/** How one attempt ended, told by its executor. */
export interface AttemptOutcome {
  readonly fence: Fence;
  readonly executor: NodeId;
  readonly end: AttemptEnd;
  /** Undefined when the attempt never started. */
  readonly startedAt?: WallMs | undefined;
  readonly finishedAt: WallMs;
  readonly stdout: OutputTail;
  readonly stderr: OutputTail;
  readonly receipt?: Receipt | undefined;
}

/** What an attempt leaves beside its streams; each part only where it is known. */
export interface Receipt {
  readonly usage?: Usage | undefined;
  /** The last that it told. */
  readonly progress?: Progress | undefined;
  /** JSON text, at most {@link MAX_RESULT_BYTES}; of task types that have a result. */
  readonly result?: string | undefined;
  /** Files that it left and its node keeps, at most {@link MAX_FILES}. */
  readonly files?: readonly KeptFile[] | undefined;
  /** Which of the files that were to be kept are not, and why: a sentence. */
  readonly filesNote?: string | undefined;
}

export interface Usage {
  /** User and system time of all its processes. */
  readonly cpuMs?: number | undefined;
  readonly peakMemoryBytes?: number | undefined;
  /** What has kept the job to its limits; undefined: it had none. */
  readonly limitsBy?: LimitsBy | undefined;
}

/** `cgroup` counts all processes of an attempt together, `rlimit` each for itself. */
export type LimitsBy = 'cgroup' | 'rlimit';

export interface Progress {
  /** 0 to 100. */
  readonly percent: number;
  /** At most {@link MAX_PROGRESS_CHARS}. */
  readonly message: string;
}

/** Named by its content; `path` is relative to the working folder of the attempt. */
export interface KeptFile {
  readonly path: string;
  readonly bytes: number;
  /** 64 hex digits. */
  readonly sha256: string;
}

export const MAX_RESULT_BYTES = 64 * 1024;
export const MAX_PROGRESS_CHARS = 200;
export const MAX_FILES = 256;

export type AttemptEnd =
  | { readonly tag: 'exited'; readonly code: number }
  /** Ended by a signal that nobody here sent. `signal` is `SIGSEGV`, … */
  | { readonly tag: 'signalled'; readonly signal: string }
  | { readonly tag: 'timeout' }
  | { readonly tag: 'cancelled' }
  /** It could not be run at all. */
  | { readonly tag: 'failed'; readonly reason: string }
  /** Cut short, outcome unknown: node died, lease ran out. */
  | { readonly tag: 'lost'; readonly reason: string }
  /** Given back by a node that shuts down, or that cannot run it now; does not count as lost. */
  | { readonly tag: 'returned'; readonly reason: string };

/** The end of a stream, at most {@link MAX_TAIL_BYTES}. */
export interface OutputTail {
  readonly bytes: Uint8Array;
  /** Length of the whole stream as it was kept. */
  readonly totalBytes: number;
  /** More was printed than the node keeps. */
  readonly isTruncated: boolean;
}

export const MAX_TAIL_BYTES = 32 * 1024;
export const NO_OUTPUT: OutputTail = {
  bytes: new Uint8Array(0),
  totalBytes: 0,
  isTruncated: false,
};

export interface PastAttempt {
  readonly fence: Fence;
  readonly executor: NodeId;
  readonly at: WallMs;
  /** What became of it: `lost: link closed, two dials refused`. */
  readonly note: string;
  /** It reported an outcome after another one had been decided. */
  readonly isSuperseded: boolean;
}

/** What the record alone tells; JOB_RUNNING is added from volatile knowledge. */
export function recordedStatus(state: JobState): JobStatus {
  switch (state.tag) {
    case 'pending':
      return 'JOB_PENDING';
    case 'granted':
    case 'revoked':
      return 'JOB_ASSIGNED';
    case 'final':
      return state.final.status;
  }
}
