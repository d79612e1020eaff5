/** What a web page in somebody's browser can send to this machine: all of it is refused. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { type AskOptions, ask, sendRaw } from './requests.ts';
import { startApi, type TestApi } from './test-api.ts';

const JSON_TYPE = { 'Content-Type': 'application/json' };
const JOB = '{"command":"true"}';

describe('a web page', () => {
  let api: TestApi;
  before(async () => {
    api = await startApi();
  });
  after(() => api.stop());

  const host = (name: string): Record<string, string> => ({
    Host: name.replace('PORT', String(api.port)),
  });
  const isNothingTaken = async (): Promise<void> => {
    const { body } = await ask(api.port, '/api/v1/jobs');
    assert.equal(body.count, 0);
  };

  const rebound = [
    'evil.example',
    'evil.example:PORT',
    'localhost.evil.example:PORT',
    '127.0.0.1.evil.example:PORT',
    'xlocalhost:PORT',
    'evil@localhost:PORT',
    'localhost:PORT, evil.example',
    'localhost.:PORT',
    '0.0.0.0:PORT',
    '10.0.0.1:PORT',
    '[::]:PORT',
    '2130706433:PORT',
  ];
  for (const name of rebound) {
    test(`whose name was rebound to this machine is refused: Host "${name}"`, async () => {
      for (const method of ['GET', 'POST']) {
        const body = method === 'POST' ? { body: JOB } : {};
        const answer = await ask(api.port, '/api/v1/jobs', {
          method,
          headers: { ...JSON_TYPE, ...host(name) },
          ...body,
        });
        assert.equal(answer.status, 421);
        assert.equal(answer.body.code, 'WRONG_HOST');
        assert.equal(answer.headers['x-node-id'], api.service.facts.node);
      }
      await isNothingTaken();
    });
  }

  const cases: [string, AskOptions, number, string][] = [
    [
      'another site by script',
      { headers: { ...JSON_TYPE, Origin: 'https://evil.example' } },
      403,
      'CROSS_SITE',
    ],
    [
      'another port of this machine',
      { headers: { ...JSON_TYPE, Origin: 'http://127.0.0.1:8000' } },
      403,
      'CROSS_SITE',
    ],
    [
      'this machine without its port',
      { headers: { ...JSON_TYPE, Origin: 'http://127.0.0.1' } },
      403,
      'CROSS_SITE',
    ],
    ['a sandbox', { headers: { ...JSON_TYPE, Origin: 'null' } }, 403, 'CROSS_SITE'],
    [
      'a browser that tells where from: cross-site',
      { headers: { ...JSON_TYPE, 'Sec-Fetch-Site': 'cross-site' } },
      403,
      'CROSS_SITE',
    ],
    [
      'a browser that tells where from: same-site',
      { headers: { ...JSON_TYPE, 'Sec-Fetch-Site': 'same-site' } },
      403,
      'CROSS_SITE',
    ],
    [
      'a form',
      { headers: { 'Content-Type': 'application/x-www-form-urlencoded' }, body: 'command=true' },
      415,
      'NOT_JSON',
    ],
    ['a form of plain text', { headers: { 'Content-Type': 'text/plain' } }, 415, 'NOT_JSON'],
    [
      'a form with files',
      { headers: { 'Content-Type': 'multipart/form-data; boundary=x' } },
      415,
      'NOT_JSON',
    ],
    [
      'a type that only begins like JSON',
      { headers: { 'Content-Type': 'application/json-x' } },
      415,
      'NOT_JSON',
    ],
    [
      'a JSON parameter of another type',
      { headers: { 'Content-Type': 'text/plain;application/json' } },
      415,
      'NOT_JSON',
    ],
    ['no type at all', {}, 415, 'NOT_JSON'],
  ];
  for (const [name, options, status, code] of cases) {
    test(`cannot submit: ${name}`, async () => {
      const answer = await ask(api.port, '/api/v1/jobs', { method: 'POST', body: JOB, ...options });
      assert.equal(answer.status, status);
      assert.equal(answer.body.code, code);
      assert.equal(answer.headers['access-control-allow-origin'], undefined);
      await isNothingTaken();
    });
  }

  test('cannot read either', async () => {
    for (const headers of [{ Origin: 'https://evil.example' }, { 'Sec-Fetch-Site': 'cross-site' }])
      assert.equal((await ask(api.port, '/api/v1/jobs', { headers })).status, 403);
  });

  test('cannot cancel or drain by a form without fields', async () => {
    for (const path of ['/api/v1/jobs/job-1/cancel', '/api/v1/drain']) {
      const form = { 'Content-Type': 'application/x-www-form-urlencoded' };
      assert.equal((await ask(api.port, path, { method: 'POST', headers: form })).status, 415);
      const beacon = { Origin: 'https://evil.example' };
      assert.equal((await ask(api.port, path, { method: 'POST', headers: beacon })).status, 403);
    }
    assert.equal(api.service.drainedWithMs, undefined);
  });

  test('gets no leave by a preflight', async () => {
    const headers = {
      Origin: 'https://evil.example',
      'Access-Control-Request-Method': 'POST',
      'Access-Control-Request-Headers': 'content-type',
    };
    const foreign = await ask(api.port, '/api/v1/jobs', { method: 'OPTIONS', headers });
    assert.equal(foreign.status, 403);
    const plain = await ask(api.port, '/api/v1/jobs', { method: 'OPTIONS' });
    assert.equal(plain.status, 405);
    for (const { headers: sent } of [foreign, plain])
      assert.ok(!Object.keys(sent).some((name) => name.startsWith('access-control-')));
  });

  test('cannot hide its name by a second Host or in the request line', async () => {
    const own = `127.0.0.1:${api.port}`;
    const twice = await sendRaw(
      api.port,
      `GET / HTTP/1.1\r\nHost: ${own}\r\nHost: evil.example\r\nConnection: close\r\n\r\n`,
    );
    assert.match(twice, /^HTTP\/1\.1 421 /);
    const absolute = await sendRaw(
      api.port,
      `GET http://evil.example/ HTTP/1.1\r\nHost: ${own}\r\nConnection: close\r\n\r\n`,
    );
    assert.match(absolute, /^HTTP\/1\.1 400 /);
    const none = await sendRaw(api.port, 'GET / HTTP/1.0\r\n\r\n');
    assert.match(none, /^HTTP\/1\.1 421 /);
  });

  test('gets no answer that a browser would show as a page', async () => {
    const { headers } = await ask(api.port, '/');
    assert.equal(headers['x-content-type-options'], 'nosniff');
    assert.match(String(headers['content-security-policy']), /default-src 'none'.*sandbox/);
  });
});

describe('a client of this machine', () => {
  let api: TestApi;
  before(async () => {
    api = await startApi();
  });
  after(() => api.stop());

  test('may use each name of it, with any port, in any case', async () => {
    const names = [
      'localhost',
      'LOCALHOST:1',
      `127.0.0.1:${api.port}`,
      '[::1]:80',
      'mesh.example',
      '127.0.0.2',
    ];
    for (const Host of names)
      assert.equal((await ask(api.port, '/', { headers: { Host } })).status, 200, Host);
  });

  test('may be the API’s own page', async () => {
    const own = `http://localhost:${api.port}`;
    const headers = { Host: `localhost:${api.port}`, Origin: own, 'Sec-Fetch-Site': 'same-origin' };
    const answer = await ask(api.port, '/api/v1/jobs', {
      method: 'POST',
      headers: { ...JSON_TYPE, ...headers },
      body: JOB,
    });
    assert.equal(answer.status, 201);
  });

  test('may cancel and drain without a body and its type, as curl -X POST does', async () => {
    assert.equal((await ask(api.port, '/api/v1/jobs/none/cancel', { method: 'POST' })).status, 404);
    assert.equal((await ask(api.port, '/api/v1/drain', { method: 'POST' })).status, 202);
    assert.equal(api.service.drainedWithMs, 30_000);
  });
});
