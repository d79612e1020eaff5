/** Files of jobs in a real mesh: given at one node, used at another, fetched at a third. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { createClient } from '../../src/client/client.ts';
import { bytesOf, MIB, sha256Of } from '../blobs/blob-folders.ts';
import { type NodeProcess, newMesh, startOwnerAndTwo, until } from './mesh-processes.ts';

const DEADLINE = { timeout: 120_000 };
const BYTES = bytesOf(64 * MIB);
const SHA256 = sha256Of(BYTES);

const upload = (node: NodeProcess) =>
  createClient({ url: node.url }).upload({
    sha256: SHA256,
    bytes: BYTES.length,
    read: async (offset, length) => BYTES.subarray(offset, offset + length),
  });

async function hashOf(node: NodeProcess, job: string, path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const bytes of createClient({ url: node.url }).download(job, path)) hash.update(bytes);
  return hash.digest('hex');
}

const input = { path: 'in', sha256: SHA256, bytes: BYTES.length };

/** Bytes of a file that is on its way to this node. */
const arrivedAt = ({ dataDir }: NodeProcess): number => {
  const path = join(dataDir, 'blobs', 'partial', SHA256);
  return existsSync(path) ? statSync(path).size : 0;
};

const hasWhole = ({ dataDir }: NodeProcess, sha256 = SHA256): boolean =>
  existsSync(join(dataDir, 'blobs', sha256.slice(0, 2), sha256));

describe('files in a mesh', () => {
  test('go to where the job runs and come back to whoever asks', DEADLINE, async (t) => {
    const { one, two, three } = await startOwnerAndTwo(newMesh(t));
    await upload(one);
    const command = 'mkdir out; tail -c 1000 in >out/tail; cp in out/copy; exit 4';
    const more = { target_node_id: two.id, inputs: [input], outputs: ['out'] };
    const job = await one.submit(command, more);
    const { status, exit_code, files } = await one.jobEnds(job, 60_000);
    assert.deepEqual([status, exit_code], ['JOB_FAILED', 4]);
    assert.deepEqual(files, [
      { path: 'out/copy', bytes: BYTES.length, sha256: SHA256 },
      { path: 'out/tail', bytes: 1000, sha256: sha256Of(BYTES.subarray(-1000)) },
    ]);
    assert.equal(await hashOf(three, job, 'out/copy'), SHA256);
    assert.equal(await hashOf(one, job, 'out/tail'), sha256Of(BYTES.subarray(-1000)));
    // The owner has a second copy: the node that ran it may go with its disk.
    const tail = sha256Of(BYTES.subarray(-1000));
    await until('a second copy', 60_000, () => hasWhole(one, tail) && hasWhole(one));
    await two.kill('SIGKILL');
    assert.equal(await hashOf(three, job, 'out/tail'), tail);
  });

  test('outlive the node that they were given to, as their job does', DEADLINE, async (t) => {
    const mesh = newMesh(t);
    const { one, two, three } = await startOwnerAndTwo(mesh);
    await upload(one);
    const more = { required: { late: 'true' }, inputs: [input] };
    const { body } = await one.post('/api/v1/jobs', { command: 'sha256sum <in', ...more });
    assert.equal(body.durability, 'replicated');
    assert(hasWhole(two) || hasWhole(three), 'nobody could run it yet, and a second node has it');
    await one.killHost();
    rmSync(one.dataDir, { recursive: true });
    const four = await mesh.start('four', { flags: ['--capabilities', 'late=true'] });
    const { status, stdout } = await four.jobEnds(String(body.job_id), 90_000);
    assert.deepEqual([status, stdout], ['JOB_COMPLETED', `${SHA256}  -\n`]);
  });

  test('go on when the node that has them is killed and started again', DEADLINE, async (t) => {
    const mesh = newMesh(t);
    const { one, two } = await startOwnerAndTwo(mesh);
    await upload(two);
    // The node that takes jobs and runs none fetches the file, as a reader of it.
    const reading = fetch(`${one.url}/api/v1/blobs/${SHA256}`);
    await until('something has come', 30_000, () => arrivedAt(one) > 0 || hasWhole(one));
    await two.kill('SIGKILL');
    const wasCut = !hasWhole(one);
    await mesh.start('two');
    const hash = createHash('sha256');
    for await (const bytes of (await reading).body ?? []) hash.update(bytes);
    assert.equal(hash.digest('hex'), SHA256);
    t.diagnostic(wasCut ? 'cut in the middle' : 'the whole had come before the cut');
  });

  test('go on when the node that fetches them is killed and started again', DEADLINE, async (t) => {
    const mesh = newMesh(t);
    const { one, two } = await startOwnerAndTwo(mesh);
    await upload(one);
    const job = await one.submit('wc -c <in', { target_node_id: two.id, inputs: [input] });
    await until('something has come', 30_000, () => arrivedAt(two) > 0 || hasWhole(two));
    await two.kill('SIGKILL');
    await mesh.start('two');
    const { status, stdout } = await one.jobEnds(job, 60_000);
    assert.deepEqual([status, stdout.trim()], ['JOB_COMPLETED', String(BYTES.length)]);
  });

  test('that nobody has fail their job with the reason', DEADLINE, async (t) => {
    const { one } = await startOwnerAndTwo(newMesh(t));
    const job = await one.submit('wc -c <in', { inputs: [input] });
    const { status, error_message } = await one.jobEnds(job);
    assert.equal(status, 'JOB_FAILED');
    assert.match(String(error_message), /No node of the mesh has the file/);
  });

  test(
    'are given and fetched by the command line, and a broken fetch goes on',
    DEADLINE,
    async (t) => {
      const mesh = newMesh(t);
      const { one, three } = await startOwnerAndTwo(mesh);
      const here = join(mesh.folder, 'here');
      mkdirSync(join(here, 'lib'), { recursive: true });
      writeFileSync(join(here, 'big'), BYTES);
      writeFileSync(join(here, 'lib', 'tool.sh'), '#!/bin/sh\necho tool\n', { mode: 0o755 });
      const given = ['--in', `data/=${join(here, 'big')}`, '--in', `tools/=${join(here, 'lib')}`];
      const line = 'tools/tool.sh; cp data/big result; echo $MESH_JOB_ID';
      const { stdout } = await one.mesh(['run', ...given, '--out', 'result', line]);
      const [said, job = ''] = stdout.trim().split('\n');
      assert.equal(said, 'tool');
      assert.match((await three.mesh(['files', job])).stdout, /67108864 .* result/);
      const target = join(here, 'got');
      await three.mesh(['get', job, '-o', target]);
      assert(readFileSync(join(target, 'result')).equals(BYTES));

      // As an interrupted one leaves it.
      writeFileSync(join(target, 'result.part'), BYTES);
      truncateSync(join(target, 'result.part'), 3 * MIB + 1);
      writeFileSync(join(target, 'result'), 'other');
      await assert.rejects(three.mesh(['get', job, '-o', target]), /is another file/);
      await three.mesh(['get', job, '-o', target, '--force', 'result']);
      assert(readFileSync(join(target, 'result')).equals(BYTES));
      assert.deepEqual(readdirSync(target), ['result']);
    },
  );
});
