import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { asJobId } from '../../src/base/ids.ts';
import { asWall } from '../../src/base/instant.ts';
import { writeRunningNode } from '../../src/client/running-nodes.ts';
import { PEER, SELF } from '../http/stand-in-service.ts';
import { startApi, type TestApi } from '../http/test-api.ts';
import { TestUser } from './mesh-command.ts';

const DEADLINE = { timeout: 60_000 };

let user: TestUser;
let api: TestApi;
beforeEach(async () => {
  user = new TestUser();
  api = await startApi();
  writeRunningNode(user.configDir, { node: SELF, name: 'alpha', pid: process.pid, api: api.url });
});
afterEach(async () => {
  await api.stop();
  user.remove();
});

const conflict = (serial: number) => ({
  job: asJobId(`job-${serial}`),
  at: asWall(Date.now() - 5000),
  tag: 'outcomes' as const,
  note: `attempt ${serial} ended as well`,
  foundBy: PEER,
});

describe('mesh conflicts', () => {
  test('says that there are none', DEADLINE, async () => {
    const { code, stdout } = await user.mesh(['conflicts']);
    assert.deepEqual([code, stdout], [0, 'No conflicts.\n']);
  });

  test('lists them, as a table and as JSON, and who is missing', DEADLINE, async () => {
    api.service.conflicts = [conflict(1), conflict(2), conflict(3)];
    api.service.missing = [{ node: PEER, reason: 'no link to it' }];
    const { stdout, stderr } = await user.mesh(['conflicts', '-n', '2']);
    assert.match(stdout, /AGE +JOB +KIND +WHAT\n +\ds +job-1 +outcomes +attempt 1 ended as well\n/);
    assert.match(stdout, /job-2/);
    assert.doesNotMatch(stdout, /job-3/);
    assert.match(stdout, /There are more/);
    assert.match(stderr, /What beta has found is missing: no link to it/);
    const asJson = await user.mesh(['conflicts', '--json']);
    assert.equal(JSON.parse(asJson.stdout).conflicts.length, 3);
  });

  test('are a note of mesh doctor, which is well all the same', DEADLINE, async () => {
    api.service.conflicts = [conflict(7)];
    const { stdout } = await user.mesh(['doctor', '--json']);
    const { findings } = JSON.parse(stdout) as { findings: Record<string, string>[] };
    const told = findings.filter(({ area }) => area === 'jobs');
    assert.equal(told.length, 1);
    assert.equal(told[0]?.level, 'note');
    assert.match(told[0]?.text ?? '', /1 conflict .* job-7: attempt 7 ended as well/);
    assert.match(told[0]?.advice ?? '', /mesh conflicts/);
  });
});

describe('jobs that wait for a node which does not answer', () => {
  test('are a note of mesh doctor, with what to do', DEADLINE, async () => {
    api.service.missed = [{ node: PEER, name: 'beta', jobs: 3 }];
    const { stdout } = await user.mesh(['doctor', '--json']);
    const { findings } = JSON.parse(stdout) as { findings: Record<string, string>[] };
    const told = findings.find(({ text }) => text?.includes('3 jobs that alpha keeps'));
    assert.match(told?.text ?? '', /wait for beta, which does not answer/);
    assert.match(told?.advice ?? '', /mesh forget beta/);
  });
});

describe('mesh forget', () => {
  test('does nothing unasked where nobody can be asked', DEADLINE, async () => {
    const { code, stderr } = await user.mesh(['forget', 'beta']);
    assert.equal(code, 1);
    assert.match(stderr, /--yes/);
    assert.equal(api.service.forgotten, undefined);
  });

  test('forgets with --yes, and says what that means', DEADLINE, async () => {
    const { code, stdout } = await user.mesh(['forget', 'beta', '--yes']);
    assert.equal(code, 0);
    assert.match(stdout, /^beta is forgotten: .*not let in again/);
    assert.deepEqual(api.service.forgotten, { node: PEER, isForced: false });
    await user.mesh(['forget', PEER, '-y', '--force', '--json']);
    assert.deepEqual(api.service.forgotten, { node: PEER, isForced: true });
  });

  const hasTerminals = process.platform === 'linux' && existsSync('/usr/bin/script');
  const skip = hasTerminals ? false : 'there is no util-linux script to make a terminal';
  for (const [answer, isMeant] of [
    ['y', true],
    ['', false],
  ] as const)
    test(`asks on a terminal, and takes ${JSON.stringify(answer)}`, {
      ...DEADLINE,
      skip,
    }, async () => {
      const { code, stdout } = await user.onTerminal(['forget', 'beta'], `${answer}\n`);
      assert.match(stdout, /jobs that were on its disk alone are lost[\s\S]*Forget it\? \[y\/N\]/);
      assert.equal(code, isMeant ? 0 : 1, stdout);
      assert.deepEqual(
        api.service.forgotten,
        isMeant ? { node: PEER, isForced: false } : undefined,
      );
    });
});

