import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { asJobId, asNodeId } from '../../src/base/ids.ts';
import { asWall } from '../../src/base/instant.ts';
import { type Answer, ask, post } from './requests.ts';
import { PEER, SELF } from './stand-in-service.ts';
import { startApi, type TestApi, TOKENS } from './test-api.ts';

const JOB = asJobId('job-1');
const GONE = asNodeId(`node-${'c'.repeat(32)}`);

let api: TestApi;
beforeEach(async () => {
  api = await startApi();
});
afterEach(() => api.stop());

const get = (path: string): Promise<Answer> => ask(api.port, `/api/v1${path}`);
const submit = (value: object): Promise<Answer> =>
  post(api.port, '/api/v1/jobs', { command: 'x', ...value });

describe('a replicated job', () => {
  test('is shown with what was asked of its delivery, and who keeps it', async () => {
    await submit({ delivery: 'at_most_once', on_isolation: 'continue', replicas: 2 });
    api.service.know(JOB, { durability: 'replicated' });
    const { body } = await get('/jobs/job-1');
    assert.equal(body.delivery, 'at_most_once');
    assert.equal(body.on_isolation, 'continue');
    assert.equal(body.replicas_wanted, 2);
    assert.equal(body.durability, 'replicated');
    assert.deepEqual(body.replicas, [SELF]);
    assert.equal(body.owner_node_id, SELF);
    assert.equal(body.epoch, `1.${SELF}`);
    assert.equal(body.fence, null);
    assert.equal(body.from_replica, false);
    api.service.start(JOB);
    assert.equal((await get('/jobs/job-1')).body.fence, `1.${SELF}.1`);
  });

  test('asks for nothing in particular when the submit does not', async () => {
    await submit({});
    const { body } = await get('/jobs/job-1');
    assert.deepEqual(
      [body.delivery, body.on_isolation, body.replicas_wanted],
      ['at_least_once', 'stop', null],
    );
  });

  test('that settles tells nothing of its end, which may be another one yet', async () => {
    await submit({});
    api.service.start(JOB);
    api.service.print(JOB, 'stdout', 'printed');
    api.service.end(JOB, 'JOB_FAILED', { tag: 'exited', code: 3 }, 'exit code 3');
    api.service.know(JOB, { isSettling: true, status: 'JOB_RUNNING' });
    const { body } = await get('/jobs/job-1');
    assert.equal(body.status, 'JOB_RUNNING');
    assert.equal(body.settling, true);
    assert.deepEqual(
      [body.exit_code, body.finished_at, body.error_message, body.stdout],
      [null, null, null, ''],
    );
    assert.notEqual(body.started_at, null);
    const { body: why } = await get('/jobs/job-1/explain');
    assert.match(String(why.summary), /final as soon as a majority/);
    api.service.know(JOB, { isSettling: false, status: 'JOB_FAILED' });
    const settled = (await get('/jobs/job-1')).body;
    assert.deepEqual([settled.settling, settled.exit_code, settled.stdout], [false, 3, 'printed']);
  });

  test('says when its owner could not be asked', async () => {
    await submit({});
    api.service.know(JOB, { isOwner: false });
    assert.equal((await get('/jobs/job-1')).body.from_replica, true);
  });

  test('that too few nodes took is refused with both numbers', async () => {
    const message = '3 nodes were to have it on disk, and 1 took it in time.';
    api.service.refusal = { kind: 'refused', code: 'NOT_ENOUGH_REPLICAS', message };
    const { status, headers, body } = await submit({ replicas: 3 });
    assert.deepEqual([status, body.code], [503, 'NOT_ENOUGH_REPLICAS']);
    assert.ok(Number(headers['retry-after']) > 0);
    assert.equal(body.detail, message);
  });
});

describe('an output of which only the end is left', () => {
  beforeEach(async () => {
    await submit({});
    api.service.start(JOB);
    api.service.print(JOB, 'stdout', '0123456789');
    api.service.end(JOB, 'JOB_COMPLETED', { tag: 'exited', code: 0 });
  });

  test('says so, and where it begins', async () => {
    api.service.tailFrom = 6;
    const { text, headers } = await get('/jobs/job-1/output');
    assert.equal(text, '6789');
    assert.equal(headers['x-mesh-tail'], 'true');
    assert.equal(headers['x-mesh-offset'], '6');
    assert.equal(headers['x-mesh-truncated'], 'true');
    assert.equal(headers['x-mesh-total-bytes'], '10');
  });

  test('has no such header where the whole is', async () => {
    const { text, headers } = await get('/jobs/job-1/output');
    assert.deepEqual([text, headers['x-mesh-tail']], ['0123456789', undefined]);
  });
});

