import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { asJobId, type JobId } from '../../src/base/ids.ts';
import type { JobSpec } from '../../src/core/job.ts';
import { JobQueue } from '../../src/core/queue.ts';
import { B, SPEC } from './core-bench.ts';

const plain = (priority = 5): JobSpec => ({ ...SPEC, priority });
const pinned = (priority = 5): JobSpec => ({
  ...SPEC,
  priority,
  needs: { ...SPEC.needs, target: B },
});

/** Takes the most urgent job again and again, looking at the lanes anew each time. */
function drain(queue: JobQueue): string[] {
  const taken: string[] = [];
  for (;;) {
    const [lane] = queue.byUrgency();
    const job: JobId | undefined = lane && queue.take(lane);
    if (!job) return taken;
    taken.push(job);
  }
}

describe('the queue', () => {
  test('gives the higher priority first, and the older of one priority', () => {
    const queue = new JobQueue();
    queue.add(asJobId('a'), plain(5));
    queue.add(asJobId('b'), pinned(5));
    queue.add(asJobId('c'), plain(9));
    queue.add(asJobId('d'), plain(5));
    queue.add(asJobId('e'), pinned(1));
    assert.deepEqual(drain(queue), ['c', 'a', 'b', 'd', 'e']);
    assert.equal(queue.size, 0);
  });

  test('gives a job that was put back before all that came later', () => {
    const queue = new JobQueue();
    for (const name of ['a', 'b', 'c']) queue.add(asJobId(name), plain());
    const [lane] = queue.byUrgency();
    const first = lane && queue.take(lane);
    assert.equal(first, 'a');
    queue.add(asJobId('d'), plain());
    queue.putBack(asJobId('a'), plain());
    assert.deepEqual(drain(queue), ['a', 'b', 'c', 'd']);
  });

  test('puts back into an order that has been worked on from its head', () => {
    const queue = new JobQueue();
    queue.add(asJobId('a'), plain());
    queue.putBack(asJobId('b'), plain());
    queue.putBack(asJobId('c'), plain());
    assert.deepEqual(drain(queue), ['c', 'b', 'a']);
  });

  test('holds a job once, and not after it was removed', () => {
    const queue = new JobQueue();
    queue.add(asJobId('a'), plain());
    queue.add(asJobId('a'), plain());
    queue.add(asJobId('b'), plain());
    queue.remove(asJobId('a'));
    queue.remove(asJobId('a'));
    assert.equal(queue.has(asJobId('a')), false);
    assert.equal(queue.size, 1);
    assert.deepEqual(drain(queue), ['b']);
  });

  test('counts a job that was removed and came again from its second coming', () => {
    const queue = new JobQueue();
    for (const name of ['a', 'b', 'c']) queue.add(asJobId(name), plain());
    queue.remove(asJobId('b'));
    queue.add(asJobId('b'), plain());
    assert.deepEqual(drain(queue), ['a', 'c', 'b']);
  });

  test('keeps one lane for a hundred thousand jobs of equal needs', () => {
    const queue = new JobQueue();
    for (let i = 0; i < 100_000; i++) queue.add(asJobId(`job-${i}`), plain(1 + (i % 10)));
    assert.equal(queue.byUrgency().length, 1);
    assert.equal(drain(queue).length, 100_000);
  });

  test('takes a priority that is none for the nearest that is one', () => {
    const queue = new JobQueue();
    for (const priority of [0, 99, Number.NaN, 5.5])
      queue.add(asJobId(`p${priority}`), plain(priority));
    assert.deepEqual(drain(queue), ['p99', 'p5.5', 'p0', 'pNaN']);
  });

  test('gives back the room of jobs that come and are cancelled behind one that waits', () => {
    const queue = new JobQueue();
    queue.add(asJobId('waits'), plain());
    for (let i = 0; i < 100_000; i++) {
      queue.add(asJobId(`job-${i}`), plain());
      queue.remove(asJobId(`job-${i}`));
    }
    const [lane] = queue.byUrgency();
    const places = lane?.levels.reduce((sum, level) => sum + (level?.jobs.length ?? 0), 0) ?? 0;
    assert.ok(places < 20_000, `${places} places for one job`);
    assert.deepEqual(drain(queue), ['waits']);
  });
});
