import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { seededRandom } from '../../src/base/random.ts';
import {
  type Candidate,
  chooseTarget,
  misfitOf,
  presumedFree,
  refusalOf,
} from '../../src/core/election.ts';
import { IDLE_LOAD } from '../../src/core/facts.ts';
import { B, C, D, factsOf, SELF, SPEC } from './core-bench.ts';

const candidate = (node = B, change: Partial<Candidate> = {}): Candidate => ({
  facts: factsOf(node, { slots: 4 }),
  state: 'alive',
  load: { ...IDLE_LOAD, slots: 4 },
  inFlight: 0,
  ...change,
});

describe('the filter of the election', () => {
  const needs = SPEC.needs;

  test('names the one thing that a node lacks for good', () => {
    const facts = factsOf(B, { labels: { zone: 'a' }, capabilities: { gpu: 'true' } });
    assert.equal(misfitOf({ ...needs, target: C }, 'shell', facts), 'pinned to another node');
    assert.equal(misfitOf(needs, 'docker', facts), 'task type not served');
    assert.equal(misfitOf({ ...needs, labels: { zone: 'b' } }, 'shell', facts), 'label missing');
    const other = { ...needs, capabilities: { gpu: 'true', avx: 'true' } };
    assert.equal(misfitOf(other, 'shell', facts), 'capability missing');
    const all = { target: B, labels: { zone: 'a' }, capabilities: { gpu: 'true' } };
    assert.equal(misfitOf(all, 'shell', facts), undefined);
  });

  test('does not take what every object inherits for a label', () => {
    const odd = { ...needs, labels: { constructor: 'x' } };
    assert.equal(misfitOf(odd, 'shell', factsOf(B)), 'label missing');
  });

  test('names what keeps a fitting node from running it now', () => {
    const refusal = (change: Partial<Candidate>) => refusalOf(needs, 'shell', candidate(B, change));
    const load = { ...IDLE_LOAD, slots: 4 };
    assert.equal(refusal({}), undefined);
    assert.equal(refusal({ state: 'suspect' }), 'suspect');
    assert.equal(refusal({ state: 'dead' }), 'dead');
    assert.equal(refusal({ load: { ...load, draining: true } }), 'draining');
    assert.equal(refusal({ load: { ...load, accepting: false } }), 'disk takes no writes');
    assert.equal(refusal({ load: { ...load, running: 3, claimed: 1 } }), 'no free slot');
    assert.equal(refusal({ load: { ...load, running: 2 }, inFlight: 2 }), 'no free slot');
  });

  test('counts what is on its way beside what the load tells', () => {
    const load = { ...IDLE_LOAD, slots: 4, running: 1, claimed: 1 };
    assert.equal(presumedFree(candidate(B, { load, inFlight: 1 })), 1);
  });
});

describe('the choice of a target', () => {
  test('takes the own node at once when it fits', () => {
    const choice = chooseTarget([candidate(B), candidate(SELF)], SELF, seededRandom(1));
    assert.deepEqual(choice, { node: SELF, why: 'own free slot' });
  });

  test('takes nobody of none, and the only one of one', () => {
    assert.equal(chooseTarget([], SELF, seededRandom(1)), undefined);
    assert.equal(chooseTarget([candidate(B)], SELF, seededRandom(1))?.node, B);
  });

  test('never takes the most loaded of three, and spreads over the others', () => {
    const load = (running: number) => ({ ...IDLE_LOAD, slots: 4, running });
    const three = [
      candidate(B, { load: load(0) }),
      candidate(C, { load: load(1) }),
      candidate(D, { load: load(3) }),
    ];
    const random = seededRandom(7);
    const taken = Array.from({ length: 300 }, () => chooseTarget(three, SELF, random)?.node);
    const count = (node: typeof B): number => taken.filter((one) => one === node).length;
    assert.equal(count(D), 0);
    assert.ok(count(B) > count(C) && count(C) > 50, `${count(B)} and ${count(C)}`);
  });

  test('compares the occupied part of the slots, not their number', () => {
    const small = candidate(B, { load: { ...IDLE_LOAD, slots: 2, running: 1 } });
    const big = candidate(C, { load: { ...IDLE_LOAD, slots: 16, running: 2 } });
    for (let seed = 0; seed < 20; seed++)
      assert.equal(chooseTarget([small, big], SELF, seededRandom(seed))?.node, C);
  });
});
