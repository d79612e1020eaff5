/** A node that the mesh has forgotten and that comes back, as real processes. */
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { describe, type TestContext, test } from 'node:test';
import { type Json, type NodeProcess, newMesh, until } from './mesh-processes.ts';

const DEADLINE = { timeout: 120_000 };
const ATTIC = { labels: 'room=attic' };

interface Back {
  readonly one: NodeProcess;
  readonly two: NodeProcess;
  readonly oldId: string;
  /** Kept by both before the node went. */
  readonly shared: string;
  /** Known to the node that went alone; they run in the attic, which is the other node. */
  readonly lonely: string;
  readonly once: string;
}

/** Its peer has taken over what both kept, has forgotten it, and meets it again. */
async function comeBackForgotten(t: TestContext): Promise<Back> {
  const mesh = newMesh(t);
  const [first, lost] = (await mesh.startMesh(['one', 'two'])) as [NodeProcess, NodeProcess];
  const shared = await lost.submit('true', { task_type: 'none' });
  await first.kill('SIGKILL');
  const attic = { labels: { room: 'attic' } };
  const lonely = await lost.submit('echo lonely', attic);
  const once = await lost.submit('echo once', { ...attic, delivery: 'at_most_once' });
  await lost.kill('SIGKILL');

  const one = await mesh.start('one', ATTIC);
  const { status } = await one.post(`/api/v1/nodes/${lost.id}/forget`, {});
  assert.equal(status, 200);
  const isTaken = async (): Promise<boolean> => (await one.job(shared)).owner_node_id === one.id;
  await until('the other owns what both kept', 30_000, isTaken);

  const two = await mesh.start('two');
  const isRenewed = async (): Promise<boolean> => {
    await two.ready();
    return two.id !== lost.id;
  };
  await until('it has a new identity', 30_000, isRenewed, () => two.log);
  return { one, two, oldId: lost.id, shared, lonely, once };
}

const conflictsAt = async (node: NodeProcess): Promise<Json[]> =>
  (await node.get<{ conflicts: Json[] }>('/api/v1/conflicts')).body.conflicts;

describe('a forgotten node that comes back', () => {
  test('takes a new identity in place and hands in what nobody knows', DEADLINE, async (t) => {
    const { one, two, oldId, shared, lonely, once } = await comeBackForgotten(t);
    assert.equal(two.hasEnded, false, 'the same process goes on');
    assert.match(two.log, /this node was forgotten by the mesh .* new identity/);
    const files = readdirSync(two.dataDir);
    for (const kept of [`worker_${oldId}.db`, 'node.key'])
      assert.equal(files.filter((name) => name.startsWith(`${kept}.forgotten-`)).length > 0, true);
    await Promise.all([one.seesPeers(1), two.seesPeers(1)]);

    const isHandedIn = async (): Promise<boolean> => {
      const { status } = await one.get(`/api/v1/jobs/${lonely}`);
      return status === 200;
    };
    await until('the lonely job is known', 40_000, isHandedIn, () => two.log);
    const ended = await one.jobEnds(lonely);
    assert.deepEqual([ended.status, ended.stdout], ['JOB_COMPLETED', 'lonely\n']);
    assert.equal((await one.jobEnds(once)).stdout, 'once\n', 'it had been given to nobody yet');

    const isListed = async (): Promise<boolean> => (await conflictsAt(one)).length > 0;
    await until('the shared job is listed', 20_000, isListed, () => two.log);
    const listed = await conflictsAt(one);
    assert.deepEqual(
      listed.map(({ job_id, kind, found_by_node }) => [job_id, kind, found_by_node]),
      [[shared, 'forgotten', two.id]],
    );
    assert.equal((await one.job(shared)).owner_node_id, one.id);
  });

  test(
    'does so once: its next start keeps the new identity, and doubles nothing',
    DEADLINE,
    async (t) => {
      const { one, two, shared, lonely, once } = await comeBackForgotten(t);
      const isListed = async (): Promise<boolean> =>
        (await conflictsAt(one)).some(({ job_id }) => job_id === shared);
      await until('the shared job is listed', 60_000, isListed);
      const { id } = two;
      for (const job of [lonely, once]) {
        await until('it is known', 40_000, async () => (await one.job(job)).job_id === job);
        await one.jobEnds(job);
      }
      const listed = await conflictsAt(one);
      await two.post('/api/v1/drain', { way: 'restart' });
      const starts = async (): Promise<unknown> => {
        await two.ready();
        return (await two.get('/api/v1/status')).body.starts;
      };
      await until('it has started again', 30_000, async () => (await starts()) === 2);
      await one.seesPeers(1);
      assert.equal(two.id, id);
      assert.deepEqual(await conflictsAt(one), listed);
      for (const job of [lonely, once])
        assert.equal(((await one.job(job)).attempts as Json[]).length, 1);
    },
  );
});
