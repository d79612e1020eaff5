/**
 * One node of the run: its process, started again and again on the same folder, and a client that
 * asks it. It is a session of its own, so that Ctrl-C reaches the run alone.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, openSync, readFileSync, statSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { MeshError } from '../base/errors.ts';
import { withoutSettings } from '../cli/local-nodes.ts';
import { type Client, createClient } from '../client/client.ts';
import type { Host } from './host.ts';
import { LEDGER_VARIABLES } from './ledger.ts';

export interface NodeSetup {
  readonly name: string;
  /** The program's own bundle. */
  readonly entry: string;
  readonly run: string;
  readonly host: Host;
  readonly dataDir: string;
  readonly configDir: string;
  readonly logFile: string;
  readonly discoveryPort: number;
  readonly onStart: (pid: number) => void;
  readonly onEnd: (pid: number) => void;
  /** It ended and nobody had asked it to. */
  readonly onOwnEnd: (node: TortureNode, how: string) => void;
}

const START_DEADLINE_MS = 30_000;
const END_DEADLINE_MS = 30_000;
const HEALTH_DEADLINE_MS = 1000;
const POLL_MS = 30;
export const SLOTS = 4;

export class TortureNode {
  readonly name: string;
  readonly host: Host;
  readonly dataDir: string;
  id = '';
  /** Of the life that runs, or of the last one. */
  private url = '';
  private readonly setup: NodeSetup;
  private child: ChildProcess | undefined;
  private isEndAsked = false;

  constructor(setup: NodeSetup) {
    this.setup = setup;
    this.name = setup.name;
    this.host = setup.host;
    this.dataDir = setup.dataDir;
  }

  /** Its process is there, frozen or not, and has said where its API is. */
  get isRunning(): boolean {
    return this.hasProcess && this.url !== '';
  }

  private get hasProcess(): boolean {
    return this.child?.exitCode === null && this.child.signalCode === null;
  }

  get pid(): number {
    return this.child?.pid ?? 0;
  }

  /** Of the life that runs. */
  get client(): Client {
    return createClient(this.address);
  }

  private get address() {
    const { fetch } = this.host;
    return { url: this.url, ...(fetch && { fetch }) };
  }

  /** Settles when its API answers. @throws MeshError NODE_UNREACHABLE with what it said last */
  async start(signal: AbortSignal): Promise<void> {
    if (this.hasProcess) return;
    signal.throwIfAborted();
    const { logFile } = this.setup;
    const offset = existsSync(logFile) ? statSync(logFile).size : 0;
    const child = this.launch();
    const deadline = AbortSignal.any([signal, AbortSignal.timeout(START_DEADLINE_MS)]);
    try {
      while (!(await this.isUp(offset)) && child.exitCode === null && child.signalCode === null) {
        await sleep(POLL_MS, undefined, { signal: deadline });
      }
    } catch (failure) {
      if (signal.aborted) throw failure;
    }
    if (this.isRunning) return;
    const said = readFileSync(logFile, 'utf8').trim().split('\n').at(-1) ?? '';
    throw new MeshError('NODE_UNREACHABLE', `${this.name} did not start (${logFile}): ${said}`);
  }

  private launch(): ChildProcess {
    const { host, logFile, entry, run, onStart, onEnd, onOwnEnd } = this.setup;
    const [command = process.execPath, ...rest] = [
      ...host.prefix,
      process.execPath,
      entry,
      'up',
      ...this.flags(),
    ];
    const log = openSync(logFile, 'a');
    const child = spawn(command, rest, {
      stdio: ['ignore', 'ignore', log],
      env: { ...withoutSettings(process.env), [LEDGER_VARIABLES.run]: run },
      detached: true,
    });
    closeSync(log);
    this.child = child;
    this.isEndAsked = false;
    this.url = '';
    const { pid } = child;
    if (pid !== undefined) onStart(pid);
    child.on('error', () => undefined);
    child.once('exit', (code, signal) => {
      if (pid !== undefined) onEnd(pid);
      if (!this.isEndAsked) onOwnEnd(this, signal ?? `exit code ${code}`);
    });
    return child;
  }

  private flags(): string[] {
    const { name, dataDir, configDir, discoveryPort, host } = this.setup;
    const settings = {
      name,
      'data-dir': dataDir,
      'config-dir': configDir,
      'api-port': String(host.apiPort),
      'discovery-port': String(discoveryPort),
      // Shorter than the longest jobs: an end by SIGTERM finishes some and hands back others.
      'drain-timeout': '5s',
      'kill-grace': '1s',
      'log-format': 'json',
      'log-level': 'debug',
      slots: String(SLOTS),
    };
    return Object.entries(settings).flatMap(([flag, value]) => [`--${flag}`, value]);
  }

  /** The log of this life says where the API is; then it must answer. */
  private async isUp(offset: number): Promise<boolean> {
    const line = readFileSync(this.setup.logFile)
      .subarray(offset)
      .toString('utf8')
      .split('\n')
      .find((text) => text.includes('"node is up"') && text.endsWith('}'));
    if (line === undefined) return false;
    const { api, id } = JSON.parse(line) as { api: string; id: string };
    this.id = id;
    this.url = api;
    const health = this.client.health({ signal: AbortSignal.timeout(HEALTH_DEADLINE_MS) });
    return health.then(() => true).catch(() => false);
  }

  // -------------------------------------------------------------- ending

  /** SIGKILL, and settles when it is dead. */
  async kill(): Promise<void> {
    await this.end('SIGKILL');
  }

  /** For a restart: its jobs run on. False: it did not end in time and was killed. */
  terminate(): Promise<boolean> {
    return this.endInTime('SIGTERM');
  }

  /** For good: it hands its jobs over. False: it did not end in time and was killed. */
  stop(): Promise<boolean> {
    return this.endInTime('SIGINT');
  }

  private async endInTime(signal: NodeJS.Signals): Promise<boolean> {
    const late = setTimeout(() => this.child?.kill('SIGKILL'), END_DEADLINE_MS);
    await this.end(signal);
    clearTimeout(late);
    return this.child?.signalCode !== 'SIGKILL';
  }

  /** Its end is not its own doing, whoever brings it about. */
  expectEnd(): void {
    this.isEndAsked = true;
  }

  private async end(signal: NodeJS.Signals): Promise<void> {
    const { child } = this;
    if (!child || !this.hasProcess) return;
    this.isEndAsked = true;
    const ended = once(child, 'exit');
    child.kill(signal);
    await ended;
  }

  /** Settles when its process is gone. */
  async untilEnded(): Promise<void> {
    if (this.child && this.hasProcess) await once(this.child, 'exit');
  }

  signal(signal: 'SIGSTOP' | 'SIGCONT'): void {
    if (this.hasProcess) this.child?.kill(signal);
  }
}
