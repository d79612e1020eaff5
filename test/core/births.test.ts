import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { asJobId, type NodeId } from '../../src/base/ids.ts';
import { B, bootOf, C, CoreBench, D, nodeId, SELF } from './core-bench.ts';
import { MeshBench } from './mesh-bench.ts';
import { PeerExecutor } from './peers.ts';
import { epochOf, grantedTo, type RecordChange, recordOf } from './record-of.ts';

const K = asJobId('k');

/** A node without slots that is a home of keys, with these silent others. */
function home(peers: readonly NodeId[]): CoreBench {
  const bench = new CoreBench({ facts: { slots: 0 } });
  for (const node of peers) {
    bench.link(node, { slots: 0 });
    bench.replica(node).isSilent = true;
  }
  return bench;
}

const submit = (bench: CoreBench, hash = 'content'): string =>
  bench.submit({}, { key: K, hash }).request;

const promise = (bench: CoreBench, from: NodeId, counter = 1): void =>
  bench.hear(from, { kind: 'promise', job: K, epoch: epochOf(SELF, counter) });

function refuse(bench: CoreBench, from: NodeId, counter: number, birth?: string): void {
  bench.hear(from, {
    kind: 'refused',
    job: K,
    epoch: epochOf(SELF),
    promised: epochOf(C, counter),
    birth: birth as never,
    isFinal: false,
  });
}

describe('the first write of an id that a client chose', () => {
  test('waits until a majority has promised that nothing is there', () => {
    const bench = home([B, C]);
    const request = submit(bench);
    for (const node of [B, C]) {
      const { epoch, ifAbsent } = bench.message(node, 'prepare');
      assert.deepEqual([epoch, ifAbsent], [epochOf(SELF), true]);
    }
    assert.equal(bench.records.has(K), false);
    promise(bench, C);
    const { header } = bench.record(K);
    assert.deepEqual(header.accepted, { epoch: epochOf(SELF), version: 1 });
    assert.deepEqual(header.rs.toSorted(), [SELF, B, C].toSorted());
    assert.deepEqual(bench.replies(request), []);
    bench.hear(B, { kind: 'accepted', job: K, epoch: epochOf(SELF), version: 1 });
    assert.equal(bench.reply(request).kind, 'submitted');
  });

  test('is not made when the id is there: its owner is to be asked', () => {
    const bench = home([B, C]);
    const request = submit(bench);
    refuse(bench, B, 1, 'birth-b');
    assert.deepEqual(bench.reply(request), { kind: 'deposed', job: K });
    promise(bench, C);
    assert.equal(bench.records.has(K), false);
  });

  test('is tried again above a promise that another writer got', () => {
    const bench = home([B, C]);
    const request = submit(bench);
    bench.take('send');
    refuse(bench, B, 4);
    promise(bench, C);
    assert.equal(bench.records.has(K), false);
    bench.advance(300);
    assert.deepEqual(bench.message(C, 'prepare').epoch, epochOf(SELF, 5));
    promise(bench, C, 5);
    bench.hear(C, { kind: 'accepted', job: K, epoch: epochOf(SELF, 5), version: 1 });
    assert.equal(bench.reply(request).kind, 'submitted');
  });

  test('is given up after two seconds without a majority, and nothing was recorded', () => {
    const bench = home([B, C]);
    const request = submit(bench);
    bench.advance(1900);
    assert.deepEqual(bench.replies(request), []);
    bench.advance(200);
    assert.deepEqual(bench.reply(request), { kind: 'noQuorum', job: K });
    promise(bench, B);
    promise(bench, C);
    assert.equal(bench.records.has(K), false);
  });

  test('in a pair needs the peer, though the owner of a job of its own might go alone', () => {
    const bench = home([B]);
    const request = submit(bench);
    bench.advance(2100);
    assert.equal(bench.reply(request).kind, 'noQuorum');
  });

  test('waits until a node that has just started knows who is there', () => {
    const bench = home([]);
    bench.put({ kind: 'hint', node: B, boot: bootOf(1), host: '10.0.0.9', port: 1 });
    const request = submit(bench);
    bench.advance(1000);
    assert.deepEqual(bench.replies(request), []);
    bench.link(B, { slots: 0 });
    bench.replica(B).isSilent = true;
    bench.advance(200);
    assert.equal(bench.message(B, 'prepare').ifAbsent, true);
    promise(bench, B);
    assert.deepEqual(bench.record(K).header.rs.toSorted(), [SELF, B].toSorted());
  });

  test('alone in the mesh is made at once', () => {
    const bench = home([]);
    const reply = bench.reply(submit(bench));
    assert.equal(reply.kind === 'submitted' && reply.isRepeat, false);
  });

  test('is made once for all who ask meanwhile, and refused to other content', () => {
    const bench = home([B, C]);
    const first = submit(bench);
    const second = submit(bench);
    const other = submit(bench, 'other');
    assert.deepEqual(bench.reply(other), { kind: 'keyConflict', job: K });
    promise(bench, B);
    const late = submit(bench);
    bench.hear(B, { kind: 'accepted', job: K, epoch: epochOf(SELF), version: 1 });
    const repeats = [first, second, late].map((request) => {
      const reply = bench.reply(request);
      return reply.kind === 'submitted' && reply.isRepeat;
    });
    assert.deepEqual(repeats, [false, true, true]);
    assert.equal(bench.record(K).header.accepted.version, 1);
  });

  test('is lost to a writer whom this node promised more meanwhile', () => {
    const bench = home([B, C]);
    submit(bench);
    bench.hear(C, { kind: 'prepare', job: K, epoch: epochOf(C, 2), ifAbsent: true });
    bench.message(C, 'promise');
    promise(bench, B);
    assert.equal(bench.records.has(K), false);
  });
});

