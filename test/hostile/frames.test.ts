import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { type Random, randomBelow, seededRandom } from '../../src/base/random.ts';
import { createMeshCa } from '../../src/links/mesh-ca.ts';
import { createMeshKey } from '../../src/links/mesh-key.ts';
import { createNodeIdentity } from '../../src/links/node-identity.ts';
import { encodeAnswer, parseAnswer } from '../../src/wire/answers.ts';
import { FrameReader } from '../../src/wire/frame-reader.ts';
import { encodeGrant, parseGrant } from '../../src/wire/grants.ts';
import { encodeJob, parseJob } from '../../src/wire/jobs.ts';
import { encodeOutcome, parseOutcome } from '../../src/wire/outcomes.ts';
import {
  encodeFrame,
  encodeMessages,
  type Frame,
  PROTOCOL_VERSIONS,
  parseFrame,
} from '../../src/wire/wire.ts';
import { openNode } from '../links/nodes.ts';
import { asMember, RawPeer } from '../links/raw-peer.ts';
import { ANSWERS, BOOT, CALLS, FACTS, GRANT, JOBS, MESSAGES, OUTCOMES } from '../wire/samples.ts';
import { FACTOR, heapMegabytes, mutate, randomBytes, SEED } from './mutations.ts';

const COUNT = 10_000 * FACTOR;
/** Each costs a TLS handshake. */
const LINKS = 200 * FACTOR;
const MAX_GROWTH_MB = 16;

const WHOLE: readonly Buffer[] = [
  encodeFrame({ kind: 'hello', versions: PROTOCOL_VERSIONS, boot: BOOT, facts: FACTS }),
  encodeFrame({ kind: 'welcome', version: PROTOCOL_VERSIONS.max }),
  encodeFrame({ kind: 'close', reason: 'enough' }),
  ...CALLS.map((call) => encodeFrame({ kind: 'question', id: 1, deadlineMs: 9, call })),
  ...ANSWERS.map((answer) =>
    encodeFrame({ kind: 'answer', id: 1, bytes: encodeAnswer(answer), isLast: true }),
  ),
  ...MESSAGES.flatMap((message) => encodeMessages([message]).frames),
  ...encodeMessages(MESSAGES).frames,
].map((bytes) => Buffer.from(bytes));

function encodeAny(frame: Frame): Uint8Array {
  if (frame.kind !== 'messages') return encodeFrame(frame);
  return Buffer.concat(encodeMessages(frame.messages).frames);
}

function read(bytes: Uint8Array): (Frame | undefined)[] {
  const frames: (Frame | undefined)[] = [];
  new FrameReader().push(bytes, (frame) => frames.push(parseFrame(frame)) > 0);
  return frames;
}

const pick = (random: Random, from: readonly Buffer[]): Buffer =>
  from[randomBelow(random, from.length)] ?? Buffer.alloc(0);

describe(`${COUNT} hostile frames (seed ${SEED})`, () => {
  test('are refused, or are something that can be said again in the same words', () => {
    const random = seededRandom(SEED);
    let accepted = 0;
    for (let index = 0; index < COUNT; index++) {
      const noise = random() < 0.2 ? randomBytes(random, 300) : undefined;
      for (const frame of read(noise ?? mutate(random, pick(random, WHOLE), WHOLE))) {
        if (!frame || (frame.kind === 'messages' && frame.messages.length === 0)) continue;
        accepted += 1;
        assert.deepEqual(read(encodeAny(frame)), [frame]);
      }
    }
    assert.ok(accepted > COUNT / 100, `only ${accepted} were accepted: the test tests little`);
  });

  const kinds: Record<string, [Buffer[], (bytes: Uint8Array) => Uint8Array | undefined]> = {
    // A copy: the job itself would be said again in the bytes it came in.
    jobs: [
      JOBS.map((job) => Buffer.from(encodeJob(job))),
      reencoder(parseJob, (job) => encodeJob({ ...job })),
    ],
    outcomes: [
      OUTCOMES.map((outcome) => Buffer.from(encodeOutcome(outcome))),
      reencoder(parseOutcome, encodeOutcome),
    ],
    grants: [[Buffer.from(encodeGrant(GRANT))], reencoder(parseGrant, encodeGrant)],
    answers: [
      ANSWERS.map((answer) => Buffer.from(encodeAnswer(answer))),
      reencoder(parseAnswer, encodeAnswer),
    ],
  };
  for (const [kind, [whole, reencode]] of Object.entries(kinds)) {
    test(`as ${kind}: likewise`, () => {
      const random = seededRandom(SEED);
      let accepted = 0;
      for (let index = 0; index < COUNT; index++) {
        if (reencode(mutate(random, pick(random, whole), whole))) accepted += 1;
      }
      assert.ok(accepted > COUNT / 100, `only ${accepted} were accepted`);
    });
  }

  test(`on ${LINKS} links: leave a node and its other links as they were`, {
    timeout: 600_000,
  }, async (t) => {
    const random = seededRandom(SEED);
    const ca = createMeshCa(createMeshKey());
    const [node, friend] = [await openNode(t, { ca }), await openNode(t, { ca })];
    friend.links.dial(node.node, node.host, node.port);
    await node.witness.next('up');
    const attack = async (): Promise<void> => {
      const identity = createNodeIdentity();
      const peer = new RawPeer(node.port, asMember(ca, identity));
      if (random() < 0.8) await peer.greet(identity);
      for (let index = 0; index < 20; index++)
        peer.socket.write(mutate(random, pick(random, WHOLE), WHOLE));
      peer.socket.end();
      await peer.ended;
    };
    for (let index = 0; index < 50; index++) await attack();
    const before = heapMegabytes();
    for (let index = 0; index < LINKS; index++) {
      node.witness.forget();
      await attack();
    }
    await friend.links.call(node.node, { kind: 'lookUp', job: GRANT.job }, { deadlineMs: 5000 });
    assert.equal(friend.witness.of('down').length, 0);
    await node.witness.until('end of all hostile links', () => node.links.report().links === 1);
    const grown = heapMegabytes() - before;
    assert.ok(grown < MAX_GROWTH_MB, `${grown} MiB more in use`);
  });
});

/** Checks that what was accepted survives a second journey. */
function reencoder<T>(
  parse: (bytes: Uint8Array) => T | undefined,
  encode: (value: T) => Uint8Array,
): (bytes: Uint8Array) => Uint8Array | undefined {
  return (bytes) => {
    const value = parse(bytes);
    if (value === undefined) return undefined;
    const again = encode(value);
    assert.deepEqual(parse(again), value);
    return again;
  };
}
