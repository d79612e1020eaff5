/**
 * beanstalkd with its log on disk (`-b`), written before each answer and given to fsync every 50 ms
 * (its default). Two workers in one process take a command each and run it by `sh -c`.
 */

import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { freePort, startServer } from './server.ts';
import { AT_ONCE, type ShellPeer } from './shell-peers.ts';
import { type Counter, WorkerChild } from './worker-child.ts';

export const beanstalkd: ShellPeer = {
  name: 'beanstalkd -b, a small worker',
  isMesh: false,
  keeps: 'one disk, fsync every 50 ms',
  needs: [{ program: 'beanstalkd', debian: 'beanstalkd' }],
  start: async ({ folder }) => {
    const log = join(folder, 'binlog');
    mkdirSync(log);
    const port = await freePort();
    const args = ['-l', '127.0.0.1', '-p', String(port), '-b', log];
    const server = await startServer({ folder, program: 'beanstalkd', args, at: port });
    const worker = await WorkerChild.start('beanstalkd', { port });
    const client = await Talk.open(port);
    let submitted = 0;
    return {
      run: async (jobs) => {
        const done = Array.from({ length: jobs }, () => client.ask('put 0 0 60 4\r\ntrue\r\n'));
        await Promise.all(done);
        submitted += jobs;
        await worker.hasDone(submitted);
      },
      close: async () => {
        client.close();
        await worker.stop();
        await server.stop();
      },
    };
  },
};

export async function work({ port }: { port: number }, counter: Counter): Promise<void> {
  for (let i = 0; i < AT_ONCE; i++) void serve(await Talk.open(port), counter);
}

async function serve(talk: Talk, counter: Counter): Promise<void> {
  for (;;) {
    const { id, body } = await talk.reserve();
    await new Promise((resolve) => execFile('/bin/sh', ['-c', body], resolve));
    await talk.ask(`delete ${id}\r\n`);
    counter.one();
  }
}

/** Its protocol: answers are lines in the order of the questions; `RESERVED` has a body after it. */
class Talk {
  private readonly socket: Socket;
  private received = '';
  private readonly waiting: ((line: string) => void)[] = [];

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.setNoDelay(true);
    socket.on('error', () => {});
    socket.on('data', (chunk) => {
      this.received += chunk.toString('latin1');
      this.read();
    });
  }

  static async open(port: number): Promise<Talk> {
    const socket = connect(port, '127.0.0.1');
    await once(socket, 'connect');
    return new Talk(socket);
  }

  ask(question: string): Promise<string> {
    this.socket.write(question);
    return new Promise((resolve) => this.waiting.push(resolve));
  }

  async reserve(): Promise<{ id: string; body: string }> {
    const answer = await this.ask('reserve\r\n');
    const [head = '', body = ''] = answer.split('\r\n');
    return { id: head.split(' ')[1] ?? '', body };
  }

  close(): void {
    this.socket.destroy();
  }

  private read(): void {
    for (;;) {
      const end = this.received.indexOf('\r\n');
      if (end < 0) return;
      const line = this.received.slice(0, end);
      const body = line.startsWith('RESERVED ') ? Number(line.split(' ')[2]) + 2 : 0;
      if (this.received.length < end + 2 + body) return;
      const answer = this.received.slice(0, end + 2 + body);
      this.received = this.received.slice(answer.length);
      this.waiting.shift()?.(answer);
    }
  }
}
