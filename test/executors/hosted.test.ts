import assert from 'node:assert/strict';
import { once } from 'node:events';
import { describe, test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { Hosted, type HostedWork } from '../../src/executors/hosted.ts';

const never = (): Promise<never> => new Promise(() => {});
const afterAbort: HostedWork = async ({ asked }) => {
  if (!asked.aborted) await once(asked, 'abort');
  asked.throwIfAborted();
  return never();
};

describe('an attempt inside the node', () => {
  test('ends as its work says, and a rejection is a failure', async () => {
    const done = new Hosted(async () => ({ tag: 'exited', code: 3 }));
    assert.deepEqual(await done.ended, { tag: 'exited', code: 3 });
    const failed = new Hosted(() => Promise.reject(new Error('no route')));
    assert.deepEqual(await failed.ended, { tag: 'failed', reason: 'no route' });
  });

  test('is told to end, and forced when its grace is over', async () => {
    const seen: string[] = [];
    const running = new Hosted(async ({ asked, forced }) => {
      asked.addEventListener('abort', () => seen.push('asked'));
      forced.addEventListener('abort', () => seen.push('forced'));
      await once(forced, 'abort');
      throw new Error('aborted');
    });
    running.end(30);
    await turn();
    assert.deepEqual(seen, ['asked']);
    assert.deepEqual(await running.ended, { tag: 'signalled', signal: 'SIGKILL' });
    assert.deepEqual(seen, ['asked', 'forced']);
  });

  test('is forced at once by a second word with less grace', async () => {
    const running = new Hosted(async ({ forced }) => {
      await once(forced, 'abort');
      throw new Error('aborted');
    });
    running.end(3_600_000);
    running.end(0);
    assert.deepEqual(await running.ended, { tag: 'signalled', signal: 'SIGKILL' });
  });

  test('that ends when asked is no failure', async () => {
    const running = new Hosted(afterAbort);
    running.end(3_600_000);
    assert.deepEqual(await running.ended, { tag: 'signalled', signal: 'SIGTERM' });
  });

  test('that does not end is given up, and its end says so', { timeout: 20_000 }, async () => {
    const running = new Hosted(never);
    assert.equal(running.canBeLeft, false);
    await running.leave();
    const end = await running.ended;
    assert(end.tag === 'failed');
    assert.match(end.reason, /did not end when it was told to/);
  });
});
