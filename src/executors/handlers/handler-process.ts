/** A process of the pool, seen from the node: starts, is told what to do, and is ended. */
import { type ChildProcess, fork } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Duplex, Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { removeTree } from '../working-folder.ts';
import {
  type Command,
  FOLDER_MODE,
  GUARD_DESCRIPTOR,
  leaseLine,
  MEMORY_LINE,
  type ProcessArguments,
  type Report,
  type RunCommand,
  type TaskHead,
} from './protocol.ts';
import { monotonicMs } from './run-lease.ts';

export interface ProcessOptions {
  readonly file: string;
  /** Of V8's heap, in bytes; all memory of the process may be half as much again. */
  readonly heapBytes: number;
  readonly env: Readonly<Record<string, string>>;
  readonly onProblem: (sentence: string) => void;
}

/** What its process knows by itself is left out. */
export type Run = Omit<RunCommand, 'kind' | 'run' | 'untilMs'> & {
  /** See `HandlerProcess.prolong`. */
  readonly leftMs: number | undefined;
};

export type Loaded =
  | { readonly tag: 'loaded'; readonly tasks: readonly TaskHead[] }
  /** `isLate`: the machine may have been too busy, so that it is worth to try again. */
  | { readonly tag: 'broken'; readonly reason: string; readonly isLate?: boolean };

/** Settles when it is written; never rejects. */
export type Print = (stream: 'stdout' | 'stderr', bytes: Uint8Array) => Promise<void>;

/** A module that takes longer is called broken. */
const LOAD_DEADLINE_MS = 60_000;
/** What a killed process's pipes may take to close: what it printed last is read first. */
const CLOSE_DEADLINE_MS = 500;
const TOTAL_MEMORY_FACTOR = 1.5;

export class HandlerProcess {
  readonly loaded: Promise<Loaded>;
  /** Settles with why, as a sentence, once the process is gone and what it printed is read. */
  readonly ended: Promise<string>;
  /** Settles when nothing of it is left, on the disk neither. */
  readonly gone: Promise<void>;
  isOver = false;
  private readonly child: ChildProcess;
  private readonly guard: Duplex;
  private listener: (report: Report) => void = () => {};
  private print: Print = async () => {};
  private cause: string | undefined;
  private readonly options: ProcessOptions;
  private runs = 0;
  private untilMs: number | undefined;
  private folder: string | undefined;
  private readonly removals = new Set<Promise<void>>();

  constructor(options: ProcessOptions) {
    const { file, heapBytes, env } = options;
    this.options = options;
    const memoryBytes = heapBytes * TOTAL_MEMORY_FACTOR;
    const about: ProcessArguments = { file, memoryBytes };
    const heapMiB = Math.max(16, Math.floor(heapBytes / 1024 ** 2));
    const program = programFile();
    this.child = fork(program, [JSON.stringify(about)], {
      // A group of its own: what its handlers start is in it and ends with it.
      detached: true,
      env,
      execArgv: [`--max-old-space-size=${heapMiB}`, ...loaderOf(program)],
      stdio: ['ignore', 'pipe', 'pipe', 'ipc', 'pipe'],
      serialization: 'json',
    });
    this.guard = this.child.stdio[GUARD_DESCRIPTOR] as Duplex;
    this.guard.on('error', () => {});
    this.guard.on('data', (bytes: Buffer) => this.onGuard(bytes, memoryBytes));
    for (const stream of ['stdout', 'stderr'] as const) this.follow(stream);
    this.child.on('message', (report) => this.onReport(report as Report));
    this.ended = this.untilEnd();
    this.gone = this.untilGone();
    this.loaded = this.untilLoaded();
  }

  /** One piece after the other: a flood waits in the process, not in the node. */
  private follow(stream: 'stdout' | 'stderr'): void {
    const pipe = this.child[stream] as Readable;
    pipe.on('data', (bytes: Uint8Array) => {
      pipe.pause();
      void this.print(stream, bytes).finally(() => pipe.resume());
    });
  }

  private onGuard(bytes: Buffer, memoryBytes: number): void {
    if (!bytes.toString().startsWith(MEMORY_LINE)) return;
    const mib = Math.round(memoryBytes / 1024 ** 2);
    this.cause ??= `The handler was ended: its process had more than ${mib} MiB of memory (setting handler-memory)`;
  }

  private onReport(report: Report): void {
    if (report.kind === 'crashed') this.cause ??= report.reason;
    this.listener(report);
  }

