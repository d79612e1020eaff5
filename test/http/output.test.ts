import assert from 'node:assert/strict';
import { once } from 'node:events';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { MeshError } from '../../src/base/errors.ts';
import { asJobId } from '../../src/base/ids.ts';
import { ask, open, post } from './requests.ts';
import { startApi, type TestApi } from './test-api.ts';

const JOB = asJobId('job-1');
const DEADLINE = { timeout: 20_000 };

let api: TestApi;
beforeEach(async () => {
  api = await startApi({ limits: { maxHeld: 2 } });
  await post(api.port, '/api/v1/jobs', { command: 'x' });
});
afterEach(() => api.stop());

const follow = (query = ''): Promise<Response> =>
  fetch(`${api.url}/api/v1/jobs/job-1/output?follow=true${query}`);
const readerOf = (response: Response) => (response.body ?? assert.fail()).getReader();

async function text(reader: ReadableStreamDefaultReader<Uint8Array>): Promise<string> {
  const { value } = await reader.read();
  return Buffer.from(value ?? []).toString();
}

describe('an output', () => {
  test('is what there is now, of either stream, from any byte', DEADLINE, async () => {
    api.service.start(JOB);
    api.service.print(JOB, 'stdout', 'hello world');
    api.service.print(JOB, 'stderr', 'oops');
    const read = async (query: string): Promise<string> =>
      (await ask(api.port, `/api/v1/jobs/job-1/output${query}`)).text;
    assert.equal(await read(''), 'hello world');
    assert.equal(await read('?stream=stderr'), 'oops');
    assert.equal(await read('?stream=stdout&offset=6'), 'world');
    assert.equal(await read('?offset=100'), '');
  });

  test(
    'says which attempt it is of, and is never a type that a browser shows',
    DEADLINE,
    async () => {
      api.service.start(JOB);
      api.service.print(JOB, 'stdout', '<script>');
      const { headers } = await ask(api.port, '/api/v1/jobs/job-1/output');
      assert.match(String(headers['x-mesh-attempt']), /^1\.node-a{32}\.1$/);
      assert.equal(headers['x-mesh-truncated'], 'false');
      assert.equal(headers['content-type'], 'application/octet-stream');
      assert.equal(headers['x-content-type-options'], 'nosniff');
    },
  );

  test('of many megabytes comes whole', DEADLINE, async () => {
    api.service.start(JOB);
    const bytes = Buffer.alloc(5_000_003, 'abc');
    api.service.print(JOB, 'stdout', bytes);
    api.service.end(JOB, 'JOB_COMPLETED', { tag: 'exited', code: 0 });
    const response = await fetch(`${api.url}/api/v1/jobs/job-1/output`);
    assert.equal(response.headers.get('x-mesh-total-bytes'), '5000003');
    assert.ok(Buffer.from(await response.arrayBuffer()).equals(bytes));
  });

  test(
    'comes whole from a node that gives less than it is asked for, or nothing for once',
    DEADLINE,
    async () => {
      api.service.start(JOB);
      const bytes = Buffer.from(Uint32Array.from({ length: 500_000 }, (_, i) => i).buffer);
      api.service.print(JOB, 'stdout', bytes);
      api.service.end(JOB, 'JOB_COMPLETED', { tag: 'exited', code: 0 });
      const read = api.service.readOutput.bind(api.service);
      const [short, failed] = [600_000, 1_200_000].map((from) => {
        let isDue = true;
        return (offset: number): boolean => {
          const isNow = isDue && offset >= from;
          isDue &&= !isNow;
          return isNow;
        };
      });
      api.service.readOutput = async (job, stream, range) => {
        if (failed?.(range.offset)) throw new MeshError('NODE_UNREACHABLE', 'Not now.');
        return read(job, stream, short?.(range.offset) ? { ...range, maxBytes: 1000 } : range);
      };
      const response = await fetch(`${api.url}/api/v1/jobs/job-1/output`);
      assert.ok(Buffer.from(await response.arrayBuffer()).equals(bytes));
    },
  );

  test('that is gone is 410 and not empty', DEADLINE, async () => {
    api.service.failure = new MeshError('OUTPUT_GONE', 'It is no longer kept.');
    const { status, body } = await ask(api.port, '/api/v1/jobs/job-1/output');
    assert.deepEqual([status, body.code], [410, 'OUTPUT_GONE']);
  });

  test('is refused when the query is wrong', DEADLINE, async () => {
    for (const query of [
      'stream=stdin',
      'offset=-1',
      'offset=x',
      'follow=yes',
      'attempt=1',
      'folow=true',
    ])
      assert.equal((await ask(api.port, `/api/v1/jobs/job-1/output?${query}`)).status, 400, query);
  });

  test('by HEAD has no body and ends', DEADLINE, async () => {
    const { status, text: body } = await ask(api.port, '/api/v1/jobs/job-1/output?follow=true', {
      method: 'HEAD',
    });
    assert.deepEqual([status, body], [200, '']);
  });
});

