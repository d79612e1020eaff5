/**
 * Real nodes in real processes, for tests: each mesh has its own key, discovery port and folder,
 * so meshes of parallel tests never meet. What is asked of a node is asked over its REST API.
 */
import { type ChildProcess, execFile, type PromiseWithChild, spawn } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import {
  copyFileSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { promisify } from 'node:util';
import { killAtOnce } from '../../src/torture/processes.ts';

export const BUNDLE = new URL('../../dist/mesh.mjs', import.meta.url).pathname;
const POLL_MS = 50;

export type Json = Record<string, unknown>;

export interface JobJson extends Json {
  readonly job_id: string;
  readonly status: string;
  readonly target_node_id: string | null;
  readonly exit_code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Answer<Body = Json> {
  readonly status: number;
  readonly headers: Headers;
  readonly body: Body;
}

export interface NodeOptions {
  readonly slots?: number;
  readonly labels?: string;
  readonly taskTypes?: string;
  /** More settings, as flags. */
  readonly flags?: readonly string[];
  /** What the node is run by, as `ip netns exec NAME` (which becomes the node: the pid stays). */
  readonly prefix?: readonly string[];
  /** Reaches its API from here, where the global one does not. */
  readonly fetch?: typeof fetch | undefined;
  readonly env?: Readonly<Record<string, string>>;
  /** How long it may take until it answers; default 20 s. */
  readonly readyMs?: number;
}

export class MeshProcesses {
  readonly folder = mkdtempSync(join(tmpdir(), 'mesh-e2e-'));
  private readonly nodes = new Map<string, NodeProcess>();
  private discoveryPort = 0;

  /** Starts a node, or starts it again on its old folder; settles when its API answers. */
  async start(name: string, options: NodeOptions = {}): Promise<NodeProcess> {
    if (this.discoveryPort === 0) this.discoveryPort = await freeUdpPort();
    const node = new NodeProcess({
      name,
      folder: this.folder,
      discoveryPort: this.discoveryPort,
      options,
    });
    this.nodes.set(name, node);
    await node.ready(options.readyMs);
    return node;
  }

  /** Starts so many and waits until each sees all others. */
  async startMesh(names: readonly string[], options: NodeOptions = {}): Promise<NodeProcess[]> {
    const nodes: NodeProcess[] = [];
    // The first makes the key, the others find it.
    for (const name of names) nodes.push(await this.start(name, options));
    await Promise.all(nodes.map((node) => node.seesPeers(nodes.length - 1)));
    return nodes;
  }

  /** Copies the logs, for a person, to where no test removes them; returns where. */
  keepLogs(): string {
    const kept = mkdtempSync(join(tmpdir(), 'mesh-e2e-failed-'));
    for (const name of readdirSync(this.folder))
      if (/\.log$|^witness-/.test(name)) copyFileSync(join(this.folder, name), join(kept, name));
    return `logs: ${kept}`;
  }

  /**
   * Kills all nodes, waits until their supervisors have ended what they ran, and removes the folder. A
   * job that is left alive makes the test fail.
   */
  async stop(): Promise<void> {
    await Promise.all([...this.nodes.values()].map((node) => node.kill('SIGKILL')));
    await until('no job is left', 15_000, () => processesIn(this.folder).length === 0);
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
  }
}

/** A mesh of one test's own, which ends with the test. */
export function newMesh(t: TestContext): MeshProcesses {
  const mesh = new MeshProcesses();
  t.after(async () => {
    if (!t.passed) t.diagnostic(mesh.keepLogs());
    await mesh.stop();
  });
  return mesh;
}

/** The first takes jobs and runs none, so that it can die without taking an attempt with it. */
export async function startOwnerAndTwo(
  mesh: MeshProcesses,
): Promise<{ one: NodeProcess; two: NodeProcess; three: NodeProcess }> {
  const one = await mesh.start('one', { slots: 0 });
  const [two, three] = await Promise.all([mesh.start('two'), mesh.start('three')]);
  await Promise.all([one, two, three].map((node) => node.seesPeers(2)));
  return { one, two, three };
}

export class NodeProcess {
  readonly name: string;
  readonly dataDir: string;
  id = '';
  url = '';
  /** By the calendar, in milliseconds. */
  upAt = 0;
  private readonly child: ChildProcess;
  private readonly logFile: string;
  private readonly configDir: string;
  private readonly prefix: readonly string[];
  private readonly fetch: typeof fetch | undefined;

  constructor(setup: {
    name: string;
    folder: string;
    discoveryPort: number;
    options: NodeOptions;
  }) {
    const { name, folder, discoveryPort, options } = setup;
    this.name = name;
    this.dataDir = join(folder, name);
    this.logFile = join(folder, `${name}.log`);
    this.configDir = join(folder, 'config');
    this.prefix = options.prefix ?? [];
    this.fetch = options.fetch ?? (this.prefix.length === 0 ? fetch : undefined);
    const settings: Record<string, string> = {
      name,
      'data-dir': this.dataDir,
      'config-dir': this.configDir,
      'api-port': '0',
      'discovery-port': String(discoveryPort),
      'log-format': 'json',
      slots: String(options.slots ?? 2),
      'kill-grace': '1s',
      ...(options.labels !== undefined && { labels: options.labels }),
      ...(options.taskTypes !== undefined && { 'task-types': options.taskTypes }),
    };
    const flags = Object.entries(settings).flatMap(([flag, value]) => [`--${flag}`, value]);
    const [command = process.execPath, ...rest] = [
      ...this.prefix,
      process.execPath,
      BUNDLE,
      'up',
      ...flags,
      ...(options.flags ?? []),
    ];
    const log = openSync(this.logFile, 'a');
    this.child = spawn(command, rest, {
      stdio: ['ignore', 'ignore', log],
      env: { ...cleanEnv(), ...options.env },
    });
  }

  get pid(): number {
    return this.child.pid ?? 0;
  }

  get hasEnded(): boolean {
    return this.child.exitCode !== null || this.child.signalCode !== null;
  }

  get log(): string {
    return readFileSync(this.logFile, 'utf8');
  }

  /** The log line of the start tells the port. */
  async ready(deadlineMs = 20_000): Promise<void> {
    await until(`${this.name} answers`, deadlineMs, async () => {
      if (this.child.exitCode !== null)
        throw new Error(`${this.name} ended with ${this.child.exitCode}:\n${this.log}`);
      const found = this.startLine();
      if (!found) return false;
      this.url = found.api;
      this.id = found.node;
      this.upAt = found.at;
      // Over HTTPS fetch would ask for a certificate of a public authority.
      return (
        this.fetch === undefined ||
        this.url.startsWith('https:') ||
        (await this.get('/api/v1/health').catch(() => undefined))?.status === 200
      );
    });
  }

  private startLine(): { api: string; node: string; at: number } | undefined {
    // After a restart the log also holds earlier lives: the newest counts.
    const lines = this.log.split('\n').filter((line) => line.includes('"node is up"'));
    const newest = JSON.parse(lines.at(-1) ?? '{}') as {
      api?: string;
      id?: string;
      pid?: number;
      time?: string;
    };
    if (newest.pid !== this.pid || !newest.api || !newest.id) return undefined;
    return { api: newest.api, node: newest.id, at: Date.parse(newest.time ?? '') };
  }

  // -------------------------------------------------------------- asking

  get<Body = Json>(path: string): Promise<Answer<Body>> {
    return this.request<Body>(path, {});
  }

  post<Body = Json>(
    path: string,
    body: unknown,
    headers: Record<string, string> = {},
  ): Promise<Answer<Body>> {
    const json = { 'content-type': 'application/json', ...headers };
    return this.request<Body>(path, { method: 'POST', headers: json, body: JSON.stringify(body) });
  }

  delete<Body = Json>(path: string): Promise<Answer<Body>> {
    return this.request<Body>(path, { method: 'DELETE' });
  }

  /** A node behind a prefix is asked from there: its API listens on that loopback only. */
  private async request<Body>(path: string, init: PlainInit): Promise<Answer<Body>> {
    if (this.fetch) return toAnswer<Body>(await this.fetch(this.url + path, init));
    const [command = '', ...rest] = this.prefix;
    const asked = [...rest, process.execPath, '-e', ASK, this.url + path, JSON.stringify(init)];
    const { stdout } = await run(command, asked, { timeout: 20_000 });
    const { status, headers, text } = JSON.parse(stdout) as {
      status: number;
      headers: [string, string][];
      text: string;
    };
    return toAnswer<Body>(new Response(text, { status, headers }));
  }

  async submit(command: string, more: Json = {}): Promise<string> {
    const { status, body } = await this.post<JobJson>('/api/v1/jobs', { command, ...more });
    if (status !== 201) throw new Error(`submit answered ${status}: ${JSON.stringify(body)}`);
    return body.job_id;
  }

  async job(id: string): Promise<JobJson> {
    return (await this.get<JobJson>(`/api/v1/jobs/${id}`)).body;
  }

  /** Asks until the job has one of the statuses. */
  async jobIs(id: string, statuses: readonly string[], deadlineMs = 30_000): Promise<JobJson> {
    let seen: JobJson | undefined;
    await until(
      `job ${id} is ${statuses.join(' or ')}`,
      deadlineMs,
      async () => {
        seen = await this.job(id);
        return statuses.includes(seen.status);
      },
      () => JSON.stringify(seen),
    );
    if (!seen) throw new Error('not seen');
    return seen;
  }

  jobEnds(id: string, deadlineMs = 30_000): Promise<JobJson> {
    return this.jobIs(id, FINAL, deadlineMs);
  }

  async peerNames(): Promise<string[]> {
    const { body } = await this.get<{ peers: { name: string; state: string }[] }>('/api/v1/peers');
    return body.peers
      .filter((peer) => peer.state === 'alive')
      .map((peer) => peer.name)
      .sort();
  }

  /** `alive`, `suspect`, `dead`; undefined: not listed (any more). */
  async peerState(name: string): Promise<string | undefined> {
    const { body } = await this.get<{ peers: { name: string; state: string }[] }>('/api/v1/peers');
    return body.peers.find((peer) => peer.name === name)?.state;
  }

  seesPeers(count: number, deadlineMs = 20_000): Promise<void> {
    return until(
      `${this.name} sees ${count} peers`,
      deadlineMs,
      async () => (await this.peerNames()).length === count,
    );
  }

  /** The command line, put to this node. */
  mesh(args: readonly string[]): PromiseWithChild<{ stdout: string; stderr: string }> {
    return run(process.execPath, [BUNDLE, '--api', this.url, ...args], {
      env: { ...cleanEnv(), MESH_CONFIG_DIR: this.configDir },
      timeout: 60_000,
    });
  }

  // -------------------------------------------------------------- ending

  /** Sends the signal and settles with how the process ended. */
  async kill(signal: NodeJS.Signals): Promise<{ code: number | null; signal: string | null }> {
    if (this.child.exitCode === null && this.child.signalCode === null) {
      const exited = once(this.child, 'exit');
      this.child.kill(signal);
      await exited;
    }
    return { code: this.child.exitCode, signal: this.child.signalCode };
  }

  /** As if its power had gone: the node, its supervisor and what it runs, all at one time. */
  async killHost(): Promise<void> {
    await killAtOnce(async () => [
      ...new Set([...processesWith(this.dataDir), ...processesIn(this.dataDir)]),
    ]);
    await this.kill('SIGKILL');
  }

  /** Sends it and does not wait. */
  signal(signal: NodeJS.Signals): void {
    this.child.kill(signal);
  }
}

type PlainInit = { method?: string; headers?: Record<string, string>; body?: string };

const run = promisify(execFile);

/** Run by `node -e` behind a prefix: asks and prints the answer as JSON. */
const ASK = `
  const [url, init] = process.argv.slice(1);
  const response = await fetch(url, JSON.parse(init));
  const headers = [...response.headers].filter(([name]) => name === 'content-type' || name === 'x-node-id');
  console.log(JSON.stringify({ status: response.status, headers, text: await response.text() }));
`;

export const FINAL = ['JOB_COMPLETED', 'JOB_FAILED', 'JOB_TIMEOUT', 'JOB_CANCELLED', 'JOB_LOST'];

/** Asks again and again until it holds; the deadline is generous and its miss tells what was last seen. */
export async function until(
  what: string,
  deadlineMs: number,
  holds: () => boolean | Promise<boolean>,
  lastSeen: () => string | undefined = () => '',
): Promise<void> {
  const deadline = performance.now() + deadlineMs;
  while (!(await holds())) {
    if (performance.now() > deadline)
      throw new Error(`not within ${deadlineMs} ms: ${what} ${lastSeen() ?? ''}`);
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

/** Processes whose command line contains this text, without zombies. */
export const processesWith = (text: string): number[] =>
  processes((folder) => readFileSync(`${folder}/cmdline`, 'latin1').includes(text));

/** Processes that work in this folder or below it, without zombies. */
const processesIn = (path: string): number[] =>
  processes((folder) => readlinkSync(`${folder}/cwd`).startsWith(path));

function processes(isWanted: (procFolder: string) => boolean): number[] {
  const found: number[] = [];
  for (const pid of readdirNumbers('/proc')) {
    try {
      const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
      const isZombie = stat.slice(stat.lastIndexOf(')') + 2).startsWith('Z');
      if (!isZombie && isWanted(`/proc/${pid}`)) found.push(pid);
    } catch {
      // It ended while we looked.
    }
  }
  return found.filter((pid) => pid !== process.pid);
}

const readdirNumbers = (folder: string): number[] =>
  readdirSync(folder).map(Number).filter(Number.isInteger);

async function toAnswer<Body>(response: Response): Promise<Answer<Body>> {
  const text = await response.text();
  const isJson = response.headers.get('content-type')?.includes('json') ?? false;
  return {
    status: response.status,
    headers: response.headers,
    body: (isJson ? JSON.parse(text) : { text }) as Body,
  };
}

async function freeUdpPort(): Promise<number> {
  const socket = createSocket('udp4');
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  const { port } = socket.address();
  socket.close();
  return port;
}

/** The caller's environment without anything that would steer a node. */
const cleanEnv = (): NodeJS.ProcessEnv =>
  Object.fromEntries(
    Object.entries(process.env).filter(
      ([name]) => !/^(MESH_|API_PORT|DISCOVERY_PORT|HEARTBEAT_|PEER_TIMEOUT|NODE_TEST)/.test(name),
    ),
  );
