import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { MeshError } from '../../src/base/errors.ts';
import { asJobId, type NodeId } from '../../src/base/ids.ts';
import type { LiveRecord } from '../../src/core/calls.ts';
import type { Reply } from '../../src/core/effects.ts';
import { ownerOf } from '../../src/core/record.ts';
import { Finder } from '../../src/node/finder.ts';
import type { SubmitResult } from '../../src/node/service.ts';
import { homeOf } from '../../src/node/submissions.ts';
import { Submitter } from '../../src/node/submitter.ts';
import { SELF, SPEC } from '../core/core-bench.ts';
import { type BenchNode, DEADLINE, MeshBench, until } from './mesh-bench.ts';

const byId = (text: string) => ({ kind: 'id', text }) as const;
const isRefused = (result: SubmitResult, code: string, text: RegExp): void => {
  assert.equal(result.kind, 'refused', JSON.stringify(result));
  assert.equal(result.code, code);
  assert.match(result.message, text);
};

/** A client's id whose home is this node. */
function idOf(home: NodeId, nodes: readonly BenchNode[]): string {
  const ids = nodes.map(({ id }) => id);
  for (let i = 0; ; i++) if (homeOf(asJobId(`id-${i}`), ids) === home) return `id-${i}`;
}

describe('a new job', { concurrency: true }, () => {
  test('is replicated where there are others, local where there are none', DEADLINE, async (t) => {
    const [pair, alone] = [await MeshBench.start(t, '12'), await MeshBench.start(t, '1')];
    const durability = async (node: BenchNode, replicas?: 1): Promise<string> => {
      const result = await node.submit({ replicas });
      assert.ok(result.kind === 'accepted');
      return result.durability;
    };
    assert.equal(await durability(pair.of(0)), 'replicated');
    assert.equal(await durability(pair.of(0), 1), 'local');
    assert.equal(await durability(alone.of(0)), 'local');
  });

  test(
    'that asks for more nodes than there are is refused with both numbers',
    DEADLINE,
    async (t) => {
      const mesh = await MeshBench.start(t, '12');
      const result = await mesh.of(0).submit({ replicas: 3 });
      isRefused(result, 'NOT_ENOUGH_REPLICAS', /^3 nodes .* Nothing was recorded/);
      assert.equal((await mesh.of(0).node.listJobs({ limit: 9 }, 'mesh')).jobs.length, 0);
    },
  );

  test(
    'that too few nodes take in time is refused, recorded as cancelled and never run',
    DEADLINE,
    async (t) => {
      const mesh = await MeshBench.start(t, '123');
      mesh.network.freeze(mesh.of(2).id);
      const result = await mesh.of(0).submit({ replicas: 3 });
      isRefused(result, 'NOT_ENOUGH_REPLICAS', /^3 nodes .* and 2 took it in time/);
      mesh.network.thaw(mesh.of(2).id);
      const [live] = (await mesh.of(0).node.listJobs({ limit: 9 }, 'node')).jobs;
      await mesh.of(0).becomes(live?.record.header.job ?? assert.fail(), 'JOB_CANCELLED');
      assert.equal(mesh.nodes.flatMap(({ started }) => started).length, 0);
    },
  );
});

