import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { MeshError } from '../../src/base/errors.ts';
import { asJobId } from '../../src/base/ids.ts';
import { type Client, createClient, type JobEvent } from '../../src/client/client.ts';
import { startApi, type TestApi } from '../http/test-api.ts';
import { BreakingProxy } from './breaking-proxy.ts';

const JOB = asJobId('job-1');
const DEADLINE = { timeout: 60_000 };

let api: TestApi;
beforeEach(async () => {
  api = await startApi();
  await createClient({ url: api.url }).submit({ command: 'x' });
  api.service.start(JOB);
});
afterEach(() => api.stop());

const end = (): void => api.service.end(JOB, 'JOB_COMPLETED', { tag: 'exited', code: 0 });

async function all(client: Client): Promise<{ events: JobEvent[]; stdout: Buffer }> {
  const events: JobEvent[] = [];
  const parts: Uint8Array[] = [];
  for await (const event of client.events('job-1')) {
    events.push(event);
    if (event.type !== 'output' || event.stream !== 'stdout') continue;
    parts.push(event.bytes);
  }
  return { events, stdout: Buffer.concat(parts) };
}

const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

/** Lines of a megabyte, some of text and some of any bytes; the same each time. */
function longLines(): Buffer {
  const lines = Array.from({ length: 6 }, (_, line) => {
    const bytes = Buffer.alloc(1024 * 1024);
    for (let i = 0; i < bytes.length; i++)
      bytes[i] = line % 2 === 0 ? 97 + ((i * 31 + line) % 26) : (i * 2654435761 + line) >>> 13;
    bytes[bytes.length - 1] = 0x0a;
    return bytes;
  });
  return Buffer.concat(lines);
}

describe('a job that is followed', () => {
  test('tells every byte once over a hundred broken connections', DEADLINE, async (t) => {
    const bytes = longLines();
    api.service.print(JOB, 'stdout', bytes);
    end();
    const breaks = Array.from({ length: 100 }, (_, i) => 60_000 + ((i * 7919) % 50_000));
    const proxy = new BreakingProxy(api.port, breaks);
    const client = createClient({ url: await proxy.start() });
    t.after(() => proxy.stop());
    const { stdout, events } = await all(client);
    assert.equal(stdout.length, bytes.length);
    assert.equal(sha256(stdout), sha256(bytes));
    assert.ok(proxy.connections > 100, `${proxy.connections} connections`);
    assert.equal(events.filter(({ type }) => type === 'attempt').length, 1);
    assert.equal(events.at(-1)?.type, 'end');
  });

  test(
    'is followed on at another node when the one that was asked is gone',
    DEADLINE,
    async (t) => {
      const dying = new BreakingProxy(api.port, []);
      const url = await dying.start();
      const alive = new BreakingProxy(api.port, []);
      t.after(() => alive.stop());
      const others = [{ url: await alive.start() }];
      const client = createClient({ url, others: () => others });
      api.service.print(JOB, 'stdout', 'one');
      const texts: string[] = [];
      for await (const event of client.events('job-1')) {
        if (event.type !== 'output') continue;
        texts.push(Buffer.from(event.bytes).toString());
        if (texts.length > 1) continue;
        await dying.stop();
        api.service.print(JOB, 'stdout', 'two');
        end();
      }
      assert.deepEqual(texts, ['one', 'two']);
      assert.ok(alive.connections > 0);
      assert.equal((await client.getJob('job-1')).status, 'JOB_COMPLETED');
    },
  );

  test('is not looked for elsewhere when a node says what is wrong', DEADLINE, async () => {
    const others = (): never => assert.fail('asked');
    const client = createClient({ url: api.url, others });
    await assert.rejects(client.events('none').next(), { code: 'JOB_NOT_FOUND' });
    api.service.failure = new MeshError('NOT_KNOWABLE', 'Some did not answer.');
    await assert.rejects(client.events('job-1').next(), { code: 'NOT_KNOWABLE' });
  });

  test('is followed no more after the signal', DEADLINE, async () => {
    const stop = new AbortController();
    const events = createClient({ url: api.url }).events('job-1', { signal: stop.signal });
    await events.next();
    const waiting = (async () => {
      for await (const _ of events);
    })();
    stop.abort(new Error('enough'));
    await assert.rejects(waiting, /enough/);
  });
});
