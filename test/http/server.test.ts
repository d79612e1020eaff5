import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { createServer } from 'node:net';
import { afterEach, beforeEach, describe, test } from 'node:test';
import type { MeshError } from '../../src/base/errors.ts';
import { createHttpServer } from '../../src/http/http.ts';
import { createMeshCa } from '../../src/links/mesh-ca.ts';
import { createMeshKey } from '../../src/links/mesh-key.ts';
import { ask, open, post, sendRaw, untilClosed } from './requests.ts';
import { SELF } from './stand-in-service.ts';
import { startApi, type TestApi, TOKENS } from './test-api.ts';

const DEADLINE = { timeout: 20_000 };

describe('the server', () => {
  let api: TestApi;
  beforeEach(async () => {
    api = await startApi({
      limits: { headersTimeoutMs: 300, requestTimeoutMs: 600, maxConnections: 3 },
    });
  });
  afterEach(() => api.stop());

  test('lists what there is', DEADLINE, async () => {
    const card = (await ask(api.port, '/')).body;
    assert.deepEqual([card.service, card.node_id], ['worker-mesh', SELF]);
    const status = (await ask(api.port, '/api/v1/status')).body;
    assert.deepEqual([status.node_id, status.status, status.peer_count], [SELF, 'IDLE', 1]);
    const peers = (await ask(api.port, '/api/v1/peers')).body;
    assert.equal(peers.count, 1);
    const [peer] = peers.peers as Record<string, unknown>[];
    assert.deepEqual(
      [peer?.name, peer?.status, peer?.last_heartbeat],
      ['beta', 'IDLE', '2026-01-02T03:04:05.678Z'],
    );
    const nodes = (await ask(api.port, '/api/v1/nodes')).body;
    assert.deepEqual(
      (nodes.nodes as { name: string }[]).map(({ name }) => name),
      ['alpha', 'beta'],
    );
    const doctor = (await ask(api.port, '/api/v1/doctor')).body;
    assert.deepEqual((doctor.discovery as { other_meshes: unknown }).other_meshes, { ab12: 2 });
  });

  test('is unhealthy with its reason and 503', DEADLINE, async () => {
    assert.equal((await ask(api.port, '/api/v1/health')).body.status, 'healthy');
    api.service.healthNow = { isHealthy: false, problems: ['The disk is full.'] };
    const { status, body } = await ask(api.port, '/api/v1/health');
    assert.deepEqual(
      [status, body.status, body.problems],
      [503, 'unhealthy', ['The disk is full.']],
    );
  });

  test('answers 405 for another method of a path, and 404 for none', DEADLINE, async () => {
    const put = await ask(api.port, '/api/v1/jobs', { method: 'PUT' });
    assert.deepEqual([put.status, put.headers.allow], [405, 'GET, POST, HEAD']);
    assert.equal((await ask(api.port, '/api/v1/drain')).status, 405);
    assert.equal((await ask(api.port, '/api/v1/health', { method: 'DELETE' })).status, 405);
    for (const path of ['/api', '/api/v1', '/api/v2/jobs', '/api/v1/jobs/', '/etc/passwd']) {
      const { status, body } = await ask(api.port, path);
      assert.deepEqual([status, body.code], [404, 'NOT_FOUND'], path);
    }
  });

  test('drains with the deadline asked for', DEADLINE, async () => {
    const answer = await post(api.port, '/api/v1/drain', { deadline_seconds: 2.5 });
    assert.deepEqual([answer.status, answer.body.deadline_seconds], [202, 2.5]);
    assert.equal(api.service.drainedWithMs, 2500);
    for (const body of [{ deadline_seconds: -1 }, { deadline_seconds: '1' }, { deadline: 1 }, []])
      assert.equal((await post(api.port, '/api/v1/drain', body)).status, 400);
  });

  test('tells nobody but the log of a fault of the program', DEADLINE, async () => {
    api.service.failure = new TypeError('secret of line 7') as unknown as MeshError;
    const { status, text, body } = await ask(api.port, '/api/v1/jobs/job-1');
    assert.deepEqual([status, body.code], [500, 'INTERNAL']);
    assert.ok(!text.includes('secret'));
    assert.match(String(api.faults[0]), /secret/);
  });

  test('closes on a client that never ends its headers, or its body', DEADLINE, async () => {
    const slow = await open(api.port);
    slow.write('GET / HTTP/1.1\r\nHost: localhost\r\n');
    const drip = setInterval(() => slow.write('X-A: b\r\n'), 50);
    assert.match(await untilClosed(slow), /^HTTP\/1\.1 408 .*problem\+json/s);
    clearInterval(drip);
    const lazy = await open(api.port);
    lazy.write(
      'POST /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{',
    );
    assert.match(await untilClosed(lazy), /^HTTP\/1\.1 408 /);
  });

  test('answers what is no HTTP, and headers without end, with a problem', DEADLINE, async () => {
    const garbage = await sendRaw(api.port, '\x16\x03\x01 hello\r\n\r\n');
    assert.match(garbage, /^HTTP\/1\.1 400 .*X-Node-ID: node-a/s);
    const huge = await sendRaw(api.port, `GET / HTTP/1.1\r\nX: ${'x'.repeat(40_000)}\r\n\r\n`);
    assert.match(huge, /^HTTP\/1\.1 431 .*"status":431/s);
  });

  test('keeps a bounded number of connections', DEADLINE, async () => {
    const sockets = [await open(api.port), await open(api.port), await open(api.port)];
    const fourth = await open(api.port);
    assert.equal(await untilClosed(fourth), '');
    for (const socket of sockets) socket.destroy();
  });

  test('takes no compressed bodies', DEADLINE, async () => {
    const answer = await post(api.port, '/api/v1/jobs', '{}', { 'Content-Encoding': 'gzip' });
    assert.equal(answer.status, 415);
  });
});

