/** Cut cables between hosts: what goes on, on which side, and what is true when they are mended. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { promisify } from 'node:util';
import { whyNoFilter, whyNoLan } from '../../src/torture/lan.ts';
import { type HostedNode, startLan } from './lan-mesh.ts';
import {
  FINAL,
  type JobJson,
  type MeshProcesses,
  type NodeProcess,
  until,
} from './mesh-processes.ts';
import { attemptsOf, isWholeOutput, Witness } from './witness.ts';

const DEADLINE = { timeout: 180_000 };
const skip = whyNoLan() ?? false;
const MESH = new URL('../../dist/mesh.mjs', import.meta.url).pathname;

async function holdsAsDead(asked: NodeProcess, name: string): Promise<void> {
  await until(`${name} is dead to ${asked.name}`, 40_000, async () => {
    const state = await asked.peerState(name);
    return state === 'dead' || state === undefined;
  });
}

/** Every node tells the same end of the job; settles with it. */
async function agreeOn(nodes: readonly NodeProcess[], id: string): Promise<JobJson> {
  let seen: JobJson[] = [];
  const key = ({ status, fence, finished_at }: JobJson): string =>
    JSON.stringify([status, fence, finished_at]);
  await until(
    `all agree on the end of ${id}`,
    60_000,
    async () => {
      seen = await Promise.all(nodes.map((node) => node.job(id)));
      const [first] = seen;
      return (
        first !== undefined &&
        FINAL.includes(first.status) &&
        seen.every((job) => key(job) === key(first))
      );
    },
    () => JSON.stringify(seen),
  );
  const [first] = seen;
  assert.ok(first);
  return first;
}

const isOnDisks = ({ replicas, durability }: JobJson, count: number): boolean =>
  (replicas as string[]).length === count && durability === 'replicated';

interface ConflictsJson {
  readonly conflicts: { job_id: string; kind: string; note: string }[];
}

async function conflictsAt(node: NodeProcess): Promise<ConflictsJson['conflicts']> {
  return (await node.get<ConflictsJson>('/api/v1/conflicts')).body.conflicts;
}

async function doctor(mesh: MeshProcesses, { host }: HostedNode): Promise<string> {
  const [command = '', ...rest] = host.prefix;
  const words = [process.execPath, MESH, 'doctor', '--config-dir', join(mesh.folder, 'config')];
  // Findings of this machine may make it end with 1; what it says is what counts here.
  const ended = promisify(execFile)(command, [...rest, ...words]);
  const { stdout } = await ended.catch((failure: { stdout: string }) => failure);
  return stdout;
}

