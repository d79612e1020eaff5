/** Disks that are full, and rows that are damaged. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import Database from 'better-sqlite3';
import { SmallDisk, whyNoSmallDisk } from '../../src/torture/small-disk.ts';
import { type JobJson, type NodeProcess, newMesh, until } from './mesh-processes.ts';
import { attemptsOf, isWholeOutput, Witness } from './witness.ts';

const DEADLINE = { timeout: 180_000 };

describe('a damaged disk', { concurrency: 2 }, () => {
  test('that is full takes no job, gets none, and is in use again as soon as there is room', {
    ...DEADLINE,
    skip: whyNoSmallDisk() ?? false,
  }, async (t) => {
    const mesh = newMesh(t);
    const disk = new SmallDisk(join(mesh.folder, 'two'));
    const one = await mesh.start('one');
    const two = await mesh.start('two');
    const three = await mesh.start('three');
    try {
      await Promise.all([one, two, three].map((node) => node.seesPeers(2)));
      const kept = new Witness(mesh.folder, 'kept');
      const keptId = await one.submit(kept.command, { target_node_id: two.id });
      await kept.begins();
      await disk.fill();
      await until('it refuses jobs', 30_000, async () => {
        const { status, headers, body } = await two.post('/api/v1/jobs', { command: 'true' });
        if (status !== 507) return false;
        assert.equal(body.code, 'DISK_FULL');
        assert.ok(Number(headers.get('retry-after')) > 0);
        return true;
      });
      const health = await two.get('/api/v1/health');
      assert.equal(health.status, 503);
      assert.match(JSON.stringify(health.body.problems), /disk/i);
      const ids = await Promise.all(Array.from({ length: 12 }, () => one.submit('sleep 0.2')));
      for (const id of ids) {
        const ended = await one.jobEnds(id);
        assert.equal(ended.status, 'JOB_COMPLETED', JSON.stringify(ended));
        assert.notEqual(ended.target_node_id, two.id);
      }
      assert.equal(kept.lives().length, 1, 'what ran goes on');
      await disk.empty();
      kept.release();
      const { pid } = two;
      await until('it takes jobs again', 60_000, async () => {
        const { status } = await two.post('/api/v1/jobs', { command: 'true' });
        return status === 201;
      });
      assert.equal((await two.get('/api/v1/health')).status, 200);
      const pinned = await one.submit('echo back', { target_node_id: two.id });
      assert.equal((await three.jobEnds(pinned)).stdout, 'back\n');
      assert.equal((await one.jobEnds(keptId)).status, 'JOB_COMPLETED');
      assert.equal(kept.lives().length, 1);
      assert.equal(two.pid, pid);
    } finally {
      await two.killHost();
      disk.remove();
    }
  });

  test(
    'a row that cannot be read is named and left alone; its job goes on',
    DEADLINE,
    async (t) => {
      const mesh = newMesh(t);
      const [one, two, three] = (await mesh.startMesh(['one', 'two', 'three'])) as [
        NodeProcess,
        NodeProcess,
        NodeProcess,
      ];
      const job = new Witness(mesh.folder, 'job').release();
      const id = await two.submit(job.command, { labels: { room: 'attic' } });
      await until('three disks have it', 30_000, async () => {
        const { replicas, durability } = await two.job(id);
        return (replicas as string[]).length === 3 && durability === 'replicated';
      });
      await two.kill('SIGKILL');
      const file = join(two.dataDir, `worker_${two.id}.db`);
      const database = new Database(file);
      const flip = database.prepare(
        `UPDATE jobs SET body = zeroblob(8) || substr(body, 9) WHERE job_id = ?`,
      );
      assert.equal(flip.run(id).changes, 1);
      database.close();
      const again = await mesh.start('two');
      await again.seesPeers(2);
      assert.match(again.log, new RegExp(`${id} cannot be read`));
      const { body } = await again.get('/api/v1/health');
      assert.match(JSON.stringify(body.problems), new RegExp(id));
      assert.equal((await again.job(id)).status, 'JOB_PENDING', 'the others know it');
      const attic = await mesh.start('attic', { labels: 'room=attic' });
      for (const node of [one, again, three, attic]) {
        const ended: JobJson = await node.jobEnds(id);
        assert.deepEqual([ended.status, ended.target_node_id], ['JOB_COMPLETED', attic.id]);
        assert.equal(attemptsOf(ended).length, 1);
        assert.ok(isWholeOutput(ended.stdout), ended.stdout);
      }
      assert.equal(job.lives().length, 1);
    },
  );
});
