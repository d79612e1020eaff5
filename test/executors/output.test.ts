import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, statSync, utimesSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { asWall } from '../../src/base/instant.ts';
import { MAX_TAIL_BYTES } from '../../src/core/job.ts';
import type { AttemptRef } from '../../src/core/messages.ts';
import type { KeptOutputs } from '../../src/executors/outputs/outputs.ts';
import { DEADLINE_MS, order, startBench, textOf, until } from './attempts.ts';

/** From `offset` to the end, in reads of at most `maxBytes`, waiting while it runs. */
async function readAll(
  outputs: KeptOutputs,
  attempt: AttemptRef,
  maxBytes = 100_000,
): Promise<{ bytes: Buffer; isTruncated: boolean; readCount: number }> {
  const parts: Uint8Array[] = [];
  for (let offset = 0; ; ) {
    const range = { offset, maxBytes, waitMs: DEADLINE_MS };
    const chunk = await outputs.read(attempt, 'stdout', range);
    assert(chunk);
    assert.equal(chunk.offset, offset);
    parts.push(chunk.bytes);
    offset += chunk.bytes.length;
    if (chunk.isEnd) {
      const { isTruncated } = chunk;
      return { bytes: Buffer.concat(parts), isTruncated, readCount: parts.length };
    }
  }
}

const outputFile = (folder: string, { job, fence }: AttemptRef): string =>
  join(folder, 'output', job, `${fence.epoch.counter}.${fence.epoch.node}.${fence.attempt}.stdout`);

describe('output', () => {
  test('of 3 MB comes through whole, read while it is printed', async (t) => {
    const { executor, reports } = await startBench(t, { outputLimitBytes: 8_000_000 });
    const ordered = order('seq 1 460000');
    executor.run(ordered);
    const { bytes, isTruncated } = await readAll(executor.outputs, ordered);
    assert.equal(bytes.length, 3_108_895);
    assert.equal(bytes.subarray(-7).toString(), '460000\n');
    assert.equal(isTruncated, false);
    const { stdout } = await reports.ended(ordered);
    assert.equal(stdout.totalBytes, bytes.length);
    assert.deepEqual(Buffer.from(stdout.bytes), bytes.subarray(-MAX_TAIL_BYTES));
  });

  test('of any bytes is kept as it is', async (t) => {
    const { run, executor } = await startBench(t);
    const { order: ordered, stderr } = await run(
      'head -c 50000 /dev/urandom | tee copy; sha256sum copy >&2',
    );
    const { bytes } = await readAll(executor.outputs, ordered);
    assert.equal(createHash('sha256').update(bytes).digest('hex'), textOf(stderr).split(' ')[0]);
  });

  test('keeps both streams apart, each in its order', async (t) => {
    const { run } = await startBench(t);
    const { stdout, stderr } = await run('echo 1; echo a >&2; echo 2; echo b >&2');
    assert.equal(textOf(stdout), '1\n2\n');
    assert.equal(textOf(stderr), 'a\nb\n');
  });

  test('is on disk as it is printed', async (t) => {
    const { executor, reports, folder } = await startBench(t);
    const ordered = order('echo here; exec sleep 1000');
    executor.run(ordered);
    await reports.running(ordered);
    const file = outputFile(folder, ordered);
    await until('printed', () => existsSync(file) && readFileSync(file, 'utf8') === 'here\n');
    assert.equal(statSync(file).mode & 0o777, 0o600);
  });

  test('is followed from any offset, and a read beyond the end says so', async (t) => {
    const { run, executor } = await startBench(t);
    const { order: ordered } = await run('printf 0123456789');
    const read = async (offset: number, maxBytes: number) => {
      const chunk = await executor.outputs.read(ordered, 'stdout', { offset, maxBytes });
      assert(chunk);
      return [textOf(chunk), chunk.isEnd];
    };
    assert.deepEqual(await read(0, 4), ['0123', false]);
    assert.deepEqual(await read(4, 100), ['456789', true]);
    assert.deepEqual(await read(10, 100), ['', true]);
    assert.deepEqual(await read(99, 100), ['', true]);
    assert.deepEqual(await read(-5, 2), ['01', false]);
    assert.deepEqual(await read(Number.NaN, Number.NaN), ['', false]);
  });

  test('has no end for a reader when its node leaves and it goes on', async (t) => {
    const { executor, reports } = await startBench(t);
    const ordered = order('echo here; exec sleep 2');
    executor.run(ordered);
    await reports.running(ordered);
    const read = (offset: number) =>
      executor.outputs.read(ordered, 'stdout', { offset, maxBytes: 100, waitMs: DEADLINE_MS });
    assert.equal((await read(0))?.bytes.length, 5);
    const waiting = read(5);
    await executor.stop('leave');
    const chunk = await waiting;
    assert.deepEqual([chunk?.bytes.length, chunk?.isEnd], [0, false]);
  });

  test('reaches a reader that waits soon after it was printed', async (t) => {
    const { executor } = await startBench(t);
    const ordered = order('for i in 1 2 3; do date +%s%N; sleep 0.3; done');
    executor.run(ordered);
    const lateMs: number[] = [];
    for (let offset = 0; ; ) {
      const range = { offset, maxBytes: 100, waitMs: DEADLINE_MS };
      const chunk = await executor.outputs.read(ordered, 'stdout', range);
      assert(chunk);
      if (chunk.isEnd) break;
      lateMs.push(Date.now() - Number(textOf(chunk).trim().slice(0, 13)));
      offset += chunk.bytes.length;
    }
    assert.equal(lateMs.length, 3);
    assert(Math.max(...lateMs) < 2000, `late by ${lateMs} ms`);
  });
});

