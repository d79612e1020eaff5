import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { NodeId } from '../../src/base/ids.ts';
import { B, C, CoreBench, nodeId } from './core-bench.ts';

/** Those that tell something, and the questions for one. */
function tables(bench: CoreBench): { to: NodeId; nodes: NodeId[] }[] {
  return allTables(bench).filter(({ nodes }) => nodes.length > 0);
}

const asked = (bench: CoreBench): NodeId[] =>
  allTables(bench)
    .filter(({ nodes }) => nodes.length === 0)
    .map(({ to }) => to);

const allTables = (bench: CoreBench): { to: NodeId; nodes: NodeId[] }[] =>
  bench.signs.flatMap(({ to, message }) =>
    message.kind === 'members' ? [{ to, nodes: message.members.map(({ node }) => node) }] : [],
  );

const nodeOf = (index: number): NodeId => nodeId(index.toString(16).padStart(4, '0'));

describe('a new link', () => {
  test('brings the table of members with it, without the new one itself', () => {
    const bench = new CoreBench();
    bench.link(B);
    bench.signs.length = 0;
    bench.link(C);
    assert.deepEqual(tables(bench), [{ to: C, nodes: [B] }]);
  });
});

describe('a large table of members', () => {
  /** A node that knows 70 others, and has told nobody of them for a while. */
  function grown(): CoreBench {
    const bench = new CoreBench();
    for (let i = 1; i <= 70; i++) bench.link(nodeOf(i));
    bench.advance(2000);
    bench.signs.length = 0;
    return bench;
  }

  test('is told to those who ask for it, and to one at most once a second', () => {
    const bench = grown();
    bench.link(B);
    assert.deepEqual(tables(bench), []);
    const ask = { kind: 'members', members: [] } as const;
    for (let i = 0; i < 3; i++) bench.hear(B, ask);
    assert.deepEqual(
      tables(bench).map(({ to, nodes }) => [to, nodes.length]),
      [[B, 70]],
    );
    bench.advance(1000);
    bench.hear(B, ask);
    assert.equal(tables(bench).length, 2);
  });

  test('is asked of the first eight that are met, and then of one in a second', () => {
    const bench = grown();
    bench.advance(60_000);
    bench.signs.length = 0;
    const met = Array.from({ length: 10 }, (_, i) => nodeOf(100 + i));
    for (const node of met) bench.link(node);
    assert.deepEqual(asked(bench), met.slice(0, 8));
    bench.advance(1000);
    for (const node of [B, C]) bench.link(node);
    assert.deepEqual(asked(bench), [...met.slice(0, 8), B]);
  });

  test('is exchanged with a random peer every thirty seconds', () => {
    const bench = grown();
    bench.advance(60_000);
    assert.equal(tables(bench).length, 2);
  });
});
