import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { firstLine, order, release, startBench, temporaryFolder, textOf } from './attempts.ts';

/** A file system of 200 KiB; undefined where this user may not mount one. */
function smallDisk(t: TestContext): string | undefined {
  const folder = join(temporaryFolder(t), 'disk');
  mkdirSync(folder);
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=200k', 'tmpfs', folder]);
  if (mounted.status !== 0) return undefined;
  release(t, () => spawnSync('umount', ['-l', folder]));
  return folder;
}

describe('a full disk', () => {
  test('is told to the job that prints, and the node lives on', async (t) => {
    const folder = smallDisk(t);
    if (folder === undefined) return t.skip('only root can mount a small disk');
    const { run, executor, reports } = await startBench(t, {
      folder,
      outputLimitBytes: 10_000_000,
    });
    const { end, stdout, stderr } = await run('head -c 1000000 /dev/zero || echo failed');
    assert.deepEqual(end, { tag: 'exited', code: 1 });
    assert(stdout.totalBytes > 50_000 && stdout.totalBytes < 300_000);
    // Nor is there room for the message of head.
    assert.equal(textOf(stderr), '');

    const late = order('echo ran');
    executor.run(late);
    const after = await reports.ended(late);
    if (after.end.tag === 'failed') assert.match(after.end.reason, /disk of the node is full/);
    else assert.deepEqual(after.end.tag, 'exited');
  });

  test('does not keep a lease from being prolonged', async (t) => {
    const folder = smallDisk(t);
    if (folder === undefined) return t.skip('only root can mount a small disk');
    const { executor, reports, problems } = await startBench(t, { folder });
    const ordered = order('echo $$; sleep 4');
    executor.run({ ...ordered, lease: { tag: 'leased', leftMs: 3000 } });
    await firstLine(executor, ordered);
    spawnSync('dd', ['if=/dev/zero', `of=${join(folder, 'ballast')}`, 'bs=1k']);
    executor.prolong(ordered.job, ordered.fence, { tag: 'leased', leftMs: 60_000 });
    assert.deepEqual((await reports.ended(ordered)).end, { tag: 'exited', code: 0 });
    assert.deepEqual(problems, []);
  });

  test('does not hide that output was cut', async (t) => {
    const folder = smallDisk(t);
    if (folder === undefined) return t.skip('only root can mount a small disk');
    const { run, executor } = await startBench(t, { folder, outputLimitBytes: 40_000 });
    writeFileSync(join(folder, 'ballast'), Buffer.alloc(100_000));
    const { stdout, order: ordered } = await run('head -c 1000000 /dev/zero; sleep 0.3');
    assert.equal(stdout.isTruncated, true);
    const range = { offset: 40_000, maxBytes: 100 };
    const chunk = await executor.outputs.read(ordered, 'stdout', range);
    assert.equal(chunk?.isTruncated, true);
  });
});
