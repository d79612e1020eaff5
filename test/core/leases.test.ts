import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { asJobId, asNonce, type NodeId } from '../../src/base/ids.ts';
import { LEASE_GRACE_MS, LEASE_MS, RENEW_INTERVAL_MS } from '../../src/core/lease.ts';
import type { Grant, Message } from '../../src/core/messages.ts';
import { type Epoch, type Fence, type ReplicaSets, setsHash } from '../../src/core/record.ts';
import { B, C, CoreBench, D, SELF, SPEC } from './core-bench.ts';
import { reportRunning } from './peers.ts';
import {
  epochOf,
  FENCE,
  finalOf,
  grantedTo,
  grantTo,
  JOB,
  type RecordChange,
  recordOf,
  THREE,
} from './record-of.ts';

/** A replica of B's job, whose attempt runs at C. */
function replica(change: RecordChange = {}): CoreBench {
  const bench = new CoreBench({ facts: { slots: 0 } });
  for (const node of [B, C]) bench.link(node, { slots: 0 });
  bench.hear(B, { kind: 'accept', record: recordOf({ state: grantedTo(C), ...change }) });
  bench.message(B, 'accepted');
  return bench;
}

interface Question {
  readonly fence?: Fence;
  readonly epoch?: Epoch;
  readonly sets?: ReplicaSets;
}

/** What it answers to C; undefined: nothing. */
function asked(bench: CoreBench, question: Question = {}) {
  const { fence = FENCE, epoch = epochOf(B), sets = { rs: THREE, oldRs: [] } } = question;
  const attempts = [{ job: JOB, fence, epoch, sets: setsHash(sets) }];
  bench.hear(C, { kind: 'renew', sentAt: 7, attempts });
  const [answer] = bench.messages(C, 'renewed');
  if (!answer) return undefined;
  const { granted, revoked, moved } = answer;
  return { yes: granted.length, no: revoked.length, moved };
}

const YES = { yes: 1, no: 0, moved: [] };
const NO = { yes: 0, no: 1, moved: [] };

describe('a replica that is asked whether an attempt may run on', () => {
  test('says yes to the attempt that the record names, and repeats the time it was asked at', () => {
    const bench = replica();
    const attempts = [
      { job: JOB, fence: FENCE, epoch: epochOf(B), sets: setsHash({ rs: THREE, oldRs: [] }) },
    ];
    bench.hear(C, { kind: 'renew', sentAt: 1234.5, attempts });
    const answer = bench.message(C, 'renewed');
    assert.equal(answer.sentAt, 1234.5);
    assert.deepEqual(answer.granted, [{ job: JOB, fence: FENCE }]);
  });

  test('says nothing below its promise: a new owner may be waiting for the end of that lease', () => {
    const bench = replica();
    bench.hear(D, { kind: 'prepare', job: JOB, epoch: epochOf(D, 2), ifAbsent: false });
    assert.equal(asked(bench), undefined);
    assert.deepEqual(asked(bench, { epoch: epochOf(D, 2) }), YES);
  });

  test('remembers when it said yes, and tells it with its promise', () => {
    const bench = replica();
    bench.advance(3000);
    assert.deepEqual(asked(bench), YES);
    bench.advance(400);
    bench.hear(B, { kind: 'prepare', job: JOB, epoch: epochOf(B, 2), ifAbsent: false });
    assert.equal(bench.message(B, 'promise').yesAgoMs, 400);
  });

  test('does not count a refusal as a yes', () => {
    const bench = replica();
    bench.advance(3000);
    assert.deepEqual(asked(bench, { fence: { ...FENCE, attempt: 0 } }), NO);
    assert.deepEqual(asked(bench, { sets: { rs: [B, C], oldRs: [] } })?.yes, 0);
    bench.hear(B, { kind: 'prepare', job: JOB, epoch: epochOf(B, 2), ifAbsent: false });
    assert.equal(bench.message(B, 'promise').yesAgoMs, 3000);
  });

  test('names the sets of its record to who asks for others, and says no yes', () => {
    const bench = replica({ oldRs: [B, SELF] });
    const answer = asked(bench);
    assert.equal(answer?.yes, 0);
    assert.deepEqual(answer?.moved[0]?.sets, { rs: THREE, oldRs: [B, SELF] });
    assert.deepEqual(asked(bench, { sets: { rs: THREE, oldRs: [B, SELF] } }), YES);
  });

  test('says nothing about a revocation that may not be decided', () => {
    const bench = replica({ state: { tag: 'revoked', grant: grantTo(C), reason: 'dead' } });
    assert.equal(asked(bench), undefined);
  });

  test('says nothing about a final state that may not be decided, and no when it is', () => {
    const bench = replica({ version: 2, state: finalOf() });
    assert.equal(asked(bench), undefined);
    bench.hear(B, {
      kind: 'settled',
      job: JOB,
      epoch: epochOf(B),
      version: 2,
      isEverywhere: false,
    });
    assert.deepEqual(asked(bench), NO);
  });

  test('says no to an attempt that another one has followed', () => {
    const fence = { ...FENCE, attempt: 2 };
    const bench = replica({ state: grantedTo(D, fence), body: { attempts: 2 } });
    assert.deepEqual(asked(bench), NO);
    // The same number under another epoch is another attempt.
    const other = { epoch: epochOf(D, 2), attempt: 2 };
    assert.deepEqual(asked(bench, { fence: other, epoch: epochOf(D, 2) }), NO);
    const ended = replica({ version: 5, state: { tag: 'pending' }, body: { attempts: 1 } });
    assert.deepEqual(asked(ended), NO);
  });

  test('says yes to an attempt that it has not heard of yet', () => {
    assert.deepEqual(asked(replica({ state: { tag: 'pending' } })), YES);
    assert.deepEqual(asked(replica(), { fence: { ...FENCE, attempt: 2 } }), YES);
  });

  test('says nothing of a job that it does not keep, or of which it keeps only a promise', () => {
    const bench = new CoreBench({ facts: { slots: 0 } });
    bench.link(C, { slots: 0 });
    assert.equal(asked(bench), undefined);
    bench.hear(C, { kind: 'prepare', job: JOB, epoch: epochOf(C, 2), ifAbsent: false });
    bench.message(C, 'promise');
    assert.equal(asked(bench, { epoch: epochOf(C, 3) }), undefined);
  });

  test('answers though its disk takes no writes', () => {
    const bench = replica();
    bench.failDisk();
    assert.deepEqual(asked(bench), YES);
  });
});

