/** A node inside somebody's own program. */
import { existsSync, readFileSync } from 'node:fs';
import { type Client, createClient } from '../client/client.ts';
import { httpsFetch } from '../client/https-fetch.ts';
import { type Config, parseConfig } from '../config.ts';
import type { MeshEvent } from '../core/effects.ts';
import { createLog } from '../log.ts';
import { type RunningNode, startNode } from '../main.ts';
import type { Task } from '../tasks/define-task.ts';

export interface NodeOptions extends NodeSettings {
  /**
   * Paths of modules, each run in processes of its own as with `mesh up --tasks`; or tasks of this
   * program, run in its process.
   */
  readonly tasks?: readonly (string | Task)[];
}

/** Every setting of `mesh up` but the secret, named as in its help in camel case: `apiPort`, `dataDir`, … */
export type NodeSettings = { readonly [name: string]: unknown };

export interface EmbeddedNode {
  /** Of the node; empty before `start`. */
  readonly id: string;
  /** Of its REST API; empty before `start`. */
  readonly url: string;
  /** All that the API can do: `submit`, `waitFor`, `output`, `cancel`, … @throws Error before `start` */
  readonly client: Client;
  /** @throws MeshError what is wrong with a setting, the key, the data folder or a port */
  start(): Promise<void>;
  /**
   * Takes no new jobs, lets what runs end, and releases everything. Attempts that still run after
   * `drainMs` (default: the setting drain-timeout) are ended and given back to the mesh.
   */
  stop(options?: { drainMs?: number }): Promise<void>;
  /** Called with each event once it is durable; returns the way to end it. */
  on(listener: (event: MeshEvent) => void): () => void;
}

/** What differs from `mesh up`: a program chooses its ports, and has a log of its own. */
const DEFAULTS = { apiPort: 0, logLevel: 'warn' };

/** Settings are checked here, nothing is opened before `start`. @throws MeshError BAD_SETTING */
export function embedNode({ tasks = [], ...settings }: NodeOptions): EmbeddedNode {
  const files = tasks.filter((task) => typeof task === 'string');
  const local = tasks.filter((task) => typeof task !== 'string');
  const given = Object.entries({ ...DEFAULTS, ...settings }).filter(
    ([, value]) => value !== undefined,
  );
  const config = parseConfig({
    flags: { ...Object.fromEntries(given), ...(files.length > 0 && { tasks: files.join(',') }) },
    env: process.env,
    readFile: (path) => (existsSync(path) ? readFileSync(path, 'utf8') : undefined),
  });
  return new Embedded(config, local);
}

class Embedded implements EmbeddedNode {
  private readonly config: Config;
  private readonly tasks: readonly Task[];
  private readonly listeners = new Set<(event: MeshEvent) => void>();
  private running: Promise<RunningNode> | undefined;
  private started: RunningNode | undefined;
  private known: Client | undefined;

  constructor(config: Config, tasks: readonly Task[]) {
    this.config = config;
    this.tasks = tasks;
  }

  get id(): string {
    return this.started?.node.facts.node ?? '';
  }

  get url(): string {
    return this.started?.api.url ?? '';
  }

  get client(): Client {
    if (this.known) return this.known;
    throw new Error('The node has not been started: await node.start() first.');
  }

  async start(): Promise<void> {
    const { logLevel, logFormat, name } = this.config;
    const log = createLog({ level: logLevel, format: logFormat, node: name });
    this.running ??= startNode(this.config, log, this.tasks);
    const running = await this.running;
    if (this.started) return;
    this.started = running;
    const { url, token, ca } = running.api;
    this.known = createClient({ url, token, ...(ca !== undefined && { fetch: httpsFetch(ca) }) });
    running.node.subscribe((event) => {
      for (const listener of this.listeners) listener(event);
    });
  }

  async stop({ drainMs = this.config.drainTimeoutMs } = {}): Promise<void> {
    const running = await this.running?.catch(() => undefined);
    this.running = undefined;
    this.started = undefined;
    this.known = undefined;
    if (!running) return;
    running.node.drain(drainMs, 'stop');
    await running.node.drained();
    await running.close('end');
  }

  on(listener: (event: MeshEvent) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }
}
