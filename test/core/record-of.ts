/** Records of other nodes' jobs, as the core on the bench is told to keep them. */
import { asBirth, asJobId, asNonce, type JobId, type NodeId } from '../../src/base/ids.ts';
import { asWall } from '../../src/base/instant.ts';
import type { FinalState, GrantNote, Job, JobState } from '../../src/core/job.ts';
import type { JobRecord } from '../../src/core/job-record.ts';
import type { Epoch, Fence } from '../../src/core/record.ts';
import { B, bootOf, C, SELF, SPEC } from './core-bench.ts';

export const JOB = asJobId('job-of-b');
/** B, the core on the bench, C: in the order of their ranks. */
export const THREE = [B, SELF, C] as const;

export const epochOf = (node: NodeId, counter = 1): Epoch => ({ counter, node });

export interface RecordChange {
  readonly job?: JobId;
  readonly birth?: string;
  readonly epoch?: Epoch;
  readonly version?: number;
  readonly rs?: readonly NodeId[];
  readonly oldRs?: readonly NodeId[];
  readonly boot?: number;
  readonly state?: JobState;
  readonly body?: Partial<Job>;
}

/** The first value of a job of B, changed. */
export function recordOf(change: RecordChange = {}): JobRecord {
  const epoch = change.epoch ?? epochOf(B);
  const state = change.state ?? { tag: 'pending' };
  const attempts = state.tag === 'granted' || state.tag === 'revoked' ? 1 : 0;
  return {
    header: {
      job: change.job ?? JOB,
      birth: asBirth(change.birth ?? 'birth-b'),
      rs: change.rs ?? THREE,
      oldRs: change.oldRs ?? [],
      promised: epoch,
      accepted: { epoch, version: change.version ?? 1 },
      writerBoot: bootOf(change.boot ?? 1),
      minVersion: 1,
    },
    job: {
      spec: SPEC,
      createdAt: asWall(1),
      createdBy: B,
      contentHash: 'content',
      state,
      attempts,
      losses: 0,
      history: [],
      ...change.body,
    },
  };
}

export const FENCE: Fence = { epoch: epochOf(B), attempt: 1 };

export const grantTo = (executor: NodeId, fence: Fence = FENCE): GrantNote => ({
  fence,
  executor,
  executorBoot: bootOf(1),
  nonce: asNonce('1.1'),
  at: asWall(2),
  why: '',
});

export const grantedTo = (executor: NodeId, fence: Fence = FENCE): JobState => ({
  tag: 'granted',
  grant: grantTo(executor, fence),
});

export const finalOf = (status: FinalState['status'] = 'JOB_COMPLETED'): JobState => ({
  tag: 'final',
  final: { status, at: asWall(3), reason: '' },
});
