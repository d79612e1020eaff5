import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { MeshError } from '../../src/base/errors.ts';
import { asJobId } from '../../src/base/ids.ts';
import { type Answer, ask, post } from './requests.ts';
import { PEER, SELF } from './stand-in-service.ts';
import { startApi, type TestApi } from './test-api.ts';

const RFC_3339_MS = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;

let api: TestApi;
beforeEach(async () => {
  api = await startApi();
});
afterEach(() => api.stop());

const submit = (value: unknown, headers = {}): Promise<Answer> =>
  post(api.port, '/api/v1/jobs', value, headers);
const get = (path: string): Promise<Answer> => ask(api.port, `/api/v1/jobs${path}`);

describe('a submit', () => {
  test('is answered 201 with what was taken', async () => {
    const { status, headers, body } = await submit({ command: 'echo hello' });
    assert.equal(status, 201);
    assert.equal(headers['x-node-id'], SELF);
    assert.match(String(body.created_at), RFC_3339_MS);
    assert.deepEqual(
      { ...body, created_at: '' },
      {
        job_id: 'job-1',
        target_node: null,
        target_node_id: null,
        command: 'echo hello',
        status: 'JOB_PENDING',
        created_at: '',
        durability: 'local',
      },
    );
  });

  test('with a target by name is pinned to its id', async () => {
    const { status, body } = await submit({ command: 'x', target_node_id: 'beta' });
    assert.equal(status, 201);
    assert.equal(body.target_node_id, PEER);
    assert.equal(body.target_node, PEER);
  });

  test('with a target nobody knows is 404, and one that is away is taken', async () => {
    const unknown = await submit({ command: 'x', target_node_id: `node-${'c'.repeat(32)}` });
    assert.deepEqual([unknown.status, unknown.body.code], [404, 'NODE_NOT_FOUND']);
    api.service.peerViews = api.service.peerViews.map((peer) => ({ ...peer, state: 'dead' }));
    assert.equal((await submit({ command: 'x', target_node_id: PEER })).status, 201);
  });

  test('that is repeated with its key is 200 with the same job; with other content 409', async () => {
    const headers = { 'Idempotency-Key': 'order-1' };
    const first = await submit({ command: 'x' }, headers);
    const second = await submit({ command: 'x' }, headers);
    const other = await submit({ command: 'y' }, headers);
    assert.deepEqual([first.status, second.status, other.status], [201, 200, 409]);
    assert.equal(second.body.job_id, first.body.job_id);
    assert.equal(other.body.code, 'KEY_CONFLICT');
  });

  test('that the node refuses has its status, and when to try again', async () => {
    const codes = { QUEUE_FULL: 429, DRAINING: 503, DISK_FULL: 507, BUSY: 503 } as const;
    for (const [code, status] of Object.entries(codes)) {
      api.service.refusal = {
        kind: 'refused',
        code: code as keyof typeof codes,
        message: 'Because.',
      };
      const answer = await submit({ command: 'x' });
      assert.deepEqual([answer.status, answer.body.code], [status, code]);
      assert.ok(Number(answer.headers['retry-after']) > 0);
    }
  });

  test('is refused with a problem that names what is wrong', async () => {
    const cases: [unknown, number, string, RegExp][] = [
      [{}, 400, 'BAD_REQUEST', /^Command is required$/],
      [{ command: '   ' }, 400, 'BAD_REQUEST', /^Command is required$/],
      [{ command: 7 }, 400, 'BAD_REQUEST', /^Invalid request body: command must be a text/],
      [{ command: 'x', comand: 'y' }, 400, 'BAD_REQUEST', /unknown field "comand"/],
      ['{"command":', 400, 'BAD_JSON', /^Invalid request body: it is not JSON/],
      ['', 400, 'BAD_JSON', /empty/],
      [{ command: 'x'.repeat(200_000) }, 400, 'BAD_REQUEST', /longer than 128 KiB/],
      [{ command: 'x'.repeat(300_000) }, 413, 'BODY_TOO_LARGE', /body may have/],
      [[], 400, 'BAD_REQUEST', /1 to 1000 jobs, and has 0/],
      [Array(1001).fill({ command: 'x' }), 400, 'BAD_REQUEST', /has 1001/],
      [[{ command: 'x'.repeat(1_100_000) }], 413, 'BODY_TOO_LARGE', /array/],
    ];
    for (const [value, status, code, error] of cases) {
      const { body, ...answer } = await submit(value);
      assert.deepEqual(
        [answer.status, body.status, body.code],
        [status, status, code],
        String(error),
      );
      assert.match(String(body.error), error);
      assert.equal(answer.headers['content-type'], 'application/problem+json');
      assert.ok(body.type && body.title && body.detail);
    }
    assert.equal((await get('')).body.count, 0);
  });

  test('of an array has an outcome for each, in order', async () => {
    const all = await submit([{ command: 'a' }, { command: 'b' }]);
    assert.deepEqual([all.status, all.body.count, all.body.accepted], [201, 2, 2]);
    const mixed = await submit([
      { command: 'c' },
      { command: '' },
      { command: 'd', target_node_id: 'zeta' },
      { command: 'e' },
    ]);
    assert.equal(mixed.status, 207);
    assert.deepEqual([mixed.body.accepted, mixed.body.refused], [2, 2]);
    const jobs = mixed.body.jobs as {
      job_id?: string;
      command?: string;
      problem?: { code: string };
    }[];
    assert.deepEqual(
      jobs.map((job) => job.command ?? job.problem?.code),
      ['c', 'BAD_REQUEST', 'NODE_NOT_FOUND', 'e'],
    );
  });

  test('in pieces is put together', async () => {
    const body = JSON.stringify({ command: 'echo é' });
    const { status } = await ask(api.port, '/api/v1/jobs', {
      method: 'POST',
      headers: {
        'Content-Type': 'application/json; charset=utf-8',
        'Transfer-Encoding': 'chunked',
      },
      body: Buffer.from(`  ${body}`),
    });
    assert.equal(status, 201);
  });
});

