/**
 * Follows a job to its end: both streams of each attempt as they are printed, and the next attempt
 * when one was lost with its node.
 */
import { type AttemptJson, isFinalStatus, type JobJson } from '../api/job-json.ts';
import { messageOf } from '../base/errors.ts';
import type { Client } from '../client/client.ts';

export type StreamName = 'stdout' | 'stderr';

export interface Audience {
  onBytes(stream: StreamName, bytes: Uint8Array): Promise<void>;
  /** Something the user should know, as a sentence. */
  onNotice(sentence: string): void;
}

const LOOK_AGAIN_SECONDS = 1;

/** Settles with the job as it ended. */
export async function followJob(
  client: Client,
  id: string,
  audience: Audience,
  signal: AbortSignal,
): Promise<JobJson> {
  let attempt: string | undefined;
  for (;;) {
    attempt = await copyAttempt({ client, id, audience, signal }, attempt);
    const { job, next } = await endOrNext(client, id, attempt, signal);
    if (!next) return job;
    audience.onNotice(
      `attempt ${next.attempt - 1} was lost with its node; this is attempt ${next.attempt}`,
    );
    attempt = next.fence;
  }
}

interface Following {
  readonly client: Client;
  readonly id: string;
  readonly audience: Audience;
  readonly signal: AbortSignal;
}

/** Settles with the attempt that was followed; undefined: none has ever started. */
async function copyAttempt(
  following: Following,
  attempt: string | undefined,
): Promise<string | undefined> {
  const seen = await Promise.all([
    copyStream(following, 'stdout', attempt),
    copyStream(following, 'stderr', attempt),
  ]);
  return seen[0] ?? seen[1];
}

async function copyStream(
  { client, id, audience, signal }: Following,
  stream: StreamName,
  attempt: string | undefined,
): Promise<string | undefined> {
  let seen = attempt;
  const onAttempt = (fence: string): void => {
    seen = fence;
  };
  try {
    for await (const bytes of client.output(id, {
      stream,
      follow: true,
      attempt,
      signal,
      onAttempt,
    })) {
      await audience.onBytes(stream, bytes);
    }
  } catch (failure) {
    signal.throwIfAborted();
    // How the job ends can still be learnt.
    audience.onNotice(`its ${stream} cannot be read on: ${messageOf(failure)}`);
  }
  return seen;
}

/** An output ends a little before its job does, or before the job is given to another node. */
async function endOrNext(
  client: Client,
  id: string,
  attempt: string | undefined,
  signal: AbortSignal,
): Promise<{ job: JobJson; next?: AttemptJson }> {
  for (;;) {
    const job = await client.getJob(id, { waitSeconds: LOOK_AGAIN_SECONDS, signal });
    if (isFinalStatus(job.status)) return { job };
    const newest = job.attempts.at(-1);
    if (job.status !== 'JOB_PENDING' && newest && newest.fence !== attempt)
      return { job, next: newest };
  }
}
