/**
 * Why a job was executed again, or twice at a time: the faults that allow it. Whatever has no
 * cause here is a broken promise, so this list is meant to be short.
 *
 * An execution may be repeated when its own node was faulty while it ran, in a way that its lease
 * or its processes cannot outlive: a node that is back in time takes its attempts up again (G5),
 * one that is out of reach for a moment still renews, datagrams carry nothing that counts, and a
 * full disk ends no attempt. What follows too soon for a renewal in between counts as one. Else when so many of the other nodes were away that the lease could
 * not be renewed: two at the same time (each job has three replicas at most, and its executor may
 * be none of them), in a pair the other one. A single other node, the owner included, is no cause.
 * A node that has left for good is taken out of the replica sets, one that was away at the job's
 * birth is not in them yet, and only the owner takes it in: an owner that is away before it did
 * leaves a set of two without its quorum. Its own node's absence and that of a majority may also
 * follow each other, with no moment for a renewal in between.
 *
 * Two executions may live at the same time only when the older one stood on a host that was frozen
 * as a whole, since nothing on it could end it. One key may become two jobs only while the nodes
 * do not agree on who is there.
 */
import { unreachable } from '../base/unreachable.ts';
import {
  acknowledgedJobs,
  type Execution,
  type FaultRecord,
  type History,
  type JobHistory,
} from './history.ts';

/** Started again within so long, a node takes up what it ran; the lease allows it. */
const ADOPTED_MS = 4000;
/** A node that is well again has taken up its attempts and renewed their leases. */
const RENEWED_MS = 2000;
/** A node that has left and is back has been taken into the replica sets again. */
export const TAKEN_IN_MS = 2000;
/** What a fault set going may still start so long after it. */
const AFTERMATH_MS = 1000;
/** After joins and deaths. */
const MEMBERS_DISAGREE_MS = 10_000;
/** A lease has at least so much left whenever it is renewed in time. */
const LEASE_LEFT_MS = 3000;
/** One that was cut short may have lived a little longer than its last sign of life. */
export const SIGN_INTERVAL_MS = 600;

/** Undefined: it should not have been repeated. */
export const causeOfRepeat = (
  history: History,
  older: Execution,
  newer: Execution,
): string | undefined => causeOfEnd(history, older, newer.start);

/** Undefined: it should have come to its end. */
export const causeOfLoss = (history: History, execution: Execution): string | undefined =>
  causeOfEnd(history, execution, execution.last + SIGN_INTERVAL_MS);

function causeOfEnd(history: History, execution: Execution, until: number): string | undefined {
  const window = { from: execution.start, to: until };
  const during = history.faults.filter((fault) => isWithin(fault, window.from, window.to));
  const own = during.filter((fault) => fault.nodes.includes(execution.node));
  const chain = chainsOf(own, execution.start).findLast(canEnd);
  if (chain) return `${[...new Set(chain.map(({ kind }) => kind))].join(' and ')} of its node`;
  const needed = history.nodes.length > 2 ? 2 : 1;
  const bornAt = acknowledgedJobs(history).get(execution.job)?.submits[0]?.at;
  const outages = withAbsences(during.filter(isOutage), bornAt);
  const isMissed = (nodes: readonly string[]): boolean => nodes.length >= needed;
  if (longestOutage(outages, isMissed, window) >= LEASE_LEFT_MS) return 'its replicas out of reach';
  const isStuck = (nodes: readonly string[]): boolean =>
    nodes.includes(execution.node) || isMissed(nodes);
  return longestOutage(outages, isStuck, window) > ADOPTED_MS
    ? 'its node and its replicas out of reach in turn'
    : undefined;
}

/**
 * Faults of one node, the oldest first; those of one chain left an execution that had begun by
 * then no time to renew in between.
 */
function chainsOf(faults: readonly FaultRecord[], begunAt: number): FaultRecord[][] {
  const chains: FaultRecord[][] = [];
  for (const fault of faults.toSorted((a, b) => a.from - b.from)) {
    const last = chains.at(-1);
    const isFelt = last !== undefined && endOf(last) >= begunAt;
    if (isFelt && fault.from - endOf(last) < RENEWED_MS) last.push(fault);
    else chains.push([fault]);
  }
  return chains;
}

const endOf = (chain: readonly FaultRecord[]): number => Math.max(...chain.map(({ to }) => to));

/** Whether it can cost an attempt its processes or its lease. */
function canEnd(chain: readonly FaultRecord[]): boolean {
  const counting = chain.filter(isOutage);
  const [first] = counting;
  if (!first) return false;
  const lastedMs = endOf(counting) - first.from;
  return counting.some((fault) => lastedMs > outlivedMs(fault));
}

/** So long can an attempt outlive it. */
function outlivedMs({ kind }: FaultRecord): number {
  switch (kind) {
    case 'kill':
    case 'restart':
    case 'rolling':
      return ADOPTED_MS;
    case 'host':
    case 'drain':
      return 0;
    case 'freeze':
    case 'host-freeze':
    case 'cut':
    case 'one-way':
    case 'loss':
      return LEASE_LEFT_MS;
    case 'udp':
    case 'disk':
      return Number.POSITIVE_INFINITY;
    default:
      return unreachable(kind);
  }
}

/** Whether it keeps a node from renewing. */
export const isOutage = ({ kind }: FaultRecord): boolean => kind !== 'udp' && kind !== 'disk';

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

/**
 * Of a key that became two jobs, and the mesh says so. Of a run that was interrupted the lists
 * were not read: then what may be a conflict is not held against the mesh.
 */
export function isListedConflict(history: History, job: string): boolean {
  const asked = acknowledgedJobs(history).get(job);
  if (asked?.key === undefined) return false;
  if (history.end) return history.end.conflicts.includes(job);
  return causeOfConflict(history, asked) !== undefined;
}

const isWithin = (fault: FaultRecord, from: number, to: number): boolean =>
  fault.from <= to && fault.to + AFTERMATH_MS >= from;

/** Such a node is missing in the sets for as long as another one, away before it was taken in, is. */
function withAbsences(faults: readonly FaultRecord[], bornAt: number | undefined): Outage[] {
  return faults.map((fault) => {
    const isBornWithout = bornAt !== undefined && bornAt >= fault.from && bornAt <= fault.to;
    if (fault.kind !== 'drain' && !isBornWithout) return fault;
    const away = faults.filter(
      ({ nodes, from }) =>
        from >= fault.from &&
        from <= fault.to + TAKEN_IN_MS &&
        !nodes.some((node) => fault.nodes.includes(node)),
    );
    return { ...fault, to: Math.max(fault.to, ...away.map(({ to }) => to)) };
  });
}

interface Outage {
  readonly nodes: readonly string[];
  readonly from: number;
  readonly to: number;
}

/** The longest time within the window in which the faulty nodes were such. */
function longestOutage(
  outages: readonly Outage[],
  isSuch: (faulty: readonly string[]) => boolean,
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
    if (next === at) return;
    const active = outages.filter(({ from, to }) => from <= at && to >= next);
    if (!isSuch([...new Set(active.flatMap(({ nodes }) => nodes))])) {
      since = undefined;
      return;
    }
    since ??= at;
    longest = Math.max(longest, next - since);
  });
  return longest;
}
