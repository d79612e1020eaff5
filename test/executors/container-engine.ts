/**
 * A real container engine for one test file: Debian's dockerd with folders and a socket of its
 * own, and an image made of busybox. It takes root; without it, or without an engine, the tests
 * say why they cannot run, and fail where they are meant to (CI=true).
 */
import assert from 'node:assert/strict';
import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { copyFile } from 'node:fs/promises';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { until } from './attempts.ts';

const run = promisify(execFile);
const START_DEADLINE_MS = 60_000;

export const IMAGE = 'probe:1';

export interface ContainerEngine {
  readonly socket: string;
  /** JSON of the answer. */
  ask(path: string, method?: string, body?: object): Promise<unknown>;
  /** Its process. */
  readonly pid: number;
  /** The root of the image, as a tar file. */
  readonly tar: string;
  /** Ids of all containers, running or not. */
  containers(): Promise<string[]>;
  stop(): Promise<void>;
}

/** Undefined: it can be had here. */
export function whyNoEngine(): string | undefined {
  if (process.platform !== 'linux') return 'it takes Linux';
  if (process.getuid?.() !== 0) return 'dockerd takes root';
  const missing = ['dockerd', 'containerd', 'runc', 'busybox'].filter((name) => !isThere(name));
  if (missing.length > 0) return `${missing.join(', ')} not installed (.ci/test-packages)`;
  return undefined;
}

/** For the options of a test. */
export function skipWithoutEngine(): { skip?: string } {
  const why = whyNoEngine();
  if (why === undefined) return {};
  assert(process.env.CI !== 'true', `a container engine is needed: ${why}`);
  return { skip: `a container engine is needed: ${why}` };
}

function isThere(program: string): boolean {
  try {
    execFileSync('/bin/sh', ['-c', `command -v ${program}`], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

export async function startEngine(): Promise<ContainerEngine> {
  const folder = mkdtempSync(join(tmpdir(), 'mesh-engine-'));
  const socket = join(folder, 'engine.sock');
  const log = openSync(join(folder, 'log'), 'a');
  const args = ['--iptables=false', '--ip6tables=false', '--bridge=none', '--storage-driver=vfs'];
  const folders = [`--data-root=${folder}/root`, `--exec-root=${folder}/exec`];
  const files = [`--pidfile=${folder}/pid`, `--host=unix://${socket}`];
  const daemon = spawn('dockerd', [...args, ...folders, ...files], {
    stdio: ['ignore', log, log],
    // As every part of it would look for a proxy.
    env: { PATH: `${process.env.PATH}:/usr/sbin:/sbin`, HOME: folder },
  });
  closeSync(log);
  const engine: ContainerEngine = {
    socket,
    pid: daemon.pid ?? assert.fail('no process'),
    tar: join(folder, 'image.tar'),
    ask: (path, method = 'GET', body) => ask(socket, path, method, body),
    containers: async () => {
      const all = (await ask(socket, '/containers/json?all=1', 'GET')) as { Id: string }[];
      return all.map(({ Id }) => Id);
    },
    stop: () => stop(daemon, folder),
  };
  try {
    await untilReady(daemon, socket, join(folder, 'log'));
    await importImage(socket, folder);
    return engine;
  } catch (failure) {
    await engine.stop();
    throw failure;
  }
}

async function untilReady(daemon: ChildProcess, socket: string, log: string): Promise<void> {
  const deadline = performance.now() + START_DEADLINE_MS;
  for (;;) {
    if (
      await ask(socket, '/version', 'GET').then(
        () => true,
        () => false,
      )
    )
      return;
    const isOver = daemon.exitCode !== null || performance.now() > deadline;
    assert(!isOver, `dockerd does not start: ${readFileSync(log, 'utf8').slice(-2000)}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** busybox and its names, nothing else. */
async function importImage(socket: string, folder: string): Promise<void> {
  const root = join(folder, 'image');
  mkdirSync(join(root, 'bin'), { recursive: true });
  const { stdout: path } = await run('/bin/sh', ['-c', 'command -v busybox']);
  await copyFile(path.trim(), join(root, 'bin/busybox'));
  for (const name of ['sh', 'cat', 'echo', 'sleep', 'head', 'tail', 'ls', 'id', 'env', 'true'])
    symlinkSync('busybox', join(root, 'bin', name));
  mkdirSync(join(root, 'etc'));
  writeFileSync(join(root, 'etc/passwd'), 'root:x:0:0::/:/bin/sh\nguest:x:4321:4321::/:/bin/sh\n');
  const tar = join(folder, 'image.tar');
  await run('tar', ['-C', root, '-cf', tar, '.']);
  const body = readFileSync(tar);
  await ask(socket, `/images/create?fromSrc=-&repo=probe&tag=1`, 'POST', body);
}

async function stop(daemon: ChildProcess, folder: string): Promise<void> {
  if (daemon.exitCode === null && daemon.signalCode === null) {
    const ended = once(daemon, 'exit');
    daemon.kill('SIGTERM');
    await ended;
  }
  // It makes its data folder a mount of its own, and leaves that.
  await run('umount', [join(folder, 'root')]).catch(() => {});
  await until('the folders of the engine are free', async () => {
    try {
      rmSync(folder, { recursive: true, force: true });
      return true;
    } catch {
      return false;
    }
  });
}

async function ask(
  socketPath: string,
  path: string,
  method: string,
  body?: object,
): Promise<unknown> {
  const isTar = Buffer.isBuffer(body);
  const headers = body && { 'content-type': isTar ? 'application/x-tar' : 'application/json' };
  const sent = request({ socketPath, path, method, ...(headers && { headers }), agent: false });
  sent.end(isTar || body === undefined ? body : JSON.stringify(body));
  const [answer] = await once(sent, 'response');
  let text = '';
  for await (const chunk of answer) text += chunk;
  assert(answer.statusCode < 400, `${method} ${path}: ${text}`);
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
