/**
 * The three nodes of the demo: real processes with a key, a discovery port and a folder of their
 * own, so that they meet neither each other's earlier lives nor a mesh that really works here.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdirSync, openSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { MeshError } from '../../base/errors.ts';
import { freeUdpPort, NodeWatch, withoutSettings } from '../local-nodes.ts';

export interface DemoNode {
  readonly name: string;
  readonly child: ChildProcess;
  readonly logFile: string;
  /** `http://127.0.0.1:41235` */
  readonly url: string;
  readonly id: string;
}

const START_DEADLINE_MS = 15_000;
const STOP_DEADLINE_MS = 5000;

export class DemoNodes {
  /** Of this demo alone: several may run at a time. */
  readonly folder: string;
  private readonly demos: string;
  private readonly entry: string;
  private readonly children: ChildProcess[] = [];
  private watch: NodeWatch | undefined;

  /**
   * @param demos folder of all demos
   * @param entry the program's own bundle, run once more for each node
   */
  constructor(demos: string, entry: string) {
    this.demos = demos;
    this.folder = join(demos, String(process.pid));
    this.entry = entry;
  }

  /** One after the other: the first makes the key that the others find. */
  async start(names: readonly string[], signal: AbortSignal): Promise<DemoNode[]> {
    mkdirSync(this.demos, { recursive: true });
    // Logs are kept until the next demo, for whoever wants to know what went wrong.
    for (const name of readdirSync(this.demos).filter((name) => !isOfLivingDemo(name)))
      rmSync(join(this.demos, name), { recursive: true, force: true });
    mkdirSync(this.folder, { recursive: true });
    this.watch = new NodeWatch();
    const discoveryPort = await freeUdpPort();
    const nodes: DemoNode[] = [];
    for (const name of names) nodes.push(await this.startOne(name, discoveryPort, signal));
    return nodes;
  }

  private async startOne(
    name: string,
    discoveryPort: number,
    signal: AbortSignal,
  ): Promise<DemoNode> {
    signal.throwIfAborted();
    const logFile = join(this.folder, `${name}.log`);
    const settings = {
      name,
      'data-dir': join(this.folder, name),
      'config-dir': join(this.folder, 'config'),
      'api-port': '0',
      'discovery-port': String(discoveryPort),
      'drain-timeout': '1s',
      'log-format': 'json',
      slots: '2',
    };
    const flags = Object.entries(settings).flatMap(([flag, value]) => [`--${flag}`, value]);
    const log = openSync(logFile, 'w');
    // A session of their own: Ctrl-C reaches the demo alone, which then ends them in order.
    const child = spawn(process.execPath, [this.entry, 'up', ...flags], {
      stdio: ['ignore', 'ignore', log],
      env: withoutSettings(process.env),
      detached: true,
    });
    closeSync(log);
    this.children.push(child);
    if (child.pid !== undefined) this.watch?.add(child.pid);
    const started = await this.started(name, child, logFile, signal);
    return { name, child, logFile, ...started };
  }

  private async started(
    name: string,
    child: ChildProcess,
    logFile: string,
    signal: AbortSignal,
  ): Promise<{ url: string; id: string }> {
    for (let waited = 0; waited < START_DEADLINE_MS; waited += 30) {
      const line = readFileSync(logFile, 'utf8')
        .split('\n')
        .find((text) => text.includes('"node is up"'));
      if (line) {
        const { api, id } = JSON.parse(line) as { api: string; id: string };
        return { url: api, id };
      }
      if (child.exitCode !== null) break;
      await sleep(30, undefined, { signal });
    }
    const said = readFileSync(logFile, 'utf8').trim().split('\n').at(-1) ?? '';
    throw new MeshError('NODE_UNREACHABLE', `${name} did not start (${logFile}): ${said}`);
  }

  /** Asks all to end, and ends those that do not within five seconds. */
  async stop(): Promise<void> {
    const isRunning = (child: ChildProcess): boolean =>
      child.exitCode === null && child.signalCode === null;
    const running = this.children.filter(isRunning);
    const ends = running.map((child) => once(child, 'exit'));
    for (const child of running) child.kill('SIGINT');
    const late = setTimeout(() => {
      for (const child of running.filter(isRunning)) child.kill('SIGKILL');
    }, STOP_DEADLINE_MS);
    await Promise.all(ends);
    clearTimeout(late);
    this.watch?.dismiss();
  }
}

/** Folders are named by the demo's process id. */
function isOfLivingDemo(name: string): boolean {
  if (Number(name) === process.pid) return false;
  try {
    process.kill(Number(name), 0);
    return true;
  } catch {
    return false;
  }
}
