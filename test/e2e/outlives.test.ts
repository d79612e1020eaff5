/** Jobs outlive the node that took them: what a user sees when it is killed. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  type JobJson,
  type MeshProcesses,
  type NodeProcess,
  newMesh,
  startOwnerAndTwo,
  until,
} from './mesh-processes.ts';
import { attemptsOf, isWholeOutput, Witness, watch } from './witness.ts';

const DEADLINE = { timeout: 120_000 };

const witnesses = (mesh: MeshProcesses, kind: string, count: number): Witness[] =>
  Array.from({ length: count }, (_none, i) => new Witness(mesh.folder, `${kind}-${i}`));

const submitAll = (node: NodeProcess, jobs: readonly Witness[]): Promise<string[]> =>
  Promise.all(jobs.map(({ command }) => node.submit(command)));

async function areOwnedBy(
  asked: NodeProcess,
  ids: readonly string[],
  owners: readonly NodeProcess[],
): Promise<void> {
  let last: JobJson | undefined;
  await until(
    'all jobs are owned by nodes that live',
    20_000,
    async () => {
      for (const id of ids) {
        last = await asked.job(id);
        if (last.from_replica || !owners.some((node) => node.id === last?.owner_node_id))
          return false;
      }
      return true;
    },
    () => JSON.stringify(last),
  );
}

describe('an owner that is killed', { concurrency: 3 }, () => {
  test(
    'leaves its jobs to others: they stay visible, go on where they run, and end once',
    DEADLINE,
    async (t) => {
      const mesh = newMesh(t);
      const { one, two, three } = await startOwnerAndTwo(mesh);
      const held = witnesses(mesh, 'held', 4);
      const queued = witnesses(mesh, 'queued', 6);
      const heldIds = await submitAll(one, held);
      const lives = await Promise.all(held.map((job) => job.begins()));
      const queuedIds = await submitAll(
        one,
        queued.map((job) => job.release()),
      );
      const ids = [...heldIds, ...queuedIds];
      const stopWatch = watch([two, three], ids);
      await one.kill('SIGKILL');
      await areOwnedBy(two, ids, [two, three]);
      for (const asked of [two, three])
        for (const id of heldIds) {
          const { body } = await asked.get<{ text: string }>(
            `/api/v1/jobs/${id}/output?stream=stdout`,
          );
          assert.match(body.text, /^begun 1\nline 1\n/);
        }
      const [cancelled = '', ...kept] = heldIds;
      const { status } = await three.delete(`/api/v1/jobs/${cancelled}`);
      assert.ok(status === 200 || status === 202, String(status));
      assert.equal((await two.jobEnds(cancelled)).status, 'JOB_CANCELLED');
      for (const job of held) job.release();
      for (const id of [...kept, ...queuedIds]) {
        const ended = await two.jobEnds(id);
        assert.equal(ended.status, 'JOB_COMPLETED', JSON.stringify(ended));
        assert.equal(attemptsOf(ended).length, 1, JSON.stringify(ended));
        assert.ok(isWholeOutput(ended.stdout), ended.stdout);
        await three.jobIs(id, ['JOB_COMPLETED']);
      }
      assert.deepEqual(await stopWatch(), []);
      assert.deepEqual(
        held.map((job) => job.lives().map(({ pid }) => pid)),
        lives.map(({ pid }) => [pid]),
      );
      for (const job of queued) assert.equal(job.lives().length, 1);
    },
  );

  test('comes back and has every outcome that was decided without it', DEADLINE, async (t) => {
    const mesh = newMesh(t);
    const { one, two } = await startOwnerAndTwo(mesh);
    const jobs = witnesses(mesh, 'job', 3);
    const ids = await submitAll(one, jobs);
    for (const job of jobs) await job.begins();
    await one.kill('SIGKILL');
    for (const job of jobs) job.release();
    const ended = await Promise.all(ids.map((id) => two.jobEnds(id)));
    const again = await mesh.start('one', { slots: 0 });
    await again.seesPeers(2);
    for (const job of ended) {
      const seen = await again.jobIs(job.job_id, ['JOB_COMPLETED']);
      assert.deepEqual(
        [seen.fence, seen.stdout, seen.finished_at],
        [job.fence, job.stdout, job.finished_at],
      );
    }
    for (const job of jobs) assert.equal(job.lives().length, 1);
    const { body } = await again.get<{ count: number }>('/api/v1/conflicts');
    assert.equal(body.count, 0, JSON.stringify(body));
  });

  test(
    'in the middle of submits with keys: one key is one job at both nodes that were asked',
    DEADLINE,
    async (t) => {
      const mesh = newMesh(t);
      const { one, two, three } = await startOwnerAndTwo(mesh);
      const jobs = witnesses(mesh, 'key', 24).map((job) => job.release());
      let answered = 0;
      let killing: Promise<unknown> | undefined;
      const submitKey = async (
        node: NodeProcess,
        command: string,
        key: string,
      ): Promise<string> => {
        let jobId = '';
        await until(`${node.name} takes ${key}`, 40_000, async () => {
          const { status, body } = await node.post<JobJson>('/api/v1/jobs', {
            command,
            idempotency_key: key,
          });
          if (status === 503) return false;
          assert.ok(status === 200 || status === 201, `${status} ${JSON.stringify(body)}`);
          jobId = body.job_id;
          return true;
        });
        answered += 1;
        // A third of the keys have their home there, and most of those are not answered yet.
        if (answered === 8) killing = one.kill('SIGKILL');
        return jobId;
      };
      const pairs = await Promise.all(
        jobs.map(({ command }, i) =>
          Promise.all([two, three].map((node) => submitKey(node, command, `order-${i}`))),
        ),
      );
      await killing;
      for (const [i, [atTwo = '', atThree = '']] of pairs.entries()) {
        assert.equal(atTwo, atThree);
        const ended = await two.jobEnds(atTwo);
        assert.equal(ended.status, 'JOB_COMPLETED', JSON.stringify(ended));
        assert.equal(jobs[i]?.lives().length, 1, JSON.stringify(ended));
      }
      const { body } = await two.get<{ count: number }>('/api/v1/conflicts');
      assert.equal(body.count, 0, JSON.stringify(body));
    },
  );
});

describe('what an answer says of its disks', { concurrency: 3 }, () => {
  test(
    'local alone, replicated in twos and threes, and at the end as well',
    DEADLINE,
    async (t) => {
      const mesh = newMesh(t);
      const names = ['one', 'two', 'three'];
      const started: NodeProcess[] = [];
      for (const [i, name] of names.entries()) {
        started.push(await mesh.start(name));
        await Promise.all(started.map((node) => node.seesPeers(i)));
        const durability = i === 0 ? 'local' : 'replicated';
        for (const node of started) {
          const { status, body } = await node.post<JobJson>('/api/v1/jobs', { command: 'true' });
          assert.deepEqual([status, body.durability], [201, durability], node.name);
          const ended = await node.jobEnds(body.job_id);
          assert.equal(ended.status, 'JOB_COMPLETED');
          assert.equal((ended.replicas as string[]).length, i + 1);
          assert.equal(ended.durability, durability, JSON.stringify(ended));
        }
      }
    },
  );

  test('a demand for more disks than there are nodes is refused in words', DEADLINE, async (t) => {
    const mesh = newMesh(t);
    const [one, two] = (await mesh.startMesh(['one', 'two'])) as [NodeProcess, NodeProcess];
    const job = new Witness(mesh.folder, 'never').release();
    const { status, body } = await one.post('/api/v1/jobs', { command: job.command, replicas: 3 });
    assert.deepEqual([status, body.code], [503, 'NOT_ENOUGH_REPLICAS'], JSON.stringify(body));
    assert.match(String(body.detail), /replica|disk|node/);
    const taken = await two.post<JobJson>('/api/v1/jobs', { command: 'true', replicas: 2 });
    assert.deepEqual([taken.status, taken.body.durability], [201, 'replicated']);
    assert.equal((await one.jobEnds(taken.body.job_id)).status, 'JOB_COMPLETED');
    assert.equal(job.lives().length, 0);
  });
});