describe('starting and stopping', () => {
  test('a taken port is a sentence with the way out', DEADLINE, async (t) => {
    const holder = createServer().listen(0, '127.0.0.1');
    t.after(() => holder.close());
    await once(holder, 'listening');
    const { port } = holder.address() as { port: number };
    await assert.rejects(startApi({ port }), (failure: MeshError) => {
      assert.equal(failure.code, 'PORT_IN_USE');
      assert.match(failure.message, new RegExp(`${port}.*--api-port`));
      return true;
    });
  });

  test('an address of another machine is refused by name', DEADLINE, async () => {
    await assert.rejects(
      startApi({ host: '192.0.2.77', tls: { cert: '', key: '' } }),
      /192\.0\.2\.77.*--api-host/,
    );
  });

  test('may be repeated, and stop may come first', DEADLINE, async (t) => {
    const api = await startApi();
    t.after(() => api.stop());
    assert.deepEqual(await api.server.start(), await api.server.start());
    await Promise.all([api.stop(), api.stop()]);
    assert.equal(api.service.listenerCount, 0);
    await assert.rejects(open(api.port), /ECONNREFUSED/);
  });

  test(
    'does not wait for clients that keep their connection or send half a request',
    DEADLINE,
    async () => {
      const api = await startApi();
      const idle = await open(api.port);
      const half = await open(api.port);
      half.write('GET / HTTP/1.1\r\n');
      const ends = [untilClosed(idle), untilClosed(half)];
      await api.stop();
      await Promise.all(ends);
    },
  );
});

describe('an API that other machines can reach', () => {
  test('is not served without a certificate', () => {
    const options = { host: '0.0.0.0' } as Parameters<typeof createHttpServer>[0];
    assert.throws(() => createHttpServer(options), /certificate/);
  });

  test('is HTTPS, and asks everybody for a token', DEADLINE, async (t) => {
    const ca = createMeshCa(createMeshKey());
    const { certPem, keyPem } = ca.issueServerCertificate({ hosts: ['localhost', '127.0.0.1'] });
    const api = await startApi({ host: '0.0.0.0', tls: { cert: certPem, key: keyPem } });
    t.after(() => api.stop());
    const get = async (headers = {}): Promise<number> => {
      const sent = httpsRequest({
        host: '127.0.0.1',
        port: api.port,
        ca: ca.caPem,
        servername: 'localhost',
        headers,
        agent: false,
      });
      sent.end();
      const [answer] = (await once(sent, 'response')) as [IncomingMessage];
      answer.resume();
      await once(answer, 'end');
      return answer.statusCode ?? 0;
    };
    assert.equal(api.url, `https://127.0.0.1:${api.port}`);
    assert.equal(await get(), 401);
    assert.equal(await get({ authorization: TOKENS.read }), 200);
    assert.equal(await get({ authorization: TOKENS.read, host: 'evil.example' }), 421);
    assert.doesNotMatch(
      await sendRaw(api.port, 'GET / HTTP/1.1\r\nHost: localhost\r\n\r\n'),
      / 200 /,
    );
    await api.stop();
  });
});
