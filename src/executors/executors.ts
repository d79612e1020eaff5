/**
 * Executors run attempts. What all task types share is here and in `attempt.ts`: an attempt has an
 * own working folder, a clean environment, two output files and one end. How it is started is the
 * one thing a task type adds: one file each, registered in catalogue.ts.
 *
 * On the disk, below the folder given:
 *
 *     output/<job>/<fence>.stdout, .stderr   what the attempt printed, written by the attempt itself
 *     output/<job>/<fence>.stdout.cut        it printed more than the limit in this file
 *     work/<job>.<fence>/                    working folder, removed after the end
 *     work/handlers-<id>/                    that of a process of handlers, which keeps it while attempts leave it empty
 *     running/<life>/<n>.group               one process group that runs, or ended with nobody there
 *     running/<life>/<n>.ended               one that ended, until its outcome is in the database
 *
 * - Output goes straight to files, not through pipes: it is on disk as it is printed, even when
 *   this node is killed in the same instant, and a background child that holds a stream open
 *   delays nothing. The price: a program that opens /dev/stdout or /dev/stderr by name without
 *   appending (`> /dev/stderr` in a shell) empties the file, as under nohup or cron; `>&2` does not.
 * - An attempt is over when its main process has ended: what is left of its process group is
 *   killed then, or, if the attempt was being ended, when the grace time is over. `ended` is
 *   reported when nothing of the group is alive, so a next attempt never meets the last one.
 *   A program that makes a session of its own (setsid) leaves its group and is not followed.
 * - A group outlives its node, not its lease: a supervisor process ends it then, whether the node
 *   is dead or stands still, and a start before that adopts it (groups/). All else that was left is
 *   ended before a start settles, so "lost" is true when it is said. While no node is there, nobody
 *   holds outputs to their limit.
 * - Attempts that `stop` cuts short are not reported: that they were killed by a stop says nothing
 *   about the job. The next life finds them started and without outcome, and calls them lost.
 */

import { existsSync } from 'node:fs';
import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { MeshError, messageOf } from '../base/errors.ts';
import type { JobId } from '../base/ids.ts';
import type { WallMs } from '../base/instant.ts';
import type { AttemptOrder, SupervisedLease } from '../core/effects.ts';
import type { Offers } from '../core/facts.ts';
import type { AttemptReport, Survivor } from '../core/inputs.ts';
import { type JobSpec, NO_OUTPUT } from '../core/job.ts';
import type { AttemptRef } from '../core/messages.ts';
import { attemptKey, type Fence } from '../core/record.ts';
import type { Executor, JobProcesses, ParamsChecked } from '../node/ports.ts';
import type { Policy } from '../policy/policy.ts';
import { parseRunText, type RunOptions } from '../run/run-options.ts';
import { Attempt, type AttemptParts } from './attempt.ts';
import { commonEnvironment } from './environment.ts';
import type { Files } from './files/files.ts';
import { untilBootMs } from './groups/boot-clock.ts';
import { type Adopted, takeOverEarlierLives } from './groups/earlier-lives.ts';
import type { ListedGroup } from './groups/group-file.ts';
import { adoptProcessGroup, type Holder, type Starter } from './groups/groups.ts';
import { Life, type Listing } from './groups/life.ts';
import { Runners } from './groups/runners.ts';
import { findSupervision } from './groups/supervision.ts';
import { Supervisor } from './groups/supervisor.ts';
import { foldersIn, isNameable, keepListPath, workPath } from './layout.ts';
import { CgroupTree, cgroupName } from './limits/cgroup-tree.ts';
import { holderOf } from './limits/holders.ts';
import { SharedPlace } from './manners/shared-place.ts';
import { KeptOutputs } from './outputs/outputs.ts';
import { findProgram } from './programs.ts';
import { ProgressFiles } from './progress-files.ts';
import { shell } from './shell.ts';
import { Sightings } from './sightings.ts';
import type { TaskSource } from './task-source.ts';
import type { TaskType } from './task-type.ts';
import { WorkingFolders } from './working-folder.ts';

