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
  const following = { client, id, audience, signal, announced: new Set<number>() };
  const [job] = await Promise.all([
    followStream(following, 'stdout'),
    followStream(following, 'stderr'),
  ]);
  return job;
}

interface Following {
  readonly client: Client;
  readonly id: string;
  readonly audience: Audience;
  readonly signal: AbortSignal;
  /** Numbers of attempts that the user has been told of. */
  readonly announced: Set<number>;
}

/**
 * Each stream goes from attempt to attempt by itself: two requests that were sent before the job
 * had started may meet different attempts, and must not wait for each other.
 */
async function followStream(following: Following, stream: StreamName): Promise<JobJson> {
  let attempt: string | undefined;
  for (;;) {
    attempt = await copyStream(following, stream, attempt);
    const { job, next } = await endOrNext(following, attempt);
    if (!next) return job;
    announce(following, next.attempt);
    attempt = next.fence;
  }
}

function announce({ announced, audience }: Following, attempt: number): void {
  if (announced.has(attempt)) return;
  announced.add(attempt);
  audience.onNotice(`attempt ${attempt - 1} was lost with its node; this is attempt ${attempt}`);
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
      onGap: (from, to) => audience.onNotice(gapNotice(stream, from, to)),
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

export const gapNotice = (stream: StreamName, from: number, to: number): string =>
  `bytes ${from} to ${to} of its ${stream} are not to be had: the node that has them is away`;

/** An output ends a little before its job does, or before the job is given to another node. */
async function endOrNext(
  { client, id, signal }: Following,
  attempt: string | undefined,
): Promise<{ job: JobJson; next?: AttemptJson }> {
  for (;;) {
    const job = await client.getJob(id, { waitSeconds: LOOK_AGAIN_SECONDS, signal });
    if (isFinalStatus(job.status)) return { job };
    const newest = job.attempts.at(-1);
    if (job.status !== 'JOB_PENDING' && newest && newest.fence !== attempt)
      return { job, next: newest };
  }
}
