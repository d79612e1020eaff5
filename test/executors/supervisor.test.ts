/** Leases hold whatever becomes of the node: dead, frozen, or killed with its supervisor. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { SupervisedLease } from '../../src/core/effects.ts';
import { firstLine, order, startBench, temporaryFolder, until } from './attempts.ts';
import { doomedAttempt, kill, LONG, numbersOf, outputOf, startDoomed } from './doomed.ts';
import { isAlive, sessionMembers, stateOf, supervisorOf, supervisorsOf } from './processes.ts';

const DEADLINE = { timeout: 60_000 };

/** Not to be ended but by SIGKILL; with a child, and one in a group of its own. Names its leader. */
const STUBBORN =
  'trap "" TERM INT HUP; sleep 999 & timeout 999 sleep 999 & echo $PPID; while :; do sleep 1; done';
const STUBBORN_COUNT = 6;
/** Says so when it gets a SIGTERM, and goes on. */
const HEARS = 'trap "echo term" TERM; echo $$; while :; do sleep 0.05; done';

const leased = (leftMs: number): SupervisedLease => ({ tag: 'leased', leftMs });

/** Milliseconds until it holds. */
async function elapsed(what: string, holds: () => boolean): Promise<number> {
  const before = performance.now();
  await until(what, holds);
  return performance.now() - before;
}

describe('a lease that is over', DEADLINE, () => {
  test('ends the attempts of a node that is dead: SIGTERM first, SIGKILL at the end', async (t) => {
    const folder = temporaryFolder(t);
    const orders = [STUBBORN, HEARS, HEARS].map((command, i) => ({
      command,
      lease: i === 2 ? LONG : leased(3500),
    }));
    const { child, supervisor } = await startDoomed(t, folder, orders);
    const pids = await Promise.all([0, 1, 2].map((i) => numbersOf(folder, i)));
    const [[stubborn = 0], [hears = 0], [stays = 0]] = pids as [number[], number[], number[]];
    await until('all are there', () => sessionMembers(stubborn).length === STUBBORN_COUNT);
    await kill(child);
    await until('it is told', () => outputOf(folder, 1).includes('term'));
    // Also what is in a group of its own: timeout does not ignore it.
    await until('timeout has heard it', () => sessionMembers(stubborn).length === 4);
    const graceMs = await elapsed('killed', () => !isAlive(hears));
    assert(graceMs > 500 && graceMs < 1500, `${graceMs} ms`);
    await until('its session is gone', () => sessionMembers(stubborn).length === 0);
    assert(isAlive(stays) && isAlive(supervisor));
    const { survivors, reports } = await startBench(t, { folder });
    // What the supervisor ended has no end of its own.
    assert.deepEqual(
      survivors.map(({ job }) => job),
      [doomedAttempt(2).job],
    );
    assert.deepEqual(reports.all, []);
  });

  test('ends the attempts of a node that is frozen, which then tells them as lost', async (t) => {
    const folder = temporaryFolder(t);
    const renewed = { command: STUBBORN, lease: leased(2000), isRenewed: true };
    const { child, lines } = await startDoomed(t, folder, [renewed]);
    const [pid = 0] = await numbersOf(folder, 0);
    await delay(3000);
    assert(isAlive(pid), 'as long as it is renewed');
    child.kill('SIGSTOP');
    await until('it is frozen', () => stateOf(child.pid ?? 0) === 'T');
    const leftMs = await elapsed('ended', () => sessionMembers(pid).length === 0);
    assert(leftMs < 2600, `${leftMs} ms`);
    assert.equal(stateOf(child.pid ?? 0), 'T');
    child.kill('SIGCONT');
    await until('a report', () => lines.length > 0);
    assert.match(lines[0] ?? '', /"lost".*lease ran out/);
  });

  test('counts from the death of the node where only the node decides', async (t) => {
    const folder = temporaryFolder(t);
    const lease: SupervisedLease = { tag: 'ownNode', afterDeathMs: 2000 };
    const { child, supervisor } = await startDoomed(t, folder, [{ command: HEARS, lease }]);
    const [pid = 0] = await numbersOf(folder, 0);
    child.kill('SIGSTOP');
    await delay(3500);
    assert(isAlive(pid), 'a frozen node is not dead');
    assert.equal(outputOf(folder, 0), `${pid}\n`);
    await kill(child);
    const leftMs = await elapsed('ended', () => !isAlive(pid));
    assert(leftMs > 1500 && leftMs < 3600, `${leftMs} ms`);
    assert.match(outputOf(folder, 0), /term/);
    await until('the supervisor has ended', () => !isAlive(supervisor));
  });

  test('is none for an attempt without a limit', async (t) => {
    const folder = temporaryFolder(t);
    const orders = [
      { command: HEARS, lease: { tag: 'unlimited' } as const },
      { command: HEARS, lease: leased(2000) },
    ];
    const { child } = await startDoomed(t, folder, orders);
    const [[pid = 0], [other = 0]] = (await Promise.all(
      [0, 1].map((i) => numbersOf(folder, i)),
    )) as [number[], number[]];
    await kill(child);
    await until('the other is ended', () => !isAlive(other));
    assert(isAlive(pid));
    const { survivors } = await startBench(t, { folder });
    assert.deepEqual(
      survivors.map(({ job, leaseLeftMs }) => [job, leaseLeftMs]),
      [[doomedAttempt(0).job, undefined]],
    );
    assert.equal(outputOf(folder, 0), `${pid}\n`);
  });

  test('ends fifty at once in time', async (t) => {
    const folder = temporaryFolder(t);
    const orders = Array.from({ length: 50 }, () => ({ command: STUBBORN, lease: LONG }));
    const { child } = await startDoomed(t, folder, orders);
    const pids = (await Promise.all(orders.map((_, i) => numbersOf(folder, i)))).flat();
    await kill(child);
    const { executor } = await startBench(t, { folder });
    for (const i of pids.keys()) {
      const { job, fence: of } = doomedAttempt(i);
      executor.prolong(job, of, leased(3000));
    }
    const before = performance.now();
    await executor.stop('leave');
    await until('all are gone', () => !pids.some((pid) => isAlive(pid)));
    const tookMs = performance.now() - before;
    assert(tookMs > 2000 && tookMs < 4500, `${tookMs} ms`);
    await until('with their sessions', () => !pids.some((pid) => sessionMembers(pid).length > 0));
  });

  test('is the one that was written last, also by a node that adopts', async (t) => {
    const folder = temporaryFolder(t);
    const { child } = await startDoomed(t, folder, [{ command: HEARS, lease: leased(3000) }]);
    const [pid = 0] = await numbersOf(folder, 0);
    await kill(child);
    const { executor, survivors } = await startBench(t, { folder });
    assert.equal(survivors.length, 1);
    const { job, fence: of } = doomedAttempt(0);
    executor.prolong(job, of, LONG);
    await delay(3500);
    assert(isAlive(pid));
    assert.equal(outputOf(folder, 0), `${pid}\n`);
  });
});

