/** How a job is run, from the request at one node to what another one did. */
import assert from 'node:assert/strict';
import { userInfo } from 'node:os';
import { describe, test } from 'node:test';
import { whyNoSandbox } from '../../src/executors/manners/sandbox.ts';
import { findProgram } from '../../src/executors/programs.ts';
import { type JobJson, type Json, type NodeProcess, newMesh } from './mesh-processes.ts';

const DEADLINE = { timeout: 120_000 };
const MIB = 1024 * 1024;
/** As far from the node as a job can be here. */
const bwrap = await findProgram('bwrap', process.env.PATH);
const hasSandbox = bwrap !== undefined && (await whyNoSandbox(bwrap)) === undefined;
const isRoot = process.getuid?.() === 0;
const MANNERS = { ...(isRoot && { user: 'nobody' }), ...(hasSandbox && { sandbox: true }) };
const OWNER = isRoot ? 'nobody' : userInfo().username;

interface Ended extends JobJson {
  readonly usage: {
    readonly cpu_seconds: number | null;
    readonly peak_memory_bytes: number | null;
    readonly limits_by: 'cgroup' | 'rlimit' | null;
  };
  readonly error_message: string | null;
  readonly progress: number | null;
  readonly progress_message: string | null;
}

/** Submitted at one node for another. */
async function runAt(one: NodeProcess, target: NodeProcess, job: Json): Promise<Ended> {
  const request = { target_node_id: target.id, ...job };
  const { status, body } = await one.post<{ job_id: string }>('/api/v1/jobs', request);
  assert.equal(status, 201, JSON.stringify(body));
  return (await one.jobEnds(body.job_id)) as Ended;
}

describe('a job that says how it is run', DEADLINE, () => {
  test('is run like that at another node, and what it took is told', async (t) => {
    const mesh = newMesh(t);
    const [one, two] = await mesh.startMesh(['one', 'two']);
    assert(one && two);
    const sorted = await runAt(one, two, { argv: ['sort', '-u'], stdin: 'b\na b\nb\n' });
    assert.deepEqual([sorted.status, sorted.stdout], ['JOB_COMPLETED', 'a b\nb\n']);
    assert.equal(sorted.usage.limits_by, null);
    assert.equal(typeof sorted.usage.cpu_seconds, 'number');

    const masked = await runAt(one, two, { command: 'umask; ulimit -n', umask: '077' });
    assert.match(masked.stdout ?? '', /^0077\n/);

    const told = await runAt(one, two, { command: 'echo 30 "third of it" >>$MESH_PROGRESS' });
    assert.deepEqual([told.progress, told.progress_message], [30, 'third of it']);
    // Whether mesh is installed there or not.
    const asked = await runAt(one, two, { command: 'mesh progress 40 "and more"' });
    assert.deepEqual([asked.status, asked.progress], ['JOB_COMPLETED', 40]);
    assert.equal(asked.progress_message, 'and more');
    const { body: status } = await two.get<{ job_processes: string }>('/api/v1/status');
    assert.equal(status.job_processes, 'supervised');

    const command = 'head -c 200000000 /dev/zero | tail';
    const eaten = await runAt(one, two, { command, limits: { memory_bytes: 32 * MIB } });
    assert.equal(eaten.status, 'JOB_FAILED');
    const { limits_by, peak_memory_bytes } = eaten.usage;
    if (limits_by === 'cgroup') {
      assert.match(eaten.error_message ?? '', /^out of memory: /);
      assert((peak_memory_bytes ?? 0) > 16 * MIB);
    } else assert.equal(limits_by, 'rlimit');

    const burnt = await runAt(one, two, {
      command: 'while :; do :; done',
      limits: { cpu_seconds: 1 },
    });
    assert.equal(burnt.status, 'JOB_FAILED');
    assert.match(burnt.error_message ?? '', /^CPU time over: /);

    const nobody = await runAt(one, two, { command: 'id', user: 'no-such-user' });
    assert.equal(nobody.status, 'JOB_FAILED');
    assert.match(nobody.error_message ?? '', /no user no-such-user/);
    const inputs = [{ path: 'in/data', text: 'given\n', mode: '600' }];
    const files = { inputs, outputs: ['out'] };
    const copy = { command: 'id -un; cat in/data >out; echo more >>in/data', ...files };
    const given = await runAt(one, two, { ...copy, ...MANNERS });
    assert.deepEqual([given.status, given.stdout], ['JOB_COMPLETED', `${OWNER}\n`]);
    const kept = await fetch(`${one.url}/api/v1/jobs/${given.job_id}/files/out`);
    assert.equal(await kept.text(), 'given\n');

    // In time for its cgroups and its shared folder to go with it.
    await Promise.all([one, two].map((node) => node.kill('SIGTERM')));
  });
});
