import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  FAULTS,
  type FaultKind,
  type PlannedFault,
  type PlanOptions,
  planTorture,
} from '../../src/torture/plan.ts';

const ALL = Object.keys(FAULTS) as FaultKind[];
const SEEDS = Array.from({ length: 200 }, (_, i) => i + 1);

const plan = (more: Partial<PlanOptions> = {}) =>
  planTorture({
    seed: 1,
    durationMs: 600_000,
    nodes: 3,
    faults: ALL,
    jobsPerSecond: 4,
    ...more,
  });

/** Of its own; a restart is counted as a moment. */
const touches = (fault: PlannedFault): number[] =>
  fault.other === undefined ? [fault.node] : [fault.node, fault.other];

describe('a plan', () => {
  test('is the same for the same seed and another for another', () => {
    assert.deepEqual(plan({ seed: 7 }), plan({ seed: 7 }));
    assert.notDeepEqual(plan({ seed: 7 }).faults, plan({ seed: 8 }).faults);
    assert.notDeepEqual(plan({ seed: 7 }).jobs, plan({ seed: 8 }).jobs);
  });

  test('has the same faults whatever the jobs, and the same jobs whatever the faults', () => {
    assert.deepEqual(plan({ jobsPerSecond: 1 }).faults, plan({ jobsPerSecond: 9 }).faults);
    assert.deepEqual(plan({ faults: ['kill'] }).jobs, plan().jobs);
  });
});

describe('planned faults', () => {
  test('begin and are healed within the run', () => {
    for (const seed of SEEDS) {
      for (const durationMs of [8000, 40_000, 600_000]) {
        for (const { atMs, forMs } of plan({ seed, durationMs }).faults)
          assert.ok(atMs >= 2000 && forMs >= 0 && atMs + forMs <= durationMs, `seed ${seed}`);
      }
    }
  });

  test('give a node one fault at a time', () => {
    for (const seed of SEEDS) {
      const { faults } = plan({ seed });
      faults.forEach((fault, i) => {
        for (const earlier of faults.slice(0, i)) {
          const isShared = touches(earlier).some((node) => touches(fault).includes(node));
          if (isShared) assert.ok(fault.atMs > earlier.atMs + earlier.forMs, `seed ${seed}`);
        }
      });
    }
  });

  test('sometimes overlap on different nodes', () => {
    const overlaps = SEEDS.filter((seed) => {
      const { faults } = plan({ seed });
      return faults.some((fault, i) => {
        const before = faults[i - 1];
        return before && fault.atMs < before.atMs + before.forMs;
      });
    });
    assert.ok(overlaps.length > SEEDS.length / 2);
  });

  test('bring each kind once before any kind twice', () => {
    for (const seed of SEEDS) {
      const kinds = plan({ seed }).faults.map(({ kind }) => kind);
      assert.deepEqual(kinds.slice(0, ALL.length).toSorted(), ALL.toSorted());
    }
  });

  test('kill nodes for less than a lease and for more', () => {
    const outages = SEEDS.flatMap((seed) => plan({ seed, faults: ['kill'] }).faults);
    assert.ok(outages.some(({ forMs }) => forMs < 4000));
    assert.ok(outages.some(({ forMs }) => forMs > 8000));
  });

  test('name another node where there are two sides, and a share where packets are lost', () => {
    for (const { kind, node, other, share } of SEEDS.flatMap((seed) => plan({ seed }).faults)) {
      assert.equal(other !== undefined, kind === 'one-way');
      assert.notEqual(other, node);
      assert.equal(share !== undefined, kind === 'loss');
      assert.ok(share === undefined || (share >= 0.05 && share <= 0.4));
    }
  });

  test('fill the disk of the last node only', () => {
    const { faults } = plan({ nodes: 5, faults: ['disk'] });
    assert.ok(faults.length > 5 && faults.every(({ node }) => node === 4));
  });

  test('of short outages are so many that 25 minutes hold 300 kills', () => {
    const durationMs = 25 * 60_000;
    for (const seed of SEEDS.slice(0, 20)) {
      const { faults } = plan({ seed, durationMs, faults: ['kill', 'host'], longestMs: 5000 });
      assert.ok(faults.length >= 300, `seed ${seed}: ${faults.length}`);
      assert.ok(faults.every(({ forMs }) => forMs <= 5000));
    }
  });

  test('are none when none is asked for', () => assert.deepEqual(plan({ faults: [] }).faults, []));
});

describe('planned jobs', () => {
  test('come at about the rate that was asked for, in order, with a name each', () => {
    const { jobs } = plan({ jobsPerSecond: 4 });
    assert.ok(jobs.length > 2200 && jobs.length < 2600, String(jobs.length));
    const times = jobs.map(({ atMs }) => atMs);
    assert.deepEqual(
      times,
      times.toSorted((a, b) => a - b),
    );
    assert.equal(new Set(jobs.map(({ label }) => label)).size, jobs.length);
  });

  test('are of every kind, with what each needs', () => {
    const { jobs } = plan();
    const kinds = new Set(jobs.map(({ kind }) => kind));
    assert.equal(kinds.size, 9);
    for (const { kind, exitCode, cancelAfterMs, runsMs } of jobs) {
      assert.equal(exitCode, kind === 'failing' ? 3 : 0);
      assert.equal(cancelAfterMs !== undefined, kind === 'cancelled');
      if (kind === 'long' || kind === 'stubborn') assert.ok(runsMs >= 5000 && runsMs <= 20_000);
      if (kind === 'short') assert.ok(runsMs <= 600);
    }
  });
});
