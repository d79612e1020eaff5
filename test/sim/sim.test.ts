import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { MUTANTS } from './mutants/mutants.ts';
import { type FaultKind, planOf } from './plan.ts';
import { simulate } from './simulate.ts';

const SEEDS = Number(process.env.SEEDS ?? 300);

describe('the mesh in simulation', () => {
  test(`keeps its invariants over ${SEEDS} seeds of faults`, async () => {
    const failed: string[] = [];
    for (let seed = 1; seed <= SEEDS && failed.length < 5; seed++) {
      const { violations } = await simulate(seed);
      if (violations.length > 0)
        failed.push(`seed ${seed}: ${violations.join('; ')}; again: make sim SEEDS=1 FROM=${seed}`);
    }
    assert.deepEqual(failed, []);
  });

  test('runs the same seed to the same trace', async () => {
    for (const seed of [3, 8, 21]) {
      const [first, second] = [await simulate(seed), await simulate(seed)];
      assert.deepEqual(second, first);
      assert.ok(first.events > 1000);
    }
    assert.notEqual((await simulate(3)).trace, (await simulate(5)).trace);
  });

  test('meets every kind of fault in the seeds of a test run', () => {
    const plans = Array.from({ length: 300 }, (_, i) => planOf(i + 1));
    const kinds: Readonly<Record<FaultKind, number>> = {
      crash: 100,
      crashPoint: 100,
      hostCrash: 50,
      freeze: 60,
      suspend: 30,
      starve: 40,
      clockJump: 30,
      partition: 100,
      cut: 50,
      linkDrop: 60,
      fullDisk: 40,
      failingDisk: 20,
      loseDisk: 20,
      oldDisk: 15,
      drain: 50,
    };
    for (const [kind, least] of Object.entries(kinds)) {
      const count = plans.filter(({ faults }) =>
        faults.some((fault) => fault.kind === kind),
      ).length;
      assert.ok(count >= least, `${kind} in ${count} of 300 seeds`);
    }
    for (const size of [1, 2, 3, 5, 9])
      assert.ok(plans.filter(({ nodes }) => nodes.length === size).length >= 20, `${size} nodes`);
  });
});

describe('the mutants of the core', () => {
  for (const { name, file, from } of MUTANTS) {
    test(`have their place in the source: ${name}`, () => {
      const source = readFileSync(new URL(`../../src/core/${file}`, import.meta.url), 'utf8');
      assert.equal(source.split(from).length, 2);
    });
  }
});
