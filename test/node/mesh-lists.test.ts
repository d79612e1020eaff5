import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { asJobId, asNonce, type NodeId } from '../../src/base/ids.ts';
import { asWall } from '../../src/base/instant.ts';
import { seededRandom } from '../../src/base/random.ts';
import type { LiveRecord, RecordQuery } from '../../src/core/calls.ts';
import type { JobStatus } from '../../src/core/job.ts';
import type { JobRecord } from '../../src/core/job-record.ts';
import { Finder } from '../../src/node/finder.ts';
import { mergeRows } from '../../src/node/mesh-list.ts';
import { Queries } from '../../src/node/queries.ts';
import { MemoryDisk } from '../conformance/memory-store.ts';
import { B, C, D, SELF, SPEC } from '../core/core-bench.ts';
import { type BenchNode, DEADLINE, MeshBench, until } from './mesh-bench.ts';

const namesOf = (jobs: readonly LiveRecord[]): string[] =>
  jobs.map(({ record }) => record.header.job);

/** Ids in the order they are listed, page by page. */
async function listAll(
  node: BenchNode,
  query: RecordQuery,
  scope: 'node' | 'mesh' = 'mesh',
): Promise<string[]> {
  const seen: string[] = [];
  for (let { before } = query; ; ) {
    const page = await node.node.listJobs({ ...query, before }, scope);
    assert.ok(page.jobs.length <= query.limit);
    seen.push(...namesOf(page.jobs));
    before = page.next;
    if (!before) return seen;
  }
}

const byId = (text: string) => ({ kind: 'id', text }) as const;

describe('a list of the mesh', () => {
  test('has each job once, newest first, page by page, at every node', DEADLINE, async (t) => {
    const mesh = await MeshBench.start(t, '1234', { slots: 0 });
    const taken: string[] = [];
    for (let i = 0; i < 13; i++) {
      const node = mesh.of(i % 4);
      taken.unshift(await node.take({ replicas: i % 3 === 0 ? 1 : undefined }));
      await until('the calendar goes on', () => Date.now() > createdAt(node, taken[0]));
    }
    for (const node of mesh.nodes)
      for (const limit of [3, 5, 100])
        assert.deepEqual(await listAll(node, { limit }), taken, `${node.id} by ${limit}`);
  });

  test(
    'goes by the owner’s word on the status, not by what a replica last heard',
    DEADLINE,
    async (t) => {
      const mesh = await MeshBench.start(t, '123');
      const held = await mesh.of(0).take({ command: 'hold' });
      const waits = await mesh.of(0).take({ taskType: 'none' });
      await mesh.of(0).becomes(held, 'JOB_RUNNING');
      const of = (status: JobStatus) => listAll(mesh.of(2), { limit: 1, statuses: [status] });
      assert.deepEqual(await of('JOB_RUNNING'), [held]);
      assert.deepEqual(await of('JOB_ASSIGNED'), []);
      assert.deepEqual(await of('JOB_PENDING'), [waits]);
    },
  );

  test(
    'has the jobs of an owner that does not answer, from its replicas, and names it',
    DEADLINE,
    async (t) => {
      const mesh = await MeshBench.start(t, '123', { slots: 0 });
      const shared = await mesh.of(0).take();
      await mesh.of(0).take({ replicas: 1 });
      mesh.network.freeze(mesh.of(0).id);
      const page = await mesh.of(1).node.listJobs({ limit: 10 }, 'mesh');
      assert.deepEqual(namesOf(page.jobs), [shared]);
      assert.deepEqual(
        page.missing.map(({ node }) => node),
        [mesh.of(0).id],
      );
    },
  );

  test('of one node is all that it keeps', DEADLINE, async (t) => {
    const mesh = await MeshBench.start(t, '12', { slots: 0 });
    const [one, two] = [mesh.of(0), mesh.of(1)];
    const shared = await one.take();
    const alone = await one.take({ replicas: 1 });
    assert.deepEqual(new Set(await listAll(one, { limit: 10 }, 'node')), new Set([shared, alone]));
    assert.deepEqual(await listAll(two, { limit: 10 }, 'node'), [shared]);
  });

  test('has a keyed job once as well', DEADLINE, async (t) => {
    const mesh = await MeshBench.start(t, '123', { slots: 0 });
    for (const node of mesh.nodes) await node.take({}, byId('mine'));
    assert.deepEqual(await listAll(mesh.of(1), { limit: 10 }), ['mine']);
  });
});

const createdAt = ({ disk }: BenchNode, job: string | undefined): number =>
  disk.tables.records.get(asJobId(job ?? ''))?.job.createdAt ?? 0;

