/**
 * Modules of handlers: each file that was named is loaded in a process of its own, never in the
 * node, and serves a task type for each task it exports. A module with a mistake is named as a
 * problem and serves nothing; the node runs on. It is tried again when the file changes, which is
 * looked at once a minute, or at once where changes are watched.
 */
import { createHash } from 'node:crypto';
import { type FSWatcher, watch } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { messageOf } from '../../base/errors.ts';
import { commonEnvironment } from '../environment.ts';
import type { TaskSource } from '../task-source.ts';
import type { TaskType } from '../task-type.ts';
import { Checks } from './checks.ts';
import { launchHandler } from './handler-run.ts';
import { ProcessPool } from './process-pool.ts';
import type { TaskHead } from './protocol.ts';

export interface HandlerOptions {
  /** Absolute paths of modules. */
  readonly files: readonly string[];
  /** A changed file, or another one in its folder, is loaded at once. */
  readonly isWatching: boolean;
  /** Of V8's heap in each process. */
  readonly heapBytes: number;
  /** Names that no handler may have. */
  readonly reserved: readonly string[];
  readonly nodeEnv: Readonly<Record<string, string | undefined>>;
  readonly onProblem: (sentence: string) => void;
  readonly onNotice: (sentence: string) => void;
}

const LOOK_INTERVAL_MS = 60_000;
const START_WAIT_MS = 1500;
/** An editor writes a file in several steps. */
const SETTLE_MS = 100;

export class Handlers implements TaskSource {
  private readonly modules: readonly HandlerModule[];
  private timer: NodeJS.Timeout | undefined;

  constructor(options: HandlerOptions) {
    const isTaken = (name: string, by: HandlerModule): boolean =>
      options.reserved.includes(name) ||
      this.modules.some((other) => other !== by && other.serves(name));
    this.modules = options.files.map((file) => new HandlerModule(file, { ...options, isTaken }));
  }

  types(): readonly TaskType[] {
    return this.modules.flatMap((module) => module.types());
  }

  async start(onChange: () => void): Promise<void> {
    // One that takes its time holds up no start: leases of attempts to be adopted run meanwhile.
    const started = this.modules.map((module) => module.start(onChange));
    await Promise.race([Promise.all(started), delay(START_WAIT_MS, undefined, { ref: false })]);
    const look = (): void => this.modules.forEach((module) => void module.look());
    this.timer = setInterval(look, LOOK_INTERVAL_MS).unref();
  }

  check(
    taskType: string,
    params: readonly string[],
  ): Promise<readonly (string | undefined)[]> | undefined {
    return this.modules.find((module) => module.serves(taskType))?.check(taskType, params);
  }

  async close(): Promise<void> {
    clearInterval(this.timer);
    await Promise.all(this.modules.map((module) => module.close()));
  }
}

interface ModuleOptions extends HandlerOptions {
  readonly isTaken: (name: string, by: HandlerModule) => boolean;
}

/** One version of a module, until it is replaced. */
interface Generation {
  readonly version: string;
  readonly pool: ProcessPool;
  readonly tasks: readonly TaskHead[];
  readonly checks: Checks;
}

class HandlerModule {
  private readonly file: string;
  private readonly options: ModuleOptions;
  private readonly env: Readonly<Record<string, string>>;
  /** Of older versions whose attempts may still run. */
  private retired: readonly ProcessPool[] = [];
  private current: Generation | undefined;
  /** Of the content that was last tried. */
  private tried = '';
  private watcher: FSWatcher | undefined;
  private settleTimer: NodeJS.Timeout | undefined;
  private looking: Promise<void> | undefined;
  private isStale = false;
  private isClosed = false;
  private onChange: () => void = () => {};

  constructor(file: string, options: ModuleOptions) {
    this.file = file;
    this.options = options;
    this.env = commonEnvironment(options.nodeEnv, {});
  }

  async start(onChange: () => void): Promise<void> {
    this.onChange = onChange;
    await this.look();
    if (this.options.isWatching) this.watch();
  }

