/** What a container has used, by the samples that the engine sends once a second. */
import type { Usage } from '../../core/job.ts';
import type { Engine } from './engine.ts';

/** Of one that ended within the first second nothing is known. */
export type Sampled = Usage;

interface Sample {
  readonly cpu_stats?: { readonly cpu_usage?: { readonly total_usage?: number } };
  readonly memory_stats?: {
    readonly usage?: number;
    /** Only by cgroups v1. */
    readonly max_usage?: number;
    readonly stats?: { readonly inactive_file?: number; readonly total_inactive_file?: number };
  };
}

const NANOSECONDS = 1e6;
const MAX_LINE_CHARS = 256 * 1024;

/** @returns what is known by now */
export function followStats(engine: Engine, id: string, signal: AbortSignal): () => Sampled {
  let cpuMs: number | undefined;
  let peakMemoryBytes: number | undefined;
  const take = (line: string): void => {
    const { cpu_stats, memory_stats } = JSON.parse(line) as Sample;
    // The last sample, of a container that has ended, is all zero.
    const total = cpu_stats?.cpu_usage?.total_usage;
    if (total) cpuMs = Math.round(total / NANOSECONDS);
    const bytes = memory_stats && memoryOf(memory_stats);
    if (bytes) peakMemoryBytes = Math.max(peakMemoryBytes ?? 0, bytes);
  };
  // Without it the job runs as well.
  void read(engine, { id, signal, take }).catch(() => {});
  return () => ({ cpuMs, peakMemoryBytes });
}

async function read(
  engine: Engine,
  { id, signal, take }: { id: string; signal: AbortSignal; take: (line: string) => void },
): Promise<void> {
  const path = `/containers/${id}/stats`;
  const answer = await engine.open({ path, query: { stream: '1' }, signal });
  let text = '';
  for await (const chunk of answer as AsyncIterable<Buffer>) {
    const lines = (text + chunk.toString()).split('\n');
    text = lines.pop() ?? '';
    if (text.length > MAX_LINE_CHARS) return;
    for (const line of lines) take(line);
  }
}

/** Without the file cache that the system takes back when it needs it, as `docker stats` shows it. */
function memoryOf(memory: NonNullable<Sample['memory_stats']>): number {
  const { usage = 0, stats } = memory;
  return usage - (stats?.total_inactive_file ?? stats?.inactive_file ?? 0);
}
