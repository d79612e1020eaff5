/** Which process has a port open, as far as this user may see it (Linux). */
import fs from 'node:fs';

const LISTENING = '0A';
/** UDP sockets have one state. */
const BOUND = '07';

/** `pid 4711 (node)`; undefined: not known. */
export function portHolder(protocol: 'tcp' | 'udp', port: number): string | undefined {
  const inodes = new Set([...inodesOf(protocol, port), ...inodesOf(`${protocol}6`, port)]);
  if (inodes.size === 0) return undefined;
  const holders = list('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => hasOneOf(pid, inodes))
    .map((pid) => `pid ${pid} (${read(`/proc/${pid}/comm`).trim() || 'unknown'})`);
  return holders.length > 0 ? holders.slice(0, 4).join(', ') : 'a process of another user';
}

function inodesOf(table: string, port: number): string[] {
  const suffix = `:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  const state = table.startsWith('tcp') ? LISTENING : BOUND;
  return read(`/proc/net/${table}`)
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter((columns) => columns[1]?.endsWith(suffix) && columns[3] === state)
    .map((columns) => columns[9] ?? '');
}

function hasOneOf(pid: string, inodes: ReadonlySet<string>): boolean {
  return list(`/proc/${pid}/fd`).some((fd) => {
    const inode = /^socket:\[(\d+)\]$/.exec(linkOf(`/proc/${pid}/fd/${fd}`))?.[1];
    return inode !== undefined && inodes.has(inode);
  });
}

/** Processes come and go, and those of others are closed to us: what cannot be read is empty. */
function quietly<T>(look: () => T, otherwise: T): T {
  try {
    return look();
  } catch {
    return otherwise;
  }
}

const list = (folder: string): string[] => quietly(() => fs.readdirSync(folder), []);
const read = (file: string): string => quietly(() => fs.readFileSync(file, 'latin1'), '');
const linkOf = (file: string): string => quietly(() => fs.readlinkSync(file), '');
