import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Message } from '../../src/core/messages.ts';
import { encodeAnswer, parseAnswer } from '../../src/wire/answers.ts';
import { FrameReader } from '../../src/wire/frame-reader.ts';
import { encodeGrant, parseGrant } from '../../src/wire/grants.ts';
import { encodeHeartbeat, parseHeartbeat } from '../../src/wire/heartbeats.ts';
import { encodeJob, parseJob } from '../../src/wire/jobs.ts';
import { MAX_FRAME_BYTES, MAX_MESSAGES_PER_FRAME } from '../../src/wire/limits.ts';
import { encodeOutcome, parseOutcome } from '../../src/wire/outcomes.ts';
import { mesh } from '../../src/wire/schema.ts';
import {
  encodeFrame,
  encodeMessages,
  type Frame,
  PROTOCOL_VERSIONS,
  parseFrame,
} from '../../src/wire/wire.ts';
import { GOLDEN } from './golden.ts';
import {
  ANSWERS,
  BOOT,
  CALLS,
  FACTS,
  GRANT,
  HEARTBEAT,
  JOBS,
  LOAD,
  MESSAGES,
  NODE_A,
  OUTCOME,
  OUTCOMES,
  PLAIN_SPEC,
} from './samples.ts';

const FRAMES: readonly Exclude<Frame, { kind: 'messages' }>[] = [
  { kind: 'hello', versions: PROTOCOL_VERSIONS, boot: BOOT, facts: FACTS },
  { kind: 'welcome', version: 1 },
  { kind: 'close', reason: 'the node stops' },
  { kind: 'answer', id: 7, bytes: Uint8Array.of(1, 2), isLast: true },
  { kind: 'withdrawal', id: 8 },
  ...CALLS.map((call, id) => ({ kind: 'question', id, deadlineMs: 1500, call }) as const),
];

function read(bytes: Uint8Array): (Frame | undefined)[] {
  const frames: (Frame | undefined)[] = [];
  assert.ok(new FrameReader().push(bytes, (frame) => frames.push(parseFrame(frame)) > 0));
  return frames;
}

function readMessages(frames: readonly Uint8Array[]): Message[] {
  return read(Buffer.concat(frames)).flatMap((frame) => {
    assert.equal(frame?.kind, 'messages');
    return frame.messages;
  });
}

describe('what is encoded', () => {
  test('is read back as it was: jobs in all their states', () => {
    for (const job of JOBS) assert.deepEqual(parseJob(encodeJob(job)), job);
  });

  test('is read back as it was: outcomes of all kinds', () => {
    for (const outcome of OUTCOMES) {
      assert.deepEqual(parseOutcome(encodeOutcome(outcome)), outcome);
    }
  });

  test('is read back as it was: grants', () => {
    for (const grant of [GRANT, { ...GRANT, spec: PLAIN_SPEC }]) {
      assert.deepEqual(parseGrant(encodeGrant(grant)), grant);
    }
  });

  test('is read back as it was: messages of all kinds, in order', () => {
    const { frames, oversized } = encodeMessages(MESSAGES);
    assert.equal(frames.length, 1);
    assert.equal(oversized, 0);
    assert.deepEqual(readMessages(frames), MESSAGES);
  });

  test('is read back as it was: answers', () => {
    for (const answer of ANSWERS) assert.deepEqual(parseAnswer(encodeAnswer(answer)), answer);
  });

  test('is read back as it was: frames', () => {
    for (const frame of FRAMES) assert.deepEqual(read(encodeFrame(frame)), [frame]);
  });

  test('is read back as it was: heartbeats', () => {
    assert.deepEqual(parseHeartbeat(encodeHeartbeat(HEARTBEAT)), HEARTBEAT);
    assert.ok(encodeHeartbeat(HEARTBEAT).length < 455, 'with its seal it is under 508 bytes');
  });

  test('keeps names that mean something to JavaScript', () => {
    const env = JSON.parse('{"__proto__":"a","constructor":"b"}');
    const grant = parseGrant(encodeGrant({ ...GRANT, spec: { ...PLAIN_SPEC, env } }));
    assert.deepEqual(Object.entries(grant?.spec.env ?? {}), Object.entries(env));
  });

  test('can be read although the text held half a surrogate pair', () => {
    const spec = { ...PLAIN_SPEC, command: 'echo \ud800', env: { A: '\udc00' } };
    const grant = parseGrant(encodeGrant({ ...GRANT, spec }));
    assert.equal(grant?.spec.command, 'echo \ufffd');
    assert.equal(grant?.spec.env.A, '\ufffd');
  });

  test('cuts sentences that are too long, and nothing else', () => {
    const end = { tag: 'failed', reason: 'x'.repeat(100_000) } as const;
    const outcome = parseOutcome(encodeOutcome({ ...OUTCOME, end }));
    assert.ok(outcome?.end.tag === 'failed' && outcome.end.reason.length < 10_000);
  });

  test('does not keep the buffer it was read from', () => {
    const encoded = Buffer.from(encodeOutcome(OUTCOME));
    const outcome = parseOutcome(encoded);
    encoded.fill(0);
    assert.deepEqual(outcome, OUTCOME);
  });
});

