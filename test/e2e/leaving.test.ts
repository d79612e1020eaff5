/** Nodes that go in order, come back, or never do, as real processes. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, type TestContext, test } from 'node:test';
import { createClient } from '../../src/client/client.ts';
import {
  type Json,
  MeshProcesses,
  type NodeProcess,
  processesWith,
  until,
} from './mesh-processes.ts';

const DEADLINE = { timeout: 120_000 };
const ENDED_IN_ORDER = { code: 0, signal: null };

let mesh: MeshProcesses;
beforeEach(() => {
  mesh = new MeshProcesses();
});
afterEach(() => mesh.stop());

/** A job that prints, waits for a file, and prints again. */
function held(): { command: string; mark: string; release: () => void } {
  const mark = join(mesh.folder, 'release');
  const wait = `while [ ! -e ${mark} ]; do sleep 0.05; done`;
  const command = `echo "begun $$ $MESH_ATTEMPT"; ${wait}; echo "done $$"`;
  return { command, mark, release: () => writeFileSync(mark, '') };
}

const attemptsOf = (job: Json): Json[] => job.attempts as Json[];

/** The same process printed both lines, in the first attempt. */
function assertOneRun(job: Json): void {
  assert.equal(job.status, 'JOB_COMPLETED', JSON.stringify(job));
  assert.match(String(job.stdout), /^begun (\d+) 1\ndone \1\n$/);
  assert.equal(attemptsOf(job).length, 1, JSON.stringify(job.attempts));
}

/** Attempts outlive a gap of 4 s; on a machine that takes longer to start a node nothing is shown. */
function beginRestart(t: TestContext): { isTooSlow: () => boolean } {
  const begun = performance.now();
  const isTooSlow = (): boolean => {
    const tookMs = Math.round(performance.now() - begun);
    if (tookMs > 4000) t.skip(`this machine is busy: the restart took ${tookMs} ms`);
    return tookMs > 4000;
  };
  return { isTooSlow };
}

async function startThree(): Promise<[NodeProcess, NodeProcess, NodeProcess]> {
  const nodes = await mesh.startMesh(['one', 'two', 'three']);
  return nodes as [NodeProcess, NodeProcess, NodeProcess];
}

describe('a node that is ended by SIGTERM and started again', () => {
  test(
    'takes up what runs: the same process, and its jobs are owned meanwhile',
    DEADLINE,
    async (t) => {
      const [one, two] = await startThree();
      const { command, mark, release } = held();
      const id = await two.submit(command, { target_node_id: two.id });
      await two.jobIs(id, ['JOB_RUNNING']);
      const restart = beginRestart(t);
      assert.deepEqual(await two.kill('SIGTERM'), ENDED_IN_ORDER);
      assert.equal(processesWith(mark).length > 0, true, 'it runs on without its node');
      const meanwhile = await one.job(id);
      assert.notEqual(meanwhile.owner_node_id, two.id);
      await mesh.start('two');
      if (restart.isTooSlow()) return;
      release();
      assertOneRun(await one.jobEnds(id));
    },
  );

  test('takes up what runs also when it is alone', DEADLINE, async (t) => {
    const one = await mesh.start('one');
    const { command, release } = held();
    const id = await one.submit(command);
    await one.jobIs(id, ['JOB_RUNNING']);
    const restart = beginRestart(t);
    assert.deepEqual(await one.kill('SIGTERM'), ENDED_IN_ORDER);
    const again = await mesh.start('one');
    if (restart.isTooSlow()) return;
    release();
    assertOneRun(await again.jobEnds(id));
  });

  test('and by `mesh restart`, which starts it again in place', DEADLINE, async (t) => {
    const [one, two] = await startThree();
    const { command, release } = held();
    const id = await two.submit(command, { target_node_id: two.id });
    await two.jobIs(id, ['JOB_RUNNING']);
    const { pid } = two;
    const restart = beginRestart(t);
    const { stdout } = await one.mesh(['restart', 'two']);
    assert.match(stdout, /two is back/);
    await two.ready();
    if (restart.isTooSlow()) return;
    assert.deepEqual([two.hasEnded, two.pid], [false, pid]);
    release();
    assertOneRun(await one.jobEnds(id));
    assert.equal((await two.get('/api/v1/status')).body.starts, 2);
  });

  test('is followed across the gap: no byte is missing or twice', DEADLINE, async (t) => {
    const [one, two] = await startThree();
    const lines = 200;
    const command = `i=0; while [ $i -lt ${lines} ]; do i=$((i+1)); echo "line $i"; sleep 0.02; done`;
    const id = await one.submit(command, { target_node_id: two.id });
    await one.jobIs(id, ['JOB_RUNNING']);
    const client = createClient({ url: one.url });
    let text = '';
    const gaps: number[] = [];
    const reading = (async () => {
      const onGap = (from: number): void => void gaps.push(from);
      for await (const bytes of client.output(id, { follow: true, onGap }))
        text += Buffer.from(bytes).toString();
    })();
    await until('some is read', 10_000, () => text.length > 20);
    const restart = beginRestart(t);
    assert.deepEqual(await two.kill('SIGTERM'), ENDED_IN_ORDER);
    await mesh.start('two');
    if (restart.isTooSlow()) return;
    await reading;
    const expected = Array.from({ length: lines }, (_none, i) => `line ${i + 1}\n`).join('');
    const ended = await one.jobEnds(id);
    assert.equal(attemptsOf(ended).length, 1, JSON.stringify(ended.attempts));
    assert.deepEqual(gaps, []);
    assert.equal(text, expected);
  });

  test('is not waited for without end: its jobs run again elsewhere', DEADLINE, async () => {
    const one = await mesh.start('one');
    const attic = { labels: 'room=attic' };
    const others = [await mesh.start('two', attic), await mesh.start('three', attic)];
    await one.seesPeers(2);
    const command = 'test "$MESH_ATTEMPT" != 1 || sleep 300; echo "$MESH_ATTEMPT"';
    const id = await one.submit(command, { labels: { room: 'attic' } });
    const { target_node_id } = await one.jobIs(id, ['JOB_RUNNING']);
    const runner = others.find((node) => node.id === target_node_id);
    assert.deepEqual(await runner?.kill('SIGTERM'), ENDED_IN_ORDER);
    const ended = await one.jobEnds(id, 60_000);
    assert.deepEqual([ended.status, ended.stdout], ['JOB_COMPLETED', '2\n']);
    assert.notEqual(ended.target_node_id, target_node_id);
  });
});

