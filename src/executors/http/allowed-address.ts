/**
 * Which addresses a job may ask. Who may submit a job need not be somebody who may reach what the
 * executing machine can: its own services on loopback, the router, the cloud's metadata address
 * (169.254.169.254). So only addresses of the public Internet are taken, by a list of what is
 * public for IPv6 and of what is not for IPv4 (RFC 6890 and the registries it began).
 *
 * The check is made on the address that is connected to, inside the connection's own look-up: a
 * name that resolves to something else the second time (DNS rebinding) gains nothing.
 */
import { type LookupAddress, lookup as resolve } from 'node:dns';
import { BlockList, isIP, isIPv4, type LookupFunction } from 'node:net';

const NOT_PUBLIC_V4 = listOf('ipv4', [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.0.0.0', 24],
  ['192.0.2.0', 24],
  ['192.88.99.0', 24],
  ['192.168.0.0', 16],
  ['198.18.0.0', 15],
  ['198.51.100.0', 24],
  ['203.0.113.0', 24],
  ['224.0.0.0', 4],
  ['240.0.0.0', 4],
]);

const PUBLIC_V6 = listOf('ipv6', [['2000::', 3]]);
/** Teredo, documentation, and 6to4, which hides an IPv4 address. */
const NOT_PUBLIC_V6 = listOf('ipv6', [
  ['2001::', 23],
  ['2001:db8::', 32],
  ['2002::', 16],
  ['3fff::', 20],
]);

function listOf(family: 'ipv4' | 'ipv6', nets: readonly [string, number][]): BlockList {
  const list = new BlockList();
  for (const [net, bits] of nets) list.addSubnet(net, bits, family);
  return list;
}

/** @param address of either family, without brackets or zone */
export function isPublicAddress(address: string): boolean {
  if (isIPv4(address)) return !NOT_PUBLIC_V4.check(address, 'ipv4');
  const embedded = embeddedV4(address);
  if (embedded !== undefined) return isPublicAddress(embedded);
  if (isIP(address) !== 6) return false;
  return PUBLIC_V6.check(address, 'ipv6') && !NOT_PUBLIC_V6.check(address, 'ipv6');
}

/** Of ::ffff:a.b.c.d, in whichever spelling, and of 64:ff9b::a.b.c.d (NAT64, RFC 6052). */
function embeddedV4(address: string): string | undefined {
  if (isIP(address) !== 6 || address.includes('%')) return undefined;
  // The one spelling that the URL standard has.
  const plain = new URL(`http://[${address}]`).hostname.slice(1, -1);
  const match = /^(?:::ffff:|64:ff9b::)([0-9a-f]{1,4}):([0-9a-f]{1,4})$/.exec(plain);
  if (!match) return undefined;
  const [high, low] = [Number.parseInt(match[1] ?? '', 16), Number.parseInt(match[2] ?? '', 16)];
  return [high >> 8, high & 255, low >> 8, low & 255].join('.');
}

export const refusal = (host: string, address: string): string =>
  `${host === address ? address : `${host} is ${address}, which`} is no public address, and this node asks no others for jobs (its operator can allow that with --http-allow-private)`;

/** A look-up for connections that answers with allowed addresses or fails. */
export const guardedLookup =
  (isAllowed: (address: string) => boolean): LookupFunction =>
  (host, options, callback) => {
    resolve(host, { ...options, all: true }, (failure, addresses: LookupAddress[]) => {
      if (failure) return callback(failure, '');
      const wrong = addresses.find(({ address }) => !isAllowed(address));
      if (wrong) return callback(new Error(refusal(host, wrong.address)), '');
      const [first] = addresses;
      if (!first) return callback(new Error(`${host} has no address`), '');
      if (options.all) callback(null, addresses);
      else callback(null, first.address, first.family);
    });
  };
