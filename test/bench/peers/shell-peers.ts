/** What runs many commands on one machine, each two at a time. */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { findProgram } from '../frame/needs.ts';
import { type Contestant, type Need, type Stage, Unavailable } from '../frame/row.ts';

/** Runs `true` so many times by a shell. */
export type Runner = (jobs: number) => Promise<void>;

export interface ShellPeer extends Omit<Contestant, 'open'> {
  start(stage: Stage): Promise<{ run: Runner; close(): Promise<void> }>;
}

export const AT_ONCE = 2;
const run = promisify(execFile);

const fromStdin = (program: string, args: readonly string[]): Runner => {
  return async (jobs) => {
    const child = spawn(program, args, { stdio: ['pipe', 'ignore', 'inherit'] });
    const exited = once(child, 'exit');
    child.stdin.end('true\n'.repeat(jobs));
    const [code] = await exited;
    if (code !== 0) throw new Error(`${program} ended with ${code}`);
  };
};

const nothing = { isMesh: false, keeps: 'nothing' } as const;
const noClose = async (): Promise<void> => {};

const pathOf = (program: string): string => {
  const path = findProgram(program);
  if (path === undefined) throw new Unavailable(`${program} is not installed`);
  return path;
};

const gcc: Need = { program: 'gcc', debian: 'gcc' };

export const xargs: ShellPeer = {
  ...nothing,
  name: `xargs -P${AT_ONCE} sh -c`,
  start: async () => ({
    run: fromStdin('xargs', ['-P', String(AT_ONCE), '-I{}', 'sh', '-c', '{}']),
    close: noClose,
  }),
};

export const parallel: ShellPeer = {
  name: `GNU parallel -j${AT_ONCE}`,
  isMesh: false,
  keeps: 'output until it is printed',
  needs: [{ program: 'parallel', debian: 'parallel' }],
  start: async () => ({
    run: fromStdin(pathOf('parallel'), ['--will-cite', '-j', String(AT_ONCE)]),
    close: noClose,
  }),
};

/** Compiled here, as there is no other way to have it. */
export const spawnLimit: ShellPeer = {
  name: 'a loop in C, posix_spawn',
  isMesh: false,
  keeps: 'the last output',
  needs: [gcc],
  start: async ({ folder }) => {
    const program = join(folder, 'c-spawn');
    const source = new URL('c-spawn.c', import.meta.url).pathname;
    await run(pathOf('gcc'), ['-O2', '-o', program, source]);
    const output = join(folder, 'c-output');
    mkdirSync(output);
    return {
      run: async (jobs) => void (await run(program, [String(jobs), String(AT_ONCE), output])),
      close: noClose,
    };
  },
};

/** What a program in Node does that has commands to run. */
export const nodeSpawn: ShellPeer = {
  ...nothing,
  name: 'child_process in Node',
  start: async () => ({
    run: async (jobs) => {
      let left = jobs;
      const lane = async (): Promise<void> => {
        while (left-- > 0) await run('/bin/sh', ['-c', 'true']);
      };
      await Promise.all(Array.from({ length: AT_ONCE }, lane));
    },
    close: noClose,
  }),
};
