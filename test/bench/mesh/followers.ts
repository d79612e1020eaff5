/** Many who follow one job over HTTP, and what they cost the node that they ask. */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import type { NodeProcess } from '../../e2e/mesh-processes.ts';
import type { Sample } from '../frame/row.ts';
import { cpuSecondsOf } from '../frame/usage.ts';
import { eventually } from '../peers/queue.ts';

const AT_A_TIME = 50;
const END = 'event: end';

export interface FollowOptions {
  readonly followers: number;
  /** So long nothing is printed. */
  readonly silentMs: number;
  /** Then so many bytes, as lines of text. */
  readonly bytes: number;
  /** Where the job waits for its sign to print. */
  readonly folder: string;
}

/** Figures: `silent`, the node's part of a core in percent; `delivered`, MB/s to all together. */
export async function followed(node: NodeProcess, options: FollowOptions): Promise<Sample> {
  const { followers: count, silentMs, bytes, folder } = options;
  const sign = `${folder}/go-${performance.now()}`;
  const print = `head -c ${Math.ceil((bytes * 3) / 4)} /dev/urandom | base64`;
  const job = await node.submit(`while ! [ -e ${sign} ]; do sleep 0.1; done; ${print}`);
  await node.jobIs(job, ['JOB_RUNNING']);
  const all: Follower[] = [];
  while (all.length < count) {
    const some = Math.min(AT_A_TIME, count - all.length);
    const next = Array.from({ length: some }, () => new Follower(node, job));
    await Promise.all(next.map((follower) => follower.begun()));
    all.push(...next);
  }
  const [cpu, from] = [cpuSecondsOf(node.pid), performance.now()];
  await new Promise((resolve) => setTimeout(resolve, silentMs));
  const silent = ((cpuSecondsOf(node.pid) - cpu) / (performance.now() - from)) * 1000 * 100;
  const begun = performance.now();
  await node.jobEnds(await node.submit(`touch ${sign}`));
  await eventually(20, () => all.every(({ isEnded }) => isEnded));
  const seconds = (performance.now() - begun) / 1000;
  const delivered = all.reduce((sum, { received }) => sum + received, 0) / 1e6 / seconds;
  for (const follower of all) follower.close();
  return { figures: { silent, delivered } };
}

class Follower {
  received = 0;
  isEnded = false;
  private readonly socket: Socket;
  private tail = '';

  constructor(node: NodeProcess, job: string) {
    const { hostname, port } = new URL(node.url);
    this.socket = connect(Number(port), hostname);
    this.socket.write(`GET /api/v1/jobs/${job}/events HTTP/1.1\r\nHost: localhost\r\n\r\n`);
    this.socket.on('data', (chunk) => {
      this.received += chunk.length;
      // The last event holds the whole job, so its name is somewhere in the last pieces.
      const text = this.tail + chunk.toString('latin1');
      this.isEnded ||= text.includes(END);
      this.tail = text.slice(-END.length);
    });
  }

  begun(): Promise<unknown> {
    return once(this.socket, 'data');
  }

  close(): void {
    this.socket.destroy();
  }
}
