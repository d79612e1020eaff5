/** Task type `http` against real servers on loopback. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, type TestContext, test } from 'node:test';
import type { JobSpec } from '../../src/core/job.ts';
import { isPublicAddress } from '../../src/executors/http/allowed-address.ts';
import { makeHttp } from '../../src/executors/http/http.ts';
import { order, release, startBench, textOf } from './attempts.ts';

interface Server {
  readonly url: string;
  readonly port: number;
  readonly requests: IncomingMessage[];
  readonly bodies: string[];
}

/** Listens on all of 127.0.0.0/8. */
async function serve(t: TestContext, answer: RequestListener): Promise<Server> {
  const requests: IncomingMessage[] = [];
  const bodies: string[] = [];
  const server = createServer(async (request, response) => {
    requests.push(request);
    let body = '';
    for await (const chunk of request) body += chunk;
    bodies.push(body);
    answer(request, response);
  });
  server.listen(0, '0.0.0.0');
  await once(server, 'listening');
  release(t, () => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}`, port, requests, bodies };
}

const specOf = (params: object): Partial<JobSpec> => ({
  taskType: 'http',
  params: JSON.stringify(params),
});

async function startHttp(t: TestContext, isAllowed: (address: string) => boolean = () => true) {
  const bench = await startBench(t, { taskTypes: [makeHttp({ isAllowed })] });
  const ask = async (params: object) => {
    const ended = await bench.run('', specOf(params));
    const result = JSON.parse(ended.receipt?.result ?? 'null');
    return { ...ended, result };
  };
  return { ...bench, ask };
}

const DONE = { tag: 'exited', code: 0 };

describe('an http job', () => {
  test('leaves the body in stdout, and status and headers as its result', async (t) => {
    const server = await serve(t, (_, response) => {
      response.writeHead(201, { 'x-one': '1' }).end('a body\n');
    });
    const { ask } = await startHttp(t);
    const { end, stdout, result } = await ask({ url: `${server.url}/there?a=b` });
    assert.deepEqual(end, DONE);
    assert.equal(textOf(stdout), 'a body\n');
    assert.equal(result.status, 201);
    assert.equal(result.headers['x-one'], '1');
    assert.equal(result.url, `${server.url}/there?a=b`);
    assert.equal(result.body_bytes, 7);
    assert.equal(server.requests[0]?.url, '/there?a=b');
  });

  test('sends its method, headers and body, JSON where it is no text', async (t) => {
    const server = await serve(t, (_, response) => response.end());
    const { ask } = await startHttp(t);
    await ask({ url: server.url, method: 'put', headers: { 'X-Mark': 'here' }, body: 'plain' });
    await ask({ url: server.url, method: 'POST', body: { deep: [1, null] } });
    const [first, second] = server.requests;
    assert.deepEqual(
      [first?.method, first?.headers['x-mark'], first?.headers['content-length']],
      ['PUT', 'here', '5'],
    );
    assert.deepEqual(
      [second?.method, second?.headers['content-type']],
      ['POST', 'application/json'],
    );
    assert.deepEqual(server.bodies, ['plain', '{"deep":[1,null]}']);
  });

  test('fails with the status that was not expected, and keeps the body', async (t) => {
    const server = await serve(t, (_, response) => response.writeHead(503).end('down'));
    const { ask } = await startHttp(t);
    const { end, stdout, result, startedAt } = await ask({ url: `${server.url}/x?secret=1` });
    assert(end.tag === 'failed');
    assert.match(end.reason, /^GET http:\S+\/x was answered with status 503, expected 2xx\.$/);
    assert.equal(textOf(stdout), 'down');
    assert.equal(result.status, 503);
    assert(startedAt !== undefined);
    assert.deepEqual((await ask({ url: server.url, expected_status: 503 })).end, DONE);
    assert.deepEqual((await ask({ url: server.url, expected_status: [200, '5xx'] })).end, DONE);
  });

  test('follows redirects, tells secrets to no other origin, and stops after ten', async (t) => {
    const other = await serve(t, (_, response) => response.end('other'));
    const server = await serve(t, (request, response) => {
      const location = request.url === '/away' ? `${other.url}/end` : '/round';
      response.writeHead(302, { location }).end('not this');
    });
    const { ask } = await startHttp(t);
    const headers = { Authorization: 'Bearer x', 'X-Mark': 'kept' };
    const away = await ask({ url: `${server.url}/away`, method: 'POST', body: 'b', headers });
    assert.equal(textOf(away.stdout), 'other');
    assert.equal(away.result.redirects, 1);
    const [got] = other.requests;
    assert.deepEqual([got?.method, got?.url, other.bodies[0]], ['GET', '/end', '']);
    assert.equal(got?.headers.authorization, undefined);
    assert.equal(got?.headers['x-mark'], 'kept');
    const round = await ask({ url: server.url });
    assert(round.end.tag === 'failed');
    assert.match(round.end.reason, /more than 10 redirects/);
    const kept = await ask({ url: server.url, follow_redirects: false, expected_status: 302 });
    assert.equal(textOf(kept.stdout), 'not this');
  });

  test('fails when the body is longer than allowed, and asks for no more of it', async (t) => {
    const server = await serve(t, (_, response) => {
      const more = (): void => {
        while (response.write('x'.repeat(10_000)));
      };
      response.on('drain', more);
      more();
    });
    const { ask } = await startHttp(t);
    const { end } = await ask({ url: server.url, max_body_bytes: 50_000 });
    assert(end.tag === 'failed');
    assert.match(end.reason, /longer than max_body_bytes \(50000\)/);
  });

  test('that is ended hangs up, whether it waits for headers or for the body', async (t) => {
    const closed: Promise<unknown>[] = [];
    const reached: (() => void)[] = [];
    const server = await serve(t, (request, response) => {
      closed.push(once(request.socket, 'close'));
      if (request.url === '/body') response.write('first');
      reached.shift()?.();
    });
    const { executor, reports } = await startHttp(t);
    for (const path of ['/headers', '/body']) {
      const wasReached = new Promise<void>((resolve) => reached.push(resolve));
      const attempt = order('', specOf({ url: server.url + path }));
      executor.run(attempt);
      await wasReached;
      executor.end(attempt.job, attempt.fence, 60_000);
      const { end } = await reports.ended(attempt);
      assert.deepEqual(end, { tag: 'signalled', signal: 'SIGTERM' });
    }
    await Promise.all(closed);
  });

  test('says what is wrong when nobody answers or the connection breaks', async (t) => {
    const server = await serve(t, (_, response) => {
      response.writeHead(200, { 'content-length': '100' });
      response.write('part', () => response.destroy());
    });
    const { ask } = await startHttp(t);
    const broken = await ask({ url: server.url });
    assert(broken.end.tag === 'failed');
    assert.match(broken.end.reason, /^The answer to GET .* broke off: /);
    const nobody = await ask({ url: 'http://no-such-host.invalid/' });
    assert(nobody.end.tag === 'failed');
    assert.match(nobody.end.reason, /^GET http:\/\/no-such-host.invalid\/ failed: .*no-such-host/);
  });

  test('with parameters of another version is refused by its executor', async (t) => {
    const { ask } = await startHttp(t);
    const { end } = await ask({ url: 'ftp://x/' });
    assert(end.tag === 'failed');
    assert.match(end.reason, /params\.url must be an http:\/\/ or https:\/\/ URL/);
  });
});

describe('addresses an http job may ask', () => {
  test('are those of the public Internet', () => {
    const yes = ['1.1.1.1', '172.15.0.1', '172.32.0.1', '2606:4700::1111', '64:ff9b::1.1.1.1'];
    const no = [
      ...['0.0.0.0', '10.1.2.3', '100.64.0.1', '127.0.0.1', '169.254.169.254', '172.16.0.1'],
      ...['172.31.255.255', '192.168.1.1', '198.18.0.1', '224.0.0.1', '255.255.255.255'],
      ...['::', '::1', '::127.0.0.1', 'fe80::1', 'fc00::1', 'fd12::1', 'ff02::1', '2001:db8::1'],
      ...['::ffff:127.0.0.1', '::ffff:7f00:1', '0:0:0:0:0:ffff:a00:1', '::ffff:192.168.0.1'],
      ...['2002:7f00:1::', '64:ff9b::10.0.0.1', 'fe80::1%eth0', 'localhost', ''],
    ];
    for (const address of yes) assert(isPublicAddress(address), address);
    for (const address of no) assert(!isPublicAddress(address), address);
  });

  test('are checked in every spelling and behind names, before a connection', async (t) => {
    const server = await serve(t, (_, response) => response.end('reached'));
    const { ask } = await startHttp(t, isPublicAddress);
    const hosts = ['127.0.0.1', 'localhost', '2130706433', '0x7f.1', '017700000001'];
    for (const host of [...hosts, '[::1]', '[::ffff:127.0.0.1]', '0']) {
      const { end } = await ask({ url: `http://${host}:${server.port}/` });
      assert(end.tag === 'failed', host);
      assert.match(end.reason, /no public address.*--http-allow-private/, host);
    }
    assert.equal(server.requests.length, 0);
  });

  test('are checked again at each redirect, behind a name too', async (t) => {
    const server = await serve(t, (request, response) => {
      const host = request.url === '/name' ? 'localhost' : '127.0.0.2';
      response.writeHead(307, { location: `http://${host}:${server.port}/end` }).end();
    });
    let asked = 0;
    // The first look-up may be answered, as by a name server that lies the second time.
    const isAllowed = (address: string): boolean => address === '127.0.0.1' && ++asked === 1;
    for (const path of ['/name', '/number']) {
      asked = 0;
      const { ask } = await startHttp(t, isAllowed);
      const { end } = await ask({ url: server.url + path });
      assert(end.tag === 'failed');
      assert.match(end.reason, /no public address/);
    }
    assert.deepEqual(
      server.requests.map(({ url }) => url),
      ['/name', '/number'],
    );
  });
});
