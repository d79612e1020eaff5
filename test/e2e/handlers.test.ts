/** Handlers of a module that a user wrote, served by real nodes. */
import assert from 'node:assert/strict';
import { renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import {
  type JobJson,
  type Json,
  type MeshProcesses,
  type NodeProcess,
  newMesh,
  processesWith,
  until,
} from './mesh-processes.ts';

const DEADLINE = { timeout: 180_000 };

const TASKS = `
import { defineTask } from 'worker-mesh';
import * as z from 'zod';

enum Word { Hello = 'hello' }

export const greet = defineTask({
  name: 'greet',
  schema: z.object({ name: z.string() }),
  run: (ctx, { name }) => {
    console.log(Word.Hello, name);
    return { greeting: Word.Hello + ' ' + name };
  },
});
export const loops = defineTask({
  name: 'loops',
  run: (ctx) => {
    console.log('begun');
    if (ctx.attempt > 1) return ctx.attempt;
    for (;;);
  },
});
`;

function write(mesh: MeshProcesses, text: string): string {
  const path = join(mesh.folder, 'tasks.ts');
  // As editors do: the file is never half there.
  writeFileSync(`${path}.new`, text);
  renameSync(`${path}.new`, path);
  return path;
}

/** The second has the module, the first has not. */
async function startTwo(
  t: TestContext,
): Promise<{ mesh: MeshProcesses; path: string; one: NodeProcess; two: NodeProcess }> {
  const mesh = newMesh(t);
  const path = write(mesh, TASKS);
  const one = await mesh.start('one');
  const two = await mesh.start('two', { flags: ['--tasks', path] });
  await Promise.all([one.seesPeers(1), two.seesPeers(1)]);
  await serves(one, two, 'greet');
  return { mesh, path, one, two };
}

/** That `asked` knows it. */
const serves = (asked: NodeProcess, node: NodeProcess, type: string): Promise<void> =>
  until(`${type} is served`, 60_000, async () => {
    const { body } = await asked.get<{ nodes: Json[] }>('/api/v1/nodes');
    const found = body.nodes.find((each) => each.node_id === node.id);
    return JSON.stringify(found).includes(`"${type}"`);
  });

async function run(node: NodeProcess, body: Json): Promise<JobJson> {
  const answer = await node.post<JobJson>('/api/v1/jobs', body);
  assert.equal(answer.status, 201, JSON.stringify(answer.body));
  return node.jobEnds(answer.body.job_id, 60_000);
}

describe('a handler', () => {
  test('runs where its module is, submitted where it is not', DEADLINE, async (t) => {
    const { one, two } = await startTwo(t);
    const job = await run(one, { task_type: 'greet', params: { name: 'mesh' } });
    assert.equal(job.status, 'JOB_COMPLETED');
    assert.deepEqual(job.result, { greeting: 'hello mesh' });
    assert.equal(job.stdout, 'hello mesh\n');
    assert.equal(job.target_node_id, two.id);
    for (const node of [one, two]) {
      const refused = await node.post('/api/v1/jobs', { task_type: 'greet', params: { name: 1 } });
      assert.equal(refused.status, 400);
      assert.equal(refused.body.code, 'BAD_PARAMS');
      assert.match(String(refused.body.detail), /^params of the task type greet: name: /);
    }
    const array = [{ name: 'a' }, { name: 2 }].map((params) => ({ task_type: 'greet', params }));
    const many = await one.post<{ accepted: number; refused: number }>('/api/v1/jobs', array);
    assert.deepEqual([many.body.accepted, many.body.refused], [1, 1]);
  });

  test('that loops ends at its timeout and by a cancel', DEADLINE, async (t) => {
    const { one } = await startTwo(t);
    const late = await run(one, { task_type: 'loops', timeout_seconds: 1 });
    assert.equal(late.status, 'JOB_TIMEOUT');
    const { body } = await one.post<JobJson>('/api/v1/jobs', { task_type: 'loops' });
    await one.jobIs(body.job_id, ['JOB_RUNNING']);
    await one.post(`/api/v1/jobs/${body.job_id}/cancel`, {});
    assert.equal((await one.jobEnds(body.job_id)).status, 'JOB_CANCELLED');
  });

  test(
    'whose node is killed is run again elsewhere, and nothing of it is left',
    DEADLINE,
    async (t) => {
      const { mesh, path, one, two } = await startTwo(t);
      const { body } = await one.post<JobJson>('/api/v1/jobs', { task_type: 'loops' });
      await one.jobIs(body.job_id, ['JOB_RUNNING']);
      assert.notEqual(processesWith(path).length, 0);
      await two.kill('SIGKILL');
      await until('its processes are gone', 10_000, () => processesWith(path).length === 0);
      await mesh.start('three', { flags: ['--tasks', path] });
      const job = await one.jobEnds(body.job_id, 60_000);
      assert.equal(job.status, 'JOB_COMPLETED');
      assert.equal(job.result, 2);
    },
  );

  test('is loaded again when its file changes, and goes on when it breaks', DEADLINE, async (t) => {
    const mesh = newMesh(t);
    const path = write(mesh, TASKS);
    const node = await mesh.start('one', { flags: ['--tasks', path, '--tasks-watch'] });
    await serves(node, node, 'greet');
    const greeting = async (): Promise<unknown> =>
      (await run(node, { task_type: 'greet', params: { name: 'x' } })).result;
    assert.deepEqual(await greeting(), { greeting: 'hello x' });
    write(mesh, TASKS.replace("'hello'", "'goodbye'").replace("name: 'loops'", "name: 'other'"));
    await serves(node, node, 'other');
    assert.deepEqual(await greeting(), { greeting: 'goodbye x' });
    write(mesh, 'export default nothing;');
    await until('the mistake is named', 20_000, () =>
      node.log.includes('ReferenceError: nothing is not defined'),
    );
    assert.deepEqual(await greeting(), { greeting: 'goodbye x' });
  });
});
