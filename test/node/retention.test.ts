import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { MeshError } from '../../src/base/errors.ts';
import { asMono, asWall } from '../../src/base/instant.ts';
import { Retention } from '../../src/node/retention.ts';
import { until } from './mesh-bench.ts';

const NOW = 1e12;
const HOUR_MS = 3600_000;
const DAY_MS = 24 * HOUR_MS;
const clock = { now: () => ({ mono: asMono(0), wall: asWall(NOW) }) };

describe('old jobs', () => {
  test('are deleted in small steps until none is left, stubs a month later', async (t) => {
    const asked: (readonly [number, number, number])[] = [];
    let left = 1200;
    const retention = new Retention({
      clock,
      keepMs: HOUR_MS,
      store: {
        expire: (before, stubsBefore, limit) => {
          asked.push([before, stubsBefore, limit]);
          const count = Math.min(left, limit);
          left -= count;
          return count;
        },
      },
      onProblem: assert.fail,
    });
    t.after(() => retention.stop());
    retention.start();
    await until('none is left', () => left === 0);
    assert.equal(asked.length, 3);
    assert.deepEqual(asked[0], [NOW - HOUR_MS, NOW - HOUR_MS - 31 * DAY_MS, 500]);
  });

  test('that a disk does not let go of are told of once', async (t) => {
    let tries = 0;
    const problems: string[] = [];
    const expire = (): number => {
      tries++;
      throw new MeshError('DISK_FULL', 'no space');
    };
    const onProblem = (sentence: string): void => void problems.push(sentence);
    const parts = { clock, keepMs: HOUR_MS, store: { expire }, onProblem };
    const retention = new Retention(parts);
    t.after(() => retention.stop());
    retention.start();
    await until('it was tried', () => tries === 1);
    // A stop and a start in one process are one life: it is not told again.
    retention.stop();
    retention.start();
    await until('it was tried again', () => tries === 2);
    assert.deepEqual(problems, ['old jobs could not be deleted: no space']);
  });

  test('stay when the node has stopped', async (t) => {
    const tries = { stopped: 0, running: 0 };
    const parts = { clock, keepMs: HOUR_MS, onProblem: assert.fail };
    const stopped = new Retention({ ...parts, store: { expire: () => ++tries.stopped } });
    const running = new Retention({ ...parts, store: { expire: () => ++tries.running } });
    t.after(() => running.stop());
    stopped.start();
    stopped.stop();
    running.start();
    await until('the other one is at work', () => tries.running > 0);
    assert.equal(tries.stopped, 0);
  });
});
