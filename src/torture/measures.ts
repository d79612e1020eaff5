/**
 * How long things took: functions of the history, as the checks are. A recovery is promised a time
 * only while all other nodes are there; what met a second outage is told apart, since a job whose
 * replicas are away by two waits for one of them whatever the mesh does.
 */
import {
  causeOfOverlap,
  causeOfRepeat,
  isListedConflict,
  isOutage,
  SIGN_INTERVAL_MS,
  TAKEN_IN_MS,
} from './causes.ts';
import {
  type Execution,
  executionsByJob,
  type FaultRecord,
  type History,
  type Sighting,
} from './history.ts';
import type { FaultKind } from './plan.ts';

export interface Times {
  readonly count: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly worstMs: number;
}

export interface Measure extends Times {
  readonly what: string;
}

/** What a kind of fault did to what ran on its nodes. */
export interface FaultEffect {
  readonly kind: FaultKind;
  readonly count: number;
  /** Executions that were alive on a faulty node when the fault began. */
  readonly ran: number;
  /** Of these, how many came to their end all the same, and were not repeated. */
  readonly survived: number;
  /** From the fault to the next start of the same job, anywhere; undefined: none was needed. */
  readonly again: Times | undefined;
}

/** An execution beyond a job's first. */
export interface Duplicate {
  readonly job: string;
  readonly label: string;
  readonly first: Execution;
  readonly second: Execution;
  /** Undefined: a broken promise. */
  readonly cause: string | undefined;
}

/** Nearest rank; undefined of nothing. */
export function timesOf(samples: readonly number[]): Times | undefined {
  if (samples.length === 0) return undefined;
  const sorted = [...samples].sort((a, b) => a - b);
  const rank = (share: number): number =>
    Math.round(sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? 0);
  return { count: sorted.length, p50Ms: rank(0.5), p99Ms: rank(0.99), worstMs: rank(1) };
}

export function measure(history: History): Measure[] {
  const groups: readonly (readonly [string, readonly number[]])[] = [
    ...acknowledgements(history),
    ...apart('owner process killed → its job owned elsewhere', ownedElsewhere(history, 'kill')),
    ...apart('owner host gone → its job owned elsewhere', ownedElsewhere(history, 'host')),
    ...apart('executor process killed → its job starts elsewhere', runsElsewhere(history, 'kill')),
    ...apart('executor host gone → its job starts elsewhere', runsElsewhere(history, 'host')),
  ];
  return groups.flatMap(([what, samples]) => {
    const times = timesOf(samples);
    return times ? [{ what, ...times }] : [];
  });
}

export function faultEffects(history: History): FaultEffect[] {
  const byKind = Map.groupBy(history.faults, ({ kind }) => kind);
  return [...byKind].map(([kind, faults]) => {
    const hit = faults.flatMap((fault) => hitBy(history, fault));
    const again = hit
      .filter((one) => isNewest(history, one))
      .flatMap(({ fault, next }) => (next ? [next.start - fault.from] : []));
    const survived = hit.filter(({ next, execution }) => !next && execution.exitCode !== undefined);
    return {
      kind,
      count: faults.length,
      ran: hit.length,
      survived: survived.length,
      again: timesOf(again),
    };
  });
}

export function duplicates(history: History): Duplicate[] {
  return [...executionsByJob(history)].flatMap(([job, executions]) =>
    executions.slice(1).flatMap((second, i) => {
      const first = executions[i];
      if (!first) return [];
      const overlap = second.overlaps.length > 0;
      const cause = overlap
        ? causeOfOverlap(history, first, second)
        : causeOfRepeat(history, first, second);
      const listed = isListedConflict(history, job) ? 'a key that became two jobs' : undefined;
      return [{ job, label: second.label, first, second, cause: cause ?? listed }];
    }),
  );
}

// ---------------------------------------------------------------- details

