import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { asJobId } from '../../src/base/ids.ts';
import { type Job, type JobSpec, MAX_HISTORY, MAX_TAIL_BYTES } from '../../src/core/job.ts';
import type { Message } from '../../src/core/messages.ts';
import { answerFrames } from '../../src/wire/answer-frames.ts';
import { encodeAnswer, parseAnswer } from '../../src/wire/answers.ts';
import { FrameReader } from '../../src/wire/frame-reader.ts';
import { encodeGrant, parseGrant } from '../../src/wire/grants.ts';
import { encodeHeartbeat, parseHeartbeat } from '../../src/wire/heartbeats.ts';
import { encodeJob, parseJob } from '../../src/wire/jobs.ts';
import {
  FULL_FRAME_BYTES,
  MAX_CHUNK_BYTES,
  MAX_FRAME_BYTES,
  MAX_MESSAGES_PER_FRAME,
  MAX_SENTENCE_CHARS,
} from '../../src/wire/limits.ts';
import { encodeOutcome, parseOutcome } from '../../src/wire/outcomes.ts';
import {
  encodeFrame,
  encodeMessages,
  type Frame,
  PROTOCOL_VERSIONS,
  parseFrame,
} from '../../src/wire/wire.ts';
import { GOLDEN, ON_OLD_DISKS } from './golden.ts';
import {
  ANSWERS,
  BAN,
  BOOT,
  CALLS,
  FACTS,
  FENCE,
  GRANT,
  HEADER,
  HEARTBEAT,
  JOB,
  JOBS,
  LOAD,
  MESSAGES,
  NODE_A,
  NODE_B,
  NODE_C,
  OUTCOME,
  OUTCOMES,
  PLAIN_SPEC,
  RECORDS,
  SPEC,
} from './samples.ts';

