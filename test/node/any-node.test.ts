import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { MeshError } from '../../src/base/errors.ts';
import { asJobId } from '../../src/base/ids.ts';
import { ownerOf } from '../../src/core/record.ts';
import { DEADLINE, MeshBench, until } from './mesh-bench.ts';

const NOBODYS = asJobId('nobodys');
const isCode =
  (code: string) =>
  (thrown: unknown): boolean =>
    thrown instanceof MeshError && thrown.code === code;

describe('a job', () => {
  test('is known at any node as its owner knows it', DEADLINE, async (t) => {
    const mesh = await MeshBench.start(t, '1234', { slots: 1 });
    const job = await mesh.of(0).take({ command: 'hold' });
    const { record } = await mesh.of(0).becomes(job, 'JOB_RUNNING');
    assert.equal(record.header.rs.length, 3);
    for (const node of mesh.nodes) {
      const live = await node.get(job);
      assert.deepEqual([live.status, live.isOwner], ['JOB_RUNNING', true], node.id);
    }
  });

  test('that was found once is asked for there and nowhere else', DEADLINE, async (t) => {
    const mesh = await MeshBench.start(t, '1234');
    const job = await mesh.of(0).take({ replicas: 1, command: 'hold' });
    await mesh.of(1).get(job);
    mesh.network.calls.length = 0;
    await mesh.of(1).get(job);
    assert.deepEqual(mesh.network.calls, [{ to: mesh.of(0).id, kind: 'lookUp' }]);
  });

  test(
    'of an owner that cannot be asked is told by a replica, and by its next owner',
    DEADLINE,
    async (t) => {
      const mesh = await MeshBench.start(t, '1234');
      const job = await mesh.of(0).take({ taskType: 'none' });
      const { record } = await mesh.of(0).get(job);
      const outside = mesh.nodes.find(({ id }) => !record.header.rs.includes(id));
      assert.ok(outside);
      mesh.network.freeze(mesh.of(0).id);
      const copy = await outside.get(job);
      assert.deepEqual([copy.isOwner, copy.status], [false, 'JOB_PENDING']);
      await until('another node owns it', async () => (await outside.get(job)).isOwner);
      const live = await outside.get(job);
      assert.notEqual(ownerOf(live.record.header), mesh.of(0).id);
      assert.ok(live.waiting.length > 0, 'an owner says why it waits');
    },
  );

  test(
    'that nobody knows is not found; with a node that does not answer nobody can know',
    DEADLINE,
    async (t) => {
      const mesh = await MeshBench.start(t, '123');
      await assert.rejects(mesh.of(0).get(NOBODYS), isCode('JOB_NOT_FOUND'));
      mesh.network.freeze(mesh.of(2).id);
      await assert.rejects(mesh.of(0).get(NOBODYS), isCode('NOT_KNOWABLE'));
    },
  );

  test(
    'is not denied by a node that has just started and has not met the others',
    DEADLINE,
    async (t) => {
      const mesh = await MeshBench.start(t, '12');
      const [one, two] = [mesh.of(0), mesh.of(1)];
      const job = await one.take({ taskType: 'none', replicas: 1 });
      await two.kill();
      mesh.network.cut(one.id, two.id);
      two.onOpen = () => assert.rejects(two.get(job), isCode('NOT_KNOWABLE'));
      await two.start();
      await assert.rejects(two.get(job), isCode('NOT_KNOWABLE'));
      mesh.network.heal(one.id, two.id);
      mesh.introduce();
      await mesh.isWhole();
      assert.equal((await two.get(job)).isOwner, true);
      await assert.rejects(two.get(NOBODYS), isCode('JOB_NOT_FOUND'));
    },
  );

  test('that is over is told by any replica alone', DEADLINE, async (t) => {
    const mesh = await MeshBench.start(t, '123');
    const job = await mesh.of(0).take();
    await mesh.of(0).becomes(job, 'JOB_COMPLETED');
    const isOver = async (): Promise<boolean> => (await mesh.of(2).get(job)).isOwner;
    mesh.network.calls.length = 0;
    await until('the replica knows that it is decided', async () => {
      mesh.network.calls.length = 0;
      return (await isOver()) && mesh.network.calls.length === 0;
    });
    await mesh.of(0).kill();
    await mesh.of(1).kill();
    assert.equal((await mesh.of(2).get(job)).status, 'JOB_COMPLETED');
  });
});
