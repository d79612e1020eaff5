import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { asBirth, asJobId, type NodeId } from '../../src/base/ids.ts';
import { IDLE_LOAD } from '../../src/core/facts.ts';
import { REVOKE_AFTER_MS } from '../../src/core/lease.ts';
import type { Epoch } from '../../src/core/record.ts';
import { B, C, CoreBench, D, SELF } from './core-bench.ts';
import { epochOf, grantTo, JOB, type RecordChange, recordOf } from './record-of.ts';

/** A replica of jobs of B; all peers are linked, and say only what the test says. */
function replica(change: RecordChange = {}): CoreBench {
  const bench = new CoreBench({ facts: { slots: 0 } });
  for (const node of [B, C, D]) {
    bench.link(node, { slots: 0 });
    bench.replica(node).isSilent = true;
  }
  bench.hear(B, { kind: 'accept', record: recordOf(change) });
  bench.message(B, 'accepted');
  return bench;
}

/** The last question to this node about the job. */
const asked = (bench: CoreBench, node: NodeId): Epoch =>
  bench.messages(node, 'prepare').at(-1)?.epoch ?? assert.fail(`${node} is not asked`);

const promise = (bench: CoreBench, from: NodeId, record = recordOf()): void =>
  bench.hear(from, {
    kind: 'promise',
    job: JOB,
    epoch: epochOf(SELF, 2),
    yesAgoMs: 0,
    record,
  });

const owns = (bench: CoreBench): boolean => bench.core.owned().unfinished > 0;

describe('an owner that hands a job over', () => {
  const handOver = (bench: CoreBench, from: NodeId, job = JOB, birth = 'birth-b'): void =>
    bench.hear(from, { kind: 'handOver', job, birth: asBirth(birth), epoch: epochOf(from) });

  test('is followed at once, while it lives', () => {
    const bench = replica();
    handOver(bench, B);
    assert.deepEqual(asked(bench, C), epochOf(SELF, 2));
    promise(bench, C);
    assert.equal(owns(bench), true);
  });

  const isOffered = (bench: CoreBench): boolean => bench.messages(C, 'offer').length > 0;

  for (const [what, idleVersion, isAtOnce] of [
    ['of which nothing runs is offered to others at once', 1, true],
    ['of which something may run waits for the lease', undefined, false],
    ['that went on since its owner said so waits for the lease', 7, false],
  ] as const)
    test(`: a job ${what}`, () => {
      const bench = replica();
      bench.talking.set(C, { ...IDLE_LOAD, slots: 2 });
      bench.talk();
      const message = { kind: 'handOver', job: JOB, birth: asBirth('birth-b') } as const;
      bench.hear(B, { ...message, epoch: epochOf(B), idleVersion });
      promise(bench, C);
      const { record } = bench.messages(C, 'accept').at(-1) ?? assert.fail();
      const { epoch, version } = record.header.accepted;
      bench.hear(C, { kind: 'accepted', job: JOB, epoch, version });
      bench.advance(100);
      assert.equal(isOffered(bench), isAtOnce);
    });

  test('with an attempt of an executor that is dead has it revoked 5.8 s after its last yes', () => {
    const state = { tag: 'granted', grant: grantTo(D) } as const;
    const bench = replica({ state });
    bench.kill(D);
    handOver(bench, B);
    promise(bench, C, recordOf({ state }));
    const { epoch, version } = bench.message(C, 'accept').record.header.accepted;
    bench.hear(C, { kind: 'accepted', job: JOB, epoch, version, yesAgoMs: 0 });
    const isRevoked = (): boolean =>
      bench.messages(C, 'accept').some(({ record }) => record.job.state.tag === 'revoked');
    bench.advance(REVOKE_AFTER_MS - 200);
    assert.equal(isRevoked(), false);
    bench.advance(400);
    assert.equal(isRevoked(), true);
  });

  test('is not followed when it is not its owner, or the job is not here', () => {
    const bench = replica();
    handOver(bench, C);
    handOver(bench, B, asJobId('unknown'));
    assert.deepEqual(bench.messages(C, 'prepare'), []);
  });

  test('that has been over for long is told so, where the sets do not name it any more', () => {
    const bench = replica({ epoch: epochOf(C, 2), rs: [C, SELF, D] });
    handOver(bench, B);
    assert.deepEqual(bench.messages(C, 'prepare'), []);
    bench.message(B, 'retire');
  });

  test('of another birth of the id is told which is kept here', () => {
    const bench = replica();
    handOver(bench, B, JOB, 'birth-c');
    assert.deepEqual(bench.messages(C, 'prepare'), []);
    assert.equal(bench.message(B, 'clash').record.header.birth, 'birth-b');
  });
});
