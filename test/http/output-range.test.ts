import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { MeshError } from '../../src/base/errors.ts';
import { asJobId } from '../../src/base/ids.ts';
import { type Answer, ask, post } from './requests.ts';
import { SELF } from './stand-in-service.ts';
import { startApi, type TestApi } from './test-api.ts';

const JOB = asJobId('job-1');
const DEADLINE = { timeout: 20_000 };

let api: TestApi;
beforeEach(async () => {
  api = await startApi();
  await post(api.port, '/api/v1/jobs', { command: 'x' });
  api.service.start(JOB);
  api.service.print(JOB, 'stdout', '0123456789');
});
afterEach(() => api.stop());

const end = (): void => api.service.end(JOB, 'JOB_COMPLETED', { tag: 'exited', code: 0 });
const get = (range: string, headers = {}, method = 'GET'): Promise<Answer> =>
  ask(api.port, '/api/v1/jobs/job-1/output', { method, headers: { Range: range, ...headers } });
const rangeOf = ({ status, text, headers }: Answer): unknown[] => [
  status,
  text,
  headers['content-range'],
];

describe('a range of an output', () => {
  test('is what RFC 9110 says it is', DEADLINE, async () => {
    end();
    assert.deepEqual(rangeOf(await get('bytes=2-4')), [206, '234', 'bytes 2-4/10']);
    assert.deepEqual(rangeOf(await get('bytes=7-')), [206, '789', 'bytes 7-9/10']);
    assert.deepEqual(rangeOf(await get('bytes=-3')), [206, '789', 'bytes 7-9/10']);
    assert.deepEqual(rangeOf(await get('bytes=-99')), [206, '0123456789', 'bytes 0-9/10']);
    assert.deepEqual(rangeOf(await get('bytes=8-99')), [206, '89', 'bytes 8-9/10']);
  });

  test('that has no byte is 416, and says how long the output is', DEADLINE, async () => {
    end();
    for (const range of ['bytes=10-', 'bytes=99-100', 'bytes=-0']) {
      const { status, headers, body } = await get(range);
      assert.deepEqual([status, body.code], [416, 'NO_SUCH_RANGE'], range);
      assert.equal(headers['content-range'], 'bytes */10');
    }
  });

  test('that is not understood is left alone', DEADLINE, async () => {
    for (const range of ['bytes=4-2', 'bytes=0-1,3-4', 'lines=1-2', 'bytes=-', 'bytes=a-b'])
      assert.deepEqual(rangeOf(await get(range)), [200, '0123456789', undefined], range);
  });

  test('of an output that still grows has no length to tell', DEADLINE, async () => {
    assert.deepEqual(rangeOf(await get('bytes=2-4')), [206, '234', 'bytes 2-4/*']);
    assert.deepEqual(rangeOf(await get('bytes=-2')), [206, '89', 'bytes 8-9/*']);
  });

  test('goes on only in the attempt whose ETag is sent back', DEADLINE, async () => {
    const { headers } = await get('bytes=0-0');
    const etag = String(headers.etag);
    assert.equal(etag, `"1.${SELF}.1.stdout"`);
    assert.equal((await get('bytes=5-', { 'If-Range': etag })).text, '56789');
    api.service.loseAttempt(JOB);
    api.service.start(JOB);
    api.service.print(JOB, 'stdout', 'abcdefghij');
    const other = await get('bytes=5-', { 'If-Range': etag });
    assert.deepEqual([other.status, other.text], [200, 'abcdefghij']);
    assert.notEqual(other.headers.etag, etag);
  });

  test('is told by HEAD without a byte', DEADLINE, async () => {
    end();
    const part = await get('bytes=2-4', {}, 'HEAD');
    assert.deepEqual(rangeOf(part), [206, '', 'bytes 2-4/10']);
    assert.equal(part.headers['content-length'], '3');
    const whole = await ask(api.port, '/api/v1/jobs/job-1/output', { method: 'HEAD' });
    assert.deepEqual([whole.status, whole.headers['content-length']], [200, '10']);
    assert.equal(whole.headers['accept-ranges'], 'bytes');
  });

  test('that is gone is 410', DEADLINE, async () => {
    end();
    api.service.tailFrom = 4;
    assert.equal((await get('bytes=0-1')).status, 410);
    assert.deepEqual(rangeOf(await get('bytes=6-7')), [206, '67', 'bytes 6-7/10']);
    api.service.failure = new MeshError('OUTPUT_GONE', 'newer outputs needed the space');
    assert.equal((await get('bytes=6-7')).status, 410);
  });

  test('may be of any size', DEADLINE, async () => {
    api.service.print(JOB, 'stdout', Buffer.alloc(3_000_000, 'x'));
    end();
    const { text, headers } = await get('bytes=5-2500004');
    assert.equal(text.length, 2_500_000);
    assert.equal(headers['content-length'], '2500000');
  });
});

describe('an attempt', () => {
  test('is named by its number', DEADLINE, async () => {
    const path = '/api/v1/jobs/job-1/output?attempt=';
    assert.equal((await ask(api.port, `${path}1`)).text, '0123456789');
    const { status, text } = await ask(api.port, `${path}2`);
    assert.equal(status, 400);
    assert.match(text, /no attempt 2 .* there is 1/);
  });
});
