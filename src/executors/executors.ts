/**
 * Executors run attempts. What all task types share is here and in `attempt.ts`: an attempt has an
 * own working folder, a clean environment, two output files and one end. How it is started is the
 * one thing a task type adds: one file each, registered in TASK_TYPES below.
 *
 * On the disk, below the folder given:
 *
 *     output/<job>/<fence>.stdout, .stderr   what the attempt printed, written by the attempt itself
 *     output/<job>/<fence>.stdout.cut        it printed more than the limit in this file
 *     work/<job>.<fence>/                    working folder, removed after the end
 *     running/<life>/<n>.group               one process group that runs
 *
 * - Output goes straight to files, not through pipes: it is on disk as it is printed, even when
 *   this node is killed in the same instant, and a background child that holds a stream open
 *   delays nothing. The price: a program that opens /dev/stdout or /dev/stderr by name without
 *   appending (`> /dev/stderr` in a shell) empties the file, as under nohup or cron; `>&2` does not.
 * - An attempt is over when its main process has ended: what is left of its process group is
 *   killed then, or, if the attempt was being ended, when the grace time is over. `ended` is
 *   reported when nothing of the group is alive, so a next attempt never meets the last one.
 *   A program that makes a session of its own (setsid) leaves its group and is not followed.
 * - No group outlives its node: a guard process kills all of them when the node dies, however it
 *   dies, and the next start kills what even that left before it settles (groups/). So "lost" is
 *   true when it is said.
 * - Attempts that `stop` cuts short are not reported: that they were killed by a stop says nothing
 *   about the job. The next life finds them started and without outcome, and calls them lost.
 */

import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { MeshError, messageOf } from '../base/errors.ts';
import type { JobId } from '../base/ids.ts';
import type { WallMs } from '../base/instant.ts';
import type { AttemptOrder, SupervisedLease } from '../core/effects.ts';
import type { AttemptReport, Survivor } from '../core/inputs.ts';
import { NO_OUTPUT } from '../core/job.ts';
import { attemptKey, type Fence } from '../core/record.ts';
import type { Executor } from '../node/ports.ts';
import { Attempt } from './attempt.ts';
import { Guard } from './groups/guard.ts';
import { endEarlierLives } from './groups/leftovers.ts';
import { Life } from './groups/listing.ts';
import { foldersIn, isNameable } from './layout.ts';
import { KeptOutputs } from './outputs/outputs.ts';
import { shell } from './shell.ts';
import type { TaskType } from './task-type.ts';
import { removeTree } from './working-folder.ts';

/** All task types this program knows. A new one is one file and one entry here. */
const TASK_TYPES: readonly TaskType[] = [shell];

/** Lower case, sorted. */
export const KNOWN_TASK_TYPES: readonly string[] = TASK_TYPES.map(({ name }) => name).sort();

export interface ExecutorOptions {
  /** The node's data folder; made when missing. One running node each. */
  readonly folder: string;
  /** Kept of each stream of an attempt; the mark of a cut comes on top. */
  readonly outputLimitBytes: number;
  readonly now: () => WallMs;
  /** Added to every attempt's environment, over the job's own: `MESH_NODE_ID`, … */
  readonly meshEnv?: Readonly<Record<string, string>>;
  /** The node's own environment, of which an attempt gets a few variables. */
  readonly nodeEnv?: Readonly<Record<string, string | undefined>>;
  /** What healed by itself or must be looked at by a person, as a sentence. */
  readonly onProblem?: (sentence: string) => void;
}

/** `start` settles once nothing of an earlier life runs. @throws MeshError DATA_FAILED, DISK_FULL from `start` */
export function createExecutors(options: ExecutorOptions): Executors {
  return new AllExecutors(options);
}

/** One executor for all task types, and the outputs it keeps. */
export interface Executors extends Executor {
  readonly outputs: KeptOutputs;
}

type Phase = 'new' | 'starting' | 'running' | 'stopped';

class AllExecutors implements Executors {
  readonly outputs: KeptOutputs;
  private readonly options: ExecutorOptions;
  private readonly onProblem: (sentence: string) => void;
  private readonly attempts = new Map<string, Attempt>();
  /** Working folders being removed. */
  private readonly removals = new Set<Promise<void>>();
  private phase: Phase = 'new';
  private report: (report: AttemptReport) => void = () => {};
  private life: Life | undefined;
  private guard: Guard | undefined;
  private starting: Promise<void> | undefined;
  private stopping: Promise<void> | undefined;

  constructor(options: ExecutorOptions) {
    this.options = options;
    this.onProblem = options.onProblem ?? (() => {});
    const { output } = foldersIn(options.folder);
    this.outputs = new KeptOutputs({ folder: output, limitBytes: options.outputLimitBytes });
  }