describe('two writers of one id', () => {
  test('cannot both win, however their questions cross', () => {
    for (let seed = 0; seed < 40; seed++) {
      const mesh = new MeshBench([SELF, B, C], { slots: 0 });
      let count = 0;
      mesh.isLost = () => ++count % 7 === seed % 7 && seed % 3 === 0;
      const first = mesh.node(B).submit({}, { key: K });
      if (seed % 2 === 0) mesh.settle();
      const second = mesh.node(C).submit({}, { key: K });
      mesh.settle();
      mesh.isLost = () => false;
      mesh.advance(5000);
      const births = new Set(
        [SELF, B, C].flatMap((node) => mesh.node(node).records.get(K)?.header.birth ?? []),
      );
      assert.ok(births.size <= 1, `seed ${seed}: ${[...births]}`);
      const replies = [...mesh.replies(B, first.request), ...mesh.replies(C, second.request)];
      const accepted = replies.filter((reply) => reply.kind === 'submitted' && !reply.isRepeat);
      assert.ok(accepted.length <= 1, `seed ${seed}`);
      assert.equal(replies.length, 2);
    }
  });
});

describe('two births of one id that meet', () => {
  const theirs = (change: RecordChange = {}) =>
    recordOf({ job: K, epoch: epochOf(C, 3), rs: [C, D, B], ...change });

  /** The bench owns the birth `birth-1` of the id. */
  function owner(): CoreBench {
    const bench = home([B]);
    bench.replica(B).isSilent = false;
    bench.submit({}, { key: K });
    assert.equal(bench.record(K).header.birth, 'birth-1');
    bench.take('reply');
    bench.link(C, { slots: 0 });
    bench.replica(C).isSilent = true;
    bench.messages(C, 'holding');
    return bench;
  }

  test('are compared by their owners: who is refused for the other birth tells its own', () => {
    const bench = owner();
    bench.hear(C, {
      kind: 'refused',
      job: K,
      epoch: epochOf(SELF),
      promised: epochOf(C, 3),
      birth: 'birth-c' as never,
      isFinal: false,
    });
    assert.equal(bench.message(C, 'clash').record.header.birth, 'birth-1');
    assert.equal(bench.core.owned().unfinished, 1);
  });

  test('end with the lower one: the owner of the higher drops it, and its replicas too', () => {
    const bench = owner();
    assert.ok(bench.replica(B).get(K)?.record);
    bench.hear(C, { kind: 'clash', record: theirs({ birth: 'birth-0' }) });
    assert.equal(bench.core.owned().unfinished, 0);
    assert.equal(bench.records.has(K), false);
    assert.equal(bench.replica(B).get(K)?.record, undefined);
    assert.equal(bench.disk.tables.conflicts.size, 0, 'it was never given to anybody');
    bench.advance(20_000);
    assert.equal(bench.core.owned().unfinished, 0);
    bench.hear(C, { kind: 'accept', record: theirs({ birth: 'birth-0', rs: [C, SELF, B] }) });
    assert.equal(bench.record(K).header.birth, 'birth-0');
  });

  test('end with the lower one: who kept the other votes for it at once', () => {
    const mesh = new MeshBench([SELF, B, C], { slots: 0 });
    mesh.advance(200);
    const job = mesh.submit(C, {}, { key: K });
    mesh.advance(200);
    assert.equal(mesh.node(C).reply(job.request).kind, 'submitted');
    const lost = mesh.node(C).record(K);
    // SELF has given the id before, and has only B for a peer; C knows it first.
    const winner = recordOf({ job: K, epoch: epochOf(SELF), rs: [SELF, B], birth: 'birth-0' });
    for (const node of [C, B]) mesh.node(node).hear(SELF, { kind: 'clash', record: winner });
    mesh.settle();
    assert.equal(mesh.node(B).records.has(K), false);
    const epoch = epochOf(SELF, lost.header.accepted.epoch.counter + 1);
    mesh.delivered.splice(0);
    mesh.node(B).hear(SELF, { kind: 'prepare', job: K, epoch, ifAbsent: false });
    mesh.settle();
    const answers = mesh.delivered.filter(({ from, to }) => from === B && to === SELF);
    assert.deepEqual(
      answers.map(({ message }) => message.kind),
      ['promise'],
    );
  });

  test('end with the lower one: its owner keeps it, and tells the other', () => {
    const bench = owner();
    bench.hear(C, { kind: 'clash', record: theirs({ birth: 'birth-9' }) });
    assert.equal(bench.core.owned().unfinished, 1);
    assert.equal(bench.message(C, 'clash').record.header.birth, 'birth-1');
    bench.messages(C, 'holding');
    bench.assertQuiet();
  });

  test('are found when nodes meet: each names the ids it gave lately', () => {
    const bench = owner();
    bench.unlink(C);
    bench.link(C, { slots: 0 }, bootOf(2));
    const [named] = bench.message(C, 'holding').held;
    assert.deepEqual([named?.job, named?.birth], [K, 'birth-1']);
    bench.advance(3_700_000);
    bench.take('send');
    bench.unlink(C);
    bench.link(C, { slots: 0 }, bootOf(3));
    assert.deepEqual(bench.messages(C, 'holding'), []);
  });

  test('are found when nodes meet that were started again since, also when their jobs have ended', () => {
    for (const tag of ['owned', 'ended']) {
      let bench = owner();
      if (tag === 'ended') {
        assert.equal(bench.reply(bench.cancel(K)).kind, 'cancelled');
      }
      bench = bench.restarted();
      bench.link(C, { slots: 0 }, bootOf(2));
      const named = bench.messages(C, 'holding').flatMap(({ held }) => held);
      assert(
        named.some(({ job, birth }) => job === K && birth === 'birth-1'),
        tag,
      );
      bench.advance(3_700_000);
      bench = bench.restarted();
      bench.link(C, { slots: 0 }, bootOf(3));
      const later = bench.messages(C, 'holding').flatMap(({ held }) => held);
      assert.equal(later.length, 0, `${tag}, an hour later`);
    }
  });

  test('that were both given away are a conflict, and the attempt of the dropped one is ended', () => {
    const bench = owner();
    bench.link(D, { slots: 2 });
    bench.replica(D).isSilent = true;
    const executor = new PeerExecutor(bench, D);
    const grant = executor.takeOffered(K);
    executor.started(grant);
    bench.hear(C, { kind: 'clash', record: theirs({ birth: 'birth-0' }) });
    assert.deepEqual(bench.message(D, 'cancel').fence, grant.fence);
    const [conflict] = bench.disk.tables.conflicts.values();
    assert.equal(conflict?.tag, 'births');
    assert.match(conflict?.note ?? '', /both sides of a partition/);
  });

  test('leave one that is never taken again: who was away with it is told, and drops it too', () => {
    let bench = home([B, C]);
    const lost = recordOf({ job: K, birth: 'birth-9' });
    const { birth, accepted } = lost.header;
    const word = { kind: 'birthLost', job: K, birth };
    bench.hear(B, { kind: 'accept', record: lost });
    bench.hear(C, { kind: 'clash', record: theirs({ birth: 'birth-0' }) });
    bench.take('send');
    const epoch = epochOf(B, 7);
    const told = (say: () => void) => {
      say();
      const [answer, ...more] = bench.take('send').map(({ message }) => message);
      assert.deepEqual([answer, more], [word, []]);
    };
    for (const life of ['this', 'the next']) {
      told(() => bench.hear(B, { kind: 'accept', record: lost }));
      told(() => bench.hear(B, { kind: 'prepare', job: K, epoch, ifAbsent: false, birth }));
      told(() => bench.hear(B, { kind: 'holding', held: [{ job: K, birth, accepted }] }));
      told(() => bench.hear(B, { kind: 'clash', record: lost }));
      assert.equal(bench.records.has(K), false, life);
      if (life === 'this') {
        bench = bench.restarted();
        for (const node of [B, C]) bench.link(node, { slots: 0 });
        for (const node of [B, C]) bench.replica(node).isSilent = true;
        bench.take('send');
      }
    }
    // Only that one: the id itself may be written again.
    bench.hear(B, { kind: 'accept', record: recordOf({ job: K, epoch, birth: 'birth-a' }) });
    assert.equal(bench.record(K).header.birth, 'birth-a');
  });

  test('leave one that is led no more: an owner that is told so gives it up', () => {
    const bench = owner();
    bench.hear(B, { kind: 'birthLost', job: K, birth: 'another' as never });
    assert.equal(bench.core.owned().unfinished, 1);
    bench.hear(C, { kind: 'birthLost', job: K, birth: 'birth-1' as never });
    assert.equal(bench.core.owned().unfinished, 0);
    assert.equal(bench.records.has(K), false);
    assert.equal(bench.replica(B).get(K)?.record, undefined, 'its replicas are told');
    bench.unlink(C);
    bench.link(C, { slots: 0 }, bootOf(2));
    assert.deepEqual(bench.messages(C, 'holding'), [], 'and it is no id given lately');
  });

  test('promise each other nothing: who is asked for the other one compares first', () => {
    const bench = home([B, C]);
    bench.hear(B, { kind: 'accept', record: recordOf({ job: K }) });
    bench.take('send');
    const birth = 'birth-z' as never;
    bench.hear(C, { kind: 'prepare', job: K, epoch: epochOf(C, 7), ifAbsent: false, birth });
    assert.equal(bench.message(C, 'clash').record.header.birth, 'birth-b');
    assert.deepEqual(bench.record(K).header.promised, epochOf(B));
  });

  test('of which one is only kept here are compared here too: the higher is dropped', () => {
    const bench = home([B, C]);
    bench.hear(B, { kind: 'accept', record: recordOf({ job: K, state: grantedTo(C) }) });
    bench.hear(C, { kind: 'clash', record: theirs({ birth: 'birth-z' }) });
    assert.equal(bench.message(C, 'clash').record.header.birth, 'birth-b');
    bench.hear(C, { kind: 'clash', record: theirs({ birth: 'birth-a' }) });
    assert.equal(bench.records.has(K), false);
    assert.equal(bench.disk.tables.conflicts.size, 0, 'its owner tells people');
    bench.hear(C, { kind: 'accept', record: theirs({ birth: 'birth-a', rs: [C, SELF] }) });
    assert.equal(bench.record(K).header.birth, 'birth-a');
  });

  test('after a partition end as one job, the same at every node', () => {
    const nodes = ['1', '2', '3', '4'].map(nodeId);
    const [n1, n2, n3, n4] = nodes as [NodeId, NodeId, NodeId, NodeId];
    const mesh = new MeshBench(nodes, { slots: 0 });
    mesh.partition([n1, n2], [n3, n4]);
    mesh.advance(10_000);
    const left = mesh.submit(n1, {}, { key: K });
    const right = mesh.submit(n3, {}, { key: K });
    mesh.advance(3000);
    assert.equal(mesh.node(n1).reply(left.request).kind, 'submitted');
    assert.equal(mesh.node(n3).reply(right.request).kind, 'submitted');
    assert.equal(mesh.owners(K).length, 2);
    mesh.heal();
    mesh.advance(30_000);
    const births = nodes.flatMap((node) => mesh.node(node).records.get(K)?.header.birth ?? []);
    assert.equal(new Set(births).size, 1, births.join(' '));
    assert.equal(mesh.owners(K).length, 1);
  });
});
