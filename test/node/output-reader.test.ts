import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { MeshError } from '../../src/base/errors.ts';
import type { JobId, NodeId } from '../../src/base/ids.ts';
import { asWall } from '../../src/base/instant.ts';
import type { OutputChunk } from '../../src/core/calls.ts';
import { OutputReader } from '../../src/node/output-reader.ts';
import type { Links, Outputs } from '../../src/node/ports.ts';
import { Queries } from '../../src/node/queries.ts';
import { B, SELF } from '../core/core-bench.ts';
import { DriverBench } from './driver-bench.ts';

const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString();
const chunkOf = (kept: string, offset: number, isEnd: boolean): OutputChunk => ({
  bytes: Buffer.from(kept.slice(offset)),
  offset,
  isEnd,
  isTruncated: false,
});

/** A node that owns a job and runs it; what it printed is kept here, or not. */
class ReaderBench {
  readonly bench = new DriverBench({ slots: 1 });
  /** Output kept on this disk; undefined: nothing. */
  kept: string | undefined;
  isRunning = true;
  readonly reader: OutputReader;
  private readonly listeners = new Set<Parameters<typeof this.subscribe>[0]>();

  constructor(call: Links['call'] = () => assert.fail('nobody is asked')) {
    const { core, driver, store, events } = this.bench;
    const links = { ...NO_LINKS, call };
    const outputs: Outputs = {
      read: async (_attempt, _stream, { offset }) =>
        this.kept === undefined ? undefined : chunkOf(this.kept, offset, !this.isRunning),
    };
    const queries = new Queries({ self: SELF, core, driver, store, links, outputs });
    const subscribe = this.subscribe.bind(this);
    this.reader = new OutputReader({ self: SELF, queries, links, outputs, subscribe });
    const push = events.push.bind(events);
    events.push = (...added) => {
      for (const event of added) for (const listener of this.listeners) listener(event);
      return push(...added);
    };
  }

  private subscribe(listener: (event: DriverBench['events'][number]) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  async submit(): Promise<JobId> {
    const job = this.bench.submit();
    await this.bench.settle();
    return job;
  }

  /** The attempt ends; its tail travels with the outcome. */
  async end(tail: string, totalBytes = tail.length): Promise<void> {
    this.isRunning = false;
    const { job, fence } = this.bench.started[0] ?? assert.fail('nothing was started');
    const stdout = { bytes: Buffer.from(tail), totalBytes, isTruncated: false };
    const end = { tag: 'exited', code: 0 } as const;
    const finishedAt = asWall(2);
    const report = { kind: 'ended', job, fence, end, finishedAt, stdout, stderr: stdout } as const;
    this.bench.driver.push({ kind: 'report', report });
    await this.bench.settle();
  }
}

const NO_LINKS = {
  start: async () => ({ port: 0 }),
  dial: () => {},
  send: () => {},
  hangUp: () => {},
  stop: async () => {},
};

const RANGE = { offset: 0, maxBytes: 1000 };

describe('the output of a job', () => {
  test('is read from this disk while it runs and after it', async () => {
    const node = new ReaderBench();
    node.kept = 'one\n';
    const job = await node.submit();
    const first = await node.reader.read(job, 'stdout', RANGE);
    assert.equal(text(first.bytes), 'one\n');
    assert.equal(first.isEnd, false);
    assert.deepEqual(first.fence, node.bench.started[0]?.fence);
    node.kept = 'one\ntwo\n';
    await node.end('two\n', 8);
    const rest = await node.reader.read(job, 'stdout', { ...RANGE, offset: 4 });
    assert.equal(text(rest.bytes), 'two\n');
    assert.equal(rest.isEnd, true);
    assert.equal(rest.totalBytes, 8);
  });

  test('is the tail of the outcome where the disk has nothing any more', async () => {
    const node = new ReaderBench();
    const job = await node.submit();
    await node.end('the end', 100);
    const part = await node.reader.read(job, 'stdout', RANGE);
    assert.equal(text(part.bytes), 'the end');
    assert.equal(part.offset, 93);
    assert.equal(part.isTruncated, true);
    assert.equal(part.isEnd, true);
    const beyond = await node.reader.read(job, 'stdout', { ...RANGE, offset: 96 });
    assert.equal(text(beyond.bytes), ' end'.slice(0, 4));
    assert.equal(beyond.isTruncated, false);
  });

  test('of a job that has not started is empty, and the wait for it ends with its start', async () => {
    const node = new ReaderBench();
    await node.submit();
    const waiting = await node.submit();
    const part = await node.reader.read(waiting, 'stdout', RANGE);
    assert.deepEqual([part.bytes.length, part.isEnd, part.fence], [0, false, undefined]);
    const reading = node.reader.read(waiting, 'stdout', { ...RANGE, waitMs: 60_000 });
    await node.end('');
    assert.equal((await reading).bytes.length, 0);
  });

  test('is asked of the node that ran it, whose silence leaves the tail', async () => {
    const asked: NodeId[] = [];
    const node = new ReaderBench(async (to) => {
      asked.push(to);
      throw new MeshError('NODE_UNREACHABLE', 'it is silent');
    });
    const job = await node.submit();
    await node.end('tail');
    const record = node.bench.store.readRecord(job);
    const state = record?.job.state;
    assert.ok(record && state?.tag === 'final' && state.final.outcome);
    const outcome = { ...state.final.outcome, executor: B };
    const elsewhere = { ...state, final: { ...state.final, outcome } };
    node.bench.disk.tables.records.set(job, {
      ...record,
      job: { ...record.job, state: elsewhere },
    });
    assert.equal(text((await node.reader.read(job, 'stdout', RANGE)).bytes), 'tail');
    assert.deepEqual(asked, [B]);
  });

  test('of an attempt of which nothing is kept is gone', async () => {
    const node = new ReaderBench();
    const job = await node.submit();
    await node.end('x');
    const fence = node.bench.started[0]?.fence ?? assert.fail();
    const record = node.bench.store.readRecord(job) ?? assert.fail();
    const note = { executor: SELF, at: asWall(1), note: 'lost', isSuperseded: false };
    const past = { ...note, fence: { ...fence, attempt: 7 } };
    node.bench.disk.tables.records.set(job, {
      ...record,
      job: { ...record.job, history: [past] },
    });
    const reading = node.reader.read(job, 'stdout', { ...RANGE, fence: past.fence });
    await assert.rejects(
      reading,
      (thrown) => thrown instanceof MeshError && thrown.code === 'OUTPUT_GONE',
    );
  });
});
