/** A container whose engine cannot be asked any more: a real one, behind a socket that is cut. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { makeDocker } from '../../src/executors/docker/docker.ts';
import { firstLine, NODE, order, release, startBench, temporaryFolder } from './attempts.ts';
import { IMAGE, skipWithoutEngine, startEngine } from './container-engine.ts';

/** Passes on to the engine, until it is cut and again once it is mended. */
async function passOn(t: TestContext, engine: string) {
  const path = join(temporaryFolder(t), 'engine.sock');
  const sockets = new Set<Socket>();
  const listen = async () => {
    const server = createServer((near) => {
      const far = connect(engine);
      for (const socket of [near, far]) {
        sockets.add(socket);
        socket
          .on('error', () => {})
          .once('close', () => {
            sockets.delete(socket);
            near.destroy();
            far.destroy();
          });
      }
      near.pipe(far).pipe(near);
    });
    server.listen(path);
    await once(server, 'listening');
    return server;
  };
  let server = await listen();
  const cut = (): void => {
    server.close();
    for (const socket of sockets) socket.destroy();
    rmSync(path, { force: true });
  };
  release(t, cut);
  const mend = async (): Promise<void> => {
    server = await listen();
  };
  return { path, cut, mend };
}

describe('a container whose engine is away', skipWithoutEngine(), () => {
  test('is lost, the next one given back, and it is removed when the engine is back', {
    timeout: 120_000,
  }, async (t) => {
    const engine = await startEngine();
    release(t, () => engine.stop());
    const { path, cut, mend } = await passOn(t, engine.socket);
    const problems: string[] = [];
    const onProblem = (sentence: string): void => void problems.push(sentence);
    const docker = makeDocker({ node: NODE, socket: path, mounts: [], onProblem });
    const { executor, reports } = await startBench(t, { taskTypes: [docker] });
    const params = { image: IMAGE, network: 'none', command: 'echo up; exec sleep 1000' };
    const attempt = order('', { taskType: 'docker', params: JSON.stringify(params) });
    executor.run(attempt);
    await firstLine(executor, attempt);
    cut();
    const { end } = await reports.ended(attempt);
    assert(end.tag === 'lost', JSON.stringify(end));
    assert.match(end.reason, /the engine went away/);
    assert(problems.some((sentence) => /cannot be removed yet/.test(sentence)));
    const next = order('', attempt.grant.spec);
    executor.run(next);
    assert.equal((await reports.ended(next)).end.tag, 'returned');
    assert.equal((await docker.look?.())?.tag, 'absent');
    assert.equal((await engine.containers()).length, 1);
    await mend();
    assert.equal((await docker.look?.())?.tag, 'present');
    assert.deepEqual(await engine.containers(), []);
  });
});
