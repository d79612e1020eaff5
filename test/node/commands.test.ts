import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { MeshError } from '../../src/base/errors.ts';
import { asJobId, type NodeId } from '../../src/base/ids.ts';
import { asWall } from '../../src/base/instant.ts';
import { ownerOf } from '../../src/core/record.ts';
import { nodeId } from '../core/core-bench.ts';
import { type BenchNode, DEADLINE, MeshBench, until } from './mesh-bench.ts';

const isCode =
  (code: string, text = /./) =>
  (thrown: unknown): boolean =>
    thrown instanceof MeshError && thrown.code === code && text.test(thrown.message);

const stateOf = (node: BenchNode, peer: NodeId): string | undefined =>
  node.node.peers().find(({ facts }) => facts.node === peer)?.state;

describe('a cancel', { concurrency: true }, () => {
  test('is carried to the owner from any node, and is the last word', DEADLINE, async (t) => {
    const mesh = await MeshBench.start(t, '1234', { slots: 0 });
    const job = await mesh.of(0).take();
    assert.equal((await mesh.of(3).node.cancelJob(job)).kind, 'cancelled');
    assert.equal((await mesh.of(2).get(job)).status, 'JOB_CANCELLED');
    assert.equal((await mesh.of(1).node.cancelJob(job)).kind, 'cancelled');
  });

  test('of a job that runs ends its attempt', DEADLINE, async (t) => {
    const mesh = await MeshBench.start(t, '123');
    const job = await mesh.of(0).take({ command: 'hold' });
    await mesh.of(0).becomes(job, 'JOB_RUNNING');
    assert.equal((await mesh.of(2).node.cancelJob(job)).kind, 'cancelling');
    await mesh.of(1).becomes(job, 'JOB_CANCELLED');
  });

  test('of a job that has ended says how, also when its owner is gone', DEADLINE, async (t) => {
    const mesh = await MeshBench.start(t, '123');
    const job = await mesh.of(0).take();
    await until('all know that it is decided', async () => {
      await mesh.of(0).becomes(job, 'JOB_COMPLETED');
      return mesh.nodes.every(({ disk }) => (disk.tables.notes.get(job)?.settled ?? 0) > 0);
    });
    await mesh.of(0).kill();
    const reply = await mesh.of(1).node.cancelJob(job);
    assert.deepEqual(reply, { kind: 'alreadyFinal', job, status: 'JOB_COMPLETED' });
  });

  test('of a job nobody knows is not found', DEADLINE, async (t) => {
    const mesh = await MeshBench.start(t, '12');
    await assert.rejects(mesh.of(0).node.cancelJob(asJobId('none')), isCode('JOB_NOT_FOUND'));
  });

  test('follows the job to the node that takes it over', DEADLINE, async (t) => {
    const mesh = await MeshBench.start(t, '1234', { slots: 0 });
    const job = await mesh.of(0).take();
    await mesh.of(0).kill();
    // No node owns it at this moment: two dials must be refused first.
    const reply = await mesh.of(1).node.cancelJob(job);
    assert.equal(reply.kind, 'cancelled');
    const live = await mesh.of(2).get(job);
    assert.equal(live.status, 'JOB_CANCELLED');
    assert.notEqual(ownerOf(live.record.header), mesh.of(0).id);
  });

  test('without any owner in reach says that nothing was recorded', DEADLINE, async (t) => {
    const mesh = await MeshBench.start(t, '12', { slots: 0 });
    const [one, two] = [mesh.of(0), mesh.of(1)];
    const job = await one.take();
    mesh.network.cut(one.id, two.id);
    await until('the link is down', () => stateOf(two, one.id) !== 'alive');
    const cancel = two.node.cancelJob(job);
    await assert.rejects(cancel, isCode('OWNER_UNREACHABLE', /nothing was recorded/));
    assert.equal((await one.get(job)).status, 'JOB_PENDING');
  });

  test('that an owner does not answer may be recorded, and says so', DEADLINE, async (t) => {
    const mesh = await MeshBench.start(t, '12', { slots: 0 });
    const [one, two] = [mesh.of(0), mesh.of(1)];
    const job = await one.take();
    mesh.network.mute(one.id, two.id);
    const cancel = two.node.cancelJob(job);
    await assert.rejects(cancel, isCode('OWNER_UNREACHABLE', /may still be recorded/));
  });

  test('on a disk that takes no writes is not waited for without end', DEADLINE, async (t) => {
    const mesh = await MeshBench.start(t, '1', { slots: 0 });
    const job = await mesh.of(0).take();
    mesh.of(0).disk.isFull = true;
    await assert.rejects(mesh.of(0).node.cancelJob(job), isCode('DISK_FULL'));
  });
});

