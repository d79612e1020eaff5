/** Words about records that are late, twice, of another epoch, set or birth, or made up. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { asBirth, asJobId, asNonce, type JobId, type NodeId } from '../../src/base/ids.ts';
import { type Random, randomBelow, seededRandom } from '../../src/base/random.ts';
import type { JobState } from '../../src/core/job.ts';
import type { Message } from '../../src/core/messages.ts';
import { compareEpochs, compareValues, type Epoch } from '../../src/core/record.ts';
import { B, C, CoreBench, D, SELF } from './core-bench.ts';
import { reportEnd, reportRunning } from './peers.ts';
import { finalOf, grantedTo, grantTo, recordOf } from './record-of.ts';

const MESSAGES = 10_000;
const NODES = [SELF, B, C, D] as const;

function strangeWords(random: Random, jobs: readonly JobId[]): () => Message {
  const pick = <Item>(items: readonly Item[]): Item =>
    items[randomBelow(random, items.length)] as Item;
  const job = (): JobId => pick(jobs);
  const epoch = (): Epoch => ({ counter: 1 + randomBelow(random, 6), node: pick(NODES) });
  const birth = () => asBirth(pick(['birth-1', 'birth-b', 'birth-0']));
  const version = () => 1 + randomBelow(random, 5);
  const fence = () => ({ epoch: epoch(), attempt: 1 + randomBelow(random, 3) });
  const sets = (): NodeId[] => NODES.filter(() => random() < 0.7);
  const rs = (): NodeId[] => (random() < 0.05 ? [] : [pick(NODES), ...sets()]);
  const oldRs = (): NodeId[] => (random() < 0.2 ? sets() : []);
  const state = (): JobState =>
    pick<() => JobState>([
      () => ({ tag: 'pending' }),
      () => grantedTo(pick(NODES), fence()),
      () => ({ tag: 'revoked', grant: grantTo(pick(NODES), fence()), reason: 'x' }),
      () => finalOf(),
    ])();
  const record = () =>
    recordOf({
      job: job(),
      birth: birth(),
      epoch: epoch(),
      version: version(),
      rs: [...new Set(rs())],
      oldRs: oldRs(),
      boot: version(),
      state: state(),
    });
  const makers: (() => Message)[] = [
    () => ({ kind: 'accept', record: record() }),
    () => ({ kind: 'accepted', job: job(), epoch: epoch(), version: version(), yesAgoMs: 7 }),
    () => ({
      kind: 'refused',
      job: job(),
      epoch: epoch(),
      promised: epoch(),
      birth: pick([undefined, birth()]),
      isFinal: false,
    }),
    () => ({ kind: 'prepare', job: job(), epoch: epoch(), ifAbsent: random() < 0.3 }),
    () => ({ kind: 'promise', job: job(), epoch: epoch(), record: pick([undefined, record()]) }),
    () => ({
      kind: 'settled',
      job: job(),
      epoch: epoch(),
      version: version(),
      isEverywhere: random() < 0.5,
    }),
    () => ({ kind: 'retire', job: job(), epoch: epoch(), birth: pick([undefined, birth()]) }),
    () => ({
      kind: 'holding',
      held: [{ job: job(), birth: birth(), accepted: { epoch: epoch(), version: version() } }],
    }),
    () => ({ kind: 'handOver', job: job(), birth: birth(), epoch: epoch() }),
    () => ({ kind: 'clash', record: record() }),
    () => ({ kind: 'whoHas', job: job(), epoch: epoch() }),
    () => ({ kind: 'have', job: job(), fence: fence(), nonce: asNonce('1.1') }),
    () => ({
      kind: 'adopt',
      job: job(),
      fence: fence(),
      epoch: epoch(),
      sets: { rs: rs(), oldRs: oldRs() },
    }),
    () => ({ kind: 'gone', job: job(), fence: fence() }),
    () => ({
      kind: 'renewed',
      sentAt: random() * 2e6,
      granted: [],
      revoked: [],
      moved: [
        {
          job: job(),
          fence: fence(),
          accepted: { epoch: epoch(), version: version() },
          sets: { rs: rs(), oldRs: oldRs() },
        },
      ],
    }),
  ];
  return () => pick(makers)();
}

/** What the disk has promised for the job, with or without a record. */
const promisedOn = (bench: CoreBench, job: JobId): Epoch | undefined =>
  bench.records.get(job)?.header.promised ?? bench.disk.tables.promises.get(job)?.epoch;

describe('words about records that make no sense', () => {
  for (const seed of [1, 2, 3, 4, 5, 6]) {
    test(`are survived, and neither a promise nor a value ever falls (${seed})`, () => {
      const random = seededRandom(seed);
      let bench = new CoreBench({ facts: { slots: 2 } });
      const link = (): void => {
        for (const node of [B, C]) bench.link(node);
      };
      link();
      const own = Array.from({ length: 4 }, () => bench.accept());
      const jobs = [...own, ...['x', 'y', 'z'].map(asJobId)];
      const next = strangeWords(random, jobs);
      const before = new Map(jobs.map((job) => [job, [undefined, undefined] as Seen]));
      for (let i = 0; i < MESSAGES; i++) {
        bench.hear([B, C, D][randomBelow(random, 3)] ?? B, next());
        if (random() < 0.03) bench.advance(100 * (1 + randomBelow(random, 5)));
        if (random() < 0.001) {
          bench = bench.restarted({ facts: { slots: 2 } });
          link();
        }
        drainEffects(bench, random);
        for (const job of jobs) before.set(job, assertNotFallen(bench, job, before.get(job)));
      }
    });
  }

  test('of the own node, told by another, are taken as no more than they are', () => {
    const bench = new CoreBench({ facts: { slots: 0 } });
    bench.link(B);
    const record = recordOf({ epoch: { counter: 9, node: SELF }, rs: [SELF, B, C] });
    bench.hear(B, { kind: 'accept', record });
    const { job } = record.header;
    assert.equal(bench.core.owned().unfinished, 0);
    assert.equal(bench.core.enliven(bench.record(job)).isOwner, false);
    bench.hear(B, { kind: 'accepted', job, epoch: { counter: 9, node: SELF }, version: 1 });
    assert.equal(bench.core.owned().unfinished, 0);
  });
});

type Seen = readonly [Epoch | undefined, ReturnType<CoreBench['record']> | undefined];

function assertNotFallen(bench: CoreBench, job: JobId, [promised, record]: Seen = NOTHING): Seen {
  const nowPromised = promisedOn(bench, job);
  if (promised) {
    assert.ok(nowPromised, `${job}: its promise is gone`);
    assert.ok(compareEpochs(nowPromised, promised) >= 0, `${job}: its promise fell`);
  }
  const now = bench.records.get(job);
  if (record && now && now.header.birth === record.header.birth) {
    const order = compareValues(now.header.accepted, record.header.accepted);
    assert.ok(order >= 0, `${job}: its value fell`);
  }
  return [nowPromised, now];
}

const NOTHING: Seen = [undefined, undefined];

function drainEffects(bench: CoreBench, random: Random): void {
  for (const { attempt } of bench.take('start')) {
    reportRunning(bench, attempt);
    if (random() < 0.5) reportEnd(bench, attempt);
  }
  for (const { job, fence } of bench.take('stop')) reportEnd(bench, { job, fence });
  for (const kind of ['send', 'signal', 'prolong', 'reply', 'dial', 'hangUp'] as const)
    bench.take(kind);
}
