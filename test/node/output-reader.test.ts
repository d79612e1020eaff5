import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { MeshError } from '../../src/base/errors.ts';
import type { JobId } from '../../src/base/ids.ts';
import type { AttemptOrder } from '../../src/core/effects.ts';
import { attemptKey } from '../../src/core/record.ts';
import type { OutputPart } from '../../src/node/service.ts';
import { type BenchNode, DEADLINE, MeshBench, until } from './mesh-bench.ts';

const EXIT_0 = { tag: 'exited', code: 0 } as const;
const RANGE = { offset: 0, maxBytes: 1000 };

const text = ({ bytes }: OutputPart): string => Buffer.from(bytes).toString();
const isCode =
  (code: string) =>
  (thrown: unknown): boolean =>
    thrown instanceof MeshError && thrown.code === code;

/** A job of one node that runs on another, and the order that this one has. */
async function runElsewhere(
  mesh: MeshBench,
): Promise<{ job: JobId; executor: BenchNode; order: AttemptOrder }> {
  const [owner, executor] = [mesh.of(0), mesh.of(1)];
  const needs = { target: executor.id, labels: {}, capabilities: {} };
  const job = await owner.take({ command: 'hold', needs });
  await owner.becomes(job, 'JOB_RUNNING');
  const order = executor.started.find((one) => one.job === job) ?? assert.fail('not started');
  return { job, executor, order };
}

