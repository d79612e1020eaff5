/** Hosts that are gone for good, in silence: what goes on once they are forgotten, and not before. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { promisify } from 'node:util';
import { whyNoLan } from '../../src/torture/lan.ts';
import { type HostedNode, startLan } from './lan-mesh.ts';
import { type MeshProcesses, type NodeProcess, until } from './mesh-processes.ts';
import { isWholeOutput, Witness } from './witness.ts';

const DEADLINE = { timeout: 180_000 };
const skip = whyNoLan() ?? false;
const MESH = new URL('../../dist/mesh.mjs', import.meta.url).pathname;
const SLOTS = { slots: 4 };

async function forget(mesh: MeshProcesses, { host }: HostedNode, name: string): Promise<string> {
  const [command = '', ...rest] = host.prefix;
  const words = [...rest, process.execPath, MESH, 'forget', name, '--yes'];
  const env = { ...process.env, MESH_CONFIG_DIR: join(mesh.folder, 'config') };
  const { stdout } = await promisify(execFile)(command, words, { env });
  return stdout;
}

/** Without a word: no connection is refused, as it would be by a machine that still runs. */
async function vanish({ node, host }: HostedNode): Promise<void> {
  host.unplug();
  await node.killHost();
}

const isDead = async (asked: NodeProcess, name: string): Promise<void> => {
  await until(`${name} is dead`, 40_000, async () => (await asked.peerState(name)) === 'dead');
};

async function isOnAllDisks(asked: NodeProcess, id: string, count: number): Promise<void> {
  await until('all have the record', 30_000, async () => {
    const job = await asked.job(id);
    return (job.replicas as string[]).length === count && job.durability === 'replicated';
  });
}

describe('a host that is gone for good', { skip, concurrency: 2 }, () => {
  test('of a pair: its jobs go on when it is forgotten', DEADLINE, async (t) => {
    const { mesh, hosted } = await startLan(t, [SLOTS, SLOTS]);
    const [first, second] = hosted as [HostedNode, HostedNode];
    const [one, two] = [first.node, second.node];
    const job = new Witness(mesh.folder, 'job');
    const id = await two.submit(job.command);
    await job.begins();
    await isOnAllDisks(one, id, 2);
    await vanish(second);
    await isDead(one, 'two');
    const waiting = await one.job(id);
    assert.deepEqual([waiting.owner_node_id, waiting.from_replica], [two.id, true]);
    assert.match(await forget(mesh, first, 'two'), /two/);
    assert.equal((await job.begins(2)).node, 'one');
    job.release();
    const ended = await one.jobEnds(id);
    assert.deepEqual([ended.status, ended.owner_node_id], ['JOB_COMPLETED', one.id]);
    assert.ok(isWholeOutput(ended.stdout), ended.stdout);
    assert.equal(job.hasOverlap(), false);

    second.host.plugIn();
    const { prefix } = second.host;
    const again = await mesh.start('two', { ...SLOTS, ...second.reach, prefix });
    await until('it has another identity', 40_000, async () => {
      await again.ready();
      return again.id !== two.id;
    });
    assert.match(again.log, /this node was forgotten by the mesh/);
    await one.seesPeers(1);
    assert.equal(job.lives().length, 2);
    assert.equal((await one.job(id)).fence, ended.fence);
  });

  test(
    'with another one, of three: the last one waits for both, then goes on',
    DEADLINE,
    async (t) => {
      const { mesh, hosted } = await startLan(t, [SLOTS, SLOTS, SLOTS]);
      const [first, ...gone] = hosted as [HostedNode, HostedNode, HostedNode];
      const one = first.node;
      const job = new Witness(mesh.folder, 'job');
      const id = await gone[0].node.submit(job.command);
      await job.begins();
      await isOnAllDisks(one, id, 3);
      await Promise.all(gone.map(vanish));
      for (const { node } of gone) await isDead(one, node.name);
      assert.equal((await one.job(id)).from_replica, true);
      await forget(mesh, first, 'two');
      await forget(mesh, first, 'three');
      assert.equal((await job.begins(2)).node, 'one');
      job.release();
      const ended = await one.jobEnds(id);
      assert.deepEqual([ended.status, ended.replicas], ['JOB_COMPLETED', [one.id]]);
      assert.equal(job.lives().length, 2);
      assert.equal(job.hasOverlap(), false);
    },
  );
});