  types(): readonly TaskType[] {
    const { current } = this;
    if (!current) return [];
    const { pool, version } = current;
    return current.tasks.map(({ name }) => ({
      name,
      makesPlace: true,
      look: async () => ({ tag: 'present', version }) as const,
      launch: (attempt) => launchHandler(attempt, pool),
    }));
  }

  serves(name: string): boolean {
    return this.taskOf(name) !== undefined;
  }

  private taskOf(name: string): TaskHead | undefined {
    return this.current?.tasks.find((task) => task.name === name);
  }

  /** Undefined: there is nothing to check. */
  check(
    taskType: string,
    params: readonly string[],
  ): Promise<readonly (string | undefined)[]> | undefined {
    if (this.taskOf(taskType)?.hasSchema !== true) return undefined;
    return this.current?.checks.check(taskType, params);
  }

  /** Loads it again if its content is not what was tried last, or `isForced`. */
  look(isForced = false): Promise<void> {
    this.isStale ||= isForced;
    this.looking ??= this.load().finally(() => {
      this.looking = undefined;
      if (this.isStale && !this.isClosed) void this.look();
    });
    return this.looking;
  }

  private async load(): Promise<void> {
    const isForced = this.isStale;
    this.isStale = false;
    const version = await this.readVersion();
    if (version === undefined || (version === this.tried && !isForced)) return;
    this.tried = version;
    const { file, env } = this;
    const { heapBytes, onProblem } = this.options;
    const pool = new ProcessPool({ file, heapBytes, env, onProblem });
    const first = await pool.take();
    if ('tag' in first) {
      await pool.close();
      if (first.isLate) this.tried = '';
      this.tellBroken(first.reason);
      return;
    }
    const { tasks = [] } = (await first.loaded) as { tasks?: readonly TaskHead[] };
    const names = tasks.map(({ name }) => name);
    const taken = names.find((name) => this.options.isTaken(name, this));
    if (this.isClosed || taken !== undefined) {
      await pool.close();
      if (taken !== undefined) this.tellBroken(`the task type ${taken} is there already`);
      return;
    }
    const checks = new Checks(pool);
    pool.giveBack(first);
    this.replace({ version, pool, tasks, checks });
    this.options.onNotice(`${file} serves ${names.join(', ')} (version ${version})`);
  }

  private async readVersion(): Promise<string | undefined> {
    try {
      const content = await readFile(this.file);
      return createHash('sha256').update(content).digest('hex').slice(0, 8);
    } catch (thrown) {
      if (this.tried !== 'unreadable') this.tellBroken(messageOf(thrown));
      this.tried = 'unreadable';
      return undefined;
    }
  }

  private tellBroken(reason: string): void {
    const goesOn = this.current ? ' The version before it goes on.' : '';
    this.options.onProblem(
      `The handlers of ${this.file} cannot be loaded: ${reason}. Mend the file and save it.${goesOn}`,
    );
  }

  /** Attempts of the old version end as they began. */
  private replace(next: Generation): void {
    const old = this.current;
    this.current = next;
    if (old) {
      old.checks.close();
      old.pool.retire();
      this.retired = [...this.retired.filter((pool) => !pool.isEmpty), old.pool];
    }
    this.onChange();
  }

  /** The folder, because an editor may replace the file; all of it, because it may import others. */
  private watch(): void {
    try {
      this.watcher = watch(dirname(this.file), (_, name) => {
        if (name !== null && name !== basename(this.file) && !/\.[mc]?[jt]sx?$/.test(name)) return;
        clearTimeout(this.settleTimer);
        this.settleTimer = setTimeout(() => void this.look(true), SETTLE_MS).unref();
      });
      this.watcher.unref();
      this.watcher.on('error', () => {});
    } catch (thrown) {
      this.options.onProblem(`Changes of ${this.file} cannot be watched: ${messageOf(thrown)}.`);
    }
  }

  async close(): Promise<void> {
    this.isClosed = true;
    this.watcher?.close();
    clearTimeout(this.settleTimer);
    await this.looking;
    this.current?.checks.close();
    await this.current?.pool.close();
    await Promise.all(this.retired.map((pool) => pool.close()));
  }
}