describe('a job', () => {
  test('shows how it ended, an exit code of 0 included', async () => {
    await submit({ command: 'x', env: { A: '1' }, params: { n: 1 } });
    const job = asJobId('job-1');
    const before = (await get('/job-1')).body;
    assert.deepEqual(
      [before.exit_code, before.status, before.started_at],
      [null, 'JOB_PENDING', null],
    );
    assert.deepEqual(before.waiting, [{ node_id: PEER, reason: 'label missing' }]);
    api.service.start(job);
    api.service.print(job, 'stdout', 'hello\n');
    api.service.end(job, 'JOB_COMPLETED', { tag: 'exited', code: 0 });
    const { body } = await get('/job-1');
    assert.equal(body.exit_code, 0);
    assert.equal(body.status, 'JOB_COMPLETED');
    assert.equal(body.stdout, 'hello\n');
    assert.equal(body.stdout_bytes, 6);
    assert.equal(body.stdout_truncated, false);
    assert.equal(body.target_node_id, SELF);
    assert.equal(body.error_message, null);
    assert.deepEqual(body.params, { n: 1 });
    assert.deepEqual(body.env, { A: '1' });
    for (const field of ['created_at', 'started_at', 'finished_at'])
      assert.match(String(body[field]), RFC_3339_MS);
  });

  test('shows the end of a long output, beginning with a whole character', async () => {
    await submit({ command: 'x' });
    const job = asJobId('job-1');
    api.service.start(job);
    api.service.print(job, 'stdout', `${'é'.repeat(20_000)}!`);
    api.service.end(
      job,
      'JOB_FAILED',
      { tag: 'signalled', signal: 'SIGSEGV' },
      'Ended by SIGSEGV.',
    );
    const { body } = await get('/job-1');
    assert.equal(body.stdout_bytes, 40_001);
    assert.equal(body.stdout_truncated, true);
    assert.match(String(body.stdout), /^é+!$/);
    assert.equal(body.signal, 'SIGSEGV');
    assert.equal(body.error_message, 'Ended by SIGSEGV.');
    const [listed] = (await get('')).body.jobs as { stdout: string; stdout_truncated: boolean }[];
    assert.ok(listed && listed.stdout.length < 2048 && listed.stdout_truncated);
  });

  test('that nobody knows is 404, and an id that is none 400', async () => {
    const unknown = await get('/job-99');
    assert.deepEqual([unknown.status, unknown.body.code], [404, 'JOB_NOT_FOUND']);
    for (const id of ['a%20b', '%00', '%ff', '-x', 'x'.repeat(129), '..%2f..%2fetc']) {
      const answer = await get(`/${id}`);
      assert.deepEqual([answer.status, answer.body.code], [400, 'BAD_REQUEST'], id);
    }
  });

  test('explains itself', async () => {
    await submit({ command: 'x' });
    const { body } = await get('/job-1/explain');
    assert.deepEqual(body.summary, ['It waits for a node: label missing (1 node).']);
    api.service.start(asJobId('job-1'));
    const running = (await get('/job-1/explain')).body;
    assert.match(String(running.summary), /own free slot/);
  });

  test('can be waited for', async () => {
    await submit({ command: 'x' });
    const soon = await get('/job-1?wait_seconds=1');
    assert.equal(soon.body.status, 'JOB_PENDING');
    const waiting = get('/job-1?wait_seconds=30');
    api.service.start(asJobId('job-1'));
    api.service.end(asJobId('job-1'), 'JOB_COMPLETED', { tag: 'exited', code: 0 });
    assert.equal((await waiting).body.status, 'JOB_COMPLETED');
    assert.equal(api.service.listenerCount, 3, 'one for all that wait, two for events');
  });
});

