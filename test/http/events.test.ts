import assert from 'node:assert/strict';
import { once } from 'node:events';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { MeshError } from '../../src/base/errors.ts';
import { asJobId } from '../../src/base/ids.ts';
import { bytesOf, EventReader, type SentEvent } from './event-reader.ts';
import { ask, open, post } from './requests.ts';
import { SELF } from './stand-in-service.ts';
import { startApi, type TestApi } from './test-api.ts';

const JOB = asJobId('job-1');
const DEADLINE = { timeout: 20_000 };
const FIRST = `1.${SELF}.1`;

let api: TestApi;
beforeEach(async () => {
  api = await startApi({ limits: { maxFollowers: 120, heartbeatMs: 50 } });
  await post(api.port, '/api/v1/jobs', { command: 'x' });
});
afterEach(() => api.stop());

const follow = (query = '', headers = {}): Promise<EventReader> =>
  EventReader.open(`${api.url}/api/v1/jobs/job-1/events${query}`, headers);
const complete = (): void => api.service.end(JOB, 'JOB_COMPLETED', { tag: 'exited', code: 0 });
const outputs = (events: readonly SentEvent[], stream = 'stdout'): string =>
  Buffer.concat(
    events
      .filter(({ event, data }) => event === 'output' && data.stream === stream)
      .map((event) => bytesOf(event)),
  ).toString('latin1');

