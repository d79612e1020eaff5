import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { FailureThrottle, sourceOf } from '../../src/http/failure-throttle.ts';
import { ask, askAs, post, runAs } from './requests.ts';
import { startApi, type TestApi, TOKENS } from './test-api.ts';

const NOBODY = 65_534;
const isRoot = process.geteuid?.() === 0 && process.platform === 'linux';
const asOthers = isRoot ? {} : { skip: 'needs root on Linux, to ask as another user' };

describe('access on a loopback address', () => {
  let api: TestApi;
  before(async () => {
    api = await startApi();
  });
  after(() => api.stop());

  test('needs no token from the user who runs the node', async () => {
    assert.equal((await ask(api.port, '/api/v1/status')).status, 200);
    assert.equal((await post(api.port, '/api/v1/drain', {})).status, 202);
  });

  test('needs a token from another user', asOthers, async () => {
    const url = `${api.url}/api/v1/status`;
    const refused = await askAs(NOBODY, url);
    assert.equal(refused.status, 401);
    assert.equal(refused.body.code, 'UNAUTHORIZED');
    const wrong = await askAs(NOBODY, url, { authorization: 'Bearer nonsense' });
    assert.equal(wrong.status, 401);
    const taken = await askAs(NOBODY, url, { authorization: `Bearer ${TOKENS.read}` });
    assert.equal(taken.status, 200);
  });

  test(
    'says nothing to another user without a token, not even what there is',
    asOthers,
    async () => {
      for (const path of ['/', '/api/v1/health', '/nothing/here'])
        assert.equal((await askAs(NOBODY, api.url + path)).status, 401, path);
    },
  );

  test(
    'is not got by hanging up at once, when the kernel lists the socket as root’s',
    asOthers,
    async () => {
      const body = '{"command":"true"}';
      const lines = [
        'POST /api/v1/jobs HTTP/1.1',
        'Host: localhost',
        'Content-Type: application/json',
        `Content-Length: ${body.length}`,
        '',
        body,
      ];
      await runAs(
        NOBODY,
        `const { connect } = require('node:net');
      for (let i = 0; i < 200; i++) {
        const socket = connect(${api.port}, '127.0.0.1', () => socket.end(${JSON.stringify(lines.join('\r\n'))}, () => socket.destroy()));
        socket.on('error', () => {});
      }`,
      );
      // Users are looked up in the order of connections, so those before have been decided by now.
      const { body: list } = await ask(api.port, '/api/v1/jobs');
      assert.equal(list.count, 0);
    },
  );

  test('needs a token for what a proxy of the same user passes on', async () => {
    for (const name of ['X-Forwarded-For', 'Forwarded', 'Via'])
      assert.equal((await ask(api.port, '/', { headers: { [name]: 'x' } })).status, 401, name);
  });

  test('takes tokens with and without Bearer', async () => {
    for (const Authorization of [TOKENS.read, `Bearer ${TOKENS.read}`, `bearer  ${TOKENS.read}`])
      assert.equal((await ask(api.port, '/', { headers: { Authorization } })).status, 200);
  });

  test('gives each role what it includes, also to the same user', async () => {
    const attempt = async (token: string): Promise<number[]> => {
      const headers = { Authorization: `Bearer ${token}` };
      const answers = [
        await ask(api.port, '/api/v1/jobs', { headers }),
        await post(api.port, '/api/v1/jobs', { command: 'true' }, headers),
        await ask(api.port, '/api/v1/jobs/none', { method: 'DELETE', headers }),
        await post(api.port, '/api/v1/drain', {}, headers),
      ];
      return answers.map(({ status }) => status);
    };
    assert.deepEqual(await attempt(TOKENS.read), [200, 403, 403, 403]);
    assert.deepEqual(await attempt(TOKENS.submit), [200, 201, 404, 403]);
    assert.deepEqual(await attempt(TOKENS.admin), [200, 201, 404, 202]);
  });

  test('answers 401 with the way to ask', async () => {
    const { status, headers } = await ask(api.port, '/', { headers: { Authorization: 'x' } });
    assert.equal(status, 401);
    assert.match(String(headers['www-authenticate']), /^Bearer/);
  });
});

describe('wrong tokens', () => {
  test('are throttled by user, so that one cannot lock out the others', asOthers, async () => {
    const api = await startApi();
    try {
      const url = `${api.url}/`;
      for (let i = 0; i < 10; i++)
        assert.equal(
          (await ask(api.port, '/', { headers: { Authorization: `x${i}` } })).status,
          401,
        );
      const blocked = await ask(api.port, '/', { headers: { Authorization: TOKENS.admin } });
      assert.equal(blocked.status, 429);
      assert.ok(Number(blocked.headers['retry-after']) > 0);
      const other = await askAs(NOBODY, url, { authorization: TOKENS.read });
      assert.equal(other.status, 200);
    } finally {
      await api.stop();
    }
  });

  test('are forgiven in time', () => {
    let now = 0;
    const throttle = new FailureThrottle(() => now);
    for (let i = 0; i < 20; i++) throttle.note('a');
    assert.ok(throttle.isBlocked('a'));
    assert.ok(!throttle.isBlocked('b'));
    now += 6001;
    assert.ok(!throttle.isBlocked('a'));
    throttle.note('a');
    assert.ok(throttle.isBlocked('a'));
    now += 61_000;
    throttle.note('a');
    assert.ok(!throttle.isBlocked('a'));
  });

  test('from many addresses take no memory without end', () => {
    const throttle = new FailureThrottle(() => 0);
    for (let i = 0; i < 10; i++) throttle.note('first');
    for (let i = 0; i < 10_000; i++) throttle.note(`10.0.${i >> 8}.${i & 255}`);
    assert.ok(!throttle.isBlocked('first'));
  });

  test('from one IPv6 household count together', () => {
    assert.equal(sourceOf('2001:db8:1:2:a:b:c:d'), sourceOf('2001:db8:1:2:1::9'));
    assert.equal(sourceOf('10.0.0.1'), '10.0.0.1');
  });
});
