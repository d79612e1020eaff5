/**
 * What a job printed, from wherever it is: the executor's disk while it can be asked, else the
 * tail that travelled with the outcome.
 */
import { MeshError } from '../base/errors.ts';
import type { JobId, NodeId } from '../base/ids.ts';
import type { LiveRecord, OutputChunk, OutputStream } from '../core/calls.ts';
import type { MeshEvent } from '../core/effects.ts';
import type { AttemptOutcome } from '../core/job.ts';
import { type Fence, isSameFence } from '../core/record.ts';
import type { Links, Outputs } from './ports.ts';
import type { Queries } from './queries.ts';
import type { OutputPart } from './service.ts';

export interface OutputRange {
  readonly offset: number;
  readonly maxBytes: number;
  readonly waitMs?: number;
  /** The attempt an earlier part was of. */
  readonly fence?: Fence;
  readonly signal?: AbortSignal;
}

export interface OutputReaderParts {
  readonly self: NodeId;
  readonly queries: Queries;
  readonly links: Pick<Links, 'call'>;
  readonly outputs: Outputs;
  readonly subscribe: (listener: (event: MeshEvent) => void) => () => void;
}

interface Source {
  readonly fence: Fence;
  readonly executor: NodeId;
  readonly outcome: AttemptOutcome | undefined;
}

/** A change of a job owned elsewhere is not told here; it is looked for this often. */
const LOOK_AGAIN_MS = 150;
const CALL_MARGIN_MS = 5000;

export class OutputReader {
  private readonly parts: OutputReaderParts;

  constructor(parts: OutputReaderParts) {
    this.parts = parts;
  }

  async read(job: JobId, stream: OutputStream, range: OutputRange): Promise<OutputPart> {
    const live = await this.parts.queries.find(job);
    const source = sourceOf(live, range.fence);
    const isFinal = live.record.job.state.tag === 'final';
    if (!source) {
      if (!isFinal && range.waitMs) await this.change(job, range.waitMs, range.signal);
      return {
        bytes: new Uint8Array(0),
        offset: range.offset,
        isEnd: isFinal,
        isTruncated: false,
        fence: undefined,
      };
    }
    const chunk =
      (await this.fromDisk(job, stream, source, range)) ?? fromTail(source, stream, range);
    if (chunk) {
      const totalBytes = source.outcome?.[stream].totalBytes;
      return { ...chunk, fence: source.fence, totalBytes };
    }
    if (!isFinal) {
      if (range.waitMs)
        await this.change(job, Math.min(range.waitMs, LOOK_AGAIN_MS * 2), range.signal);
      return {
        bytes: new Uint8Array(0),
        offset: range.offset,
        isEnd: false,
        isTruncated: false,
        fence: source.fence,
      };
    }
    throw new MeshError(
      'OUTPUT_GONE',
      `The output of ${job} is no longer kept by ${source.executor}, which ran it.`,
    );
  }

  private async fromDisk(
    job: JobId,
    stream: OutputStream,
    source: Source,
    range: OutputRange,
  ): Promise<OutputChunk | undefined> {
    const { offset, maxBytes, waitMs = 0, signal } = range;
    const options = { offset, maxBytes, waitMs, ...(signal && { signal }) };
    if (source.executor === this.parts.self) {
      return this.parts.outputs.read({ job, fence: source.fence }, stream, options);
    }
    try {
      const call = {
        kind: 'readOutput',
        job,
        fence: source.fence,
        stream,
        offset,
        maxBytes,
        waitMs,
      } as const;
      const deadlineMs = waitMs + CALL_MARGIN_MS;
      const answer = await this.parts.links.call(source.executor, call, {
        deadlineMs,
        ...(signal && { signal }),
      });
      return answer.kind === 'output' ? answer.chunk : undefined;
    } catch {
      // Its disk cannot be asked now; what travelled with the outcome may do.
      return undefined;
    }
  }

  /** Settles when something happens to the job, or after a while. */
  private change(job: JobId, waitMs: number, signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve) => {
      const end = (): void => {
        clearTimeout(timer);
        unsubscribe();
        signal?.removeEventListener('abort', end);
        resolve();
      };
      const timer = setTimeout(end, Math.min(waitMs, LOOK_AGAIN_MS));
      const unsubscribe = this.parts.subscribe((event) => {
        if ('job' in event && event.job === job) end();
      });
      signal?.addEventListener('abort', end, { once: true });
    });
  }
}

/** The attempt whose output is asked for: the given one, else the newest. */
function sourceOf({ record }: LiveRecord, fence: Fence | undefined): Source | undefined {
  const { state, history } = record.job;
  const sources: Source[] = history.map((past) => ({
    fence: past.fence,
    executor: past.executor,
    outcome: undefined,
  }));
  if (state.tag === 'granted' || state.tag === 'revoked') {
    sources.push({ fence: state.grant.fence, executor: state.grant.executor, outcome: undefined });
  } else if (state.tag === 'final' && state.final.outcome) {
    const { outcome } = state.final;
    sources.push({ fence: outcome.fence, executor: outcome.executor, outcome });
  }
  if (fence) return sources.findLast((source) => isSameFence(source.fence, fence));
  // What a lost attempt printed is not the output of the one that is to come.
  return state.tag === 'pending' ? undefined : sources.at(-1);
}

function fromTail(
  source: Source,
  stream: OutputStream,
  range: OutputRange,
): OutputChunk | undefined {
  const tail = source.outcome?.[stream];
  if (!tail) return undefined;
  const start = tail.totalBytes - tail.bytes.length;
  const offset = Math.max(range.offset, start);
  const bytes = tail.bytes.subarray(offset - start, offset - start + range.maxBytes);
  return {
    bytes,
    offset,
    isEnd: offset + bytes.length >= tail.totalBytes,
    isTruncated: tail.isTruncated || start > range.offset,
  };
}
