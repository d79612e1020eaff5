/** Task type `docker` against a real engine. */
import assert from 'node:assert/strict';
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, type TestContext, test } from 'node:test';
import type { Offers } from '../../src/core/facts.ts';
import type { JobSpec } from '../../src/core/job.ts';
import { makeDocker } from '../../src/executors/docker/docker.ts';
import { newBlobs } from '../blobs/blob-folders.ts';
import { firstLine, NODE, order, startBench, temporaryFolder, textOf, until } from './attempts.ts';
import { type ContainerEngine, IMAGE, skipWithoutEngine, startEngine } from './container-engine.ts';

const specOf = (params: object): Partial<JobSpec> => ({
  taskType: 'docker',
  params: JSON.stringify(params),
});

const runOf = (command: string, more: object = {}): Partial<JobSpec> =>
  specOf({ image: IMAGE, network: 'none', command, ...more });

describe('a docker job', skipWithoutEngine(), () => {
  let engine: ContainerEngine;
  before(async () => {
    engine = await startEngine();
  });
  after(() => engine?.stop());

  async function startDocker(t: TestContext, mounts: readonly string[] = []) {
    const offers: Offers[] = [];
    const problems: string[] = [];
    const blobs = await newBlobs(t);
    const docker = makeDocker({
      node: NODE,
      socket: engine.socket,
      mounts,
      onProblem: (sentence) => problems.push(sentence),
    });
    const bench = await startBench(t, {
      taskTypes: [docker],
      wantedTypes: ['docker'],
      onOffers: (offer) => offers.push(offer),
      meshEnv: { MESH_NODE_ID: NODE },
      files: {
        place: async () => assert.fail('nothing was uploaded'),
        keep: (file) => blobs.keep(file),
      },
    });
    return { ...bench, offers, problems, docker };
  }

  test('has its output apart, its exit code, and leaves no container', async (t) => {
    const { run, offers, problems } = await startDocker(t);
    assert.deepEqual(offers[0]?.taskTypes, ['docker']);
    assert.equal(offers[0]?.capabilities.docker, 'true');
    assert.match(offers[0]?.capabilities['docker.version'] ?? '', /^\d+\.\d+/);
    const { end, stdout, stderr, receipt } = await run('', runOf('echo one; echo two >&2; exit 3'));
    assert.deepEqual(end, { tag: 'exited', code: 3 });
    assert.equal(textOf(stdout), 'one\n');
    assert.equal(textOf(stderr), 'two\n');
    const result = JSON.parse(receipt?.result ?? '');
    assert.equal(result.exit_code, 3);
    assert.match(result.image_id, /^sha256:/);
    assert.deepEqual(await engine.containers(), []);
    assert.deepEqual(problems, []);
  });

  test('loses nothing of much output', async (t) => {
    const { run } = await startDocker(t);
    const { stdout, end } = await run('', runOf('head -c 60000 /dev/zero'));
    assert.deepEqual(end, { tag: 'exited', code: 0 });
    assert.equal(stdout.totalBytes, 60_000);
  });

  test('has its own environment, what the mesh says, and nothing of the node', async (t) => {
    const { run } = await startDocker(t);
    const spec = runOf('env', { env: { A: '1' } });
    const { stdout, order } = await run('', { ...spec, env: { B: '2' } });
    const lines = textOf(stdout).split('\n');
    assert(lines.includes('A=1') && lines.includes('B=2'));
    assert(lines.includes(`MESH_JOB_ID=${order.job}`));
    assert(lines.includes(`MESH_NODE_ID=${NODE}`));
    assert(!lines.some((line) => line.startsWith('USER=')));
  });

  test('carries labels that say whose it is, and ends when it is told to', async (t) => {
    const { executor, reports } = await startDocker(t);
    const attempt = order('', runOf("trap 'echo bye; exit 0' TERM; echo up; sleep 1000 & wait"));
    executor.run(attempt);
    assert.equal(await firstLine(executor, attempt), 'up');
    const [id] = await engine.containers();
    const about = (await engine.ask(`/containers/${id}/json`)) as {
      Config: { Labels: Record<string, string> };
    };
    assert.equal(about.Config.Labels['worker-mesh.node'], NODE);
    assert.equal(about.Config.Labels['worker-mesh.job'], attempt.job);
    executor.end(attempt.job, attempt.fence, 60_000);
    const { end, stdout } = await reports.ended(attempt);
    assert.deepEqual(end, { tag: 'exited', code: 0 });
    assert.equal(textOf(stdout), 'up\nbye\n');
    assert.deepEqual(await engine.containers(), []);
  });

  test('that does not heed is killed after its grace', async (t) => {
    const { executor, reports } = await startDocker(t);
    const attempt = order('', runOf("trap '' TERM; echo up; while :; do sleep 1; done"));
    executor.run(attempt);
    await firstLine(executor, attempt);
    executor.end(attempt.job, attempt.fence, 300);
    const { end } = await reports.ended(attempt);
    assert.deepEqual(end, { tag: 'signalled', signal: 'SIGKILL' });
    assert.deepEqual(await engine.containers(), []);
  });

  test('over its memory says so', async (t) => {
    const { run } = await startDocker(t);
    const eat = 'x=x; while :; do x=$x$x$x$x; done';
    const { end, receipt } = await run('', runOf(eat, { memory: '8m', cpus: 0.5 }));
    assert(end.tag === 'failed');
    assert.match(end.reason, /used more memory than it may have.*params\.memory/);
    assert.equal(JSON.parse(receipt?.result ?? '').oom_killed, true);
  });

  test('mounts what its operator allows, and nothing else, also through links', async (t) => {
    const shared = temporaryFolder(t);
    for (const name of ['open', 'read']) mkdirSync(join(shared, name));
    writeFileSync(join(shared, 'read/file'), 'content');
    writeFileSync(join(shared, 'secret'), 'secret');
    symlinkSync(join(shared, 'secret'), join(shared, 'open/link'));
    const { run } = await startDocker(t, [join(shared, 'open'), `${join(shared, 'read')}:ro`]);
    const mount = (source: string, read_only: boolean) =>
      run(
        '',
        runOf('cat /m/file; echo new >/m/new', {
          mounts: [{ source: join(shared, source), target: '/m', read_only }],
        }),
      );
    assert.deepEqual((await mount('open', false)).end, { tag: 'exited', code: 0 });
    const read = await mount('read', true);
    assert.equal(textOf(read.stdout), 'content');
    assert.deepEqual(read.end, { tag: 'exited', code: 1 });
    for (const [source, why] of [
      ['read', /not allowed on this node for writing \(read_only: true is\).*--docker-mounts/],
      ['secret', /not allowed on this node: .*--docker-mounts/],
      ['open/link', /not allowed on this node: /],
      ['open/../secret', /not allowed on this node: /],
      ['nothing', /it is not on this node/],
    ] as const) {
      const { end } = await mount(source, false);
      assert(end.tag === 'failed', source);
      assert.match(end.reason, why);
    }
    assert.deepEqual(await engine.containers(), []);
  });

  test('says what the engine says when it cannot be run', async (t) => {
    const { run } = await startDocker(t);
    const missing = await run('', specOf({ image: 'nobody/nothing', pull: 'never' }));
    assert(missing.end.tag === 'failed');
    assert.match(missing.end.reason, /image nobody\/nothing is not on this node/);
    const noProgram = await run('', runOf('', { command: ['/no/such'] }));
    assert(noProgram.end.tag === 'failed');
    assert.match(noProgram.end.reason, /\/no\/such.*no such file/);
    assert.deepEqual(await engine.containers(), []);
  });

  test('starts, stops and reads containers that are there', async (t) => {
    const { run } = await startDocker(t);
    const { Id: id } = (await engine.ask('/containers/create?name=lasting', 'POST', {
      Image: IMAGE,
      Cmd: ['/bin/sh', '-c', 'echo one; echo two >&2; exec sleep 1000'],
      HostConfig: { NetworkMode: 'none' },
      StopSignal: 'SIGKILL',
    })) as { Id: string };
    const state = async () => {
      const about = (await engine.ask(`/containers/${id}/json`)) as { State: { Status: string } };
      return about.State.Status;
    };
    const done = { tag: 'exited', code: 0 };
    assert.deepEqual((await run('', specOf({ operation: 'start', id: 'lasting' }))).end, done);
    assert.equal(await state(), 'running');
    const logs = async (more: object = {}) => run('', specOf({ operation: 'logs', id, ...more }));
    await until('it has printed', async () => textOf((await logs()).stderr) === 'two\n');
    const { stdout, end } = await logs();
    assert.deepEqual([textOf(stdout), end], ['one\n', done]);
    assert.equal(textOf((await logs({ tail: 0 })).stdout), '');
    assert.deepEqual((await run('', specOf({ operation: 'stop', id }))).end, done);
    assert.equal(await state(), 'exited');
    assert.equal(textOf((await logs({ follow: true })).stdout), 'one\n');
    await engine.ask(`/containers/${id}`, 'DELETE');
  });

  test('leaves the containers of other jobs to them', async (t) => {
    const { run, executor, reports } = await startDocker(t);
    const attempt = order('', runOf('echo up; exec sleep 1000'));
    executor.run(attempt);
    await firstLine(executor, attempt);
    const [id = ''] = await engine.containers();
    for (const operation of ['stop', 'start']) {
      const { end } = await run('', specOf({ operation, id }));
      assert(end.tag === 'failed');
      assert.match(end.reason, new RegExp(`that of job ${attempt.job}: cancel the job`));
    }
    executor.end(attempt.job, attempt.fence, 0);
    await reports.ended(attempt);
    const missing = await run('', specOf({ operation: 'logs', id: 'nothing' }));
    assert(missing.end.tag === 'failed');
    assert.match(missing.end.reason, /no container nothing on this node/);
  });

  test('has its input files in /work, where its output files are taken from', async (t) => {
    const { run } = await startDocker(t);
    const files = {
      inputs: [{ path: 'in/a.txt', text: 'from the mesh' }],
      outputs: ['out.txt'],
    };
    const spec = runOf('cat in/a.txt >out.txt; echo "$PWD"; ls -ln out.txt');
    const { end, stdout, receipt } = await run('', { ...spec, run: JSON.stringify(files) });
    assert.deepEqual(end, { tag: 'exited', code: 0 });
    const owner = `${process.getuid?.()} +${process.getgid?.()}`;
    assert.match(textOf(stdout), new RegExp(`^/work\n-rw\\S+ +1 +${owner} +13 `));
    assert.deepEqual(
      receipt?.files?.map(({ path, bytes }) => [path, bytes]),
      [['out.txt', 13]],
    );
  });

  test('has its files as the user that it names, by number and by the name of its image', {
    skip: process.getuid?.() === 0 ? false : 'only root may give files away',
  }, async (t) => {
    const { run } = await startDocker(t);
    const inputs = [
      { path: 'in/secret', text: 'from the mesh', mode: '600' },
      { path: 'list', text: '' },
    ];
    for (const [user, uid] of [
      ['1234', 1234],
      ['guest', 4321],
    ] as const) {
      const spec = runOf('cat in/secret >out; echo more >>list; id -u; ls -ln out');
      const options = JSON.stringify({ user, inputs, outputs: ['out', 'list'] });
      const { end, stdout, stderr, receipt } = await run('', { ...spec, run: options });
      assert.deepEqual([end, textOf(stderr)], [{ tag: 'exited', code: 0 }, '']);
      assert.match(textOf(stdout), new RegExp(`^${uid}\n-rw\\S+ +1 +${uid} `));
      assert.deepEqual(
        receipt?.files?.map(({ path, bytes }) => [path, bytes]),
        [
          ['list', 5],
          ['out', 13],
        ],
      );
    }
    const options = JSON.stringify({ user: 'nobody-here', inputs });
    const { end } = await run('', { ...runOf('true'), run: options });
    assert(end.tag === 'failed');
    assert.match(end.reason, /unable to find user nobody-here/);
  });

  test('with a folder of its node as its own is refused, whoever has taken it', async (t) => {
    const { run } = await startDocker(t);
    const { end } = await run('', { ...runOf('ls'), workingDir: temporaryFolder(t) });
    assert(end.tag === 'failed');
    assert.match(end.reason, /working_dir is not for jobs of the task type docker/);
    assert.deepEqual(await engine.containers(), []);
  });

  test('tells what it has used', async (t) => {
    const { executor, reports } = await startDocker(t);
    const attempt = order('', runOf('echo up; head -c 300000000 /dev/zero | tail -c 1; sleep 3'));
    executor.run(attempt);
    const { usage } = (await reports.ended(attempt)).receipt ?? {};
    assert((usage?.cpuMs ?? 0) > 0 && (usage?.cpuMs ?? 0) < 60_000);
    assert((usage?.peakMemoryBytes ?? 0) > 10_000 && (usage?.peakMemoryBytes ?? 0) < 2e9);
  });

  test('is ended and removed with its node, and given back', async (t) => {
    const { executor, reports } = await startDocker(t);
    const attempt = order('', runOf('echo up; exec sleep 1000'));
    executor.run(attempt);
    await firstLine(executor, attempt);
    await executor.stop('leave');
    assert.deepEqual(await engine.containers(), []);
    const { end, startedAt } = await reports.ended(attempt);
    assert.deepEqual(end, { tag: 'returned', reason: 'its node was started again' });
    assert.notEqual(startedAt, undefined);
  });

  test('left by an earlier life is removed by the next start', async (t) => {
    const { executor } = await startDocker(t);
    const attempt = order('', runOf('echo up; exec sleep 1000'));
    executor.run(attempt);
    await firstLine(executor, attempt);
    assert.equal((await engine.containers()).length, 1);
    await startDocker(t);
    assert.deepEqual(await engine.containers(), []);
  });
});

describe('without an engine', () => {
  test('docker is not offered, and why is said', async (t) => {
    const offers: Offers[] = [];
    const socket = join(temporaryFolder(t), 'none.sock');
    const docker = makeDocker({ node: NODE, socket, mounts: [], onProblem: () => {} });
    const { problems } = await startBench(t, {
      taskTypes: [docker],
      wantedTypes: ['docker'],
      onOffers: (offer) => offers.push(offer),
    });
    assert.deepEqual(offers[0]?.taskTypes, []);
    assert.match(problems[0] ?? '', /docker cannot be run here: there is no .*--docker-socket/);
  });
});