describe('a supervisor', DEADLINE, () => {
  test('that is killed is replaced, and the new one keeps the leases', async (t) => {
    const { folder, executor, reports, problems } = await startBench(t);
    const ordered = { ...order(STUBBORN), lease: leased(4000) };
    executor.run(ordered);
    await reports.running(ordered);
    const first = supervisorOf(folder);
    assert(first !== undefined);
    process.kill(first, 'SIGKILL');
    await until('another one', () => ![undefined, first].includes(supervisorOf(folder)));
    assert.match(problems.join(), /supervisor.*another one is started/);
    const { end } = await reports.ended(ordered);
    assert(end.tag === 'lost');
    assert.match(end.reason, /lease ran out/);
  });

  test('that is killed with its node leaves its attempts to the next start', async (t) => {
    const folder = temporaryFolder(t);
    const orders = [
      { command: HEARS, lease: leased(20_000) },
      { command: STUBBORN, lease: leased(2500) },
      { command: 'yes | head -c 5000; exec sleep 1000', lease: leased(2500) },
    ];
    const { child, supervisor } = await startDoomed(t, folder, orders);
    const [pid = 0] = await numbersOf(folder, 0);
    const [late = 0] = await numbersOf(folder, 1);
    process.kill(supervisor, 'SIGSTOP');
    await kill(child);
    process.kill(supervisor, 'SIGKILL');
    await until('both are gone', () => !isAlive(supervisor));
    await delay(3000);
    assert(isAlive(pid) && isAlive(late));

    const { executor, survivors, problems } = await startBench(t, {
      folder,
      outputLimitBytes: 1000,
    });
    assert.deepEqual(
      survivors.map(({ job }) => job),
      [doomedAttempt(0).job],
    );
    assert(isAlive(pid));
    assert.deepEqual(sessionMembers(late), []);
    assert.deepEqual(problems, []);
    assert.equal(readdirSync(join(folder, 'running')).length, 1);
    await until('work folders removed', () => readdirSync(join(folder, 'work')).length === 1);
    const range = { offset: 990, maxBytes: 1000 };
    const chunk = await executor.outputs.read(doomedAttempt(2), 'stdout', range);
    assert(chunk?.isEnd && chunk.isTruncated);
    assert.equal(
      Buffer.from(chunk.bytes).toString(),
      'y\ny\ny\ny\ny\n[output truncated at 1000 bytes]\n',
    );
  });

  test('ends what an attempt left in the background while no node is there', async (t) => {
    const folder = temporaryFolder(t);
    const command = 'sleep 999 & echo $!; while [ ! -e go ]; do sleep 0.02; done';
    const { child, supervisor } = await startDoomed(t, folder, [command]);
    const [left = 0] = await numbersOf(folder, 0);
    await kill(child);
    const [work = ''] = readdirSync(join(folder, 'work'));
    writeFileSync(join(folder, 'work', work, 'go'), '');
    await until('it is gone', () => !isAlive(left));
    await until('the supervisor has ended, too', () => !isAlive(supervisor));
  });

  test('kills at the end of its grace time what was being ended as the node left', async (t) => {
    const { folder, executor } = await startBench(t);
    const ordered = { ...order(STUBBORN), lease: { tag: 'unlimited' } as const };
    executor.run(ordered);
    const pid = Number(await firstLine(executor, ordered));
    executor.end(ordered.job, ordered.fence, 2000);
    await executor.stop('leave');
    assert(isAlive(pid));
    const leftMs = await elapsed('killed', () => sessionMembers(pid).length === 0);
    assert(leftMs < 3500, `${leftMs} ms`);
    assert.deepEqual((await startBench(t, { folder })).survivors, []);
  });

  test('is deaf to what a terminal sends', async (t) => {
    const { folder, problems, run } = await startBench(t);
    const supervisor = supervisorOf(folder);
    assert(supervisor !== undefined);
    const stat = readFileSync(`/proc/${supervisor}/stat`, 'utf8').split(' ');
    assert.equal(stat[5], String(supervisor), 'a session of its own');
    await run('sleep 0.1');
    for (const signal of ['SIGINT', 'SIGHUP', 'SIGTERM', 'SIGQUIT'] as const) {
      process.kill(supervisor, signal);
    }
    await run('sleep 0.1');
    assert(isAlive(supervisor));
    assert.deepEqual(problems, []);
  });

  test('ends with a stop, and leaves nothing behind', async (t) => {
    const { folder, executor } = await startBench(t);
    const supervisor = supervisorOf(folder);
    assert(supervisor !== undefined);
    await executor.stop();
    assert.deepEqual(supervisorsOf(folder), []);
    assert.deepEqual(sessionMembers(supervisor), []);
    assert.deepEqual(readdirSync(join(folder, 'running')), []);
  });

  test('does nothing while nothing runs', async (t) => {
    const { folder, run, executor, reports } = await startBench(t);
    await run('true');
    const supervisor = supervisorOf(folder);
    assert(supervisor !== undefined);
    // Every time it wakes it is switched to, and it would wake once a second.
    const spent = (): string => {
      const ticks = readFileSync(`/proc/${supervisor}/stat`, 'utf8').split(' ').slice(13, 17);
      const status = readFileSync(`/proc/${supervisor}/status`, 'utf8');
      return `${ticks} ${/voluntary_ctxt_switches:\t(\d+)/.exec(status)?.[1]}`;
    };
    await until('it has come to rest', async () => {
      const before = spent();
      await delay(2500);
      return spent() === before;
    });
    assert.deepEqual(sessionMembers(supervisor), [supervisor]);
    // And it is there at once when something runs again.
    const ordered = { ...order(STUBBORN), lease: leased(2000) };
    executor.run(ordered);
    assert.equal((await reports.ended(ordered)).end.tag, 'lost');
  });
});

