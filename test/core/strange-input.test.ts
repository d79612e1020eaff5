import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { asJobId, asNonce, type JobId, type NodeId } from '../../src/base/ids.ts';
import { randomBelow, seededRandom } from '../../src/base/random.ts';
import { IDLE_LOAD } from '../../src/core/facts.ts';
import type { AttemptEnd } from '../../src/core/job.ts';
import type { Message } from '../../src/core/messages.ts';
import type { Fence } from '../../src/core/record.ts';
import { B, bootOf, C, CoreBench, D, SELF, SPEC } from './core-bench.ts';
import { outcomeOf, PeerExecutor, reportEnd, reportRunning } from './peers.ts';

const MESSAGES = 20_000;

/** Any message, about jobs and fences that may be there. */
function strangeMessages(random: () => number, jobs: readonly JobId[]): () => Message {
  const pick = <Item>(items: readonly Item[]): Item =>
    items[randomBelow(random, items.length)] as Item;
  const node = (): NodeId => pick([SELF, B, C, D]);
  const job = (): JobId => pick(jobs);
  const nonce = () => asNonce(`1.${randomBelow(random, 30)}`);
  const load = () => ({
    ...IDLE_LOAD,
    slots: randomBelow(random, 4),
    running: randomBelow(random, 4),
    queued: randomBelow(random, 3),
    draining: random() < 0.1,
    accepting: random() < 0.9,
  });
  const fence = (): Fence => ({
    epoch: { counter: 1 + randomBelow(random, 2), node: node() },
    attempt: 1 + randomBelow(random, 3),
  });
  const ends: AttemptEnd[] = [
    { tag: 'exited', code: 1 },
    { tag: 'lost', reason: 'x' },
    { tag: 'returned', reason: 'x' },
    { tag: 'cancelled' },
  ];
  const refs = () => [{ job: job(), fence: fence() }];
  const leases = () => [{ job: job(), fence: fence(), epoch: fence().epoch, sets: 1 }];
  const makers: (() => Message)[] = [
    () => ({ kind: 'ping', serial: 1, load: load() }),
    () => ({ kind: 'pong', serial: 1, load: load(), marks: randomBelow(random, 2) }),
    () => ({ kind: 'probe', target: node() }),
    () => ({ kind: 'heard', target: node(), agoMs: randomBelow(random, 9999) }),
    () => ({
      kind: 'members',
      members: [{ node: node(), boot: bootOf(1), hosts: ['x'], linkPort: 1 }],
    }),
    () => ({ kind: 'offer', job: job(), taskType: 'shell', needs: SPEC.needs }),
    () => ({ kind: 'claim', nonce: nonce(), job: pick([job(), undefined]), load: load() }),
    () => ({ kind: 'refuse', job: job(), reason: 'no free slot', load: load() }),
    () => ({ kind: 'decline', nonce: nonce() }),
    () => ({
      kind: 'grant',
      grant: {
        job: job(),
        fence: fence(),
        nonce: nonce(),
        rs: [node()],
        oldRs: [],
        leaseMs: 6000,
        spec: SPEC,
      },
    }),
    () => ({ kind: 'started', job: job(), fence: fence(), startedAt: 1 }),
    () => ({ kind: 'reject', job: job(), fence: fence(), reason: 'x' }),
    () => ({ kind: 'renew', sentAt: random() * 2e6, attempts: leases() }),
    () => ({
      kind: 'renewed',
      sentAt: random() * 2e6,
      granted: refs(),
      revoked: refs(),
      moved: [],
    }),
    () => ({ kind: 'result', job: job(), outcome: outcomeOf(fence(), node(), pick(ends)) }),
    () => ({ kind: 'acknowledge', job: job(), fence: fence() }),
    () => ({ kind: 'cancel', job: job(), fence: fence(), epoch: fence().epoch }),
  ];
  return () => pick(makers)();
}

describe('messages that make no sense', () => {
  for (const seed of [1, 2, 3]) {
    test(`are survived, and the slots stay those of the node (${seed})`, () => {
      const random = seededRandom(seed);
      const bench = new CoreBench({ facts: { slots: 3 } });
      for (const node of [B, C]) bench.link(node);
      const own = Array.from({ length: 6 }, () => bench.accept());
      const strange = Array.from({ length: 6 }, (_, i) => asJobId(`strange-${i}`));
      const next = strangeMessages(random, [...own, ...strange]);
      for (let i = 0; i < MESSAGES; i++) {
        bench.hear([B, C, D][randomBelow(random, 3)] ?? B, next());
        if (random() < 0.05) bench.advance(100);
        for (const { attempt } of bench.take('start')) {
          reportRunning(bench, attempt);
          if (random() < 0.5) reportEnd(bench, attempt);
        }
        for (const { job, fence } of bench.take('stop')) reportEnd(bench, { job, fence });
        bench.take('send');
        bench.take('signal');
        const { running, claimed } = bench.core.load();
        assert.ok(running + claimed <= 3, `${running} run, ${claimed} are claimed`);
      }
      assert.ok(bench.records.size <= own.length);
    });
  }

  test('from a node that is no member change nothing about a job', () => {
    const bench = new CoreBench({ facts: { slots: 0 } });
    bench.link(B);
    const job = bench.accept();
    const grant = new PeerExecutor(bench, B).takeOffered(job);
    const stranger = new PeerExecutor(bench, D);
    stranger.started(grant);
    stranger.reject(grant);
    stranger.claim(job);
    bench.message(D, 'decline');
    assert.equal(bench.status(job), 'JOB_ASSIGNED');
    const waiting = bench.accept({ taskType: 'none' });
    stranger.claim(waiting);
    bench.message(D, 'decline');
    assert.equal(bench.status(waiting), 'JOB_PENDING');
    bench.assertQuiet();
  });

  test('about attempts that the adapter was never told to start are nothing', () => {
    const bench = new CoreBench();
    const fence: Fence = { epoch: { counter: 1, node: B }, attempt: 1 };
    const job = asJobId('x');
    reportRunning(bench, { job, fence });
    reportEnd(bench, { job, fence });
    bench.assertQuiet();
  });
});