export interface ExecutorOptions {
  /** The node's data folder; made when missing. One running node each. */
  readonly folder: string;
  /** All that this program can run, present or not. */
  readonly taskTypes?: readonly TaskType[];
  /** What may run here. */
  readonly policy?: Policy;
  /** Task types that come and go, in addition; served whatever is wanted by name. */
  readonly sources?: readonly TaskSource[];
  /** By name; undefined: all that are present. */
  readonly wantedTypes?: readonly string[] | undefined;
  /** What the operator says this node has. */
  readonly capabilities?: Readonly<Record<string, string>>;
  /** What else is found on this machine: capability → value. Never rejects. */
  readonly findCapabilities?: () => Promise<Readonly<Record<string, string>>>;
  /** At the start, and whenever what can be run here is not the same any more. */
  readonly onOffers?: (offers: Offers) => void;
  /** Without it a job gets only the inputs that came with it, and nothing it leaves is kept. */
  readonly files?: Files;
  /** Kept of each stream of an attempt; the mark of a cut comes on top. */
  readonly outputLimitBytes: number;
  readonly now: () => WallMs;
  /** Added to every attempt's environment, over the job's own: `MESH_NODE_ID`, … */
  readonly meshEnv?: Readonly<Record<string, string>>;
  /** The node's own environment, of which an attempt gets a few variables. */
  readonly nodeEnv?: Readonly<Record<string, string | undefined>>;
  /** Where the system tells of its processes; where it does not, attempts end with their node. */
  readonly procFolder?: string;
  /** Of the node, beside its data folder: no job in a sandbox sees what is in them. */
  readonly hiddenFolders?: readonly string[];
  /** False: jobs are held to their limits process by process. */
  readonly mayMakeCgroups?: boolean;
  /** What healed by itself or must be looked at by a person, as a sentence. */
  readonly onProblem?: (sentence: string) => void;
}

