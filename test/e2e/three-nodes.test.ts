/** Three nodes in three processes on this machine: what a user of the README sees. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import {
  type JobJson,
  type Json,
  MeshProcesses,
  type NodeProcess,
  processesWith,
  until,
} from './mesh-processes.ts';

const DEADLINE = { timeout: 120_000 };

describe('three nodes on one machine', () => {
  const mesh = new MeshProcesses();
  let nodes: NodeProcess[] = [];
  const node = (i: number): NodeProcess => {
    const found = nodes[i];
    assert.ok(found);
    return found;
  };

  before(async () => {
    nodes = await mesh.startMesh(['one', 'two', 'three']);
  }, DEADLINE);
  after(() => mesh.stop());

  test('each lists the two others as alive, with the documented fields', DEADLINE, async () => {
    for (const asked of nodes) {
      const { status, headers, body } = await asked.get<{ peers: Json[]; count: number }>(
        '/api/v1/peers',
      );
      assert.equal(status, 200);
      assert.equal(headers.get('x-node-id'), asked.id);
      assert.equal(body.count, 2);
      for (const peer of body.peers) {
        assert.notEqual(peer.node_id, asked.id);
        for (const field of [
          'node_id',
          'address',
          'status',
          'last_heartbeat',
          'version',
          'metadata',
        ])
          assert.ok(field in peer, field);
      }
    }
  });

  test('a posted job is answered 201 with its durability and runs', DEADLINE, async () => {
    const { status, body } = await node(0).post<JobJson>('/api/v1/jobs', {
      command: 'echo Hello from the mesh!',
    });
    assert.equal(status, 201);
    assert.equal(body.durability, 'replicated');
    assert.ok('target_node' in body && 'target_node_id' in body && 'created_at' in body);
    const ended = await node(0).jobEnds(body.job_id);
    assert.equal(ended.status, 'JOB_COMPLETED');
    assert.equal(ended.exit_code, 0);
    assert.equal(ended.stdout, 'Hello from the mesh!\n');
  });

  test('a job posted at one node is listed and found at another', DEADLINE, async () => {
    const id = await node(0).submit('true');
    await node(0).jobEnds(id);
    const { body } = await node(2).get<{ jobs: JobJson[] }>('/api/v1/jobs?limit=10');
    assert.ok(body.jobs.some((job) => job.job_id === id));
    assert.equal((await node(1).job(id)).status, 'JOB_COMPLETED');
  });

  test(
    'pipes, quotes, variables, exit codes and failures are what a shell makes of them',
    DEADLINE,
    async () => {
      const run = async (command: string, more: Json = {}): Promise<JobJson> => {
        const id = await node(0).submit(command, more);
        return node(0).jobEnds(id);
      };
      assert.equal((await run(`printf 'b\\na\\n' | sort | tr -d '\\n'`)).stdout, 'ab');
      assert.equal(
        (await run('echo "$GREETING"', { env: { GREETING: `it's "fine"` } })).stdout,
        `it's "fine"\n`,
      );
      const failed = await run('echo oops >&2; exit 7');
      assert.deepEqual(
        [failed.status, failed.exit_code, failed.stderr],
        ['JOB_FAILED', 7, 'oops\n'],
      );
      const missing = await run('no-such-command-anywhere');
      assert.deepEqual([missing.status, missing.exit_code], ['JOB_FAILED', 127]);
    },
  );

  test('thirty jobs at one node are spread over all three', DEADLINE, async () => {
    const commands = Array.from({ length: 30 }, () => ({ command: 'sleep 0.4' }));
    const { status, body } = await node(0).post<{ jobs: JobJson[] }>('/api/v1/jobs', commands);
    assert.equal(status, 201);
    assert.equal(body.jobs.length, 30);
    const ended = await Promise.all(body.jobs.map((job) => node(0).jobEnds(job.job_id)));
    const where = new Map<string | null, number>();
    for (const job of ended) {
      assert.equal(job.status, 'JOB_COMPLETED');
      where.set(job.target_node_id, (where.get(job.target_node_id) ?? 0) + 1);
    }
    assert.equal(where.size, 3, JSON.stringify([...where]));
  });

  test(
    'a pinned job runs on its target and its output is read at a third node',
    DEADLINE,
    async () => {
      const id = await node(0).submit('echo pinned; echo aside >&2', {
        target_node_id: node(2).id,
      });
      const ended = await node(1).jobEnds(id);
      assert.equal(ended.target_node_id, node(2).id);
      const out = await node(1).get<{ text: string }>(`/api/v1/jobs/${id}/output?stream=stdout`);
      assert.equal(out.body.text, 'pinned\n');
      const err = await node(1).get<{ text: string }>(`/api/v1/jobs/${id}/output?stream=stderr`);
      assert.equal(err.body.text, 'aside\n');
    },
  );

  // Before any node has gone: while a dead one is listed, the honest answer is 503.
  test('a job that nobody knows is a 404 at every node', DEADLINE, async () => {
    for (const asked of nodes) {
      const { status, body } = await asked.get('/api/v1/jobs/job-that-is-not-there');
      assert.equal(status, 404);
      assert.equal(body.code, 'JOB_NOT_FOUND');
    }
  });

  test('an unknown target is refused', DEADLINE, async () => {
    const { status } = await node(0).post('/api/v1/jobs', {
      command: 'true',
      target_node_id: `node-${'0'.repeat(32)}`,
    });
    assert.equal(status, 404);
  });

  test(
    'a job running elsewhere is cancelled from a third node, with all its processes',
    DEADLINE,
    async () => {
      const mark = `sleep 61${process.pid}`;
      const id = await node(0).submit(`${mark} & ${mark}`, { target_node_id: node(1).id });
      await node(0).jobIs(id, ['JOB_RUNNING']);
      await until(
        'its processes run',
        10_000,
        () => processesWith(mark.replace(' ', '\0')).length === 2,
      );
      const { status } = await node(2).post(`/api/v1/jobs/${id}/cancel`, {});
      assert.ok(status === 200 || status === 202, String(status));
      assert.equal((await node(0).jobEnds(id)).status, 'JOB_CANCELLED');
      await until(
        'its processes are gone',
        10_000,
        () => processesWith(mark.replace(' ', '\0')).length === 0,
      );
      const again = await node(2).delete(`/api/v1/jobs/${id}`);
      assert.equal(again.status, 200, 'it is cancelled, as asked');
    },
  );

  test('a finished job cannot be cancelled', DEADLINE, async () => {
    const id = await node(0).submit('true');
    await node(0).jobEnds(id);
    assert.equal((await node(1).delete(`/api/v1/jobs/${id}`)).status, 409);
  });

  test('a job over its timeout is ended with its whole tree', DEADLINE, async () => {
    const mark = `sleep 62${process.pid}`;
    const id = await node(0).submit(`echo begun; ${mark} & ${mark}`, { timeout_seconds: 1 });
    const ended = await node(0).jobEnds(id);
    assert.equal(ended.status, 'JOB_TIMEOUT');
    assert.equal(ended.stdout, 'begun\n');
    await until(
      'its processes are gone',
      10_000,
      () => processesWith(mark.replace(' ', '\0')).length === 0,
    );
  });

  test(
    'a job that no node can run waits with each node’s reason, and holds up nobody',
    DEADLINE,
    async () => {
      const id = await node(0).submit('echo at last', { labels: { room: 'attic' } });
      const other = await node(0).submit('true');
      assert.equal((await node(0).jobEnds(other)).status, 'JOB_COMPLETED');
      const waiting = await node(1).job(id);
      assert.equal(waiting.status, 'JOB_PENDING');
      const reasons = waiting.waiting as { node_id: string; reason: string }[];
      assert.deepEqual(new Set(reasons.map((one) => one.reason)), new Set(['label missing']));
      assert.equal(reasons.length, 3);
      const attic = await mesh.start('attic', { labels: 'room=attic' });
      const ended = await node(0).jobEnds(id);
      assert.deepEqual([ended.status, ended.target_node_id], ['JOB_COMPLETED', attic.id]);
      assert.deepEqual(await attic.kill('SIGINT'), { code: 0, signal: null });
      await node(0).seesPeers(2);
    },
  );

  test('one key is one job, at whichever nodes it is submitted', DEADLINE, async () => {
    const key = `order-${Date.now()}`;
    const submits = nodes.map((each) =>
      each.post<JobJson>('/api/v1/jobs', { command: 'echo once', idempotency_key: key }),
    );
    const answers = await Promise.all(submits);
    assert.equal(new Set(answers.map((answer) => answer.body.job_id)).size, 1);
    assert.equal(answers.filter((answer) => answer.status === 201).length, 1);
    const other = await node(1).post<JobJson>('/api/v1/jobs', {
      command: 'echo twice',
      idempotency_key: key,
    });
    assert.equal(other.status, 409);
    assert.equal(other.body.code, 'KEY_CONFLICT');
  });
});