describe('forgetting a node', { concurrency: true }, () => {
  test(
    'is refused for the node itself, for one that lives, and for one nobody knows',
    DEADLINE,
    async (t) => {
      const mesh = await MeshBench.start(t, '12');
      const { node } = mesh.of(0);
      const forget = (id: NodeId) => node.forgetNode(id, { isForced: false });
      await assert.rejects(forget(mesh.of(0).id), isCode('NODE_ALIVE', /itself/));
      await assert.rejects(forget(mesh.of(1).id), isCode('NODE_ALIVE', /is alive/));
      await assert.rejects(forget(nodeId('f')), isCode('NODE_NOT_FOUND'));
      assert.equal(stateOf(mesh.of(0), mesh.of(1).id), 'alive');
    },
  );

  test('lets a pair’s job go on without the owner that died in silence', DEADLINE, async (t) => {
    const mesh = await MeshBench.start(t, '12', { slots: 1 });
    const [one, two] = [mesh.of(0), mesh.of(1)];
    const job = await one.take({ taskType: 'none' });
    assert.deepEqual(two.node.missedNodes(), []);
    mesh.network.freeze(one.id);
    await until('it is dead to the other', () => stateOf(two, one.id) === 'dead');
    assert.equal((await two.get(job)).isOwner, false);
    const missed = [{ node: one.id, name: one.id.slice(0, 6), jobs: 1 }];
    assert.deepEqual(two.node.missedNodes(), missed);
    const ban = await two.node.forgetNode(one.id, { isForced: false });
    assert.deepEqual([ban.node, ban.name], [one.id, one.id.slice(0, 6)]);
    await until('the other owns it', async () => (await two.get(job)).isOwner);
    assert.equal((await two.node.cancelJob(job)).kind, 'cancelled');
    assert.deepEqual(two.node.missedNodes(), []);
  });

  test('finds its name also when nobody lists it any more', DEADLINE, async (t) => {
    const mesh = await MeshBench.start(t, '12', { slots: 0 });
    const [one, two] = [mesh.of(0), mesh.of(1)];
    await one.take();
    await two.kill();
    await one.kill();
    await two.start();
    assert.deepEqual(two.node.peers(), []);
    const name = one.id.slice(0, 6);
    assert.equal(two.node.findNode(name), one.id);
    assert.equal(two.node.findNode('nobody'), undefined);
    await until('its jobs are missed', () => two.node.missedNodes().length > 0);
    assert.deepEqual(two.node.missedNodes(), [{ node: one.id, name, jobs: 1 }]);
    await two.node.forgetNode(one.id, { isForced: false });
  });
});

describe('conflicts', () => {
  const at = (ms: number, note: string) => ({
    job: asJobId('x'),
    at: asWall(ms),
    tag: 'outcomes' as const,
    note,
  });

  test('of all nodes are one list, newest first, each once', DEADLINE, async (t) => {
    const mesh = await MeshBench.start(t, '123');
    const [a, b, c] = mesh.nodes.map(({ disk }) => disk.tables.conflicts);
    a?.set(1, at(10, 'first'));
    b?.set(1, at(10, 'first')).set(2, at(30, 'third'));
    c?.set(1, at(20, 'second'));
    const page = await mesh.of(0).node.listConflicts(10);
    assert.deepEqual(
      page.conflicts.map(({ note, foundBy }) => [note, foundBy]),
      [
        ['third', mesh.of(1).id],
        ['second', mesh.of(2).id],
        ['first', mesh.of(0).id],
      ],
    );
    assert.deepEqual([page.isCut, page.missing], [false, []]);
    const cut = await mesh.of(0).node.listConflicts(2);
    assert.deepEqual([cut.conflicts.length, cut.isCut], [2, true]);
    mesh.network.freeze(mesh.of(1).id);
    const partial = await mesh.of(0).node.listConflicts(10);
    assert.deepEqual(
      partial.missing.map(({ node }) => node),
      [mesh.of(1).id],
    );
  });
});
