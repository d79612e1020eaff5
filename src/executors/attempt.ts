/**
 * One attempt, from the order to the report of its end, whatever its task type.
 *
 * | phase     | entered when                        | left when                                       |
 * |-----------|-------------------------------------|-------------------------------------------------|
 * | preparing | it was ordered                      | folders and files are there, or cannot be made  |
 * | running   | its task type started it            | nothing of it is alive                          |
 * | closing   | nothing of it is alive              | its output is cut to the limit and closed       |
 * | over      | its end was reported                | never                                           |
 */
import type { WallMs } from '../base/instant.ts';
import type { AttemptOrder } from '../core/effects.ts';
import type { AttemptReport } from '../core/inputs.ts';
import type { AttemptEnd } from '../core/job.ts';
import { environmentOf } from './environment.ts';
import { ENDED_BEFORE_START, folderFailure, NOT_LISTED, spawnFailure } from './failures.ts';
import { startProcessGroup } from './groups/groups.ts';
import { type Life, type Listing, NOT_LISTED_CODE } from './groups/listing.ts';
import type { LiveOutput, Tails } from './outputs/live-output.ts';
import type { KeptOutputs } from './outputs/outputs.ts';
import type { Launched, Running, TaskType } from './task-type.ts';
import { prepareWorkingFolder, type WorkingFolder } from './working-folder.ts';

export interface AttemptParts {
  readonly taskType: TaskType;
  readonly life: Life;
  readonly outputs: KeptOutputs;
  readonly workFolder: string;
  readonly now: () => WallMs;
  readonly meshEnv: Readonly<Record<string, string>>;
  readonly nodeEnv: Readonly<Record<string, string | undefined>>;
  readonly report: (report: AttemptReport) => void;
  /** Removes a working folder in the background. */
  readonly removeFolder: (path: string) => void;
}

/** Where it runs and what it prints into. */
interface Place {
  readonly path: string;
  /** File descriptors. */
  readonly stdout: number;
  readonly stderr: number;
}

type Unusable = Extract<WorkingFolder, { tag: 'unusable' }>;

export class Attempt {
  /** Settles after the last report. */
  readonly over: Promise<void>;
  private readonly order: AttemptOrder;
  private readonly parts: AttemptParts;
  private readonly output: LiveOutput;
  private settle: () => void = () => {};
  private running: Running | undefined;
  private startedAt: WallMs | undefined;
  private listing: Listing | undefined;
  private ownFolder: string | undefined;
  private isEndAsked = false;
  private isAbandoned = false;
  private hasEnded = false;

  constructor(order: AttemptOrder, parts: AttemptParts) {
    this.order = order;
    this.parts = parts;
    // From here on a reader waits for its output instead of finding nothing.
    this.output = parts.outputs.announce(order);
    this.over = new Promise((resolve) => {
      this.settle = resolve;
    });
  }

  /** Rejects never: what goes wrong is the end of the attempt. */
  async run(): Promise<void> {
    const end = await this.execute();
    const finishedAt = this.parts.now();
    this.hasEnded = true;
    const tails = await this.close();
    if (!this.isAbandoned) {
      const { job, fence } = this.order;
      const { startedAt } = this;
      this.parts.report({ kind: 'ended', job, fence, end, startedAt, finishedAt, ...tails });
    }
    this.settle();
  }

  end(graceMs: number): void {
    this.isEndAsked = true;
    this.running?.end(graceMs);
  }

  /** Ends it at once. Its end is reported only if it had come of itself before. */
  abandon(): void {
    this.isAbandoned = !this.hasEnded;
    this.end(0);
  }

  private async execute(): Promise<AttemptEnd> {
    const launched = await this.launch();
    if (launched.tag === 'failed') return launched;
    const { running } = launched;
    this.running = running;
    this.startedAt = this.parts.now();
    // A task type may take its time to start something; it has nothing to clean up yet.
    if (this.isEndAsked) running.end(0);
    const { job, fence } = this.order;
    if (!this.isAbandoned) {
      this.parts.report({ kind: 'running', job, fence, startedAt: this.startedAt });
    }
    const end = await running.ended;
    return (await this.hasRun(end)) ? end : { tag: 'failed', reason: NOT_LISTED };
  }

  /** A job may exit with the code by which a group says that it ran nothing; the list decides. */
  private async hasRun(end: AttemptEnd): Promise<boolean> {
    if (end.tag !== 'exited' || end.code !== NOT_LISTED_CODE || !this.listing) return true;
    return this.parts.life.isListed(this.listing);
  }

  private async launch(): Promise<Launched> {
    let place: Place;
    try {
      const prepared = await this.prepare();
      if (prepared.tag === 'unusable') return { tag: 'failed', reason: prepared.reason };
      place = prepared;
    } catch (thrown) {
      return { tag: 'failed', reason: folderFailure(thrown) };
    }
    if (this.isEndAsked) return { tag: 'failed', reason: ENDED_BEFORE_START };
    const startGroup = (program: readonly string[]) => this.startGroup(program, place);
    return this.parts.taskType.launch({ order: this.order, startGroup });
  }

  /** Both are waited for even if one fails: what was made must be known, to be closed and removed. */
  private async prepare(): Promise<(Place & { tag: 'ready' }) | Unusable> {
    const [opened, prepared] = await Promise.allSettled([
      this.output.open(),
      prepareWorkingFolder(this.order, this.parts.workFolder),
    ]);
    if (prepared.status === 'rejected') throw prepared.reason;
    const folder = prepared.value;
    if (folder.tag === 'ready' && folder.isOwn) this.ownFolder = folder.path;
    if (opened.status === 'rejected') throw opened.reason;
    return folder.tag === 'unusable' ? folder : { ...folder, ...opened.value };
  }

  private async startGroup(
    program: readonly string[],
    { path, stdout, stderr }: Place,
  ): Promise<Launched> {
    const { nodeEnv, meshEnv, life } = this.parts;
    this.listing = life.newListing(this.order);
    try {
      const running = await startProcessGroup({
        program,
        folder: path,
        stdout,
        stderr,
        env: environmentOf(this.order, nodeEnv, meshEnv),
        listing: this.listing,
      });
      return { tag: 'started', running };
    } catch (thrown) {
      return { tag: 'failed', reason: spawnFailure(thrown, this.order.grant.spec) };
    }
  }

  /** Nothing is left of it but its output. */
  private async close(): Promise<Tails> {
    // A listing that stays behind names a group that is gone: the start time tells, and nobody is hurt.
    const unlisted = this.listing && this.parts.life.remove(this.listing).catch(() => {});
    if (this.ownFolder !== undefined) this.parts.removeFolder(this.ownFolder);
    const [tails] = await Promise.all([this.output.close(), unlisted]);
    return tails;
  }
}
