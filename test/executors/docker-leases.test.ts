/** Containers whose node is dead or stands still, with a real engine and real kills. */
import assert from 'node:assert/strict';
import { after, before, describe, type TestContext, test } from 'node:test';
import { makeDocker } from '../../src/executors/docker/docker.ts';
import { NODE, startBench, temporaryFolder, until } from './attempts.ts';
import { type ContainerEngine, IMAGE, skipWithoutEngine, startEngine } from './container-engine.ts';
import { kill, startDoomed } from './doomed.ts';
import type { DoomedOrder } from './doomed-node.ts';
import { processesAbout } from './processes.ts';

const docker = { image: IMAGE, network: 'none', command: 'echo up; exec sleep 1000' };

describe('a container whose node', skipWithoutEngine(), () => {
  let engine: ContainerEngine;
  before(async () => {
    engine = await startEngine();
  });
  after(() => engine?.stop());

  const running = async (): Promise<number> =>
    ((await engine.ask('/containers/json')) as unknown[]).length;

  /** Beside the engine itself. */
  const keepers = (): number[] => processesAbout(engine.socket).filter((pid) => pid !== engine.pid);

  async function start(t: TestContext, order: Omit<DoomedOrder, 'command'>) {
    const folder = temporaryFolder(t);
    const doomed = await startDoomed(t, folder, [{ command: '', ...order }], engine.socket);
    await until('it runs', async () => (await running()) === 1);
    return { folder, ...doomed };
  }

  /** What the next start of the node does. */
  async function startAgain(t: TestContext, folder: string): Promise<void> {
    const { socket } = engine;
    const type = makeDocker({ node: NODE, socket, mounts: [], onProblem: assert.fail });
    const { executor } = await startBench(t, { folder, taskTypes: [type] });
    assert.deepEqual(await engine.containers(), []);
    await executor.stop();
  }

  test('was killed is ended when its lease is over, and then removed', async (t) => {
    const lease = { tag: 'leased', leftMs: 2000 } as const;
    const { child, folder } = await start(t, { docker, lease, isRenewed: true });
    assert.equal(keepers().length, 2);
    await kill(child);
    assert.equal(await running(), 1);
    await until('it is ended', async () => (await running()) === 0);
    await until('nobody holds leases', () => keepers().length === 0);
    await startAgain(t, folder);
  });

  test('stands still is ended when its lease is over, and told when it goes on', async (t) => {
    const lease = { tag: 'leased', leftMs: 2000 } as const;
    const { child, lines } = await start(t, { docker, lease, isRenewed: true });
    child.kill('SIGSTOP');
    await until('it is ended', async () => (await running()) === 0);
    assert.equal((await engine.containers()).length, 1);
    child.kill('SIGCONT');
    await until('its end is told', () => lines.includes('{"tag":"exited","code":137}'));
    await until('it is removed', async () => (await engine.containers()).length === 0);
  });

  test('renews its lease goes on beyond it', async (t) => {
    const lease = { tag: 'leased', leftMs: 1500 } as const;
    const long = { ...docker, command: 'sleep 4; exit 5' };
    const { lines } = await start(t, { docker: long, lease, isRenewed: true });
    await until('its end is told', () => lines.length > 0);
    assert.deepEqual(lines, ['{"tag":"exited","code":5}']);
  });

  test('alone decides about the job is ended some time after its death', async (t) => {
    const lease = { tag: 'ownNode', afterDeathMs: 1000 } as const;
    const { child } = await start(t, { docker, lease });
    await kill(child);
    await until('it is ended', async () => (await running()) === 0);
    await until('nobody holds leases', () => keepers().length === 0);
    for (const id of await engine.containers()) await engine.ask(`/containers/${id}`, 'DELETE');
  });

  test('was killed goes on if it may, until the next start', async (t) => {
    const { child, folder } = await start(t, { docker, lease: { tag: 'unlimited' } });
    await kill(child);
    await until('nobody holds leases', () => keepers().length === 0);
    assert.equal(await running(), 1);
    await startAgain(t, folder);
  });
});