describe('where the system has no /proc', DEADLINE, () => {
  const procFolder = '/no-such-folder';

  test('attempts run as ever, and no lease is kept by anybody but the node', async (t) => {
    const { run, executor, reports } = await startBench(t, { procFolder });
    assert.equal(executor.jobProcesses?.(), 'child_process');
    assert.deepEqual((await run('exit 253')).end, { tag: 'exited', code: 253 });
    assert.deepEqual((await run('kill -INT $$')).end, { tag: 'signalled', signal: 'SIGINT' });
    const ordered = { ...order('sleep 1.5'), lease: leased(100) };
    executor.run(ordered);
    executor.prolong(ordered.job, ordered.fence, leased(100));
    assert.deepEqual((await reports.ended(ordered)).end, { tag: 'exited', code: 0 });
  });

  test('a node that leaves ends them, and nothing is adopted', async (t) => {
    const folder = temporaryFolder(t);
    const { executor, reports } = await startBench(t, { folder, procFolder });
    const ordered = order('echo $$; exec sleep 999');
    executor.run(ordered);
    await reports.running(ordered);
    await executor.stop('leave');
    const { survivors } = await startBench(t, { folder, procFolder });
    assert.deepEqual(survivors, []);
    assert.deepEqual(reports.of(ordered).length, 1);
  });
});
