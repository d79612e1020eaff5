/** The mesh as a queue: whatever node it is, it is asked by the SDK. */

import type { JobRequest } from '../../../src/api/job-request.ts';
import { createClient } from '../../../src/client/client.ts';
import { eventually, type Params, type Queue } from '../peers/queue.ts';

export interface MeshQueueOptions {
  /** The node that is asked. */
  readonly url: string;
  /** Added to each job. */
  readonly job?: Partial<JobRequest>;
  close(): Promise<void>;
}

const LOOK_EVERY_MS = 20;

export interface MeshQueue extends Queue {
  submitJobs(jobs: readonly JobRequest[]): Promise<void>;
  roundTripOf(job: JobRequest): Promise<void>;
}

export function meshQueue({ url, job: more = {}, close }: MeshQueueOptions): MeshQueue {
  const client = createClient({ url });
  const jobOf = (params: Params): JobRequest =>
    ({ task_type: 'noop', params, ...more }) as JobRequest;
  let last = '';
  const submitJobs = async (all: readonly JobRequest[]): Promise<void> => {
    const { jobs, refused } = await client.submitMany(all);
    if (refused > 0) throw new Error(`${refused} jobs were refused: ${JSON.stringify(jobs[0])}`);
    const newest = jobs.at(-1);
    if (newest && 'job_id' in newest) last = newest.job_id;
  };
  const roundTripOf = async (job: JobRequest): Promise<void> => {
    const { job_id } = await client.submit(job);
    mustBeDone(await client.waitFor(job_id));
  };
  return {
    submit: async (params) => {
      last = (await client.submit(jobOf(params))).job_id;
    },
    submitMany: (all) => submitJobs(all.map(jobOf)),
    submitJobs,
    drained: async () => {
      await eventually(LOOK_EVERY_MS, async () => (await client.status()).owned_jobs === 0);
      mustBeDone(await client.getJob(last));
    },
    roundTrip: (params) => roundTripOf(jobOf(params)),
    roundTripOf,
    close,
  };
}

function mustBeDone({ status, error_message }: { status: string; error_message?: unknown }): void {
  if (status !== 'JOB_COMPLETED') throw new Error(`a job is ${status}: ${error_message}`);
}