describe('the events of a job', () => {
  test('tell its states, its output and its end, each with its position', DEADLINE, async () => {
    const events = await follow();
    assert.deepEqual([events.status, events.type], [200, 'text/event-stream']);
    const pending = await events.next();
    assert.deepEqual([pending?.event, pending?.data.status], ['state', 'JOB_PENDING']);
    assert.equal(pending?.id, '-:0:0');
    api.service.start(JOB);
    assert.equal((await events.until('attempt')).id, `${FIRST}:0:0`);
    api.service.print(JOB, 'stdout', 'one\n');
    const one = await events.until('output');
    assert.deepEqual(one.data, { stream: 'stdout', offset: 0, text: 'one\n' });
    assert.equal(one.id, `${FIRST}:4:0`);
    api.service.print(JOB, 'stderr', 'oops');
    assert.equal((await events.until('output')).id, `${FIRST}:4:4`);
    complete();
    const rest = await events.rest();
    assert.equal(rest.at(-1)?.event, 'end');
    const { status, stdout } = rest.at(-1)?.data ?? {};
    assert.deepEqual([status, stdout], ['JOB_COMPLETED', 'one\n']);
  });

  test('go on exactly behind the event whose id is sent back', DEADLINE, async () => {
    api.service.start(JOB);
    api.service.print(JOB, 'stdout', 'abcdef');
    api.service.print(JOB, 'stderr', 'uvwxyz');
    complete();
    const read = async (query: string, headers = {}) => {
      const events = await (await follow(query, headers)).rest();
      assert.ok(events.every(({ event }) => event !== 'attempt'));
      return [outputs(events), outputs(events, 'stderr')];
    };
    assert.deepEqual(await read(`?after=${FIRST}:2:5`), ['cdef', 'z']);
    assert.deepEqual(await read('', { 'Last-Event-ID': `${FIRST}:6:0` }), ['', 'uvwxyz']);
    assert.deepEqual(await read(`?after=${FIRST}:0:0&stream=stderr`), ['', 'uvwxyz']);
    assert.deepEqual(await read(`?after=${FIRST}:0:0&stream=none`), ['', '']);
  });

  test(
    'are text where it is UTF-8 and base64 where not, and nothing is lost',
    DEADLINE,
    async () => {
      api.service.start(JOB);
      const text = `${'é€😀x'.repeat(40_000)}`;
      const binary = Buffer.from(Array.from({ length: 70_000 }, (_, i) => (i * 7919) % 256));
      api.service.print(JOB, 'stdout', text);
      api.service.print(JOB, 'stderr', binary);
      complete();
      const events = await (await follow()).rest();
      const told = events.filter(({ event }) => event === 'output');
      assert.ok(told.every(({ data }) => data.stream === 'stderr' || 'text' in data));
      assert.equal(Buffer.from(outputs(events), 'latin1').toString(), text);
      assert.equal(outputs(events, 'stderr'), binary.toString('latin1'));
    },
  );

  test('tell a character that is printed in two halves', DEADLINE, async () => {
    api.service.start(JOB);
    const events = await follow();
    const [first, second] = [Buffer.from([0xe2, 0x82]), Buffer.from([0xac])];
    api.service.print(JOB, 'stdout', first);
    assert.deepEqual(bytesOf(await events.until('output')), first);
    api.service.print(JOB, 'stdout', second);
    assert.deepEqual(bytesOf(await events.until('output')), second);
    await events.close();
  });

  test('go on with the next attempt, and mark it', DEADLINE, async () => {
    api.service.start(JOB);
    api.service.print(JOB, 'stdout', 'lost');
    const events = await follow();
    await events.until('output');
    api.service.loseAttempt(JOB);
    api.service.start(JOB);
    const next = await events.until('attempt');
    assert.deepEqual([next.data.attempt, next.id], [2, `1.${SELF}.2:0:0`]);
    api.service.print(JOB, 'stdout', 'found');
    assert.equal(bytesOf(await events.until('output')).toString(), 'found');
    complete();
    assert.equal((await events.rest()).at(-1)?.event, 'end');
  });

  test('tell of progress', DEADLINE, async () => {
    api.service.start(JOB);
    const events = await follow();
    api.service.know(JOB, { progress: { percent: 40, message: 'half' } });
    const { data } = await events.until('progress');
    assert.deepEqual(data, { progress: 40, progress_message: 'half' });
    await events.close();
  });

  test('say what is nowhere any more', DEADLINE, async () => {
    api.service.start(JOB);
    api.service.print(JOB, 'stdout', 'abcdef');
    complete();
    api.service.tailFrom = 4;
    const events = await (await follow('?stream=stdout')).rest();
    const gap = events.find(({ event }) => event === 'gap');
    assert.deepEqual([gap?.data.from, gap?.data.to], [0, 4]);
    assert.equal(outputs(events), 'ef');
  });

  test('say that they are there when there is nothing to tell', DEADLINE, async () => {
    const events = await follow();
    await events.next();
    const end = events.next();
    while (events.comments < 2) await new Promise((resolve) => setImmediate(resolve));
    api.service.start(JOB);
    assert.equal((await end)?.event, 'state');
    await events.close();
  });

  test('of a hundred followers are read once', DEADLINE, async () => {
    api.service.start(JOB);
    const size = 100_000;
    api.service.print(JOB, 'stdout', 'x'.repeat(size));
    const followers = await Promise.all(Array.from({ length: 100 }, () => follow()));
    const reading = followers.map((events) => events.rest());
    complete();
    for (const events of await Promise.all(reading)) assert.equal(outputs(events).length, size);
    assert.ok(api.service.readBytes < 3 * size, `${api.service.readBytes} bytes were read`);
    assert.equal(api.service.listenerCount, 3);
  });

  test('wait for a reader that is slow, and hold next to nothing for it', DEADLINE, async () => {
    api.service.start(JOB);
    const size = 64 * 1024 * 1024;
    api.service.print(JOB, 'stdout', Buffer.alloc(size, 'y'));
    complete();
    const socket = await open(api.port);
    socket.pause();
    socket.write(`GET /api/v1/jobs/job-1/events HTTP/1.1\r\nHost: localhost\r\n\r\n`);
    // What the two kernels buffer is taken; then no more is read until somebody reads it.
    const settled = async (): Promise<number> => {
      for (let seen = -1; ; await new Promise((resolve) => setTimeout(resolve, 300))) {
        if (seen === api.service.readBytes && seen > 0) return seen;
        seen = api.service.readBytes;
      }
    };
    const held = await settled();
    assert.ok(held < size / 4, `${held} bytes were read for a reader that reads nothing`);
    socket.resume();
    while (api.service.readBytes < size) await once(socket, 'data');
    socket.destroy();
  });

  test('are refused where there is no such job, place or room', DEADLINE, async () => {
    const status = async (path: string): Promise<number> => (await ask(api.port, path)).status;
    assert.equal(await status('/api/v1/jobs/none/events'), 404);
    assert.equal(await status('/api/v1/jobs/job-1/events?after=1.x:0:0'), 400);
    assert.equal(await status('/api/v1/jobs/job-1/events?stream=stdin'), 400);
    const all = await Promise.all(Array.from({ length: 120 }, () => follow()));
    assert.equal(await status('/api/v1/jobs/job-1/events'), 503);
    await Promise.all(all.map((events) => events.close()));
  });

  test('end with an error when the job is known no more', DEADLINE, async () => {
    api.service.start(JOB);
    const events = await follow();
    await events.until('attempt');
    api.service.failNextRead(new MeshError('JOB_NOT_FOUND', 'It is forgotten.'));
    const rest = await events.rest();
    assert.deepEqual([rest.at(-1)?.event, rest.at(-1)?.data.code], ['error', 'JOB_NOT_FOUND']);
  });

  test('break off, and do not end, when the node stops', DEADLINE, async () => {
    const events = await follow();
    await events.next();
    await Promise.all([assert.rejects(events.next()), api.server.stop()]);
    assert.equal(api.service.listenerCount, 0);
  });
});

describe('the events of the mesh', () => {
  test('tell of jobs as they change', DEADLINE, async () => {
    const events = await EventReader.open(`${api.url}/api/v1/events`);
    const hello = await events.next();
    assert.deepEqual([hello?.event, hello?.data.node_id], ['hello', SELF]);
    api.service.start(JOB);
    const { data } = await events.until('job');
    assert.deepEqual([data.job_id, data.status], ['job-1', 'JOB_RUNNING']);
    await events.close();
  });

  test('tell a client that is too slow how many it has lost', DEADLINE, async () => {
    const events = await EventReader.open(`${api.url}/api/v1/events`);
    await events.next();
    // All in one turn: nothing of it can be sent meanwhile.
    for (let i = 0; i < 1000; i++) api.service.print(JOB, 'stdout', '');
    const lost = await events.until('lost');
    assert.ok(Number(lost.data.count) >= 700, JSON.stringify(lost.data));
    await events.close();
  });
});
