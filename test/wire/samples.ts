/** One of everything that travels, each with all its fields set to something of its own. */
import assert from 'node:assert/strict';
import {
  asBirth,
  asJobId,
  asNodeId,
  asNonce,
  type BootId,
  type NodeId,
} from '../../src/base/ids.ts';
import { asWall } from '../../src/base/instant.ts';
import type { Answer, Call, LiveRecord, TerminalAsk } from '../../src/core/calls.ts';
import type { Conflict, Reply } from '../../src/core/effects.ts';
import type { Load, NodeFacts } from '../../src/core/facts.ts';
import type {
  AttemptEnd,
  AttemptOutcome,
  GrantNote,
  Job,
  JobSpec,
  JobState,
  Progress,
  Receipt,
} from '../../src/core/job.ts';
import type { JobRecord } from '../../src/core/job-record.ts';
import type { Grant, Message } from '../../src/core/messages.ts';
import type { Ban, Fence, RecordHeader } from '../../src/core/record.ts';
import type { Heartbeat } from '../../src/wire/heartbeats.ts';

const SHA256 = '0a'.repeat(32);
export const NODE_A: NodeId = asNodeId(`node-${'a1'.repeat(16)}`);
export const NODE_B: NodeId = asNodeId(`node-${'b2'.repeat(16)}`);
export const NODE_C: NodeId = asNodeId(`node-${'c3'.repeat(16)}`);
export const JOB = asJobId('job-7');
export const BOOT: BootId = { counter: 3, salt: '0123456789abcdef' };
const T = 1_767_323_045_678;

const BIRTH = asBirth('00ff00ff00ff00ff');
export const FENCE: Fence = { epoch: { counter: 5, node: NODE_A }, attempt: 2 };

export const LOAD: Load = {
  running: 1,
  claimed: 2,
  slots: 8,
  queued: 300,
  draining: true,
  accepting: false,
  leaving: true,
};

const MACHINE = { cpuPercent: 12.5, memoryBytes: 3e9, diskFreeBytes: 7e12, load1: 0.25 };

export const FACTS: NodeFacts = {
  node: NODE_A,
  name: 'lab-1',
  hostname: 'lab-1.example',
  platform: 'linux-x64',
  version: '0.1.0',
  pid: 4711,
  hosts: ['10.0.0.7', 'fe80::7'],
  linkPort: 40_001,
  apiUrl: 'http://127.0.0.1:3001',
  slots: 8,
  taskTypes: ['python', 'shell'],
  typeVersions: { python: '3.13.5' },
  hardware: { cores: 2, memoryBytes: 4e9, diskBytes: 2e10 },
  labels: { zone: 'b' },
  capabilities: { gpu: 'true' },
};

export const SPEC: JobSpec = {
  taskType: 'shell',
  command: 'echo "ä" | tr a-z A-Z',
  params: '{"a":1}',
  run: '{"nice":5}',
  queueTimeoutMs: 60_000,
  totalTimeoutMs: 0,
  env: { GREETING: 'hello', __proto__x: 'y' },
  workingDir: '/tmp',
  timeoutMs: 300_000,
  priority: 5,
  needs: { target: NODE_B, labels: { zone: 'b' }, capabilities: { gpu: 'true' } },
  delivery: 'at_most_once',
  onIsolation: 'continue',
  replicas: 2,
};

export const PLAIN_SPEC: JobSpec = {
  taskType: 'shell',
  command: 'true',
  params: '{}',
  run: '{}',
  env: {},
  timeoutMs: 1000,
  priority: 1,
  needs: { labels: {}, capabilities: {} },
  delivery: 'at_least_once',
  onIsolation: 'stop',
};

export const GRANT: Grant = {
  job: JOB,
  birth: BIRTH,
  fence: FENCE,
  nonce: asNonce('3.17'),
  rs: [NODE_A, NODE_B],
  oldRs: [NODE_C],
  leaseMs: 6000,
  leftMs: 59_000,
  spec: SPEC,
};

export const OUTCOME: AttemptOutcome = {
  fence: FENCE,
  executor: NODE_B,
  end: { tag: 'exited', code: 0 },
  startedAt: asWall(T + 1),
  finishedAt: asWall(T + 2),
  stdout: { bytes: Uint8Array.of(0, 255, 10), totalBytes: 70_000, isTruncated: true },
  stderr: { bytes: new Uint8Array(0), totalBytes: 0, isTruncated: false },
};

