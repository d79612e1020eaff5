import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { NodeId } from '../../src/base/ids.ts';
import { IDLE_LOAD } from '../../src/core/facts.ts';
import { B, bootOf, C, CoreBench, D, factsOf, nodeId, SELF } from './core-bench.ts';

const LOWER = nodeId('1');

function stateOf(bench: CoreBench, node: NodeId): string | undefined {
  return bench.core.peers().find((member) => member.facts.node === node)?.state;
}

const hint = (bench: CoreBench, node: NodeId, host = '10.0.0.9', counter = 1): void =>
  bench.put({ kind: 'hint', node, boot: bootOf(counter), host, port: 4000 });

/** B goes silent with its link open; C and the others talk on. */
function silence(bench: CoreBench, node = B): void {
  bench.talking.delete(node);
}

/** Whom the core asked about a node. */
const probed = (bench: CoreBench): NodeId[] =>
  bench.signs.filter(({ message }) => message.kind === 'probe').map(({ to }) => to);

describe('a member', () => {
  test('is alive from its link on, and as long as it is heard', () => {
    const bench = new CoreBench();
    bench.link(B);
    bench.advance(60_000);
    assert.equal(stateOf(bench, B), 'alive');
  });

  test('is suspect after three seconds of silence, and alive with its next word', () => {
    const bench = new CoreBench();
    bench.link(B);
    silence(bench);
    bench.advance(3000);
    assert.equal(stateOf(bench, B), 'alive');
    bench.advance(200);
    assert.equal(stateOf(bench, B), 'suspect');
    bench.hear(B, { kind: 'pong', serial: 1, load: IDLE_LOAD, marks: 0 });
    assert.equal(stateOf(bench, B), 'alive');
  });

  test('is dead after four more seconds, and its link is closed', () => {
    const bench = new CoreBench();
    bench.link(B);
    silence(bench);
    bench.advance(7000);
    assert.equal(stateOf(bench, B), 'suspect');
    bench.advance(300);
    assert.equal(stateOf(bench, B), 'dead');
    assert.equal(bench.one('hangUp').node, B);
  });

  test('is asked for through three others while it is suspect', () => {
    const bench = new CoreBench();
    for (const node of [B, C, D, LOWER, nodeId('9')]) bench.link(node);
    silence(bench);
    bench.advance(3200);
    const asked = probed(bench);
    assert.equal(asked.length, 3);
    assert.ok(!asked.includes(B));
    assert.equal(new Set(asked).size, 3);
  });

  test('that a third node still hears is suspect and not dead', () => {
    const bench = new CoreBench();
    bench.link(B);
    bench.link(C);
    silence(bench);
    for (let i = 0; i < 30; i++) {
      bench.advance(1000);
      bench.hear(C, { kind: 'heard', target: B, agoMs: 200 });
    }
    assert.equal(stateOf(bench, B), 'suspect');
    bench.advance(4500);
    assert.equal(stateOf(bench, B), 'dead');
  });

  test('whose link closed and whose port refuses two dials is dead within a second', () => {
    const bench = new CoreBench();
    bench.link(B);
    const at = bench.monoMs;
    bench.kill(B);
    assert.equal(stateOf(bench, B), 'dead');
    assert.ok(bench.monoMs - at <= 1000, `${bench.monoMs - at} ms`);
  });

  test('whose dials time out is not dead by the fast path', () => {
    const bench = new CoreBench();
    bench.link(B);
    bench.unlink(B);
    for (let i = 0; i < 3; i++) {
      bench.advance(1000);
      bench.take('dial');
      bench.put({ kind: 'dialFailed', node: B, isRefused: false, reason: 'timeout' });
    }
    assert.equal(stateOf(bench, B), 'suspect');
    bench.advance(1500);
    assert.equal(stateOf(bench, B), 'dead');
  });

  test('that says goodbye has left at once and is not dialled again in that life', () => {
    const bench = new CoreBench();
    bench.link(B);
    bench.hear(B, { kind: 'goodbye', isBack: false });
    assert.equal(stateOf(bench, B), undefined);
    const event = bench.events.at(-1);
    assert.equal(event?.kind === 'memberChanged' && event.state, 'left');
    bench.unlink(B);
    hint(bench, B);
    bench.link(C);
    const entry = { node: B, boot: bootOf(1), hosts: ['10.0.0.9'], linkPort: 4000 };
    bench.hear(C, { kind: 'members', members: [entry] });
    bench.advance(60_000);
    bench.assertQuiet();
    hint(bench, B, '10.0.0.9', 2);
    bench.advance(2000);
    assert.equal(bench.one('dial').node, B);
  });

  test('that was dead is alive with its next link', () => {
    const bench = new CoreBench();
    bench.link(B);
    bench.kill(B);
    bench.link(B, {}, bootOf(2));
    assert.equal(stateOf(bench, B), 'alive');
  });

  test('is shown as dead for the peer timeout, then not at all', () => {
    const bench = new CoreBench({ peerTimeoutMs: 5000 });
    bench.link(B);
    bench.kill(B);
    bench.advance(4900);
    assert.equal(stateOf(bench, B), 'dead');
    bench.advance(200);
    assert.equal(stateOf(bench, B), undefined);
  });

  test('whose old link is told closed after its new life came is still linked', () => {
    const bench = new CoreBench();
    bench.link(B);
    bench.link(B, {}, bootOf(2));
    bench.put({ kind: 'linkDown', node: B, boot: bootOf(1), reason: 'late' });
    assert.equal(stateOf(bench, B), 'alive');
  });

  test('answers a ping with its load, and vouches for whom it has heard lately', () => {
    const bench = new CoreBench({ facts: { slots: 3 } });
    bench.link(B);
    bench.link(C);
    bench.signs.length = 0;
    bench.hear(B, { kind: 'ping', serial: 7, load: IDLE_LOAD });
    bench.hear(C, { kind: 'probe', target: B });
    bench.hear(C, { kind: 'probe', target: D });
    const [pong, heard, ...rest] = bench.signs;
    assert.ok(pong?.message.kind === 'pong' && pong.message.serial === 7);
    assert.equal(pong.message.load.slots, 3);
    assert.deepEqual(heard, {
      to: C,
      message: { kind: 'heard', target: B, agoMs: 0 },
    });
    assert.deepEqual(rest, []);
  });

  test('is not vouched for on old news', () => {
    const bench = new CoreBench();
    bench.link(B);
    bench.link(C);
    silence(bench);
    bench.advance(2000);
    bench.signs.length = 0;
    bench.hear(C, { kind: 'probe', target: B });
    assert.deepEqual(bench.signs, []);
  });
});