describe('output over the limit', () => {
  test('is cut at the limit, and one line at the very end says so', async (t) => {
    const { run, executor, folder } = await startBench(t, { outputLimitBytes: 10_000 });
    const { stdout, stderr, order: ordered } = await run('seq 1 100000; echo short >&2');
    const { bytes, isTruncated } = await readAll(executor.outputs, ordered);
    const mark = '\n[output truncated at 10000 bytes]\n';
    assert.equal(isTruncated, true);
    assert.equal(bytes.length, 10_000 + mark.length);
    assert.equal(bytes.subarray(10_000).toString(), mark);
    assert.equal(bytes.subarray(0, 4).toString(), '1\n2\n');
    assert.equal(statSync(outputFile(folder, ordered)).size, bytes.length);
    assert.deepEqual(
      {
        total: stdout.totalBytes,
        isTruncated: stdout.isTruncated,
        end: textOf(stdout).slice(-mark.length),
      },
      { total: bytes.length, isTruncated: true, end: mark },
    );
    assert.equal(stderr.isTruncated, false);
  });

  test('of exactly the limit is not over it', async (t) => {
    const { run, executor } = await startBench(t, { outputLimitBytes: 10_000 });
    const { stdout, order: ordered } = await run('head -c 10000 /dev/zero');
    assert.deepEqual([stdout.totalBytes, stdout.isTruncated], [10_000, false]);
    const { bytes, isTruncated } = await readAll(executor.outputs, ordered);
    assert.deepEqual([bytes.length, isTruncated], [10_000, false]);
  });

  test('is not shown while the job prints on, and does not fill the disk', async (t) => {
    const { executor, reports, folder } = await startBench(t, { outputLimitBytes: 10_000 });
    const ordered = order('while :; do head -c 5000 /dev/zero; sleep 0.01; done');
    executor.run(ordered);
    await reports.running(ordered);
    let sawCut = false;
    await until('cut', async () => {
      const chunk = await executor.outputs.read(ordered, 'stdout', {
        offset: 0,
        maxBytes: 200_000,
      });
      assert(chunk && chunk.bytes.length <= 10_000 && !chunk.isEnd);
      sawCut = chunk.isTruncated;
      return sawCut && existsSync(`${outputFile(folder, ordered)}.cut`);
    });
    const beyond = await executor.outputs.read(ordered, 'stdout', { offset: 10_000, maxBytes: 10 });
    assert.equal(beyond?.bytes.length, 0);
    await until('cut again', () => statSync(outputFile(folder, ordered)).size <= 10_000);
    executor.end(ordered.job, ordered.fence, 0);
    const { stdout } = await reports.ended(ordered);
    assert.equal(textOf(stdout).slice(10_000), '\n[output truncated at 10000 bytes]\n');
  });

  test('stays known after a restart of the node', async (t) => {
    const first = await startBench(t, { outputLimitBytes: 1000 });
    const { order: ordered } = await first.run('seq 1 1000');
    await first.executor.stop();
    const { executor } = await startBench(t, { folder: first.folder });
    const { bytes, isTruncated } = await readAll(executor.outputs, ordered);
    assert.equal(isTruncated, true);
    assert.match(bytes.toString(), /\n\[output truncated at 1000 bytes\]\n$/);
  });
});