const FRAMES: readonly Exclude<Frame, { kind: 'messages' }>[] = [
  { kind: 'hello', versions: PROTOCOL_VERSIONS, boot: BOOT, facts: FACTS },
  { kind: 'welcome', version: 2 },
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

/** Long bytes are windows onto what was received. */
const unwindowed = (answer: ReturnType<typeof parseAnswer>) =>
  answer?.kind === 'blob' && answer.chunk
    ? { ...answer, chunk: { ...answer.chunk, bytes: new Uint8Array(answer.chunk.bytes) } }
    : answer;

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

  test('is read back as it was: the value that lets a replica go', () => {
    const { birth } = HEADER;
    const message = { kind: 'retire', job: JOB, epoch: FENCE.epoch, birth, version: 4 } as const;
    const both = [message, { ...message, isSettled: true }];
    assert.deepEqual(readMessages(encodeMessages(both).frames), both);
  });

  test('is read back as it was: a job handed over of which nothing runs', () => {
    const message = MESSAGES.find(({ kind }) => kind === 'handOver') ?? assert.fail();
    const idle = [{ ...message, idleVersion: 3 }] as Message[];
    assert.deepEqual(readMessages(encodeMessages(idle).frames), idle);
  });

  test('is read back as it was: answers', () => {
    for (const answer of ANSWERS) assert.deepEqual(parseAnswer(encodeAnswer(answer)), answer);
  });

  test('is read back as it was: answers in frames, whatever their parts', () => {
    const bytesOf = (length: number) => Uint8Array.from({ length }, (_, i) => i % 251);
    const lengths = [0, 1, 16 * 1024, 16 * 1024 + 1, 255 * 1024, MAX_CHUNK_BYTES];
    const pieces = lengths.map((length) => ({
      kind: 'blob' as const,
      chunk: { bytes: bytesOf(length), totalBytes: 2 ** 40 + length },
    }));
    const outputs = lengths.map((length, i) => ({
      kind: 'output' as const,
      chunk: {
        bytes: bytesOf(length),
        offset: 2 ** 40 + length,
        isEnd: i % 2 === 0,
        isTruncated: i % 3 === 0,
        ...(i !== 4 && { keptBytes: 2 ** 41 + length }),
      },
    }));
    for (const answer of [...ANSWERS, ...pieces, ...outputs])
      for (const partBytes of [1000, 100_000, 256 * 1024]) {
        const frames = [...answerFrames(70_000, answer, partBytes)].map((frame) =>
          Buffer.concat(frame),
        );
        const parts = frames.flatMap(read).map((frame) => {
          assert(
            frame?.kind === 'answer' && frame.id === 70_000 && frame.bytes.length <= partBytes,
          );
          return frame;
        });
        assert.deepEqual(
          parts.map(({ isLast }) => isLast),
          frames.map((_, i) => i === frames.length - 1),
        );
        const parsed = parseAnswer(Buffer.concat(parts.map(({ bytes }) => bytes)));
        assert.deepEqual(unwindowed(parsed), answer);
      }
    for (const [name, [, , , , whole]] of Object.entries({ pieces, outputs })) {
      assert(whole);
      assert.equal([...answerFrames(1, whole, 256 * 1024)].length, 1, `${name}: it is one part`);
    }
  });

  test('is read back as it was: frames', () => {
    const hello = { kind: 'hello', versions: PROTOCOL_VERSIONS, boot: BOOT, facts: FACTS } as const;
    for (const frame of [...FRAMES, { ...hello, commits: 7 }])
      assert.deepEqual(read(encodeFrame(frame)), [frame]);
    const gone = { node: NODE_B, boot: BOOT, commits: 7, hosts: [], linkPort: 0 };
    const table = { kind: 'members', members: [gone] } as const;
    const { frames } = encodeMessages([table]);
    assert.deepEqual(frames.flatMap(read), [{ kind: 'messages', messages: [table] }]);
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

  test('makes a yes look younger than it is, never older', () => {
    const told = (yesAgoMs: number) => {
      const epoch = FENCE.epoch;
      const message: Message = { kind: 'accepted', job: JOB, epoch, version: 1, yesAgoMs };
      const [read] = readMessages(encodeMessages([message]).frames);
      return read?.kind === 'accepted' ? read.yesAgoMs : assert.fail();
    };
    assert.deepEqual([told(0.9), told(1500.999), told(-3)], [0, 1500, 0]);
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

  test('that version 1 has left on a disk are read', () => {
    const bytes = (name: keyof typeof ON_OLD_DISKS) => Buffer.from(ON_OLD_DISKS[name], 'hex');
    assert.deepEqual(parseJob(bytes('job')), { ...JOBS[5], spec: asBefore(SPEC) });
    assert.deepEqual(parseOutcome(bytes('outcome')), OUTCOME);
    const { birth: _, leftMs: __, ...grant } = GRANT;
    const before = { ...grant, oldRs: [], spec: asBefore(SPEC) };
    assert.deepEqual(parseGrant(bytes('grant')), before);
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

  test('of 10,000 records take few frames, each no larger than pings can wait for', () => {
    const record = RECORDS[0] ?? assert.fail();
    const accepts = Array.from({ length: 10_000 }, (_, serial): Message => {
      const header = { ...HEADER, job: asJobId(`job-${serial}`), rs: [NODE_A, NODE_B, NODE_C] };
      return { kind: 'accept', record: { header, job: { ...record.job } } };
    });
    const { frames, oversized } = encodeMessages(accepts);
    const bytes = frames.reduce((sum, frame) => sum + frame.length, 0);
    assert.equal(oversized, 0);
    assert.ok(frames.length <= Math.ceil(bytes / FULL_FRAME_BYTES), `${frames.length} frames`);
    for (const frame of frames) assert.ok(frame.length < FULL_FRAME_BYTES + 10_000);
    assert.deepEqual(readMessages(frames), accepts);
  });

  test('hold a record of the largest job there is', () => {
    const tail = { bytes: new Uint8Array(MAX_TAIL_BYTES), totalBytes: 1e9, isTruncated: true };
    const outcome = { ...OUTCOME, stdout: tail, stderr: tail };
    const note = 'ä'.repeat(MAX_SENTENCE_CHARS);
    const past = { fence: FENCE, executor: NODE_B, at: HEARTBEAT.sentAt, note, isSuperseded: true };
    const job: Job = {
      ...(JOBS[5] ?? assert.fail()),
      spec: { ...SPEC, command: 'x'.repeat(131_071), env: { A: 'x'.repeat(524_288) } },
      state: {
        tag: 'final',
        final: { status: 'JOB_FAILED', at: HEARTBEAT.sentAt, reason: note, outcome },
      },
      history: Array.from({ length: MAX_HISTORY }, () => past),
    };
    const accept: Message = { kind: 'accept', record: { header: HEADER, job } };
    const { frames, oversized } = encodeMessages([accept, accept]);
    assert.equal(oversized, 0);
    assert.deepEqual(readMessages(frames), [accept, accept]);
  });

  test('say a long list in several messages', () => {
    const ref = { job: JOB, fence: FENCE, epoch: FENCE.epoch, sets: 1 };
    const attempts = Array.from({ length: 4096 }, (_, i) => ({ ...ref, sets: i }));
    const bans = Array.from({ length: 1001 }, (_, i) => ({ ...BAN, name: `lab-${i}` }));
    const told = readMessages(
      encodeMessages([{ kind: 'renew', sentAt: 7, attempts }, ping, { kind: 'bans', bans }]).frames,
    );
    const kinds = told.map(({ kind }) => kind);
    assert.deepEqual(kinds, [...Array(5).fill('renew'), 'ping', 'bans', 'bans']);
    const renewals = told.filter((message) => message.kind === 'renew');
    assert.deepEqual(
      renewals.flatMap((message) => message.attempts),
      attempts,
    );
    for (const message of renewals) assert.equal(message.sentAt, 7);
    assert.deepEqual(
      told.filter((message) => message.kind === 'bans').flatMap((message) => message.bans),
      bans,
    );
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

/** What version 1 knew of it. */
const asBefore = ({
  replicas: _,
  queueTimeoutMs: __,
  totalTimeoutMs: ___,
  ...spec
}: JobSpec): JobSpec => ({
  ...spec,
  run: '{}',
  delivery: 'at_least_once',
  onIsolation: 'stop',
});

function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value;
  for (; rest > 127; rest >>>= 7) bytes.push((rest & 127) | 128);
  return Buffer.from([...bytes, rest]);
}
