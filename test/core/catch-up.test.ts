import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { asBirth, asJobId, type NodeId } from '../../src/base/ids.ts';
import { asWall } from '../../src/base/instant.ts';
import { B, bootOf, C, CoreBench, D, SELF } from './core-bench.ts';
import { outcomeOf } from './peers.ts';
import { epochOf, FENCE, finalOf, JOB, type RecordChange, recordOf, THREE } from './record-of.ts';

function replica(...changes: RecordChange[]): CoreBench {
  const bench = new CoreBench({ facts: { slots: 0 } });
  for (const node of [B, C]) {
    bench.link(node, { slots: 0 });
    bench.replica(node).isSilent = true;
  }
  for (const change of changes) bench.hear(B, { kind: 'accept', record: recordOf(change) });
  bench.take('send');
  return bench;
}

/** Says what it keeps of the job, as a node that is back. */
const holding = (
  bench: CoreBench,
  from: NodeId,
  { epoch = epochOf(B), version = 1, job = JOB, birth = 'birth-b' } = {},
): void => {
  const held = { job, birth: asBirth(birth), accepted: { epoch, version } };
  bench.hear(from, { kind: 'holding', held: [held] });
};

describe('a node that meets a leader again', () => {
  test('names what it keeps of it, and nothing of others', () => {
    const bench = replica({ version: 3 }, { job: asJobId('of-c'), epoch: epochOf(C) });
    bench.unlink(B);
    bench.link(B, { slots: 0 }, bootOf(2));
    const { held } = bench.message(B, 'holding');
    const accepted = { epoch: epochOf(B), version: 3 };
    assert.deepEqual(held, [{ job: JOB, birth: 'birth-b', accepted }]);
  });

  test('names much in several messages', () => {
    const changes = Array.from({ length: 1200 }, (_, i) => ({ job: asJobId(`of-b-${i}`) }));
    const bench = replica(...changes);
    bench.unlink(B);
    bench.link(B, { slots: 0 }, bootOf(2));
    const sizes = bench.messages(B, 'holding').map(({ held }) => held.length);
    assert.equal(
      sizes.reduce((sum, size) => sum + size, 0),
      1200,
    );
    assert.ok(
      sizes.every((size) => size <= 500),
      sizes.join(' '),
    );
  });

  test('names nothing that is final and settled', () => {
    const bench = replica({ version: 2, state: finalOf() });
    const settled = { kind: 'settled', job: JOB, isEverywhere: false } as const;
    bench.hear(B, { ...settled, epoch: epochOf(B), version: 2 });
    bench.unlink(B);
    bench.link(B, { slots: 0 }, bootOf(2));
    assert.deepEqual(bench.messages(B, 'holding'), []);
  });
});

describe('a node that is told what another keeps', () => {
  test('tells the newer value that it has, of whoever leads the job now', () => {
    const bench = replica({ epoch: epochOf(C, 2), version: 4 });
    holding(bench, B);
    assert.deepEqual(bench.message(B, 'accept').record.header.accepted, {
      epoch: epochOf(C, 2),
      version: 4,
    });
  });

  test('tells nothing when it has the same, or less', () => {
    const bench = replica({ version: 2 });
    holding(bench, C, { version: 2 });
    holding(bench, C, { version: 3 });
    bench.assertQuiet();
  });

  test('tells that the value is settled, from disk if need be', () => {
    const bench = replica({ version: 2, state: finalOf() });
    const settled = { kind: 'settled', job: JOB, isEverywhere: false } as const;
    bench.hear(B, { ...settled, epoch: epochOf(B), version: 2 });
    holding(bench, C, { version: 1 });
    assert.equal(bench.message(C, 'accept').record.job.state.tag, 'final');
    assert.equal(bench.message(C, 'settled').version, 2);
    bench.assertQuiet();
  });

  test('lets go whom the sets do not name any more', () => {
    const bench = new CoreBench({ facts: { slots: 0 } });
    for (const node of [B, C]) bench.link(node, { slots: 0 });
    const job = bench.accept();
    bench.link(D, { slots: 0 });
    bench.replica(D).isSilent = true;
    holding(bench, D, { job, epoch: epochOf(SELF), birth: bench.record(job).header.birth });
    assert.deepEqual(bench.message(D, 'retire').epoch, epochOf(SELF));
    bench.assertQuiet();
  });

  test('tells its own birth of the id to who keeps another one', () => {
    const bench = replica({ version: 2 });
    holding(bench, C, { epoch: epochOf(C), birth: 'birth-c' });
    assert.equal(bench.message(C, 'clash').record.header.birth, 'birth-b');
    bench.assertQuiet();
  });

  test('that was let go itself lets nobody else go: it knows of its own place only', () => {
    const bench = replica({});
    bench.hear(B, { kind: 'retire', job: JOB, epoch: epochOf(B), birth: asBirth('birth-b') });
    for (const version of [1, 7]) holding(bench, C, { version });
    assert.deepEqual(bench.messages(C, 'retire'), []);
  });

  test('lets nobody go of whose job it knows nothing: its own disk may have been set back', () => {
    const bench = replica();
    holding(bench, C, { job: asJobId('lost'), epoch: epochOf(SELF) });
    holding(bench, C, { job: asJobId('never heard of'), epoch: epochOf(B) });
    bench.assertQuiet();
  });

  test('that was deleted while it was away takes it up no more', () => {
    const bench = replica({ rs: THREE });
    bench.hear(B, { kind: 'retire', job: JOB, epoch: epochOf(B) });
    bench.kill(B);
    bench.advance(20_000);
    assert.deepEqual(bench.messages(C, 'prepare'), []);
    assert.equal(bench.records.has(JOB), false);
  });
});