describe('a keyed job', { concurrency: true }, () => {
  test('is one, wherever and however often it is submitted', DEADLINE, async (t) => {
    const mesh = await MeshBench.start(t, '123', { slots: 0 });
    const key = { kind: 'idempotency', text: 'order' } as const;
    const results = await Promise.all(mesh.nodes.map((node) => node.submit({}, key)));
    const taken = results.map((result) => {
      assert.equal(result.kind, 'accepted', JSON.stringify(result));
      return result;
    });
    assert.equal(new Set(taken.map(({ live }) => live.record.header.job)).size, 1);
    assert.equal(new Set(taken.map(({ live }) => live.record.header.birth)).size, 1);
    assert.equal(taken.filter(({ isRepeat }) => !isRepeat).length, 1);
    const other = await mesh.of(1).submit({ command: 'other' }, key);
    isRefused(other, 'KEY_CONFLICT', /other content/);
  });

  test('goes to the next home when the first dies under the submit', DEADLINE, async (t) => {
    const mesh = await MeshBench.start(t, '1234', { slots: 0 });
    const [client, home] = [mesh.of(0), mesh.of(2)];
    const id = idOf(home.id, mesh.nodes);
    mesh.network.onCall = (to, call) => {
      if (to === home.id && call.kind === 'submit') void home.kill();
    };
    const result = await client.submit({}, byId(id));
    assert.equal(result.kind, 'accepted', JSON.stringify(result));
    assert.equal(result.isRepeat, false);
    assert.equal(result.durability, 'replicated');
    const live = await client.get(asJobId(id));
    assert.notEqual(ownerOf(live.record.header), home.id);
  });

  test(
    'that a home has taken and not told before its end is found, not taken again',
    DEADLINE,
    async (t) => {
      const mesh = await MeshBench.start(t, '1234', { slots: 0 });
      const [client, home] = [mesh.of(0), mesh.of(2)];
      const id = asJobId(idOf(home.id, mesh.nodes));
      // The answer is lost on the way, and the home with it, once two disks have the job.
      mesh.network.onCall = (to, call) => {
        if (to !== home.id || call.kind !== 'submit') return;
        mesh.network.onCall = () => {};
        const others = mesh.nodes.filter((node) => node !== home);
        void until('another has it', () =>
          others.some(({ disk }) => disk.tables.records.has(id)),
        ).then(() => home.kill());
        mesh.network.mute(home.id, client.id);
      };
      const result = await client.submit({}, byId(id));
      assert.equal(result.kind, 'accepted', JSON.stringify(result));
      const births = mesh.nodes.flatMap(
        ({ disk }) => disk.tables.records.get(id)?.header.birth ?? [],
      );
      assert.ok(births.length >= 2);
      assert.equal(new Set(births).size, 1);
      assert.equal(result.live.record.header.birth, births[0]);
      assert.equal(result.isRepeat, false, 'it is this very submit that was taken');
    },
  );

  test('goes to the next home when the first drains', DEADLINE, async (t) => {
    const mesh = await MeshBench.start(t, '123', { slots: 0 });
    const [client, home] = [mesh.of(0), mesh.of(2)];
    const id = idOf(home.id, mesh.nodes);
    mesh.network.onCall = (to, call) => {
      if (to === home.id && call.kind === 'submit') home.node.drain(60_000, 'stop');
    };
    const result = await client.submit({}, byId(id));
    assert.equal(result.kind, 'accepted', JSON.stringify(result));
  });

  test('whose replicas do not answer is refused, and nothing is recorded', DEADLINE, async (t) => {
    const mesh = await MeshBench.start(t, '123', { slots: 0 });
    const id = idOf(mesh.of(0).id, mesh.nodes);
    mesh.network.freeze(mesh.of(1).id);
    mesh.network.freeze(mesh.of(2).id);
    const result = await mesh.of(0).submit({}, byId(id));
    isRefused(result, 'NO_QUORUM', /submit it again with the same key/);
    assert.equal(mesh.of(0).disk.tables.records.size, 0);
    mesh.network.thaw(mesh.of(1).id);
    mesh.network.thaw(mesh.of(2).id);
    await until(
      'it is taken',
      async () => (await mesh.of(0).submit({}, byId(id))).kind === 'accepted',
    );
  });
});

describe('a submit whose job another node decides about now', { concurrency: true }, () => {
  /** The core says so; what is found then is given, look by look. */
  function submitterOf(found: (look: number, job: string) => LiveRecord | undefined): Submitter {
    let looks = 0;
    let asked = '';
    const core = {
      enliven: () => assert.fail(),
      linked: () => [],
      peers: () => [],
      remembered: () => [],
    };
    const finder = new Finder({
      self: SELF,
      core: { ...core, enliven: () => found(looks++, asked) as LiveRecord },
      store: { readRecord: () => ({}) as never },
      links: { call: () => assert.fail() },
      awaited: () => [],
    });
    return new Submitter({
      params: { problemsOf: () => undefined },
      inputs: { secure: () => undefined },
      self: SELF,
      core,
      queries: {
        command: async (call): Promise<Reply> => {
          asked = call.kind === 'submit' ? call.submission.contentHash : '';
          return { kind: 'deposed', job: asJobId('j') };
        },
      },
      links: { call: () => assert.fail() },
      finder,
      storeFailure: () => undefined,
    });
  }

  const live = (contentHash: string, change: Partial<LiveRecord>): LiveRecord =>
    ({
      record: { header: { birth: 'b', rs: [], oldRs: [] }, job: { contentHash } },
      durability: 'replicated',
      isOwner: true,
      ...change,
    }) as never;

  test('is what that node says, once one decides', DEADLINE, async () => {
    const submitter = submitterOf((look, hash) => live(hash, { isOwner: look >= 2 }));
    const [result] = await submitter.submit([{ spec: SPEC }]);
    assert.deepEqual(
      [result?.kind, result?.kind === 'accepted' && result.durability],
      ['accepted', 'replicated'],
    );
  });

  test('of other content is a conflict', DEADLINE, async () => {
    const [result] = await submitterOf(() => live('other', {})).submit([
      { spec: SPEC, key: byId('k') },
    ]);
    isRefused(result ?? assert.fail(), 'KEY_CONFLICT', /other content/);
  });

  test('that nobody can tell of may have been taken, and says so', DEADLINE, async () => {
    const submitter = submitterOf(() => {
      throw new MeshError('NOT_KNOWABLE', 'some do not answer');
    });
    const [result] = await submitter.submit([{ spec: SPEC }]);
    isRefused(result ?? assert.fail(), 'NOT_KNOWABLE', /may have been taken/);
  });
});