describe('a node that leaves for good', () => {
  test('has handed on every job and record before it ends', DEADLINE, async () => {
    const [one, two, three] = await startThree();
    const four = await mesh.start('four');
    await Promise.all([one, two, three, four].map((node) => node.seesPeers(3)));
    const ids = await Promise.all(
      Array.from({ length: 20 }, (_none, i) =>
        (i % 2 ? one : two).submit('true', { task_type: 'none' }),
      ),
    );
    const leave = { way: 'leave', deadline_seconds: 90 };
    const { status, body } = await two.post('/api/v1/drain', leave);
    assert.deepEqual([status, body.way], [202, 'leave']);
    await until('it has ended, long before it had to', 40_000, () => two.hasEnded);
    for (const id of ids) {
      const job = await one.job(id);
      assert.equal(job.status, 'JOB_PENDING');
      assert.notEqual(job.owner_node_id, two.id);
      assert.equal(
        (job.replicas as string[]).includes(two.id),
        false,
        JSON.stringify(job.replicas),
      );
      assert.equal((job.replicas as string[]).length, 3);
      assert.equal(job.durability, 'replicated');
    }
  });
});

describe('an owner that dies', () => {
  test(
    'leaves its jobs to others: found, listed once and cancelled at once',
    DEADLINE,
    async () => {
      const [one, two, three] = await startThree();
      const id = await two.submit('true', { task_type: 'none' });
      await two.kill('SIGKILL');
      const { status } = await one.delete(`/api/v1/jobs/${id}`);
      assert.equal(status, 200);
      for (const node of [one, three]) {
        assert.equal((await node.job(id)).status, 'JOB_CANCELLED');
        const { body } = await node.get<{ jobs: Json[] }>('/api/v1/jobs');
        assert.deepEqual(
          body.jobs.map((job) => [job.job_id, job.status]),
          [[id, 'JOB_CANCELLED']],
        );
      }
    },
  );
});

describe('a node that is forgotten', () => {
  test('is decided without, and let in again as another one', DEADLINE, async () => {
    const [one, two] = (await mesh.startMesh(['one', 'two'])) as [NodeProcess, NodeProcess];
    const id = await two.submit('true', { task_type: 'none' });
    const alive = await one.post('/api/v1/nodes/two/forget', {});
    assert.deepEqual([alive.status, alive.body.code], [409, 'NODE_ALIVE']);
    // Silent, not ended: of a pair nobody may take over on silence.
    two.signal('SIGSTOP');
    await until(
      'it is dead to the other',
      20_000,
      async () => (await one.peerState('two')) === 'dead',
    );
    assert.equal((await one.job(id)).from_replica, true);
    const { status, body } = await one.post('/api/v1/nodes/two/forget', {});
    assert.deepEqual([status, body.node_id], [200, two.id]);
    await until(
      'the other owns it',
      20_000,
      async () => (await one.job(id)).owner_node_id === one.id,
    );
    assert.equal((await one.delete(`/api/v1/jobs/${id}`)).status, 200);
    const oldId = two.id;
    two.signal('SIGCONT');
    await until('it has another identity', 30_000, async () => {
      await two.ready();
      return two.id !== oldId;
    });
    assert.match(two.log, /this node was forgotten by the mesh/);
    await one.seesPeers(1);
    assert.equal((await one.job(id)).status, 'JOB_CANCELLED');
  });
});
