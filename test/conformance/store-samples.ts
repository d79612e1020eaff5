/** Made-up jobs for the tests of stores. */
import {
  asBirth,
  asJobId,
  asNodeId,
  asNonce,
  type BootId,
  type JobId,
  type NodeId,
} from '../../src/base/ids.ts';
import { asWall } from '../../src/base/instant.ts';
import type { Write } from '../../src/core/effects.ts';
import type { NodeFacts } from '../../src/core/facts.ts';
import {
  type AttemptOutcome,
  type GrantNote,
  type Job,
  type JobSpec,
  type JobState,
  NO_OUTPUT,
} from '../../src/core/job.ts';
import type { JobRecord } from '../../src/core/job-record.ts';
import type { Grant } from '../../src/core/messages.ts';
import type { Epoch, Fence } from '../../src/core/record.ts';
import type { Store } from '../../src/node/ports.ts';

/** One disk, as long as the test runs. */
export interface StoreBench {
  /** A new life of the node; the store of the last one was closed. */
  open(): { store: Store; boot: BootId };
  /** From here on the disk takes no writes, or takes them again. */
  setFull(isFull: boolean): void;
}

export const put = (entry: JobRecord): Write => ({ kind: 'record', ...entry });

export const ids = (records: readonly JobRecord[]): string[] =>
  records.map(({ header }) => header.job);

export const NODE_A = asNodeId(`node-${'a'.repeat(32)}`);
export const NODE_B = asNodeId(`node-${'b'.repeat(32)}`);
const BOOT: BootId = { counter: 3, salt: '0123456789abcdef' };
export const T0 = Date.UTC(2026, 0, 2, 3, 4, 5, 678);

export const SPEC: JobSpec = {
  taskType: 'shell',
  command: 'echo "ä \'quoted\'" | tr a-z A-Z',
  params: '{}',
  run: '{}',
  env: { GREETING: 'hello' },
  timeoutMs: 300_000,
  priority: 5,
  needs: { labels: {}, capabilities: {} },
  delivery: 'at_least_once',
  onIsolation: 'stop',
};

export const jobId = (serial: number): JobId => asJobId(`job-${String(serial).padStart(6, '0')}`);

export const fence = (attempt = 1, counter = 1): Fence => ({
  epoch: { counter, node: NODE_A },
  attempt,
});

export function record(
  serial: number,
  change: {
    state?: JobState;
    spec?: Partial<JobSpec>;
    version?: number;
    epoch?: number;
    promised?: Epoch;
    birth?: string;
    ageMs?: number;
  } = {},
): JobRecord {
  const { state = { tag: 'pending' }, version = 1, epoch = 1, ageMs = 0 } = change;
  const job: Job = {
    spec: { ...SPEC, ...change.spec },
    createdAt: asWall(T0 + serial - ageMs),
    createdBy: NODE_A,
    contentHash: 'c0ffee',
    state,
    attempts: state.tag === 'pending' ? 0 : 1,
    losses: 0,
    history: [],
  };
  const header = {
    job: jobId(serial),
    birth: asBirth(change.birth ?? `birth-${serial}`),
    rs: [NODE_A],
    oldRs: [],
    promised: change.promised ?? { counter: epoch, node: NODE_A },
    accepted: { epoch: { counter: epoch, node: NODE_A }, version },
    writerBoot: BOOT,
    minVersion: 1,
  };
  return { header, job };
}

export function granted(executor: NodeId, cancelAt?: number): JobState {
  const grant: GrantNote = {
    fence: fence(),
    executor,
    executorBoot: BOOT,
    nonce: asNonce('3.1'),
    at: asWall(T0 + 10),
    why: 'own free slot',
  };
  return { tag: 'granted', grant, ...(cancelAt !== undefined && { cancelAt: asWall(cancelAt) }) };
}

export function outcome(change: Partial<AttemptOutcome> = {}): AttemptOutcome {
  return {
    fence: fence(),
    executor: NODE_B,
    end: { tag: 'exited', code: 0 },
    startedAt: asWall(T0 + 20),
    finishedAt: asWall(T0 + 30),
    stdout: NO_OUTPUT,
    stderr: NO_OUTPUT,
    ...change,
  };
}

export const printed = (text: string) => {
  const bytes = new TextEncoder().encode(text);
  return { bytes, totalBytes: bytes.length, isTruncated: false };
};

export const completed = (result: AttemptOutcome = outcome()): JobState => ({
  tag: 'final',
  final: { status: 'JOB_COMPLETED', at: asWall(T0 + 40), reason: '', outcome: result },
});

export const failed = (code: number): JobState => ({
  tag: 'final',
  final: {
    status: 'JOB_FAILED',
    at: asWall(T0 + 40),
    reason: `exited with code ${code}`,
    outcome: outcome({ end: { tag: 'exited', code } }),
  },
});

export const grant = (serial: number, attempt = 1): Grant => ({
  job: jobId(serial),
  fence: fence(attempt),
  nonce: asNonce(`3.${serial}`),
  rs: [NODE_A],
  oldRs: [],
  leaseMs: 6000,
  spec: SPEC,
});

export const facts = (node: NodeId, change: Partial<NodeFacts> = {}): NodeFacts => ({
  node,
  name: 'lab-1',
  hostname: 'lab-1.example',
  platform: 'linux-x64',
  version: '0.1.0',
  pid: 42,
  hosts: ['10.0.0.7', 'fe80::7'],
  linkPort: 40_000,
  apiUrl: 'http://127.0.0.1:3001',
  slots: 4,
  taskTypes: ['shell'],
  typeVersions: {},
  hardware: { cores: 2, memoryBytes: 4e9, diskBytes: 2e10 },
  labels: { zone: 'b' },
  capabilities: { gpu: 'true' },
  ...change,
});
