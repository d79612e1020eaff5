/**
 * gearmand, its queue in memory (its default), and two workers of its own command line that run
 * each job by a shell. The commands come from two clients in batch mode, each of which waits for
 * one job before it gives the next.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { findProgram, programEnv } from '../frame/needs.ts';
import { Unavailable } from '../frame/row.ts';
import { freePort, startServer, stop } from './server.ts';
import { AT_ONCE, type ShellPeer } from './shell-peers.ts';

const FUNCTION = 'run';

export const gearman: ShellPeer = {
  name: 'gearman, its own worker',
  isMesh: false,
  keeps: 'nothing: in memory only',
  needs: [
    { program: 'gearmand', debian: 'gearman-job-server' },
    { program: 'gearman', debian: 'gearman-tools' },
  ],
  start: async ({ folder }) => {
    const program = findProgram('gearman');
    if (program === undefined) throw new Unavailable('gearman is not installed');
    const port = await freePort();
    const args = ['-L', '127.0.0.1', '-p', String(port), '-l', 'stderr'];
    const server = await startServer({ folder, program: 'gearmand', args, at: port });
    const place = ['-h', '127.0.0.1', '-p', String(port), '-f', FUNCTION];
    const workers = Array.from({ length: AT_ONCE }, () =>
      spawn(program, [...place, '-w', '--', '/bin/sh', '-s'], {
        env: programEnv(),
        stdio: 'ignore',
      }),
    );
    return {
      run: async (jobs) => {
        const each = Math.ceil(jobs / AT_ONCE);
        const clients = Array.from({ length: AT_ONCE }, async (_, i) => {
          const client = spawn(program, [...place, '-n'], {
            env: programEnv(),
            stdio: ['pipe', 'ignore', 'inherit'],
          });
          await ended(client, Math.min(each, jobs - i * each));
        });
        await Promise.all(clients);
      },
      close: async () => {
        await Promise.all(workers.map((worker) => stop(worker, 'SIGKILL')));
        await server.stop();
      },
    };
  },
};

async function ended(client: ChildProcess, jobs: number): Promise<void> {
  const exited = once(client, 'exit');
  client.stdin?.end('true\n'.repeat(jobs));
  const [code] = await exited;
  if (code !== 0) throw new Error(`gearman ended with ${code}`);
}
