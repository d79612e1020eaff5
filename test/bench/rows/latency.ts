/** How long one job takes on a mesh that has nothing else to do: from the submit to its seen end. */
import type { NodeProcess } from '../../e2e/mesh-processes.ts';
import type { Contestant, Line, Opened, Row, Sample, Stage } from '../frame/row.ts';
import { startEmbeddedMesh } from '../mesh/embedded-mesh.ts';
import { startEmbedded } from '../mesh/embedded-node.ts';
import { getRequest, HttpConnection, postRequest } from '../mesh/http-connection.ts';
import { meshQueue } from '../mesh/mesh-queue.ts';
import { startNodes } from '../mesh/node-processes.ts';
import { bullmq, type Fsync, openBullmq } from '../peers/bullmq.ts';
import { graphileWorker, openGraphileWorker } from '../peers/graphile-worker.ts';
import { jetstream, openJetstream } from '../peers/jetstream.ts';
import { moleculer, openMoleculer } from '../peers/moleculer.ts';
import { latencyOf, paramsOf, type Queue } from '../peers/queue.ts';
import { openSqliteQueue, sqliteQueue } from '../peers/sqlite-queue.ts';

const [SAMPLES, QUICK_SAMPLES] = [400, 5];

type Once = (i: number) => Promise<void>;

const measured =
  ({ isQuick }: Stage, once: Once) =>
  () =>
    latencyOf(isQuick ? QUICK_SAMPLES : SAMPLES, once);

const onceOf =
  (queue: Pick<Queue, 'roundTrip'>): Once =>
  (i) =>
    queue.roundTrip(paramsOf(i));

/** A lone node, and a mesh of three whose first takes jobs that one of the others does. */
async function embedded(stage: Stage): Promise<Opened> {
  const lone = await startEmbedded(stage);
  const mesh = await startEmbeddedMesh(stage.folder, { one: { slots: 0 }, two: {}, three: {} });
  const at = mesh.nodes[0]?.url ?? '';
  const close = async (): Promise<void> => {
    await lone.stop({ drainMs: 0 });
    await mesh.stop();
  };
  const local = meshQueue({ url: lone.url, close });
  const forwarded = meshQueue({ url: at, job: { replicas: 1 }, close });
  const replicated = meshQueue({ url: at, close });
  return {
    runs: {
      local: measured(stage, onceOf(local)),
      forwarded: measured(stage, onceOf(forwarded)),
      replicated: measured(stage, onceOf(replicated)),
    },
    close,
  };
}

/** Two requests on a connection that is open: the job, then a question that is answered at its end. */
async function overHttp(stage: Stage): Promise<Opened> {
  const lone = await startNodes(['lone']);
  const mesh = await startNodes(['one', 'two', 'three'], { of: { one: { slots: 0 } } });
  const asked = (node: NodeProcess | undefined, more: Readonly<Record<string, unknown>>) => () =>
    withConnection(node?.url ?? '', (connection) => measured(stage, requests(connection, more))());
  return {
    runs: {
      local: asked(lone.nodes[0], {}),
      forwarded: asked(mesh.nodes[0], { replicas: 1 }),
      replicated: asked(mesh.nodes[0], {}),
    },
    close: async () => {
      await lone.stop();
      await mesh.stop();
    },
  };
}

/** Opened for each run: between them others take their turns, and the node would close it. */
async function withConnection(
  url: string,
  act: (connection: HttpConnection) => Promise<Sample>,
): Promise<Sample> {
  const connection = await HttpConnection.open(url);
  try {
    return await act(connection);
  } finally {
    connection.close();
  }
}

const requests =
  (connection: HttpConnection, more: Readonly<Record<string, unknown>>): Once =>
  async (i) => {
    const job = { task_type: 'noop', params: paramsOf(i), ...more };
    const taken = await connection.ask(postRequest('/api/v1/jobs', job));
    if (taken.status !== 201) throw new Error(`a job was not taken: ${taken.body}`);
    const { job_id } = JSON.parse(taken.body) as { job_id: string };
    const ended = await connection.ask(getRequest(`/api/v1/jobs/${job_id}?wait_seconds=60`));
    const { status } = JSON.parse(ended.body) as { status: string };
    if (status !== 'JOB_COMPLETED') throw new Error(`a job is ${status}`);
  };

const peer = (
  about: Omit<Contestant, 'open'>,
  openQueue: (stage: Stage) => Promise<Queue>,
  runs: readonly string[] = ['local'],
): Contestant => ({
  ...about,
  open: async (stage) => {
    const queue = await openQueue(stage);
    const run = measured(stage, onceOf(queue));
    return {
      runs: Object.fromEntries(runs.map((each) => [each, run])),
      close: () => queue.close(),
    };
  },
});

const bullmqWith = (fsync: Fsync): Contestant =>
  peer(bullmq(fsync), (stage) => openBullmq(stage, fsync, 'latency'));

const linesOf = (run: string, what: string): Line[] =>
  ['p50', 'p99'].map((figure) => ({
    run,
    figure,
    what: `${what}, ${figure}`,
    unit: 'ms',
    better: 'less',
  }));

const keeps = 'one disk, fsync; replicated: on two of three';

export const latency: Row = {
  name: 'latency',
  what: 'One job that does nothing, on an idle system: from the submit to its seen end',
  lines: [
    ...linesOf('local', 'done where it is submitted'),
    ...linesOf('forwarded', 'done at another node, on the owner’s disk'),
    ...linesOf('replicated', 'done at another node, replicated on three disks'),
  ],
  contestants: [
    { name: 'mesh, createNode and SDK', isMesh: true, keeps, open: embedded },
    { name: 'mesh up, over HTTP', isMesh: true, keeps, open: overHttp },
    bullmqWith('always'),
    bullmqWith('everysec'),
    peer(graphileWorker, (stage) => openGraphileWorker(stage, 'latency')),
    peer(jetstream, (stage) => openJetstream(stage, 'latency')),
    peer(sqliteQueue, openSqliteQueue),
    peer(moleculer, openMoleculer, ['forwarded']),
  ],
};
