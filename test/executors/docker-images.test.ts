/** Pulling images: a real engine and a registry on loopback. */
import assert from 'node:assert/strict';
import { after, before, describe, type TestContext, test } from 'node:test';
import { makeDocker } from '../../src/executors/docker/docker.ts';
import { splitName } from '../../src/executors/docker/images.ts';
import { NODE, order, release, startBench, textOf } from './attempts.ts';
import { type ContainerEngine, skipWithoutEngine, startEngine } from './container-engine.ts';
import { startRegistry } from './image-registry.ts';

describe('the image of a docker job', skipWithoutEngine(), () => {
  let engine: ContainerEngine;
  before(async () => {
    engine = await startEngine();
  });
  after(() => engine?.stop());

  async function start(t: TestContext) {
    const registry = await startRegistry(engine.tar);
    release(t, registry.stop);
    const { socket } = engine;
    const type = makeDocker({ node: NODE, socket, mounts: [], onProblem: assert.fail });
    const bench = await startBench(t, { taskTypes: [type] });
    const orderOf = (params: object) => {
      const whole = { image: registry.image, network: 'none', ...params };
      return order('', { taskType: 'docker', params: JSON.stringify(whole) });
    };
    return { ...bench, registry, orderOf };
  }

  test('is pulled before the attempt runs, and only where it is missing', async (t) => {
    const { executor, reports, registry, orderOf } = await start(t);
    const first = orderOf({});
    executor.run(first);
    await registry.asked;
    assert.deepEqual(reports.all, []);
    registry.release();
    const { end, stdout } = await reports.ended(first);
    assert.deepEqual(end, { tag: 'exited', code: 0 });
    assert.equal(textOf(stdout), 'own\n');
    registry.stop();
    for (const pull of ['missing', 'never']) {
      const again = orderOf({ pull });
      executor.run(again);
      assert.deepEqual((await reports.ended(again)).end, { tag: 'exited', code: 0 });
    }
    const always = orderOf({ pull: 'always' });
    executor.run(always);
    const refused = (await reports.ended(always)).end;
    assert(refused.tag === 'failed');
    assert.match(refused.reason, /127\.0\.0\.1/);
  });

  test('is waited for no longer once the attempt is to end', async (t) => {
    // What was pulled before is not pulled again.
    for (const { Id } of (await engine.ask('/images/json')) as { Id: string }[])
      await engine.ask(`/images/${Id}?force=1`, 'DELETE');
    const { executor, reports, registry, orderOf } = await start(t);
    const attempt = orderOf({});
    executor.run(attempt);
    await registry.asked;
    executor.end(attempt.job, attempt.fence, 60_000);
    const { end, startedAt } = await reports.ended(attempt);
    assert(end.tag === 'failed');
    assert.match(end.reason, /ended before it had started/);
    assert.equal(startedAt, undefined);
    assert.deepEqual(await engine.containers(), []);
    registry.release();
  });

  test('that no registry has is a failure with its name', async (t) => {
    const { executor, reports, registry, orderOf } = await start(t);
    const image = registry.image.replace(/:1$/, ':2');
    const attempt = orderOf({ image });
    executor.run(attempt);
    const { end } = await reports.ended(attempt);
    assert(end.tag === 'failed');
    assert(end.reason.includes(image), end.reason);
    assert.match(end.reason, /manifest/);
  });
});

describe('names of images', () => {
  test('have a tag, or get the latest', () => {
    assert.deepEqual(splitName('alpine'), { image: 'alpine', tag: 'latest' });
    assert.deepEqual(splitName('alpine:3.20'), { image: 'alpine', tag: '3.20' });
    assert.deepEqual(splitName('host:5000/a/b'), { image: 'host:5000/a/b', tag: 'latest' });
    assert.deepEqual(splitName('host:5000/a:1'), { image: 'host:5000/a', tag: '1' });
    assert.deepEqual(splitName('a@sha256:ab'), { image: 'a', tag: 'sha256:ab' });
  });
});