// ---------------------------------------------------------------- the executor's side

/** C owns the job that the core on the bench runs. */
const OWNER = C;
const JOB_OF_C = asJobId('job-of-c');
const FENCE_OF_C: Fence = { epoch: epochOf(OWNER), attempt: 1 };

/** An attempt of C's job runs here; its renewals are claimed. */
function executor(rs: readonly NodeId[], spec = {}): CoreBench {
  const bench = new CoreBench({ facts: { slots: 1 } });
  for (const node of [B, C, D]) {
    bench.link(node, { slots: 0 });
    bench.replica(node).isSilent = true;
  }
  const { taskType, needs } = SPEC;
  bench.hear(OWNER, { kind: 'offer', job: JOB_OF_C, taskType, needs });
  const nonce = asNonce(bench.message(OWNER, 'claim').nonce);
  const grant: Grant = {
    job: JOB_OF_C,
    fence: FENCE_OF_C,
    nonce,
    rs,
    oldRs: [],
    leaseMs: LEASE_MS,
    spec: { ...SPEC, ...spec },
  };
  bench.hear(OWNER, { kind: 'grant', grant });
  reportRunning(bench, bench.one('start').attempt);
  bench.message(OWNER, 'started');
  return bench;
}

const renewals = (bench: CoreBench, node: NodeId) => bench.messages(node, 'renew');

/** These nodes answer yes to the newest renewal, and no other. */
function yesOf(bench: CoreBench, nodes: readonly NodeId[]): void {
  for (const node of nodes) {
    const { sentAt } = renewals(bench, node).at(-1) ?? assert.fail(`${node} is not asked`);
    const granted = [{ job: JOB_OF_C, fence: FENCE_OF_C }];
    bench.hear(node, { kind: 'renewed', sentAt, granted, revoked: [], moved: [] });
  }
}

/** Seven seconds in which these nodes say yes to all they are asked; true: the attempt lives. */
function survives(bench: CoreBench, nodes: readonly NodeId[]): boolean {
  for (let passed = 0; passed < LEASE_MS + 1000; passed += RENEW_INTERVAL_MS) {
    bench.advance(RENEW_INTERVAL_MS);
    if (bench.take('stop').length > 0) return false;
    yesOf(bench, nodes);
  }
  return true;
}