const ENDS: readonly AttemptEnd[] = [
  { tag: 'exited', code: 0 },
  { tag: 'exited', code: 137 },
  { tag: 'signalled', signal: 'SIGSEGV' },
  { tag: 'timeout' },
  { tag: 'cancelled' },
  { tag: 'failed', reason: 'no such folder' },
  { tag: 'lost', reason: 'its node died' },
  { tag: 'returned', reason: '' },
];

const neverStarted = ({ startedAt: _, ...rest }: AttemptOutcome): AttemptOutcome => rest;

const PROGRESS: Progress = { percent: 37.5, message: 'fräsen' };

const RECEIPTS: readonly Receipt[] = [
  {},
  { usage: { cpuMs: 0, peakMemoryBytes: 4096, limitsBy: 'cgroup' } },
  { usage: { limitsBy: 'rlimit' } },
  { usage: { cpuMs: 12 }, progress: PROGRESS, result: '{"a":[1]}' },
  { files: [{ path: 'result/ä b.csv', bytes: 5_000_000_000, sha256: SHA256 }] },
];

export const OUTCOMES: readonly AttemptOutcome[] = [
  ...ENDS.map((end) => ({ ...OUTCOME, end })),
  ...RECEIPTS.map((receipt) => ({ ...OUTCOME, receipt })),
  neverStarted(OUTCOME),
];

const NOTE: GrantNote = {
  fence: FENCE,
  executor: NODE_B,
  executorBoot: BOOT,
  nonce: asNonce('3.17'),
  at: asWall(T + 3),
  why: 'own free slot',
};

const STATES: readonly JobState[] = [
  { tag: 'pending' },
  { tag: 'granted', grant: NOTE },
  { tag: 'granted', grant: NOTE, cancelAt: asWall(T + 4) },
  { tag: 'revoked', grant: NOTE, reason: 'link closed' },
  { tag: 'revoked', grant: NOTE, reason: 'link closed', cancelAt: asWall(0) },
  { tag: 'final', final: { status: 'JOB_COMPLETED', at: asWall(T), reason: '', outcome: OUTCOME } },
  { tag: 'final', final: { status: 'JOB_CANCELLED', at: asWall(T), reason: 'cancelled' } },
  { tag: 'final', final: { status: 'JOB_LOST', at: asWall(T), reason: 'given up' } },
];

export const JOBS: readonly Job[] = STATES.map((state) => ({
  spec: SPEC,
  createdAt: asWall(T),
  createdBy: NODE_A,
  contentHash: 'c0ffee',
  state,
  attempts: 2,
  losses: 1,
  history: [{ fence: FENCE, executor: NODE_B, at: asWall(T), note: 'lost', isSuperseded: true }],
}));

export const HEADER: RecordHeader = {
  job: JOB,
  birth: BIRTH,
  rs: [NODE_A],
  oldRs: [NODE_B],
  promised: { counter: 6, node: NODE_B },
  accepted: { epoch: { counter: 5, node: NODE_A }, version: 4 },
  writerBoot: BOOT,
  minVersion: 1,
};

const ATTEMPTS = [{ job: JOB, fence: FENCE }];
const EPOCH = { counter: 7, node: NODE_B };
const SETS = { rs: [NODE_A, NODE_B, NODE_C], oldRs: [NODE_A] };
export const BAN: Ban = { node: NODE_C, name: 'lab-3', at: asWall(T) };

export const RECORDS: readonly JobRecord[] = JOBS.map((job) => ({ header: HEADER, job }));
const RECORD = RECORDS[5] ?? assert.fail();

