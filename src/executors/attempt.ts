/**
 * One attempt, from the order to the report of its end, whatever its task type.
 *
 * | phase     | entered when                         | left when                                       |
 * |-----------|--------------------------------------|-------------------------------------------------|
 * | preparing | it was ordered                       | folders, files and inputs are there, or cannot  |
 * |           |                                      | be had                                          |
 * | running   | its task type started it, or it is   | nothing of it is alive                          |
 * |           | an earlier life's and was adopted    |                                                 |
 * | closing   | nothing of it is alive               | its files are kept, its output is cut to the    |
 * |           |                                      | limit and closed                                |
 * | over      | its end was reported, or it was left | never                                           |
 */
import { rm } from 'node:fs/promises';
import type { WallMs } from '../base/instant.ts';
import type { AttemptOrder, SupervisedLease } from '../core/effects.ts';
import type { AttemptReport } from '../core/inputs.ts';
import type { AttemptEnd, Progress, Receipt } from '../core/job.ts';
import type { AttemptRef } from '../core/messages.ts';
import type { RunOptions } from '../run/run-options.ts';
import { environmentOf } from './environment.ts';
import { ENDED_BEFORE_START, folderFailure, spawnFailure } from './failures.ts';
import { AttemptFiles } from './files/attempt-files.ts';
import type { Files } from './files/files.ts';
import { type Starter, startProcessGroup } from './groups/groups.ts';
import type { Life, Listing } from './groups/life.ts';
import { holderOf } from './limits/holders.ts';
import { type Means, mayBeAnotherUsers, prepareManners } from './manners/manners.ts';
import type { SharedPlace } from './manners/shared-place.ts';
import type { LiveOutput, Tails } from './outputs/live-output.ts';
import type { KeptOutputs } from './outputs/outputs.ts';
import type { ProgressFile, ProgressFiles } from './progress-files.ts';
import { ProgressTeller } from './progress-teller.ts';
import type { Launched, Place, Running, TaskType } from './task-type.ts';
import type { WorkingFolder, WorkingFolders } from './working-folder.ts';

export interface AttemptParts {
  readonly life: Life;
  readonly starter: Starter;
  readonly outputs: KeptOutputs;
  readonly workingFolders: WorkingFolders;
  readonly files: Files | undefined;
  readonly means: Means;
  readonly progressFiles: ProgressFiles;
  /** For jobs of other users. */
  readonly shared: SharedPlace;
  readonly now: () => WallMs;
  readonly meshEnv: Readonly<Record<string, string>>;
  readonly nodeEnv: Readonly<Record<string, string | undefined>>;
  readonly report: (report: AttemptReport) => void;
  /** Its file tells how it ended, until the report is on the node's disk. */
  readonly onEndKept: (ref: AttemptRef, listing: Listing) => void;
  /** The supervisor does not get to know of a new lease. */
  readonly onLeaseFailure: (failure: unknown) => void;
}

/** One that an earlier life started. */
export interface Resumed {
  readonly running: Running;
  readonly startedAt: WallMs;
  readonly listing: Listing;
  /** Its own working folder, if it has one. */
  readonly ownFolder: string | undefined;
  /** Where its own is. */
  readonly progress: ProgressFiles;
}

/** A disk that takes longer is not waited for by a node that leaves. */
const FOUND_DEADLINE_MS = 1000;

interface GroupLaunch {
  readonly order: AttemptOrder;
  readonly run: RunOptions;
  readonly place: Place;
  readonly env: Readonly<Record<string, string>>;
}

/** What a job says itself comes first. */
const withoutNamed = (
  variables: Readonly<Record<string, string>>,
  named: Readonly<Record<string, string>>,
): Record<string, string> =>
  Object.fromEntries(Object.entries(variables).filter(([name]) => !Object.hasOwn(named, name)));

const GIVEN_BACK: AttemptEnd = { tag: 'returned', reason: 'its node was started again' };

