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
 * follow each other, with no moment for a renewal in between; and a node whose loop stands still
 * after it has come back, as the machine is overloaded, renews nothing either.
 *
 * Two executions may live at the same time only when the older one stood on a host that was frozen
 * as a whole, since nothing on it could end it. One key may become two jobs only while the nodes
 * do not agree on who is there.
 */
import { unreachable } from '../base/unreachable.ts';
import {
  acknowledgedJobs,
  type Disturbance,
  type Execution,
  type FaultRecord,
  type History,
  type JobHistory,
  type OddAnswer,
} from './history.ts';

/** Started again within so long, a node takes up what it ran; the lease allows it. */
const ADOPTED_MS = 4000;
/** A node that is well again has taken up its attempts and renewed their leases. */
const RENEWED_MS = 2000;
/** When all nodes are there for so long, who was missing in a replica set has been taken in. */
export const TAKEN_IN_MS = 3000;
/** From the start of a node to its links, which it needs to renew or to be renewed. */
const LINKED_MS = 1200;
/** An answer may be so old. */
const ASK_MS = 2000;
/** One that stands still right after it has come back has not got round to its attempts. */
const STANDSTILL_PAUSE_MS = 1000;
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
  const all: readonly Disturbance[] = [...history.faults, ...history.standstills];
  const own = all.filter(
    (fault) => fault.nodes.includes(execution.node) && isWithin(fault, window.from, window.to),
  );
  // A standstill is named only where the faults alone would not have done it.
  const planned = own.filter(({ kind }) => kind !== 'standstill');
  const ended = (faults: readonly Disturbance[]): Disturbance[] | undefined =>
    chainsOf(faults, execution.start).findLast(canEnd);
  const chain = ended(planned) ?? ended(own);
  if (chain) return `${[...new Set(chain.map(({ kind }) => kind))].join(' and ')} of its node`;
  const needed = history.nodes.length > 2 ? 2 : 1;
  const bornAt = acknowledgedJobs(history).get(execution.job)?.submits[0]?.at;
  const outages = all.filter(isOutage);
  const absences = absencesOf(history.faults, bornAt);
  const isMissed = (active: readonly Outage[]): boolean =>
    namesOf(active).length >= needed && active.some(({ isAbsence }) => !isAbsence);
  const away = [...outages, ...absences];
  if (longestOutage(away, isMissed, window) >= LEASE_LEFT_MS) return 'its replicas out of reach';
  const isOwn = ({ nodes, isAbsence }: Outage): boolean =>
    !isAbsence && nodes.includes(execution.node);
  const isStuck = (active: readonly Outage[]): boolean => active.some(isOwn) || isMissed(active);
  const linked = away.map((one) => ({ ...one, to: one.to + LINKED_MS }));
  return longestOutage(linked, isStuck, window, isMissed) > ADOPTED_MS
    ? 'its node and its replicas out of reach in turn'
    : undefined;
}

/**
 * Faults of one node, the oldest first; those of one chain left an execution that had begun by
 * then no time to renew in between.
 */
function chainsOf(faults: readonly Disturbance[], begunAt: number): Disturbance[][] {
  const chains: Disturbance[][] = [];
  for (const fault of faults.toSorted((a, b) => a.from - b.from)) {
    const last = chains.at(-1);
    const isFelt = last !== undefined && endOf(last) >= begunAt;
    const pauseMs = fault.kind === 'standstill' ? STANDSTILL_PAUSE_MS : RENEWED_MS;
    if (isFelt && fault.from - endOf(last) < pauseMs) last.push(fault);
    else chains.push([fault]);
  }
  return chains;
}

const endOf = (chain: readonly Disturbance[]): number => Math.max(...chain.map(({ to }) => to));

/** Whether it can cost an attempt its processes or its lease. */
function canEnd(chain: readonly Disturbance[]): boolean {
  const counting = chain.filter(isOutage);
  const [first] = counting;
  if (!first) return false;
  const lastedMs = endOf(counting) - first.from;
  return counting.some((fault) => lastedMs > outlivedMs(fault));
}

/** So long can an attempt outlive it. */
function outlivedMs({ kind }: Disturbance): number {
  switch (kind) {
    case 'kill':
    case 'restart':
    case 'rolling':
    case 'standstill':
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
export const isOutage = ({ kind }: Disturbance): boolean => kind !== 'udp' && kind !== 'disk';

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
 * Undefined: nobody may deny the job. A job that was taken by one disk alone, and said to be, is
 * gone from the mesh while the node of that disk has left it.
 */
export function causeOfDenial(history: History, odd: OddAnswer): string | undefined {
  const submits = acknowledgedJobs(history).get(odd.job ?? '')?.submits ?? [];
  const isLocal = submits.every(
    ({ answer }) => answer.tag !== 'acknowledged' || answer.durability === 'local',
  );
  const left = history.faults.find(
    ({ kind, nodes, from, to }) =>
      kind === 'drain' &&
      !nodes.includes(odd.node) &&
      odd.at >= from &&
      odd.at <= to + ASK_MS + LINKED_MS,
  );
  return left && submits.length > 0 && isLocal && odd.code.startsWith('JOB_NOT_FOUND')
    ? `drain of ${left.nodes.join(', ')}`
    : undefined;
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

const isWithin = (fault: Disturbance, from: number, to: number): boolean =>
  fault.from <= to && fault.to + AFTERMATH_MS >= from;

interface Outage extends Pick<Disturbance, 'nodes' | 'from' | 'to'> {
  /** It is there, and not in the replica set. */
  readonly isAbsence?: boolean;
}

/**
 * Who has left, or was away when the job was born, is in the sets again when its owner has taken it
 * in: at the latest when all nodes, the owner among them, have been there for a while.
 */
function absencesOf(faults: readonly FaultRecord[], bornAt: number | undefined): Outage[] {
  const outages = faults.filter(isOutage).toSorted((a, b) => a.from - b.from);
  return outages
    .filter(({ kind, from, to }) => {
      const isBornWithout = bornAt !== undefined && bornAt >= from && bornAt <= to;
      return kind === 'drain' || isBornWithout;
    })
    .map(({ nodes, to: back }) => {
      const until = outages.reduce(
        (at, { from, to }) => (from <= at + TAKEN_IN_MS ? Math.max(at, to) : at),
        back,
      );
      return { nodes, from: back, to: until + TAKEN_IN_MS, isAbsence: true };
    });
}

const namesOf = (outages: readonly Outage[]): string[] => [
  ...new Set(outages.flatMap(({ nodes }) => nodes)),
];

/** The longest time within the window in which the faulty nodes were such, and at some moment of it `once`. */
function longestOutage(
  outages: readonly Outage[],
  isSuch: (active: readonly Outage[]) => boolean,
  window: { from: number; to: number },
  once = isSuch,
): number {
  const edges = [...new Set(outages.flatMap(({ from, to }) => [from, to]))]
    .concat(window.from, window.to)
    .filter((at) => at >= window.from && at <= window.to)
    .sort((a, b) => a - b);
  let longest = 0;
  let since: number | undefined;
  let hasBeen = false;
  edges.forEach((at, i) => {
    const next = edges[i + 1] ?? at;
    if (next === at) return;
    const active = outages.filter(({ from, to }) => from <= at && to >= next);
    if (!isSuch(active)) {
      since = undefined;
      hasBeen = false;
      return;
    }
    since ??= at;
    hasBeen ||= once(active);
    if (hasBeen) longest = Math.max(longest, next - since);
  });
  return longest;
}
