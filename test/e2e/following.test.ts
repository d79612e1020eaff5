/** Followers at every node, and what they see when nodes die under them. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { describe, test } from 'node:test';
import { createClient, type JobEvent } from '../../src/client/client.ts';
import { type NodeProcess, newMesh, startOwnerAndTwo } from './mesh-processes.ts';

const DEADLINE = { timeout: 120_000 };

interface Seen {
  readonly attempts: number[];
  /** Of the newest attempt. */
  stdout: string;
  status: string;
}

/** Follows to the end; `onOutput` is told once the first bytes are there. */
async function follow(
  node: NodeProcess,
  job: string,
  others: readonly NodeProcess[],
  onOutput: () => void = () => {},
): Promise<Seen> {
  const client = createClient({ url: node.url, others: () => others.map(({ url }) => ({ url })) });
  const seen: Seen = { attempts: [], stdout: '', status: '' };
  const take = (event: JobEvent): void => {
    if (event.type === 'attempt') {
      seen.attempts.push(event.attempt);
      seen.stdout = '';
    } else if (event.type === 'output' && event.stream === 'stdout') {
      seen.stdout += Buffer.from(event.bytes).toString();
      onOutput();
    } else if (event.type === 'end') seen.status = event.job.status;
  };
  for await (const event of client.events(job)) take(event);
  return seen;
}

/** Numbered lines, with a pause between them. */
const count = (lines: number): string =>
  `i=0; while [ $i -lt ${lines} ]; do echo line $i; i=$((i+1)); sleep 0.05; done`;
const counted = (lines: number): string =>
  Array.from({ length: lines }, (_, i) => `line ${i}\n`).join('');

describe('followers', () => {
  test('at three nodes see the next attempt when the executor dies', DEADLINE, async (t) => {
    const mesh = newMesh(t);
    const { one, two, three } = await startOwnerAndTwo(mesh);
    const nodes = [one, two, three];
    const job = await one.submit(count(60));
    const running = await one.jobIs(job, ['JOB_RUNNING']);
    const executor = nodes.find(({ id }) => id === running.target_node_id) ?? assert.fail();
    const heard = nodes.map(() => Promise.withResolvers<void>());
    const following = nodes.map((node, i) =>
      follow(
        node,
        job,
        nodes.filter((other) => other !== node),
        heard[i]?.resolve,
      ),
    );
    await Promise.all(heard.map(({ promise }) => promise));
    await executor.killHost();
    for (const seen of await Promise.all(following)) {
      assert.deepEqual(seen.attempts, [1, 2]);
      assert.equal(seen.stdout, counted(60));
      assert.equal(seen.status, 'JOB_COMPLETED');
    }
  });

  test('go on at another node when the owner they ask dies', DEADLINE, async (t) => {
    const mesh = newMesh(t);
    const { one, two, three } = await startOwnerAndTwo(mesh);
    const job = await one.submit(count(120));
    const heard = Promise.withResolvers<void>();
    const following = follow(one, job, [two, three], heard.resolve);
    await heard.promise;
    await one.kill('SIGKILL');
    const seen = await following;
    assert.deepEqual(seen, { attempts: [1], stdout: counted(120), status: 'JOB_COMPLETED' });
  });

  test('of the command line outlive the node they talk to', DEADLINE, async (t) => {
    const mesh = newMesh(t);
    const { one, two } = await startOwnerAndTwo(mesh);
    const job = await two.submit(count(120));
    await two.jobIs(job, ['JOB_RUNNING']);
    const logs = one.mesh(['logs', '-f', job]);
    await once(logs.child.stdout ?? assert.fail(), 'data');
    await one.kill('SIGKILL');
    assert.equal((await logs).stdout, counted(120));
  });
});
