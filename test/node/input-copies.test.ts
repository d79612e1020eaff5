import assert from 'node:assert/strict';
import { describe, type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { asBirth, asJobId, type JobId, type NodeId } from '../../src/base/ids.ts';
import type { Submission } from '../../src/core/inputs.ts';
import type { JobSpec } from '../../src/core/job.ts';
import { InputCopies, type InputCopiesParts } from '../../src/node/input-copies.ts';
import { bytesOf, MIB, put, sha256Of } from '../blobs/blob-folders.ts';
import { FileMesh, type FileNode } from './file-mesh.ts';

const BYTES = bytesOf(2 * MIB + 5);
const SHA256 = sha256Of(BYTES);
const RUN = JSON.stringify({ inputs: [{ path: 'in', sha256: SHA256, bytes: BYTES.length }] });
const NOBODYS = RUN.replace(SHA256, 'ab'.repeat(32));

let serial = 0;
function submission(run: string, change: Partial<JobSpec> = {}): Submission {
  serial += 1;
  const spec: JobSpec = {
    taskType: 'shell',
    command: 'true',
    params: '{}',
    run,
    env: {},
    timeoutMs: 1000,
    priority: 5,
    needs: { labels: {}, capabilities: {} },
    delivery: 'at_least_once',
    onIsolation: 'stop',
    ...change,
  };
  const [job, birth] = [asJobId(`job-${serial}`), asBirth('0'.repeat(16))];
  return { job, birth, spec, contentHash: '', isKeyed: false };
}

const pinnedTo = (target: NodeId): Partial<JobSpec> => ({
  needs: { target, labels: {}, capabilities: {} },
});

async function start(t: TestContext, more: Partial<InputCopiesParts> = {}) {
  const mesh = new FileMesh();
  const { one, two, three } = await mesh.three(t);
  const { files, links, linked } = one;
  const ended = new Set<JobId>();
  const hasEnded = (job: JobId): boolean => ended.has(job);
  const inputs = new InputCopies({ files, links, linked, hasEnded, againMs: 20, ...more });
  t.after(() => inputs.stop());
  const exposed = async (...jobs: Submission[]): Promise<JobId[]> => [
    ...((await inputs.secure(jobs)) ?? assert.fail('none has to be waited for')),
  ];
  const holders = async (): Promise<FileNode[]> => {
    const found = await Promise.all(
      [one, two, three].map(async (node) => ((await node.blobs.find(SHA256)) ? [node] : [])),
    );
    return found.flat();
  };
  return { mesh, one, two, three, inputs, exposed, ended, holders };
}

async function until(holds: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 20_000;
  while (!(await holds())) {
    assert(performance.now() < deadline, 'never');
    await delay(10);
  }
}

describe('an uploaded input', () => {
  test('is on a second disk before its job is taken, on that of its target', async (t) => {
    const { one, three, exposed, holders } = await start(t);
    await put(one.blobs, BYTES);
    assert.deepEqual(await exposed(submission(RUN, pinnedTo(three.id))), []);
    assert.deepEqual(await holders(), [one, three]);
  });

  test('that is on two disks is copied no more', async (t) => {
    const { mesh, one, two, exposed, holders } = await start(t);
    for (const { blobs } of [one, two]) await put(blobs, BYTES);
    assert.deepEqual(await exposed(submission(RUN)), []);
    assert.deepEqual(await holders(), [one, two]);
    const before = mesh.asked.length;
    assert.deepEqual(await exposed(submission(RUN), submission(RUN)), []);
    assert.equal(mesh.asked.length, before, 'nor asked for once it is known');
  });

  test('at another node alone is kept here', async (t) => {
    const { one, two, exposed, holders } = await start(t);
    await put(two.blobs, BYTES);
    assert.deepEqual(await exposed(submission(RUN)), []);
    assert.deepEqual(await holders(), [one, two]);
  });

  test('goes to the next node where the first has no room', async (t) => {
    const { mesh, one, two, three, exposed, holders } = await start(t);
    await put(one.blobs, BYTES);
    mesh.onCall = (to, { kind }) => {
      if (to === two.id && kind === 'keepBlob') throw new Error('no room');
    };
    assert.deepEqual(await exposed(submission(RUN, pinnedTo(two.id))), []);
    assert.deepEqual(await holders(), [one, three]);
  });

  test('that nobody has is no matter of copies, and may be there later', async (t) => {
    const { one, exposed, holders } = await start(t);
    assert.deepEqual(await exposed(submission(NOBODYS), submission(RUN)), []);
    await put(one.blobs, BYTES);
    await exposed(submission(RUN));
    assert.equal((await holders()).length, 2);
  });

  test('of jobs that name none, or want one disk, is nobody waited for', async (t) => {
    const { inputs, mesh } = await start(t);
    assert.equal(inputs.secure([submission('{}'), submission(RUN, { replicas: 1 })]), undefined);
    assert.deepEqual(mesh.asked, []);
  });

  test('on one disk is told, and copied while its job waits', async (t) => {
    const { mesh, one, two, three, exposed, holders } = await start(t);
    await put(one.blobs, BYTES);
    for (const { id } of [two, three]) mesh.away.add(id);
    const job = submission(RUN);
    assert.deepEqual(await exposed(submission('{}'), job), [job.job]);
    mesh.away.delete(three.id);
    await until(async () => (await holders()).length === 2);
    assert.deepEqual(await holders(), [one, three]);
  });

  test('of a job that has ended is copied no more', async (t) => {
    const { mesh, one, two, three, exposed, ended } = await start(t);
    await put(one.blobs, BYTES);
    for (const { id } of [two, three]) mesh.away.add(id);
    const jobs = [submission(RUN), submission(NOBODYS)] as const;
    await exposed(...jobs);
    let looks = 0;
    ended.has = () => {
      looks += 1;
      return true;
    };
    await until(async () => looks > 0);
    mesh.away.clear();
    mesh.asked.length = 0;
    // The next job is looked after again, the first not.
    await exposed(submission(NOBODYS));
    assert(mesh.asked.every(({ call }) => 'sha256' in call && call.sha256 !== SHA256));
  });

  test('is not waited for without end', async (t) => {
    const { one, two, three, exposed } = await start(t, { patienceMs: 300 });
    await put(one.blobs, BYTES);
    for (const { files } of [two, three]) {
      const answer = files.answer.bind(files);
      files.answer = (from, call) =>
        call.kind === 'keepBlob' ? new Promise(() => {}) : answer(from, call);
    }
    const job = submission(RUN);
    assert.deepEqual(await exposed(job), [job.job]);
  });
});
