import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { parsePolicy } from '../../src/policy/policy.ts';
import { post } from './requests.ts';
import { startApi, type TestApi } from './test-api.ts';

const RULES = `
  rules:
    - { name: fenced, sandbox: { for: { type: shell }, writable: "/srv/*" } }
    - { name: no rm, deny: { command: "rm *" } }
`;

let api: TestApi;
beforeEach(async () => {
  api = await startApi({ policy: parsePolicy('policy.yaml', RULES) });
});
afterEach(() => api.stop());

const submit = (body: unknown) => post(api.port, '/api/v1/jobs', body);

describe('a node with a policy', () => {
  test('takes what no rule is against', async () => {
    assert.equal((await submit({ command: 'ls', sandbox: true })).status, 201);
    const writable = ['/srv/data'];
    assert.equal((await submit({ command: 'ls', sandbox: { writable } })).status, 201);
  });

  test('refuses a job with the name of the rule', async () => {
    for (const [job, why] of [
      [{ command: 'ls' }, /"fenced" .* in a sandbox only/],
      [{ command: 'ls', sandbox: { writable: ['/'] } }, /"fenced" .* write to \//],
      [{ command: 'rm x', sandbox: true }, /"no rm" .* denies it/],
      [{ task_type: 'terminal', delivery: 'at_most_once' }, /"no rm".*typed into a terminal/],
    ] as const) {
      const { status, body } = await submit(job);
      assert.deepEqual([status, body.code], [403, 'POLICY'], JSON.stringify(job));
      assert.match(String(body.error), why);
    }
  });

  test('refuses one job of many, and takes the others', async () => {
    const { status, body } = await submit([{ command: 'ls' }, { command: 'ls', sandbox: true }]);
    assert.deepEqual([status, body.accepted, body.refused], [207, 1, 1]);
    const [refused] = body.jobs as { problem: { code: string } }[];
    assert.equal(refused?.problem.code, 'POLICY');
  });
});

describe('files of a job that may do less than its node', () => {
  test('are in no folder but its own', async () => {
    const inputs = [{ path: 'cron.d/x', text: '' }];
    const folder = { command: 'true', working_dir: '/etc' };
    for (const job of [
      { ...folder, user: 'nobody', inputs },
      { ...folder, sandbox: true, outputs: ['shadow'] },
    ]) {
      const { status, body } = await submit(job);
      assert.equal(status, 400);
      assert.match(String(body.error), /leave working_dir out/);
    }
    assert.equal((await submit({ ...folder, sandbox: true, inputs: [] })).status, 201);
  });
});
