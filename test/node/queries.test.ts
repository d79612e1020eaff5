import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { MeshError } from '../../src/base/errors.ts';
import { asJobId, asNonce, type JobId, type NodeId } from '../../src/base/ids.ts';
import { asWall } from '../../src/base/instant.ts';
import type { LiveRecord } from '../../src/core/calls.ts';
import { IDLE_LOAD } from '../../src/core/facts.ts';
import { Queries } from '../../src/node/queries.ts';
import { B, C, factsOf, SELF } from '../core/core-bench.ts';
import { DriverBench } from './driver-bench.ts';

const codeOf = (code: string) => (thrown: unknown) =>
  thrown instanceof MeshError && thrown.code === code;

interface Peer {
  readonly bench: DriverBench;
  readonly queries: Queries;
  /** Nobody answers there. */
  isSilent: boolean;
  calls: number;
}

/** Three nodes, each a real core and driver, that call each other directly. */
class Trio {
  readonly peers = new Map<NodeId, Peer>();

  constructor(slots = 0) {
    for (const node of [SELF, B, C]) {
      const bench = new DriverBench({ slots, node });
      const queries = new Queries({
        self: node,
        core: bench.core,
        driver: bench.driver,
        store: bench.store,
        links: {
          ...NO_LINKS,
          call: async (to, call) => {
            const peer = this.of(to);
            peer.calls++;
            if (peer.isSilent) throw new MeshError('NODE_UNREACHABLE', `${to} is silent`);
            const answer = peer.queries.answer(call, new AbortController().signal);
            await peer.bench.settle();
            return answer;
          },
        },
        outputs: { read: async () => undefined },
      });
      this.peers.set(node, { bench, queries, isSilent: false, calls: 0 });
    }
    for (const [node, { bench }] of this.peers)
      for (const other of this.peers.keys()) if (other !== node) bench.link(other);
  }

  of(node: NodeId): Peer {
    return this.peers.get(node) ?? assert.fail(`no node ${node}`);
  }

  get self(): Peer {
    return this.of(SELF);
  }

  async settle(): Promise<void> {
    for (const { bench } of this.peers.values()) await bench.settle();
  }

  /** A job that this node owns. */
  async submit(node: NodeId, key: string): Promise<JobId> {
    const { bench } = this.of(node);
    await this.settle();
    await bench.advance(10);
    const job = bench.submit({ taskType: 'none' }, key);
    await bench.settle();
    return job;
  }
}

const NO_LINKS = {
  start: async () => ({ port: 0 }),
  dial: () => {},
  send: () => {},
  hangUp: () => {},
  stop: async () => {},
};

const names = (jobs: readonly LiveRecord[]): string[] =>
  jobs.map(({ record }) => record.header.job);

describe('a job', () => {
  test('is found on this disk, or at the node that has it', async () => {
    const trio = new Trio();
    const here = await trio.submit(SELF, 'here');
    const there = await trio.submit(B, 'there');
    assert.equal((await trio.self.queries.find(here)).record.header.job, 'here');
    assert.equal(trio.of(B).calls, 0);
    assert.equal((await trio.self.queries.find(there)).record.header.job, 'there');
  });

  test('that was found once is asked for there and nowhere else', async () => {
    const trio = new Trio();
    const job = await trio.submit(B, 'there');
    await trio.self.queries.find(job);
    const before = trio.of(C).calls;
    await trio.self.queries.find(job);
    assert.equal(trio.of(C).calls, before);
  });

  test('that no node knows is not found; with a silent node nobody can know', async () => {
    const trio = new Trio();
    await trio.settle();
    await assert.rejects(trio.self.queries.find(asJobId('none')), codeOf('JOB_NOT_FOUND'));
    trio.of(C).isSilent = true;
    await assert.rejects(trio.self.queries.find(asJobId('none')), codeOf('NOT_KNOWABLE'));
  });

  test('is found though another node is silent', async () => {
    const trio = new Trio();
    const job = await trio.submit(B, 'there');
    trio.of(C).isSilent = true;
    assert.equal((await trio.self.queries.find(job)).status, 'JOB_PENDING');
  });
});