const needsFolder = ({ grant }: AttemptOrder, run: RunOptions): boolean =>
  grant.spec.workingDir !== undefined ||
  (run.inputs?.length ?? 0) > 0 ||
  (run.outputs?.length ?? 0) > 0 ||
  mayBeAnotherUsers(run);

type Unusable = Extract<WorkingFolder, { tag: 'unusable' }>;

export class Attempt {
  /** Settles after the last report. */
  readonly over: Promise<void>;
  private readonly ref: AttemptRef;
  private readonly parts: AttemptParts;
  private readonly output: LiveOutput;
  private settle: () => void = () => {};
  private running: Running | undefined;
  private startedAt: WallMs | undefined;
  private listing: Listing | undefined;
  private ownFolder: string | undefined;
  private stdinPath: string | undefined;
  private progressFile: ProgressFile | undefined;
  private readonly tell = (progress: Progress): void => this.progress.tell(progress);
  /** Of an order that has not started yet. */
  private lease: SupervisedLease | undefined;
  /** performance.now() at which that was told. */
  private leaseToldAt = 0;
  private readonly ending = new AbortController();
  private receipt: Receipt = {};
  private readonly progress: ProgressTeller;
  private readonly files: AttemptFiles;
  private isEndAsked = false;
  private isAbandoned = false;
  private isLeft = false;
  /** It lived in this process, which goes: another start does it again, and nobody was lost. */
  private isGivenBack = false;
  /** It came of itself, whatever is done to it from now on. */
  private isOver = false;
  private hasEnded = false;

  constructor(ref: AttemptRef, parts: AttemptParts) {
    this.ref = ref;
    this.parts = parts;
    // From here on a reader waits for its output instead of finding nothing.
    this.output = parts.outputs.announce(ref);
    this.files = new AttemptFiles(ref, parts);
    const { job, fence } = ref;
    this.progress = new ProgressTeller((progress) =>
      parts.report({ kind: 'progress', job, fence, progress }),
    );
    this.over = new Promise((resolve) => {
      this.settle = resolve;
    });
  }

  /** Rejects never: what goes wrong is the end of the attempt. */
  async run(order: AttemptOrder, taskType: TaskType, run: RunOptions): Promise<void> {
    this.prolong(order.lease);
    await this.finish(await this.execute(order, taskType, run));
  }

  /** From here on it can be ended, prolonged and left. */
  adopt({ running, startedAt, listing, ownFolder, progress }: Resumed): void {
    this.running = running;
    this.progressFile = progress.open(this.ref, this.tell);
    this.startedAt = startedAt;
    this.listing = listing;
    this.ownFolder = ownFolder;
  }

  /** After `adopt`. Rejects never. Of what it does now only the end is reported. */
  async resume(): Promise<void> {
    const { running } = this;
    if (!running || this.isLeft) return;
    // Without its files the attempt goes on, and its output is told as empty.
    await this.output.reopen().catch(() => {});
    this.progress.open();
    this.progressFile?.look();
    await this.finish(await running.ended);
  }

  private async finish(ended: AttemptEnd): Promise<void> {
    const isDone = ended.tag === 'exited' && ended.code === 0;
    const end = this.isGivenBack && !isDone ? GIVEN_BACK : ended;
    await this.progressFile?.close();
    this.progress.close();
    const now = this.parts.now();
    const finishedAt = this.running?.finishedAt(now) ?? now;
    this.isOver = true;
    await this.keepFiles();
    if (this.isLeft) return;
    this.hasEnded = true;
    const tails = await this.close();
    if (!this.isAbandoned) {
      const { job, fence } = this.ref;
      // What found no room to list itself has run nothing.
      const hasRun = end.tag !== 'returned' || this.isGivenBack;
      const startedAt = hasRun ? this.startedAt : undefined;
      const receipt = this.receiptAtEnd();
      const about = { job, fence, end, startedAt, finishedAt, receipt };
      this.parts.report({ kind: 'ended', ...about, ...tails });
    }
    this.settle();
  }