describe('a list of running jobs', () => {
  test('finds them behind newer ones that are only assigned', async () => {
    const disk = new MemoryDisk();
    const { store } = disk.open(seededRandom(1));
    for (let i = 1; i <= 6; i++) {
      const { record } = row({ id: `job-${i}`, owner: SELF, at: i });
      const grant = {
        fence: { epoch: record.header.promised, attempt: 1 },
        executor: B,
        executorBoot: { counter: 1, salt: '' },
        nonce: asNonce('1.1'),
        at: asWall(i),
        why: '',
      };
      const job = { ...record.job, state: { tag: 'granted', grant } as const };
      store.commit([{ kind: 'record', ...record, job }]);
    }
    const isRunning = (id: string): boolean => id === 'job-1' || id === 'job-2';
    const core = {
      peers: () => [],
      linked: () => [],
      remembered: () => [],
      enliven: (record: JobRecord): LiveRecord => ({
        ...row({ id: record.header.job, owner: SELF, isOwner: true }),
        record,
        status: isRunning(record.header.job) ? 'JOB_RUNNING' : 'JOB_ASSIGNED',
      }),
    };
    const links = { call: () => assert.fail('nobody is asked') };
    const finder = new Finder({ self: SELF, core, store, links, awaited: () => [] });
    const queries = new Queries({
      executor: {},
      self: SELF,
      core,
      driver: { ask: () => assert.fail() },
      store,
      links,
      outputs: { read: async () => undefined, whyRemoved: async () => undefined },
      terminals: { answer: () => assert.fail() },
      finder,
    });
    const listed = async (limit: number, status: JobStatus): Promise<string[]> =>
      namesOf((await queries.list({ limit, statuses: [status] }, 'node')).jobs);
    assert.deepEqual(await listed(2, 'JOB_RUNNING'), ['job-2', 'job-1']);
    assert.equal((await listed(10, 'JOB_ASSIGNED')).length, 4);
  });
});

// ---------------------------------------------------------------- the merge alone

interface Row {
  readonly id: string;
  readonly owner: NodeId;
  readonly at?: number;
  readonly version?: number;
  readonly isOwner?: boolean;
  readonly promised?: NodeId;
}

function row({ id, owner, at = 0, version = 1, isOwner = false, promised }: Row): LiveRecord {
  const epoch = { counter: 1, node: owner };
  return {
    record: {
      header: {
        job: asJobId(id),
        birth: 'b' as never,
        rs: [SELF, B, C],
        oldRs: [],
        promised: promised ? { counter: 2, node: promised } : epoch,
        accepted: { epoch, version },
        writerBoot: { counter: 1, salt: '' },
        minVersion: 1,
      },
      job: {
        spec: SPEC,
        createdAt: asWall(at),
        createdBy: owner,
        contentHash: '',
        state: { tag: 'pending' },
        attempts: version,
        losses: 0,
        history: [],
      },
    },
    status: 'JOB_PENDING',
    durability: 'replicated',
    isSettling: false,
    isOwner,
    waiting: [],
  };
}

const versions = (jobs: readonly LiveRecord[]): [string, number][] =>
  jobs.map(({ record }) => [record.header.job, record.header.accepted.version]);

describe('rows of several nodes', () => {
  test('of one job are one: the owner’s, else the newest copy', () => {
    const { jobs } = mergeRows(
      [
        { node: SELF, rows: [row({ id: 'x', owner: D, version: 2 })] },
        {
          node: B,
          rows: [
            row({ id: 'y', owner: B, version: 1, isOwner: true }),
            row({ id: 'x', owner: D, version: 3 }),
          ],
        },
        { node: C, rows: [row({ id: 'y', owner: D, version: 9 })] },
      ],
      10,
    );
    assert.deepEqual(versions(jobs), [
      ['y', 1],
      ['x', 3],
    ]);
  });

  test('do not list what the decider, who answered, does not list', () => {
    const stale = row({ id: 'x', owner: B });
    const answers = [{ node: SELF, rows: [stale] }];
    assert.equal(mergeRows(answers, 10).jobs.length, 1);
    assert.equal(mergeRows([...answers, { node: B, rows: [] }], 10).jobs.length, 0);
  });

  test('count the word of the one a replica has promised, even before it decides', () => {
    const promised = row({ id: 'x', owner: D, promised: B });
    assert.equal(mergeRows([{ node: B, rows: [promised] }], 10).jobs.length, 1);
    const others = [
      { node: C, rows: [promised] },
      { node: B, rows: [] },
    ];
    assert.equal(mergeRows(others, 10).jobs.length, 0);
  });

  test('end where the first full answer ends, and go on from there', () => {
    const own = (id: string, at: number, node: NodeId) =>
      row({ id, at, owner: node, isOwner: true });
    const { jobs, next } = mergeRows(
      [
        { node: SELF, rows: [own('a', 9, SELF), own('b', 1, SELF)] },
        { node: B, rows: [own('c', 8, B), own('d', 7, B)] },
      ],
      2,
    );
    assert.deepEqual(namesOf(jobs), ['a', 'c']);
    assert.deepEqual(next, { createdAt: 8, job: 'c' });
    const dropped = [
      { node: SELF, rows: [row({ id: 'x', at: 5, owner: B }), row({ id: 'y', at: 4, owner: B })] },
      { node: B, rows: [own('z', 1, B)] },
    ];
    const page = mergeRows(dropped, 2);
    assert.deepEqual(namesOf(page.jobs), []);
    assert.deepEqual(page.next, { createdAt: 4, job: 'y' });
  });

  test('that are all there is have no next page', () => {
    const rows = [row({ id: 'x', owner: SELF, isOwner: true })];
    assert.equal(mergeRows([{ node: SELF, rows }], 2).next, undefined);
  });
});
