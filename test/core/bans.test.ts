import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { NodeId } from '../../src/base/ids.ts';
import { asWall } from '../../src/base/instant.ts';
import { B, bootOf, C, CoreBench, D, SELF } from './core-bench.ts';
import { outcomeOf, PeerOwner } from './peers.ts';
import { JOB, recordOf } from './record-of.ts';

function mesh(...peers: NodeId[]): CoreBench {
  const bench = new CoreBench({ facts: { slots: 0 } });
  for (const node of peers) bench.link(node, { slots: 0 });
  return bench;
}

/** Long enough up to have met everybody. */
function settled(...peers: NodeId[]): CoreBench {
  const bench = mesh(...peers);
  bench.advance(7000);
  return bench;
}

function forget(bench: CoreBench, node: NodeId) {
  bench.put({ kind: 'forget', request: 'forget' as never, node });
  return bench.reply('forget');
}

const banOf = (node: NodeId) => ({ node, name: 'x', at: asWall(1) });

describe('forgetting a node', () => {
  test('is answered, on disk, and told to all who are linked', () => {
    const bench = mesh(B, C);
    bench.isDiskHeld = true;
    bench.put({ kind: 'forget', request: 'forget' as never, node: C });
    assert.deepEqual(bench.replies('forget'), []);
    assert.deepEqual(bench.messages(B, 'bans'), []);
    bench.isDiskHeld = false;
    bench.commit();
    const reply = bench.reply('forget');
    assert.equal(reply.kind === 'forgotten' && reply.ban.node, C);
    assert.deepEqual(
      bench.message(B, 'bans').bans.map(({ node }) => node),
      [C],
    );
    assert.ok(bench.disk.tables.bans.has(C));
  });

  test('is told again now and then, should the first word have been lost', () => {
    const bench = mesh(B, C);
    forget(bench, C);
    bench.messages(B, 'bans');
    bench.advance(31_000);
    assert.deepEqual(
      bench.messages(B, 'bans').map(({ bans }) => bans.map(({ node }) => node)),
      [[C]],
    );
  });

  test('twice is told once', () => {
    const bench = mesh(B, C);
    assert.equal(forget(bench, C).kind, 'forgotten');
    bench.messages(B, 'bans');
    bench.advance(500);
    bench.take('send');
    bench.put({ kind: 'forget', request: 'forget' as never, node: C });
    bench.take('reply');
    assert.deepEqual(bench.messages(B, 'bans'), []);
  });

  test('is refused for the own node, and for one that nobody knows', () => {
    const bench = mesh(B);
    assert.equal(forget(bench, SELF).kind, 'unknownNode');
    assert.equal(forget(bench, D).kind, 'unknownNode');
    assert.equal(bench.disk.tables.bans.size, 0);
  });

  test('works for a node that was never met, when a record names it', () => {
    const bench = mesh(B);
    bench.hear(B, { kind: 'accept', record: recordOf({ rs: [B, SELF, D] }) });
    assert.equal(forget(bench, D).kind, 'forgotten');
  });

  test('works for a node that was never met, when an outcome waits for its word alone', () => {
    const first = mesh();
    const { job, fence } = new PeerOwner(first, D).grantOf(JOB, '1.1');
    const row = { kind: 'outcome', job, rs: [D, SELF], outcome: outcomeOf(fence, SELF) } as const;
    first.disk.open(() => 0.5).store.commit([row]);
    const bench = first.restarted();
    bench.advance(3000);
    assert.equal(forget(bench, D).kind, 'forgotten');
    bench.advance(70_000);
    assert.equal(bench.disk.tables.outbox.size, 0, 'nobody is left who may know the job');
  });
});