describe('a followed output whose node goes away', () => {
  test('is cut, not continued behind a gap', async () => {
    await submit({});
    api.service.start(JOB);
    api.service.print(JOB, 'stdout', 'begin ');
    const response = await fetch(`${api.url}/api/v1/jobs/job-1/output?follow=true`);
    const reader = (response.body ?? assert.fail()).getReader();
    assert.equal(Buffer.from((await reader.read()).value ?? []).toString(), 'begin ');
    api.service.print(JOB, 'stdout', 'middle end');
    api.service.tailFrom = 13;
    api.service.end(JOB, 'JOB_COMPLETED', { tag: 'exited', code: 0 });
    const rest = async (): Promise<string> => {
      let text = '';
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return text;
        text += Buffer.from(value).toString();
      }
    };
    // What was read before the node went may still come; nothing from behind the gap does.
    await assert.rejects(rest());
  });
});

describe('conflicts', () => {
  const found = (at: number) => ({
    job: JOB,
    at: asWall(at),
    tag: 'outcomes' as const,
    note: `found ${at}`,
    foundBy: PEER,
  });

  test('are listed, as many as asked for', async () => {
    api.service.conflicts = [found(3), found(2), found(1)];
    api.service.missing = [{ node: GONE, reason: 'no link to it' }];
    const { status, body } = await get('/conflicts?limit=2');
    assert.equal(status, 200);
    assert.deepEqual([body.count, body.truncated], [2, true]);
    assert.deepEqual((body.conflicts as object[])[0], {
      job_id: 'job-1',
      kind: 'outcomes',
      at: '1970-01-01T00:00:00.003Z',
      note: 'found 3',
      found_by_node: PEER,
    });
    assert.deepEqual(body.partial, [{ node_id: GONE, reason: 'no link to it' }]);
  });

  test('are refused in a number that is none', async () => {
    for (const query of ['limit=0', 'limit=1001', 'limt=1'])
      assert.equal((await get(`/conflicts?${query}`)).status, 400, query);
  });
});

describe('forgetting a node', () => {
  const forget = (node: string, body: unknown = {}, headers = {}): Promise<Answer> =>
    post(api.port, `/api/v1/nodes/${node}/forget`, body, headers);

  test('takes an id or a name, and is answered with both', async () => {
    const { status, body } = await forget('beta');
    assert.equal(status, 200);
    assert.deepEqual(body, {
      status: 'forgotten',
      node_id: PEER,
      name: 'beta',
      at: '2026-01-02T03:04:05.678Z',
    });
    assert.deepEqual(api.service.forgotten, { node: PEER, isForced: false });
  });

  test('takes the id of a node that is listed no more, and force', async () => {
    assert.equal((await forget(GONE, { force: true })).status, 200);
    assert.deepEqual(api.service.forgotten, { node: GONE, isForced: true });
  });

  test('of a name nobody has is 404; with other fields 400; both do nothing', async () => {
    assert.deepEqual((await forget('nobody')).body.code, 'NODE_NOT_FOUND');
    for (const body of [{ forced: true }, { force: 'yes' }, []])
      assert.equal((await forget('beta', body)).status, 400, JSON.stringify(body));
    assert.equal(api.service.forgotten, undefined);
  });

  test('needs the role admin', async () => {
    const asSubmitter = await forget('beta', {}, { Authorization: `Bearer ${TOKENS.submit}` });
    assert.deepEqual([asSubmitter.status, asSubmitter.body.code], [403, 'FORBIDDEN']);
    assert.equal(api.service.forgotten, undefined);
  });
});

describe('a drain', () => {
  const drain = (body: unknown): Promise<Answer> => post(api.port, '/api/v1/drain', body);

  test('is a stop unless a way is named', async () => {
    const { status, body } = await drain({});
    assert.deepEqual([status, body.way, body.deadline_seconds], [202, 'stop', 30]);
    assert.equal(api.service.drainedWay, 'stop');
  });

  test('goes the way that is named; a restart has little time', async () => {
    assert.equal((await drain({ way: 'leave', deadline_seconds: 90 })).body.deadline_seconds, 90);
    assert.equal(api.service.drainedWay, 'leave');
    assert.equal((await drain({ way: 'restart' })).body.deadline_seconds, 3);
    assert.deepEqual([api.service.drainedWay, api.service.drainedWithMs], ['restart', 3000]);
  });

  test('of another way is refused, with the ways there are', async () => {
    const { status, body } = await drain({ way: 'now' });
    assert.equal(status, 400);
    assert.match(String(body.detail), /stop, restart, leave/);
    assert.equal(api.service.drainedWay, undefined);
  });
});
