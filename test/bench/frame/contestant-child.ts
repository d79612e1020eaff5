/**
 * A contestant as the bench sees it: a process that is asked for runs. Whatever happens, at its
 * end no process that it started is left and its folder is gone.
 */
import { type ChildProcess, fork, spawn, spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { killAtOnce } from '../../../src/torture/processes.ts';
import type { Answer, Request } from './messages.ts';
import { type Contestant, type Row, type Sample, Unavailable } from './row.ts';
import { meter, type Usage } from './usage.ts';

const PROGRAM = new URL('contestant-process.ts', import.meta.url).pathname;
const FLAGS = ['--no-warnings'];
const CLOSE_MS = 20_000;
/** Its own loopback must be up before anything can be bound to it. */
const LOOPBACK = 'ip link set lo up && exec "$0" "$@"';
const LOG_LINES = 3;

export interface Measured extends Usage {
  readonly sample: Sample;
}

export class ContestantChild {
  readonly contestant: Contestant;
  /** Those it has, once it is open. */
  runs: readonly string[] = [];
  private readonly folder = mkdtempSync(join(tmpdir(), 'mesh-bench-'));
  private readonly child: ChildProcess;

  constructor(row: Row, contestant: Contestant, isQuick: boolean) {
    this.contestant = contestant;
    const temporary = join(this.folder, 'tmp');
    mkdirSync(temporary);
    const words = [row.name, contestant.name, temporary, isQuick ? 'quick' : ''];
    const log = openSync(this.logFile, 'a');
    const options = {
      stdio: ['ignore', log, log, 'ipc'] as ['ignore', number, number, 'ipc'],
      env: { ...process.env, TMPDIR: temporary },
    };
    const unshare = contestant.hasOwnNetwork ? ownNetwork() : undefined;
    this.child = unshare
      ? spawn('unshare', [...unshare, process.execPath, ...FLAGS, PROGRAM, ...words], {
          ...options,
          env: { ...options.env, BENCH_OWN_NETWORK: '1' },
        })
      : fork(PROGRAM, words, { ...options, execArgv: FLAGS });
    this.child.on('error', () => {});
  }

  async open(deadlineMs: number): Promise<void> {
    const answer = await this.nextAnswer(deadlineMs);
    if (answer.kind === 'opened') this.runs = answer.runs;
  }

  async run(run: string, deadlineMs: number): Promise<Measured> {
    const read = meter(this.child.pid ?? 0);
    this.ask({ run });
    const answer = await this.nextAnswer(deadlineMs).catch((failure: unknown) => {
      read();
      throw failure;
    });
    const usage = read();
    if (answer.kind !== 'ran') throw new Error(`it answered ${answer.kind} to ${run}`);
    return { sample: answer.sample, ...usage };
  }

  /** Politely first; then whatever it has started and is still there is ended. */
  async close(): Promise<void> {
    if (this.child.connected) {
      this.ask({ close: true });
      await this.nextAnswer(CLOSE_MS).catch(() => {});
    }
    await this.end();
  }

  async end(): Promise<void> {
    await killAtOnce(async () => processesNaming(this.folder));
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
  }

  private get hasEnded(): boolean {
    return this.child.exitCode !== null || this.child.signalCode !== null;
  }

  private get logFile(): string {
    return join(this.folder, 'log');
  }

  private ask(request: Request): void {
    this.child.send(request, () => {});
  }

  /** @throws what it says is wrong, that it ended, or that it took too long */
  private async nextAnswer(deadlineMs: number): Promise<Answer> {
    const answer = await new Promise<Answer>((resolve, reject) => {
      const settle = (act: () => void): void => {
        clearTimeout(timer);
        this.child.off('message', onMessage);
        this.child.off('exit', onExit);
        act();
      };
      const fail = (why: string): void => settle(() => reject(new Error(why)));
      const onMessage = (message: unknown): void => settle(() => resolve(message as Answer));
      const onExit = (): void => fail(`its process ended: ${this.lastWords()}`);
      const timer = setTimeout(() => fail(`no answer within ${deadlineMs / 1000} s`), deadlineMs);
      if (this.hasEnded) return onExit();
      this.child.on('message', onMessage);
      this.child.on('exit', onExit);
    });
    if (answer.kind === 'unavailable') throw new Unavailable(answer.why);
    if (answer.kind === 'failed') throw new Error(answer.why);
    return answer;
  }

  private lastWords(): string {
    // Its folder is gone already where the bench was interrupted.
    if (!existsSync(this.logFile)) return 'it was ended';
    const lines = readFileSync(this.logFile, 'utf8').trim().split('\n');
    return lines.slice(-LOG_LINES).join(' / ').slice(-500);
  }
}

/** Words for `unshare` before those of the program; undefined: it is not permitted here. */
function ownNetwork(): string[] | undefined {
  const flags = process.getuid?.() === 0 ? ['--net'] : ['--map-root-user', '--net'];
  const words = [...flags, '/bin/sh', '-c', LOOPBACK];
  return spawnSync('unshare', [...words, 'true']).status === 0 ? words : undefined;
}

/** Processes that have this folder among their words, in their environment or as their place. */
function processesNaming(folder: string): number[] {
  const names = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  return names.map(Number).filter((pid) => pid !== process.pid && isNaming(pid, folder));
}

function isNaming(pid: number, folder: string): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    if (stat.slice(stat.lastIndexOf(')') + 2).startsWith('Z')) return false;
    return (
      readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes(folder) ||
      readFileSync(`/proc/${pid}/environ`, 'latin1').includes(folder) ||
      readlinkSync(`/proc/${pid}/cwd`).startsWith(folder)
    );
  } catch {
    // It has ended, or is another user's.
    return false;
  }
}