describe('a node whose own loop stood still', () => {
  test('buries nobody for it', () => {
    const bench = new CoreBench();
    for (const node of [B, C, D]) bench.link(node);
    bench.stall(10_000);
    bench.put({ kind: 'tick' });
    assert.ok(bench.events.some((event) => event.kind === 'stalled'));
    for (const node of [B, C, D]) assert.equal(stateOf(bench, node), 'alive');
    bench.talk();
    bench.advance(10_000);
    for (const node of [B, C, D]) assert.equal(stateOf(bench, node), 'alive');
    assert.deepEqual(bench.take('hangUp'), []);
  });

  test('does not finish a suspicion that was open, before it has asked again', () => {
    const bench = new CoreBench();
    bench.link(B);
    silence(bench);
    bench.advance(3500);
    bench.signs.length = 0;
    bench.stall(5000);
    bench.put({ kind: 'tick' });
    assert.equal(stateOf(bench, B), 'suspect');
    assert.ok(bench.signs.some(({ to, message }) => to === B && message.kind === 'ping'));
    bench.advance(1200);
    assert.equal(stateOf(bench, B), 'dead');
  });

  test('again and again still finds the dead', () => {
    const bench = new CoreBench();
    bench.link(B);
    bench.link(C);
    silence(bench);
    let passedMs = 0;
    for (; stateOf(bench, B) !== 'dead' && passedMs < 60_000; passedMs += 500) {
      bench.stall(400);
      bench.advance(100);
      bench.talk();
    }
    assert.ok(passedMs <= 12_000, `found after ${passedMs} ms`);
    assert.equal(stateOf(bench, C), 'alive');
  });

  test('again and again, longer than the silence of a suspect, buries nobody who answers', () => {
    const bench = new CoreBench();
    bench.link(B);
    for (let i = 0; i < 20; i++) {
      bench.stall(4000);
      bench.put({ kind: 'tick' });
      bench.talk();
      bench.advance(300);
    }
    assert.equal(stateOf(bench, B), 'alive');
  });
});