  private untilEnd(): Promise<string> {
    return new Promise((resolve) => {
      const end = (why: string): void => {
        this.isOver = true;
        resolve(why);
      };
      this.child.once('error', (failure) =>
        end(`The process could not be started: ${failure.message}`),
      );
      this.child.once('exit', (code, signal) => {
        this.isOver = true;
        // What it started may hold its pipes open, and ends with it.
        this.killGroup();
        const why = this.cause ?? exitSentence(code, signal);
        const late = setTimeout(() => end(why), CLOSE_DEADLINE_MS);
        this.child.once('close', () => {
          clearTimeout(late);
          end(why);
        });
      });
    });
  }

  private untilLoaded(): Promise<Loaded> {
    return new Promise((resolve) => {
      const broken = (reason: string): void => resolve({ tag: 'broken', reason });
      const late = setTimeout(() => {
        const reason = `it was not loaded after ${LOAD_DEADLINE_MS / 1000} s`;
        resolve({ tag: 'broken', reason, isLate: true });
        this.kill();
      }, LOAD_DEADLINE_MS);
      void this.ended.then(broken);
      void this.ended.then(() => clearTimeout(late));
      this.listener = (report) => {
        clearTimeout(late);
        if (report.kind === 'loaded') resolve({ tag: 'loaded', tasks: report.tasks });
        if (report.kind !== 'broken') return;
        broken(report.reason);
        this.kill();
      };
    });
  }

  /** Of one attempt or check: what is reported and printed from now on. */
  attend(listener: (report: Report) => void, print: Print = async () => {}): void {
    this.listener = listener;
    this.print = print;
  }

  send(command: Command): void {
    if (!this.isOver && this.child.connected) this.child.send(command, () => {});
  }

  /** @returns the number of this run */
  run({ leftMs, env, ...about }: Run): number {
    const run = ++this.runs;
    const untilMs = leftMs === undefined ? undefined : monotonicMs() + leftMs;
    this.untilMs = untilMs;
    const own = this.options.env;
    const others = Object.entries(env).filter(([name, value]) => own[name] !== value);
    this.send({ kind: 'run', run, untilMs, env: Object.fromEntries(others), ...about });
    return run;
  }

  /**
   * How long this run may go on from now without hearing of this node; undefined: as long as the
   * node lives. Of one that is over nothing is told.
   */
  prolong(run: number, leftMs: number | undefined): void {
    const isNews = leftMs !== undefined || this.untilMs !== undefined;
    if (this.isOver || run !== this.runs || !isNews) return;
    this.untilMs = leftMs === undefined ? undefined : monotonicMs() + leftMs;
    this.guard.write(leaseLine(run, this.untilMs));
  }

  /**
   * A folder for attempts that need none of their own, kept while they leave it empty. Rejects with
   * what the disk says.
   */
  async ownFolder(parent: string): Promise<string> {
    if (this.folder !== undefined) return this.folder;
    const folder = join(parent, `handlers-${randomUUID()}`);
    await mkdir(folder, { recursive: true, mode: FOLDER_MODE });
    this.folder = folder;
    if (this.isOver) this.dropFolder();
    return folder;
  }

  /** Something was left in it. In the background: a job may leave a million files. */
  dropFolder(): void {
    const { folder } = this;
    if (folder === undefined) return;
    this.folder = undefined;
    const removal = removeTree(folder).then((problem) => {
      if (problem !== undefined) this.options.onProblem(problem);
    });
    this.removals.add(removal);
    void removal.then(() => this.removals.delete(removal));
  }

  private async untilGone(): Promise<void> {
    await this.ended;
    this.dropFolder();
    await Promise.all(this.removals);
  }

  /** With all that it has started. */
  kill(): void {
    if (!this.isOver) this.killGroup();
  }

  private killGroup(): void {
    const { pid } = this.child;
    if (pid === undefined) return;
    try {
      process.kill(-pid, 'SIGKILL');
    } catch {
      // Nobody is left in it.
    }
  }
}

function exitSentence(code: number | null, signal: NodeJS.Signals | null): string {
  if (signal === 'SIGABRT') {
    return 'The handler ended its process: V8 gave up (SIGABRT), most often because its memory was used up (setting handler-memory)';
  }
  if (signal !== null) return `The process of the handler was ended by ${signal}`;
  if (code === 134) {
    return 'The handler ended its process: V8 gave up, most often because its memory was used up (setting handler-memory)';
  }
  return `The handler ended its process (exit code ${code}) before it returned: return a result, or throw`;
}

/** From the sources it is read by the same loader as they are; beside the bundle lies a bundle of its own. */
function programFile(): string {
  const places = ['./process.ts', './handler-process.mjs', '../handler-process.mjs'];
  const found = places
    .map((place) => fileURLToPath(new URL(place, import.meta.url)))
    .find((path) => existsSync(path));
  return found ?? fileURLToPath(new URL('../handler-process.mjs', import.meta.url));
}

const loaderOf = (program: string): string[] =>
  program.endsWith('.ts') ? ['--import', import.meta.resolve('tsx')] : [];
