/** What a node says of itself, from its settings and its machine. */
import { statfsSync } from 'node:fs';
import { availableParallelism, hostname, networkInterfaces, totalmem } from 'node:os';
import { MeshError } from '../base/errors.ts';
import type { NodeId } from '../base/ids.ts';
import type { Config } from '../config.ts';
import type { Hardware, NodeFacts } from '../core/facts.ts';
import type { Announcement } from '../discovery/discovery.ts';
import { isLoopbackHost } from '../http/loopback.ts';
import type { MeshCa } from '../links/mesh-ca.ts';
import type { MeshNode } from '../node/mesh-node.ts';
import { statusOf } from '../node/peer-view.ts';
import { VERSION } from '../version.ts';

export function factsOf(config: Config, node: NodeId): NodeFacts {
  return {
    node,
    name: config.name,
    hostname: hostname(),
    platform: `${process.platform}-${process.arch}`,
    version: VERSION,
    pid: process.pid,
    hosts: ownAddresses(),
    linkPort: 0,
    apiUrl: '',
    slots: config.slots,
    // Filled in once the executors have looked.
    taskTypes: [],
    typeVersions: {},
    hardware: hardwareOf(config.dataDir),
    labels: config.labels,
    capabilities: config.capabilities,
  };
}

/** Undefined: all that are there. @throws MeshError BAD_SETTING */
export function wantedTypes(
  { taskTypes }: Config,
  known: readonly { readonly name: string }[],
): readonly string[] | undefined {
  if (taskTypes.includes('all')) return undefined;
  const names = known.map(({ name }) => name).sort();
  const unknown = taskTypes.filter((type) => !names.includes(type));
  if (unknown.length === 0) return taskTypes;
  throw new MeshError(
    'BAD_SETTING',
    `The setting task-types names ${unknown.join(', ')}, which this program cannot run. It knows: ${names.join(', ')}, or all.`,
  );
}

function hardwareOf(dataDir: string): Hardware {
  return {
    cores: availableParallelism(),
    memoryBytes: totalmem(),
    diskBytes: diskOf(dataDir)?.bytes ?? 0,
  };
}

/** Undefined: the system does not tell, or the folder is not there yet. */
export function diskOf(folder: string): { bytes: number; freeBytes: number } | undefined {
  try {
    const { bsize, blocks, bavail } = statfsSync(folder);
    return { bytes: bsize * blocks, freeBytes: bsize * bavail };
  } catch {
    return undefined;
  }
}

export function announcementOf(node: MeshNode): Announcement {
  const { hosts, linkPort, name, version } = node.facts;
  const status = statusOf({ state: 'alive', load: node.load() });
  return { linkPort, status, address: `${hosts[0] ?? '127.0.0.1'}:${linkPort}`, name, version };
}

/** Where other machines may reach this one; IPv4 first. */
function ownAddresses(): string[] {
  const all = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
  const outside = all.filter((address) => !address.internal && !address.address.startsWith('fe80'));
  const rank = (family: string): number => (family === 'IPv4' ? 0 : 1);
  return outside
    .sort((a, b) => rank(a.family) - rank(b.family))
    .slice(0, 8)
    .map((address) => address.address);
}

/** An API on all addresses answers with a loopback one, which is of no use to other machines. */
export function reachableUrl(url: string, config: Config): string {
  const [address] = ownAddresses();
  if (isLoopbackHost(config.apiHost) || address === undefined) return url;
  const host = address.includes(':') ? `[${address}]` : address;
  return url.replace(/\/\/(127\.0\.0\.1|\[::1\])(?=:|$)/, `//${host}`);
}

export function serverCertificate(ca: MeshCa, config: Config): { cert: string; key: string } {
  const hosts = [
    hostname(),
    'localhost',
    '127.0.0.1',
    '::1',
    ...ownAddresses(),
    ...config.apiNames,
  ];
  const wildcards = ['0.0.0.0', '::'];
  const named = wildcards.includes(config.apiHost) ? hosts : [config.apiHost, ...hosts];
  const { certPem, keyPem } = ca.issueServerCertificate({ hosts: [...new Set(named)] });
  return { cert: certPem + ca.caPem, key: keyPem };
}
