import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { describe, test } from 'node:test';

const DEADLINE = { timeout: 30_000 };
const MODULE = new URL('../../src/cli/local-nodes.ts', import.meta.url).href;

/** Starts a watch and passes on what it is told. */
const OWNER = `
const { NodeWatch } = await import(process.argv[1]);
const watch = new NodeWatch();
for await (const line of (await import('node:readline')).createInterface({ input: process.stdin })) {
  if (line === 'dismiss') {
    watch.dismiss();
    const ended = await new Promise((resolve) => watch.child.once('exit', resolve));
    console.log('ended with ' + ended);
    continue;
  }
  const [word, pid] = line.split(' ');
  watch[word](Number(pid));
  console.log(line);
}`;

function startOwner() {
  const words = ['--import', 'tsx', '--input-type=module', '-e', OWNER, MODULE];
  const child = spawn(process.execPath, words, { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const tell = async (line: string, answer = line): Promise<void> => {
    child.stdin.write(`${line}\n`);
    assert.equal((await lines.next()).value, answer);
  };
  return { child, tell };
}

const sleeper = () => spawn('sleep', ['300'], { stdio: 'ignore' });

describe('the watch over nodes', () => {
  test('ends them when its owner is killed, a frozen one too, and no other', DEADLINE, async () => {
    const { child, tell } = startOwner();
    const [frozen, gone, other] = [sleeper(), sleeper(), sleeper()];
    frozen.kill('SIGSTOP');
    for (const one of [gone, frozen, other]) await tell(`add ${one.pid}`);
    await tell(`remove ${gone.pid}`);
    const ends = Promise.all([once(frozen, 'exit'), once(other, 'exit')]);
    child.kill('SIGKILL');
    assert.deepEqual(await ends, [
      [null, 'SIGINT'],
      [null, 'SIGINT'],
    ]);
    assert.equal(gone.exitCode ?? gone.signalCode, null);
    gone.kill('SIGKILL');
  });

  test('leaves them alone when it was dismissed', DEADLINE, async () => {
    const { child, tell } = startOwner();
    const one = sleeper();
    await tell(`add ${one.pid}`);
    await tell('dismiss', 'ended with 0');
    child.kill('SIGKILL');
    assert.equal(one.exitCode ?? one.signalCode, null);
    one.kill('SIGKILL');
    assert.deepEqual(await once(one, 'exit'), [null, 'SIGKILL']);
  });
});