describe('an attempt of a job that three keep', () => {
  test('asks all three, and lives by any two of them', () => {
    for (const nodes of [
      [C, B],
      [C, D],
      [B, D],
    ] as const)
      assert.equal(survives(executor([C, B, D]), nodes), true, nodes.join(' '));
  });

  test('ends with its lease when it hears one of them, were it the owner', () => {
    for (const node of [B, C, D]) assert.equal(survives(executor([C, B, D]), [node]), false, node);
  });

  test('counts its own node as one of them', () => {
    const bench = executor([C, B, SELF]);
    const record = recordOf({
      job: JOB_OF_C,
      epoch: epochOf(C),
      rs: [C, B, SELF],
      state: grantedTo(SELF, FENCE_OF_C),
    });
    bench.hear(C, { kind: 'accept', record });
    assert.equal(survives(bench, [B]), true);
    assert.equal(survives(bench, []), false);
  });
});

describe('an answer that echoes a time', () => {
  test('that has not come yet gives no lease beyond the true one', () => {
    const bench = executor([C]);
    const granted = [{ job: JOB_OF_C, fence: FENCE_OF_C }];
    const sentAt = bench.monoMs + 60_000;
    bench.hear(C, { kind: 'renewed', sentAt, granted, revoked: [], moved: [] });
    bench.advance(LEASE_MS - LEASE_GRACE_MS + 100);
    bench.one('stop');
  });
});

describe('an attempt of a job that two keep', () => {
  test('lives by the yes of the owner', () => {
    assert.equal(survives(executor([C, B]), [C]), true);
  });

  test('does not live by the yes of the other, who may not follow the owner alone', () => {
    assert.equal(survives(executor([C, B]), [B]), false);
  });
});

describe('an attempt whose record has moved', () => {
  const moved = (sets: ReplicaSets, version: number): Message => ({
    kind: 'renewed',
    sentAt: 0,
    granted: [],
    revoked: [],
    moved: [{ job: JOB_OF_C, fence: FENCE_OF_C, accepted: { epoch: epochOf(C), version }, sets }],
  });

  test('asks those who keep it now at once, and lives by them', () => {
    const bench = executor([C, B]);
    bench.advance(RENEW_INTERVAL_MS);
    renewals(bench, B);
    bench.hear(B, moved({ rs: [C, B, D], oldRs: [C, B] }, 3));
    const [ref] = bench.message(D, 'renew').attempts;
    assert.equal(ref?.sets, setsHash({ rs: [C, B, D], oldRs: [C, B] }));
    assert.equal(survives(bench, [C, D]), true);
  });

  test('takes no yes that was asked for before it knew', () => {
    const bench = executor([C]);
    bench.advance(RENEW_INTERVAL_MS);
    const { sentAt } = renewals(bench, C).at(-1) ?? assert.fail();
    // Of the new set, too, the owner's yes is enough.
    bench.hear(C, moved({ rs: [C, B], oldRs: [] }, 3));
    const granted = [{ job: JOB_OF_C, fence: FENCE_OF_C }];
    bench.hear(C, { kind: 'renewed', sentAt, granted, revoked: [], moved: [] });
    bench.advance(LEASE_MS - LEASE_GRACE_MS - RENEW_INTERVAL_MS + 100);
    bench.one('stop');
  });

  test('is not led astray by an older value', () => {
    const bench = executor([C, B]);
    bench.hear(B, moved({ rs: [C, B, D], oldRs: [] }, 5));
    bench.messages(D, 'renew');
    bench.hear(B, moved({ rs: [B], oldRs: [] }, 4));
    bench.advance(RENEW_INTERVAL_MS);
    assert.equal(renewals(bench, D).length, 1);
  });
});

describe('an attempt that prefers to run on', () => {
  test('is not ended when nobody says yes any more, only by its timeout', () => {
    const bench = executor([C, B, D], { onIsolation: 'continue' });
    for (const node of [B, C, D]) bench.unlink(node);
    bench.advance(50_000);
    assert.deepEqual(bench.take('stop'), []);
    assert.equal(bench.core.load().running, 1);
    bench.advance(SPEC.timeoutMs - 50_000 + 200);
    bench.one('stop');
  });
});
