/**
 * Runners: shells that run one job after the other and wait for each. Making a process is cheap for
 * a small shell and dear for a node, which is copied for it with all its memory; so a runner that
 * has become free is kept for the next job. Each leads the session and process group in which its
 * jobs run. It outlives the node as long as its job runs, notes how that ended, and ends when it
 * finds that nobody is at the other end of its pipe.
 *
 * A runner is used again only when nothing of the last job can be there any more: what is left is
 * killed, and the runner with it, as it is one of the group. Nor is it used again before the file
 * of the last job is out of the supervisor's sight, or close to the end of its lease: what is meant
 * for one job must not reach the next.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { parseTimes } from './group-file.ts';
import { childrenCpuMs, lastPid, type Remains, remainsOf } from './process-table.ts';
import { type RunnerJob, runnerPreamble, runnerText } from './start-scripts.ts';

/** Kept for the next job. */
const MAX_IDLE = 16;
const IDLE_MS = 10_000;
const END_DEADLINE_MS = 1000;
/** Linux takes no longer argument or variable, its zero byte included (MAX_ARG_STRLEN). */
const MAX_STRING_BYTES = 131_072;

/** One job in the hands of a runner. */
export interface HandedJob {
  /** Of the runner: it leads the group, and is none of the job's processes. */
  readonly runnerId: number;
  readonly ended: Promise<RunnerEnd>;
  /** Processor time of the main process and what it has waited for, while that runs. */
  cpuMs(): number | undefined;
  /** After the end: what there can be of the job. */
  remains(): Promise<Remains>;
  /** After the end: the runner is free for the next job, or ends. */
  release(mayBeUsedAgain: boolean): void;
  /** The runner goes on without this node. */
  leave(): void;
}

export type RunnerEnd =
  /** Exit code of the main process. */
  | { readonly tag: 'exited'; readonly code: number }
  /** The runner itself was ended, by the job, by somebody, or with the whole group. */
  | { readonly tag: 'killed'; readonly signal: NodeJS.Signals | undefined };

export class Runners {
  private readonly env: Readonly<Record<string, string>>;
  private readonly preamble: string;
  private readonly all = new Set<Runner>();
  private readonly idle: Runner[] = [];
  private isClosed = false;

  /** @param env what all jobs have in common */
  constructor(env: Readonly<Record<string, string>>, procFolder: string) {
    this.env = env;
    this.preamble = runnerPreamble(procFolder);
  }

  /** Rejects with what spawn throws or reports: E2BIG, EAGAIN, EMFILE, …; a TypeError for a zero byte. */
  async run(
    job: Omit<RunnerJob, 'variables' | 'spentMs'>,
    env: Record<string, string>,
  ): Promise<HandedJob> {
    const own = Object.entries(env).filter(([name, value]) => this.env[name] !== value);
    checkStrings([...job.program, ...own.map(([name, value]) => `${name}=${value}`)]);
    const runner = this.idle.pop() ?? (await this.launch());
    const variables = Object.fromEntries(own);
    return {
      runnerId: runner.pid,
      ended: runner.run(runnerText({ ...job, variables, spentMs: runner.spentMs })),
      cpuMs: () => childrenCpuMs(runner.pid),
      remains: () => runner.remains(),
      release: (mayBeUsedAgain) => this.release(runner, mayBeUsedAgain),
      leave: () => {
        this.all.delete(runner);
        runner.leave();
      },
    };
  }

  private async launch(): Promise<Runner> {
    const child = spawn('/bin/sh', ['-s', 'mesh-runner'], {
      detached: true,
      cwd: '/',
      env: this.env,
      stdio: ['pipe', 'pipe', 'ignore'],
    });
    const { pid } = child;
    if (pid === undefined) return new Promise((_, reject) => child.once('error', reject));
    const runner = new Runner(child, pid, this.preamble);
    this.all.add(runner);
    void runner.gone.then(() => this.forget(runner));
    return runner;
  }

  private release(runner: Runner, mayBeUsedAgain: boolean): void {
    const hasRoom = !this.isClosed && this.idle.length < MAX_IDLE;
    if (!mayBeUsedAgain || runner.isGone || !hasRoom) {
      void runner.end();
      return;
    }
    this.idle.push(runner);
    runner.rest(IDLE_MS, () => {
      this.forget(runner);
      void runner.end();
    });
  }

  private forget(runner: Runner): void {
    this.all.delete(runner);
    const at = this.idle.indexOf(runner);
    if (at >= 0) this.idle.splice(at, 1);
  }