describe('a followed output', () => {
  test('comes as it is printed, and ends with the job', DEADLINE, async () => {
    api.service.start(JOB);
    api.service.print(JOB, 'stdout', 'one');
    const reader = readerOf(await follow());
    assert.equal(await text(reader), 'one');
    const next = text(reader);
    api.service.print(JOB, 'stdout', 'two');
    assert.equal(await next, 'two');
    api.service.end(JOB, 'JOB_COMPLETED', { tag: 'exited', code: 0 });
    assert.equal((await reader.read()).done, true);
  });

  test('may begin before the job does', DEADLINE, async () => {
    const response = await follow();
    assert.equal(response.headers.get('x-mesh-attempt'), null);
    const reader = readerOf(response);
    const first = text(reader);
    api.service.start(JOB);
    api.service.print(JOB, 'stdout', 'at last');
    assert.equal(await first, 'at last');
    await reader.cancel();
  });

  test('ends when its attempt was given up for another', DEADLINE, async () => {
    const fence = api.service.start(JOB);
    api.service.print(JOB, 'stdout', 'one');
    const attempt = `1.${fence.epoch.node}.1`;
    const reader = readerOf(await follow(`&attempt=${attempt}`));
    assert.equal(await text(reader), 'one');
    const end = reader.read();
    api.service.start(JOB);
    assert.equal((await end).done, true);
  });

  test('that its client leaves is read no more', DEADLINE, async () => {
    api.service.start(JOB);
    const leaving = new AbortController();
    await fetch(`${api.url}/api/v1/jobs/job-1/output?follow=true`, { signal: leaving.signal });
    const [signal] = api.service.reading;
    assert.ok(signal && !signal.aborted);
    const aborted = once(signal, 'abort');
    leaving.abort();
    await aborted;
  });

  test('is cut, not ended, when the server stops or cannot read on', DEADLINE, async () => {
    api.service.start(JOB);
    const stopped = readerOf(await follow());
    await Promise.all([assert.rejects(stopped.read()), api.server.stop()]);
    const other = await startApi({}, api.service);
    const failing = readerOf(await fetch(`${other.url}/api/v1/jobs/job-1/output?follow=true`));
    const read = assert.rejects(failing.read());
    api.service.failNextRead(new MeshError('NODE_UNREACHABLE', 'Its node is gone.'));
    await read;
    assert.deepEqual(other.faults, []);
    await other.server.stop();
  });

  test('is refused with 503 when too many are held open', DEADLINE, async () => {
    api.service.start(JOB);
    const readers = [readerOf(await follow()), readerOf(await follow())];
    const third = await follow();
    assert.equal(third.status, 503);
    assert.ok(third.headers.get('retry-after'));
    await Promise.all(readers.map((reader) => reader.cancel()));
  });

  test('to a client that does not read takes no memory', DEADLINE, async () => {
    api.service.start(JOB);
    api.service.print(JOB, 'stdout', Buffer.alloc(64 * 1024 * 1024));
    const socket = await open(api.port);
    socket.write(`GET /api/v1/jobs/job-1/output?follow=true HTTP/1.1\r\nHost: localhost\r\n\r\n`);
    await once(socket, 'readable');
    const readBefore = api.service.readBytes;
    assert.ok(readBefore < 16 * 1024 * 1024, `${readBefore} bytes were read ahead`);
    socket.destroy();
  });
});
