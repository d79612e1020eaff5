import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { MeshError } from '../../src/base/errors.ts';
import { asJobId } from '../../src/base/ids.ts';
import { asWall } from '../../src/base/instant.ts';
import { type Client, createClient } from '../../src/client/client.ts';
import { httpsFetch } from '../../src/client/https-fetch.ts';
import { createMeshCa } from '../../src/links/mesh-ca.ts';
import { createMeshKey } from '../../src/links/mesh-key.ts';
import { PEER, SELF, StandInService } from '../http/stand-in-service.ts';
import { startApi, type TestApi, TOKENS } from '../http/test-api.ts';
import { BreakingProxy } from './breaking-proxy.ts';

const DEADLINE = { timeout: 20_000 };

const codeOf = (code: string) => (failure: unknown) => {
  assert.ok(failure instanceof MeshError, String(failure));
  assert.equal(failure.code, code);
  return true;
};

async function textOf(output: AsyncIterable<Uint8Array>): Promise<string> {
  const chunks: Uint8Array[] = [];
  for await (const bytes of output) chunks.push(bytes);
  return Buffer.concat(chunks).toString();
}

describe('the client', () => {
  let api: TestApi;
  let client: Client;
  beforeEach(async () => {
    api = await startApi({}, new StandInService({ runsJobs: true }));
    client = createClient({ url: `${api.url}/` });
  });
  afterEach(() => api.stop());

  test('submits a job, follows it and sees its end', DEADLINE, async () => {
    const { job_id } = await client.submit({ command: 'echo one; sleep 0.1; echo two' });
    assert.equal(await textOf(client.output(job_id, { follow: true })), 'one\ntwo\n');
    const job = await client.waitFor(job_id);
    assert.deepEqual([job.status, job.exit_code], ['JOB_COMPLETED', 0]);
  });

  test('submits many, each with its own outcome', DEADLINE, async () => {
    const { accepted, refused, jobs } = await client.submitMany([
      { command: 'true' },
      { command: '' },
    ]);
    assert.deepEqual([accepted, refused, jobs.length], [1, 1, 2]);
  });

  test('repeats a submit with its key and gets the same job', DEADLINE, async () => {
    const options = { idempotencyKey: 'k' };
    const first = await client.submit({ command: 'true' }, options);
    const second = await client.submit({ command: 'true' }, options);
    assert.equal(first.job_id, second.job_id);
    await assert.rejects(client.submit({ command: 'false' }, options), codeOf('KEY_CONFLICT'));
  });

  test('lists, explains and cancels', DEADLINE, async () => {
    const { job_id } = await client.submit({ command: 'sleep 100' });
    const list = await client.listJobs({ limit: 5, status: ['running', 'pending'], node: SELF });
    assert.equal(list.jobs[0]?.job_id, job_id);
    assert.equal((await client.explain(job_id)).status, 'JOB_RUNNING');
    assert.equal((await client.cancel(job_id)).status, 'cancelling');
    assert.equal((await client.waitFor(job_id)).status, 'JOB_CANCELLED');
  });

  test('knows the nodes and how they are', DEADLINE, async () => {
    assert.equal((await client.peers()).peers[0]?.node_id, PEER);
    assert.equal((await client.nodes()).count, 2);
    assert.equal((await client.status()).node_id, SELF);
    assert.equal((await client.doctor()).discovery.port, 8080);
    api.service.healthNow = { isHealthy: false, problems: ['x'] };
    assert.equal((await client.health()).status, 'unhealthy');
    assert.equal((await client.drain({ deadlineSeconds: 3 })).deadline_seconds, 3);
    assert.equal((await client.drain({ way: 'leave' })).way, 'leave');
  });

  test('lists conflicts, and forgets a node', DEADLINE, async () => {
    const at = asWall(1000);
    const found = { job: asJobId('x'), at, tag: 'births', note: 'twice', foundBy: PEER } as const;
    api.service.conflicts = [found, found];
    const { conflicts, truncated } = await client.conflicts({ limit: 1 });
    assert.deepEqual([conflicts.length, conflicts[0]?.kind, truncated], [1, 'births', true]);
    assert.equal((await client.forget('beta', { force: true })).node_id, PEER);
    assert.deepEqual(api.service.forgotten, { node: PEER, isForced: true });
    await assert.rejects(client.forget('zeta'), codeOf('NODE_NOT_FOUND'));
  });

  test('rejects with the code of the node’s problem', DEADLINE, async () => {
    await assert.rejects(client.getJob('none'), codeOf('JOB_NOT_FOUND'));
    await assert.rejects(client.submit({ command: '' }), codeOf('BAD_REQUEST'));
    await assert.rejects(textOf(client.output('none')), codeOf('JOB_NOT_FOUND'));
    const stranger = createClient({ url: api.url, token: 'wrong' });
    await assert.rejects(stranger.status(), codeOf('UNAUTHORIZED'));
  });

  test('says so when no node answers, or something else does', DEADLINE, async (t) => {
    await api.server.stop();
    await assert.rejects(client.status(), codeOf('NODE_UNREACHABLE'));
    assert.throws(() => createClient({ url: 'nonsense' }), codeOf('BAD_REQUEST'));
    const other = createServer((_request, answer) => answer.writeHead(404).end('<html>')).listen(0);
    t.after(() => other.close());
    await once(other, 'listening');
    const { port } = other.address() as AddressInfo;
    const lost = createClient({ url: `http://127.0.0.1:${port}` });
    await assert.rejects(lost.status(), codeOf('NODE_UNREACHABLE'));
  });

  test('ends with the reason of its signal', DEADLINE, async () => {
    const { job_id } = await client.submit({ command: 'sleep 100' });
    const stop = new AbortController();
    const waiting = client.waitFor(job_id, { signal: stop.signal });
    const reading = textOf(client.output(job_id, { follow: true, signal: stop.signal }));
    stop.abort(new Error('enough'));
    await assert.rejects(waiting, /enough/);
    await assert.rejects(reading, /enough/);
  });

  test('shows a token where one is needed, over HTTPS of its mesh', DEADLINE, async (t) => {
    const ca = createMeshCa(createMeshKey());
    const { certPem, keyPem } = ca.issueServerCertificate({ hosts: ['127.0.0.1'] });
    const secure = await startApi(
      { host: '0.0.0.0', tls: { cert: certPem, key: keyPem } },
      new StandInService({ runsJobs: true }),
    );
    t.after(() => secure.stop());
    const options = { url: secure.url, token: TOKENS.submit };
    const trusting = createClient({ ...options, fetch: httpsFetch(ca.caPem) });
    const { job_id } = await trusting.submit({ command: 'echo safe' });
    assert.equal(await textOf(trusting.output(job_id, { follow: true })), 'safe\n');
    const other = httpsFetch(createMeshCa(createMeshKey()).caPem);
    await assert.rejects(
      createClient({ ...options, fetch: other }).status(),
      codeOf('NODE_UNREACHABLE'),
    );
    await assert.rejects(createClient(options).status(), codeOf('NODE_UNREACHABLE'));
  });
});

