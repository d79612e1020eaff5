/** What links must do, whatever they are made of. */
import assert from 'node:assert/strict';
import { describe, type TestContext, test } from 'node:test';
import { MeshError } from '../../src/base/errors.ts';
import type { BootId, NodeId } from '../../src/base/ids.ts';
import type { Call, LiveRecord } from '../../src/core/calls.ts';
import type { NodeFacts } from '../../src/core/facts.ts';
import type { Message } from '../../src/core/messages.ts';
import type { Links } from '../../src/node/ports.ts';
import { HEADER, JOB, JOBS, LOAD, MESSAGES } from '../wire/samples.ts';
import type { Witness } from './links-witness.ts';

export interface LinkedNode {
  readonly node: NodeId;
  readonly boot: BootId;
  readonly facts: NodeFacts;
  readonly links: Links;
  readonly host: string;
  readonly port: number;
  readonly witness: Witness;
  /** What its log says, by now. */
  readonly notices: readonly string[];
}

/** One network, as long as the test runs. All nodes on it are of one mesh. */
export interface LinksBench {
  /** A started node; of the same name again: another life of it. They are stopped at the end. */
  open(name: string, boot?: BootId): Promise<LinkedNode>;
}

const CALL: Call = { kind: 'lookUp', job: JOB };
const bootOf = (counter: number, salt = '0'): BootId => ({ counter, salt: salt.repeat(16) });
const ping = (serial: number): Message => ({ kind: 'ping', serial, load: LOAD });

async function link(a: LinkedNode, b: LinkedNode): Promise<void> {
  a.links.dial(b.node, b.host, b.port);
  await Promise.all([a.witness.next('up'), b.witness.next('up')]);
}

const failsWith = (code: string, about: RegExp) => (thrown: unknown) => {
  assert.ok(thrown instanceof MeshError, String(thrown));
  assert.equal(thrown.code, code);
  assert.match(thrown.message, about);
  return true;
};

