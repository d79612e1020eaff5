/**
 * Where a node of the run lives: plainly on this machine, or on a host of a LAN made of network
 * namespaces. There its API listens on a loopback that cannot be reached from here, so a relay
 * inside passes on what comes through a socket file, which no namespace hides.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { request } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { fetchBy } from '../client/https-fetch.ts';
import type { LanHost } from './lan.ts';
import { type Mark, processesOf } from './processes.ts';

export interface Host {
  /** Run before a command, it makes it run there, in the same process. */
  readonly prefix: readonly string[];
  readonly apiPort: number;
  /** Undefined: the global one reaches it. */
  readonly fetch: typeof fetch | undefined;
  /** Undefined: it has no cable of its own. */
  readonly lan: LanHost | undefined;
  /** The node, its supervisor and its jobs. */
  processes(): Promise<number[]>;
  close(): Promise<void>;
}

export const plainHost = (mark: Mark): Host => ({
  prefix: [],
  apiPort: 0,
  fetch: undefined,
  lan: undefined,
  processes: () => processesOf(mark),
  close: async () => undefined,
});

const LAN_API_PORT = 3000;

/** @param socketPath file to make; at most 100 bytes, as the system wants it */
export async function lanHost(lan: LanHost, socketPath: string): Promise<Host> {
  const relay = await startRelay(lan.prefix, socketPath);
  return {
    prefix: lan.prefix,
    apiPort: LAN_API_PORT,
    fetch: fetchBy(request, { socketPath }),
    lan,
    processes: async () => (await lan.pids()).filter((pid) => pid !== relay.pid),
    close: async () => {
      const ended = once(relay, 'exit');
      if (relay.exitCode === null && relay.signalCode === null && relay.kill()) await ended;
    },
  };
}

/** Arguments: socket file, port. Its input ends with the process that started it. */
const RELAY_SCRIPT = `
const net = require('node:net');
const [path, port] = process.argv.slice(1);
net.createServer((near) => {
  const far = net.connect(Number(port), '127.0.0.1');
  near.pipe(far).pipe(near);
  near.on('error', () => far.destroy()).on('close', () => far.destroy());
  far.on('error', () => near.destroy()).on('close', () => near.destroy());
}).listen(path);
process.stdin.resume().on('end', () => process.exit());
`;
const RELAY_DEADLINE_MS = 10_000;

async function startRelay(prefix: readonly string[], socketPath: string): Promise<ChildProcess> {
  const words = [...prefix, process.execPath, '-e', RELAY_SCRIPT, socketPath, String(LAN_API_PORT)];
  const [command = '', ...rest] = words;
  const relay = spawn(command, rest, { stdio: ['pipe', 'ignore', 'inherit'], detached: true });
  relay.on('error', () => undefined);
  for (let waited = 0; !existsSync(socketPath); waited += 20) {
    if (relay.exitCode !== null || waited > RELAY_DEADLINE_MS)
      throw new Error(`the relay of ${socketPath} did not start`);
    await sleep(20);
  }
  return relay;
}