describe('an output over a bad connection', () => {
  let api: TestApi;
  beforeEach(async () => {
    api = await startApi();
    await createClient({ url: api.url }).submit({ command: 'x' });
    api.service.start(asJobId('job-1'));
  });
  afterEach(() => api.stop());

  test('goes on at the byte where it stopped', DEADLINE, async (t) => {
    const whole = Array.from({ length: 200_000 }, (_, i) => String(i)).join(' ');
    api.service.print(asJobId('job-1'), 'stdout', whole);
    api.service.end(asJobId('job-1'), 'JOB_COMPLETED', { tag: 'exited', code: 0 });
    const proxy = new BreakingProxy(api.port, [300_000, 100, 200_000, 700]);
    const client = createClient({ url: await proxy.start() });
    t.after(() => proxy.stop());
    assert.equal(await textOf(client.output('job-1', { follow: true })), whole);
    assert.equal(proxy.connections, 5);
  });

  test(
    'waits for the node that has it all rather than skip what another has not',
    DEADLINE,
    async () => {
      const client = createClient({ url: api.url });
      const gaps: number[][] = [];
      const onGap = (from: number, to: number): void => void gaps.push([from, to]);
      api.service.print(asJobId('job-1'), 'stdout', 'begin ');
      const reading = client.output('job-1', { follow: true, onGap });
      assert.equal(Buffer.from((await reading.next()).value ?? []).toString(), 'begin ');
      // Its node goes away; only the end, which came with the outcome, is left for a while.
      api.service.print(asJobId('job-1'), 'stdout', 'middle end');
      api.service.tailFrom = 13;
      api.service.end(asJobId('job-1'), 'JOB_COMPLETED', { tag: 'exited', code: 0 });
      const rest = textOf(reading);
      const asked = api.service.readBytes;
      while (api.service.readBytes === asked) await setImmediate();
      api.service.tailFrom = 0;
      assert.equal(await rest, 'middle end');
      assert.deepEqual(gaps, []);
    },
  );

  test('goes on behind what nobody has any more, and says so', DEADLINE, async () => {
    const client = createClient({ url: api.url });
    const gaps: number[][] = [];
    const onGap = (from: number, to: number): void => void gaps.push([from, to]);
    api.service.print(asJobId('job-1'), 'stdout', 'begin ');
    const reading = client.output('job-1', { follow: true, onGap });
    await reading.next();
    api.service.print(asJobId('job-1'), 'stdout', 'middle end');
    api.service.tailFrom = 13;
    api.service.end(asJobId('job-1'), 'JOB_COMPLETED', { tag: 'exited', code: 0 });
    assert.equal(await textOf(reading), 'end');
    assert.deepEqual(gaps, [[6, 13]]);
  });

  test('is given up when it breaks again and again', DEADLINE, async (t) => {
    const proxy = new BreakingProxy(api.port, Array(100).fill(10));
    const client = createClient({ url: await proxy.start() });
    t.after(() => proxy.stop());
    await assert.rejects(
      textOf(client.output('job-1', { follow: true })),
      codeOf('NODE_UNREACHABLE'),
    );
    assert.equal(proxy.connections, 6);
  });
});
