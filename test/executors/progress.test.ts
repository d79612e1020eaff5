/** How far a job is, as it says itself by lines in a file. */
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import type { Progress } from '../../src/core/job.ts';
import type { AttemptRef } from '../../src/core/messages.ts';
import { type RunOptions, toRunText } from '../../src/run/run-options.ts';
import { type Bench, firstLine, order, startBench, until } from './attempts.ts';

const DEADLINE = { timeout: 60_000 };
const NEEDS_ROOT = process.getuid?.() === 0 ? false : 'only root may run jobs as another user';

const told = ({ reports }: Bench, attempt: AttemptRef): Progress[] =>
  reports.of(attempt).flatMap((report) => (report.kind === 'progress' ? [report.progress] : []));

/** Tells, prints that it has, and goes on when this file is there. */
const steps = (go: string): string =>
  `echo "40 half  way" >>"$MESH_PROGRESS"; echo told; until [ -e ${go} ]; do sleep 0.02; done; echo "90.5% nearly" >"$MESH_PROGRESS"`;

describe('progress', DEADLINE, () => {
  test('is told while the job runs, and the last with its end', async (t) => {
    const bench = await startBench(t);
    const go = join(bench.folder, 'go');
    const ordered = order(steps(go));
    bench.executor.run(ordered);
    await until('it was told', () => told(bench, ordered).length === 1);
    assert.deepEqual(told(bench, ordered), [{ percent: 40, message: 'half  way' }]);
    await bench.run(`: >${go}`);
    const { receipt } = await bench.reports.ended(ordered);
    assert.deepEqual(receipt?.progress, { percent: 90.5, message: 'nearly' });
    assert.deepEqual(readdirSync(join(bench.folder, 'progress')), []);
  });

  test('of a job that is over in an instant is not lost', async (t) => {
    const { run } = await startBench(t);
    for (let i = 0; i < 20; i++) {
      const { receipt } = await run(`echo ${i} >$MESH_PROGRESS`);
      assert.deepEqual(receipt?.progress, { percent: i, message: '' });
    }
  });

  test('takes no half line, no nonsense, and no more room than it may', async (t) => {
    const { run, folder } = await startBench(t);
    const nonsense = `printf 'ten\n-1\n1000\n\n' >>$MESH_PROGRESS; printf 5 >>$MESH_PROGRESS`;
    assert.equal((await run(nonsense)).receipt?.progress, undefined);
    const much =
      'seq 1 100 | while read -r n; do head -c 20000 /dev/zero | tr "\\0" "\\n" >>$MESH_PROGRESS; echo "$n of many" >>$MESH_PROGRESS; sleep 0.01; done; stat -c %s $MESH_PROGRESS';
    const { receipt, stdout } = await run(much);
    assert.deepEqual(receipt?.progress, { percent: 100, message: 'of many' });
    assert(Number(Buffer.from(stdout.bytes).toString()) < 1_000_000);
    assert.deepEqual(readdirSync(join(folder, 'progress')), []);
  });

  test('is heard of one that was adopted', async (t) => {
    const first = await startBench(t);
    const go = join(first.folder, 'go');
    const ordered = order(steps(go));
    first.executor.run(ordered);
    await firstLine(first.executor, ordered);
    await first.executor.stop('leave');
    const second = await startBench(t, { folder: first.folder });
    await until('the next life knows', () => told(second, ordered).length === 1);
    await second.run(`: >${go}`);
    const { receipt } = await second.reports.ended(ordered);
    assert.deepEqual(receipt?.progress, { percent: 90.5, message: 'nearly' });
  });

  test('can be told by another user', { skip: NEEDS_ROOT }, async (t) => {
    await tellsFor(await startBench(t), { user: 'nobody' });
  });

  test('can be told from a sandbox', async (t) => {
    const bench = await startBench(t);
    const { end } = await bench.run('true', { run: toRunText({ sandbox: true }) });
    if (end.tag === 'failed') return t.skip(end.reason);
    return tellsFor(bench, { sandbox: true });
  });
});

async function tellsFor(bench: Bench, run: RunOptions): Promise<void> {
  const ordered = order('echo 70 >>"$MESH_PROGRESS"; echo told; sleep 1000', {
    run: toRunText(run),
  });
  bench.executor.run(ordered);
  await until('it was told', () => told(bench, ordered).length === 1);
  bench.executor.end(ordered.job, ordered.fence, 0);
  const { receipt } = await bench.reports.ended(ordered);
  assert.deepEqual(receipt?.progress, { percent: 70, message: '' });
}
