import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { asBirth, asJobId, type NodeId } from '../../src/base/ids.ts';
import type { JobRecord } from '../../src/core/job-record.ts';
import type { Epoch } from '../../src/core/record.ts';
import { B, bootOf, C, CoreBench, D, nodeId, SELF } from './core-bench.ts';
import { epochOf, finalOf, JOB, type RecordChange, recordOf, THREE } from './record-of.ts';

const E = nodeId('e');
const RANK_STEP_MS = 1500;

/** A replica of jobs of B; all peers are linked, and say only what the test says. */
function replica(change: RecordChange = {}, peers: readonly NodeId[] = [B, C, D, E]): CoreBench {
  const bench = new CoreBench({ facts: { slots: 0 } });
  for (const node of peers) {
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

const isAsked = (bench: CoreBench, node: NodeId): boolean =>
  bench.messages(node, 'prepare').length > 0;

function promise(
  bench: CoreBench,
  from: NodeId,
  {
    epoch = epochOf(SELF, 2),
    record = recordOf(),
    yesAgoMs = 0,
  }: {
    epoch?: Epoch;
    record?: JobRecord | undefined;
    yesAgoMs?: number;
  } = {},
): void {
  bench.hear(from, { kind: 'promise', job: JOB, epoch, yesAgoMs, record });
}

const owns = (bench: CoreBench): boolean => bench.core.owned().unfinished > 0;

describe('a job whose owner died', () => {
  test('is asked for at once by the first replica, of all replicas that are not banned', () => {
    const bench = replica();
    bench.kill(B);
    bench.advance(100);
    assert.deepEqual(asked(bench, C), epochOf(SELF, 2));
    assert.equal(isAsked(bench, B), true);
    assert.equal(isAsked(bench, D), false);
  });

  test('waits for its follower, where this node alone kept it before and was followed', () => {
    // The follower may have moved it to the new pair without this node, and gone on.
    const shared = { rs: [B, SELF], oldRs: [SELF] };
    const followed = replica({ ...shared, epoch: epochOf(B, 2) }).restarted({
      facts: { slots: 0 },
    });
    followed.advance(60_000);
    assert.equal(owns(followed), false);
    followed.link(B, { slots: 0 }, bootOf(2));
    followed.replica(B).isSilent = true;
    followed.advance(5000);
    const epoch = asked(followed, B);
    const ended = recordOf({ rs: shared.rs, epoch: epochOf(B, 2), version: 3, state: finalOf() });
    promise(followed, B, { epoch, record: ended });
    assert.equal(followed.record(JOB).job.state.tag, 'final');
  });

  test('is asked for by the second replica a while later, and only when it lives itself', () => {
    const bench = replica({ rs: [B, C, SELF] });
    bench.kill(B);
    const deadAt = bench.monoMs;
    bench.advance(deadAt + RANK_STEP_MS - bench.monoMs - 100);
    assert.equal(isAsked(bench, C), false);
    bench.advance(200);
    assert.equal(isAsked(bench, C), true);
  });

  test('is not asked for by the second replica when the first has it by then', () => {
    const bench = replica({ rs: [B, C, SELF] });
    bench.kill(B);
    bench.advance(500);
    bench.hear(C, { kind: 'prepare', job: JOB, epoch: epochOf(C, 2), ifAbsent: false });
    bench.message(C, 'promise');
    bench.advance(5000);
    assert.equal(isAsked(bench, C), false);
    assert.equal(owns(bench), false);
  });

  test('is asked for by the second replica when the first was promised it and died as well', () => {
    const bench = replica({ rs: [B, C, SELF, D, E] });
    bench.kill(B);
    bench.hear(C, { kind: 'prepare', job: JOB, epoch: epochOf(C, 2), ifAbsent: false });
    bench.message(C, 'promise');
    bench.kill(C);
    bench.advance(5000);
    const [question] = bench.messages(D, 'prepare');
    assert.ok(question && question.epoch.counter > 2);
  });

  test('is not asked for while the owner is only suspect, or heard again in that life', () => {
    const bench = replica();
    bench.talking.delete(B);
    bench.advance(6000);
    assert.equal(isAsked(bench, C), false);
    bench.hear(B, { kind: 'pong', serial: 0, load: bench.core.load(), marks: 0 });
    bench.talking.set(B, bench.core.load());
    bench.advance(10_000);
    assert.equal(isAsked(bench, C), false);
  });

  test('is not asked for by a replica that hears too few to win', () => {
    const bench = replica();
    bench.kill(C);
    bench.kill(B);
    bench.advance(20_000);
    assert.deepEqual(bench.messages(B, 'prepare'), []);
    assert.equal(bench.record(JOB).header.promised.counter, 1);
    bench.take('dial');
    bench.link(C, { slots: 0 }, bootOf(2));
    bench.advance(1000);
    assert.equal(isAsked(bench, C), true);
  });

  test('is asked for when it had changed hands and the second owner died', () => {
    const bench = replica();
    bench.hear(C, { kind: 'accept', record: recordOf({ epoch: epochOf(C, 2) }) });
    bench.message(C, 'accepted');
    bench.kill(C);
    bench.advance(3000);
    assert.ok(asked(bench, B).counter > 2);
  });

  test('and was promised to somebody who never writes is asked for after a while', () => {
    const bench = replica();
    bench.hear(C, { kind: 'prepare', job: JOB, epoch: epochOf(C, 2), ifAbsent: false });
    bench.message(C, 'promise');
    bench.advance(9000);
    assert.equal(isAsked(bench, C), false);
    bench.advance(2000);
    assert.ok(asked(bench, C).counter > 2);
  });

  test('that is final and decided is left as it is', () => {
    const bench = replica({ version: 2, state: finalOf() });
    bench.hear(B, {
      kind: 'settled',
      job: JOB,
      epoch: epochOf(B),
      version: 2,
      isEverywhere: false,
    });
    bench.kill(B);
    bench.advance(10_000);
    assert.equal(isAsked(bench, C), false);
  });

  test('that is final and perhaps not decided is decided by its new owner', () => {
    const bench = replica({ version: 2, state: finalOf() });
    bench.kill(B);
    bench.advance(100);
    promise(bench, C, { record: recordOf({ version: 1 }) });
    const { record } = bench.message(C, 'accept');
    assert.equal(record.job.state.tag, 'final');
    assert.equal(bench.status(JOB), 'JOB_RUNNING');
    bench.hear(C, { kind: 'accepted', job: JOB, epoch: epochOf(SELF, 2), version: 1 });
    assert.equal(bench.status(JOB), 'JOB_COMPLETED');
  });
});

describe('a candidate', () => {
  /** The bench has asked for the job of B, which is dead. */
  function standing(change: RecordChange = {}): CoreBench {
    const bench = replica(change);
    bench.kill(B);
    bench.advance(100);
    bench.take('send');
    return bench;
  }

  test('leads the job when a majority has promised, itself among them, and writes it first', () => {
    const bench = standing();
    assert.equal(owns(bench), false);
    promise(bench, C);
    const { header } = bench.record(JOB);
    assert.deepEqual(header.accepted, { epoch: epochOf(SELF, 2), version: 1 });
    assert.deepEqual(header.writerBoot, bootOf(1));
    assert.equal(header.birth, recordOf().header.birth);
    assert.equal(owns(bench), true);
    assert.equal(bench.message(C, 'accept').record.header.accepted.version, 1);
  });

  test('takes the value of the highest epoch, then version, of those that were promised', () => {
    const newest = recordOf({ epoch: epochOf(C, 1), version: 1, body: { attempts: 7 } });
    for (const record of [recordOf({ version: 4, body: { attempts: 7 } }), newest]) {
      const bench = standing({ version: 2 });
      promise(bench, C, { record });
      assert.equal(bench.record(JOB).job.attempts, 7);
    }
    const bench = standing({ version: 5, body: { attempts: 5 } });
    promise(bench, C, { record: recordOf({ version: 4 }) });
    assert.equal(bench.record(JOB).job.attempts, 5);
  });

  test('takes its own value when the others never had one', () => {
    const bench = standing();
    bench.hear(C, { kind: 'promise', job: JOB, epoch: epochOf(SELF, 2) });
    assert.equal(owns(bench), true);
  });

  test('counts promises for its present question only, and each node once', () => {
    const bench = standing({ rs: [B, SELF, C, D, E] });
    promise(bench, C, { epoch: epochOf(SELF, 1) });
    promise(bench, C, { epoch: epochOf(SELF, 3) });
    promise(bench, C);
    promise(bench, C);
    assert.equal(owns(bench), false);
    promise(bench, D);
    assert.equal(owns(bench), true);
  });

  test('needs a majority of each set that is named in a promise, and asks those nodes too', () => {
    const bench = standing();
    promise(bench, C, { record: recordOf({ version: 2, rs: [B, SELF, D], oldRs: THREE }) });
    assert.equal(owns(bench), false);
    assert.equal(isAsked(bench, D), true);
    promise(bench, D, { record: recordOf({ version: 2, rs: [B, SELF, D], oldRs: THREE }) });
    assert.equal(owns(bench), true);
    assert.deepEqual(bench.record(JOB).header.oldRs, THREE);
  });

  test('needs none of a set from which a replica was let go since, as there is a newer value', () => {
    const letGo = (bench: CoreBench): void =>
      bench.hear(D, { kind: 'accepted', job: JOB, epoch: epochOf(SELF, 2), version: 0 });
    const bench = replica({ version: 5 });
    bench.kill(B);
    bench.advance(100);
    promise(bench, C, { record: recordOf({ version: 2, rs: [D, C] }) });
    assert.equal(owns(bench), false, 'D may have more');
    letGo(bench);
    assert.equal(owns(bench), true, 'it moved on from there');
    const other = replica({ version: 5 });
    other.kill(B);
    other.advance(100);
    promise(other, C, { record: recordOf({ version: 9, rs: [SELF, D, E] }) });
    letGo(other);
    assert.equal(owns(other), false, 'D is to have it again, and does not know yet');
    promise(other, E, { record: recordOf({ version: 9, rs: [SELF, D, E] }) });
    assert.equal(owns(other), true);
  });

  test('that finds the record moved away from it hands it over, and keeps nothing', () => {
    const bench = standing();
    const moved = recordOf({ version: 3, rs: [B, C, D] });
    promise(bench, C, { record: moved });
    promise(bench, D, { record: moved });
    assert.equal(owns(bench), false);
    assert.deepEqual(bench.message(C, 'handOver').job, JOB);
    bench.hear(C, {
      kind: 'refused',
      job: JOB,
      epoch: epochOf(SELF, 2),
      promised: epochOf(C, 3),
      isFinal: false,
    });
    assert.equal(bench.records.has(JOB), false);
  });

  test('that is refused waits for the other to write, and asks again above what it was told', () => {
    const bench = standing();
    bench.hear(C, {
      kind: 'refused',
      job: JOB,
      epoch: epochOf(SELF, 2),
      promised: epochOf(D, 9),
      isFinal: false,
    });
    promise(bench, C);
    assert.equal(owns(bench), false);
    bench.advance(900);
    assert.equal(isAsked(bench, C), false);
    bench.advance(1300);
    assert.deepEqual(asked(bench, C), epochOf(SELF, 10));
    promise(bench, C, { epoch: epochOf(SELF, 10) });
    assert.equal(owns(bench), true);
  });

  test('that has promised more to another one meanwhile does not lead', () => {
    const bench = standing();
    bench.hear(D, { kind: 'prepare', job: JOB, epoch: epochOf(D, 3), ifAbsent: false });
    bench.message(D, 'promise');
    promise(bench, C);
    assert.equal(owns(bench), false);
    assert.deepEqual(bench.record(JOB).header.promised, epochOf(D, 3));
  });

  test('asks those again that do not answer, and stops when the owner it followed is unneeded', () => {
    const bench = standing();
    bench.advance(600);
    assert.deepEqual(asked(bench, C), epochOf(SELF, 2));
    bench.hear(C, {
      kind: 'accept',
      record: recordOf({ epoch: epochOf(C, 5), version: 1, boot: 1 }),
    });
    bench.take('send');
    bench.advance(5000);
    assert.equal(isAsked(bench, C), false);
  });

  test('that finds another birth of the id than its own compares the two', () => {
    const bench = standing();
    promise(bench, C, { record: recordOf({ birth: 'birth-z', epoch: epochOf(C) }) });
    assert.equal(owns(bench), false);
    assert.equal(bench.message(C, 'clash').record.header.birth, 'birth-b');
    promise(bench, C, { record: recordOf({ birth: 'birth-a', epoch: epochOf(C) }) });
    assert.equal(bench.records.has(JOB), false);
    bench.advance(10_000);
    assert.equal(isAsked(bench, C), false);
  });

  test('of many jobs asks for a bounded number at a time, and for all in the end', () => {
    const bench = new CoreBench({ facts: { slots: 0 } });
    for (const node of [B, C]) bench.link(node, { slots: 0 });
    const jobs = Array.from({ length: 2500 }, (_, i) => asJobId(`of-b-${i}`));
    for (const job of jobs) {
      const record = recordOf({ job });
      bench.replica(C).hear(B, { kind: 'accept', record }, bench.now());
      bench.hear(B, { kind: 'accept', record });
    }
    bench.messages(B, 'accepted');
    bench.replica(C).isSilent = true;
    bench.kill(B);
    bench.advance(100);
    const first = new Set(bench.messages(C, 'prepare').map(({ job }) => job));
    assert.ok(first.size > 0 && first.size <= 100, `${first.size} at once`);
    bench.replica(C).isSilent = false;
    bench.advance(5000);
    assert.equal(bench.core.owned().unfinished, 2500);
  });
});

describe('an owner that is started again', () => {
  test('asks for its jobs itself, and its replicas wait for it', () => {
    const bench = replica();
    bench.kill(B);
    bench.link(B, { slots: 0 }, bootOf(2));
    const upAt = bench.monoMs;
    bench.hear(B, { kind: 'prepare', job: JOB, epoch: epochOf(B, 2), ifAbsent: false });
    assert.equal(bench.message(B, 'promise').record?.header.job, JOB);
    bench.advance(upAt + 10_000 - bench.monoMs);
    assert.equal(isAsked(bench, C), false);
  });

  test('and does not ask for a job loses it to its replicas, each in its turn', () => {
    const bench = replica();
    bench.link(B, { slots: 0 }, bootOf(2));
    bench.advance(RANK_STEP_MS - 200);
    assert.equal(isAsked(bench, C), false);
    bench.advance(400);
    assert.equal(isAsked(bench, C), true);
  });

  test('in the same life keeps them: only its link had closed', () => {
    const bench = replica();
    bench.unlink(B);
    bench.advance(500);
    bench.link(B, { slots: 0 }, bootOf(1));
    bench.advance(10_000);
    assert.equal(isAsked(bench, C), false);
  });

  test('resumes nothing under an old epoch: it asks a majority first, and takes what they have', () => {
    const first = new CoreBench({ facts: { slots: 0 } });
    for (const node of [B, C]) first.link(node, { slots: 0 });
    const job = first.accept();
    const bench = first.restarted({ facts: { slots: 0 } });
    for (const node of [B, C]) bench.replica(node).isSilent = true;
    bench.advance(5000);
    assert.equal(owns(bench), false);
    assert.deepEqual(bench.record(job).header.promised, epochOf(SELF));
    bench.link(C, { slots: 0 });
    bench.advance(100);
    const epoch = asked(bench, C);
    assert.deepEqual(epoch, epochOf(SELF, 2));
    const { header, job: body } = first.record(job);
    const newer = {
      header: { ...header, accepted: { epoch: epochOf(SELF), version: 2 } },
      job: { ...body, state: finalOf('JOB_CANCELLED') },
    };
    bench.hear(C, { kind: 'promise', job, epoch, record: newer });
    bench.hear(C, { kind: 'accepted', job, epoch, version: 1 });
    assert.equal(bench.status(job), 'JOB_CANCELLED');
  });

  test('leaves to the others what another one was promised meanwhile', () => {
    const first = new CoreBench({ facts: { slots: 0 } });
    for (const node of [B, C]) first.link(node, { slots: 0 });
    const job = first.accept();
    first.hear(C, { kind: 'prepare', job, epoch: epochOf(C, 2), ifAbsent: false });
    first.message(C, 'promise');
    const bench = first.restarted({ facts: { slots: 0 } });
    for (const node of [B, C]) {
      bench.replica(node).isSilent = true;
      bench.link(node, { slots: 0 });
    }
    bench.advance(5000);
    assert.deepEqual(bench.messages(B, 'prepare'), []);
    assert.equal(owns(bench), false);
  });
});

describe('a leader that has not been seen since the own start', () => {
  test('counts as gone after seven seconds', () => {
    const first = replica();
    const bench = first.restarted({ facts: { slots: 0 } });
    bench.replica(C).isSilent = true;
    bench.link(C, { slots: 0 });
    bench.advance(6900);
    assert.equal(isAsked(bench, C), false);
    bench.advance(300);
    assert.equal(isAsked(bench, C), true);
  });
});

describe('a node that is told of a promise above what it knows to be decided', () => {
  test('asks for the job, to tell its end under a higher epoch', () => {
    const bench = replica({ version: 2, state: finalOf() });
    bench.hear(B, {
      kind: 'settled',
      job: JOB,
      epoch: epochOf(B),
      version: 2,
      isEverywhere: false,
    });
    bench.hear(C, {
      kind: 'refused',
      job: JOB,
      epoch: epochOf(B),
      promised: epochOf(D, 7),
      birth: recordOf().header.birth,
      isFinal: false,
    });
    const epoch = asked(bench, C);
    assert.deepEqual(epoch, epochOf(SELF, 2));
    assert.equal(bench.status(JOB), 'JOB_COMPLETED');
  });

  test('of another birth, or of what is not decided, does nothing', () => {
    const refusal = {
      kind: 'refused',
      job: JOB,
      epoch: epochOf(B),
      promised: epochOf(D, 7),
    } as const;
    const open = replica();
    open.hear(C, { ...refusal, birth: recordOf().header.birth, isFinal: false });
    const other = replica({ version: 2, state: finalOf() });
    const settled = { kind: 'settled', job: JOB, epoch: epochOf(B), isEverywhere: false } as const;
    other.hear(B, { ...settled, version: 2 });
    other.hear(C, { ...refusal, birth: asBirth('birth-z'), isFinal: false });
    for (const bench of [open, other]) assert.equal(isAsked(bench, C), false);
  });
});