test('a word that was lost on a living link is made up for: what is kept is named from time to time', () => {
  const bench = replica({ version: 3 });
  bench.advance(11_000);
  assert.equal(bench.messages(B, 'holding').at(0)?.held[0]?.accepted.version, 3);
});

test('what a candidate keeps that cannot win is named too: another birth may be the job', () => {
  const bench = new CoreBench({ facts: { slots: 0 } });
  bench.link(B, { slots: 0 });
  const { job, request } = bench.submit();
  assert.equal(bench.reply(request).kind, 'submitted');
  const { birth } = bench.record(job).header;
  const next = bench.restarted({ facts: { slots: 0 } });
  next.link(B, { slots: 0 }, bootOf(2));
  next.replica(B).isSilent = true;
  next.advance(200);
  const asked = next.messages(B, 'prepare').at(-1) ?? assert.fail('B was not asked');
  next.hear(B, { kind: 'accepted', job, epoch: asked.epoch, version: 0 });
  next.advance(11_000);
  assert.equal(next.core.owned().unfinished, 0);
  const named = next.messages(B, 'holding').flatMap(({ held }) => held);
  assert.ok(named.some((held) => held.job === job && held.birth === birth));
});

test('a node that lacks much is told it bit by bit, so that its link can take it', () => {
  const bytes = new Uint8Array(32 * 1024);
  const tail = { bytes, totalBytes: bytes.length, isTruncated: false };
  const outcome = { ...outcomeOf(FENCE, C), stdout: tail, stderr: tail };
  const final = { status: 'JOB_COMPLETED', at: asWall(3), reason: '', outcome } as const;
  const jobs = Array.from({ length: 1000 }, (_, i) => asJobId(`of-b-${i}`));
  const state = { tag: 'final', final } as const;
  for (const where of ['in memory', 'on disk']) {
    const bench = replica(...jobs.map((job) => ({ job, version: 2, state })));
    if (where === 'on disk')
      for (const job of jobs)
        bench.hear(B, { kind: 'settled', job, epoch: epochOf(B), version: 2, isEverywhere: true });
    const held = jobs.map((job) => {
      return { job, birth: asBirth('birth-b'), accepted: { epoch: epochOf(B), version: 1 } };
    });
    for (const from of [0, 500])
      bench.hear(C, { kind: 'holding', held: held.slice(from, from + 500) });
    let told = bench.messages(C, 'accept').length;
    assert.ok(told > 0 && told <= 100, `${told} at once, ${where}`);
    for (let second = 0; second < 60 && told < jobs.length; second++) {
      bench.advance(1000);
      const more = bench.messages(C, 'accept').length;
      assert.ok(more > 0 && more <= 250, `${more} in a second, ${where}`);
      told += more;
    }
    assert.equal(told, jobs.length);
  }
});