describe('a cut cable', { skip, concurrency: 3 }, () => {
  test(
    'of one of three: both sides go on, and afterwards all tell the same',
    DEADLINE,
    async (t) => {
      const { mesh, hosted } = await startLan(t, [{ slots: 8 }, { slots: 8 }, { slots: 8 }]);
      const nodes = hosted.map(({ node }) => node);
      const [one, two, three] = nodes as [NodeProcess, NodeProcess, NodeProcess];
      const witness = (name: string): Witness => new Witness(mesh.folder, name);
      const near = witness('near');
      const far = witness('far');
      const own = witness('own');
      const nearId = await one.submit(near.command, { target_node_id: two.id });
      const farId = await three.submit(far.command, { target_node_id: two.id });
      const ownId = await three.submit(own.command);
      const [, , first] = await Promise.all([near.begins(), far.begins(), own.begins()]);
      assert.equal(first.node, 'three', 'a node with free slots runs its own jobs');
      // On a busy machine a node may stand still just then, and a record begins on fewer disks.
      for (const id of [nearId, farId, ownId])
        await until('three disks have it', 30_000, async () => isOnDisks(await one.job(id), 3));

      hosted[2]?.host.unplug();
      // Before it has noticed: it asks the others, gets no answer, and says what that means.
      const early = witness('early').release();
      const soon = await three.post<JobJson>('/api/v1/jobs', { command: early.command });
      assert.deepEqual([soon.status, soon.body.durability], [201, 'local']);
      await Promise.all([holdsAsDead(one, 'three'), holdsAsDead(two, 'three')]);
      await Promise.all([holdsAsDead(three, 'one'), holdsAsDead(three, 'two')]);
      const alone = witness('alone').release();
      const { status, body } = await three.post<JobJson>('/api/v1/jobs', {
        command: alone.command,
      });
      assert.deepEqual([status, body.durability], [201, 'local']);
      assert.equal((await three.jobEnds(body.job_id)).status, 'JOB_COMPLETED');
      const together = await one.submit('echo together');
      assert.equal((await two.jobEnds(together)).durability, 'replicated');
      assert.notEqual((await own.begins(2)).node, 'three');
      for (const job of [near, far, own]) job.release();
      for (const id of [nearId, farId, ownId])
        assert.equal((await one.jobEnds(id)).status, 'JOB_COMPLETED');

      hosted[2]?.host.plugIn();
      await Promise.all(nodes.map((node) => node.seesPeers(2, 60_000)));
      for (const id of [nearId, farId, ownId, soon.body.job_id, body.job_id, together]) {
        const ended = await agreeOn(nodes, id);
        assert.equal(ended.status, 'JOB_COMPLETED', JSON.stringify(ended));
        if (id !== together) assert.ok(isWholeOutput(ended.stdout), ended.stdout);
      }
      assert.deepEqual(
        [near, far, own, early, alone].map((job) => job.lives().length),
        [1, 1, 2, 1, 1],
      );
      assert.equal(own.hasOverlap(), false);
      for (const node of nodes) assert.deepEqual(await conflictsAt(node), []);
    },
  );

  for (const count of [2, 3])
    test(
      `with one key on both sides, of ${count}: one of the jobs counts, the other is listed`,
      DEADLINE,
      async (t) => {
        const { mesh, hosted } = await startLan(t, Array(count).fill({}));
        const nodes = hosted.map(({ node }) => node);
        const [one, last] = [nodes[0], nodes.at(-1)] as [NodeProcess, NodeProcess];
        hosted.at(-1)?.host.unplug();
        for (const node of nodes)
          if (node !== last)
            await Promise.all([holdsAsDead(node, last.name), holdsAsDead(last, node.name)]);
        const ended = new Witness(mesh.folder, 'ended').release();
        const running = new Witness(mesh.folder, 'running');
        const ids = new Set<string>();
        for (const node of [one, last])
          for (const [key, { command }] of Object.entries({ ended, running })) {
            const keyed = { command, idempotency_key: key };
            const { status, body } = await node.post<JobJson>('/api/v1/jobs', keyed);
            assert.equal(status, 201, JSON.stringify(body));
            ids.add(body.job_id);
            if (key === 'ended') await node.jobEnds(body.job_id);
          }
        assert.equal(ids.size, 2, 'a key names the same job on both sides');
        await running.begins(2);
        hosted.at(-1)?.host.plugIn();
        await Promise.all(nodes.map((node) => node.seesPeers(count - 1, 60_000)));
        running.release();
        for (const id of ids) {
          const job = await agreeOn(nodes, id);
          assert.equal(job.status, 'JOB_COMPLETED', JSON.stringify(job));
          assert.ok(isWholeOutput(job.stdout), job.stdout);
        }
        for (const job of [ended, running]) assert.equal(job.lives().length, 2);
        let listed: string[] = [];
        for (const node of nodes)
          await until(
            `${node.name} lists what ran twice`,
            40_000,
            async () => {
              const births = (await conflictsAt(node)).filter(({ kind }) => kind === 'births');
              listed = births.map(({ job_id }) => job_id);
              return [...ids].every((id) => listed.includes(id));
            },
            () => JSON.stringify(listed),
          );
        assert.deepEqual(new Set(listed), ids);
        assert.match(await doctor(mesh, hosted[0] as HostedNode), /conflict/);
      },
    );

  test('in one direction: an executor that hears nobody is not one for long', {
    ...DEADLINE,
    skip: whyNoFilter() ?? false,
  }, async (t) => {
    const { mesh, hosted } = await startLan(t, [{ slots: 0 }, {}, {}]);
    const nodes = hosted.map(({ node }) => node);
    const [one] = nodes as [NodeProcess];
    const job = new Witness(mesh.folder, 'job');
    const id = await one.submit(job.command);
    const { node: name } = await job.begins();
    const executor = hosted.find(({ node }) => node.name === name);
    assert.ok(executor);
    const others = hosted.filter((each) => each !== executor);
    const heal = await executor.host.filter(
      others.map(({ host }) => ['INPUT', '-s', host.address, '-j', 'DROP']),
    );
    const second = await job.begins(2);
    assert.notEqual(second.node, name);
    await heal();
    await Promise.all(nodes.map((node) => node.seesPeers(2, 60_000)));
    job.release();
    const ended = await agreeOn(nodes, id);
    assert.equal(ended.status, 'JOB_COMPLETED', JSON.stringify(ended));
    assert.equal(attemptsOf(ended).length, 2, JSON.stringify(ended.attempts));
    assert.equal(job.lives().length, 2);
    assert.equal(job.hasOverlap(), false);
  });

  test('of a pair: each decides what it owns, and waits for the rest', DEADLINE, async (t) => {
    const { mesh, hosted } = await startLan(t, [{ slots: 2 }, { slots: 4 }]);
    const nodes = hosted.map(({ node }) => node);
    const [one, two] = nodes as [NodeProcess, NodeProcess];
    const witness = (name: string): Witness => new Witness(mesh.folder, name);
    const own = witness('own');
    const filler = witness('filler');
    const given = witness('given');
    const theirs = witness('theirs');
    const ownId = await one.submit(own.command, { target_node_id: one.id });
    const fillerId = await one.submit(filler.command, { target_node_id: one.id });
    await Promise.all([own.begins(), filler.begins()]);
    // Its own slots are taken, so this one goes over.
    const givenId = await one.submit(given.command);
    const theirsId = await two.submit(theirs.command, { target_node_id: two.id });
    assert.equal((await given.begins()).node, 'two');
    await theirs.begins();
    filler.release();
    await one.jobEnds(fillerId);
    for (const id of [ownId, givenId, theirsId])
      await until('both disks have it', 30_000, async () => isOnDisks(await one.job(id), 2));

    hosted[1]?.host.unplug();
    await Promise.all([holdsAsDead(one, 'two'), holdsAsDead(two, 'one')]);
    for (const job of [own, theirs]) job.release();
    assert.equal((await one.jobEnds(ownId)).status, 'JOB_COMPLETED');
    assert.equal((await two.jobEnds(theirsId)).status, 'JOB_COMPLETED');
    const waiting = await two.job(ownId);
    assert.deepEqual([FINAL.includes(waiting.status), waiting.from_replica], [false, true]);
    assert.equal((await given.begins(2)).node, 'one');
    given.release();
    assert.equal((await one.jobEnds(givenId)).status, 'JOB_COMPLETED');
    const apart: string[] = [];
    for (const node of nodes) {
      const id = await node.submit('true');
      assert.equal((await node.jobEnds(id)).durability, 'local');
      apart.push(id);
    }

    hosted[1]?.host.plugIn();
    await Promise.all(nodes.map((node) => node.seesPeers(1, 60_000)));
    for (const id of [ownId, fillerId, givenId, theirsId, ...apart])
      assert.equal((await agreeOn(nodes, id)).status, 'JOB_COMPLETED');
    assert.deepEqual(
      [own, filler, given, theirs].map((job) => job.lives().length),
      [1, 1, 2, 1],
    );
    assert.equal(given.hasOverlap(), false);
    assert.deepEqual(await conflictsAt(one), []);
    assert.deepEqual(await conflictsAt(two), []);
  });
});