describe('the bytes', () => {
  const made: Record<string, Uint8Array> = {
    job: encodeJob(JOBS[5] ?? assert.fail()),
    outcome: encodeOutcome(OUTCOME),
    grant: encodeGrant(GRANT),
    messages: Buffer.concat(encodeMessages(MESSAGES).frames),
    frames: Buffer.concat(FRAMES.map(encodeFrame)),
    heartbeat: encodeHeartbeat(HEARTBEAT),
  };

  test('are those of the version before', () => {
    const hex = Object.entries(made).map(([name, bytes]) => [
      name,
      Buffer.from(bytes).toString('hex'),
    ]);
    assert.deepEqual(Object.fromEntries(hex), GOLDEN);
  });

  test('of the version before are read', () => {
    const bytes = (name: string) => Buffer.from(GOLDEN[name] ?? '', 'hex');
    assert.deepEqual(parseJob(bytes('job')), JOBS[5]);
    assert.deepEqual(parseOutcome(bytes('outcome')), OUTCOME);
    assert.deepEqual(parseGrant(bytes('grant')), GRANT);
    assert.deepEqual(readMessages([bytes('messages')]), MESSAGES);
    assert.deepEqual(read(bytes('frames')), FRAMES);
    assert.deepEqual(parseHeartbeat(bytes('heartbeat')), HEARTBEAT);
  });

  test('have the field numbers that nodes of other origin know', () => {
    // Field 1 = 1 (HEARTBEAT), field 2 a node_info whose field 1 is the id, field 6 the sender.
    const hex = Buffer.from(made.heartbeat ?? '').toString('hex');
    const id = Buffer.from(NODE_A).toString('hex');
    assert.match(hex, new RegExp(`^080112..0a25${id}120e`));
    assert.match(hex, new RegExp(`3225${id}$`));
  });
});

describe('batches of messages', () => {
  const ping: Message = { kind: 'ping', serial: 1, load: LOAD };
  const large = (bytes: number): Message => ({
    kind: 'grant',
    grant: { ...GRANT, spec: { ...PLAIN_SPEC, command: 'x'.repeat(bytes) } },
  });

  test('are spread over frames of at most 1,000', () => {
    const { frames } = encodeMessages(Array.from({ length: 2500 }, () => ping));
    const counts = frames.map((frame) => readMessages([frame]).length);
    assert.deepEqual(counts, [MAX_MESSAGES_PER_FRAME, MAX_MESSAGES_PER_FRAME, 500]);
  });

  test('are spread over frames by their size, in order', () => {
    const batch = [ping, large(200_000), large(100_000), ping, large(1_900_000), ping];
    const { frames } = encodeMessages(batch);
    assert.ok(frames.length > 1);
    for (const frame of frames) assert.ok(frame.length <= MAX_FRAME_BYTES);
    assert.deepEqual(readMessages(frames), batch);
  });

  test('leave out a message that no frame could hold, and only that', () => {
    const hosts = Array.from({ length: 60 }, (_, i) => `${i}`.repeat(500));
    const entry = { node: NODE_A, boot: BOOT, hosts, linkPort: 1 };
    const members = Array.from({ length: 100 }, () => entry);
    const { frames, oversized } = encodeMessages([ping, { kind: 'members', members }, ping]);
    assert.equal(oversized, 1);
    assert.deepEqual(readMessages(frames), [ping, ping]);
  });
});

