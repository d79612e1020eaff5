/** Workers in other languages: exactly the text that the README prints. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { type JobJson, type Json, type NodeProcess, newMesh, until } from './mesh-processes.ts';

const DEADLINE = { timeout: 120_000 };
const README = readFileSync(new URL('../../README.md', import.meta.url), 'utf8');

/** The block of code after that mark. */
function blockOf(name: string): string {
  const block = new RegExp(`<!-- ${name.replace('.', '\\.')} -->\\n\`\`\`\\w+\\n(.*?)\`\`\``, 's');
  return block.exec(README)?.[1] ?? assert.fail(`the README has no ${name}`);
}

function startWorker(
  t: TestContext,
  folder: string,
  { program, file, node }: { program: string; file: string; node: NodeProcess },
): ChildProcess {
  const path = join(folder, file);
  writeFileSync(path, blockOf(file));
  // A group of its own: the shell's worker has children.
  const child = spawn(program, [path, node.url], { detached: true, stdio: 'ignore' });
  t.after(async () => {
    // The one in Python may have ended with its node by now.
    if (child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    try {
      if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
    } catch {
      // It ends in this moment.
    }
    await ended;
  });
  return child;
}

const workersOf = async (node: NodeProcess): Promise<Json[]> =>
  (await node.get<{ workers: Json[] }>('/api/v1/workers')).body.workers;

async function submit(node: NodeProcess, body: Json): Promise<string> {
  const answer = await node.post<JobJson>('/api/v1/jobs', body);
  assert.equal(answer.status, 201, JSON.stringify(answer.body));
  return answer.body.job_id;
}

const claimBody = (types: string[]): Json => ({ worker: 'test', types, wait_seconds: 20 });

interface Claimed extends Json {
  readonly job_id: string;
  readonly attempt: string;
}

async function claim(node: NodeProcess, type: string): Promise<Claimed> {
  const { status, body } = await node.post<Claimed>('/api/v1/workers/claim', claimBody([type]));
  assert.equal(status, 200);
  return body;
}

const say = (node: NodeProcess, { job_id, attempt }: Claimed, what: string, body: Json = {}) =>
  node.post(`/api/v1/workers/jobs/${job_id}/${what}`, body, { 'X-Mesh-Attempt': attempt });

describe("the README's worker", () => {
  test('in Python takes a job submitted at another node', DEADLINE, async (t) => {
    const mesh = newMesh(t);
    const [one, two] = await mesh.startMesh(['one', 'two']);
    assert.ok(one && two);
    startWorker(t, mesh.folder, { program: 'python3', file: 'worker.py', node: two });
    const id = await submit(one, { task_type: 'count-words', params: { text: 'a b c' } });
    const job = await one.jobEnds(id);
    assert.equal(job.status, 'JOB_COMPLETED');
    assert.deepEqual(job.result, { words: 3 });
    assert.equal(job.stdout, 'counting\n');
    assert.equal(job.target_node_id, two.id);
    const bad = await one.jobEnds(await submit(one, { task_type: 'count-words', params: {} }));
    assert.equal(bad.status, 'JOB_FAILED');
    assert.match(String(bad.error_message), /KeyError\('text'\)/);
  });

  test('in sh takes job after job', DEADLINE, async (t) => {
    const mesh = newMesh(t);
    const node = await mesh.start('one');
    startWorker(t, mesh.folder, { program: 'sh', file: 'worker.sh', node });
    for (const word of ['mesh', 'worker']) {
      const job = await node.jobEnds(
        await submit(node, { task_type: 'upper-case', params: { word } }),
      );
      assert.equal(job.status, 'JOB_COMPLETED');
      assert.equal(job.result, word.toUpperCase());
    }
    const bad = await node.jobEnds(await submit(node, { task_type: 'upper-case' }));
    assert.equal(bad.error_message, 'params need a word of letters');
  });
});

describe('a worker', () => {
  test('that goes silent loses its attempt to another, and is refused', DEADLINE, async (t) => {
    const node = await newMesh(t).start('one');
    const first = claim(node, 'slow');
    await until('it is known', 10_000, async () => (await workersOf(node)).length === 1);
    const id = await submit(node, { task_type: 'slow' });
    const lost = await first;
    assert.equal(lost.job_id, id);
    const again = await claim(node, 'slow');
    assert.equal(again.job_id, id);
    assert.notEqual(again.attempt, lost.attempt);
    const late = await say(node, lost, 'complete', { result: 'late' });
    assert.equal(late.status, 409);
    assert.equal(late.body.code, 'NOT_CURRENT');
    assert.equal((await say(node, again, 'progress', { percent: 40, message: 'm' })).status, 200);
    assert.equal((await say(node, again, 'output', { text: 'said' })).status, 200);
    assert.equal((await say(node, again, 'complete', { result: 1 })).status, 200);
    const job = await node.jobEnds(id);
    assert.equal(job.result, 1);
    assert.equal(job.stdout, 'said');
    assert.equal(job.progress, 40);
    assert.equal((await say(node, again, 'heartbeat')).status, 409);
  });

  test('that does not come leaves the attempt to another', DEADLINE, async (t) => {
    const node = await newMesh(t).start('one');
    const known = { ...claimBody(['slow']), wait_seconds: 0 };
    assert.equal((await node.post('/api/v1/workers/claim', known)).status, 204);
    // Nobody has it while it waits: that is no time of its run.
    const id = await submit(node, { task_type: 'slow', timeout_seconds: 5 });
    const seen = new Set<string>();
    const history = async (): Promise<string> => {
      const { status, attempts } = await node.job(id);
      seen.add(status);
      return JSON.stringify(attempts);
    };
    await until('it is given back', 30_000, async () =>
      (await history()).includes('no worker of this node took it within 10 s'),
    );
    assert(!seen.has('JOB_RUNNING'), [...seen].join());
    const claimed = await claim(node, 'slow');
    assert.equal(claimed.attempt_number, 2);
    await say(node, claimed, 'complete', { exit_code: 3 });
    assert.equal((await node.jobEnds(id)).exit_code, 3);
  });

  test('hears of a cancel with its next word', DEADLINE, async (t) => {
    const node = await newMesh(t).start('one', { flags: ['--kill-grace', '30s'] });
    const first = claim(node, 'slow');
    await until('it is known', 10_000, async () => (await workersOf(node)).length === 1);
    const id = await submit(node, { task_type: 'slow' });
    const claimed = await first;
    assert.deepEqual((await say(node, claimed, 'heartbeat')).body, { cancel: false });
    assert.equal((await node.post(`/api/v1/jobs/${id}/cancel`, {})).status, 202);
    await until('it is told', 10_000, async () => {
      const { body } = await say(node, claimed, 'heartbeat');
      return body.cancel === true;
    });
    await say(node, claimed, 'fail', { reason: 'as I was told' });
    assert.equal((await node.jobEnds(id)).status, 'JOB_CANCELLED');
  });

  test('may not serve what the node serves, nor leave out its attempt', DEADLINE, async (t) => {
    const node = await newMesh(t).start('one');
    const taken = await node.post('/api/v1/workers/claim', claimBody(['shell']));
    assert.equal(taken.status, 400);
    assert.match(String(taken.body.error), /shell is served by the node itself/);
    const none = await node.post('/api/v1/workers/jobs/j/heartbeat', {});
    assert.match(String(none.body.error), /X-Mesh-Attempt/);
  });
});