  /** That takes as long as there are files, and is no time that the attempt had. */
  private async keepFiles(): Promise<void> {
    if (!this.running || this.isAbandoned || this.isLeft) return;
    const { job, fence } = this.ref;
    const kept = await this.files.keep(() => this.parts.report({ kind: 'keeping', job, fence }));
    this.receipt = { ...this.receipt, ...kept };
  }

  private receiptAtEnd(): Receipt | undefined {
    const { latest } = this.progress;
    const usage = this.running?.usage?.();
    const receipt = {
      ...(usage && { usage }),
      ...this.receipt,
      ...(latest && { progress: latest }),
    };
    return Object.keys(receipt).length > 0 ? receipt : undefined;
  }

  end(graceMs: number): void {
    this.isEndAsked = true;
    this.ending.abort();
    if (this.isOver) this.files.stop();
    this.running?.end(graceMs);
  }

  prolong(lease: SupervisedLease): void {
    this.leaseToldAt = performance.now();
    this.lease = lease;
    this.running?.prolong(lease);
  }

  private leaseOf(order: AttemptOrder): SupervisedLease {
    const { lease = order.lease } = this;
    if (lease.tag !== 'leased') return lease;
    return { ...lease, leftMs: lease.leftMs - (performance.now() - this.leaseToldAt) };
  }

  /** Ends it at once. Its end is reported only if it had come of itself before. */
  abandon(): void {
    this.isAbandoned = !this.isOver;
    this.end(0);
  }

  /** Lets it go on without this node. What has not started is given back, and what has ended is reported. */
  async leave(): Promise<void> {
    if (this.running) await this.running.untilFound(FOUND_DEADLINE_MS);
    if (!this.running?.canBeLeft || this.hasEnded) {
      this.isGivenBack = !this.isOver;
      this.end(0);
      await this.over;
      return;
    }
    this.isLeft = true;
    this.files.stop();
    await this.running.leave();
    await this.output.leave();
    this.settle();
  }

  /** It goes on, or its end waits for the next life. */
  get isLeftRunning(): boolean {
    return this.isLeft;
  }

  private async execute(
    order: AttemptOrder,
    taskType: TaskType,
    run: RunOptions,
  ): Promise<AttemptEnd> {
    const launched = await this.launch(order, taskType, run);
    if (launched.tag !== 'started') return launched;
    const { running } = launched;
    this.running = running;
    // A task type may take its time to start something; it has nothing to clean up yet.
    if (this.isEndAsked) running.end(0);
    this.startedAt ??= this.parts.now();
    const { job, fence } = order;
    if (!this.isAbandoned) {
      this.parts.report({ kind: 'running', job, fence, startedAt: this.startedAt });
      this.progress.open();
    }
    return running.ended;
  }

  private async launch(
    order: AttemptOrder,
    taskType: TaskType,
    run: RunOptions,
  ): Promise<Launched> {
    let place: Place;
    try {
      const isLazy = taskType.makesPlace === true && !needsFolder(order, run);
      const prepared = isLazy ? this.name(order) : await this.prepare(order, run);
      if (prepared.tag === 'unusable') return { tag: 'failed', reason: prepared.reason };
      place = prepared;
      const about = { folder: place.path, signal: this.ending.signal };
      const notRun = await this.files.prepare(order, run, about);
      if (notRun && !this.isEndAsked) return notRun;
    } catch (thrown) {
      return folderFailure(thrown);
    }
    if (this.isEndAsked) return { tag: 'failed', reason: ENDED_BEFORE_START };
    const { nodeEnv, meshEnv } = this.parts;
    const env = environmentOf(order, nodeEnv, meshEnv);
    return taskType.launch({
      order,
      run,
      place,
      env,
      ending: this.ending.signal,
      lease: () => this.leaseOf(order),
      startGroup: (program) => this.startGroup({ order, run, place, env }, program),
      tell: this.tell,
      note: (part) => {
        this.receipt = { ...this.receipt, ...part };
      },
    });
  }