describe('dialling', () => {
  test('is done at once by the lower id, a little later by the higher', () => {
    const bench = new CoreBench();
    hint(bench, B);
    hint(bench, LOWER);
    bench.advance(100);
    const { node, host, port } = bench.one('dial');
    assert.deepEqual([node, host, port], [B, '10.0.0.9', 4000]);
    bench.advance(1000);
    bench.assertQuiet();
    bench.advance(200);
    assert.equal(bench.one('dial').node, LOWER);
  });

  test('is not done by the higher id when the lower one came meanwhile', () => {
    const bench = new CoreBench();
    hint(bench, LOWER);
    bench.advance(1000);
    bench.link(LOWER);
    bench.advance(5000);
    bench.assertQuiet();
  });

  test('waits for the end of one dial before the next', () => {
    const bench = new CoreBench();
    hint(bench, B);
    bench.advance(100);
    bench.one('dial');
    for (let i = 0; i < 20; i++) {
      hint(bench, B);
      bench.advance(1000);
    }
    bench.assertQuiet();
  });

  test('tries the other addresses of a node in turn', () => {
    const bench = new CoreBench();
    bench.link(C);
    bench.hear(C, {
      kind: 'members',
      members: [{ node: B, boot: bootOf(1), hosts: ['10.0.0.1', '10.0.0.2'], linkPort: 4001 }],
    });
    const hosts: string[] = [];
    for (let i = 0; i < 3; i++) {
      bench.advance(2000);
      hosts.push(bench.one('dial').host);
      bench.put({ kind: 'dialFailed', node: B, isRefused: false, reason: 'timeout' });
    }
    assert.deepEqual(hosts, ['10.0.0.1', '10.0.0.2', '10.0.0.1']);
  });

  test('slows down to every thirty seconds, and a sign of life hurries it', () => {
    const bench = new CoreBench();
    hint(bench, B);
    let dials = 0;
    for (let second = 0; second < 600; second++) {
      bench.advance(1000);
      for (const _ of bench.take('dial')) {
        dials++;
        bench.put({ kind: 'dialFailed', node: B, isRefused: true, reason: 'refused' });
      }
    }
    assert.ok(dials >= 20 && dials <= 30, `${dials} dials in ten minutes`);
    hint(bench, B);
    bench.advance(1100);
    assert.equal(bench.take('dial').length, 1);
  });

  test('is done at once when a node was started again, though its old port refused', () => {
    const bench = new CoreBench();
    hint(bench, B);
    for (let dials = 0; dials < 3; dials++) {
      bench.advance(5000);
      bench.take('dial');
      bench.put({ kind: 'dialFailed', node: B, isRefused: true, reason: 'refused' });
    }
    bench.put({ kind: 'hint', node: B, boot: bootOf(2), host: '10.0.0.9', port: 4100 });
    bench.advance(100);
    assert.equal(bench.one('dial').port, 4100);
  });

  test('goes on every thirty seconds for a dead member, so that a partition heals', () => {
    const bench = new CoreBench();
    bench.link(B);
    silence(bench);
    bench.advance(8000);
    assert.equal(stateOf(bench, B), 'dead');
    bench.take('hangUp');
    bench.take('dial');
    bench.advance(31_000);
    assert.equal(bench.one('dial').node, B);
  });

  test('never goes to itself; a twin with the same identity is named, once', () => {
    const bench = new CoreBench();
    hint(bench, SELF, '10.0.0.7', 9);
    bench.advance(3000);
    hint(bench, SELF, '10.0.0.7', 9);
    bench.assertQuiet();
    const [twin, again] = bench.events.filter((event) => event.kind === 'anomaly');
    assert.match(twin?.note ?? '', /10\.0\.0\.7 uses this node's identity/);
    assert.equal(again, undefined);
  });
});

const TWIN = { counter: 3, salt: 'f'.repeat(16) };

describe('a link', () => {
  test('of a boot lower than the one known is hung up, and the node can be dialled again', () => {
    const bench = new CoreBench();
    bench.link(B, {}, bootOf(5));
    bench.unlink(B);
    bench.advance(100);
    bench.one('dial');
    bench.put({ kind: 'linkUp', node: B, boot: bootOf(4), facts: factsOf(B), host: '10.0.0.9' });
    assert.match(bench.one('hangUp').reason, /start 4, and start 5 was seen/);
    bench.put({ kind: 'linkDown', node: B, boot: bootOf(4), reason: 'hung up' });
    assert.equal(stateOf(bench, B), 'suspect');
    hint(bench, B, '10.0.0.9', 6);
    bench.advance(2000);
    assert.equal(bench.one('dial').node, B);
  });

  test('of a higher boot with fewer commits than were seen is hung up: its disk went back', () => {
    const bench = new CoreBench();
    const link = { kind: 'linkUp', node: B, facts: factsOf(B), host: '10.0.0.9' } as const;
    bench.put({ ...link, boot: bootOf(1), commits: 50 });
    bench.unlink(B);
    bench.put({ ...link, boot: bootOf(2), commits: 49 });
    assert.match(bench.one('hangUp').reason, /it has 49 commits, and 50 were seen.*mesh forget/);
    assert.equal(stateOf(bench, B), 'suspect');
    bench.put({ ...link, boot: bootOf(2), commits: 50 });
    assert.equal(stateOf(bench, B), 'alive');
  });

  test('is judged by what earlier lives of this node have seen', () => {
    const knownDisks = [
      { node: B, boot: bootOf(3), commits: 50 },
      { node: C, boot: bootOf(3), clonedCounter: 3 },
    ];
    const bench = new CoreBench({ knownDisks });
    const link = { kind: 'linkUp', host: '10.0.0.9' } as const;
    const upOf = (node: typeof B, counter: number, commits: number) =>
      bench.put({ ...link, node, facts: factsOf(node), boot: bootOf(counter), commits });
    upOf(B, 4, 49);
    assert.match(bench.one('hangUp').reason, /went back/);
    upOf(C, 3, 60);
    assert.match(bench.one('hangUp').reason, /two nodes use one identity/);
    upOf(B, 4, 51);
    upOf(C, 4, 60);
    assert.deepEqual([stateOf(bench, B), stateOf(bench, C)], ['alive', 'alive']);
  });

  for (const [what, seen, about] of [
    ['more commits in an earlier start', { boot: bootOf(2), commits: 51 }, /50 commits, and 51/],
    ['another life of this start', { boot: TWIN, commits: 10 }, /two nodes use one identity/],
    ['a later start', { boot: bootOf(4), commits: 60 }, /start 3, and start 4 was seen/],
  ] as const) {
    test(`is hung up, and stays so, when another node has met ${what} of it`, () => {
      const bench = new CoreBench();
      const link = { kind: 'linkUp', node: B, facts: factsOf(B), host: '10.0.0.9' } as const;
      bench.put({ ...link, boot: bootOf(3), commits: 50 });
      bench.link(C);
      const entry = { node: B, hosts: [], linkPort: 0, ...seen };
      bench.hear(C, { kind: 'members', members: [entry] });
      assert.match(bench.one('hangUp').reason, about);
      bench.put({ kind: 'linkDown', node: B, boot: bootOf(3), reason: 'hung up' });
      bench.put({ ...link, boot: bootOf(3), commits: 50 });
      assert.match(bench.one('hangUp').reason, about);
      assert.equal(stateOf(bench, B), 'suspect');
    });
  }

  test('is kept when others have met no more than this node', () => {
    const bench = new CoreBench();
    const link = { kind: 'linkUp', node: B, facts: factsOf(B), host: '10.0.0.9' } as const;
    bench.put({ ...link, boot: bootOf(3), commits: 50 });
    bench.link(C);
    for (const [counter, commits] of [
      [3, 50],
      [3, 48],
      [2, 40],
    ] as const) {
      const entry = { node: B, boot: bootOf(counter), commits, hosts: [], linkPort: 0 };
      bench.hear(C, { kind: 'members', members: [entry] });
    }
    assert.deepEqual(bench.take('hangUp'), []);
    assert.equal(stateOf(bench, B), 'alive');
  });

  test('tells of members that are gone how far their disks had come, and no address', () => {
    const bench = new CoreBench();
    const link = { kind: 'linkUp', node: B, facts: factsOf(B), host: '10.0.0.9' } as const;
    bench.put({ ...link, boot: bootOf(3), commits: 50 });
    bench.kill(B);
    bench.signs.length = 0;
    bench.link(C);
    const table = bench.signs.find(({ message }) => message.kind === 'members')?.message;
    assert.deepEqual(table?.kind === 'members' && table.members, [
      { node: B, boot: bootOf(3), commits: 50, hosts: [], linkPort: 0 },
    ]);
  });

  test('of the boot known but another life of it is hung up: its disk was copied', () => {
    const bench = new CoreBench();
    bench.link(B, {}, bootOf(2));
    const twin = { counter: 2, salt: 'f'.repeat(16) };
    bench.put({ kind: 'linkUp', node: B, boot: twin, facts: factsOf(B), host: '10.0.0.8' });
    assert.match(bench.one('hangUp').reason, /its data folder was copied/);
    bench.hear(B, { kind: 'pong', serial: 1, load: IDLE_LOAD, marks: 0 });
    assert.equal(bench.core.linked()[0]?.boot.salt, bootOf(2).salt);
    bench.kill(B);
    bench.put({ kind: 'linkUp', node: B, boot: twin, facts: factsOf(B), host: '10.0.0.8' });
    assert.match(bench.one('hangUp').reason, /its data folder was copied/);
    assert.equal(stateOf(bench, B), 'dead');
  });
});
