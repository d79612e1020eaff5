/**
 * A LAN on one machine: network namespaces, one per host, on a bridge in a namespace of its own.
 * Nothing of it appears in the machine's own network. Needs root and iproute2.
 */
import { execFileSync } from 'node:child_process';

export interface Host {
  readonly address: string;
  /** Runs a command as if it ran on this host. */
  readonly prefix: readonly string[];
  unplug(): void;
  plugIn(): void;
}

export class Lan {
  readonly hosts: readonly Host[];
  private readonly names: string[] = [];
  private readonly bridge: string;

  /** @param name short: interface names have 15 letters at most */
  constructor(name: string, count: number) {
    this.bridge = `${name}-br`;
    this.addNamespace(this.bridge);
    ip('-n', this.bridge, 'link', 'add', 'br0', 'type', 'bridge');
    ip('-n', this.bridge, 'link', 'set', 'br0', 'up');
    this.hosts = Array.from({ length: count }, (_, i) => this.addHost(`${name}-${i + 1}`, i + 1));
  }

  private addHost(namespace: string, index: number): Host {
    const port = `v${index}`;
    const address = `10.77.0.${index}`;
    this.addNamespace(namespace);
    ip(
      'link',
      'add',
      port,
      'netns',
      this.bridge,
      'type',
      'veth',
      'peer',
      'name',
      'eth0',
      'netns',
      namespace,
    );
    ip('-n', this.bridge, 'link', 'set', port, 'master', 'br0', 'up');
    ip(
      '-n',
      namespace,
      'address',
      'add',
      `${address}/24`,
      'broadcast',
      '10.77.0.255',
      'dev',
      'eth0',
    );
    ip('-n', namespace, 'link', 'set', 'eth0', 'up');
    return {
      address,
      prefix: ['ip', 'netns', 'exec', namespace],
      unplug: () => ip('-n', this.bridge, 'link', 'set', port, 'down'),
      plugIn: () => ip('-n', this.bridge, 'link', 'set', port, 'up'),
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

function ip(...args: string[]): void {
  execFileSync('ip', args, { stdio: ['ignore', 'ignore', 'pipe'] });
}
