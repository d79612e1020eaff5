/** Three hosts on a LAN, one node each: broadcast finds them, a pulled cable is a partition. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { Lan, whyNoLan } from '../../src/torture/lan.ts';
import { type JobJson, MeshProcesses, type NodeProcess, until } from './mesh-processes.ts';

const DEADLINE = { timeout: 180_000 };
const skip = whyNoLan() ?? false;

describe('three hosts on a LAN', { skip }, () => {
  const mesh = new MeshProcesses();
  let lan: Lan;
  let one: NodeProcess;
  let two: NodeProcess;
  let three: NodeProcess;

  before(async () => {
    lan = new Lan(`wm${process.pid % 10_000}`, 3);
    const start = (name: string, i: number): Promise<NodeProcess> =>
      mesh.start(name, { prefix: lan.hosts[i]?.prefix ?? [] });
    one = await start('one', 0);
    two = await start('two', 1);
    three = await start('three', 2);
  }, DEADLINE);
  after(async () => {
    await mesh.stop();
    lan.remove();
  });

  test('they find each other by broadcast, at their own addresses', DEADLINE, async () => {
    for (const node of [one, two, three]) await node.seesPeers(2);
    const { body } = await one.get<{ peers: { name: string; address: string }[] }>('/api/v1/peers');
    const addresses = body.peers.map((peer) => peer.address.split(':')[0]).sort();
    assert.deepEqual(addresses, ['10.77.0.2', '10.77.0.3']);
  });

  test('a job crosses the LAN and comes back', DEADLINE, async () => {
    const id = await one.submit('hostname -I 2>/dev/null || ip -o -4 address', {
      target_node_id: three.id,
    });
    const ended = await two.jobEnds(id);
    assert.equal(ended.status, 'JOB_COMPLETED');
    assert.match(ended.stdout, /10\.77\.0\.3/);
  });

  test(
    'a pulled cable: both sides go on, a cut-off attempt is given up, and all agree again',
    DEADLINE,
    async () => {
      const started = join(mkdtempSync(join(tmpdir(), 'mesh-e2e-')), 'started');
      const id = await one.submit(
        `echo "attempt $MESH_ATTEMPT" | tee -a ${started}; test "$MESH_ATTEMPT" != 1 || sleep 300`,
        { target_node_id: three.id },
      );
      await one.jobIs(id, ['JOB_RUNNING']);
      lan.hosts[2]?.unplug();
      await until('three is dead', 30_000, async () => (await one.peerState('three')) === 'dead');
      await until('the others are', 30_000, async () => (await three.peerState('one')) === 'dead');
      const alone = await three.submit('echo alone');
      assert.equal((await three.jobEnds(alone)).stdout, 'alone\n');
      const together = await one.submit('echo together');
      assert.equal((await one.jobEnds(together)).status, 'JOB_COMPLETED');
      lan.hosts[2]?.plugIn();
      for (const node of [one, two, three]) await node.seesPeers(2, 60_000);
      const ended = await one.jobEnds(id, 60_000);
      assert.equal(ended.status, 'JOB_COMPLETED');
      // One that was given away and came back unstarted has a number, too.
      assert.match(ended.stdout, /^attempt [2-9]\n$/);
      assert.equal(readFileSync(started, 'utf8'), `attempt 1\n${ended.stdout}`);
      const seen = (await one.get<JobJson>(`/api/v1/jobs/${alone}`)).body;
      assert.equal(seen.status, 'JOB_COMPLETED');
    },
  );
});
