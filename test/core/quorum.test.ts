import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { NodeId } from '../../src/base/ids.ts';
import {
  isDecided,
  isLeased,
  isOwnEvidence,
  majorityOf,
  replicasOf,
} from '../../src/core/quorum.ts';
import { B, C, D, nodeId, SELF } from './core-bench.ts';

const E = nodeId('e');
const A = SELF;

interface Asked {
  readonly rs: readonly NodeId[];
  readonly oldRs?: readonly NodeId[];
  readonly yes: readonly NodeId[];
  readonly banned?: readonly NodeId[];
  /** The peer without which the asking node may decide. */
  readonly aloneWithout?: NodeId;
}

const decided = ({ rs, oldRs = [], yes, banned = [], aloneWithout }: Asked): boolean =>
  isDecided({ rs, oldRs }, (node) => yes.includes(node), {
    self: A,
    isBanned: (node) => banned.includes(node),
    isAloneWithout: (peer) => peer === aloneWithout,
  });

const leased = ({ rs, oldRs = [], yes, banned = [] }: Asked, owner: NodeId): boolean =>
  isLeased(
    { rs, oldRs },
    owner,
    (node) => yes.includes(node),
    (node) => banned.includes(node),
  );

describe('a set of replicas has decided', () => {
  test('with one of one, two of three, three of five', () => {
    assert.equal(decided({ rs: [A], yes: [A] }), true);
    assert.equal(decided({ rs: [A, B, C], yes: [A] }), false);
    assert.equal(decided({ rs: [A, B, C], yes: [B, C] }), true);
    assert.equal(decided({ rs: [A, B, C, D, E], yes: [A, B] }), false);
    assert.equal(majorityOf([A, B, C, D, E]), 3);
  });

  test('not with the yes of nodes that are not in it', () => {
    assert.equal(decided({ rs: [A, B, C], yes: [A, D, E] }), false);
  });

  test('in a pair with both, or with one that has the right to go without the other', () => {
    assert.equal(decided({ rs: [A, B], yes: [A, B] }), true);
    assert.equal(decided({ rs: [A, B], yes: [A] }), false);
    assert.equal(decided({ rs: [A, B], yes: [A], aloneWithout: B }), true);
    assert.equal(decided({ rs: [A, B], yes: [A], aloneWithout: C }), false);
    assert.equal(decided({ rs: [A, B], yes: [B], aloneWithout: B }), false);
    assert.equal(decided({ rs: [B, C], yes: [B], aloneWithout: B }), false);
    assert.equal(decided({ rs: [A, B], yes: [], aloneWithout: B }), false);
  });

  test('never by that right when it is no pair', () => {
    assert.equal(decided({ rs: [A, B, C], yes: [A], aloneWithout: B }), false);
    assert.equal(decided({ rs: [A, B, C], yes: [A], banned: [C], aloneWithout: B }), false);
  });

  test('while it changes only with a majority of the old and of the new set', () => {
    const changing = { rs: [A, B, D], oldRs: [A, B, C] };
    assert.equal(decided({ ...changing, yes: [A, D] }), false);
    assert.equal(decided({ ...changing, yes: [A, C] }), false);
    assert.equal(decided({ ...changing, yes: [A, B] }), true);
    assert.equal(decided({ ...changing, yes: [A, C, D] }), true);
  });

  test('without banned nodes, whose places count no more', () => {
    assert.equal(decided({ rs: [A, B, C], yes: [A], banned: [B, C] }), true);
    assert.equal(decided({ rs: [A, B, C], yes: [A], banned: [B] }), false);
    assert.equal(decided({ rs: [A, B, C], yes: [A, B], banned: [B] }), false);
    assert.equal(decided({ rs: [A, B], yes: [A], banned: [B] }), true);
  });

  test('by nobody when all of it are banned', () => {
    assert.equal(decided({ rs: [B], yes: [A, B], banned: [B] }), false);
    assert.equal(decided({ rs: [B], oldRs: [C], yes: [A, B], banned: [B, C] }), false);
  });

  test('by the other set alone when all of one are banned', () => {
    assert.equal(decided({ rs: [A, C, D], oldRs: [B], yes: [A, C], banned: [B] }), true);
    assert.equal(decided({ rs: [A, C, D], oldRs: [B], yes: [A], banned: [B] }), false);
  });
});

describe('an attempt may run on', () => {
  test('with the yes of a majority of three', () => {
    assert.equal(leased({ rs: [A, B, C], yes: [A] }, A), false);
    assert.equal(leased({ rs: [A, B, C], yes: [B, C] }, A), true);
  });

  test('with the yes of the owner, and of nobody else, where one or two keep the record', () => {
    assert.equal(leased({ rs: [A], yes: [A] }, A), true);
    assert.equal(leased({ rs: [A, B], yes: [A] }, A), true);
    assert.equal(leased({ rs: [A, B], yes: [B] }, A), false);
  });

  test('while the sets change only with the yes of both', () => {
    assert.equal(leased({ rs: [A, B, D], oldRs: [A, B], yes: [B, D] }, A), false);
    assert.equal(leased({ rs: [A, B, D], oldRs: [A, B], yes: [A, D] }, A), true);
    assert.equal(leased({ rs: [A, B, D], oldRs: [A, B, C], yes: [A, C] }, A), false);
  });

  test('without the yes of banned nodes, but not without any', () => {
    assert.equal(leased({ rs: [A, B, C], yes: [A], banned: [B] }, A), false);
    assert.equal(leased({ rs: [A, B, C], yes: [A], banned: [B, C] }, A), true);
    assert.equal(leased({ rs: [A, B, C], yes: [A, B, C], banned: [A, B, C] }, A), false);
  });
});

test('all who keep a record are named once, though they are in both sets', () => {
  assert.deepEqual(replicasOf({ rs: [A, B, D], oldRs: [A, B, C] }), [A, B, D, C]);
  assert.deepEqual(replicasOf({ rs: [A, B], oldRs: [] }), [A, B]);
});

test("an owner's own yes is evidence while no set has more than two", () => {
  assert.equal(isOwnEvidence({ rs: [A, B], oldRs: [A] }), true);
  assert.equal(isOwnEvidence({ rs: [A, B, C], oldRs: [A, B] }), false);
  assert.equal(isOwnEvidence({ rs: [A, B], oldRs: [A, B, C] }), false);
});