  async start(report: (report: AttemptReport) => void): Promise<readonly Survivor[]> {
    this.report = report;
    this.starting ??= this.begin();
    await this.starting;
    return [];
  }

  private async begin(): Promise<void> {
    if (this.phase !== 'new') return;
    this.phase = 'starting';
    const { output, work, running } = foldersIn(this.options.folder);
    try {
      for (const folder of [output, work, running]) {
        await mkdir(folder, { recursive: true, mode: 0o700 });
      }
      await endEarlierLives({
        runningFolder: running,
        settle: (attempt) => this.outputs.settle(attempt),
        onProblem: this.onProblem,
      });
      for (const name of await readdir(work)) this.remove(join(work, name));
      this.life = await Life.begin(running);
      this.guard = new Guard({
        folder: this.life.folder,
        path: (this.options.nodeEnv ?? process.env).PATH,
        onProblem: this.onProblem,
      });
      await this.guard.start();
    } catch (thrown) {
      await this.release();
      throw asStartFailure(thrown, this.options.folder);
    }
    if (this.phase === 'starting') this.phase = 'running';
  }

  run(order: AttemptOrder): void {
    const key = attemptKey(order.job, order.fence);
    if (this.phase !== 'running' || !this.life || this.attempts.has(key)) return;
    const { taskType } = order.grant.spec;
    const found = TASK_TYPES.find(({ name }) => name === taskType);
    if (!found || !isNameable(order)) {
      this.refuse(order, found ? BAD_NAME : unknownTaskType(taskType));
      return;
    }
    const { now, meshEnv = {}, nodeEnv = process.env, folder } = this.options;
    const attempt = new Attempt(order, {
      taskType: found,
      life: this.life,
      outputs: this.outputs,
      workFolder: foldersIn(folder).work,
      now,
      meshEnv,
      nodeEnv,
      report: (report) => this.report(report),
      removeFolder: (path) => this.remove(path),
    });
    this.attempts.set(key, attempt);
    void attempt.run().finally(() => this.attempts.delete(key));
  }

  /** Nothing was opened or started for it. */
  private refuse({ job, fence }: AttemptOrder, reason: string): void {
    setImmediate(() => {
      if (this.phase !== 'running') return;
      const end = { tag: 'failed', reason } as const;
      const finishedAt = this.options.now();
      const nothing = { stdout: NO_OUTPUT, stderr: NO_OUTPUT };
      this.report({ kind: 'ended', job, fence, end, finishedAt, ...nothing });
    });
  }

  end(job: JobId, fence: Fence, graceMs: number): void {
    this.attempts.get(attemptKey(job, fence))?.end(graceMs);
  }

  prolong(_job: JobId, _fence: Fence, _lease: SupervisedLease): void {}

  stop(_running: 'end' | 'leave' = 'end'): Promise<void> {
    this.stopping ??= this.finish();
    return this.stopping;
  }

  private async finish(): Promise<void> {
    const wasStarting = this.phase === 'starting';
    this.phase = 'stopped';
    if (wasStarting) await this.starting?.catch(() => {});
    const attempts = [...this.attempts.values()];
    for (const attempt of attempts) attempt.abandon();
    await Promise.all(attempts.map((attempt) => attempt.over));
    await this.release();
    await Promise.all(this.removals);
    await this.outputs.close();
  }

  private async release(): Promise<void> {
    await this.guard?.stop();
    await this.life?.end();
  }

  /** In the background: a job may leave a million files, and its outcome does not wait for that. */
  private remove(path: string): void {
    const removal = removeTree(path).then((failure) => {
      this.removals.delete(removal);
      if (failure) this.onProblem(failure);
    });
    this.removals.add(removal);
  }
}

const BAD_NAME = 'The job cannot be run here: its id or fence is not of the documented form.';
const unknownTaskType = (name: string): string =>
  `This node does not serve the task type ${name}; it knows ${KNOWN_TASK_TYPES.join(', ')}.`;

function asStartFailure(thrown: unknown, folder: string): MeshError {
  if (thrown instanceof MeshError) return thrown;
  const code = (thrown as { code?: string }).code;
  const isFull = code === 'ENOSPC' || code === 'EDQUOT';
  const next = isFull ? 'Free some space' : 'Give this user write permission to it';
  return new MeshError(
    isFull ? 'DISK_FULL' : 'DATA_FAILED',
    `The folders of running jobs below ${folder} cannot be made or written (${messageOf(thrown)}). ${next}, or name another folder with --data-dir.`,
    { cause: thrown },
  );
}
