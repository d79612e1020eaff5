/**
 * Which user of this machine is at the other end of a loopback connection. Linux lists every TCP
 * socket with its owner in /proc/net/tcp (proc(5)); elsewhere nothing is known and a token is
 * asked for.
 *
 * Reading that file takes the kernel 6 to 20 ms, so it happens off the loop, once for each
 * connection, and connections that wait at the same time share one reading. Only rows of
 * established connections count: a socket that is being closed is listed as root's.
 */
import { readFile } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { isLoopback } from './loopback.ts';

const IPV6_LOOPBACK = '00000000000000000000000001000000';
const IPV4_MAPPED_PREFIX = '0000000000000000FFFF0000';
const ESTABLISHED = '01';

export class ConnectionUsers {
  private readonly known = new WeakMap<Socket, Promise<number | undefined>>();
  private readonly ipv4 = new SharedReading('/proc/net/tcp');
  private readonly ipv6 = new SharedReading('/proc/net/tcp6');

  /** Its uid; undefined: not known. */
  of(socket: Socket): Promise<number | undefined> {
    const known = this.known.get(socket);
    if (known) return known;
    const asked = this.lookUp(socket);
    this.known.set(socket, asked);
    return asked;
  }

  private async lookUp(socket: Socket): Promise<number | undefined> {
    const { remoteAddress, remotePort, localAddress, localPort } = socket;
    if (!remoteAddress || !remotePort || !localAddress || !localPort) return undefined;
    if (!isLoopback(remoteAddress)) return undefined;
    const client = { address: remoteAddress, port: remotePort };
    const server = { address: localAddress, port: localPort };
    // The client's own row: a client by IPv4 is in the first table even if the server has IPv6.
    return (
      findUid(await this.ipv4.text(), rowOf(client, server, 'ipv4')) ??
      findUid(await this.ipv6.text(), rowOf(client, server, 'ipv6'))
    );
  }
}

/** One reading at a time; whoever asks while one runs gets the next one, since it may be too old. */
class SharedReading {
  private readonly path: string;
  private running: Promise<string> | undefined;
  private waiting: Promise<string> | undefined;

  constructor(path: string) {
    this.path = path;
  }

  text(): Promise<string> {
    if (this.waiting) return this.waiting;
    const next: Promise<string> = (this.running ?? Promise.resolve()).then(async () => {
      this.waiting = undefined;
      this.running = next;
      try {
        return await readFile(this.path, 'latin1');
      } catch {
        // Not Linux, or /proc is hidden: nobody's user is known, and tokens are asked for.
        return '';
      } finally {
        if (this.running === next) this.running = undefined;
      }
    });
    this.waiting = next;
    return next;
  }
}

interface End {
  readonly address: string;
  readonly port: number;
}

type Family = 'ipv4' | 'ipv6';

function rowOf(own: End, other: End, family: Family): string | undefined {
  const [local, remote] = [endText(own, family), endText(other, family)];
  return local && remote && ` ${local} ${remote} ${ESTABLISHED} `;
}

function findUid(table: string, row: string | undefined): number | undefined {
  const at = row === undefined ? -1 : table.indexOf(row);
  if (at < 0) return undefined;
  const end = table.indexOf('\n', at);
  const columns = table
    .slice(at, end < 0 ? undefined : end)
    .trim()
    .split(/\s+/);
  const uid = Number(columns[6]);
  return Number.isInteger(uid) ? uid : undefined;
}

/** Each 32-bit word of an address is printed in the machine's byte order (little-endian here). */
function endText({ address, port }: End, family: Family): string | undefined {
  const portHex = port.toString(16).toUpperCase().padStart(4, '0');
  if (address === '::1') return family === 'ipv6' ? `${IPV6_LOOPBACK}:${portHex}` : undefined;
  const octets = address
    .replace(/^::ffff:/i, '')
    .split('.')
    .map(Number);
  const hex = octets
    .reverse()
    .map((octet) => octet.toString(16).toUpperCase().padStart(2, '0'))
    .join('');
  return `${family === 'ipv6' ? IPV4_MAPPED_PREFIX : ''}${hex}:${portHex}`;
}