export function describeLinks(name: string, makeBench: (t: TestContext) => LinksBench): void {
  describe(`links of ${name}: dialling`, () => {
    test('ends in a link at both ends, with what each says of itself', async (t) => {
      const bench = makeBench(t);
      const [a, b] = await Promise.all([bench.open('a'), bench.open('b')]);
      await link(a, b);
      const { facts, boot, host } = await a.witness.next('up');
      assert.deepEqual({ facts, boot, host }, { facts: b.facts, boot: b.boot, host: b.host });
      assert.deepEqual((await b.witness.next('up')).facts, a.facts);
    });

    test('a port where nothing listens ends in a refusal', async (t) => {
      const bench = makeBench(t);
      const [a, b] = await Promise.all([bench.open('a'), bench.open('b')]);
      await b.links.stop();
      a.links.dial(b.node, b.host, b.port);
      const { node, isRefused } = await a.witness.next('dialFailed');
      assert.deepEqual({ node, isRefused }, { node: b.node, isRefused: true });
    });

    test('one node and finding another is a failure, and no refusal', async (t) => {
      const bench = makeBench(t);
      const [a, b, c] = await Promise.all(['a', 'b', 'c'].map((node) => bench.open(node)));
      assert.ok(a && b && c);
      a.links.dial(b.node, c.host, c.port);
      const { node, isRefused, reason } = await a.witness.next('dialFailed');
      assert.deepEqual({ node, isRefused }, { node: b.node, isRefused: false });
      assert.match(reason, new RegExp(c.node));
      assert.deepEqual(c.witness.events, []);
    });

    test('a linked node does nothing', async (t) => {
      const bench = makeBench(t);
      const [a, b] = await Promise.all([bench.open('a'), bench.open('b')]);
      await link(a, b);
      a.links.dial(b.node, b.host, b.port);
      b.links.dial(a.node, a.host, a.port);
      await a.links.call(b.node, CALL, { deadlineMs: 5000 });
      assert.equal(a.witness.events.length, 1);
      assert.equal(b.witness.events.length, 1);
    });

    test('from both ends at once makes one link, whoever is faster', async (t) => {
      const bench = makeBench(t);
      for (let round = 0; round < 20; round++) {
        const [a, b] = await Promise.all([bench.open(`a${round}`), bench.open(`b${round}`)]);
        a.links.dial(b.node, b.host, b.port);
        if (round % 3 === 0) await new Promise((resolve) => setImmediate(resolve));
        b.links.dial(a.node, a.host, a.port);
        await Promise.all([a.witness.next('up'), b.witness.next('up')]);
        await a.links.call(b.node, CALL, { deadlineMs: 5000 });
        await b.links.call(a.node, CALL, { deadlineMs: 5000 });
        assert.deepEqual(
          a.witness.events.map(({ kind }) => kind),
          ['up'],
        );
        assert.deepEqual(
          b.witness.events.map(({ kind }) => kind),
          ['up'],
        );
      }
    });

    test('itself ends in nothing', async (t) => {
      const a = await makeBench(t).open('a');
      a.links.dial(a.node, a.host, a.port);
      await a.witness.next('dialFailed');
      assert.equal(a.witness.of('up').length, 0);
    });
  });

  describe(`links of ${name}: messages`, () => {
    test('of all kinds arrive as they were, in order', async (t) => {
      const bench = makeBench(t);
      const [a, b] = await Promise.all([bench.open('a'), bench.open('b')]);
      await link(a, b);
      for (const message of MESSAGES) a.links.send(b.node, [message]);
      a.links.send(b.node, MESSAGES);
      await b.witness.next('message', 2 * MESSAGES.length);
      const heard = b.witness.of('message');
      assert.deepEqual(
        heard.map(({ message }) => message),
        [...MESSAGES, ...MESSAGES],
      );
      assert.deepEqual([heard[0]?.node, heard[0]?.boot], [a.node, a.boot]);
    });

    test('by the thousand arrive in order', async (t) => {
      const bench = makeBench(t);
      const [a, b] = await Promise.all([bench.open('a'), bench.open('b')]);
      await link(a, b);
      a.links.send(
        b.node,
        Array.from({ length: 20_000 }, (_, serial) => ping(serial)),
      );
      await b.witness.next('message', 20_000);
      const serials = b.witness
        .of('message')
        .map(({ message }) => 'serial' in message && message.serial);
      assert.deepEqual(
        serials,
        Array.from({ length: 20_000 }, (_, serial) => serial),
      );
    });

    test('to a node without a link are dropped', async (t) => {
      const bench = makeBench(t);
      const [a, b] = await Promise.all([bench.open('a'), bench.open('b')]);
      a.links.send(b.node, [ping(1)]);
      await link(a, b);
      a.links.send(b.node, [ping(2)]);
      assert.deepEqual((await b.witness.next('message')).message, ping(2));
    });
  });

  describe(`links of ${name}: ends`, () => {
    test('hanging up ends it at both ends, for the reason given', async (t) => {
      const bench = makeBench(t);
      const [a, b] = await Promise.all([bench.open('a'), bench.open('b')]);
      await link(a, b);
      a.links.send(b.node, [ping(1)]);
      a.links.hangUp(b.node, 'enough');
      const ends = [await a.witness.next('down'), await b.witness.next('down')];
      assert.deepEqual(
        ends.map(({ reason }) => reason),
        ['enough', 'enough'],
      );
      assert.deepEqual(
        b.witness.events.map(({ kind }) => kind),
        ['up', 'message', 'down'],
      );
      a.links.dial(b.node, b.host, b.port);
      await a.witness.next('up', 2);
    });

    test('stopping delivers what was sent before, and frees the port', async (t) => {
      const bench = makeBench(t);
      const [a, b] = await Promise.all([bench.open('a'), bench.open('b')]);
      await link(a, b);
      a.links.send(b.node, [{ kind: 'goodbye', isBack: false }]);
      await a.links.stop();
      await a.links.stop();
      await b.witness.next('down');
      assert.deepEqual(
        b.witness.events.map(({ kind }) => kind),
        ['up', 'message', 'down'],
      );
      b.links.dial(a.node, a.host, a.port);
      assert.ok((await b.witness.next('dialFailed')).isRefused);
    });

    test('a later life of a peer replaces the earlier one, in order', async (t) => {
      const bench = makeBench(t);
      const [a, b] = await Promise.all([bench.open('a'), bench.open('b', bootOf(1))]);
      await link(a, b);
      const again = await bench.open('b', bootOf(2, 'f'));
      again.links.dial(a.node, a.host, a.port);
      await a.witness.next('up', 2);
      const told = a.witness.events.map((event) => [
        event.kind,
        'boot' in event && event.boot.counter,
      ]);
      assert.deepEqual(told, [
        ['up', 1],
        ['down', 1],
        ['up', 2],
      ]);
      await b.witness.next('down');
    });

    for (const [what, boot, about] of [
      ['an earlier life', bootOf(4, 'f'), /went back/],
      ['a twin', bootOf(5, 'f'), /two nodes use one identity/],
    ] as const) {
      test(`${what} of a peer is refused by name, in both logs`, async (t) => {
        const bench = makeBench(t);
        const [a, b] = await Promise.all([bench.open('a'), bench.open('b', bootOf(5))]);
        await link(a, b);
        const other = await bench.open('b', boot);
        other.links.dial(a.node, a.host, a.port);
        const { reason, isRefused } = await other.witness.next('dialFailed');
        assert.match(reason, about);
        assert.match(reason, new RegExp(b.node));
        assert.ok(!isRefused);
        assert.ok(
          a.notices.some((notice) => about.test(notice)),
          String(a.notices),
        );
        assert.ok(
          other.notices.some((notice) => about.test(notice)),
          String(other.notices),
        );
        if (boot.counter === b.boot.counter) {
          // Nobody can tell which one is the copy, so the one that was there first goes as well.
          assert.match((await a.witness.next('down')).reason, about);
          b.links.dial(a.node, a.host, a.port);
          assert.match((await b.witness.next('dialFailed')).reason, about);
          const later = await bench.open('b', bootOf(6));
          later.links.dial(a.node, a.host, a.port);
          await a.witness.next('up', 2);
          return;
        }
        a.links.dial(other.node, other.host, other.port);
        await a.links.call(b.node, CALL, { deadlineMs: 5000 });
        assert.deepEqual(
          a.witness.events.map(({ kind }) => kind),
          ['up'],
        );
      });
    }

    test('stopping before starting, and starting twice, do no harm', async (t) => {
      const bench = makeBench(t);
      const a = await bench.open('a');
      assert.deepEqual(await a.links.start(a.witness), { port: a.port });
    });
  });

  describe(`links of ${name}: questions`, () => {
    const live: LiveRecord = {
      record: { header: HEADER, job: JOBS[5] ?? assert.fail() },
      status: 'JOB_RUNNING',
      durability: 'replicated',
      isSettling: false,
      isOwner: true,
      waiting: [],
    };

    test('are answered, many at a time, each with its own answer', async (t) => {
      const bench = makeBench(t);
      const [a, b] = await Promise.all([bench.open('a'), bench.open('b')]);
      await link(a, b);
      b.witness.answer = async (call) => {
        assert.ok(call.kind === 'readOutput');
        await new Promise((resolve) => setImmediate(resolve));
        const bytes = new Uint8Array(call.offset).fill(call.offset);
        return {
          kind: 'output',
          chunk: { bytes, offset: call.offset, isEnd: true, isTruncated: false },
        };
      };
      const fence = { epoch: { counter: 1, node: a.node }, attempt: 1 };
      const lengths = Array.from({ length: 500 }, (_, index) => index);
      const answers = await Promise.all(
        lengths.map((offset) =>
          a.links.call(
            b.node,
            {
              kind: 'readOutput',
              job: JOB,
              fence,
              stream: 'stdout',
              offset,
              maxBytes: 1000,
              waitMs: 0,
            },
            { deadlineMs: 5000 },
          ),
        ),
      );
      const found = answers.map((answer) => answer.kind === 'output' && answer.chunk?.bytes.length);
      assert.deepEqual(found, lengths);
    });

    test('may have answers larger than a frame, beside which messages flow', async (t) => {
      const bench = makeBench(t);
      const [a, b] = await Promise.all([bench.open('a'), bench.open('b')]);
      await link(a, b);
      const command = 'x'.repeat(1_000_000);
      const { job, header } = live.record;
      const large = {
        ...live,
        record: { header, job: { ...job, spec: { ...job.spec, command } } },
      };
      b.witness.answer = async () => {
        setImmediate(() => b.links.send(a.node, [ping(1)]));
        return { kind: 'list', records: Array.from({ length: 20 }, () => large) };
      };
      const answer = await a.links.call(b.node, CALL, { deadlineMs: 10_000 });
      assert.deepEqual(answer, { kind: 'list', records: Array.from({ length: 20 }, () => large) });
      assert.equal(a.witness.of('message').length, 1);
    });

    test('that cannot be answered carry the code and the sentence of the peer', async (t) => {
      const bench = makeBench(t);
      const [a, b] = await Promise.all([bench.open('a'), bench.open('b')]);
      await link(a, b);
      b.witness.answer = async () => {
        throw new MeshError('DRAINING', 'This node is shutting down.');
      };
      const asked = a.links.call(b.node, CALL, { deadlineMs: 5000 });
      await assert.rejects(asked, failsWith('DRAINING', /^This node is shutting down\.$/));
      b.witness.answer = async () => {
        throw new TypeError('a fault of the program');
      };
      const again = a.links.call(b.node, CALL, { deadlineMs: 5000 });
      await assert.rejects(again, failsWith('INTERNAL', /a fault of the program/));
    });

    test('end at their deadline, and the peer is told', async (t) => {
      const bench = makeBench(t);
      const [a, b] = await Promise.all([bench.open('a'), bench.open('b')]);
      await link(a, b);
      const aborted = Promise.withResolvers<void>();
      b.witness.answer = (_, signal) =>
        new Promise(() => signal.addEventListener('abort', () => aborted.resolve()));
      const asked = a.links.call(b.node, CALL, { deadlineMs: 100 });
      await assert.rejects(asked, failsWith('NODE_UNREACHABLE', /within 0\.1 s/));
      await aborted.promise;
    });

    test('end when the asker loses interest, and the peer is told', async (t) => {
      const bench = makeBench(t);
      const [a, b] = await Promise.all([bench.open('a'), bench.open('b')]);
      await link(a, b);
      const controller = new AbortController();
      const aborted = Promise.withResolvers<void>();
      b.witness.answer = (_, signal) => {
        signal.addEventListener('abort', () => aborted.resolve());
        controller.abort();
        return new Promise(() => {});
      };
      const { signal } = controller;
      const asked = a.links.call(b.node, CALL, { deadlineMs: 60_000, signal });
      await assert.rejects(asked, failsWith('NODE_UNREACHABLE', /withdrawn/));
      await aborted.promise;
      const late = a.links.call(b.node, CALL, { deadlineMs: 60_000, signal });
      await assert.rejects(late, failsWith('NODE_UNREACHABLE', /withdrawn/));
    });

    test('end with the link, at both ends', async (t) => {
      const bench = makeBench(t);
      const [a, b] = await Promise.all([bench.open('a'), bench.open('b')]);
      await link(a, b);
      const aborted = Promise.withResolvers<void>();
      b.witness.answer = (_, signal) => {
        signal.addEventListener('abort', () => aborted.resolve());
        b.links.hangUp(a.node, 'enough');
        return new Promise(() => {});
      };
      const asked = a.links.call(b.node, CALL, { deadlineMs: 60_000 });
      await assert.rejects(asked, failsWith('NODE_UNREACHABLE', /enough/));
      await aborted.promise;
    });

    test('to a node without a link fail at once', async (t) => {
      const bench = makeBench(t);
      const [a, b] = await Promise.all([bench.open('a'), bench.open('b')]);
      const asked = a.links.call(b.node, CALL, { deadlineMs: 60_000 });
      await assert.rejects(asked, failsWith('NODE_UNREACHABLE', /no link/));
    });

    test('beyond 1,024 open ones are refused, until some are answered', async (t) => {
      const bench = makeBench(t);
      const [a, b] = await Promise.all([bench.open('a'), bench.open('b')]);
      await link(a, b);
      const release = Promise.withResolvers<void>();
      b.witness.answer = async () => {
        await release.promise;
        return { kind: 'lookUp', found: undefined };
      };
      const ask = () => a.links.call(b.node, CALL, { deadlineMs: 60_000 });
      const open = Array.from({ length: 1024 }, ask);
      await assert.rejects(ask(), failsWith('BUSY', /1024/));
      release.resolve();
      await Promise.all(open);
      await ask();
    });
  });
}
