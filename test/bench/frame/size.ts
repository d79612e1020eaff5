/**
 * How many jobs a run has. A thousand are over before a fast system has warmed up, and keep a slow
 * one busy for a minute: so each takes as many as it does in a few seconds, found in its first run,
 * which is the one that does not count.
 */
import type { Sample, Stage } from './row.ts';

const LONG_ENOUGH_MS = 3000;

export interface SizeLimits {
  /** Of a quick run. */
  readonly quick: number;
  /** Of the first run, and the least of the others. */
  readonly least: number;
  readonly most: number;
}

/** A run that is called again and again, each time with its number of jobs. */
export function sized(
  { isQuick }: Stage,
  { quick, least, most }: SizeLimits,
  run: (jobs: number) => Promise<Sample>,
): () => Promise<Sample> {
  let jobs: number | undefined;
  return async () => {
    if (isQuick) return run(quick);
    if (jobs !== undefined) return run(jobs);
    const from = performance.now();
    const first = await run(least);
    const fitting = (least * LONG_ENOUGH_MS) / (performance.now() - from);
    jobs = Math.round(Math.min(most, Math.max(least, fitting)));
    return first;
  };
}