/** By what the answer said, and by how many nodes could have had a copy. */
function acknowledgements(history: History): (readonly [string, readonly number[]])[] {
  const samples = new Map<string, number[]>();
  for (const { submits } of history.jobs) {
    for (const { answer, tookMs, living } of submits) {
      if (answer.tag !== 'acknowledged') continue;
      const disks = answer.durability !== 'replicated' ? '' : living > 2 ? ', three' : ', pair';
      const what = `submit → acknowledged (${answer.durability}${disks})`;
      const group = samples.get(what);
      if (group) group.push(tookMs);
      else samples.set(what, [tookMs]);
    }
  }
  return [...samples];
}

interface Hit {
  readonly fault: FaultRecord;
  readonly execution: Execution;
  readonly next: Execution | undefined;
}

/** Executions that lived on a node of the fault when it began. */
function hitBy(history: History, fault: FaultRecord): Hit[] {
  return [...executionsByJob(history).values()].flatMap((executions) =>
    executions.flatMap((execution, i) => {
      const next = executions[i + 1];
      const isThere = fault.nodes.includes(execution.node) && execution.start < fault.from;
      if (!isThere || !livedAt(execution, next, fault.from)) return [];
      return [{ fault, execution, next }];
    }),
  );
}

/** It outlived those before: its repetition says nothing about them. */
function isNewest({ faults }: History, { fault, execution, next }: Hit): boolean {
  return !faults.some(
    ({ nodes, from }) =>
      from > fault.from && nodes.includes(execution.node) && livedAt(execution, next, from),
  );
}

function livedAt(execution: Execution, next: Execution | undefined, at: number): boolean {
  if (next && next.start < at) return false;
  const until = execution.exitCode === undefined ? SIGN_INTERVAL_MS : 0;
  return execution.last + until > at;
}

/** From a fault to what shows that the mesh has recovered from it. */
interface Recovery {
  readonly tookMs: number;
  /** Other nodes were away meanwhile, too: then it has to wait until a majority is back. */
  readonly isCrowded: boolean;
}

function apart(what: string, recoveries: readonly Recovery[]): [string, number[]][] {
  const of = (isCrowded: boolean): number[] =>
    recoveries.filter((one) => one.isCrowded === isCrowded).map(({ tookMs }) => tookMs);
  return [
    [what, of(false)],
    [`${what}, others away too`, of(true)],
  ];
}

function recovery({ faults }: History, fault: FaultRecord, until: number): Recovery {
  const isCrowded = faults.some(
    (other) =>
      isOutage(other) &&
      other.from <= until &&
      other.to + TAKEN_IN_MS >= fault.from &&
      other.nodes.some((node) => !fault.nodes.includes(node)),
  );
  return { tookMs: until - fault.from, isCrowded };
}

function runsElsewhere(history: History, kind: FaultKind): Recovery[] {
  return history.faults
    .filter((fault) => fault.kind === kind)
    .flatMap((fault) => hitBy(history, fault))
    .filter((hit) => isNewest(history, hit))
    .flatMap(({ next, execution, fault }) =>
      next && next.node !== execution.node ? [recovery(history, fault, next.start)] : [],
    );
}

/** As seen by clients, who ask about a job every now and then. */
function ownedElsewhere(history: History, kind: FaultKind): Recovery[] {
  const byJob = Map.groupBy(history.sightings, ({ job }) => job);
  return history.faults
    .filter((fault) => fault.kind === kind)
    .flatMap((fault) =>
      [...byJob.values()].flatMap((sightings) => {
        const next = nextOwner(sightings, fault);
        return next === undefined ? [] : [recovery(history, fault, next)];
      }),
    );
}

function nextOwner(sightings: readonly Sighting[], fault: FaultRecord): number | undefined {
  const before = sightings.findLast(({ at }) => at < fault.from);
  if (!before || before.final || !fault.nodes.includes(before.owner)) return undefined;
  const after = sightings.find(({ at, owner }) => at > fault.from && owner !== before.owner);
  return after && after.at <= fault.to ? after.at : undefined;
}