  /** After the last job, but for those that were left. */
  async close(): Promise<void> {
    this.isClosed = true;
    await Promise.all([...this.all].map((runner) => runner.end()));
  }
}

interface Holdable {
  ref(): void;
  unref(): void;
}

/** In less time no system gives away all its process ids and begins again. */
const PIDS_KNOWN_MS = 250;

class Runner {
  readonly pid: number;
  /** Settles when its process has ended. */
  readonly gone: Promise<void>;
  isGone = false;
  /** Processor time of all its jobs so far. */
  spentMs = 0;
  private readonly child: ChildProcess;
  private readonly stdin: Writable;
  private readonly stdout: Readable;
  private answer: ((end: RunnerEnd) => void) | undefined;
  private idleTimer: NodeJS.Timeout | undefined;
  /** The last process id that was given away before the job, and when that was. */
  private before: { readonly pid: number | undefined; readonly atMs: number } | undefined;

  constructor(child: ChildProcess, pid: number, preamble: string) {
    this.pid = pid;
    const { stdin, stdout } = child;
    if (!stdin || !stdout) throw new Error('a runner without its pipes');
    this.child = child;
    this.stdin = stdin;
    this.stdout = stdout;
    child.on('error', () => {});
    // Its end is told by `exit`; an error of the pipe says nothing more.
    stdin.on('error', () => {});
    stdout.on('error', () => {});
    createInterface(stdout).on('line', (line) => this.onLine(line));
    this.gone = new Promise((resolve) => {
      child.once('exit', (_, signal) => {
        this.isGone = true;
        this.settle({ tag: 'killed', signal: signal ?? undefined });
        resolve();
      });
    });
    stdin.write(preamble);
  }

  run(text: string): Promise<RunnerEnd> {
    clearTimeout(this.idleTimer);
    this.hold(true);
    this.before = { pid: lastPid(), atMs: performance.now() };
    return new Promise((resolve) => {
      this.answer = resolve;
      if (this.isGone) this.settle({ tag: 'killed', signal: undefined });
      else this.stdin.write(text);
    });
  }

  /** Whoever was started since the job began is looked at, or, if that is long ago, everybody. */
  remains(): Promise<Remains> {
    const { pid, atMs = 0 } = this.before ?? {};
    const isKnown = performance.now() - atMs < PIDS_KNOWN_MS;
    return remainsOf(this.pid, isKnown ? pid : undefined);
  }

  private onLine(line: string): void {
    const spentMs = parseTimes(line);
    // Of two such lines the first is about the runner itself, and less.
    if (spentMs === undefined) this.settle({ tag: 'exited', code: Number(line) });
    else this.spentMs = spentMs;
  }

  private settle(end: RunnerEnd): void {
    const { answer } = this;
    this.answer = undefined;
    answer?.(end);
  }

  /** Nothing to do; `onIdle` comes if that lasts. A program may end meanwhile. */
  rest(idleMs: number, onIdle: () => void): void {
    this.idleTimer = setTimeout(onIdle, idleMs);
    this.idleTimer.unref();
    this.hold(false);
  }

  /** Whether this program goes on for its sake. */
  private hold(isHeld: boolean): void {
    // Pipes are sockets to Node, and have it, too.
    const pipes = [this.stdin, this.stdout] as unknown as Holdable[];
    for (const each of [this.child, ...pipes]) {
      if (isHeld) each.ref();
      else each.unref();
    }
  }

  /** After its last job. Settles when its process has ended. */
  async end(): Promise<void> {
    clearTimeout(this.idleTimer);
    if (this.isGone) return;
    this.hold(true);
    this.stdin.end();
    const late = setTimeout(() => this.child.kill('SIGKILL'), END_DEADLINE_MS);
    await this.gone;
    clearTimeout(late);
  }

  leave(): void {
    this.answer = undefined;
    this.hold(false);
    this.stdin.destroy();
    this.stdout.destroy();
  }
}

function checkStrings(strings: readonly string[]): void {
  for (const text of strings) {
    if (text.includes('\0')) {
      throw Object.assign(new TypeError('a zero byte'), { code: 'ERR_INVALID_ARG_VALUE' });
    }
    if (Buffer.byteLength(text) >= MAX_STRING_BYTES) {
      throw Object.assign(new Error('longer than the system takes'), { code: 'E2BIG' });
    }
  }
}
