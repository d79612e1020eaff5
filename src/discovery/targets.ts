/** Where heartbeats go. */
import type { NetworkInterfaceInfo } from 'node:os';

export interface Target {
  readonly host: string;
  readonly port: number;
  /** Multicast leaves by the interface with this address; undefined: the route decides. */
  readonly via?: string;
}

type Interfaces = Readonly<Record<string, readonly NetworkInterfaceInfo[] | undefined>>;

/** Administratively scoped, local: routers do not carry it further (RFC 2365). */
export const MULTICAST_GROUP = '239.255.77.83';
/** Reaches all nodes of this machine, whatever its networks are. */
const LOOPBACK_BROADCAST = '127.255.255.255';

/**
 * Each interface's broadcast address, the loopback one, and the multicast group by each interface
 * but loopback. Directed broadcasts, since 255.255.255.255 leaves by one interface only; multicast
 * beside them, since some networks carry only the one or the other. In order, without repeats.
 */
export function broadcastTargets(interfaces: Interfaces, port: number): Target[] {
  const addresses = Object.values(interfaces)
    .flatMap((infos) => infos ?? [])
    .filter((info) => info.family === 'IPv4');
  const outside = addresses.filter((info) => !info.internal);
  const hosts = new Set([LOOPBACK_BROADCAST]);
  for (const info of outside) {
    const broadcast = broadcastOf(info);
    if (broadcast !== undefined) hosts.add(broadcast);
  }
  return [
    ...[...hosts].map((host) => ({ host, port })),
    ...outside.map((info) => ({ host: MULTICAST_GROUP, port, via: info.address })),
  ];
}

/** @returns undefined for networks of one or two addresses, which have none */
function broadcastOf(info: NetworkInterfaceInfo): string | undefined {
  const mask = info.netmask.split('.').map(Number);
  const isPointToPoint = (mask[3] ?? 0) >= 254;
  if (isPointToPoint) return undefined;
  return info.address
    .split('.')
    .map((part, index) => Number(part) | (~(mask[index] ?? 0) & 0xff))
    .join('.');
}

/** `host` or `host:port`, brackets around an IPv6 address. */
export function toPeerTarget(text: string, defaultPort: number): Target {
  const match = /^(\[[^\]]+\]|[^:]+)(?::(\d+))?$/.exec(text);
  const host = match?.[1]?.replace(/^\[|\]$/g, '') ?? text;
  return { host, port: match?.[2] ? Number(match[2]) : defaultPort };
}

/** As `mesh doctor` shows it. */
export function targetText({ host, port, via }: Target): string {
  const address = host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
  return via === undefined ? address : `${address} via ${via}`;
}
