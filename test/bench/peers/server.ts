/** Servers of peers: on loopback, with a folder of their own, below the contestant's process. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { openSync, readFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { findProgram, programEnv } from '../frame/needs.ts';
import { Unavailable } from '../frame/row.ts';

const READY_MS = 30_000;
const STOP_MS = 8000;

export interface ServerOptions {
  readonly folder: string;
  readonly program: string;
  readonly args: readonly string[];
  /** Answers there once it is up: a TCP port of loopback or the path of a socket. */
  readonly at: number | string;
  readonly uid?: number | undefined;
  readonly gid?: number | undefined;
  readonly stopBy?: NodeJS.Signals;
}

export interface Server {
  readonly pid: number;
  stop(): Promise<void>;
}

export async function startServer(options: ServerOptions): Promise<Server> {
  const { folder, program, args, at, uid, gid, stopBy = 'SIGTERM' } = options;
  const path = findProgram(program);
  if (path === undefined) throw new Unavailable(`${program} is not installed`);
  const logFile = join(folder, `${program}.log`);
  const log = openSync(logFile, 'a');
  const child = spawn(path, args, {
    cwd: folder,
    env: programEnv(),
    stdio: ['ignore', log, log],
    ...(uid !== undefined && { uid, gid: gid ?? uid }),
  });
  await isUp(child, at, logFile);
  return { pid: child.pid ?? 0, stop: () => stop(child, stopBy) };
}

async function isUp(child: ChildProcess, at: number | string, log: string): Promise<void> {
  const deadline = performance.now() + READY_MS;
  while (!(await answers(at))) {
    const { exitCode, spawnfile } = child;
    if (exitCode !== null || performance.now() > deadline) {
      const what = exitCode === null ? 'does not answer' : `ended with ${exitCode}`;
      throw new Error(`${spawnfile} ${what}: ${readFileSync(log, 'utf8').trim().slice(-300)}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

function answers(at: number | string): Promise<boolean> {
  const socket = typeof at === 'number' ? connect(at, '127.0.0.1') : connect(at);
  return new Promise((resolve) => {
    socket.on('connect', () => resolve(true));
    socket.on('error', () => resolve(false));
  }).finally(() => socket.destroy()) as Promise<boolean>;
}

/** A child that has a name for its end, and is killed when it does not take it. */
export async function stop(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, 'exit');
  child.kill(signal);
  const timer = setTimeout(() => child.kill('SIGKILL'), STOP_MS);
  await exited;
  clearTimeout(timer);
}

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return typeof address === 'object' && address ? address.port : 0;
}
