/**
 * Runners: shells that run one job after the other and wait for each. Making a process is cheap for
 * a small shell and dear for a node, which is copied for it with all its memory; so a runner that
 * has become free is kept for the next job. Each is a session of its own and no part of any job's,
 * so it outlives the node as long as its job runs, notes how that ended, and ends when it finds
 * that nobody is at the other end of its pipe.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { parseTimes } from './group-file.ts';
import { RUNNER_PREAMBLE, type RunnerJob, runnerText } from './start-scripts.ts';

/** Kept for the next job. */
const MAX_IDLE = 4;
const IDLE_MS = 10_000;
const END_DEADLINE_MS = 1000;
/** Linux takes no longer argument or variable, its zero byte included (MAX_ARG_STRLEN). */
const MAX_STRING_BYTES = 131_072;

/** One job in the hands of a runner. */
export interface HandedJob {
  /** Its exit code; undefined: the runner was ended by somebody. */
  readonly ended: Promise<number | undefined>;
  /** The runner goes on without this node. */
  leave(): void;
}

export class Runners {
  private readonly env: Readonly<Record<string, string>>;
  private readonly all = new Set<Runner>();
  private readonly idle: Runner[] = [];
  private isClosed = false;

  /** @param env what all jobs have in common */
  constructor(env: Readonly<Record<string, string>>) {
    this.env = env;
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
    const ended = runner.run(runnerText({ ...job, variables, spentMs: runner.spentMs }));
    return {
      ended: ended.finally(() => this.release(runner)),
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
    if (child.pid === undefined) {
      return new Promise((_, reject) => child.once('error', reject));
    }
    const runner = new Runner(child);
    this.all.add(runner);
    void runner.gone.then(() => this.forget(runner));
    return runner;
  }

  private release(runner: Runner): void {
    if (runner.isGone || this.isClosed || this.idle.length >= MAX_IDLE) {
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

class Runner {
  /** Settles when its process has ended. */
  readonly gone: Promise<void>;
  isGone = false;
  /** Processor time of all its jobs so far. */
  spentMs = 0;
  private readonly child: ChildProcess;
  private readonly stdin: Writable;
  private readonly stdout: Readable;
  private answer: ((code: number | undefined) => void) | undefined;
  private idleTimer: NodeJS.Timeout | undefined;

  constructor(child: ChildProcess) {
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
      child.once('exit', () => {
        this.isGone = true;
        this.settle(undefined);
        resolve();
      });
    });
    stdin.write(RUNNER_PREAMBLE);
  }

  run(text: string): Promise<number | undefined> {
    clearTimeout(this.idleTimer);
    this.hold(true);
    return new Promise((resolve) => {
      this.answer = resolve;
      if (this.isGone) this.settle(undefined);
      else this.stdin.write(text);
    });
  }

  private onLine(line: string): void {
    const spentMs = parseTimes(line);
    // Of two such lines the first is about the runner itself, and less.
    if (spentMs === undefined) this.settle(Number(line));
    else this.spentMs = spentMs;
  }

  private settle(code: number | undefined): void {
    const { answer } = this;
    this.answer = undefined;
    answer?.(code);
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
