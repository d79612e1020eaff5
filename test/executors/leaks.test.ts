import assert from 'node:assert/strict';
import { readdirSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { order, startBench } from './attempts.ts';

const openFiles = (): string[] =>
  readdirSync('/proc/self/fd')
    .map((fd) => {
      try {
        return readlinkSync(`/proc/self/fd/${fd}`);
      } catch {
        return 'gone';
      }
    })
    .filter(
      (target) => target.startsWith('/') && !target.startsWith('/proc/') && target !== '/dev/null',
    );

describe('500 short jobs', () => {
  test('leave outputs and nothing else', { timeout: 120_000 }, async (t) => {
    const { executor, reports, folder, problems } = await startBench(t);
    const before = { files: openFiles(), handles: process.getActiveResourcesInfo().sort() };
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
    assert.deepEqual(openFiles(), before.files);
    await executor.stop();
    const isOurs = (name: string): boolean => !before.handles.includes(name);
    assert.deepEqual(process.getActiveResourcesInfo().filter(isOurs), []);
    assert.deepEqual(readdirSync(join(folder, 'work')), []);
    assert.deepEqual(readdirSync(join(folder, 'running')), []);
    assert.equal(readdirSync(join(folder, 'output')).length, 500);
    assert.deepEqual(problems, []);
    assert.equal(process.listenerCount('exit'), process.listeners('exit').length);
  });
});
