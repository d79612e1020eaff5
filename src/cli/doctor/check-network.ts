/**
 * Whether this machine's network lets nodes find each other: a broadcast sent out of each
 * interface and heard again here, and the heartbeats that come in.
 */
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { type NetworkInterfaceInfo, networkInterfaces } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Finding, inArea } from './finding.ts';

const ECHO_WAIT_MS = 300;

/** Each IPv4 interface, by a port of its own: no node is disturbed. */
export async function checkBroadcast(): Promise<Finding[]> {
  const socket = createSocket('udp4');
  try {
    socket.bind(0);
    await once(socket, 'listening');
    socket.setBroadcast(true);
    const findings: Finding[] = [];
    for (const one of ipv4Interfaces()) findings.push(await echo(socket, one));
    if (findings.length > 0) return findings;
    const say = inArea('network');
    return [
      say(
        'problem',
        'This machine has no IPv4 interface.',
        'Nodes find each other over IPv4; see `ip address`.',
      ),
    ];
  } finally {
    socket.close();
  }
}

interface Interface {
  readonly name: string;
  readonly address: string;
  readonly broadcast: string;
  readonly isInternal: boolean;
}

function ipv4Interfaces(): Interface[] {
  return Object.entries(networkInterfaces()).flatMap(([name, addresses]) =>
    (addresses ?? [])
      .filter((one) => one.family === 'IPv4')
      .map((one) => ({
        name,
        address: one.address,
        broadcast: broadcastOf(one),
        isInternal: one.internal,
      })),
  );
}

function broadcastOf({ address, netmask }: NetworkInterfaceInfo): string {
  const mask = netmask.split('.').map(Number);
  return address
    .split('.')
    .map((part, i) => Number(part) | (~(mask[i] ?? 255) & 255))
    .join('.');
}

async function echo(socket: Socket, one: Interface): Promise<Finding> {
  const say = inArea('network');
  const { name, address, broadcast, isInternal } = one;
  const what = `${name} ${address}: broadcast to ${broadcast}`;
  const mark = `worker-mesh doctor ${process.pid} ${name} ${address}`;
  const heard = new AbortController();
  const onMessage = (bytes: Buffer): void => {
    if (bytes.toString() === mark) heard.abort();
  };
  socket.on('message', onMessage);
  try {
    await send(socket, mark, broadcast);
    await sleep(ECHO_WAIT_MS, undefined, { signal: heard.signal }).catch(() => undefined);
    if (heard.signal.aborted) return say('ok', `${what} is sent and heard.`);
    const advice = isInternal
      ? 'Nodes of this machine may not find each other: name them with --peers 127.0.0.1 (MESH_PEERS).'
      : `Does a firewall drop UDP? Where broadcast is not allowed, name the other machines with --peers (MESH_PEERS).`;
    return say(isInternal ? 'note' : 'problem', `${what} is sent, but not heard again.`, advice);
  } catch (failure) {
    const code = (failure as NodeJS.ErrnoException).code ?? 'unknown';
    return say(
      'problem',
      `${what} cannot be sent (${code}).`,
      'Is the interface up and allowed? Else name the other machines with --peers (MESH_PEERS).',
    );
  } finally {
    socket.off('message', onMessage);
  }
}

function send(socket: Socket, text: string, broadcast: string): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.send(text, socket.address().port, broadcast, (failure) =>
      failure ? reject(failure) : resolve(),
    );
  });
}

// ---------------------------------------------------------------- heartbeats

/** Of a heartbeat: magic, version, key id, salt of the node's life. The rest is sealed. */
const MAGIC = 'MESH';
const KEY_ID = { start: 5, end: 13 };
const SALT = { start: 13, end: 29 };
const MAX_SEEN = 10_000;

/** What is heard on the discovery port while it listens. Closes the socket. */
export async function listenForHeartbeats(
  socket: Socket,
  { keyId, waitMs }: { keyId: string | undefined; waitMs: number },
): Promise<Finding[]> {
  const lives = new Map<string, Set<string>>();
  let seen = 0;
  socket.on('message', (bytes: Buffer) => {
    if (bytes.length < SALT.end || bytes.toString('latin1', 0, MAGIC.length) !== MAGIC) return;
    if (++seen > MAX_SEEN) return;
    const mesh = bytes.toString('hex', KEY_ID.start, KEY_ID.end);
    const salts = lives.get(mesh) ?? new Set();
    lives.set(mesh, salts.add(bytes.toString('hex', SALT.start, SALT.end)));
  });
  await sleep(waitMs);
  socket.close();
  return heartbeatFindings(lives, keyId, waitMs);
}

function heartbeatFindings(
  lives: ReadonlyMap<string, ReadonlySet<string>>,
  keyId: string | undefined,
  waitMs: number,
): Finding[] {
  const say = inArea('meshes');
  const own = keyId === undefined ? 0 : (lives.get(keyId)?.size ?? 0);
  const others = [...lives].filter(([mesh]) => mesh !== keyId);
  const within = `within ${waitMs / 1000} s`;
  return [
    own > 0
      ? say('ok', `${own} ${own === 1 ? 'node' : 'nodes'} of this mesh heard ${within}.`)
      : say(
          'note',
          `No node of this mesh heard ${within}.`,
          'None runs, or heartbeats do not get here. Start one with: mesh up',
        ),
    ...others.map(([mesh, salts]) =>
      say(
        'note',
        `Another mesh is on this network: ${mesh}, ${salts.size} ${salts.size === 1 ? 'node' : 'nodes'}.`,
        'Should it be one mesh? Then print its key there with `mesh key` and take it here with `mesh join`.',
      ),
    ),
  ];
}
