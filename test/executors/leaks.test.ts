import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { order, startBench, until } from './attempts.ts';

/** Descriptors of any kind; what the test runner itself opens is there before the first job. */
const openCount = (): number => readdirSync('/proc/self/fd').length;

describe('500 short jobs', () => {
  test('leave outputs and nothing else', { timeout: 120_000 }, async (t) => {
    const { executor, reports, folder, problems, run } = await startBench(t);
    await run('true');
    const before = openCount();
    const orders = Array.from({ length: 500 }, (_, i) => order(`echo ${i}; exit $((${i} % 3))`));
    for (let at = 0; at < orders.length; at += 8) {
      const batch = orders.slice(at, at + 8);
      for (const ordered of batch) executor.run(ordered);
      const ends = await Promise.all(batch.map((ordered) => reports.ended(ordered)));
      ends.forEach(({ end, stdout }, i) => {
        assert.deepEqual(end, { tag: 'exited', code: (at + i) % 3 });
        assert.equal(Buffer.from(stdout.bytes).toString(), `${at + i}\n`);
      });
    }
    await until('all closed', () => openCount() <= before);
    const [life = ''] = readdirSync(join(folder, 'running'));
    const left = readdirSync(join(folder, 'running', life)).filter((name) => name !== 'busy');
    assert.deepEqual(left.sort(), ['host', 'open']);
    const ofJobs = (name: string): boolean => name === 'ProcessWrap' || name === 'FSReqPromise';
    await executor.stop();
    // What was answered or has ended in this turn counts until the turn is over.
    await until('nothing is awaited', () => !process.getActiveResourcesInfo().some(ofJobs));
    assert.deepEqual(readdirSync(join(folder, 'work')), []);
    assert.deepEqual(readdirSync(join(folder, 'running')), []);
    assert.equal(readdirSync(join(folder, 'output')).length, 501);
    assert.deepEqual(problems, []);
  });
});
