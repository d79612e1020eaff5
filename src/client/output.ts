/**
 * Reads a job's output over as many connections as it takes: one that breaks is opened again at
 * the byte where it stopped, of the same attempt. While the node that has the output is away, the
 * mesh may have no more of it than its end; a reading that has begun waits some seconds for the
 * node before it goes on behind the gap, and says so.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { HEADERS } from '../api/api.ts';
import { MeshError } from '../base/errors.ts';
import { type Requests, withQuery } from './request.ts';

export interface OutputOptions {
  /** Default stdout. */
  readonly stream?: 'stdout' | 'stderr' | undefined;
  /** Where to begin, in bytes. */
  readonly offset?: number | undefined;
  /** Goes on until the attempt ends; else it ends with what there is now. */
  readonly follow?: boolean | undefined;
  /** The attempt an earlier reading was of. Default: the newest. */
  readonly attempt?: string | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Told which attempt the bytes are of, once that is known. */
  readonly onAttempt?: ((attempt: string, isTruncated: boolean) => void) | undefined;
  /** The bytes from one to the other are nowhere any more. */
  readonly onGap?: ((from: number, to: number) => void) | undefined;
}

const MAX_BREAKS = 5;
const PAUSE_MS = 200;

export async function* readOutput(
  requests: Requests,
  path: string,
  options: OutputOptions,
): AsyncGenerator<Uint8Array, void, void> {
  const { stream, follow, signal } = options;
  let attempt = options.attempt;
  let offset = options.offset ?? 0;
  let isBegun = false;
  // Counted in a row: bytes that arrive make up for a break.
  for (let breaks = 0; ; breaks++) {
    try {
      const url = withQuery(path, { stream, follow, offset, attempt });
      const response = await requests.sendAnywhere(url, { signal });
      attempt = response.headers.get(HEADERS.attempt) ?? attempt;
      const begin = Number(response.headers.get(HEADERS.offset) ?? offset);
      if (begin > offset) {
        if (isBegun && breaks < MAX_BREAKS) throw await gapIn(response);
        options.onGap?.(offset, begin);
        offset = begin;
      }
      if (attempt !== undefined) {
        options.onAttempt?.(attempt, response.headers.get(HEADERS.truncated) === 'true');
      }
      for await (const bytes of response.body ?? []) {
        offset += bytes.length;
        isBegun = true;
        breaks = 0;
        yield bytes;
      }
      return;
    } catch (failure) {
      signal?.throwIfAborted();
      if (!isBreak(failure) || breaks >= MAX_BREAKS) throw toMeshError(failure);
      await sleep(PAUSE_MS * 2 ** breaks, undefined, signal && { signal });
    }
  }
}

/** Another try may find the whole. */
async function gapIn(response: Response): Promise<Error> {
  await response.body?.cancel();
  return new Error('only the end of the output is there');
}

/** Anything but an answer that says what is wrong. */
const isBreak = (failure: unknown): boolean => !(failure instanceof MeshError) || failure.retryable;

const toMeshError = (failure: unknown): MeshError =>
  failure instanceof MeshError
    ? failure
    : new MeshError('NODE_UNREACHABLE', 'The connection to the node broke again and again.', {
        cause: failure,
      });