describe('a cancel', () => {
  test('is carried to the owner', async () => {
    const trio = new Trio();
    const job = await trio.submit(B, 'there');
    const live = await trio.self.queries.find(job);
    const answer = await trio.self.queries.command(live, { kind: 'cancel', job });
    assert.equal(answer.kind === 'reply' && answer.reply.kind, 'cancelled');
    assert.equal((await trio.self.queries.find(job)).status, 'JOB_CANCELLED');
  });

  test('with an owner that does not answer says so', async () => {
    const trio = new Trio();
    const job = await trio.submit(B, 'there');
    const live = await trio.self.queries.find(job);
    trio.of(B).isSilent = true;
    const command = trio.self.queries.command(live, { kind: 'cancel', job });
    await assert.rejects(command, codeOf('OWNER_UNREACHABLE'));
  });

  test('on a disk that takes no writes is not waited for without end', async () => {
    const trio = new Trio();
    const job = await trio.submit(SELF, 'here');
    trio.self.bench.disk.isFull = true;
    const live = await trio.self.queries.find(job);
    const command = trio.self.queries.command(live, { kind: 'cancel', job }, 50);
    await trio.settle();
    await assert.rejects(command, codeOf('DISK_FULL'));
  });
});

describe('a list', () => {
  test('of the mesh has the jobs of all nodes, newest first, page by page', async () => {
    const trio = new Trio();
    for (const [i, node] of [SELF, B, C, B, SELF, C, C].entries()) {
      for (const { bench } of trio.peers.values()) await bench.advance(10);
      await trio.submit(node, `job-${i}`);
    }
    const { queries } = trio.self;
    const seen: string[] = [];
    for (
      let before: { createdAt: LiveRecord['record']['job']['createdAt']; job: JobId } | undefined;
      ;
    ) {
      const page = await queries.list({ limit: 3, before }, 'mesh');
      seen.push(...names(page.jobs));
      assert.deepEqual(page.missing, []);
      before = page.next;
      if (!before) break;
    }
    assert.deepEqual(seen, ['job-6', 'job-5', 'job-4', 'job-3', 'job-2', 'job-1', 'job-0']);
    assert.deepEqual(names((await queries.list({ limit: 9 }, 'node')).jobs), ['job-4', 'job-0']);
  });

  test('names the nodes that are missing in it', async () => {
    const trio = new Trio();
    await trio.submit(SELF, 'here');
    trio.of(C).isSilent = true;
    const page = await trio.self.queries.list({ limit: 10 }, 'mesh');
    assert.deepEqual(names(page.jobs), ['here']);
    assert.deepEqual(
      page.missing.map(({ node }) => node),
      [C],
    );
  });

  test('of running jobs finds them behind newer ones that are only assigned', async () => {
    const bench = new DriverBench({ slots: 0 });
    const { core, driver, store } = bench;
    const links = { ...NO_LINKS, call: () => assert.fail('nobody is asked') };
    const outputs = { read: async () => undefined };
    const queries = new Queries({ self: SELF, core, driver, store, links, outputs });
    bench.driver.push({
      kind: 'linkUp',
      node: B,
      boot: { counter: 1, salt: '0'.repeat(16) },
      facts: factsOf(B, { slots: 10 }),
      host: 'b',
    });
    for (let i = 1; i <= 6; i++) {
      await bench.advance(10);
      const job = bench.submit();
      const load = { ...IDLE_LOAD, slots: 10 };
      await bench.settle();
      bench.hear({ kind: 'claim', nonce: asNonce(`1.${i}`), job, load });
      await bench.settle();
      const record = store.readRecord(job);
      const state = record?.job.state;
      assert.equal(state?.tag, 'granted');
      const { fence } = state.grant;
      if (i <= 2) bench.hear({ kind: 'started', job, fence, startedAt: asWall(1) });
    }
    await bench.settle();
    const running = { limit: 2, statuses: ['JOB_RUNNING' as const] };
    assert.deepEqual(names((await queries.list(running, 'node')).jobs), ['job-2', 'job-1']);
    const assigned = { limit: 10, statuses: ['JOB_ASSIGNED' as const] };
    assert.equal((await queries.list(assigned, 'node')).jobs.length, 4);
  });
});
