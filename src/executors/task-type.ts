/** What a task type is to the executors: the way an attempt of it is started. */
import type { WallMs } from '../base/instant.ts';
import type { AttemptOrder, SupervisedLease } from '../core/effects.ts';
import type { AttemptEnd } from '../core/job.ts';
import type { NotRun } from './failures.ts';

export interface TaskType {
  /** As in `JobSpec.taskType`. */
  readonly name: string;
  /** Never rejects for a mistake in the job: that is a `failed` result. */
  launch(attempt: Launch): Promise<Launched>;
}

/** An attempt whose folders and output files are ready. */
export interface Launch {
  readonly order: AttemptOrder;
  /**
   * Starts a program as the attempt's process group: stdin is empty, stdout and stderr are the
   * attempt's output files, folder and environment its own. @param program file and arguments
   */
  startGroup(program: readonly string[]): Promise<Launched>;
}

export type Launched = { readonly tag: 'started'; readonly running: Running } | NotRun;

export interface Running {
  /** Settles once nothing of the attempt is alive; never rejects, and never settles after `leave`. */
  readonly ended: Promise<AttemptEnd>;
  /** When its main process ended; `now` unless that was noted. After `ended`. */
  finishedAt(now: WallMs): WallMs;
  /** Asks it to end, forces it after `graceMs`. May be called again with less grace. */
  end(graceMs: number): void;
  /** Until when it may run although its node says nothing any more. */
  prolong(lease: SupervisedLease): void;
  /** Settles once the next life would find it, or it is over, or it takes too long. */
  untilFound(deadlineMs: number): Promise<void>;
  /** It goes on without this node, whose process may end. */
  leave(): Promise<void>;
}
