/** How a job begins, as it asks: with real users, limits of the system and files. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readdirSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { toRunText } from '../../src/run/run-options.ts';
import { order, startBench, textOf } from './attempts.ts';

const DEADLINE = { timeout: 60_000 };
const IS_ROOT = process.getuid?.() === 0;
const NEEDS_ROOT = IS_ROOT ? false : 'only root may run jobs as another user';

describe('a job that says how it is run', DEADLINE, () => {
  test('has its words as they are, without a shell', async (t) => {
    const { run } = await startBench(t);
    const argv = ['/usr/bin/printf', '%s|', '$HOME', "it's", '*', '', 'a\nb', '-x', 'é'];
    const { stdout, end } = await run('', { run: toRunText({ argv }) });
    assert.equal(textOf(stdout), "$HOME|it's|*||a\nb|-x|é|");
    assert.deepEqual(end, { tag: 'exited', code: 0 });
  });

  test('whose program is not there ends with 127', async (t) => {
    const { run } = await startBench(t);
    const { end } = await run('', { run: toRunText({ argv: ['no-such-program-here'] }) });
    assert.deepEqual(end, { tag: 'exited', code: 127 });
  });

  test('reads its standard input to the end, and leaves no copy of it', async (t) => {
    const { run, folder } = await startBench(t);
    const stdin = `one\n\u0000two é\n${'x'.repeat(200_000)}`;
    const { stdout } = await run('sha256sum', { run: toRunText({ stdin }) });
    assert.equal(textOf(stdout), `${createHash('sha256').update(stdin).digest('hex')}  -\n`);
    const left = readdirSync(join(folder, 'running'), { recursive: true }).map(String);
    assert.deepEqual(
      left.filter((name) => name.endsWith('.stdin')),
      [],
    );
  });

  test('has an empty standard input from an empty text', async (t) => {
    const { run } = await startBench(t);
    const { stdout } = await run('wc -c', { run: toRunText({ stdin: '' }) });
    assert.match(textOf(stdout), /^ *0\n$/);
  });

  test('has its umask, and the next job of the runner has not', async (t) => {
    const { run } = await startBench(t);
    const probe = 'umask; : >made; stat -c %a made';
    const { stdout } = await run(probe, { run: toRunText({ umask: '027' }) });
    assert.equal(textOf(stdout), '0027\n640\n');
    const plain = (await run(probe)).stdout;
    assert.notEqual(textOf(plain), '0027\n640\n');
  });

  test('has its niceness', async (t) => {
    const { run } = await startBench(t);
    const nice = Math.min(19, os.getPriority() + 3);
    const { stdout } = await run('nice', { run: toRunText({ nice }) });
    assert.equal(textOf(stdout), `${nice}\n`);
  });

  test('runs as the user it names, with that home, in a folder that is theirs', {
    skip: NEEDS_ROOT,
  }, async (t) => {
    const { run } = await startBench(t);
    const command =
      'id -un; id -gn; echo "$HOME $USER $LOGNAME"; echo made >file; stat -c %U file; touch "$PWD/again"';
    const { stdout, stderr, end } = await run(command, { run: toRunText({ user: 'nobody' }) });
    assert.equal(textOf(stderr), '');
    assert.equal(textOf(stdout), 'nobody\nnogroup\n/nonexistent nobody nobody\nnobody\n');
    assert.deepEqual(end, { tag: 'exited', code: 0 });
    const own = await run('echo "$HOME"', {
      run: toRunText({ user: 'nobody' }),
      env: { HOME: '/mine' },
    });
    assert.equal(textOf(own.stdout), '/mine\n');
  });

  test('that names a user who is not there has failed, and has not run', async (t) => {
    const { run } = await startBench(t);
    // The system finds root by the last two.
    for (const user of ['no-such-user', '00', '4294967296']) {
      const { end, startedAt } = await run('id', { run: toRunText({ user }) });
      assert(end.tag === 'failed');
      assert.match(end.reason, new RegExp(`no user ${user} on this node`));
      assert.equal(startedAt, undefined);
    }
  });

  test('can be ended as another user, too', { skip: NEEDS_ROOT }, async (t) => {
    const { executor, reports } = await startBench(t);
    const ordered = order('sleep 1000', { run: toRunText({ user: 'nobody' }) });
    executor.run(ordered);
    await reports.running(ordered);
    executor.end(ordered.job, ordered.fence, 0);
    assert.deepEqual((await reports.ended(ordered)).end, { tag: 'signalled', signal: 'SIGKILL' });
  });
});

describe('what a job took', DEADLINE, () => {
  test('is told of each job of a runner by itself', async (t) => {
    const { run } = await startBench(t);
    const busy = 'i=0; while [ $i -lt 400000 ]; do i=$((i+1)); done';
    const first = await run(busy);
    const second = await run('true');
    const firstMs = first.receipt?.usage?.cpuMs;
    const secondMs = second.receipt?.usage?.cpuMs;
    assert(firstMs !== undefined && firstMs >= 100, `${firstMs} ms`);
    assert(secondMs !== undefined && secondMs < firstMs / 2, `${secondMs} ms after ${firstMs} ms`);
  });

  test('is told of one that was adopted', async (t) => {
    const first = await startBench(t);
    const go = join(first.folder, 'go');
    const ordered = order(
      `i=0; while [ $i -lt 400000 ]; do i=$((i+1)); done; until [ -e ${go} ]; do sleep 0.05; done`,
    );
    first.executor.run(ordered);
    await first.reports.running(ordered);
    await first.executor.stop('leave');
    const second = await startBench(t, { folder: first.folder });
    assert.equal(second.survivors.length, 1);
    writeFileSync(go, '');
    const { receipt } = await second.reports.ended(ordered);
    assert((receipt?.usage?.cpuMs ?? 0) >= 100, JSON.stringify(receipt));
  });
});