/** `start` settles once nothing of an earlier life runs but what it adopts. @throws MeshError DATA_FAILED, DISK_FULL from `start` */
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
  /** Ended by themselves; their reports are not on the node's disk yet. */
  private readonly endsKept = new Map<string, Listing>();
  private readonly workingFolders: WorkingFolders;
  private readonly taskTypes: readonly TaskType[];
  private readonly sources: readonly TaskSource[];
  private readonly sightings: Sightings;
  private readonly progressFiles: ProgressFiles;
  private readonly shared: SharedPlace;
  private cgroupTree: Promise<CgroupTree | undefined> | undefined;
  private phase: Phase = 'new';
  private report: (report: AttemptReport) => void = () => {};
  private life: Life | undefined;
  private starter: Starter | undefined;
  private supervisor: Supervisor | undefined;
  private starting: Promise<readonly Survivor[]> | undefined;
  private stopping: Promise<void> | undefined;

  constructor(options: ExecutorOptions) {
    const { taskTypes = [shell], sources = [], wantedTypes, capabilities = {} } = options;
    this.options = options;
    this.onProblem = options.onProblem ?? (() => {});
    this.taskTypes = taskTypes;
    this.sources = sources;
    const { onProblem } = this;
    const added = (): readonly TaskType[] => this.addedTypes();
    const about = { types: taskTypes, added, wanted: wantedTypes, capabilities, onProblem };
    this.sightings = new Sightings({ ...about, find: options.findCapabilities });
    const { output, progress, work } = foldersIn(options.folder);
    this.workingFolders = new WorkingFolders(work, onProblem);
    this.progressFiles = new ProgressFiles(progress, onProblem);
    this.shared = new SharedPlace(cgroupName(options.folder), onProblem);
    this.outputs = new KeptOutputs({ folder: output, limitBytes: options.outputLimitBytes });
  }

  start(report: (report: AttemptReport) => void): Promise<readonly Survivor[]> {
    this.report = report;
    this.starting ??= this.begin();
    return this.starting;
  }

  private async begin(): Promise<readonly Survivor[]> {
    if (this.phase !== 'new') return [];
    this.phase = 'starting';
    let adopted: readonly Adopted[];
    const looked = this.lookAround();
    try {
      adopted = await this.prepare();
    } catch (thrown) {
      await looked;
      this.sightings.stop();
      await Promise.all(this.sources.map((source) => source.close()));
      // What was adopted by then goes on: the next start finds it.
      await this.close('leave');
      throw asStartFailure(thrown, this.options.folder);
    }
    await looked;
    // From here on nothing is waited for: who waits for the start hears of them before their ends.
    const survivors = adopted.map((found) => this.resume(found));
    if (this.phase === 'starting') this.phase = 'running';
    return survivors;
  }

  private async lookAround(): Promise<void> {
    const onChange = (): void => void this.sightings.lookAgain();
    await Promise.all(this.sources.map((source) => source.start(onChange)));
    await this.sightings.start(this.options.onOffers ?? (() => {}));
  }

  private addedTypes(): readonly TaskType[] {
    return this.sources.flatMap((source) => source.types());
  }

  jobProcesses(): JobProcesses {
    return this.starter?.tag === 'supervised' ? 'supervised' : 'child_process';
  }

  checkParams(taskType: string, params: readonly string[]): ParamsChecked {
    // Those that every program has are checked where the request is read.
    if (this.taskTypes.some(({ name }) => name === taskType)) return { tag: 'free' };
    for (const source of this.sources) {
      const problems = source.check?.(taskType, params);
      if (problems) return { tag: 'checking', problems };
    }
    const isServed = this.addedTypes().some(({ name }) => name === taskType);
    return { tag: isServed ? 'free' : 'unknown' };
  }

  /** The supervisor is there before anything is adopted. */
  private async prepare(): Promise<readonly Adopted[]> {
    const { folder, nodeEnv = process.env, meshEnv = {}, procFolder = '/proc' } = this.options;
    const { output, work, running } = foldersIn(folder);
    await this.progressFiles.start();
    for (const each of [output, work, running]) {
      await mkdir(each, { recursive: true, mode: 0o700 });
    }
    const path = nodeEnv.PATH;
    const supervision = await findSupervision(procFolder, path);
    const isSupervised = supervision.tag === 'supervised';
    const runners = new Runners(commonEnvironment(nodeEnv, meshEnv), procFolder);
    this.starter = isSupervised ? { ...supervision, runners } : supervision;
    const life = await Life.begin(running);
    this.life = life;
    this.supervisor = new Supervisor({ life, procFolder, path, onProblem: this.onProblem });
    await this.supervisor.start();
    this.supervisor.wake();
    const adopted = await takeOverEarlierLives({
      runningFolder: running,
      life,
      mayAdopt: isSupervised,
      settle: async (group) => {
        const holder = this.holderOfEarlier(group);
        await holder.killRest();
        await holder.release();
        await this.outputs.settle(group);
      },
      onProblem: this.onProblem,
    });
    if (adopted.length === 0) this.supervisor.rest();
    await this.clean(adopted.map(({ group }) => group));
    return adopted;
  }

  /** What attempts have left that are not here any more. */
  private async clean(inUse: readonly ListedGroup[]): Promise<void> {
    const { shared, progressFiles } = this;
    const { work } = foldersIn(this.options.folder);
    const places = [work, shared.work];
    const used = new Set(
      places.flatMap((place) =>
        inUse.flatMap((group) => [workPath(place, group), keepListPath(place, group)]),
      ),
    );
    const own = (await readdir(work)).map((name) => join(work, name));
    for (const path of [...own, ...(await shared.folders())]) {
      if (!used.has(path)) this.workingFolders.remove(path);
    }
    await progressFiles.clean(inUse);
    if (!existsSync(shared.path)) return;
    const ready = await shared.ready().catch(() => undefined);
    await ready?.progress.clean(inUse);
  }

  private resume({ group, listing, leaseEndsAt }: Adopted): Survivor {
    const { job, fence, startedAt } = group;
    const parts = this.partsOf();
    const attempt = new Attempt(group, parts);
    const { onLeaseFailure } = parts;
    const holder = this.holderOfEarlier(group);
    const running = adoptProcessGroup(group, { listing, onLeaseFailure, holder });
    const { shared, progressFiles } = this;
    const places = [parts.workingFolders.folder, shared.work].map((place) =>
      workPath(place, group),
    );
    const ownFolder = places.find((path) => existsSync(path));
    const isShared = ownFolder !== undefined && ownFolder === places[1];
    const progress = isShared ? shared.progress : progressFiles;
    attempt.adopt({ running, startedAt, listing, ownFolder, progress });
    this.attempts.set(attemptKey(job, fence), attempt);
    // After the start has settled: one that has ended is not reported before it is known.
    setImmediate(() => this.follow(group, attempt, attempt.resume()));
    const leaseLeftMs =
      leaseEndsAt === undefined ? undefined : Math.max(0, untilBootMs(leaseEndsAt));
    return { job, fence, startedAt, leaseLeftMs };
  }

  /** A cgroup of an earlier life lies in a folder that goes with this one. */
  private holderOfEarlier({ limits }: ListedGroup): Holder {
    if (limits && limits.cgroupFolders.length > 0) void this.cgroups();
    return holderOf(limits);
  }

  run(order: AttemptOrder): void {
    const key = attemptKey(order.job, order.fence);
    if (this.phase !== 'running' || this.attempts.has(key)) return;
    const { spec } = order.grant;
    const known = [...this.taskTypes, ...this.addedTypes()];
    const found = known.find(({ name }) => name === spec.taskType);
    const run = parseRunText(spec.run);
    if (!found || !isNameable(order) || typeof run === 'string') {
      this.refuse(order, found ? unusable(run) : this.unknownType(spec.taskType));
      return;
    }
    const refusal = this.options.policy?.refusalOf(spec);
    if (refusal) {
      this.refuse(order, `It may not run on its node: ${refusal}.`);
      return;
    }
    this.supervisor?.wake();
    const attempt = new Attempt(order, this.partsOf(spec));
    this.attempts.set(key, attempt);
    this.follow(order, attempt, attempt.run(order, found, run));
  }

  private unknownType(name: string): string {
    const known = [...this.taskTypes, ...this.addedTypes()].map((type) => type.name).sort();
    return `This node does not serve the task type ${name}; it knows ${known.join(', ')}.`;
  }

  /** @param spec of one that begins */
  private partsOf(spec?: JobSpec): AttemptParts {
    const { now, meshEnv = {}, nodeEnv = process.env, folder } = this.options;
    const { hiddenFolders = [] } = this.options;
    const { life, starter, outputs } = this;
    if (!life || !starter) throw new Error('an attempt before the start');
    return {
      life,
      starter,
      outputs,
      workingFolders: this.workingFolders,
      progressFiles: this.progressFiles,
      shared: this.shared,
      means: {
        find: (name) => findProgram(name, nodeEnv.PATH),
        cgroups: () => this.cgroups(),
        hidden: [folder, ...hiddenFolders],
        refusalOf: (opened) => spec && this.options.policy?.refusalOf(spec, opened),
      },
      files: this.options.files,
      now,
      meshEnv,
      nodeEnv,
      report: (report) => this.report(report),
      onEndKept: (ref, listing) => this.endsKept.set(attemptKey(ref.job, ref.fence), listing),
      onLeaseFailure: (failure) => {
        const why = messageOf(failure);
        this.onProblem(
          `The supervisor cannot be told of a new lease (${why}): a job may end early.`,
        );
      },
    };
  }

  /** Looked for with the first job that needs one. */
  private cgroups(): Promise<CgroupTree | undefined> {
    const { folder, mayMakeCgroups = true } = this.options;
    if (!mayMakeCgroups) return Promise.resolve(undefined);
    this.cgroupTree ??= CgroupTree.find(folder);
    return this.cgroupTree;
  }

  private follow(ref: AttemptRef, attempt: Attempt, over: Promise<void>): void {
    void over.finally(() => {
      const key = attemptKey(ref.job, ref.fence);
      if (this.attempts.get(key) === attempt) this.attempts.delete(key);
      if (this.attempts.size === 0) this.supervisor?.rest();
    });
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

  prolong(job: JobId, fence: Fence, lease: SupervisedLease): void {
    this.attempts.get(attemptKey(job, fence))?.prolong(lease);
  }

  release(job: JobId, fence: Fence): void {
    const key = attemptKey(job, fence);
    const listing = this.endsKept.get(key);
    if (!listing || !this.life) return;
    this.endsKept.delete(key);
    try {
      this.life.removeEnd(listing);
    } catch {
      // The next start tells it once more, to a node that knows it.
    }
  }

  stop(running: 'end' | 'leave' = 'end'): Promise<void> {
    this.stopping ??= this.finish(running);
    return this.stopping;
  }

  private async finish(running: 'end' | 'leave'): Promise<void> {
    const wasStarting = this.phase === 'starting';
    this.phase = 'stopped';
    if (wasStarting) await this.starting?.catch(() => {});
    this.sightings.stop();
    const attempts = [...this.attempts.values()];
    // Where nobody supervises, what is left would be ended by the supervisor's first look.
    const isLeaving = running === 'leave' && this.starter?.tag === 'supervised';
    if (isLeaving) await Promise.all(attempts.map((attempt) => attempt.leave()));
    else for (const attempt of attempts) attempt.abandon();
    await Promise.all(attempts.map((attempt) => attempt.over));
    // The turn that takes up the last reports releases what they were about.
    for (let turns = 0; this.endsKept.size > 0 && turns < LAST_TURNS; turns++)
      await new Promise((resolve) => setImmediate(resolve));
    const isLeft = attempts.some((attempt) => attempt.isLeftRunning) || this.endsKept.size > 0;
    await Promise.all(this.taskTypes.map((type) => type.close?.()));
    await Promise.all(this.sources.map((source) => source.close()));
    await this.close(isLeft ? 'leave' : 'end');
    await this.workingFolders.close();
    this.progressFiles.stop();
    await this.shared.close();
    await this.outputs.close();
  }

  private async close(running: 'end' | 'leave'): Promise<void> {
    if (this.starter?.tag === 'supervised') await this.starter.runners.close();
    if (running === 'leave') {
      await this.supervisor?.leave();
      return;
    }
    await this.supervisor?.stop();
    await (await this.cgroupTree)?.remove();
    await this.life?.end();
  }
}

/** Of the event loop. A node whose disk takes nothing tells its last ends at its next start. */
const LAST_TURNS = 3;

const BAD_NAME = 'The job cannot be run here: its id or fence is not of the documented form.';
const unusable = (run: RunOptions | string): string =>
  typeof run === 'string' ? `How the job is to be run is not understood here: ${run}.` : BAD_NAME;

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