describe('a banned node', () => {
  test('is told so and turned away, now and whenever it comes', () => {
    const bench = mesh(B, C);
    forget(bench, C);
    assert.equal(bench.message(C, 'banned').kind, 'banned');
    assert.equal(bench.one('hangUp').node, C);
    bench.put({ kind: 'linkDown', node: C, boot: bootOf(1), reason: 'hung up' });
    bench.link(C, {}, bootOf(2));
    assert.equal(bench.message(C, 'banned').kind, 'banned');
    assert.equal(bench.one('hangUp').node, C);
    assert.deepEqual(
      bench.core.linked().map(({ facts }) => facts.node),
      [B],
    );
  });

  test('is not dialled, whoever speaks of it', () => {
    const bench = mesh(B, C);
    forget(bench, C);
    bench.take('hangUp');
    bench.take('send');
    bench.take('signal');
    bench.put({ kind: 'hint', node: C, boot: bootOf(2), host: '10.0.0.9', port: 1 });
    const entry = { node: C, boot: bootOf(2), hosts: ['10.0.0.9'], linkPort: 1 };
    bench.hear(B, { kind: 'members', members: [entry] });
    bench.advance(40_000);
    assert.deepEqual(bench.take('dial'), []);
  });

  test('is no part of any majority: what waited for it is decided', () => {
    const bench = mesh(B, C);
    for (const node of [B, C]) bench.replica(node).isSilent = true;
    const { job, request } = bench.submit();
    forget(bench, C);
    assert.deepEqual(bench.replies(request), []);
    forget(bench, B);
    assert.equal(bench.reply(request).kind, 'submitted');
    assert.equal(bench.core.enliven(bench.record(job)).isOwner, true);
  });

  test('leads nothing: its jobs are taken over at once', () => {
    const bench = settled(B, C);
    const record = recordOf();
    bench.replica(C).hear(B, { kind: 'accept', record }, bench.now());
    bench.hear(B, { kind: 'accept', record });
    bench.messages(B, 'accepted');
    forget(bench, B);
    bench.advance(200);
    assert.equal(bench.core.enliven(bench.record(JOB)).isOwner, true);
  });

  test('leaves a set of which perhaps only a stale disk is left: every node is asked first', () => {
    const bench = settled(B, C, D);
    for (const node of [B, C, D]) bench.replica(node).isSilent = true;
    bench.hear(B, { kind: 'accept', record: recordOf({ rs: [B, SELF] }) });
    bench.messages(B, 'accepted');
    forget(bench, B);
    bench.advance(200);
    const [question] = bench.messages(D, 'prepare');
    assert.ok(question && bench.messages(C, 'prepare').length > 0);
    assert.equal(bench.core.owned().unfinished, 0);
    const { epoch } = question;
    const record = recordOf({ version: 8, rs: [D, C, B], body: { attempts: 5 } });
    bench.hear(D, { kind: 'promise', job: JOB, epoch, record });
    assert.equal(bench.core.owned().unfinished, 0, 'it is not in that set: C is asked, too');
    bench.hear(C, { kind: 'promise', job: JOB, epoch, record });
    assert.equal(bench.core.owned().unfinished, 0);
    assert.equal(
      [...bench.messages(C, 'handOver'), ...bench.messages(D, 'handOver')].length > 0,
      true,
    );
  });

  test('leaves a set whose rest waits for one that is linked and silent, and may stand still', () => {
    const bench = settled(B, C);
    for (const node of [B, C]) bench.replica(node).isSilent = true;
    bench.hear(B, { kind: 'accept', record: recordOf({ rs: [B, SELF] }) });
    bench.messages(B, 'accepted');
    forget(bench, B);
    bench.advance(6000);
    assert.equal(bench.core.owned().unfinished, 0);
    const { epoch } = bench.messages(C, 'prepare')[0] ?? assert.fail('C was not asked');
    bench.hear(C, { kind: 'accepted', job: JOB, epoch, version: 0 });
    assert.equal(bench.core.owned().unfinished, 1, 'nothing of it is there any more');
  });

  test('leaves a set whose rest waits for a node that is out of reach, until that is off the list', () => {
    const bench = settled(B, C);
    for (const node of [B, C]) bench.replica(node).isSilent = true;
    bench.hear(B, { kind: 'accept', record: recordOf({ rs: [B, SELF] }) });
    bench.messages(B, 'accepted');
    bench.kill(C);
    forget(bench, B);
    bench.advance(20_000);
    assert.equal(bench.core.owned().unfinished, 0);
    bench.advance(15_000);
    assert.equal(bench.core.owned().unfinished, 1);
  });

  test('leaves a set whose rest waits for a node it met in an earlier life only, as long', () => {
    const knownDisks = [{ node: C, boot: bootOf(1) }];
    const bench = new CoreBench({ facts: { slots: 0 }, knownDisks });
    bench.link(B, { slots: 0 });
    bench.hear(B, { kind: 'accept', record: recordOf({ rs: [B, SELF] }) });
    bench.messages(B, 'accepted');
    forget(bench, B);
    bench.advance(25_000);
    assert.equal(bench.core.owned().unfinished, 0);
    bench.advance(6000);
    assert.equal(bench.core.owned().unfinished, 1);
  });

  /** SELF keeps a value of a set that D was let go from, and whatever B decided since is gone with it. */
  function stranded() {
    const bench = settled(B, C, D);
    for (const node of [B, C, D]) bench.replica(node).isSilent = true;
    bench.hear(B, { kind: 'accept', record: recordOf({ rs: [B, SELF, D] }) });
    bench.messages(B, 'accepted');
    bench.kill(B);
    const answer = (node: NodeId, isLetGo: boolean): void => {
      const { epoch } = bench.messages(node, 'prepare').at(-1) ?? assert.fail(`${node} not asked`);
      if (isLetGo) bench.hear(node, { kind: 'accepted', job: JOB, epoch, version: 0 });
      else bench.hear(node, { kind: 'promise', job: JOB, epoch });
    };
    return { bench, answer };
  }

  test('leaves a set whose rest goes on without one that was let go from it, when all were asked', () => {
    const { bench, answer } = stranded();
    forget(bench, B);
    bench.advance(3000);
    answer(D, true);
    assert.equal(bench.core.owned().unfinished, 0, 'C may have what came after');
    answer(C, false);
    assert.equal(bench.core.owned().unfinished, 1);
  });

  test('leaves a set whose rest waits for one that is long dead, if something was decided since', () => {
    const { bench, answer } = stranded();
    bench.kill(C);
    forget(bench, B);
    bench.advance(3000);
    answer(D, true);
    bench.advance(60_000);
    assert.equal(bench.core.owned().unfinished, 0);
    forget(bench, C);
    bench.advance(3000);
    assert.equal(bench.core.owned().unfinished, 1);
  });

  test('lets no replica go on without one that was let go, as long as nobody is forgotten', () => {
    const { bench, answer } = stranded();
    bench.advance(3000);
    answer(D, true);
    bench.advance(60_000);
    assert.equal(bench.core.owned().unfinished, 0);
  });

  test('leaves a set whose rest waits for its own first seconds: it has not met everybody', () => {
    const bench = mesh(B, C);
    bench.hear(B, { kind: 'accept', record: recordOf({ rs: [B, SELF] }) });
    bench.messages(B, 'accepted');
    forget(bench, B);
    bench.advance(5000);
    assert.equal(bench.core.owned().unfinished, 0);
    bench.advance(2500);
    assert.equal(bench.core.owned().unfinished, 1);
  });

  test('is known as banned after a restart', () => {
    const bench = mesh(B, C);
    forget(bench, C);
    const next = bench.restarted({ facts: { slots: 0 } });
    next.link(C, {}, bootOf(2));
    assert.equal(next.one('hangUp').node, C);
  });
});

describe('bans of others', () => {
  test('are taken, kept, passed on, and told at each new link', () => {
    const bench = mesh(B, C);
    bench.hear(B, { kind: 'bans', bans: [banOf(D)] });
    assert.deepEqual(bench.message(C, 'bans').bans, [banOf(D)]);
    assert.ok(bench.disk.tables.bans.has(D));
    bench.messages(B, 'bans');
    bench.hear(C, { kind: 'bans', bans: [banOf(D)] });
    bench.assertQuiet();
    bench.unlink(C);
    bench.link(C, {}, bootOf(2));
    assert.deepEqual(bench.message(C, 'bans').bans, [banOf(D)]);
  });

  test('of the own node are not taken: it is told by those that turn it away', () => {
    const bench = mesh(B);
    bench.hear(B, { kind: 'bans', bans: [banOf(SELF)] });
    assert.equal(bench.disk.tables.bans.size, 0);
    bench.hear(B, { kind: 'banned' });
    assert.ok(bench.events.some((event) => event.kind === 'banned' && event.by === B));
  });
});
