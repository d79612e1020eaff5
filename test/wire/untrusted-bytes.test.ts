import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { parseAnswer } from '../../src/wire/answers.ts';
import { encodeHeartbeat, parseHeartbeat } from '../../src/wire/heartbeats.ts';
import { encodeJob } from '../../src/wire/jobs.ts';
import { encodeOutcome, parseOutcome } from '../../src/wire/outcomes.ts';
import { toHeader } from '../../src/wire/records.ts';
import { mesh } from '../../src/wire/schema.ts';
import { parseFrame } from '../../src/wire/wire.ts';
import { BOOT, HEADER, HEARTBEAT, JOBS, NODE_A, OUTCOME } from './samples.ts';

describe('untrusted bytes', () => {
  const parse = (wire: mesh.Message.$Properties) =>
    parseFrame(mesh.Frame.encode({ messages: { messages: [wire] } }).finish());
  const epoch = { counter: 5, nodeId: NODE_A };
  const fence = { epoch, attempt: 2 };
  const ref = { jobId: 'job-7', fence };
  const nodes = (count: number) =>
    Array.from({ length: count }, (_, i) => `node-${i.toString(16).padStart(32, '0')}`);
  const ofSets = (sets: mesh.ReplicaSets.$Properties) => ({ adopt: { ...ref, epoch, sets } });
  const ofHeader = (change: mesh.RecordHeader.$Properties) => {
    const header = { ...toHeader(HEADER), ...change };
    return { accept: { record: { header, body: encodeJob(JOBS[0] ?? assert.fail()) } } };
  };

  test('pass when every field is in order', () => {
    const right = [
      { cancel: { ...ref, epoch } },
      ofSets({ rs: nodes(9), oldRs: nodes(9) }),
      ofHeader({}),
      { renew: { attempts: Array.from({ length: 1000 }, () => ({ ...ref, epoch })) } },
    ];
    for (const wire of right) assert.equal(parse(wire)?.kind, 'messages');
  });

  const wrong: Record<string, mesh.Message.$Properties> = {
    'no kind at all': {},
    'an id that is none': { probe: { nodeId: 'node-a' } },
    'an id in upper case': { probe: { nodeId: NODE_A.toUpperCase() } },
    'an empty job id': { gone: { jobId: '', fence } },
    'a job id with a slash': { gone: { jobId: '../job', fence } },
    'a job id too long': { gone: { jobId: 'j'.repeat(129), fence } },
    'no fence': { gone: { jobId: 'job-7' } },
    'a fence without an epoch': { gone: { jobId: 'job-7', fence: { attempt: 1 } } },
    'a number beyond what can be counted': {
      gone: { jobId: 'job-7', fence: { ...fence, attempt: 2 ** 60 } },
    },
    'a cancel by nobody': { cancel: ref },
    'an epoch of nobody': { prepare: { jobId: 'job-7', epoch: { counter: 1 } } },
    'no epoch': { retire: { jobId: 'job-7' } },
    'too many replicas': ofSets({ rs: nodes(10) }),
    'too many old replicas': ofSets({ rs: nodes(1), oldRs: nodes(10) }),
    'a replica that is no node': ofSets({ rs: ['node-a'] }),
    'a replica with two votes': ofSets({ rs: [...nodes(2), ...nodes(1)] }),
    'an empty replica set': ofSets({ oldRs: nodes(1) }),
    'no replica sets': { adopt: { ...ref, epoch } },
    'a record without replicas': ofHeader({ rs: [] }),
    'a record that moves from two of the same': ofHeader({ oldRs: [NODE_A, NODE_A] }),
    'a record without an epoch': ofHeader({ acceptedEpoch: null }),
    'a record without a promise': ofHeader({ promised: null }),
    'a record without a birth': ofHeader({ birth: '' }),
    'a record without a writer': ofHeader({ writerBoot: null }),
    'no record': { accept: {} },
    'a clash of nothing': { clash: {} },
    'a promise with half a record': {
      promise: { jobId: 'job-7', epoch, record: { header: toHeader(HEADER) } },
    },
    'a retirement of no birth': { retire: { jobId: 'job-7', epoch, birth: '' } },
    'a refusal without a promise': { refused: { jobId: 'job-7', epoch } },
    'an empty birth': { refused: { jobId: 'job-7', epoch, promised: epoch, birth: '' } },
    'a version beyond what can be counted': {
      accepted: { jobId: 'job-7', epoch, version: 2 ** 60 },
    },
    'an age below nothing': { accepted: { jobId: 'job-7', epoch, yesAgoMs: -1 } },
    'too many leases': {
      renew: { attempts: Array.from({ length: 1001 }, () => ({ ...ref, epoch })) },
    },
    'a lease of nobody': { renew: { attempts: [ref] } },
    'sets that moved to nobody knows where': { renewed: { moved: [ref] } },
    'too many yeses': { renewed: { granted: Array.from({ length: 1001 }, () => ref) } },
    'too many bans': {
      bans: { bans: Array.from({ length: 1001 }, () => ({ nodeId: NODE_A })) },
    },
    'a ban of nobody': { bans: { bans: [{ name: 'lab-1' }] } },
    'too many records that are held': {
      holding: {
        held: Array.from({ length: 1001 }, () => ({
          jobId: 'job-7',
          birth: 'b',
          accepted: { epoch },
        })),
      },
    },
    'a record held of no value': { holding: { held: [{ jobId: 'job-7', birth: 'b' }] } },
    'a record held of no birth': { holding: { held: [{ jobId: 'job-7', accepted: { epoch } }] } },
    'a job handed over of no birth': { handOver: { jobId: 'job-7', epoch } },
    'a lease of an empty birth': { renew: { attempts: [{ ...ref, epoch, birth: '' }] } },
    'a grant of an empty birth': {
      grant: { ...ref, nonce: '1.1', rs: [NODE_A], job: { priority: 1 }, birth: '' },
    },
    'a delivery nobody knows': {
      grant: {
        ...ref,
        nonce: '1.1',
        rs: [NODE_A],
        job: { priority: 1, delivery: 9 as never },
      },
    },
    'more disks than three': {
      grant: { ...ref, nonce: '1.1', rs: [NODE_A], job: { priority: 1, replicas: 4 } },
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
      messages: { messages: [{ cancel: { ...ref, epoch } }] },
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

  test('of conflicts are refused when one of them is of no known kind', () => {
    const conflict = { jobId: 'job-7', atMs: 1, tag: 1, note: 'n' };
    const encode = (conflicts: mesh.Conflict.$Properties[]) =>
      mesh.Answer.encode({ conflicts: { conflicts } }).finish();
    assert.equal(parseAnswer(encode([conflict]))?.kind, 'conflicts');
    assert.equal(parseAnswer(encode([{ ...conflict, tag: 0 }])), undefined);
    assert.equal(parseAnswer(encode([{ ...conflict, tag: 4 as never }])), undefined);
    assert.equal(parseAnswer(encode(Array(1001).fill(conflict))), undefined);
  });

  test('of a heartbeat that speaks for another node are refused', () => {
    const beat = mesh.MeshMessage.decode(encodeHeartbeat(HEARTBEAT));
    beat.senderNodeId = `node-${'0'.repeat(32)}`;
    assert.equal(parseHeartbeat(mesh.MeshMessage.encode(beat).finish()), undefined);
  });
});