describe('the output of a job', { concurrency: true }, () => {
  test('is read from the disk of its node while it runs and after it', DEADLINE, async (t) => {
    const mesh = await MeshBench.start(t, '123');
    const { job, executor, order } = await runElsewhere(mesh);
    executor.print(order, 'one\n');
    const first = await mesh.of(2).node.readOutput(job, 'stdout', RANGE);
    assert.deepEqual([text(first), first.isEnd, first.isTail], ['one\n', false, false]);
    assert.deepEqual(first.fence, order.fence);
    executor.print(order, 'two\n');
    executor.end(order, EXIT_0, 4);
    await mesh.of(0).becomes(job, 'JOB_COMPLETED');
    const rest = await mesh.of(2).node.readOutput(job, 'stdout', { ...RANGE, offset: 4 });
    assert.deepEqual([text(rest), rest.isEnd, rest.isTail], ['two\n', true, false]);
    assert.equal(rest.totalBytes, 8);
    assert.deepEqual([first.source, rest.source?.executor], [undefined, executor.id]);
    const { source } = rest;
    const whole = await mesh.of(2).node.readOutput(job, 'stdout', { ...RANGE, source });
    assert.deepEqual([text(whole), whole.totalBytes], ['one\ntwo\n', 8]);
  });

  test('is waited for while there is none', DEADLINE, async (t) => {
    const mesh = await MeshBench.start(t, '123');
    const { job, executor, order } = await runElsewhere(mesh);
    const reading = mesh.of(2).node.readOutput(job, 'stdout', { ...RANGE, waitMs: 30_000 });
    executor.print(order, 'late');
    assert.equal(text(await reading), 'late');
  });

  test('is gone where retention has removed it, but for its tail', DEADLINE, async (t) => {
    const mesh = await MeshBench.start(t, '123');
    const { job, executor, order } = await runElsewhere(mesh);
    executor.print(order, `${'x'.repeat(93)}the end`);
    executor.end(order, EXIT_0, 7);
    await mesh.of(0).becomes(job, 'JOB_COMPLETED');
    const key = attemptKey(order.job, order.fence);
    executor.printed.delete(key);
    executor.removed.set(key, 'space');
    const { node } = mesh.of(2);
    await assert.rejects(node.readOutput(job, 'stdout', RANGE), (thrown) => {
      assert.match(String(thrown), /output-space.*from 93 on/);
      return isCode('OUTPUT_GONE')(thrown);
    });
    const tail = await node.readOutput(job, 'stdout', { ...RANGE, offset: 93 });
    assert.deepEqual([text(tail), tail.isTail], ['the end', true]);
  });

  test('is the tail of the outcome where the disk is gone, and says so', DEADLINE, async (t) => {
    const mesh = await MeshBench.start(t, '123');
    const { job, executor, order } = await runElsewhere(mesh);
    executor.print(order, `${'x'.repeat(93)}the end`);
    executor.end(order, EXIT_0, 7);
    await mesh.of(0).becomes(job, 'JOB_COMPLETED');
    await executor.kill();
    const part = await mesh.of(2).node.readOutput(job, 'stdout', RANGE);
    assert.deepEqual(
      [text(part), part.offset, part.isEnd, part.isTail, part.isTruncated, part.totalBytes],
      ['the end', 93, true, true, true, 100],
    );
    const inside = await mesh.of(2).node.readOutput(job, 'stdout', { ...RANGE, offset: 96 });
    assert.deepEqual([text(inside), inside.offset, inside.isTruncated], [' end', 96, false]);
  });

  test('goes on at its byte when its node is back', DEADLINE, async (t) => {
    const mesh = await MeshBench.start(t, '123');
    const { job, executor, order } = await runElsewhere(mesh);
    executor.print(order, 'before ');
    executor.print(order, 'after');
    executor.end(order, EXIT_0, 2);
    await mesh.of(0).becomes(job, 'JOB_COMPLETED');
    await executor.kill();
    await executor.start();
    mesh.introduce();
    await mesh.isWhole();
    const range = { ...RANGE, offset: 7, fence: order.fence };
    const part = await mesh.of(2).node.readOutput(job, 'stdout', range);
    assert.deepEqual([text(part), part.offset, part.isTail], ['after', 7, false]);
  });

  test(
    'of a node that is away is waited for by who follows, and told to who looks',
    DEADLINE,
    async (t) => {
      const mesh = await MeshBench.start(t, '123');
      const { job, executor, order } = await runElsewhere(mesh);
      executor.print(order, 'seen');
      mesh.network.cut(mesh.of(2).id, executor.id);
      await until('the link is down', () => stateAt(mesh.of(2), executor) !== 'alive');
      const { node } = mesh.of(2);
      await assert.rejects(node.readOutput(job, 'stdout', RANGE), isCode('NODE_UNREACHABLE'));
      const followed = await node.readOutput(job, 'stdout', { ...RANGE, waitMs: 50 });
      assert.deepEqual([text(followed), followed.isEnd], ['', false]);
      assert.deepEqual(followed.fence, order.fence);
    },
  );

  test(
    'of a job that has not started is empty, and the wait for it ends with its start',
    DEADLINE,
    async (t) => {
      const mesh = await MeshBench.start(t, '1', { slots: 1 });
      const [one] = [mesh.of(0)];
      await one.take({ command: 'hold' });
      const waiting = await one.take({ command: 'hold' });
      const part = await one.node.readOutput(waiting, 'stdout', RANGE);
      assert.deepEqual([part.bytes.length, part.isEnd, part.fence], [0, false, undefined]);
      const reading = one.node.readOutput(waiting, 'stdout', { ...RANGE, waitMs: 60_000 });
      one.end(one.started[0] ?? assert.fail(), EXIT_0);
      assert.equal((await reading).bytes.length, 0);
    },
  );

  test('of an attempt of which nothing is kept is gone', DEADLINE, async (t) => {
    const mesh = await MeshBench.start(t, '1');
    const job = await mesh.of(0).take();
    const { record } = await mesh.of(0).becomes(job, 'JOB_COMPLETED');
    const fence = { ...record.header.accepted, attempt: 7 };
    const note = {
      executor: mesh.of(0).id,
      at: record.job.createdAt,
      note: '',
      isSuperseded: false,
    };
    const history = [{ ...note, fence }];
    mesh.of(0).disk.tables.records.set(job, { ...record, job: { ...record.job, history } });
    assert.equal(mesh.of(0).printed.has(attemptKey(job, fence)), false);
    const reading = mesh.of(0).node.readOutput(job, 'stdout', { ...RANGE, fence });
    await assert.rejects(reading, isCode('OUTPUT_GONE'));
  });
});

const stateAt = (node: BenchNode, peer: BenchNode): string | undefined =>
  node.node.peers().find(({ facts }) => facts.node === peer.id)?.state;
