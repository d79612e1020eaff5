/** Any system that takes jobs and has them done, as the rows use it. */
import type { Sample } from '../frame/row.ts';
import { quantile } from '../frame/statistics.ts';

export interface Queue {
  /** Settles when the job counts as taken. */
  submit(params: Params): Promise<void>;
  submitMany(params: readonly Params[]): Promise<void>;
  /** Settles when all that were submitted are done, and the system says so. */
  drained(): Promise<void>;
  /** Submits one and settles when its end is seen. */
  roundTrip(params: Params): Promise<void>;
  close(): Promise<void>;
}

/** Systems have settings for many jobs a second that cost time for one, and the other way round. */
export type Aim = 'throughput' | 'latency';

/** As large as what people put into jobs that send a message. */
export interface Params {
  readonly to: string;
  readonly subject: string;
  readonly n: number;
  /** Run by a shell, where a queue can do that. */
  readonly command?: string;
}

export const paramsOf = (n: number): Params => ({
  to: 'someone@example.org',
  subject: 'x'.repeat(120),
  n,
});

/** Calls it for 0 to `count` - 1, so many at a time. */
export async function inFlight(
  count: number,
  atATime: number,
  act: (i: number) => Promise<unknown>,
): Promise<void> {
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < count) await act(next++);
  };
  await Promise.all(Array.from({ length: Math.min(count, atATime) }, lane));
}

/** From the first submit to the end of the last job. */
export async function throughputOf(
  queue: Pick<Queue, 'drained'>,
  jobs: number,
  submitAll: () => Promise<void>,
): Promise<Sample> {
  const from = performance.now();
  await submitAll();
  const taken = performance.now();
  await queue.drained();
  const rate = (until: number): number => (jobs / (until - from)) * 1000;
  return { figures: { rate: rate(performance.now()), taken: rate(taken) }, jobs };
}

export const singles = (queue: Queue, jobs: number, atATime: number): Promise<Sample> =>
  throughputOf(queue, jobs, () => inFlight(jobs, atATime, (i) => queue.submit(paramsOf(i))));

export const bulks = (queue: Queue, jobs: number, size: number): Promise<Sample> =>
  throughputOf(queue, jobs, () =>
    inFlight(Math.ceil(jobs / size), 2, (part) => {
      const many = Math.min(size, jobs - part * size);
      return queue.submitMany(Array.from({ length: many }, (_, i) => paramsOf(part * size + i)));
    }),
  );

const PAUSE_MS = 4;
/** What is so slow is known well enough by then. */
const LONGEST_MS = 6000;

/**
 * At most so many, one after the other, with a pause that is never the same, so that no timer is met
 * by chance.
 */
export async function latencyOf(
  count: number,
  once: (i: number) => Promise<void>,
): Promise<Sample> {
  const took: number[] = [];
  const until = performance.now() + LONGEST_MS;
  for (let i = 0; i < count && performance.now() < until; i++) {
    const from = performance.now();
    await once(i);
    took.push(performance.now() - from);
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS * (1 + Math.random())));
  }
  return { figures: { p50: quantile(took, 0.5), p99: quantile(took, 0.99) }, jobs: took.length };
}

/** Asks until it holds. */
export async function eventually(
  everyMs: number,
  holds: () => boolean | Promise<boolean>,
): Promise<void> {
  while (!(await holds())) await new Promise((resolve) => setTimeout(resolve, everyMs));
}