describe('mesh restart and leave', () => {
  test('restart waits until the node is back, at whatever port', DEADLINE, async (t) => {
    const next = await startApi();
    t.after(() => next.stop());
    next.service.boot = { ...next.service.boot, counter: 2 };
    api.service.onDrain = () => setImmediate(() => void api.server.stop().then(comeBack));
    const comeBack = (): void =>
      writeRunningNode(user.configDir, {
        node: SELF,
        name: 'alpha',
        pid: process.pid,
        api: next.url,
      });
    const { code, stdout } = await user.mesh(['restart', '.']);
    assert.equal(code, 0, stdout);
    assert.match(stdout, /^alpha hands over its jobs.*\nalpha is back\.\n$/);
    assert.deepEqual([api.service.drainedWay, api.service.drainedWithMs], ['restart', 3000]);
  });

  test('restart is not fooled by a life that has not ended yet', DEADLINE, async () => {
    const { code, stderr } = await user.mesh(['restart', 'alpha']);
    assert.equal(code, 1);
    assert.match(stderr, /alpha is not back yet/);
  });

  test(
    'leave waits until the node is gone, and has the time that it is given',
    DEADLINE,
    async () => {
      api.service.onDrain = () => void setImmediate(() => void api.server.stop());
      const { code, stdout } = await user.mesh(['leave', '--timeout', '2m', '--json']);
      assert.equal(code, 0);
      const answer = JSON.parse(stdout);
      assert.deepEqual(
        [answer.way, answer.node_id, answer.is_gone, answer.jobs_left],
        ['leave', SELF, true, 0],
      );
      assert.deepEqual([api.service.drainedWay, api.service.drainedWithMs], ['leave', 120_000]);
    },
  );

  test('a node that does not go is told of, and fails the command', DEADLINE, async () => {
    const { code, stderr } = await user.mesh(['leave', 'alpha', '--timeout', '0s']);
    assert.equal(code, 1);
    assert.match(stderr, /alpha still answers/);
  });

  test('a node of another machine is named with that machine', DEADLINE, async () => {
    const { code, stderr } = await user.mesh(['restart', 'beta']);
    assert.equal(code, 1);
    assert.match(stderr, /beta answers only on its own machine \(beta-host\)/);
    assert.match((await user.mesh(['restart', 'zeta'])).stderr, /"zeta".*mesh peers/);
    assert.equal(api.service.drainedWay, undefined);
  });

  test(
    'a node of this user here is asked itself, whichever node answers first',
    DEADLINE,
    async () => {
      const other = await startApi();
      writeRunningNode(user.configDir, {
        node: PEER,
        name: 'beta',
        pid: process.pid,
        api: other.url,
      });
      other.service.onDrain = () => setImmediate(() => void other.server.stop());
      const args = ['--api', api.url, 'leave', 'beta'];
      assert.equal((await user.mesh(args)).code, 0);
      assert.deepEqual([api.service.drainedWay, other.service.drainedWay], [undefined, 'leave']);
      await other.stop();
    },
  );
});

describe('mesh peers -o wide', () => {
  test('shows machines, how busy they are, and what they can run', DEADLINE, async () => {
    const [beta] = api.service.peerViews;
    assert(beta);
    const machine = { cpuPercent: 41.6, memoryBytes: 2 ** 31, diskFreeBytes: 2 ** 33, load1: 0.75 };
    const facts = {
      ...beta.facts,
      taskTypes: ['python', 'shell'],
      typeVersions: { python: '3.12.1' },
      hardware: { cores: 16, memoryBytes: 2 ** 34, diskBytes: 2 ** 36 },
      capabilities: { 'gpu.count': '2', gpu: 'true' },
    };
    api.service.peerViews = [{ ...beta, facts, load: { ...beta.load, machine } }];
    const { stdout, code } = await user.mesh(['peers', '-o', 'wide']);
    assert.equal(code, 0);
    const line = stdout.split('\n').find((each) => each.startsWith('beta')) ?? '';
    assert.match(line, / 16 +42% +0\.8 +2\.0\/16\.0G +8\.0\/64\.0G +python 3\.12\.1, shell/);
    assert.match(line, /gpu, gpu\.count=2 +room=lab$/);
    assert.match(stdout.split('\n')[0] ?? '', /CORES +CPU +LOAD +MEMORY +DISK FREE +TASK TYPES/);
    const self = stdout.split('\n').find((each) => each.startsWith('alpha*')) ?? '';
    assert.match(self, / 2 +- +- +-\/3\.7G +-\/18\.6G +shell/);
    assert.equal((await user.mesh(['peers', '-o', 'tall'])).code, 2);
  });
});