describe('retention', () => {
  const HOUR_MS = 3_600_000;

  test('deletes outputs whose last byte is too old, and only those', async (t) => {
    const { run, executor, reports, folder } = await startBench(t, { outputLimitBytes: 10 });
    const { order: old } = await run('seq 1 100');
    const { order: young } = await run('echo young');
    const running = order('echo running; exec sleep 1000');
    executor.run(running);
    await reports.running(running);
    const longAgo = new Date(Date.now() - 2 * HOUR_MS);
    for (const { job } of [old, running]) {
      for (const name of readdirSync(join(folder, 'output', job))) {
        utimesSync(join(folder, 'output', job, name), longAgo, longAgo);
      }
    }
    const pruned = await executor.outputs.prune({ olderThanMs: HOUR_MS, now: asWall(Date.now()) });
    assert.deepEqual(pruned, { deletedCount: 1, isComplete: true });
    assert.deepEqual(readdirSync(join(folder, 'output')).sort(), [running.job, young.job].sort());
    const range = { offset: 0, maxBytes: 100 };
    assert.equal(await executor.outputs.read(old, 'stdout', range), undefined);
    assert.equal(
      textOf((await executor.outputs.read(young, 'stdout', range)) ?? assert.fail()),
      'young\n',
    );
  });

  test('deletes the oldest when all take too much space, and says why they are gone', async (t) => {
    const { run, executor, reports, folder } = await startBench(t);
    const ordered: AttemptRef[] = [];
    for (let i = 0; i < 4; i++) {
      const { order: each } = await run('head -c 10000 /dev/zero');
      const at = new Date(Date.now() - (4 - i) * 60_000);
      for (const name of readdirSync(join(folder, 'output', each.job)))
        utimesSync(join(folder, 'output', each.job, name), at, at);
      ordered.push(each);
    }
    const running = order('head -c 30000 /dev/zero; exec sleep 1000');
    executor.run(running);
    await reports.running(running);
    const now = asWall(Date.now());
    const sizeNow = () => statSync(outputFile(folder, running), { throwIfNoEntry: false })?.size;
    await until('it has printed', () => sizeNow() === 30_000);
    const request = { olderThanMs: HOUR_MS, now, maxTotalBytes: 50_000 };
    assert.deepEqual(await executor.outputs.prune(request), { deletedCount: 2, isComplete: true });
    const why = await Promise.all(ordered.map((each) => executor.outputs.whyRemoved(each)));
    assert.deepEqual(why, ['space', 'space', undefined, undefined]);
    const range = { offset: 0, maxBytes: 100 };
    assert.equal(await executor.outputs.read(ordered[0] ?? running, 'stdout', range), undefined);
    assert.equal(executor.outputs.totalBytes, 50_000);
    const tight = { ...request, maxTotalBytes: 1 };
    assert.equal((await executor.outputs.prune(tight)).deletedCount, 2);
    assert.equal((await executor.outputs.prune(tight)).isComplete, true, 'one that runs stays');
  });

  test('deletes all of a job that nobody knows any more', async (t) => {
    const { run, executor, folder } = await startBench(t);
    const { order: known } = await run('echo known');
    const { order: unknown } = await run('echo unknown');
    const later = asWall(Date.now() + 2 * HOUR_MS);
    const asked: string[] = [];
    const forgotten = {
      olderThanMs: HOUR_MS,
      isForgotten: async (job: string) => {
        asked.push(job);
        return job === unknown.job;
      },
    };
    const young = { olderThanMs: 9 * HOUR_MS, now: asWall(Date.now()), forgotten };
    assert.equal((await executor.outputs.prune(young)).deletedCount, 0);
    assert.deepEqual(asked, []);
    await executor.outputs.prune({ ...young, now: later });
    assert.deepEqual(asked.sort(), [known.job, unknown.job].sort());
    assert.deepEqual(readdirSync(join(folder, 'output')), [known.job]);
    // Its job is known: what was deleted for its age is told of until that is forgotten, too.
    await executor.outputs.prune({ ...young, olderThanMs: HOUR_MS, now: later });
    assert.equal(await executor.outputs.whyRemoved(known), 'age');
    await executor.outputs.prune({
      ...young,
      now: later,
      forgotten: { olderThanMs: HOUR_MS, isForgotten: async () => true },
    });
    assert.deepEqual(readdirSync(join(folder, 'output')), []);
  });

  test('looks at a bounded number of jobs and goes on where it stopped', async (t) => {
    const { run, executor, folder } = await startBench(t);
    for (let i = 0; i < 7; i++) await run('true');
    const later = asWall(Date.now() + 2 * HOUR_MS);
    const counts: number[] = [];
    for (let isComplete = false; !isComplete; ) {
      const pruned = await executor.outputs.prune({
        olderThanMs: HOUR_MS,
        now: later,
        maxCount: 3,
      });
      counts.push(pruned.deletedCount);
      isComplete = pruned.isComplete;
    }
    assert.deepEqual(counts, [3, 3, 1]);
    assert.deepEqual(readdirSync(join(folder, 'output')), []);
  });
});
