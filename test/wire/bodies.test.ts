import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Message } from '../../src/core/messages.ts';
import { encodeJob, isUnread, parseJob } from '../../src/wire/jobs.ts';
import { toHeader } from '../../src/wire/records.ts';
import { mesh } from '../../src/wire/schema.ts';
import { encodeMessages, parseFrame } from '../../src/wire/wire.ts';
import { HEADER, JOBS, NODE_B } from './samples.ts';

describe('the body of a record', () => {
  const header = toHeader(HEADER);
  const unknown = Buffer.from('fa3f0568656c6c6f', 'hex');
  const newer = Buffer.concat([encodeJob(JOBS[1] ?? assert.fail()), unknown]);
  /** A state that this version has never heard of. */
  const strange = Buffer.from(
    mesh.JobBody.encode({ job: { priority: 11 }, contentHash: '' }).finish(),
  );
  const read1 = (record: mesh.Record.$Properties): Message | undefined => {
    const accept = { accept: { record } };
    const frame = parseFrame(mesh.Frame.encode({ messages: { messages: [accept] } }).finish());
    return frame?.kind === 'messages' ? frame.messages[0] : undefined;
  };
  const bodyOf = (message: Message): Buffer => {
    const [frame] = encodeMessages([message]).frames;
    const { messages } = mesh.Frame.decodeDelimited(frame ?? assert.fail());
    return Buffer.from(messages?.messages?.[0]?.accept?.record?.body ?? assert.fail());
  };

  test('is passed on as it came, with fields of a newer version', () => {
    const message = read1({ header, body: newer });
    assert.ok(message?.kind === 'accept');
    assert.deepEqual(message.record.job, JOBS[1]);
    assert.deepEqual(bodyOf(message), newer);
    assert.deepEqual(Buffer.from(encodeJob(message.record.job)), newer);
  });

  test('is passed on as it came although its header has changed', () => {
    const message = read1({ header, body: newer });
    assert.ok(message?.kind === 'accept');
    const { record } = message;
    const promised = { counter: 99, node: NODE_B };
    const moved = { header: { ...record.header, promised }, job: record.job };
    assert.deepEqual(bodyOf({ kind: 'accept', record: moved }), newer);
  });

  test('does not keep the frame it came in', () => {
    const body = Buffer.from(newer);
    const job = parseJob(body) ?? assert.fail();
    body.fill(0);
    assert.deepEqual(Buffer.from(encodeJob(job)), newer);
  });

  test('outlasts all that come after it where a newer version has put more into it', () => {
    const inner = mesh.JobBody.encode(mesh.JobBody.decode(newer)).finish();
    const { job: wire } = mesh.JobBody.decode(newer);
    const spec = Buffer.concat([mesh.Job.encode(wire ?? {}).finish(), unknown]);
    const nested = Buffer.concat([
      Buffer.from([0x0a, 0x80 | (spec.length & 0x7f), spec.length >> 7]),
      spec,
    ]);
    const bodies = [newer, Buffer.concat([inner, nested]), Buffer.from(inner)];
    const jobs = bodies.map((body) => parseJob(body) ?? assert.fail());
    for (let i = 0; i < 10_000; i++) encodeJob({ ...(JOBS[0] ?? assert.fail()), attempts: i });
    assert.deepEqual(Buffer.from(encodeJob(jobs[0] ?? assert.fail())), bodies[0]);
    assert.deepEqual(Buffer.from(encodeJob(jobs[1] ?? assert.fail())), bodies[1]);
    assert.deepEqual(parseJob(encodeJob(jobs[2] ?? assert.fail())), JOBS[1]);
  });

  test('shares with other bodies what is equal in them', () => {
    const body = encodeJob(JOBS[0] ?? assert.fail());
    const [one, two] = [parseJob(body), parseJob(Buffer.from(body))];
    assert.ok(one && two && one !== two);
    assert.equal(one.spec.needs, two.spec.needs);
    assert.equal(one.spec.env, two.spec.env);
  });

  test('is made anew when the job is another one', () => {
    const job = parseJob(newer) ?? assert.fail();
    const next = { ...job, attempts: job.attempts + 1 };
    assert.deepEqual(parseJob(encodeJob(next)), next);
    assert.equal(Buffer.from(encodeJob(next)).includes(unknown), false);
  });

  test('is encoded once for the disk and for all replicas', () => {
    const job = { ...(JOBS[0] ?? assert.fail()) };
    assert.equal(encodeJob(job), encodeJob(job));
  });

  test('of a newer version is kept and passed on unread, and nobody can run it', () => {
    const message = read1({ header: { ...header, minVersion: 99 }, body: strange });
    assert.ok(message?.kind === 'accept');
    const { record } = message;
    assert.deepEqual(record.header, { ...HEADER, minVersion: 99 });
    assert.equal(isUnread(record.job), true);
    assert.equal(record.job.spec.taskType, '');
    assert.deepEqual(bodyOf(message), strange);
  });

  test('of a newer version is read as far as it can be', () => {
    const message = read1({ header: { ...header, minVersion: 99 }, body: newer });
    assert.ok(message?.kind === 'accept');
    assert.equal(isUnread(message.record.job), false);
    assert.deepEqual(message.record.job, JOBS[1]);
  });

  test('of this version must be readable', () => {
    assert.equal(read1({ header, body: strange }), undefined);
    assert.equal(read1({ header: { ...header, minVersion: 0 }, body: strange }), undefined);
    assert.equal(read1({ header }), undefined);
  });
});
