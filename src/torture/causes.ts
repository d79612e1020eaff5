/**
 * Why a job was executed again, or twice at a time: the faults that allow it. Whatever has no
 * cause here is a broken promise, so this list is meant to be short.
 *
 * An execution may be repeated when its own node was faulty while it ran, or when so many of the
 * other nodes were that its lease could not be renewed: two at the same time (each job has three
 * replicas at most, and its executor may be none of them), in a pair the other one. A single other
 * node, the job's owner included, is no cause. Two executions may live at the same time only when
 * the older one stood on a host that was frozen as a whole, since nothing on it could end it. One
 * key may become two jobs only while the nodes do not agree on who is there.
 */
import type { Execution, FaultRecord, History, JobHistory } from './history.ts';

/** What a fault set going may still start so long after it. */
const AFTERMATH_MS = 1000;
/** After joins and deaths. */
const MEMBERS_DISAGREE_MS = 10_000;
/** A lease has at least so much left whenever it is renewed in time. */
const LEASE_LEFT_MS = 3000;

/** Undefined: it should not have been repeated. */
export function causeOfRepeat(
  history: History,
  older: Execution,
  newer: Execution,
): string | undefined {
  const during = history.faults.filter((fault) => isWithin(fault, older.start, newer.start));
  // The newest one: what an earlier one has left of itself is the weaker reason.
  const own = during
    .filter(({ nodes }) => nodes.includes(older.node))
    .toSorted((a, b) => a.from - b.from)
    .at(-1);
  if (own) return `${own.kind} of its node`;
  const others = during.map(({ nodes, from, to }) => ({ nodes, from, to }));
  const needed = history.nodes.length > 2 ? 2 : 1;
  const longest = longestOutage(others, needed, history.nodes, {
    from: older.start,
    to: newer.start,
  });
  return longest >= LEASE_LEFT_MS ? 'its replicas out of reach' : undefined;
}

/** Undefined: the two should not have lived at the same time. */
export function causeOfOverlap(
  history: History,
  older: Execution,
  newer: Execution,
): string | undefined {
  const freeze = history.faults.find(
    (fault) =>
      fault.kind === 'host-freeze' &&
      fault.nodes.includes(older.node) &&
      isWithin(fault, older.start, newer.start),
  );
  return freeze && 'host-freeze of the older one';
}

/** Undefined: one key should not have become two jobs. */
export function causeOfConflict(history: History, job: JobHistory): string | undefined {
  const from = Math.min(...job.submits.map(({ at }) => at));
  const to = Math.max(...job.submits.map(({ at, tookMs }) => at + tookMs));
  const fault = history.faults.find(
    (one) => one.from <= to && one.to + MEMBERS_DISAGREE_MS >= from,
  );
  return fault && `${fault.kind} of ${fault.nodes.join(', ')}`;
}

const isWithin = (fault: FaultRecord, from: number, to: number): boolean =>
  fault.from <= to && fault.to + AFTERMATH_MS >= from;

interface Outage {
  readonly nodes: readonly string[];
  readonly from: number;
  readonly to: number;
}

/** The longest time within the window in which so many nodes were faulty at once. */
function longestOutage(
  outages: readonly Outage[],
  needed: number,
  nodes: readonly string[],
  window: { from: number; to: number },
): number {
  const edges = [...new Set(outages.flatMap(({ from, to }) => [from, to]))]
    .concat(window.from, window.to)
    .filter((at) => at >= window.from && at <= window.to)
    .sort((a, b) => a - b);
  let longest = 0;
  let since: number | undefined;
  edges.forEach((at, i) => {
    const next = edges[i + 1] ?? at;
    const isFaulty = (node: string): boolean =>
      outages.some((one) => one.nodes.includes(node) && one.from <= at && one.to >= next);
    if (next === at) return;
    if (nodes.filter(isFaulty).length < needed) {
      since = undefined;
      return;
    }
    since ??= at;
    longest = Math.max(longest, next - since);
  });
  return longest;
}
