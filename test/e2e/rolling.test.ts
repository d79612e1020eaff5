/** All nodes of a mesh are restarted in turn, or leave it, while it works. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  type JobJson,
  type MeshProcesses,
  type NodeProcess,
  newMesh,
  until,
} from './mesh-processes.ts';
import { attemptsOf, isWholeOutput, Witness } from './witness.ts';

const DEADLINE = { timeout: 180_000 };
const SLOTS = { slots: 6 };
const ENDED_IN_ORDER = { code: 0, signal: null };

interface Load {
  readonly jobs: ReadonlyMap<string, Witness>;
  readonly stop: () => Promise<void>;
}

/** Short jobs, one after the other, for nodes that serve at the moment. */
function startLoad(mesh: MeshProcesses, serving: () => readonly NodeProcess[]): Load {
  const jobs = new Map<string, Witness>();
  let isOver = false;
  const submitting = (async () => {
    for (let i = 0; !isOver; i++) {
      const nodes = serving();
      const node = nodes[i % nodes.length];
      assert.ok(node);
      const job = new Witness(mesh.folder, `load-${i}`).release();
      const { status, body } = await node.post<JobJson>('/api/v1/jobs', { command: job.command });
      // A node that began to end in this moment says so, and the next one is asked.
      if (status === 503 && body.code === 'DRAINING') continue;
      assert.equal(status, 201, JSON.stringify(body));
      jobs.set(body.job_id, job);
      await new Promise((resolve) => setTimeout(resolve, 250));
    }
  })();
  const stop = async (): Promise<void> => {
    isOver = true;
    await submitting;
  };
  return { jobs, stop };
}

/**
 * @param late nodes whose start took longer than what they ran may wait: only that may have run
 * again, after it was ended
 */
async function assertRanOnce(
  asked: NodeProcess,
  { id, job, late = [] }: { id: string; job: Witness; late?: readonly string[] },
): Promise<void> {
  const ended = await asked.jobEnds(id, 60_000);
  assert.equal(ended.status, 'JOB_COMPLETED', JSON.stringify(ended));
  assert.ok(isWholeOutput(ended.stdout), ended.stdout);
  const lives = job.lives();
  for (const { node } of lives.slice(0, -1))
    assert.ok(late.includes(node), `it ran again: ${JSON.stringify(lives)}`);
  // A grant that meets a node on its way out never starts.
  const begun = attemptsOf(ended).filter(
    ({ note }) => !/^(the node is shutting down|its node knows nothing of it)$/.test(note),
  );
  assert.equal(begun.length, lives.length, JSON.stringify(ended));
  assert.equal(job.hasOverlap(), false);
}

/** A node that is up again so soon after its end goes on with what it ran. */
const PROMISED_MS = 4000;

describe('a mesh at work', { concurrency: 2 }, () => {
  test('is restarted node by node: nothing is lost, nothing runs twice', DEADLINE, async (t) => {
    const mesh = newMesh(t);
    const names = ['one', 'two', 'three'];
    const nodes = new Map<string, NodeProcess>();
    for (const node of await mesh.startMesh(names, SLOTS)) nodes.set(node.name, node);
    const long = new Map<string, Witness>();
    for (const [name, node] of nodes) {
      const job = new Witness(mesh.folder, `long-${name}`);
      long.set(await node.submit(job.command, { target_node_id: node.id }), job);
    }
    await Promise.all([...long.values()].map((job) => job.begins()));
    let restarted: string | undefined;
    const serving = (): NodeProcess[] =>
      [...nodes].filter(([name]) => name !== restarted).map(([, node]) => node);
    const load = startLoad(mesh, serving);
    const late: string[] = [];
    for (const name of names) {
      restarted = name;
      const before = load.jobs.size;
      const endedAt = Date.now();
      assert.deepEqual(await nodes.get(name)?.kill('SIGTERM'), ENDED_IN_ORDER);
      const again = await mesh.start(name, SLOTS);
      nodes.set(name, again);
      if (again.upAt - endedAt > PROMISED_MS) late.push(name);
      restarted = undefined;
      await Promise.all([...nodes.values()].map((node) => node.seesPeers(2)));
      await until('the load went on', 20_000, () => load.jobs.size > before + 5);
    }
    await load.stop();
    for (const job of long.values()) job.release();
    const [asked] = nodes.values();
    assert.ok(asked);
    for (const [id, job] of [...long, ...load.jobs]) await assertRanOnce(asked, { id, job, late });
    if (late.length > 0) t.diagnostic(`too busy a machine: ${late} took more than 4 s to start`);
    const { body } = await asked.get<{ count: number }>('/api/v1/conflicts');
    assert.equal(body.count, 0, JSON.stringify(body));
  });

  test('shrinks to its last node, which goes on with all that is left', DEADLINE, async (t) => {
    const mesh = newMesh(t);
    const [one, two, three] = (await mesh.startMesh(['one', 'two', 'three'], SLOTS)) as [
      NodeProcess,
      NodeProcess,
      NodeProcess,
    ];
    const waiting = await Promise.all(
      [one, two, three].map((node) => node.submit('echo at last', { labels: { room: 'attic' } })),
    );
    const long = new Witness(mesh.folder, 'long');
    const longId = await two.submit(long.command, { target_node_id: one.id });
    await long.begins();
    for (const node of [two, three]) {
      const asked = { way: 'leave', deadline_seconds: 90 };
      assert.equal((await node.post('/api/v1/drain', asked)).status, 202);
      await until(`${node.name} has left`, 60_000, () => node.hasEnded);
    }
    for (const id of [...waiting, longId]) {
      const job = await one.job(id);
      assert.deepEqual([job.owner_node_id, job.replicas], [one.id, [one.id]], JSON.stringify(job));
    }
    long.release();
    await assertRanOnce(one, { id: longId, job: long });
    const attic = await mesh.start('attic', { labels: 'room=attic' });
    for (const id of waiting) {
      const ended = await one.jobEnds(id);
      assert.deepEqual([ended.status, ended.target_node_id], ['JOB_COMPLETED', attic.id]);
    }
  });
});
