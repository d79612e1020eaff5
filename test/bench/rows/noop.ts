/** How many durable jobs that do nothing get done a second on one node. */

import type { Contestant, Opened, Row, Stage } from '../frame/row.ts';
import { sized } from '../frame/size.ts';
import { startEmbedded } from '../mesh/embedded-node.ts';
import { meshQueue } from '../mesh/mesh-queue.ts';
import { startNodes } from '../mesh/node-processes.ts';
import { bullmq, type Fsync, openBullmq } from '../peers/bullmq.ts';
import { graphileWorker, openGraphileWorker } from '../peers/graphile-worker.ts';
import { jetstream, openJetstream } from '../peers/jetstream.ts';
import { openPgBoss, pgBoss } from '../peers/pg-boss.ts';
import { bulks, type Queue, singles } from '../peers/queue.ts';
import { openSqliteQueue, sqliteQueue } from '../peers/sqlite-queue.ts';

const SIZES = { quick: 60, least: 1000, most: 40_000 };
const IN_FLIGHT = 64;
const BULK = 1000;
const SLOTS_OF_PROCESSES = 2;

const contestantOf = (
  about: Omit<Contestant, 'open'>,
  openQueue: (stage: Stage) => Promise<Queue>,
): Contestant => ({ ...about, open: async (stage) => runsOf(await openQueue(stage), stage) });

const runsOf = (queue: Queue, stage: Stage): Opened => ({
  runs: {
    single: sized(stage, SIZES, (jobs) => singles(queue, jobs, IN_FLIGHT)),
    bulk: sized(stage, SIZES, (jobs) => bulks(queue, jobs, BULK)),
  },
  close: () => queue.close(),
});

const bullmqWith = (fsync: Fsync): Contestant =>
  contestantOf(bullmq(fsync), (stage) => openBullmq(stage, fsync, 'throughput'));

async function embedded(stage: Stage): Promise<Queue> {
  const node = await startEmbedded(stage);
  return meshQueue({ url: node.url, close: () => node.stop({ drainMs: 0 }) });
}

async function processes(): Promise<Queue> {
  const { nodes, stop } = await startNodes(['one'], { slots: SLOTS_OF_PROCESSES });
  return meshQueue({ url: nodes[0]?.url ?? '', close: stop });
}

const durable = { isMesh: true, keeps: 'one disk, fsync' } as const;

export const noop: Row = {
  name: 'noop',
  what: 'Durable jobs whose handler does nothing, one node: from the first submit to the last end',
  lines: [
    {
      run: 'single',
      figure: 'rate',
      what: 'one a submit, 64 in flight',
      unit: 'jobs/s',
      better: 'more',
    },
    { run: 'bulk', figure: 'rate', what: '1,000 a submit', unit: 'jobs/s', better: 'more' },
  ],
  contestants: [
    contestantOf({ name: 'mesh, createNode', ...durable }, embedded),
    contestantOf({ name: 'mesh up --tasks', ...durable }, processes),
    bullmqWith('always'),
    bullmqWith('everysec'),
    contestantOf(pgBoss, (stage) => openPgBoss(stage, 'throughput')),
    contestantOf(graphileWorker, (stage) => openGraphileWorker(stage, 'throughput')),
    contestantOf(jetstream, (stage) => openJetstream(stage, 'throughput')),
    contestantOf(sqliteQueue, openSqliteQueue),
  ],
  note: 'The mesh is asked over HTTP by its SDK, the others over their own protocols. Handlers of createNode run 100 at a time in its process, as BullMQ’s do in theirs; those of mesh up run in two processes of their own.',
};
