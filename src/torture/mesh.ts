/**
 * The mesh under torture: its folder, its hosts, its nodes. Everything it makes bears the id of
 * this process in its name, and the next run removes what a crashed one has left. It has its own
 * mesh key and discovery port, so it never meets a mesh that really works here.
 */
import { lstatSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freeUdpPort, NodeWatch } from '../cli/local-nodes.ts';
import { type Host, lanHost, plainHost } from './host.ts';
import { Lan, removeStaleLans, whyNoLan } from './lan.ts';
import { TortureNode } from './node.ts';
import { commandOf, hasProcFolder, killAtOnce, type Mark, processesOf } from './processes.ts';
import { removeStaleDisks, SmallDisk } from './small-disk.ts';

/** Of folders and namespaces; the id of the process that made them follows. */
const PREFIX = 'mesh-torture-';
const LAN_DISCOVERY_PORT = 8080;
const GONE_DEADLINE_MS = 10_000;
const POLL_MS = 100;

export interface MeshOptions {
  readonly nodes: number;
  readonly hasNamespaces: boolean;
  readonly hasSmallDisk: boolean;
  readonly entry: string;
  readonly onOwnEnd: (node: TortureNode, how: string) => void;
}

export class TortureMesh {
  /** All it writes is below it. */
  readonly folder: string;
  readonly ledger: string;
  readonly run: string;
  readonly nodes: TortureNode[] = [];
  disk: SmallDisk | undefined;
  private readonly options: MeshOptions;
  private readonly hosts: Host[] = [];
  private readonly watch = new NodeWatch();
  private lan: Lan | undefined;

  constructor(options: MeshOptions) {
    this.options = options;
    this.run = `${PREFIX}${process.pid}`;
    this.folder = join(tmpdir(), this.run);
    this.ledger = join(this.folder, 'ledger');
  }

  /** One after the other: the first makes the key that the others find. */
  async start(signal: AbortSignal): Promise<void> {
    await removeRemains();
    for (const folder of [this.folder, this.ledger, join(this.folder, 'logs')])
      mkdirSync(folder, { mode: 0o700 });
    const names = Array.from({ length: this.options.nodes }, (_, i) => `node${i + 1}`);
    const { hasNamespaces, hasSmallDisk } = this.options;
    if (hasNamespaces) this.lan = new Lan(this.run, names.length);
    if (hasSmallDisk) this.disk = new SmallDisk(this.dataDirOf(names.at(-1) ?? ''));
    const discoveryPort = hasNamespaces ? LAN_DISCOVERY_PORT : await freeUdpPort();
    for (const [i, name] of names.entries()) {
      const host = await this.hostFor(name, i);
      this.hosts.push(host);
      this.nodes.push(this.nodeAt(name, host, discoveryPort));
    }
    for (const node of this.nodes) await node.start(signal);
  }

  private dataDirOf(name: string): string {
    return join(this.folder, name);
  }

  private async hostFor(name: string, index: number): Promise<Host> {
    const lan = this.lan?.hosts[index];
    if (lan) return lanHost(lan, join(this.folder, `${name}.sock`));
    return plainHost({ run: this.run, node: name, folder: this.dataDirOf(name) });
  }

  private nodeAt(name: string, host: Host, discoveryPort: number): TortureNode {
    return new TortureNode({
      name,
      entry: this.options.entry,
      run: this.run,
      host,
      dataDir: this.dataDirOf(name),
      configDir: join(this.folder, 'config'),
      logFile: join(this.folder, 'logs', `${name}.log`),
      discoveryPort,
      onStart: (pid) => this.watch.add(pid),
      onEnd: (pid) => this.watch.remove(pid),
      onOwnEnd: (node, how) => this.options.onOwnEnd(node, how),
    });
  }

  /** Of a host that stands still: they must go on when this process is killed. */
  watchAll(pids: readonly number[]): void {
    for (const pid of pids) this.watch.add(pid);
  }

  unwatchAll(pids: readonly number[]): void {
    for (const pid of pids) this.watch.remove(pid);
  }

  get living(): TortureNode[] {
    return this.nodes.filter((node) => node.isRunning);
  }

  // -------------------------------------------------------------- the end

  /** Ends all nodes by SIGINT; says what is left when they have ended, as sentences. */
  async leave(): Promise<string[]> {
    const ended = await Promise.all(this.nodes.map((node) => node.stop()));
    const late = this.nodes.filter((_, i) => !ended[i]);
    for (const host of this.hosts) await host.close();
    const left = [
      ...late.map(({ name }) => `${name} did not end by SIGINT and was killed`),
      ...(await this.processesLeft()),
      ...this.nodes.flatMap(filesLeft),
    ];
    await this.close();
    return left;
  }

  private async processesLeft(): Promise<string[]> {
    if (!hasProcFolder()) return [];
    let pids = await processesOf(this.mark);
    for (let waited = 0; pids.length > 0 && waited < GONE_DEADLINE_MS; waited += POLL_MS) {
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
      pids = await processesOf(this.mark);
    }
    return Promise.all(pids.map(async (pid) => `process ${pid}: ${await commandOf(pid)}`));
  }

  /** At once: nothing of it runs afterwards. What it wrote stays. */
  async close(): Promise<void> {
    for (const node of this.nodes) node.expectEnd();
    for (const host of this.hosts) await killAtOnce(() => host.processes());
    await Promise.all(this.nodes.map((node) => node.kill()));
    for (const host of this.hosts) await host.close();
    this.hosts.length = 0;
    await killAtOnce(() => processesOf(this.mark));
    this.lan?.remove();
    this.lan = undefined;
    this.watch.dismiss();
  }

  /** After it was closed, and what is worth keeping was copied. */
  remove(): void {
    this.disk?.remove();
    this.disk = undefined;
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
  }

  private get mark(): Mark {
    return { run: this.run, folder: this.folder };
  }
}

/** Working folders of attempts, and lists of what runs: both are empty when nothing does. */
function filesLeft({ name, dataDir }: TortureNode): string[] {
  return ['work', 'running'].flatMap((folder) =>
    namesIn(join(dataDir, folder)).map((file) => `${name}: the file ${folder}/${file}`),
  );
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    // It never ran anything.
    return [];
  }
}

/** Of runs that were killed: their processes, namespaces, disks and folders. */
async function removeRemains(): Promise<void> {
  if (whyNoLan() === undefined) await removeStaleLans(PREFIX, isAlive);
  for (const name of namesIn(tmpdir())) {
    const maker = new RegExp(`^${PREFIX}(\\d+)$`).exec(name)?.[1];
    const folder = join(tmpdir(), name);
    if (maker === undefined || isAlive(Number(maker)) || !isOwn(folder)) continue;
    await killAtOnce(() => processesOf({ run: name, folder }));
    if (hasProcFolder()) removeStaleDisks(folder);
    rmSync(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
  }
}

const isOwn = (folder: string): boolean => lstatSync(folder).uid === process.getuid?.();

/** This process itself cannot have left anything before it began. */
function isAlive(pid: number): boolean {
  if (pid === process.pid) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (failure) {
    return (failure as NodeJS.ErrnoException).code === 'EPERM';
  }
}
