/**
 * What followers cost the node they ask: `node --import tsx test/bench/followers/main.ts [count]`.
 * One real node, so many real connections to the events of one job; measured at the node's process
 * while nothing is printed, while a line is printed ten times a second, and while a megabyte comes.
 */

import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { MeshProcesses, type NodeProcess } from '../../e2e/mesh-processes.ts';

const COUNT = Number(process.argv[2] ?? 1000);
const IDLE_MS = 20_000;
const LINES = 100;

interface Use {
  readonly cpuMs: number;
  readonly residentMb: number;
}

function useOf(pid: number): Use {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const cpuMs = (Number(fields[11]) + Number(fields[12])) * 10;
  return { cpuMs, residentMb: Math.round((Number(fields[21]) * 4096) / 1e6) };
}

class Follower {
  bytes = 0;
  isEnded = false;
  private readonly socket: Socket;

  constructor(node: NodeProcess, job: string) {
    const { hostname, port } = new URL(node.url);
    this.socket = connect(Number(port), hostname);
    this.socket.write(`GET /api/v1/jobs/${job}/events HTTP/1.1\r\nHost: localhost\r\n\r\n`);
    let tail = '';
    this.socket.on('data', (chunk) => {
      this.bytes += chunk.length;
      tail = (tail + chunk.toString('latin1')).slice(-40_000);
      this.isEnded ||= tail.includes('event: end');
    });
  }

  begun(): Promise<unknown> {
    return once(this.socket, 'data');
  }

  close(): void {
    this.socket.destroy();
  }
}

async function followAll(node: NodeProcess, command: string): Promise<[string, Follower[]]> {
  const job = await node.submit(command);
  const followers: Follower[] = [];
  for (let i = 0; i < COUNT; i += 50) {
    const some = Array.from({ length: Math.min(50, COUNT - i) }, () => new Follower(node, job));
    await Promise.all(some.map((follower) => follower.begun()));
    followers.push(...some);
  }
  return [job, followers];
}

async function measure(node: NodeProcess, what: string, act: () => Promise<void>): Promise<void> {
  const before = useOf(node.pid);
  const from = performance.now();
  await act();
  const seconds = (performance.now() - from) / 1000;
  const after = useOf(node.pid);
  const cpu = after.cpuMs - before.cpuMs;
  console.log(
    `${what}: ${seconds.toFixed(1)} s, CPU ${cpu} ms (${(cpu / seconds / 10).toFixed(1)} % of a core), resident ${before.residentMb} → ${after.residentMb} MB`,
  );
}

async function ended(followers: readonly Follower[]): Promise<void> {
  while (!followers.every(({ isEnded }) => isEnded)) await sleep(50);
}

async function bench(): Promise<void> {
  const mesh = new MeshProcesses();
  try {
    const node = await mesh.start('one');
    await measure(node, 'a node at rest', () => sleep(IDLE_MS / 2));
    const [idle, followers] = await followAll(node, 'exec sleep 1000');
    await measure(node, `${COUNT} followers, nothing printed`, () => sleep(IDLE_MS));
    await node.delete(`/api/v1/jobs/${idle}`);
    await ended(followers);
    for (const follower of followers) follower.close();
    const gate = `while ! [ -e ${mesh.folder}/go ]; do sleep 0.1; done;`;
    const touch = async (): Promise<void> => {
      await node.jobEnds(await node.submit(`touch ${mesh.folder}/go`));
    };
    const lines = `${gate} i=0; while [ $i -lt ${LINES} ]; do echo line $i; i=$((i+1)); sleep 0.1; done`;
    const [, reading] = await followAll(node, lines);
    await measure(node, `${COUNT} followers, ${LINES} lines, ten a second`, async () => {
      await touch();
      await ended(reading);
    });
    for (const follower of reading) follower.close();
    await node.jobEnds(await node.submit(`rm ${mesh.folder}/go`));
    const [, bulk] = await followAll(node, `${gate} head -c 750000 /dev/urandom | base64`);
    await measure(node, `${COUNT} followers, a megabyte each`, async () => {
      await touch();
      await ended(bulk);
    });
    for (const follower of bulk) follower.close();
  } finally {
    await mesh.stop();
  }
}

await bench();
