import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { AttemptOrder } from '../../src/core/effects.ts';
import { type Bench, firstLine, order, startBench, textOf, until } from './attempts.ts';
import { isAlive } from './processes.ts';

/** Starts it and returns the numbers it prints on its first line. */
async function startPrinting(bench: Bench, ordered: AttemptOrder): Promise<number[]> {
  bench.executor.run(ordered);
  return (await firstLine(bench.executor, ordered)).split(' ').map(Number);
}

describe('ending an attempt', () => {
  test('reaches children and grandchildren', async (t) => {
    const bench = await startBench(t);
    const ordered = order('sh -c "sleep 1000 & echo \\$! \\$\\$ $$; wait" & wait');
    const pids = await startPrinting(bench, ordered);
    assert.equal(pids.filter(isAlive).length, 3);
    bench.executor.end(ordered.job, ordered.fence, 5000);
    const { end } = await bench.reports.ended(ordered);
    assert.deepEqual(end, { tag: 'signalled', signal: 'SIGTERM' });
    assert.deepEqual(pids.filter(isAlive), []);
  });

  test('gives it the chance to clean up', async (t) => {
    const bench = await startBench(t);
    const ordered = order(
      'trap "echo cleaned; exit 5" TERM; echo up; while :; do sleep 0.05; done',
    );
    bench.executor.run(ordered);
    await firstLine(bench.executor, ordered);
    bench.executor.end(ordered.job, ordered.fence, 15_000);
    const { end, stdout } = await bench.reports.ended(ordered);
    assert.deepEqual(end, { tag: 'exited', code: 5 });
    assert.equal(textOf(stdout), 'up\ncleaned\n');
  });

  test('gives the same chance to its children when the main process is gone', async (t) => {
    const bench = await startBench(t);
    const child = `trap "sleep 0.3; echo cleaned; exit" TERM; echo up; while :; do sleep 0.05; done`;
    const ordered = order(`sh -c '${child}' & wait`);
    bench.executor.run(ordered);
    await firstLine(bench.executor, ordered);
    bench.executor.end(ordered.job, ordered.fence, 15_000);
    assert.equal(textOf((await bench.reports.ended(ordered)).stdout), 'up\ncleaned\n');
  });

  test('kills after the grace time what does not listen', async (t) => {
    const bench = await startBench(t);
    const ordered = order('trap "" TERM; echo $$; while :; do sleep 1000; done');
    const [pid] = await startPrinting(bench, ordered);
    const before = performance.now();
    bench.executor.end(ordered.job, ordered.fence, 200);
    const { end } = await bench.reports.ended(ordered);
    assert.deepEqual(end, { tag: 'signalled', signal: 'SIGKILL' });
    assert(performance.now() - before >= 195);
    assert(pid !== undefined && !isAlive(pid));
  });

  test('can be hurried', async (t) => {
    const bench = await startBench(t);
    const ordered = order('trap "" TERM; echo $$; while :; do sleep 1000; done');
    await startPrinting(bench, ordered);
    bench.executor.end(ordered.job, ordered.fence, 3_600_000);
    bench.executor.end(ordered.job, ordered.fence, 7_200_000);
    bench.executor.end(ordered.job, ordered.fence, 0);
    assert.equal((await bench.reports.ended(ordered)).end.tag, 'signalled');
  });

  test('wakes what is stopped', async (t) => {
    const bench = await startBench(t);
    const ordered = order('echo $$; kill -STOP $$; echo never');
    const [pid] = await startPrinting(bench, ordered);
    assert(pid !== undefined && isAlive(pid));
    bench.executor.end(ordered.job, ordered.fence, 3_600_000);
    assert.deepEqual((await bench.reports.ended(ordered)).end, {
      tag: 'signalled',
      signal: 'SIGTERM',
    });
  });
});

describe('the end of the main process', () => {
  test('is the end of the attempt: what it left in the background is killed', async (t) => {
    const bench = await startBench(t);
    const before = performance.now();
    const { stdout, end } = await bench.run('sleep 1000 & echo $!');
    assert.deepEqual(end, { tag: 'exited', code: 0 });
    assert(!isAlive(Number(textOf(stdout))));
    assert(performance.now() - before < 10_000);
  });

  test('is no end for the output of a background child that is being killed', async (t) => {
    const bench = await startBench(t);
    const { stdout, order: ordered } = await bench.run('while :; do echo x; done & sleep 0.1');
    const range = { offset: stdout.totalBytes, maxBytes: 10 };
    const rest = await bench.executor.outputs.read(ordered, 'stdout', range);
    assert.deepEqual([rest?.bytes.length, rest?.isEnd], [0, true]);
  });
});

describe('a stop', () => {
  test('ends every group before it settles, also those that ignore signals', async (t) => {
    const bench = await startBench(t);
    const orders = [1, 2, 3].map(() =>
      order('trap "" TERM INT HUP; echo $$; while :; do sleep 1; done'),
    );
    const pids = (await Promise.all(orders.map((one) => startPrinting(bench, one)))).flat();
    assert.equal(pids.filter(isAlive).length, 3);
    await bench.executor.stop();
    assert.deepEqual(pids.filter(isAlive), []);
    assert.equal(bench.reports.all.filter(({ kind }) => kind === 'ended').length, 0);
  });

  test('ends what was only just ordered', async (t) => {
    const bench = await startBench(t);
    const marked = `exec sleep 1000.${process.pid}`;
    for (let i = 0; i < 5; i++) bench.executor.run(order(marked));
    await bench.executor.stop();
    const { execFileSync } = await import('node:child_process');
    await until(
      'gone',
      () => !execFileSync('ps', ['-eo', 'stat,args']).toString().includes(marked.slice(5)),
    );
    assert.deepEqual(
      bench.reports.all.filter(({ kind }) => kind === 'ended'),
      [],
    );
  });
});
