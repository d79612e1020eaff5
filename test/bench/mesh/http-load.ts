/** As many requests as a node answers: so many connections, each with one under way, for a while. */
import type { Sample } from '../frame/row.ts';
import { quantile } from '../frame/statistics.ts';
import { HttpConnection } from './http-connection.ts';

export interface Load {
  readonly url: string;
  readonly connections: number;
  readonly durationMs: number;
  /** @param i counts all requests */
  request(i: number): Buffer;
  /** What each is answered with. */
  readonly status: number;
  /** Jobs in each. */
  readonly jobs?: number;
}

/** Figures: `rate` in requests (or jobs) a second, `p99` in milliseconds. */
export async function loadOf(load: Load): Promise<Sample> {
  const { url, connections, durationMs, jobs = 1 } = load;
  const all = await Promise.all(
    Array.from({ length: connections }, () => HttpConnection.open(url)),
  );
  const took: number[] = [];
  const from = performance.now();
  const until = from + durationMs;
  await Promise.all(
    all.map(async (connection) => {
      while (performance.now() < until) took.push(await once(connection, load, took.length));
    }),
  );
  const seconds = (performance.now() - from) / 1000;
  for (const connection of all) connection.close();
  return {
    figures: { rate: (took.length * jobs) / seconds, p99: quantile(took, 0.99) },
    jobs: took.length * jobs,
  };
}

async function once(connection: HttpConnection, load: Load, i: number): Promise<number> {
  const from = performance.now();
  const { status, body } = await connection.ask(load.request(i));
  if (status !== load.status) throw new Error(`answered ${status}: ${body.slice(0, 300)}`);
  return performance.now() - from;
}
