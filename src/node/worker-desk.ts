/**
 * Where programs that are no part of the mesh, in any language, ask a node for work: they say what
 * task types they serve, take attempts that were granted to the node, and tell how those end.
 */
import type { AttemptOrder } from '../core/effects.ts';
import type { Progress } from '../core/job.ts';

export interface WorkerDesk {
  /**
   * The worker is known from here on, its types are served by this node.
   * Undefined: nothing came in time, or the signal was aborted.
   * @throws MeshError BAD_REQUEST for a task type that the node serves by itself, BUSY
   */
  claim(worker: WorkerClaim): Promise<ClaimedAttempt | undefined>;
  /** Known workers, by name. */
  list(): readonly WorkerView[];
  /**
   * The attempt's worker is alive. True: the attempt is to end.
   * As all that follow, @throws MeshError NOT_CURRENT when it is not this attempt's turn (any more)
   */
  touch(attempt: WorkerRef): boolean;
  tell(attempt: WorkerRef, progress: Progress): void;
  /** Settles when it is in the file. */
  print(attempt: WorkerRef, stream: 'stdout' | 'stderr', bytes: Uint8Array): Promise<void>;
  /** @param end result: JSON text */
  finish(attempt: WorkerRef, end: WorkerEnd): void;
}

export interface WorkerClaim {
  /** Chosen by the worker; two of one name are one. */
  readonly worker: string;
  readonly taskTypes: readonly string[];
  /** Attempts it runs at once. */
  readonly slots: number;
  readonly waitMs: number;
  readonly signal: AbortSignal;
}

export interface ClaimedAttempt {
  readonly order: AttemptOrder;
  readonly env: Readonly<Record<string, string>>;
  /** On the node's machine. */
  readonly folder: string;
}

/** As the worker names it. */
export interface WorkerRef {
  readonly job: string;
  /** Text form. */
  readonly fence: string;
}

export type WorkerEnd =
  | { readonly tag: 'exited'; readonly code: number; readonly result?: string | undefined }
  | { readonly tag: 'failed'; readonly reason: string };

export interface WorkerView {
  readonly worker: string;
  readonly taskTypes: readonly string[];
  readonly slots: number;
  /** Attempts it has now. */
  readonly running: number;
}
