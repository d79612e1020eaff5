/** What every executor and the outputs it keeps must do, whatever it runs. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import type { AttemptOrder } from '../../src/core/effects.ts';
import type { Survivor } from '../../src/core/inputs.ts';
import type { Executor, Outputs } from '../../src/node/ports.ts';
import {
  DEADLINE_MS,
  fence,
  Reports,
  release,
  temporaryFolder,
  textOf,
} from '../executors/attempts.ts';

/** What the attempts of this suite do. */
export interface Script {
  /** Printed to stdout first of all. */
  readonly prints?: string;
  /** Then ends with this code; undefined: runs until it is ended. */
  readonly exits?: number;
  /** Once this file exists. */
  readonly until?: string;
}

export interface ExecutorBench {
  /** A new life on the same disk; the last one was stopped. */
  open(): Executor & { readonly outputs: Outputs };
  order(
    script: Script,
    attempt?: { job?: string; attempt?: number; taskType?: string },
  ): AttemptOrder;
}

const ALL = { offset: 0, maxBytes: 1000 };

export function describeExecutor(name: string, makeBench: (t: TestContext) => ExecutorBench): void {
  const check = (
    fact: string,
    body: (bench: ExecutorBench, opened: Opened) => Promise<void>,
  ): void => {
    test(fact, { timeout: DEADLINE_MS }, async (t) => {
      const bench = makeBench(t);
      const opened = await start(t, bench);
      await body(bench, opened);
      await opened.executor.stop();
    });
  };

  describe(`executor: ${name}`, () => {
    check(
      'an attempt is reported running, then ended, and never inside run',
      async (bench, opened) => {
        const { executor, reports } = opened;
        const order = bench.order({ exits: 0 });
        executor.run(order);
        assert.deepEqual(reports.all, []);
        const ended = await reports.ended(order);
        assert.deepEqual(ended.end, { tag: 'exited', code: 0 });
        assert.deepEqual(
          reports.of(order).map(({ kind }) => kind),
          ['running', 'ended'],
        );
        assert(ended.startedAt !== undefined && ended.startedAt <= ended.finishedAt);
      },
    );

    check('the exit code is told', async (bench, { executor, reports }) => {
      const order = bench.order({ exits: 7 });
      executor.run(order);
      assert.deepEqual((await reports.ended(order)).end, { tag: 'exited', code: 7 });
    });

    check(
      'an unknown task type is an end with a sentence',
      async (bench, { executor, reports }) => {
        const order = bench.order({ exits: 0 }, { taskType: 'no-such-type' });
        executor.run(order);
        assert.deepEqual(reports.all, []);
        const { end, startedAt } = await reports.ended(order);
        assert(end.tag === 'failed');
        assert.match(end.reason, /no-such-type.*\.$/);
        assert.equal(startedAt, undefined);
        assert.equal(reports.all.length, 1);
      },
    );

    check('an attempt that is ended reports its end once', async (bench, { executor, reports }) => {
      const order = bench.order({});
      executor.run(order);
      await reports.running(order);
      executor.end(order.job, order.fence, 0);
      executor.end(order.job, order.fence, 0);
      assert.deepEqual((await reports.ended(order)).end, { tag: 'signalled', signal: 'SIGKILL' });
      executor.end(order.job, order.fence, 0);
      assert.equal(reports.all.filter(({ kind }) => kind === 'ended').length, 1);
    });

    check('an attempt ended in the same breath as it is ordered ends', async (bench, opened) => {
      const order = bench.order({});
      opened.executor.run(order);
      opened.executor.end(order.job, order.fence, 0);
      await opened.reports.ended(order);
    });

    check(
      'a second order of the same attempt runs nothing',
      async (bench, { executor, reports }) => {
        const order = bench.order({});
        executor.run(order);
        executor.run(order);
        await reports.running(order);
        executor.end(order.job, order.fence, 0);
        await reports.ended(order);
        assert.equal(reports.all.length, 2);
      },
    );

    check('attempts of one job are told apart by the whole fence', async (bench, opened) => {
      const { executor, reports } = opened;
      const first = bench.order({}, { job: 'twice', attempt: 1 });
      const second = bench.order({}, { job: 'twice', attempt: 2 });
      executor.run(first);
      executor.run(second);
      await Promise.all([reports.running(first), reports.running(second)]);
      executor.end(second.job, second.fence, 0);
      await reports.ended(second);
      executor.end(first.job, fence(3), 0);
      assert.deepEqual(
        reports.of(first).map(({ kind }) => kind),
        ['running'],
      );
    });

    check('a stop ends what runs, and nothing is reported after it', async (bench, opened) => {
      const { executor, reports } = opened;
      const order = bench.order({});
      executor.run(order);
      await reports.running(order);
      await executor.stop();
      const count = reports.all.length;
      executor.run(bench.order({ exits: 0 }));
      executor.end(order.job, order.fence, 0);
      await executor.stop();
      await new Promise((resolve) => setImmediate(resolve));
      assert.equal(reports.all.length, count);
    });

    test('stop works before start, and both may be repeated', async (t) => {
      const bench = makeBench(t);
      await bench.open().stop();
      const executor = bench.open();
      await Promise.all([executor.start(() => {}), executor.start(() => {})]);
      await executor.stop();
      await executor.stop();
    });

    test('attempts that are left go on, and the next start adopts them', async (t) => {
      const bench = makeBench(t);
      const first = await start(t, bench);
      const order = bench.order({ prints: 'kept\n' });
      const ended = bench.order({ exits: 3 });
      first.executor.run(order);
      first.executor.run(ended);
      await first.reports.running(order);
      await first.reports.ended(ended);
      await first.executor.stop('leave');
      await first.executor.stop('end');
      assert.equal(first.reports.of(order).length, 1);
      const { executor, reports, survivors } = await start(t, bench);
      const [survivor] = survivors;
      assert.deepEqual(
        survivors.map(({ job, fence }) => [job, fence]),
        [[order.job, order.fence]],
      );
      assert(survivor && survivor.startedAt <= Date.now());
      assert(survivor.leaseLeftMs === undefined || survivor.leaseLeftMs > 0);
      assert.deepEqual(await executor.start(reports.take), survivors);
      executor.run(order);
      executor.prolong(order.job, order.fence, { tag: 'leased', leftMs: 60_000 });
      executor.end(order.job, order.fence, 0);
      const { end, startedAt, stdout } = await reports.ended(order);
      assert.deepEqual(end, { tag: 'signalled', signal: 'SIGKILL' });
      assert.equal(startedAt, survivor.startedAt);
      assert.equal(textOf(stdout), 'kept\n');
      assert.equal(reports.all.length, 1);
    });

    test('what ends while no node is there is reported once the start has settled', async (t) => {
      const bench = makeBench(t);
      const first = await start(t, bench);
      const until = join(temporaryFolder(t), 'go');
      const order = bench.order({ prints: 'late\n', exits: 4, until });
      first.executor.run(order);
      await first.reports.running(order);
      await first.executor.stop('leave');
      writeFileSync(until, '');
      const { reports, survivors, early } = await start(t, bench);
      assert.equal(survivors.length, 1);
      assert.equal(early, 0);
      const { end, stdout } = await reports.ended(order);
      assert.deepEqual(end, { tag: 'exited', code: 4 });
      assert.equal(textOf(stdout), 'late\n');
    });

    check('a lease that is over ends an attempt as lost', async (bench, opened) => {
      const { executor, reports } = opened;
      const order = bench.order({});
      executor.run(order);
      await reports.running(order);
      executor.prolong(order.job, order.fence, { tag: 'leased', leftMs: 60_000 });
      executor.prolong(order.job, order.fence, { tag: 'leased', leftMs: 1000 });
      const { end } = await reports.ended(order);
      assert.equal(end.tag, 'lost');
    });

    check('to prolong what is not here does nothing', async (bench, { executor, reports }) => {
      const order = bench.order({ exits: 0 });
      executor.prolong(order.job, order.fence, { tag: 'leased', leftMs: 0 });
      executor.run(order);
      assert.deepEqual((await reports.ended(order)).end, { tag: 'exited', code: 0 });
      executor.prolong(order.job, order.fence, { tag: 'leased', leftMs: 0 });
    });

    check('what was printed is in the report and in the outputs', async (bench, opened) => {
      const { executor, reports } = opened;
      const order = bench.order({ prints: 'one\ntwo\n', exits: 0 });
      executor.run(order);
      const ended = await reports.ended(order);
      assert.equal(textOf(ended.stdout), 'one\ntwo\n');
      assert.equal(ended.stdout.totalBytes, 8);
      assert.equal(ended.stdout.isTruncated, false);
      const chunk = await executor.outputs.read(order, 'stdout', { offset: 4, maxBytes: 3 });
      assert.deepEqual(
        { ...chunk, bytes: textOf(chunk ?? ended.stdout) },
        { bytes: 'two', offset: 4, isEnd: false, isTruncated: false, keptBytes: 8 },
      );
      const errors = await executor.outputs.read(order, 'stderr', ALL);
      assert.equal(errors?.bytes.length, 0);
      assert.equal(errors?.isEnd, true);
    });

    check(
      'output is read while the attempt runs, and its end is known after',
      async (bench, opened) => {
        const { executor, reports } = opened;
        const order = bench.order({ prints: 'now\n' });
        executor.run(order);
        const first = await executor.outputs.read(order, 'stdout', { ...ALL, waitMs: DEADLINE_MS });
        assert.equal(textOf(first ?? { bytes: new Uint8Array(0) }), 'now\n');
        assert.equal(first?.isEnd, false);
        const rest = executor.outputs.read(order, 'stdout', {
          offset: 4,
          maxBytes: 10,
          waitMs: DEADLINE_MS,
        });
        executor.end(order.job, order.fence, 0);
        assert.equal((await rest)?.isEnd, true);
        assert.equal((await rest)?.bytes.length, 0);
        await reports.ended(order);
      },
    );

    check('a reader that waits can be called off', async (bench, { executor, reports }) => {
      const order = bench.order({});
      executor.run(order);
      await reports.running(order);
      const stop = new AbortController();
      const range = { ...ALL, waitMs: 10 * DEADLINE_MS, signal: stop.signal };
      const chunk = executor.outputs.read(order, 'stdout', range);
      stop.abort();
      assert.equal((await chunk)?.isEnd, false);
    });

    check('nothing is kept of an attempt that never ran here', async (bench, { executor }) => {
      const order = bench.order({});
      assert.equal(await executor.outputs.read(order, 'stdout', ALL), undefined);
    });

    test('outputs outlive the executor', async (t) => {
      const bench = makeBench(t);
      const { executor, reports } = await start(t, bench);
      const order = bench.order({ prints: 'kept\n', exits: 0 });
      executor.run(order);
      await reports.ended(order);
      await executor.stop();
      const next = await start(t, bench);
      const chunk = await next.executor.outputs.read(order, 'stdout', ALL);
      assert.equal(textOf(chunk ?? { bytes: new Uint8Array(0) }), 'kept\n');
      assert.equal(chunk?.isEnd, true);
    });
  });
}

interface Opened {
  readonly executor: ReturnType<ExecutorBench['open']>;
  readonly reports: Reports;
  readonly survivors: readonly Survivor[];
  /** Reports that came before its start had settled. */
  readonly early: number;
}

async function start(t: TestContext, bench: ExecutorBench): Promise<Opened> {
  const executor = bench.open();
  const reports = new Reports();
  release(t, () => executor.stop());
  const survivors = await executor.start((report) => {
    reports.take(report);
    if (report.kind === 'ended') executor.release(report.job, report.fence);
  });
  return { executor, reports, survivors, early: reports.all.length };
}
