/** Jobs of the task types docker, python and http through real nodes, with a real engine. */
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, type TestContext, test } from 'node:test';
import type { StatusJson } from '../../src/api/node-json.ts';
import { createClient } from '../../src/client/client.ts';
import { bytesOf, sha256Of } from '../blobs/blob-folders.ts';
import {
  type ContainerEngine,
  IMAGE,
  skipWithoutEngine,
  startEngine,
} from '../executors/container-engine.ts';
import { type Json, type NodeProcess, newMesh, until } from './mesh-processes.ts';
import { attemptsOf } from './witness.ts';

const DEADLINE = { timeout: 120_000 };
const JOB_DEADLINE_MS = 60_000;

describe('containers of real nodes', skipWithoutEngine(), () => {
  let engine: ContainerEngine;
  before(async () => {
    engine = await startEngine();
  });
  after(() => engine?.stop());

  async function start(t: TestContext) {
    const mesh = newMesh(t);
    const shared = join(mesh.folder, 'shared');
    mkdirSync(shared);
    writeFileSync(join(shared, 'log'), '');
    const flags = ['--docker-socket', engine.socket, '--docker-mounts', shared];
    const one = await mesh.start('one', { slots: 0, flags });
    const others = await Promise.all(['two', 'three'].map((name) => mesh.start(name, { flags })));
    await Promise.all([one, ...others].map((node) => node.seesPeers(2)));
    const submit = (params: Json, more: Json = {}) => {
      const whole = { image: IMAGE, network: 'none', ...params };
      return one.submit('', { task_type: 'docker', params: whole, ...more });
    };
    return { mesh, one, others, shared, submit };
  }

  /** Attempt and uptime of each sign of life, in the order they were written. */
  const signsOf = (shared: string): [number, number][] =>
    readFileSync(join(shared, 'log'), 'utf8')
      .trim()
      .split('\n')
      .map((line) => line.split(' ').map(Number) as [number, number]);

  test('tell their output and end, and a cancel leaves none', DEADLINE, async (t) => {
    const { one, submit } = await start(t);
    const ended = await one.jobEnds(await submit({ command: 'echo out; exit 4' }), JOB_DEADLINE_MS);
    assert.deepEqual([ended.status, ended.exit_code, ended.stdout], ['JOB_FAILED', 4, 'out\n']);
    const cancelled = await submit({ command: 'sleep 1000' });
    await one.jobIs(cancelled, ['JOB_RUNNING'], JOB_DEADLINE_MS);
    assert.equal((await one.post(`/api/v1/jobs/${cancelled}/cancel`, {})).status, 202);
    assert.equal((await one.jobEnds(cancelled, JOB_DEADLINE_MS)).status, 'JOB_CANCELLED');
    const late = await submit({ command: "trap '' TERM; sleep 1000" }, { timeout_seconds: 1 });
    assert.equal((await one.jobEnds(late, JOB_DEADLINE_MS)).status, 'JOB_TIMEOUT');
    assert.deepEqual(await engine.containers(), []);
  });

  test('have files of another node as the user they name, and leave some', DEADLINE, async (t) => {
    const { one, others, submit } = await start(t);
    const [two, three] = others as [NodeProcess, NodeProcess];
    const bytes = bytesOf(300_000);
    const [sha256, read] = [
      sha256Of(bytes),
      async (at: number, n: number) => bytes.subarray(at, at + n),
    ];
    await createClient({ url: one.url }).upload({ sha256, bytes: bytes.length, read });
    const inputs = [{ path: 'in/data', sha256, bytes: bytes.length, mode: '600' }];
    const user = process.getuid?.() === 0 ? { user: 'guest' } : {};
    const command = 'id -u; tail -c 9 in/data >out; ls -ln in/data >&2';
    const more = { target_node_id: two.id, inputs, outputs: ['out'], ...user };
    const job = await one.jobEnds(await submit({ command }, more), JOB_DEADLINE_MS);
    assert.equal(job.status, 'JOB_COMPLETED', JSON.stringify(job));
    assert.equal(job.stdout.trim(), String(user.user ? 4321 : process.getuid?.()));
    const path = `/api/v1/jobs/${job.job_id}/files/out`;
    const got = await (await fetch(three.url + path)).arrayBuffer();
    assert.deepEqual(new Uint8Array(got), new Uint8Array(bytes.subarray(-9)));
  });

  test('end before their jobs run again elsewhere', DEADLINE, async (t) => {
    const { one, others, shared, submit, mesh } = await start(t);
    const lives =
      'while [ ! -e /w/release ]; do read up rest </proc/uptime; echo "$MESH_ATTEMPT $up" >>/w/log; sleep 0.1; done; echo done';
    const mounts = [{ source: shared, target: '/w' }];
    const id = await submit({ command: lives, mounts });
    const running = await one.jobIs(id, ['JOB_RUNNING'], JOB_DEADLINE_MS);
    const executor = others.find((node) => node.id === running.target_node_id) as NodeProcess;
    await until('it lives', JOB_DEADLINE_MS, () => signsOf(shared).length > 3);
    await executor.kill('SIGKILL');
    await until('it runs again', JOB_DEADLINE_MS, () => signsOf(shared).at(-1)?.[0] === 2);
    writeFileSync(join(shared, 'release'), '');
    const ended = await one.jobEnds(id, JOB_DEADLINE_MS);
    assert.deepEqual([ended.status, ended.stdout], ['JOB_COMPLETED', 'done\n']);
    assert.equal(attemptsOf(ended).length, 2);
    const signs = signsOf(shared);
    const lastOfFirst = Math.max(...signs.filter(([n]) => n === 1).map(([, at]) => at));
    const firstOfSecond = Math.min(...signs.filter(([n]) => n === 2).map(([, at]) => at));
    assert(lastOfFirst < firstOfSecond, `${lastOfFirst} ${firstOfSecond}`);
    // What the dead node has left is removed as it starts.
    await mesh.start(executor.name, { flags: ['--docker-socket', engine.socket] });
    assert.deepEqual(await engine.containers(), []);
  });
});

describe('task types of a node', () => {
  test('are told with their versions, and each is run by its own way', DEADLINE, async (t) => {
    const mesh = newMesh(t);
    const flags = ['--http-allow-private', '--docker-socket', join(mesh.folder, 'none.sock')];
    const [one] = await mesh.startMesh(['one'], { flags });
    assert(one);
    const status = async () => (await one.get<StatusJson>('/api/v1/status')).body;
    // Its interpreter is asked for its version, which no start waits for.
    const hasPython = async () => (await status()).task_types.includes('python');
    await until('python is told', JOB_DEADLINE_MS, hasPython);
    const body = await status();
    assert(body.task_types.includes('http'));
    assert(!body.task_types.includes('docker'));
    assert.match(body.type_versions.python ?? '', /^3\./);
    const python = { task_type: 'python', params: { code: 'print(6 * 7)' } };
    assert.equal((await one.jobEnds(await one.submit('', python))).stdout, '42\n');
    const http = { task_type: 'http', params: { url: `${one.url}/api/v1/health` } };
    const asked = await one.jobEnds(await one.submit('', http));
    assert.equal(asked.status, 'JOB_COMPLETED');
    assert.equal((asked.result as Json).status, 200);
    assert.equal(JSON.parse(asked.stdout).node_id, one.id);
    const waits = await one.submit('', { task_type: 'docker', params: { image: 'a' } });
    const { waiting } = (await one.job(waits)) as unknown as { waiting: { reason: string }[] };
    assert.match(JSON.stringify(waiting), /task type not served/);
    await one.post(`/api/v1/jobs/${waits}/cancel`, {});
  });
});
