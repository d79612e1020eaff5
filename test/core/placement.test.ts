import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { rendezvousOrder } from '../../src/core/placement.ts';
import { nodeId } from './core-bench.ts';

const NODES = [...'0123456789'].map(nodeId);

describe('rendezvous order', () => {
  test('is the same whatever order the members are known in', () => {
    assert.deepEqual(rendezvousOrder('key', [...NODES].reverse()), rendezvousOrder('key', NODES));
  });

  test('moves only the keys that a leaving member was first for', () => {
    const gone = NODES[3];
    const rest = NODES.filter((node) => node !== gone);
    for (let i = 0; i < 200; i++) {
      const [before, second] = rendezvousOrder(`key-${i}`, NODES);
      const [after] = rendezvousOrder(`key-${i}`, rest);
      assert.equal(after, before === gone ? second : before);
    }
  });

  test('spreads keys evenly', () => {
    const counts = new Map<string, number>();
    for (let i = 0; i < 10_000; i++) {
      const [first = ''] = rendezvousOrder(`key-${i}`, NODES);
      counts.set(first, (counts.get(first) ?? 0) + 1);
    }
    for (const node of NODES) {
      const count = counts.get(node) ?? 0;
      assert.ok(count > 850 && count < 1150, `${node} is first for ${count} of 10,000`);
    }
  });
});
