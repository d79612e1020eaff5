/**
 * What a job printed, from wherever it is: the disk of the node that ran it, while that can be
 * asked, else the tail that travelled with the outcome. A node that is away may be back in a moment
 * with every byte, so a reading that goes on waits for it; nothing is skipped on the way.
 */
import { MeshError } from '../base/errors.ts';
import type { JobId, NodeId } from '../base/ids.ts';
import type { LiveRecord, OutputChunk, OutputRemoval, OutputStream } from '../core/calls.ts';
import type { MeshEvent } from '../core/effects.ts';
import { type Fence, isSameFence } from '../core/record.ts';
import type { Finder } from './finder.ts';
import type { Links, Outputs } from './ports.ts';
import type { OutputPart, OutputSource } from './service.ts';

export interface OutputRange {
  readonly offset: number;
  readonly maxBytes: number;
  readonly waitMs?: number;
  /** The attempt an earlier part was of. */
  readonly fence?: Fence;
  /** What an earlier part was told to be of: it is final. */
  readonly source?: OutputSource | undefined;
  readonly signal?: AbortSignal;
}

export interface OutputReaderParts {
  readonly self: NodeId;
  readonly finder: Pick<Finder, 'find' | 'readHere'>;
  readonly links: Pick<Links, 'call'>;
  readonly outputs: Outputs;
  readonly subscribe: (listener: (event: MeshEvent) => void) => () => void;
}

/** What the disk of the node that ran an attempt says. */
type DiskAnswer =
  | { readonly tag: 'chunk'; readonly chunk: OutputChunk }
  | { readonly tag: 'nothing'; readonly removal: OutputRemoval | undefined }
  | { readonly tag: 'silent' };

/** A change of a job owned elsewhere is not told here; it is looked for this often. */
const LOOK_AGAIN_MS = 150;
const CALL_MARGIN_MS = 5000;

export class OutputReader {
  private readonly parts: OutputReaderParts;

  constructor(parts: OutputReaderParts) {
    this.parts = parts;
  }

  /** @throws MeshError JOB_NOT_FOUND, NOT_KNOWABLE, OUTPUT_GONE, NODE_UNREACHABLE */
  async read(job: JobId, stream: OutputStream, range: OutputRange): Promise<OutputPart> {
    const { source, isOver } = range.source
      ? { source: range.source, isOver: true }
      : await this.look(job, range.fence);
    if (!source) {
      if (!isOver && range.waitMs) await this.change(job, range.waitMs, range.signal);
      return { ...nothingAt(range.offset), isEnd: isOver, fence: undefined };
    }
    const { fence } = source;
    const of = { fence, ...(isOver && { source }) };
    const whole = wholeOf(source, stream, range);
    if (whole) return { ...whole, ...of, totalBytes: whole.keptBytes };
    const answer = await this.fromDisk(job, stream, source, range);
    if (answer.tag === 'chunk') {
      const totalBytes = source.outcome?.[stream].totalBytes;
      return { ...answer.chunk, ...of, totalBytes, isTail: false };
    }
    const tail = fromTail(source, stream, range);
    const removal = answer.tag === 'nothing' ? answer.removal : undefined;
    if (tail && removal && tail.offset > range.offset) {
      throw new MeshError(
        'OUTPUT_GONE',
        `The output of ${job} was removed by ${source.executor}, which ran it: ${removalText(removal)}. Its last bytes, from ${tail.offset} on, can still be had.`,
      );
    }
    if (tail) return { ...tail, ...of, totalBytes: source.outcome?.[stream].totalBytes };
    if (isOver) {
      const why = answer.tag === 'nothing' ? removalText(answer.removal) : 'it cannot be asked';
      throw new MeshError(
        'OUTPUT_GONE',
        `The output of ${job} is no longer kept by ${source.executor}, which ran it: ${why}.`,
      );
    }
    if (answer.tag === 'silent' && !range.waitMs) {
      throw new MeshError(
        'NODE_UNREACHABLE',
        `${source.executor}, which has the output of ${job}, cannot be asked now. Try again.`,
      );
    }
    if (range.waitMs)
      await this.change(job, Math.min(range.waitMs, LOOK_AGAIN_MS * 2), range.signal);
    return { ...nothingAt(range.offset), fence };
  }

  private async look(
    job: JobId,
    fence: Fence | undefined,
  ): Promise<{ source: OutputSource | undefined; isOver: boolean }> {
    const live = await this.parts.finder.find(job);
    return { source: sourceOf(live, fence), isOver: live.record.job.state.tag === 'final' };
  }

  private async fromDisk(
    job: JobId,
    stream: OutputStream,
    { executor, fence }: OutputSource,
    range: OutputRange,
  ): Promise<DiskAnswer> {
    const { offset, maxBytes, waitMs = 0, signal } = range;
    const stop = signal && { signal };
    if (executor === this.parts.self) {
      const options = { offset, maxBytes, waitMs, ...stop };
      const { outputs } = this.parts;
      const chunk = await outputs.read({ job, fence }, stream, options);
      return toAnswer(chunk, chunk ? undefined : await outputs.whyRemoved({ job, fence }));
    }
    try {
      const call = { kind: 'readOutput', job, fence, stream, offset, maxBytes, waitMs } as const;
      const options = { deadlineMs: waitMs + CALL_MARGIN_MS, ...stop };
      const answer = await this.parts.links.call(executor, call, options);
      if (answer.kind !== 'output') return { tag: 'silent' };
      return toAnswer(answer.chunk, answer.removal);
    } catch {
      // Its disk cannot be asked now; what travelled with the outcome may do.
      return { tag: 'silent' };
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

const toAnswer = (
  chunk: OutputChunk | undefined,
  removal: OutputRemoval | undefined,
): DiskAnswer => (chunk ? { tag: 'chunk', chunk } : { tag: 'nothing', removal });

function removalText(removal: OutputRemoval | undefined): string {
  switch (removal) {
    case 'age':
      return 'it was older than that node keeps outputs (setting output-retention)';
    case 'space':
      return 'newer outputs needed the space (setting output-space)';
    case undefined:
      return 'its disk has nothing of it';
  }
}

const nothingAt = (offset: number) => ({
  bytes: new Uint8Array(0),
  offset,
  isEnd: false,
  isTruncated: false,
  isTail: false,
});

/** The attempt whose output is asked for: the given one, else the newest. */
function sourceOf({ record }: LiveRecord, fence: Fence | undefined): OutputSource | undefined {
  const { state, history } = record.job;
  const sources: OutputSource[] = history.map((past) => ({
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

/** Most outputs are short, and travelled with the outcome from their first byte on: no disk is asked. */
function wholeOf(
  source: OutputSource,
  stream: OutputStream,
  range: OutputRange,
): (OutputChunk & { isTail: false }) | undefined {
  const tail = source.outcome?.[stream];
  if (!tail || tail.isTruncated || tail.bytes.length < tail.totalBytes) return undefined;
  const part = fromTail(source, stream, range);
  return part && { ...part, isTail: false };
}

function fromTail(
  source: OutputSource,
  stream: OutputStream,
  range: OutputRange,
): (OutputChunk & { isTail: true }) | undefined {
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
    isTail: true,
    keptBytes: tail.totalBytes,
  };
}
