/** Machines that die, leave and come back, as real processes. */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, test } from 'node:test';
import {
  type Json,
  MeshProcesses,
  type NodeProcess,
  processesWith,
  until,
} from './mesh-processes.ts';

const DEADLINE = { timeout: 120_000 };

describe('nodes that end', () => {
  let mesh: MeshProcesses;
  let one: NodeProcess;
  let two: NodeProcess;
  let three: NodeProcess;

  beforeEach(async () => {
    mesh = new MeshProcesses();
    const nodes = await mesh.startMesh(['one', 'two', 'three']);
    [one, two, three] = nodes as [NodeProcess, NodeProcess, NodeProcess];
  }, DEADLINE);
  afterEach(() => mesh.stop());

  /** Fills the slots of a node, so that the next job has to go elsewhere. */
  const fill = (node: NodeProcess): Promise<string[]> =>
    Promise.all([1, 2].map(() => one.submit('sleep 300', { target_node_id: node.id })));

  test(
    'an executor killed with SIGKILL: its job runs again elsewhere, and its processes are gone',
    DEADLINE,
    async () => {
      const mark = `sleep 3${process.pid}`;
      for (const id of [...(await fill(one)), ...(await fill(three))])
        await one.jobIs(id, ['JOB_RUNNING']);
      const id = await one.submit(
        `echo "attempt $MESH_ATTEMPT"; test "$MESH_ATTEMPT" != 1 || ${mark}`,
      );
      const running = await one.jobIs(id, ['JOB_RUNNING']);
      assert.equal(running.target_node_id, two.id);
      await until('it runs', 10_000, () => processesWith(mark.replace(' ', '\0')).length > 0);
      await two.kill('SIGKILL');
      await until(
        'the supervisor has ended its processes',
        10_000,
        () => processesWith(mark.replace(' ', '\0')).length === 0,
      );
      const full = (
        await one.get<{ jobs: { job_id: string; target_node_id: string }[] }>(
          '/api/v1/jobs?status=JOB_RUNNING',
        )
      ).body;
      const freed = full.jobs.find((job) => job.target_node_id === three.id);
      assert.ok(freed);
      await one.delete(`/api/v1/jobs/${freed.job_id}`);
      const ended = await one.jobEnds(id, 60_000);
      assert.equal(ended.status, 'JOB_COMPLETED');
      assert.equal(ended.stdout, 'attempt 2\n');
      assert.equal(ended.target_node_id, three.id);
      const history = ended.attempts as Json[];
      assert.match(JSON.stringify(history), /died|refused/);
    },
  );

  test('a killed executor leaves the lists of the others', DEADLINE, async () => {
    await two.kill('SIGKILL');
    await until(
      'it is dead to the others',
      10_000,
      async () => (await one.peerNames()).join() === 'three',
    );
    assert.deepEqual(await three.peerNames(), ['one']);
  });

  test('SIGINT: the node finishes its job, says goodbye and ends with 0', DEADLINE, async () => {
    const id = await one.submit('sleep 1; echo done', { target_node_id: two.id });
    await one.jobIs(id, ['JOB_RUNNING']);
    const ending = two.kill('SIGINT');
    await until('it is seen as draining or gone', 5000, async () => {
      const { body } = await one.get<{ peers: { name: string; status: string }[] }>(
        '/api/v1/peers',
      );
      const peer = body.peers.find(({ name }) => name === 'two');
      return peer === undefined || peer.status === 'DRAINING';
    });
    assert.deepEqual(await ending, { code: 0, signal: null });
    const ended = await one.jobEnds(id);
    assert.deepEqual([ended.status, ended.stdout], ['JOB_COMPLETED', 'done\n']);
    const { body } = await one.get<{ peers: { name: string }[] }>('/api/v1/peers');
    assert.deepEqual(
      body.peers.map((peer) => peer.name),
      ['three'],
    );
  });

  test('a second SIGINT ends it at once, with 130', DEADLINE, async () => {
    const id = await one.submit('sleep 300', { target_node_id: two.id });
    await one.jobIs(id, ['JOB_RUNNING']);
    const ending = two.kill('SIGINT');
    await until('it drains', 5000, () => two.log.includes('draining'));
    two.signal('SIGINT');
    assert.deepEqual(await ending, { code: 130, signal: null });
  });

  test(
    'a drain whose deadline is over gives back what runs, and it runs elsewhere',
    DEADLINE,
    async () => {
      const four = await mesh.start('four', {
        labels: 'room=attic',
        flags: ['--drain-timeout', '1s'],
      });
      // A second replica's goodbye, before the set of the first one's is refilled, would hold the job up.
      await mesh.start('five', { labels: 'room=attic', slots: 0 });
      await one.seesPeers(4);
      const id = await one.submit('test "$MESH_ATTEMPT" != 1 || sleep 300', {
        labels: { room: 'attic' },
      });
      await one.jobIs(id, ['JOB_RUNNING']);
      assert.deepEqual(await four.kill('SIGINT'), { code: 0, signal: null });
      const waiting = await one.jobIs(id, ['JOB_PENDING']);
      assert.match(JSON.stringify(waiting.waiting), /no free slot/);
      const six = await mesh.start('six', { labels: 'room=attic' });
      const ended = await one.jobEnds(id);
      assert.deepEqual([ended.status, ended.target_node_id], ['JOB_COMPLETED', six.id]);
    },
  );

  test(
    'an owner started again on its folder keeps its name, its history and its queue',
    DEADLINE,
    async () => {
      const past = await one.submit('echo before');
      await one.jobEnds(past);
      const waiting = await one.submit('echo after', { labels: { room: 'attic' } });
      const { id } = one;
      await one.kill('SIGKILL');
      one = await mesh.start('one', { labels: 'room=attic' });
      assert.equal(one.id, id);
      assert.equal((await one.job(past)).stdout, 'before\n');
      const ended = await one.jobEnds(waiting);
      assert.deepEqual([ended.status, ended.stdout], ['JOB_COMPLETED', 'after\n']);
    },
  );

  test(
    'an attempt of a killed node goes on through its restart: same process, whole output',
    DEADLINE,
    async () => {
      const id = await one.submit(
        'echo "attempt $MESH_ATTEMPT"; echo $$; sleep 3; echo "still $MESH_ATTEMPT"; exit 9',
        { target_node_id: one.id },
      );
      await one.jobIs(id, ['JOB_RUNNING']);
      await one.kill('SIGKILL');
      one = await mesh.start('one');
      const ended = await one.jobEnds(id);
      assert.deepEqual([ended.status, ended.exit_code], ['JOB_FAILED', 9]);
      assert.match(ended.stdout, /^attempt 1\n\d+\nstill 1\n$/);
    },
  );

  test(
    'an attempt of a node that is away for too long is ended, and settled at its start',
    DEADLINE,
    async () => {
      const mark = `sleep 4${process.pid}`;
      const id = await one.submit(
        `test "$MESH_ATTEMPT" != 1 || ${mark}; echo "attempt $MESH_ATTEMPT"`,
        { target_node_id: one.id },
      );
      await one.jobIs(id, ['JOB_RUNNING']);
      const processes = (): number[] => processesWith(mark.replace(' ', '\0'));
      await until('it runs', 10_000, () => processes().length > 0);
      await one.kill('SIGKILL');
      await until('the supervisor has ended it', 10_000, () => processes().length === 0);
      one = await mesh.start('one');
      const ended = await one.jobEnds(id);
      assert.deepEqual([ended.status, ended.stdout], ['JOB_COMPLETED', 'attempt 2\n']);
    },
  );

  test(
    'an owner back within the lease finds its job still running elsewhere, and runs it once',
    DEADLINE,
    async () => {
      const id = await one.submit('sleep 4; echo "attempt $MESH_ATTEMPT"', {
        target_node_id: two.id,
      });
      await one.jobIs(id, ['JOB_RUNNING']);
      await one.kill('SIGKILL');
      one = await mesh.start('one');
      const ended = await one.jobEnds(id);
      assert.deepEqual([ended.status, ended.stdout], ['JOB_COMPLETED', 'attempt 1\n']);
    },
  );

  test('a frozen node is suspect, then dead, and is back when it wakes', DEADLINE, async () => {
    two.signal('SIGSTOP');
    try {
      await until('it is dead', 30_000, async () => (await one.peerState('two')) === 'dead');
    } finally {
      two.signal('SIGCONT');
    }
    await one.seesPeers(2, 60_000);
    await three.seesPeers(2, 60_000);
  });
});