export const MESSAGES: readonly Message[] = [
  { kind: 'ping', serial: 1, load: LOAD },
  { kind: 'ping', serial: 2, load: { ...LOAD, machine: MACHINE } },
  { kind: 'facts', facts: FACTS },
  { kind: 'pong', serial: 0, marks: 4, load: { ...LOAD, draining: false, accepting: true } },
  { kind: 'probe', target: NODE_B },
  { kind: 'heard', target: NODE_B, agoMs: 1500 },
  {
    kind: 'members',
    members: [{ node: NODE_B, boot: BOOT, hosts: ['10.0.0.8'], linkPort: 40_002 }],
  },
  { kind: 'goodbye', isBack: true },
  { kind: 'banned' },
  { kind: 'offer', job: JOB, taskType: 'shell', needs: SPEC.needs },
  { kind: 'claim', nonce: asNonce('3.18'), job: JOB, load: LOAD },
  { kind: 'claim', nonce: asNonce('3.19'), load: LOAD },
  { kind: 'refuse', job: JOB, reason: 'no free slot', load: LOAD },
  { kind: 'refuse', job: JOB, reason: 'just refused', load: LOAD },
  { kind: 'decline', nonce: asNonce('3.20') },
  { kind: 'grant', grant: GRANT },
  { kind: 'started', job: JOB, fence: FENCE, startedAt: T },
  { kind: 'progress', job: JOB, fence: FENCE, progress: PROGRESS },
  { kind: 'reject', job: JOB, fence: FENCE, reason: 'its slot was given away' },
  {
    kind: 'renew',
    sentAt: 1234.567890123,
    attempts: [
      { job: JOB, birth: BIRTH, fence: FENCE, epoch: EPOCH, sets: 0xfedc_ba98 },
      { job: JOB, fence: FENCE, epoch: EPOCH, sets: 0 },
    ],
  },
  {
    kind: 'renewed',
    sentAt: 1234.567890123,
    granted: ATTEMPTS,
    revoked: [],
    moved: [{ job: JOB, fence: FENCE, accepted: { epoch: EPOCH, version: 3 }, sets: SETS }],
  },
  { kind: 'result', job: JOB, outcome: OUTCOME },
  { kind: 'acknowledge', job: JOB, fence: FENCE },
  { kind: 'gone', job: JOB, fence: FENCE },
  { kind: 'cancel', job: JOB, fence: FENCE, epoch: EPOCH },
  { kind: 'whoHas', job: JOB, epoch: EPOCH, birth: BIRTH },
  { kind: 'have', job: JOB, fence: FENCE, nonce: asNonce('3.21') },
  { kind: 'adopt', job: JOB, fence: FENCE, epoch: EPOCH, sets: SETS },
  ...RECORDS.map((record) => ({ kind: 'accept', record }) as const),
  { kind: 'accepted', job: JOB, epoch: EPOCH, version: 3, yesAgoMs: 0 },
  { kind: 'accepted', job: JOB, epoch: EPOCH, version: 3 },
  {
    kind: 'refused',
    job: JOB,
    epoch: EPOCH,
    promised: { counter: 8, node: NODE_C },
    birth: HEADER.birth,
    isFinal: true,
  },
  { kind: 'refused', job: JOB, epoch: EPOCH, promised: EPOCH, isFinal: false },
  { kind: 'prepare', job: JOB, epoch: EPOCH, ifAbsent: true },
  { kind: 'prepare', job: JOB, epoch: EPOCH, ifAbsent: false, birth: BIRTH },
  { kind: 'promise', job: JOB, epoch: EPOCH, yesAgoMs: 1500, record: RECORD },
  { kind: 'promise', job: JOB, epoch: EPOCH },
  { kind: 'settled', job: JOB, epoch: EPOCH, version: 3, isEverywhere: true },
  { kind: 'settled', job: JOB, epoch: EPOCH, version: 3, isEverywhere: false },
  { kind: 'retire', job: JOB, epoch: EPOCH },
  { kind: 'retire', job: JOB, epoch: EPOCH, birth: HEADER.birth },
  { kind: 'holding', held: [{ job: JOB, birth: BIRTH, accepted: { epoch: EPOCH, version: 3 } }] },
  { kind: 'handOver', job: JOB, epoch: EPOCH, birth: BIRTH },
  { kind: 'clash', record: RECORD },
  { kind: 'birthLost', job: JOB, birth: BIRTH },
  { kind: 'bans', bans: [BAN] },
];

const terminal = (ask: TerminalAsk): Call => ({
  kind: 'terminal',
  job: JOB,
  fence: FENCE,
  session: 's-1',
  ask,
});

