/**
 * A LAN on one machine: network namespaces, one per host, on a bridge in a namespace of its own.
 * Nothing of it appears in the machine's own network. Needs root and iproute2; iptables for what
 * is less than a pulled cable.
 *
 * The names of a LAN's namespaces begin with a prefix and the id of the process that made it, so
 * that a later one can tell what a crashed one has left.
 */
import { execFile, execFileSync } from 'node:child_process';
import { promisify } from 'node:util';
import { signalAll } from './processes.ts';

export interface LanHost {
  readonly namespace: string;
  readonly address: string;
  /** Runs a command as if it ran on this host. */
  readonly prefix: readonly string[];
  unplug(): void;
  plugIn(): void;
  /** Adds rules to its packet filter, each the words after `iptables -A`; settles with their removal. */
  filter(rules: readonly (readonly string[])[]): Promise<() => Promise<void>>;
  /** Of all processes that run on it. */
  pids(): Promise<number[]>;
}

const run = promisify(execFile);

export class Lan {
  readonly hosts: readonly LanHost[];
  private readonly names: string[] = [];
  private readonly bridge: string;

  constructor(name: string, count: number) {
    this.bridge = `${name}-br`;
    try {
      this.addNamespace(this.bridge);
      ip('-n', this.bridge, 'link', 'add', 'br0', 'type', 'bridge');
      ip('-n', this.bridge, 'link', 'set', 'br0', 'up');
      this.hosts = Array.from({ length: count }, (_, i) => this.addHost(`${name}-${i + 1}`, i + 1));
    } catch (failure) {
      this.remove();
      throw failure;
    }
  }

  private addHost(namespace: string, index: number): LanHost {
    const port = `v${index}`;
    const address = `10.77.0.${index}`;
    this.addNamespace(namespace);
    const peer = ['peer', 'name', 'eth0', 'netns', namespace];
    ip('link', 'add', port, 'netns', this.bridge, 'type', 'veth', ...peer);
    ip('-n', this.bridge, 'link', 'set', port, 'master', 'br0', 'up');
    const broadcast = ['broadcast', '10.77.0.255', 'dev', 'eth0'];
    ip('-n', namespace, 'address', 'add', `${address}/24`, ...broadcast);
    ip('-n', namespace, 'link', 'set', 'eth0', 'up');
    return {
      namespace,
      address,
      prefix: ['ip', 'netns', 'exec', namespace],
      unplug: () => ip('-n', this.bridge, 'link', 'set', port, 'down'),
      plugIn: () => ip('-n', this.bridge, 'link', 'set', port, 'up'),
      filter: (rules) => filter(namespace, rules),
      pids: () => pidsIn(namespace),
    };
  }

  private addNamespace(name: string): void {
    ip('netns', 'add', name);
    this.names.push(name);
    ip('-n', name, 'link', 'set', 'lo', 'up');
  }

  /** The processes in it must have ended. */
  remove(): void {
    for (const name of this.names.reverse()) ip('netns', 'del', name);
    this.names.length = 0;
  }
}

/** Why there can be no LAN here; undefined: there can. */
export function whyNoLan(): string | undefined {
  if (process.platform !== 'linux') return 'network namespaces are a thing of Linux';
  if (process.getuid?.() !== 0) return 'network namespaces need root';
  try {
    ip('netns', 'list');
    return undefined;
  } catch {
    return 'the program ip is missing (Debian: apt-get install iproute2)';
  }
}

/** Why packets cannot be filtered here; undefined: they can. */
export function whyNoFilter(): string | undefined {
  try {
    execFileSync('iptables', ['--version'], { stdio: 'ignore' });
    return undefined;
  } catch {
    return 'the program iptables is missing (Debian: apt-get install iptables)';
  }
}

/** Ends and removes the LANs of this prefix whose maker is no more. */
export async function removeStaleLans(
  prefix: string,
  isAlive: (pid: number) => boolean,
): Promise<void> {
  const { stdout } = await run('ip', ['netns', 'list']);
  for (const line of stdout.split('\n')) {
    const [name = ''] = line.split(' ');
    const maker = new RegExp(`^${prefix}(\\d+)-`).exec(name)?.[1];
    if (maker === undefined || isAlive(Number(maker))) continue;
    signalAll(await pidsIn(name), 'SIGKILL');
    ip('netns', 'del', name);
  }
}

async function filter(
  namespace: string,
  rules: readonly (readonly string[])[],
): Promise<() => Promise<void>> {
  const change = async (how: '-A' | '-D', rule: readonly string[]): Promise<void> => {
    // -w: another change may be under way.
    const words = ['netns', 'exec', namespace, 'iptables', '-w', '5', how, ...rule];
    await run('ip', words);
  };
  for (const rule of rules) await change('-A', rule);
  return async () => {
    for (const rule of rules) await change('-D', rule);
  };
}

async function pidsIn(namespace: string): Promise<number[]> {
  const { stdout } = await run('ip', ['netns', 'pids', namespace]);
  const pids = stdout.split('\n').filter((line) => line !== '');
  return pids.map(Number).sort((a, b) => a - b);
}

function ip(...args: string[]): void {
  execFileSync('ip', args, { stdio: ['ignore', 'ignore', 'pipe'] });
}