  /** Nothing is made. */
  private name(order: AttemptOrder): Place & { tag: 'ready' } {
    this.ownFolder = this.parts.workingFolders.pathOf(order);
    return { tag: 'ready', isMade: false, path: this.ownFolder, ...this.output.paths() };
  }

  /** Both are waited for even if one fails: what was made must be known, to be closed and removed. */
  private async prepare(
    order: AttemptOrder,
    run: RunOptions,
  ): Promise<(Place & { tag: 'ready' }) | Unusable> {
    const [opened, prepared] = await Promise.allSettled([
      this.output.open(),
      this.prepareFolder(order, run),
    ]);
    if (prepared.status === 'rejected') throw prepared.reason;
    const folder = prepared.value;
    if (folder.tag === 'ready' && folder.isOwn) this.ownFolder = folder.path;
    if (opened.status === 'rejected') throw opened.reason;
    return folder.tag === 'unusable' ? folder : { ...folder, isMade: true, ...opened.value };
  }

  private async prepareFolder(order: AttemptOrder, run: RunOptions): Promise<WorkingFolder> {
    const { workingFolders, shared } = this.parts;
    if (!mayBeAnotherUsers(run)) return workingFolders.prepare(order);
    return workingFolders.prepare(order, (await shared.ready()).work);
  }

  private async startGroup(launch: GroupLaunch, program: readonly string[]): Promise<Launched> {
    const { life, starter, means, progressFiles, shared, onLeaseFailure } = this.parts;
    const { order, run, place, env } = launch;
    const { path: folder, stdout, stderr } = place;
    const listing = life.newListing(order);
    this.listing = listing;
    const { stdinPath } = listing;
    if (run.stdin !== undefined) this.stdinPath = stdinPath;
    const isOwnFolder = this.ownFolder !== undefined;
    const progress = mayBeAnotherUsers(run) ? shared.progress : progressFiles;
    const progressFile = progress.open(order, this.tell);
    this.progressFile = progressFile;
    const about = { run, folder, isOwnFolder, stdinPath, progressFile };
    const manners = await prepareManners(about, means);
    if (manners.tag !== 'ready') return manners;
    const holder = holderOf(manners.limits);
    const startedAt = this.parts.now();
    try {
      const group = {
        program: [...manners.prefix, ...program],
        begin: manners.begin,
        folder,
        stdout,
        stderr,
        env: {
          ...env,
          ...withoutNamed(manners.variables, order.grant.spec.env),
          MESH_PROGRESS: progressFile.path,
        },
        listing,
        lease: this.leaseOf(order),
        startedAt,
        readListed: () => life.listed(listing),
        onLeaseFailure,
        holder,
      };
      const running = await startProcessGroup(group, starter);
      this.startedAt = startedAt;
      return { tag: 'started', running };
    } catch (thrown) {
      await holder.release();
      return spawnFailure(thrown, order.grant.spec);
    }
  }

  /** Nothing is left of it but its output, and what its file says of its end. */
  private async close(): Promise<Tails> {
    const unlisted = this.listing && this.endListing(this.listing);
    await this.files.close();
    if (this.ownFolder !== undefined) {
      this.parts.workingFolders.release(this.ownFolder, this.running?.isTraceless ?? false);
    }
    if (this.stdinPath !== undefined) await rm(this.stdinPath, { force: true }).catch(() => {});
    const [tails] = await Promise.all([this.output.close(), unlisted]);
    return tails;
  }

  /** Only then may the processes of another attempt have the same numbers. */
  private async endListing(listing: Listing): Promise<void> {
    const isUnlisted = await this.unlist(listing);
    this.running?.release?.(isUnlisted);
  }

  /**
   * Of one that was made to end, the file tells the signal and not the reason: the next start had
   * better call it lost. False: it never listed itself, or its folder is gone.
   */
  private async unlist(listing: Listing): Promise<boolean> {
    const { life, onEndKept } = this.parts;
    try {
      if (this.isEndAsked) await life.remove(listing);
      else {
        life.keepEnd(listing);
        onEndKept(this.ref, listing);
      }
      return true;
    } catch {
      return false;
    }
  }
}
