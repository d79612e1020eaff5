/** The program as a user starts it, in a process of its own. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const PROGRAM = new URL('../../src/cli/mesh.ts', import.meta.url).pathname;

export interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A user of their own, so to say: own folders, and no settings of whoever runs the tests. */
export class TestUser {
  readonly home = mkdtempSync(join(tmpdir(), 'mesh-cli-'));
  readonly configDir = join(this.home, 'config');

  mesh(
    args: readonly string[],
    options: { input?: string; env?: Record<string, string> } = {},
  ): Promise<Ended> {
    return this.start(args, options).ended;
  }

  start(
    args: readonly string[],
    { input, env }: { input?: string; env?: Record<string, string> } = {},
  ): { child: ChildProcess; ended: Promise<Ended>; printed: (text: string) => Promise<void> } {
    const child = spawn(process.execPath, ['--import', 'tsx', PROGRAM, ...args], {
      env: {
        PATH: process.env.PATH,
        HOME: this.home,
        MESH_CONFIG_DIR: this.configDir,
        MESH_DATA_DIR: join(this.home, 'data'),
        ...env,
      },
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    const seen = { stdout: '', stderr: '' };
    for (const stream of ['stdout', 'stderr'] as const)
      child[stream].setEncoding('utf8').on('data', (text: string) => {
        seen[stream] += text;
      });
    child.stdin.on('error', () => undefined);
    child.stdin.end(input ?? '');
    const ended = once(child, 'close').then(([code]) => ({ code: code as number | null, ...seen }));
    const printed = async (text: string): Promise<void> => {
      while (!(seen.stdout + seen.stderr).includes(text)) {
        await Promise.race([
          once(child.stdout, 'data'),
          once(child.stderr, 'data'),
          ended.then((end) => Promise.reject(new Error(`ended: ${JSON.stringify(end)}`))),
        ]);
      }
    };
    return { child, ended, printed };
  }

  /** With a terminal, on which this is typed; what it shows is the stdout. */
  async onTerminal(args: readonly string[], typed: string): Promise<Ended> {
    const words = [process.execPath, '--import', 'tsx', PROGRAM, ...args];
    const child = spawn('script', ['-qec', words.join(' '), '/dev/null'], {
      env: { PATH: process.env.PATH, HOME: this.home, MESH_CONFIG_DIR: this.configDir },
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    let stdout = '';
    for await (const text of child.stdout.setEncoding('utf8')) {
      stdout += text;
      if (stdout.includes('[y/N]') && child.stdin.writable) child.stdin.end(typed);
    }
    if (child.exitCode === null) await once(child, 'exit');
    return { code: child.exitCode, stdout, stderr: '' };
  }

  remove(): void {
    rmSync(this.home, { recursive: true, force: true });
  }
}