describe('a cancel', () => {
  test('is 200 when nothing runs, 202 when something must be ended, 409 when all is over', async () => {
    await submit([{ command: 'a' }, { command: 'b' }, { command: 'c' }]);
    api.service.start(asJobId('job-2'));
    api.service.start(asJobId('job-3'));
    api.service.end(asJobId('job-3'), 'JOB_FAILED', { tag: 'exited', code: 1 }, 'Exit code 1.');
    const cancel = (id: string): Promise<Answer> => post(api.port, `/api/v1/jobs/${id}/cancel`, {});
    const answers = [await cancel('job-1'), await cancel('job-2'), await cancel('job-3')];
    assert.deepEqual(
      answers.map(({ status }) => status),
      [200, 202, 409],
    );
    assert.deepEqual(
      answers.map(({ body }) => body.status),
      ['cancelled', 'cancelling', 409],
    );
    const again = await ask(api.port, '/api/v1/jobs/job-1', { method: 'DELETE' });
    assert.equal(again.status, 200);
  });

  test('passes on why it cannot be decided', async () => {
    api.service.failure = new MeshError('OWNER_UNREACHABLE', 'The owner does not answer.');
    const answer = await ask(api.port, '/api/v1/jobs/job-1', { method: 'DELETE' });
    assert.deepEqual([answer.status, answer.body.detail], [503, 'The owner does not answer.']);
  });

  test('takes no fields', async () => {
    await submit({ command: 'x' });
    assert.equal((await post(api.port, '/api/v1/jobs/job-1/cancel', { force: true })).status, 400);
  });
});

describe('a list', () => {
  test('asks the whole mesh for 50, and says what is missing', async () => {
    api.service.missing = [{ node: PEER, reason: 'no link to it' }];
    await submit([{ command: 'a' }, { command: 'b' }]);
    const { body } = await get('');
    assert.equal(api.service.lastQuery?.scope, 'mesh');
    assert.equal(api.service.lastQuery?.query.limit, 50);
    assert.deepEqual([body.count, body.scope, body.next_cursor], [2, 'mesh', null]);
    assert.deepEqual(body.partial, [{ node_id: PEER, reason: 'no link to it' }]);
  });

  test('goes on page by page', async () => {
    await submit(Array.from({ length: 5 }, (_, i) => ({ command: `${i}` })));
    const seen: string[] = [];
    let cursor: unknown = '';
    do {
      const { body } = await get(`?limit=2&cursor=${cursor}`);
      seen.push(...(body.jobs as { command: string }[]).map((job) => job.command));
      cursor = body.next_cursor;
    } while (cursor !== null);
    assert.deepEqual(seen, ['4', '3', '2', '1', '0']);
  });

  test('is filtered by status in any spelling, type and node', async () => {
    const { status } = await get(
      '?status=completed,JOB_FAILED,Lost&task_type=Shell&node=beta&scope=node',
    );
    assert.equal(status, 200);
    const { query, scope } = api.service.lastQuery ?? assert.fail();
    assert.deepEqual(query.statuses, ['JOB_COMPLETED', 'JOB_FAILED', 'JOB_LOST']);
    assert.deepEqual([query.taskType, query.node, scope], ['shell', PEER, 'node']);
  });

  test('is refused when its query is not as documented', async () => {
    const wrong = [
      'limit=0',
      'limit=1001',
      'limit=x',
      'limit=-1',
      'status=done',
      'scope=all',
      'cursor=%21',
      'stauts=lost',
      'limit=1&limit=2',
    ];
    for (const query of wrong) {
      const { status, body } = await get(`?${query}`);
      assert.deepEqual([status, body.code], [400, 'BAD_REQUEST'], query);
    }
    assert.equal((await get('?node=zeta')).status, 404);
    assert.equal(
      (await get(`?node=node-${'c'.repeat(32)}`)).status,
      200,
      'it may have left long ago',
    );
  });
});