describe('untrusted bytes', () => {
  const parse = (wire: mesh.Message.$Properties) =>
    parseFrame(mesh.Frame.encode({ messages: { messages: [wire] } }).finish());
  const fence = { epoch: { counter: 5, nodeId: NODE_A }, attempt: 2 };

  test('pass when every field is in order', () => {
    assert.equal(parse({ cancel: { jobId: 'job-7', fence } })?.kind, 'messages');
  });

  const wrong: Record<string, mesh.Message.$Properties> = {
    'no kind at all': {},
    'an id that is none': { probe: { nodeId: 'node-a' } },
    'an id in upper case': { probe: { nodeId: NODE_A.toUpperCase() } },
    'an empty job id': { cancel: { jobId: '', fence } },
    'a job id with a slash': { cancel: { jobId: '../job', fence } },
    'a job id too long': { cancel: { jobId: 'j'.repeat(129), fence } },
    'no fence': { cancel: { jobId: 'job-7' } },
    'no epoch': { cancel: { jobId: 'job-7', fence: { attempt: 1 } } },
    'a number beyond what can be counted': {
      cancel: { jobId: 'job-7', fence: { ...fence, attempt: 2 ** 60 } },
    },
    'a reason nobody knows': { refuse: { jobId: 'job-7', reason: 99 as never, load: {} } },
    'no load': { ping: { serial: 1 } },
    'no nonce': { decline: {} },
    'a time that is no number': { renew: { sentAt: Number.NaN } },
    'a grant without replicas': {
      grant: { jobId: 'job-7', fence, nonce: '1.1', job: { priority: 1 } },
    },
    'a priority out of range': {
      grant: { jobId: 'job-7', fence, nonce: '1.1', rs: [NODE_A], job: { priority: 11 } },
    },
    'an outcome without an end': {
      result: {
        jobId: 'job-7',
        outcome: { fence, executorNodeId: NODE_A, stdout: {}, stderr: {} },
      },
    },
    'a tail too long': {
      result: {
        jobId: 'job-7',
        outcome: {
          fence,
          executorNodeId: NODE_A,
          exitCode: 0,
          stdout: { bytes: new Uint8Array(70_000) },
          stderr: {},
        },
      },
    },
    'too many members': {
      members: {
        members: Array.from({ length: 257 }, () => ({
          nodeId: NODE_A,
          boot: { counter: 1, salt: BOOT.salt },
        })),
      },
    },
    'a boot without a salt': { members: { members: [{ nodeId: NODE_A, boot: { counter: 1 } }] } },
  };
  for (const [what, wire] of Object.entries(wrong)) {
    test(`are refused for ${what}`, () => assert.equal(parse(wire), undefined));
  }

  test('are refused when they end too soon, wherever that is', () => {
    const whole = mesh.Frame.encode({
      messages: { messages: [{ cancel: { jobId: 'job-7', fence } }] },
    }).finish();
    for (let length = 0; length < whole.length; length++) {
      assert.equal(parseFrame(whole.subarray(0, length)), undefined);
    }
  });

  test('may hold fields of a newer version, which are skipped', () => {
    const unknown = Buffer.from('fa3f0568656c6c6f', 'hex');
    const outcome = Buffer.concat([encodeOutcome(OUTCOME), unknown]);
    assert.deepEqual(parseOutcome(outcome), OUTCOME);
  });

  test('of an error code that is not known are a failure all the same', () => {
    const bytes = mesh.Answer.encode({ error: { code: 'toString', message: 'm' } }).finish();
    assert.deepEqual(parseAnswer(bytes), { kind: 'error', code: 'INTERNAL', message: 'm' });
  });

  test('of a heartbeat that speaks for another node are refused', () => {
    const beat = mesh.MeshMessage.decode(encodeHeartbeat(HEARTBEAT));
    beat.senderNodeId = `node-${'0'.repeat(32)}`;
    assert.equal(parseHeartbeat(mesh.MeshMessage.encode(beat).finish()), undefined);
  });
});

describe('a frame reader', () => {
  const stream = Buffer.concat([
    encodeFrame({ kind: 'welcome', version: 1 }),
    ...encodeMessages(MESSAGES).frames,
    encodeFrame({ kind: 'close', reason: 'x'.repeat(500) }),
  ]);
  const kinds = ['welcome', 'messages', 'close'];

  function readInChunks(bytes: number): string[] {
    const reader = new FrameReader();
    const found: string[] = [];
    for (let at = 0; at < stream.length; at += bytes) {
      const chunk = stream.subarray(at, at + bytes);
      const isReadable = reader.push(
        chunk,
        (frame) => found.push(parseFrame(frame)?.kind ?? '') > 0,
      );
      assert.ok(isReadable);
    }
    return found;
  }

  test('finds the same frames however the stream is cut', () => {
    for (const bytes of [1, 2, 3, 7, 100, 1000, stream.length]) {
      assert.deepEqual(readInChunks(bytes), kinds);
    }
  });

  test('takes a frame of the largest size, and refuses one byte more before it has come', () => {
    const frames: number[] = [];
    const reader = new FrameReader();
    const largest = Buffer.concat([varint(MAX_FRAME_BYTES), Buffer.alloc(MAX_FRAME_BYTES)]);
    assert.ok(reader.push(largest, (frame) => frames.push(frame.length) > 0));
    assert.deepEqual(frames, [MAX_FRAME_BYTES]);
    assert.equal(
      reader.push(varint(MAX_FRAME_BYTES + 1), () => true),
      false,
    );
  });

  test('refuses a length that never ends', () => {
    const endless = Buffer.from('8080808000', 'hex');
    assert.equal(
      new FrameReader().push(endless, () => true),
      false,
    );
  });

  test('stops where it is told to', () => {
    let count = 0;
    new FrameReader().push(stream, () => {
      count += 1;
      return false;
    });
    assert.equal(count, 1);
  });
});

function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value;
  for (; rest > 127; rest >>>= 7) bytes.push((rest & 127) | 128);
  return Buffer.from([...bytes, rest]);
}
