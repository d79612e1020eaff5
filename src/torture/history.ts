/**
 * What was seen of a run, as plain data: the checks and the report are functions of it alone. All
 * times are milliseconds since the run began, on one clock.
 */
import type { FaultKind, JobKind } from './plan.ts';

export interface History {
  /** Names, in the order of their lanes. */
  readonly nodes: readonly string[];
  readonly faults: readonly FaultRecord[];
  /** Nobody had planned these. */
  readonly standstills: readonly Disturbance[];
  readonly jobs: readonly JobHistory[];
  readonly executions: readonly Execution[];
  readonly sightings: readonly Sighting[];
  /** Answers that no node may give, each with the request it was given to. */
  readonly oddAnswers: readonly OddAnswer[];
  /** Nodes that ended though nobody had asked them to. */
  readonly ownEnds: readonly { readonly at: number; readonly node: string; readonly how: string }[];
  /** Undefined: the run was interrupted before its end could be looked at. */
  readonly end: EndState | undefined;
}

/** What kept nodes from their work. */
export interface Disturbance {
  /** `standstill`: by its own log the node's loop stood still, as the machine or its disk did. */
  readonly kind: FaultKind | 'standstill';
  /** Names of the nodes it touched. */
  readonly nodes: readonly string[];
  readonly from: number;
  /** When it was healed: of a process, when it answered again. */
  readonly to: number;
}

export interface FaultRecord extends Disturbance {
  readonly kind: FaultKind;
  /** `40 % of all packets`; empty: nothing more to say. */
  readonly note: string;
}

export interface JobHistory {
  readonly label: string;
  readonly kind: JobKind;
  readonly exitCode: number;
  readonly key: string | undefined;
  readonly submits: readonly Submit[];
  readonly cancels: readonly Cancel[];
}

export interface Submit {
  readonly node: string;
  readonly at: number;
  readonly tookMs: number;
  /** Nodes whose process ran then. */
  readonly living: number;
  readonly answer:
    | { readonly tag: 'acknowledged'; readonly job: string; readonly durability: string }
    | { readonly tag: 'refused'; readonly code: string }
    /** It may have been taken or not. */
    | { readonly tag: 'unanswered' };
}

export interface Cancel {
  readonly node: string;
  readonly answeredAt: number;
  readonly job: string;
  /** `ended`: 409, it had ended before. `undecided`: no answer, or one that says nothing was done. */
  readonly answer: 'cancelled' | 'cancelling' | 'ended' | 'undecided';
}

/** One start of a job's command, as the job itself has written it down. */
export interface Execution {
  readonly job: string;
  readonly label: string;
  readonly attempt: number;
  readonly fence: string;
  readonly node: string;
  readonly pid: number;
  readonly start: number;
  /** When it gave its last sign of life. */
  readonly last: number;
  /** What it exited with; undefined: it was ended before its end. */
  readonly exitCode: number | undefined;
  /** It could not print: its output may be empty. */
  readonly isMute: boolean;
  /** Another execution of the job was alive when this one started, or wrote after it did. */
  readonly overlaps: readonly Overlap[];
}

export interface Overlap {
  /** Fence of the other one; undefined: something held the job's lock, and it is not known what. */
  readonly other: string | undefined;
}

/** The first time that a node said this of a job; the same again is not kept. */
export interface Sighting {
  readonly at: number;
  readonly node: string;
  readonly job: string;
  readonly owner: string;
  readonly final: FinalView | undefined;
}

/** What of a final state must never change. */
export interface FinalView {
  readonly status: string;
  readonly exitCode: number | null;
  readonly signal: string | null;
  readonly finishedAt: string | null;
  /** A job prints its fence: this says which attempt decided. */
  readonly stdout: string;
}

export interface OddAnswer {
  readonly at: number;
  readonly node: string;
  /** `GET job`, `submit`, `cancel`. */
  readonly request: string;
  /** Undefined: the request was not about a job that exists. */
  readonly job: string | undefined;
  readonly code: string;
}

/** After all faults were healed. */
export interface EndState {
  readonly healedAt: number;
  /** When each node saw all others alive; undefined: never. */
  readonly agreedAt: number | undefined;
  /** Who did not see whom, as sentences. */
  readonly disagreements: readonly string[];
  /** Node → job → what it says at the end. */
  readonly views: ReadonlyMap<string, ReadonlyMap<string, EndView>>;
  /** Text of every node's list of conflicts; a job is listed when it is named in it. */
  readonly conflicts: string;
  /** What was still there when all nodes had ended, as sentences. */
  readonly leftovers: readonly string[];
}

export type EndView =
  | { readonly tag: 'final'; readonly final: FinalView; readonly attempts: number }
  | { readonly tag: 'unfinished'; readonly status: string }
  /** Code of the problem that was answered. */
  | { readonly tag: 'unknown'; readonly code: string };

/** Ids of jobs that were acknowledged, each with what was asked for. */
export function acknowledgedJobs(history: History): Map<string, JobHistory> {
  const known = new Map<string, JobHistory>();
  for (const job of history.jobs) {
    for (const id of idsOf(job)) known.set(id, job);
  }
  return known;
}

/** Ids under which a job was acknowledged: one, or with a key perhaps more. */
export const idsOf = (job: JobHistory): string[] => [
  ...new Set(
    job.submits.flatMap(({ answer }) => (answer.tag === 'acknowledged' ? [answer.job] : [])),
  ),
];

/** Job → its executions in the order of their starts. */
export function executionsByJob(history: History): Map<string, Execution[]> {
  const byJob = Map.groupBy(history.executions, (execution) => execution.job);
  for (const list of byJob.values()) list.sort((a, b) => a.start - b.start);
  return byJob;
}
