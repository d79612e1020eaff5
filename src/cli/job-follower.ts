/**
 * Follows a job to its end: both streams of each attempt as they are printed, and the next attempt
 * when one was lost with its node.
 */
import type { ProgressEventJson } from '../api/event-json.ts';
import type { JobJson } from '../api/job-json.ts';
import { MeshError } from '../base/errors.ts';
import type { Client, EventOptions } from '../client/client.ts';

export type StreamName = 'stdout' | 'stderr';

export interface Audience {
  onBytes(stream: StreamName, bytes: Uint8Array): Promise<void>;
  /** More was printed than is kept. */
  onCut?(stream: StreamName): void;
  /** Something the user should know, as a sentence. */
  onNotice(sentence: string): void;
  onProgress?(progress: ProgressEventJson): void;
}

/** Settles with the job as it ended. */
export async function followJob(
  client: Client,
  id: string,
  audience: Audience,
  options: EventOptions,
): Promise<JobJson> {
  let attempt: number | undefined;
  for await (const event of client.events(id, options)) {
    switch (event.type) {
      case 'output':
        await audience.onBytes(event.stream, event.bytes);
        if (event.truncated) audience.onCut?.(event.stream);
        break;
      case 'attempt':
        if (attempt !== undefined) audience.onNotice(attemptNotice(attempt, event.attempt));
        attempt = event.attempt;
        break;
      case 'gap':
        audience.onNotice(gapNotice(event.stream, event));
        break;
      case 'progress':
        audience.onProgress?.(event);
        break;
      case 'end':
        return event.job;
    }
  }
  throw new MeshError('NODE_UNREACHABLE', `The events of ${id} broke off.`);
}

const attemptNotice = (lost: number, next: number): string =>
  `attempt ${lost} was lost with its node; this is attempt ${next}`;

export const gapNotice = (
  stream: StreamName,
  { from, to, reason }: { from: number; to: number | null; reason: string },
): string =>
  to === null
    ? `its ${stream} cannot be read on from byte ${from}: ${reason}`
    : `bytes ${from} to ${to} of its ${stream} are not to be had: ${reason}`;