export const CALLS: readonly Call[] = [
  { kind: 'lookUp', job: JOB },
  { kind: 'list', query: { limit: 50 } },
  {
    kind: 'list',
    query: {
      limit: 1000,
      before: { createdAt: asWall(0), job: JOB },
      statuses: ['JOB_PENDING', 'JOB_RUNNING', 'JOB_LOST'],
      taskType: 'shell',
      node: NODE_B,
    },
  },
  {
    kind: 'submit',
    submission: {
      job: JOB,
      birth: HEADER.birth,
      spec: PLAIN_SPEC,
      contentHash: 'c0ffee',
      isKeyed: true,
    },
  },
  { kind: 'cancel', job: JOB },
  { kind: 'conflicts' },
  {
    kind: 'readOutput',
    job: JOB,
    fence: FENCE,
    stream: 'stderr',
    offset: 2 ** 40,
    maxBytes: 65_536,
    waitMs: 1000,
  },
  { kind: 'checkParams', taskType: 'thumbnails', params: ['{"size":3}', '[]'] },
  { kind: 'readBlob', sha256: SHA256, offset: 2 ** 40, maxBytes: 262_144 },
  { kind: 'keepBlob', sha256: SHA256 },
  terminal({ tag: 'read', offset: 2 ** 40, waitMs: 10_000 }),
  terminal({ tag: 'write', offset: 7, bytes: Uint8Array.of(3), size: undefined }),
  terminal({ tag: 'write', offset: 0, bytes: new Uint8Array(), size: { columns: 80, rows: 24 } }),
];

const CONFLICTS: readonly Conflict[] = [
  { job: JOB, at: asWall(T), tag: 'births', note: 'two births' },
  { job: JOB, at: asWall(T), tag: 'outcomes', note: 'another attempt ended' },
  { job: JOB, at: asWall(T), tag: 'forgotten', note: '' },
];

const LIVES: readonly LiveRecord[] = RECORDS.map((record, index) => ({
  record,
  status: 'JOB_RUNNING',
  durability: index % 2 === 0 ? 'replicated' : 'local',
  isSettling: index % 3 === 0,
  isOwner: index % 4 === 0,
  startedAt: asWall(T),
  waiting: [{ node: NODE_B, reason: 'no free slot' }],
}));

const REPLIES: readonly Reply[] = [
  ...RECORDS.map((record) => ({ kind: 'submitted', record, isRepeat: true, disks: 2 }) as const),
  { kind: 'fewReplicas', wanted: 3, disks: 1 },
  { kind: 'noQuorum', job: JOB },
  { kind: 'deposed', job: JOB },
  { kind: 'forgotten', ban: BAN },
  { kind: 'unknownNode' },
  { kind: 'keyConflict', job: JOB },
  { kind: 'queueFull', limit: 100_000 },
  { kind: 'notAccepting', reason: 'draining' },
  { kind: 'notAccepting', reason: 'disk' },
  { kind: 'cancelled', job: JOB },
  { kind: 'cancelling', job: JOB },
  { kind: 'alreadyFinal', job: JOB, status: 'JOB_TIMEOUT' },
  { kind: 'unknownJob', job: JOB },
  { kind: 'notOwner', job: JOB, owner: NODE_B },
];

export const ANSWERS: readonly Answer[] = [
  { kind: 'lookUp', found: undefined },
  ...LIVES.map((found) => ({ kind: 'lookUp', found }) as const),
  { kind: 'list', records: LIVES },
  { kind: 'list', records: [] },
  { kind: 'conflicts', conflicts: CONFLICTS },
  ...REPLIES.map((reply) => ({ kind: 'reply', reply }) as const),
  { kind: 'output', chunk: undefined },
  { kind: 'output', chunk: undefined, removal: 'space' },
  { kind: 'terminal', reply: { tag: 'unknown' } },
  { kind: 'terminal', reply: { tag: 'takenOver' } },
  { kind: 'terminal', reply: { tag: 'taken', offset: 12 } },
  {
    kind: 'terminal',
    reply: { tag: 'shown', bytes: Uint8Array.of(7, 8), offset: 5, isEnd: true },
  },
  {
    kind: 'output',
    chunk: {
      bytes: Uint8Array.of(1, 2, 3),
      offset: 9,
      isEnd: true,
      isTruncated: true,
      keptBytes: 12,
    },
  },
  { kind: 'checkedParams', problems: ['size: must be at least 1', undefined] },
  { kind: 'blob', chunk: undefined },
  { kind: 'blob', chunk: { bytes: Uint8Array.of(1, 2, 3), totalBytes: 2 ** 40 } },
];

export const HEARTBEAT: Heartbeat = {
  node: NODE_A,
  boot: BOOT,
  linkPort: 40_001,
  status: 'BUSY',
  address: '10.0.0.7:40001',
  name: 'lab-1',
  version: '0.1.0',
  sentAt: asWall(T),
};
