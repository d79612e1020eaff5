import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, type TestContext, test } from 'node:test';
import type { TerminalReply, TerminalSize } from '../../src/core/calls.ts';
import type { AttemptOrder } from '../../src/core/effects.ts';
import { TerminalType } from '../../src/executors/terminal/terminal.ts';
import { type Bench, order, startBench, textOf, until } from './attempts.ts';
import { isAlive } from './processes.ts';

const DEADLINE = { timeout: 30_000 };
const NEVER = new AbortController().signal;

/** A client of one terminal, with a session of its own. */
class Client {
  text = '';
  isEnd = false;
  isTakenOver = false;
  offset = 0;
  private typed = 0;
  private readonly type: TerminalType;
  private readonly order: AttemptOrder;
  private readonly session: string;

  constructor(type: TerminalType, ordered: AttemptOrder, session = 's-1') {
    this.type = type;
    this.order = ordered;
    this.session = session;
  }

  write(text: string, size?: TerminalSize, offset = this.typed): Promise<TerminalReply> {
    const bytes = Buffer.from(text);
    this.typed = offset + bytes.length;
    return this.ask({ tag: 'write', offset, bytes, size });
  }

  /** Reads until the text is shown or nothing more will be. */
  async until(text: string): Promise<void> {
    while (!this.text.includes(text) && !this.isEnd && !this.isTakenOver) await this.read();
    assert.ok(this.text.includes(text), JSON.stringify(this.text));
  }

  async read(): Promise<void> {
    const reply = await this.ask({ tag: 'read', offset: this.offset, waitMs: 10_000 });
    this.isTakenOver = reply.tag === 'takenOver';
    this.isEnd = reply.tag === 'unknown' || (reply.tag === 'shown' && reply.isEnd);
    if (reply.tag !== 'shown') return;
    this.offset = reply.offset + reply.bytes.length;
    this.text += Buffer.from(reply.bytes).toString('latin1');
  }

  private ask(ask: Parameters<TerminalType['answer']>[0]['ask']): Promise<TerminalReply> {
    const { job, fence } = this.order;
    return this.type.answer({ kind: 'terminal', job, fence, session: this.session, ask }, NEVER);
  }
}

const AT_MOST_ONCE = { taskType: 'terminal', delivery: 'at_most_once' } as const;

interface Seat extends Bench {
  readonly type: TerminalType;
  readonly ordered: AttemptOrder;
  readonly client: Client;
}

async function sitDown(t: TestContext, command: string, idleMs = 60_000): Promise<Seat> {
  const type = new TerminalType(idleMs);
  const bench = await startBench(t, { taskTypes: [type] });
  const ordered = order(command, AT_MOST_ONCE);
  bench.executor.run(ordered);
  await bench.reports.running(ordered);
  return { ...bench, type, ordered, client: new Client(type, ordered) };
}

describe('a terminal', () => {
  test('is one, of the size that its client has', DEADLINE, async (t) => {
    const { client, reports, ordered } = await sitDown(t, 'read go; tty; stty size; exit 7');
    await client.write('\n', { columns: 91, rows: 33 });
    await client.until('33 91');
    assert.match(client.text, /\/dev\/(pts\/|tty)\w+/);
    while (!client.isEnd) await client.read();
    const { end, stdout } = await reports.ended(ordered);
    assert.deepEqual(end, { tag: 'exited', code: 7 });
    assert.match(textOf(stdout), /33 91/, 'what it showed is kept as its output');
  });

  test('passes Ctrl-C on as a signal', DEADLINE, async (t) => {
    const { client, reports, ordered } = await sitDown(
      t,
      "trap 'echo caught; exit 3' INT; echo ready; while :; do sleep 0.05; done",
    );
    await client.until('ready');
    await client.write('\u0003');
    await client.until('caught');
    assert.deepEqual((await reports.ended(ordered)).end, { tag: 'exited', code: 3 });
  });

  test('takes what is typed twice once', DEADLINE, async (t) => {
    const { client } = await sitDown(t, 'stty -echo; echo ready; cat');
    await client.until('ready');
    await client.write('abc', undefined, 0);
    assert.deepEqual(await client.write('abcdef\n', undefined, 0), { tag: 'taken', offset: 7 });
    assert.deepEqual(await client.write('late', undefined, 90), { tag: 'taken', offset: 7 });
    await client.until('abcdef');
    assert.doesNotMatch(client.text, /abcabc|late/);
  });

  test('shows every byte to who comes back, also what was on its way', DEADLINE, async (t) => {
    const { client } = await sitDown(t, 'stty -onlcr; read go; seq 1 30000; read go');
    await client.write('\n');
    await client.until('20000\n');
    client.offset -= 50_000;
    client.text = client.text.slice(0, -50_000);
    await client.until('30000\n');
    const numbers = client.text.slice(client.text.indexOf('1\n2\n'));
    const whole = Array.from({ length: 30_000 }, (_, i) => `${i + 1}\n`).join('');
    assert.equal(numbers, whole);
  });

  test('makes a program wait that shows faster than its client reads', DEADLINE, async (t) => {
    const { client } = await sitDown(t, 'read go; yes & echo $!; wait');
    await client.write('\n');
    const used = (): number => {
      const stat = readFileSync(`/proc/${pid}/stat`, 'latin1').split(' ');
      return Number(stat[13]) + Number(stat[14]);
    };
    while (!/\d{2,}\r/.test(client.text)) await client.read();
    const pid = Number(/(\d{2,})\r/.exec(client.text)?.[1]);
    let before = -1;
    // It has stopped when it uses no more processor time between two looks.
    await until('it waits', async () => {
      const isStill = used() === before;
      before = used();
      await new Promise((resolve) => setTimeout(resolve, 200));
      return isStill;
    });
    await client.write('\u0003');
  });

  test('goes to the session that asks last, and tells the other', DEADLINE, async (t) => {
    const { client, type, ordered } = await sitDown(t, 'echo ready; cat');
    await client.until('ready');
    const reading = client.read();
    const other = new Client(type, ordered, 's-2');
    await other.write('mine\n');
    await other.until('mine');
    await reading;
    await client.read();
    assert.equal(client.isTakenOver, true);
  });

  test('is closed when nothing is typed for too long', DEADLINE, async (t) => {
    const { client, reports, ordered } = await sitDown(t, 'echo ready; cat', 1500);
    await client.until('ready');
    while (!client.isEnd) await client.read();
    const { end } = await reports.ended(ordered);
    assert.match(JSON.stringify(end), /terminal-idle/);
  });

  test('ends with all that it started when its job is ended', DEADLINE, async (t) => {
    const { client, executor, reports, ordered } = await sitDown(
      t,
      "trap '' HUP TERM; set -m; sleep 1000 & echo pid $!; cat",
    );
    await client.until('pid ');
    while (!/pid \d+\r/.test(client.text)) await client.read();
    const pid = Number(/pid (\d+)\r/.exec(client.text)?.[1]);
    executor.end(ordered.job, ordered.fence, 200);
    await reports.ended(ordered);
    assert.equal(isAlive(pid), false);
  });

  test('is refused where it might be started twice, or with limits', DEADLINE, async (t) => {
    const { run } = await startBench(t, { taskTypes: [new TerminalType(60_000)] });
    const twice = await run('true', { taskType: 'terminal' });
    assert.match(JSON.stringify(twice.end), /at_most_once/);
    const limited = await run('true', { ...AT_MOST_ONCE, run: '{"nice":5}' });
    assert.match(JSON.stringify(limited.end), /cannot be run with nice/);
  });
});
