/** What a task type is to the executors: whether this machine has it, and how it is started. */
import type { WallMs } from '../base/instant.ts';
import type { AttemptOrder, SupervisedLease } from '../core/effects.ts';
import type { AttemptEnd, Progress, Receipt, Usage } from '../core/job.ts';
import type { RunOptions } from '../run/run-options.ts';
import type { NotRun } from './failures.ts';

export interface TaskType {
  /** As in `JobSpec.taskType`. */
  readonly name: string;
  /**
   * Whether this machine can run it; asked at the start and about every minute. Never rejects.
   * Without it the type is always there.
   */
  readonly look?: () => Promise<Sighting>;
  /** A node does not wait for its first look: it starts a program. */
  readonly looksSlowly?: boolean;
  /** Its attempts make their folders themselves (`Place`), as most of them need none. */
  readonly makesPlace?: boolean;
  /** Never rejects for a mistake in the job: that is a `failed` result. */
  launch(attempt: Launch): Promise<Launched>;
  /** After the last attempt: what it holds open is released. */
  readonly close?: () => Promise<void>;
}

export type Sighting =
  | {
      readonly tag: 'present';
      readonly version?: string;
      /** Told to the mesh beside the operator's own: capability → value. */
      readonly capabilities?: Readonly<Record<string, string>>;
    }
  /** What is missing and what to do, as a sentence. */
  | { readonly tag: 'absent'; readonly reason: string };

/** An attempt whose folders are ready, but for a task type that makes them itself. */
export interface Launch {
  readonly order: AttemptOrder;
  readonly run: RunOptions;
  readonly place: Place;
  /** What the attempt finds in its environment. */
  readonly env: Readonly<Record<string, string>>;
  /**
   * Starts a program as the attempt's process group: stdin is empty, stdout and stderr are the
   * attempt's output files, folder and environment its own. @param program file and arguments
   */
  startGroup(program: readonly string[]): Promise<Launched>;
  /** Aborted when it is to end although it has not started; what has is told by `Running.end`. */
  readonly ending: AbortSignal;
  /** As long as nothing is running: until when it may be. Later it is told by `Running.prolong`. */
  lease(): SupervisedLease;
  /** How far it is; may be called as often as one likes. */
  tell(progress: Progress): void;
  /** Part of what is reported with its end; a later part replaces an earlier one of the same name. */
  note(part: Receipt): void;
}

/** Where an attempt runs and what it prints into. */
export interface Place {
  /** False: neither the folder nor that of the files is there yet (`TaskType.makesPlace`). */
  readonly isMade: boolean;
  readonly path: string;
  /** Files that are made by the first who appends to them. */
  readonly stdout: string;
  readonly stderr: string;
}

export type Launched = { readonly tag: 'started'; readonly running: Running } | NotRun;

export interface Running {
  /** Settles once nothing of the attempt is alive; never rejects, and never settles after `leave`. */
  readonly ended: Promise<AttemptEnd>;
  /** False: it lives in this process and ends with it. */
  readonly canBeLeft: boolean;
  /** When its main process ended; `now` unless that was noted. After `ended`. */
  finishedAt(now: WallMs): WallMs;
  /** Known after `ended`: no process that it started can be there any more, wherever it went. */
  readonly isTraceless?: boolean;
  /** What it took, as far as it is known. After `ended`. */
  usage?(): Usage | undefined;
  /** Asks it to end, forces it after `graceMs`. May be called again with less grace. */
  end(graceMs: number): void;
  /** Until when it may run although its node says nothing any more. */
  prolong(lease: SupervisedLease): void;
  /** Settles once the next life would find it, or it is over, or it takes too long. */
  untilFound(deadlineMs: number): Promise<void>;
  /** After `ended`, when what was kept of it is in order. @param isUnlisted its file is no group's any more */
  release?(isUnlisted: boolean): void;
  /** It goes on without this node, whose process may end. */
  leave(): Promise<void>;
}
