/** Each fault the design claims to survive, one by one, moved by hand. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { EventQueue } from './event-queue.ts';
import { CALM } from './network.ts';
import { Scenario } from './scenario.ts';
import { SimClock } from './sim-clock.ts';
import type { SimNode } from './sim-node.ts';

describe('the mesh survives', () => {
  for (const when of ['before', 'after'] as const) {
    test(`an executor that dies ${when} its outcome is on disk`, async () => {
      // A supervisor tells an end again to the next life, if it has not forgotten it.
      const mesh = new Scenario({ slots: [1], isSupervised: when === 'after' });
      await mesh.start();
      const job = mesh.submit(1000);
      await mesh.until(() => mesh.runsSomewhere(job), 'the job runs');
      const rows = () => mesh.executor.disk.tables.outbox.size;
      if (when === 'before') {
        await mesh.run(900);
        mesh.executor.disk.isFull = true;
        await mesh.run(400);
        assert.equal(rows(), 0);
      } else {
        mesh.network.isLost = (message) => message.kind === 'result';
        await mesh.until(() => rows() > 0, 'the outcome is on disk');
      }
      mesh.executor.crash();
      mesh.executor.disk.isFull = false;
      await mesh.run(1500);
      mesh.executor.start();
      await mesh.finish();
      assert.equal(mesh.final(job).status, 'JOB_COMPLETED');
      assert.equal(mesh.executions(job), when === 'before' ? 2 : 1);
    });
  }

  test('grants that are lost on their way', async () => {
    const mesh = new Scenario({ slots: [2] });
    await mesh.start();
    let lost = 0;
    mesh.network.isLost = (message) => message.kind === 'grant' && ++lost <= 2;
    const job = mesh.submit(100);
    await mesh.run(1000);
    assert.equal(mesh.executions(job), 0);
    await mesh.run(3000);
    assert.equal(mesh.executions(job), 1);
    assert.ok(lost > 2);
    await mesh.finish();
  });

  test('every message twice', async () => {
    const mesh = new Scenario({ slots: [2, 2], ownerSlots: 1 });
    mesh.network.faults = { ...CALM, duplication: 1 };
    await mesh.start();
    const jobs = Array.from({ length: 40 }, () => mesh.submit(50));
    await mesh.finish();
    for (const job of jobs) assert.equal(mesh.executions(job), 1);
  });

  for (const side of ['the executor hears and is not heard', 'the executor is heard and deaf']) {
    test(`a partition of one direction: ${side}`, async () => {
      const mesh = new Scenario({ slots: [1, 1] });
      await mesh.start();
      const job = mesh.submit(30_000);
      await mesh.until(() => mesh.runsSomewhere(job), 'the job runs');
      const runner = mesh.executorOf(job);
      const others = [...mesh.executors, mesh.owner].filter((node) => node !== runner);
      const isDeaf = side.endsWith('deaf');
      const group = isDeaf ? [runner] : others;
      mesh.network.partition(new Set(group.map(({ id }) => id)), true);
      await mesh.run(30_000);
      assert.equal(mesh.executions(job), 2);
      await mesh.finish();
      assert.equal(mesh.final(job).status, 'JOB_COMPLETED');
    });
  }

  test('a full disk at the owner: what runs goes on, nothing new is taken, nothing is lost', async () => {
    const mesh = new Scenario({ slots: [2] });
    await mesh.start();
    const job = mesh.submit(10_000);
    await mesh.until(() => mesh.runsSomewhere(job), 'the job runs');
    mesh.owner.disk.isFull = true;
    mesh.submit(10);
    await mesh.run(30_000);
    assert.deepEqual(mesh.replies.at(-1), { kind: 'notAccepting', reason: 'disk' });
    assert.equal([...mesh.checker.registers.finals()].length, 0);
    await mesh.finish();
    assert.equal(mesh.final(job).status, 'JOB_COMPLETED');
    assert.equal(mesh.executions(job), 1);
  });

  test('a full disk at an executor that is cut off: its attempt ends with its lease', async () => {
    const mesh = new Scenario({ slots: [1, 1] });
    await mesh.start();
    const jobs = [mesh.submit(40_000), mesh.submit(1000)];
    await mesh.until(() => jobs.every((job) => mesh.runsSomewhere(job)), 'both run');
    const [first] = jobs;
    assert.ok(first);
    const runner = mesh.executorOf(first);
    runner.disk.isFull = true;
    mesh.network.partition(new Set([runner.id]), false);
    await mesh.run(30_000);
    assert.equal(mesh.executions(first), 2);
    await mesh.finish();
  });

  test('an attempt with a long grace on a node that is cut off', async () => {
    const mesh = new Scenario({ slots: [1, 1], killGraceMs: 40_000 });
    await mesh.start();
    const job = mesh.submit(100_000, { timeoutMs: 3000 });
    await mesh.until(() => mesh.runsSomewhere(job), 'the job runs');
    const runner = mesh.executorOf(job);
    mesh.executors.forEach((node) => {
      node.host.ignoresTerm = true;
    });
    await mesh.run(4000);
    mesh.network.partition(new Set([runner.id]), false);
    await mesh.run(30_000);
    assert.equal(mesh.executions(job), 2);
    await mesh.finish();
  });

  test('a replica whose disk is lost between its word and the start that hangs on it', async () => {
    const mesh = new Scenario({ slots: [0, 0], ownerSlots: 1 });
    await mesh.start();
    const lost: SimNode[] = [];
    const lose = (node: SimNode): void => {
      const state = node.disk.tables.records.get(job)?.job.state;
      if (state?.tag !== 'granted') return;
      assert.equal(mesh.executions(job), 0);
      node.lose();
      lost.push(node);
    };
    let accepts = 0;
    mesh.network.isLost = (message) => {
      const isVote = message.kind === 'accepted' && message.version === 2;
      if (isVote) mesh.events.after(0.1, () => mesh.executors.forEach(lose));
      // The other replica does not have the assignment.
      const isAssignment =
        message.kind === 'accept' && message.record.header.accepted.version === 2;
      return isAssignment && ++accepts === 2;
    };
    const job = mesh.submit(1000, { delivery: 'at_most_once' });
    await mesh.until(() => mesh.runsSomewhere(job), 'the job runs');
    assert.equal(lost.length, 1);
    await mesh.finish();
    assert.equal(mesh.executions(job), 1);
  });

  test('an executor that freezes, is replaced, and wakes', async () => {
    const mesh = new Scenario({ slots: [1, 1] });
    await mesh.start();
    const job = mesh.submit(20_000);
    await mesh.until(() => mesh.runsSomewhere(job), 'the job runs');
    mesh.executorOf(job).freeze(25_000);
    await mesh.run(24_000);
    assert.equal(mesh.executions(job), 2);
    await mesh.finish();
    assert.equal(mesh.final(job).status, 'JOB_COMPLETED');
    const record = mesh.owner.disk.tables.records.get(job);
    assert.ok((record?.job.history.length ?? 0) > 0);
  });

  test('a node whose loop stalls: it declares nobody dead, and nobody declares it dead', async () => {
    const mesh = new Scenario({ slots: [1, 1, 1] });
    await mesh.start();
    for (let i = 0; i < 5; i++) {
      mesh.executor.freeze(5500);
      await mesh.run(8000);
    }
    assert.equal(mesh.checker.members.deaths, 0);
    await mesh.finish();
  });

  test('an owner that is back before anybody called it dead', async () => {
    const mesh = new Scenario({ slots: [1] });
    await mesh.start();
    const job = mesh.submit(5000);
    await mesh.until(() => mesh.runsSomewhere(job), 'the job runs');
    mesh.owner.crash();
    await mesh.run(200);
    mesh.owner.start();
    await mesh.finish();
    assert.equal(mesh.final(job).status, 'JOB_COMPLETED');
    assert.equal(mesh.executions(job), 1);
  });

  test('an owner that is away for longer than the lease', async () => {
    const mesh = new Scenario({ slots: [1] });
    await mesh.start();
    const job = mesh.submit(3000);
    await mesh.until(() => mesh.runsSomewhere(job), 'the job runs');
    mesh.owner.crash();
    await mesh.run(30_000);
    mesh.owner.start();
    await mesh.finish();
    assert.equal(mesh.final(job).status, 'JOB_COMPLETED');
    assert.equal(mesh.executions(job), 1);
  });

  test('a job that kills every node that runs it: it is lost after four attempts', async () => {
    const mesh = new Scenario({ slots: [1, 1, 1] });
    await mesh.start();
    const job = mesh.submit(2000);
    const good = mesh.submit(2000, { priority: 1 });
    for (let attempt = 1; attempt <= 4; attempt++) {
      await mesh.until(() => mesh.executions(job) === attempt, `attempt ${attempt} runs`);
      const victim = mesh.executorOf(job);
      victim.crashHost();
      await mesh.run(3000);
      victim.start();
    }
    await mesh.finish();
    assert.equal(mesh.final(job).status, 'JOB_LOST');
    assert.match(mesh.final(job).reason, /^given up after 4 lost attempts/);
    assert.equal(mesh.executions(job), 4);
    assert.equal(mesh.final(good).status, 'JOB_COMPLETED');
  });

  for (let seed = 1; seed <= 8; seed++) {
    test(`a cancel against the end of the job (${seed})`, async () => {
      const mesh = new Scenario({ slots: [1], seed });
      await mesh.start();
      const job = mesh.submit(1000);
      await mesh.until(() => mesh.runsSomewhere(job), 'the job runs');
      await mesh.run(1000 - 2 + seed / 2);
      mesh.cancel(job);
      await mesh.finish();
      const told = mesh.replies.at(-1)?.kind;
      const { status } = mesh.final(job);
      assert.equal(status, told === 'alreadyFinal' ? 'JOB_COMPLETED' : 'JOB_CANCELLED');
      assert.equal(mesh.executions(job), 1);
    });
  }
});

describe('a job outlives its owner', () => {
  test('whose disk is lost for ever: another replica brings it to its end, in one execution', async () => {
    const mesh = new Scenario({ slots: [1, 1, 1] });
    await mesh.start();
    const job = mesh.submit(12_000);
    await mesh.until(() => mesh.runsSomewhere(job), 'the job runs');
    await mesh.run(1000);
    mesh.owner.lose();
    await mesh.run(20_000);
    assert.equal(mesh.final(job).status, 'JOB_COMPLETED');
    assert.equal(mesh.executions(job), 1);
    await mesh.finish();
  });

  test('that is cut off and thinks it leads: one outcome on both sides', async () => {
    const mesh = new Scenario({ slots: [1, 1, 1] });
    await mesh.start();
    const job = mesh.submit(15_000);
    await mesh.until(() => mesh.runsSomewhere(job), 'the job runs');
    mesh.network.partition(new Set([mesh.owner.id]), false);
    await mesh.run(25_000);
    assert.equal(mesh.final(job).status, 'JOB_COMPLETED');
    await mesh.finish();
    assert.equal(mesh.executions(job), 1);
  });

  test('that is frozen and wakes when another one leads', async () => {
    const mesh = new Scenario({ slots: [1, 1, 1] });
    await mesh.start();
    const jobs = Array.from({ length: 8 }, () => mesh.submit(6000));
    await mesh.until(() => jobs.some((job) => mesh.runsSomewhere(job)), 'one runs');
    mesh.owner.freeze(20_000);
    await mesh.run(60_000);
    await mesh.finish();
    for (const job of jobs) assert.equal(mesh.final(job).status, 'JOB_COMPLETED');
  });

  test('in a pair, whose process is gone: the peer follows at once', async () => {
    const mesh = new Scenario({ slots: [1] });
    await mesh.start();
    const job = mesh.submit(3000);
    await mesh.until(() => mesh.runsSomewhere(job), 'the job runs');
    mesh.owner.crash();
    await mesh.run(10_000);
    assert.equal(mesh.final(job).status, 'JOB_COMPLETED');
    await mesh.finish();
    assert.equal(mesh.executions(job), 1);
  });

  test('in a pair, that is merely silent: the peer waits until it is told to forget it', async () => {
    const mesh = new Scenario({ slots: [1] });
    await mesh.start();
    const job = mesh.submit(3000);
    await mesh.until(() => mesh.runsSomewhere(job), 'the job runs');
    mesh.owner.lose();
    await mesh.run(30_000);
    assert.equal(mesh.checker.final(job), undefined);
    mesh.forget(mesh.owner);
    await mesh.run(15_000);
    assert.equal(mesh.replies.at(-1)?.kind, 'forgotten');
    assert.equal(mesh.final(job).status, 'JOB_COMPLETED');
    await mesh.finish();
  });

  test('while its executor is killed too and is back at once: the attempt goes on', async () => {
    const mesh = new Scenario({ slots: [1, 1, 1] });
    await mesh.start();
    const job = mesh.submit(15_000);
    await mesh.until(() => mesh.runsSomewhere(job), 'the job runs');
    const runner = mesh.executorOf(job);
    mesh.owner.crash();
    runner.crash();
    await mesh.run(2000);
    runner.start();
    await mesh.run(30_000);
    assert.equal(mesh.final(job).status, 'JOB_COMPLETED');
    assert.equal(mesh.executions(job), 1);
    await mesh.finish();
  });
});

describe('an attempt', () => {
  test('outlives its node under a supervisor and is adopted by the next life', async () => {
    const mesh = new Scenario({ slots: [1] });
    await mesh.start();
    const job = mesh.submit(8000);
    await mesh.until(() => mesh.runsSomewhere(job), 'the job runs');
    mesh.executor.crash();
    await mesh.run(3000);
    mesh.executor.start();
    await mesh.finish();
    assert.equal(mesh.final(job).status, 'JOB_COMPLETED');
    assert.equal(mesh.executions(job), 1);
  });

  test('of a frozen node ends with its lease, before another one starts', async () => {
    const mesh = new Scenario({ slots: [1, 1, 1] });
    await mesh.start();
    const job = mesh.submit(30_000);
    await mesh.until(() => mesh.runsSomewhere(job), 'the job runs');
    const runner = mesh.executorOf(job);
    runner.host.ignoresTerm = true;
    runner.freeze(40_000);
    await mesh.run(35_000);
    assert.equal(runner.host.running, 0);
    assert.equal(mesh.executions(job), 2);
    await mesh.finish();
    assert.equal(mesh.final(job).status, 'JOB_COMPLETED');
  });
});

test('a disk that went back by a whole life is refused for its commits, by later lives of its peers too', async () => {
  const mesh = new Scenario({ slots: [1, 1, 1] });
  const copy = mesh.executor.disk.copy();
  await mesh.start();
  const job = mesh.submit(1000);
  await mesh.until(() => mesh.checker.final(job) !== undefined, 'the job is over');
  // Its links break, and the next hellos tell how much its disk has taken.
  for (const node of mesh.executors) mesh.network.drop(mesh.executor, node, false);
  mesh.network.drop(mesh.executor, mesh.owner, false);
  await mesh.run(10_000);
  mesh.executor.crash();
  copy.setBack();
  // Started once in vain, so that its boot counter is above all that was ever seen.
  mesh.executor.disk.boots += 1;
  mesh.owner.crash();
  mesh.owner.start();
  mesh.executor.start();
  mesh.executor.setBackAt = mesh.events.now;
  await mesh.run(15_000);
  const states = mesh.owner.view()?.peers() ?? [];
  const seen = states.find(({ facts }) => facts.node === mesh.executor.id);
  assert.notEqual(seen?.state, 'alive');
});

test('a disk that went back is refused by those who know its later life', async () => {
  const mesh = new Scenario({ slots: [1, 1, 1] });
  await mesh.start();
  const copy = mesh.executor.disk.copy();
  mesh.executor.crash();
  mesh.executor.start();
  await mesh.run(5000);
  mesh.executor.crash();
  copy.setBack();
  mesh.executor.start();
  mesh.executor.setBackAt = mesh.events.now;
  await mesh.run(15_000);
  const states = mesh.owner.view()?.peers() ?? [];
  const seen = states.find(({ facts }) => facts.node === mesh.executor.id);
  assert.notEqual(seen?.state, 'alive');
});

test('a disk that went back and is lost then takes nothing with it that another disk keeps', async () => {
  const mesh = new Scenario({ slots: [1], ownerSlots: 1 });
  const [peer, owner] = [mesh.executor, mesh.owner];
  await mesh.start();
  const job = mesh.submit(40_000);
  await mesh.until(() => mesh.runsSomewhere(job), 'the job runs');
  const isMarked = () => peer.disk.tables.notes.get(job)?.lacking === owner.id;
  owner.crash();
  await mesh.until(isMarked, 'the peer leads alone');
  const copy = peer.disk.copy();
  owner.start();
  await mesh.until(() => !isMarked(), 'both have it');
  // A pong has said so, too.
  await mesh.run(3000);
  peer.crash();
  const isLed = () => owner.disk.tables.records.get(job)?.header.accepted.epoch.node === owner.id;
  await mesh.until(isLed, 'the owner leads it again');
  peer.start();
  // Until just before the job's end: nobody has taken the peer for dead by then.
  await mesh.run(44_000 - mesh.events.now);
  peer.crashHost();
  mesh.checker.onDiskLost(peer);
  copy.setBack();
  peer.start();
  peer.setBackAt = mesh.events.now;
  const isOver = () => owner.disk.tables.records.get(job)?.job.state.tag === 'final';
  await mesh.until(isOver, 'the owner has its outcome, and is not alone yet');
  assert.equal(mesh.checker.final(job), undefined);
  peer.lose();
  owner.ask(
    (request) => ({ kind: 'forget', request, node: peer.id }),
    (reply) => void mesh.replies.push(reply),
  );
  await mesh.finish();
  assert.equal(mesh.final(job).status, 'JOB_COMPLETED');
});

test('a cancel that a set-back disk had decided, and that is believed since, may be lost', async () => {
  const mesh = new Scenario({ slots: [1, 0] });
  const [runner, other] = mesh.executors;
  assert.ok(runner && other);
  await mesh.start();
  const job = mesh.submit(20_000);
  await mesh.until(() => mesh.runsSomewhere(job), 'the job runs');
  // One replica is away, and the cancel is decided by the two others.
  mesh.network.partition(new Set([other.id]), false);
  const copy = mesh.owner.disk.copy();
  mesh.cancel(job);
  await mesh.until(() => mesh.checker.cancelled.has(job), 'the cancel is decided');
  mesh.owner.crashHost();
  mesh.checker.onDiskLost(mesh.owner);
  assert.ok(mesh.checker.cancelled.has(job), 'the runner has it');
  copy.setBack();
  mesh.owner.start();
  mesh.owner.setBackAt = mesh.events.now;
  // Now the other two are the majority, and the one that was warned is away.
  mesh.network.heal();
  mesh.network.partition(new Set([runner.id]), false);
  await mesh.run(20_000);
  assert.ok(!mesh.checker.cancelled.has(job));
  assert.deepEqual(mesh.checker.violations, []);
});

test('a machine whose clock stood still goes on with it, and never back', () => {
  const events = new EventQueue();
  const clock = new SimClock(events, 1, 0);
  const at = (ms: number): number => {
    events.runUntil(ms);
    return clock.now().mono;
  };
  assert.equal(at(1000), 1000);
  clock.stop(11_000);
  events.runUntil(3000);
  clock.goOn();
  assert.equal(clock.now().mono, 1000);
  clock.stop(5000);
  clock.stop(6000);
  events.runUntil(6000);
  clock.goOn();
  assert.equal(clock.now().mono, 1000);
  assert.equal(at(7000), 2000);
});
