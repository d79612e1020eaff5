/** Jobs that are submitted at one node and done on two others. */
import type { Contestant, Opened, Row, Stage } from '../frame/row.ts';
import { sized } from '../frame/size.ts';
import { startEmbeddedMesh } from '../mesh/embedded-mesh.ts';
import { meshQueue } from '../mesh/mesh-queue.ts';
import { startNodes } from '../mesh/node-processes.ts';
import { moleculer, openMoleculer } from '../peers/moleculer.ts';
import { bulks, type Queue, singles } from '../peers/queue.ts';

const SIZES = { quick: 30, least: 500, most: 60_000 };
const IN_FLIGHT = 256;
const BULK = 1000;
const AT_A_TIME = 100;

/** @param url of the node that takes the jobs and runs none */
function meshRuns(stage: Stage, url: string, close: () => Promise<void>): Opened {
  const three = meshQueue({ url, close });
  const one = meshQueue({ url, job: { replicas: 1 }, close });
  return { runs: { ...runsOf(three, stage, 'three'), ...runsOf(one, stage, 'one') }, close };
}

const runsOf = (queue: Queue, stage: Stage, disks: 'three' | 'one'): Opened['runs'] => ({
  [`${disks}-single`]: sized(stage, SIZES, (jobs) => singles(queue, jobs, IN_FLIGHT)),
  [`${disks}-bulk`]: sized(stage, SIZES, (jobs) => bulks(queue, jobs, BULK)),
});

async function embedded(stage: Stage): Promise<Opened> {
  const { nodes, stop } = await startEmbeddedMesh(stage.folder, {
    one: { slots: 0 },
    two: { slots: AT_A_TIME },
    three: { slots: AT_A_TIME },
  });
  return meshRuns(stage, nodes[0]?.url ?? '', stop);
}

async function processes(stage: Stage): Promise<Opened> {
  const { nodes, stop } = await startNodes(['one', 'two', 'three'], { of: { one: { slots: 0 } } });
  return meshRuns(stage, nodes[0]?.url ?? '', stop);
}

/** Nothing is kept in either case, so both lines have the same calls beside them. */
async function calls(stage: Stage): Promise<Opened> {
  const queue = await openMoleculer();
  const runs = { ...runsOf(queue, stage, 'three'), ...runsOf(queue, stage, 'one') };
  return { runs, close: () => queue.close() };
}

const keeps = 'replicas’ disks, fsync, as the line says';
const contestants: readonly Contestant[] = [
  { name: 'mesh, createNode', isMesh: true, keeps, open: embedded },
  { name: 'mesh up --tasks', isMesh: true, keeps, open: processes },
  { ...moleculer, open: calls },
];

export const spread: Row = {
  name: 'spread',
  what: 'Jobs that do nothing, submitted at one node and done on two others',
  lines: [
    ['three-single', 'replicated on three disks, one a submit, 256 in flight'],
    ['three-bulk', 'replicated on three disks, 1,000 a submit'],
    ['one-single', 'on the owner’s disk, one a submit, 256 in flight'],
    ['one-bulk', 'on the owner’s disk, 1,000 a submit'],
  ].map(([run = '', what = '']) => ({
    run,
    figure: 'rate',
    what,
    unit: 'jobs/s',
    better: 'more',
  })),
  contestants,
  note: 'Moleculer’s calls are what one uses where nothing has to survive: an upper bound, not the same thing.',
};
