/** A node inside another program, as a program uses it. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import * as z from 'zod';
import {
  createNode,
  defineTask,
  type EmbeddedNode,
  MeshError,
  type NodeOptions,
} from '../../src/index.ts';

const DEADLINE = { timeout: 60_000 };
const SAMPLES = fileURLToPath(new URL('../executors/handlers/sample-tasks.ts', import.meta.url));

async function start(t: TestContext, options: NodeOptions): Promise<EmbeddedNode> {
  const folder = mkdtempSync(join(tmpdir(), 'mesh-embedded-'));
  const node = await createNode({
    dataDir: join(folder, 'data'),
    configDir: join(folder, 'config'),
    discovery: false,
    logLevel: 'silent',
    ...options,
  });
  t.after(async () => {
    await node.stop();
    rmSync(folder, { recursive: true, force: true });
  });
  return node;
}

describe('an embedded node', () => {
  test("runs this program's own tasks in its process", DEADLINE, async (t) => {
    const kept: string[] = [];
    const keep = defineTask({
      name: 'keep',
      schema: z.object({ word: z.string() }),
      run: (ctx, { word }) => {
        kept.push(word);
        ctx.log('kept', word);
        ctx.progress(99, 'nearly');
        return { kept: kept.length };
      },
    });
    const node = await start(t, { tasks: [keep] });
    const kinds: string[] = [];
    const end = node.on(({ kind }) => kinds.push(kind));
    const { job_id } = await node.client.submit({ task_type: 'keep', params: { word: 'a' } });
    const job = await node.client.waitFor(job_id);
    end();
    assert.equal(job.status, 'JOB_COMPLETED');
    assert.deepEqual(job.result, { kept: 1 });
    assert.equal(job.stdout, 'kept a\n');
    assert.equal(job.progress, 99);
    assert.deepEqual(kept, ['a']);
    assert.ok(kinds.includes('attemptEnded'));
    await assert.rejects(
      node.client.submit({ task_type: 'keep', params: { word: 1 } }),
      (failure) => failure instanceof MeshError && failure.code === 'BAD_PARAMS',
    );
  });

  test('tells a task by its signal that it is cancelled', DEADLINE, async (t) => {
    const begun = Promise.withResolvers<void>();
    const wait = defineTask({
      name: 'wait',
      run: (ctx) => {
        begun.resolve();
        return new Promise((resolve) => ctx.signal.addEventListener('abort', resolve));
      },
    });
    const node = await start(t, { tasks: [wait] });
    const { job_id } = await node.client.submit({ task_type: 'wait' });
    await begun.promise;
    await node.client.cancel(job_id);
    assert.equal((await node.client.waitFor(job_id)).status, 'JOB_CANCELLED');
  });

  test('runs the tasks of a module in processes of their own', DEADLINE, async (t) => {
    const node = await start(t, { tasks: [SAMPLES] });
    const { job_id } = await node.client.submit({ task_type: 'add', params: { a: 1 } });
    const { result } = await node.client.waitFor(job_id);
    assert.notEqual((result as { pid: number }).pid, process.pid);
  });

  test('refuses a task of a name that is taken, and a wrong setting', async (t) => {
    const shell = defineTask({ name: 'shell', run: () => 1 });
    await assert.rejects(start(t, { tasks: [shell] }), /task type shell is there already/);
    await assert.rejects(start(t, { slots: -1 }), /The setting slots is "-1"/);
  });
});
