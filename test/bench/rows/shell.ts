/** How many commands a second run on one machine, `true` by a shell, two at a time. */
import type { Contestant, Row, Sample } from '../frame/row.ts';
import { sized } from '../frame/size.ts';
import { startEmbedded } from '../mesh/embedded-node.ts';
import { meshQueue } from '../mesh/mesh-queue.ts';
import { startNodes } from '../mesh/node-processes.ts';
import { beanstalkd } from '../peers/beanstalkd.ts';
import { gearman } from '../peers/gearman.ts';
import { inFlight } from '../peers/queue.ts';
import {
  AT_ONCE,
  nodeSpawn,
  parallel,
  type Runner,
  type ShellPeer,
  spawnLimit,
  xargs,
} from '../peers/shell-peers.ts';

const SIZES = { quick: 20, least: 300, most: 10_000 };
const BULK = 1000;
const BALLAST_BYTES = 300e6;

async function rateOf(run: Runner, jobs: number): Promise<Sample> {
  const from = performance.now();
  await run(jobs);
  return { figures: { rate: (jobs / (performance.now() - from)) * 1000 }, jobs };
}

/** A process with much memory is slow to start others in, where it does so itself. */
function ballast(): Buffer {
  const bytes = Buffer.alloc(BALLAST_BYTES);
  for (let at = 0; at < bytes.length; at += 4096) bytes[at] = 1;
  return bytes;
}

const meshRunner = (url: string): Runner => {
  const queue = meshQueue({ url, close: async () => {} });
  const command = { command: 'true' };
  return async (jobs) => {
    await inFlight(Math.ceil(jobs / BULK), 2, (part) =>
      queue.submitJobs(Array.from({ length: Math.min(BULK, jobs - part * BULK) }, () => command)),
    );
    await queue.drained();
  };
};

const keeps = 'one disk, fsync; output on disk';

const meshUp: Contestant = {
  name: 'mesh up',
  isMesh: true,
  keeps,
  open: async (stage) => {
    const { nodes, stop } = await startNodes(['one'], { slots: AT_ONCE });
    const run = meshRunner(nodes[0]?.url ?? '');
    return { runs: { plain: sized(stage, SIZES, (jobs) => rateOf(run, jobs)) }, close: stop };
  },
};

const meshInside: Contestant = {
  name: 'mesh, createNode',
  isMesh: true,
  keeps,
  open: async (stage) => {
    const held = ballast();
    const node = await startEmbedded(stage, { slots: AT_ONCE });
    const run = meshRunner(node.url);
    return {
      runs: { large: sized(stage, SIZES, (jobs) => rateOf(run, jobs)) },
      close: async () => {
        held.fill(0);
        await node.stop({ drainMs: 0 });
      },
    };
  },
};

/** @param lines what it is beside: a process that does not start others itself is in both */
const peer = (about: ShellPeer, lines: readonly string[]): Contestant => ({
  ...about,
  open: async (stage) => {
    const held = about === nodeSpawn ? ballast() : undefined;
    const { run, close } = await about.start(stage);
    const measured = sized(stage, SIZES, (jobs) => rateOf(run, jobs));
    return {
      runs: Object.fromEntries(lines.map((line) => [line, measured])),
      close: async () => {
        held?.fill(0);
        await close();
      },
    };
  },
});

export const shell: Row = {
  name: 'shell',
  what: `Commands on one machine: \`true\` by a shell, ${AT_ONCE} at a time`,
  lines: [
    { run: 'plain', figure: 'rate', what: 'by a node', unit: 'jobs/s', better: 'more' },
    {
      run: 'large',
      figure: 'rate',
      what: 'by a node inside a process that holds 300 MB',
      unit: 'jobs/s',
      better: 'more',
    },
  ],
  contestants: [
    meshUp,
    meshInside,
    peer(xargs, ['plain', 'large']),
    peer(parallel, ['plain']),
    peer(beanstalkd, ['plain']),
    peer(gearman, ['plain']),
    peer(nodeSpawn, ['large']),
    peer(spawnLimit, ['plain']),
  ],
};
