/** Starts doomed nodes, and knows what their attempts print. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { asJobId } from '../../src/base/ids.ts';
import type { SupervisedLease } from '../../src/core/effects.ts';
import type { AttemptRef } from '../../src/core/messages.ts';
import { fence, release, until } from './attempts.ts';
import type { DoomedOrder } from './doomed-node.ts';
import { processesAbout } from './processes.ts';

export const LONG: SupervisedLease = { tag: 'leased', leftMs: 60_000 };

export interface Doomed {
  readonly child: ChildProcess;
  readonly pid: number;
  readonly supervisor: number;
  /** What it has printed since it was up. */
  readonly lines: string[];
}

export async function startDoomed(
  t: TestContext,
  folder: string,
  orders: readonly (string | DoomedOrder)[],
  socket?: string,
): Promise<Doomed> {
  const program = fileURLToPath(new URL('./doomed-node.ts', import.meta.url));
  const list = orders.map((each) =>
    typeof each === 'string' ? { command: each, lease: LONG } : each,
  );
  const args = [
    '--import',
    'tsx',
    program,
    folder,
    JSON.stringify(list),
    ...(socket ? [socket] : []),
  ];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  release(t, async () => {
    child.kill('SIGKILL');
    for (const pid of processesAbout(folder)) killOne(pid);
    await until('nothing is left of it', () => processesAbout(folder).length === 0);
  });
  assert(child.stdout);
  const lines: string[] = [];
  const reader = createInterface(child.stdout);
  const [line] = await once(reader, 'line');
  reader.on('line', (text) => lines.push(text));
  return { child, lines, ...JSON.parse(line) };
}

function killOne(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It ended meanwhile.
  }
}

export async function kill(child: ChildProcess): Promise<void> {
  const ended = once(child, 'exit');
  child.kill('SIGKILL');
  await ended;
}

export const doomedAttempt = (index: number): AttemptRef => ({
  job: asJobId(`doomed-${index}`),
  fence: fence(),
});

/** Empty before its file is made. */
export function outputOf(folder: string, index: number): string {
  const path = join(folder, 'output', `doomed-${index}`, `1.${fence().epoch.node}.1.stdout`);
  return existsSync(path) ? readFileSync(path, 'utf8') : '';
}

/** The numbers on the first line that it prints. */
export async function numbersOf(folder: string, index: number): Promise<number[]> {
  await until('a line', () => outputOf(folder, index).includes('\n'));
  return (outputOf(folder, index).split('\n')[0] ?? '').split(' ').map(Number);
}
