/** A run as it is told: one object for programs, from which the text and the page are made. */
import { isListedConflict } from './causes.ts';
import { type CheckName, checkHistory, type Violation } from './checks.ts';
import { acknowledgedJobs, type History } from './history.ts';
import {
  type Duplicate,
  duplicates,
  type FaultEffect,
  faultEffects,
  type Measure,
  measure,
  type Times,
} from './measures.ts';

export interface RunFacts {
  readonly seed: number;
  /** The command that plans the same again. */
  readonly repeat: string;
  readonly version: string;
  readonly startedAt: string;
  readonly tookMs: number;
  readonly isInterrupted: boolean;
  /** What was not done, and why, as sentences. */
  readonly skipped: readonly string[];
  /** Where the nodes' logs and data were left; undefined: nothing was worth keeping. */
  readonly kept: string | undefined;
}

export interface Counts {
  readonly acknowledged: number;
  /** Code of the problem → submits. */
  readonly refused: Readonly<Record<string, number>>;
  readonly unanswered: number;
  readonly executions: number;
  readonly faults: number;
  readonly finals: Readonly<Record<string, number>>;
  readonly lost: number;
  readonly secondOutcomes: number;
  /** Keys that became two jobs, which the mesh lists itself. */
  readonly conflicts: number;
  /** Nodes' log lines that say a person must act. */
  readonly logErrors: number;
}

export interface Report {
  readonly verdict: 'clean' | 'broken' | 'interrupted';
  readonly run: RunFacts;
  readonly counts: Counts;
  readonly violations: readonly Violation[];
  readonly measures: readonly Measure[];
  readonly faults: readonly FaultEffect[];
  readonly duplicates: readonly Duplicate[];
}

export function makeReport(history: History, run: RunFacts, logErrors: number): Report {
  const violations = checkHistory(history);
  const ended = run.isInterrupted ? 'interrupted' : 'clean';
  return {
    verdict: violations.length > 0 ? 'broken' : ended,
    run,
    counts: { ...countsOf(history, violations), logErrors },
    violations,
    measures: measure(history),
    faults: faultEffects(history),
    duplicates: duplicates(history),
  };
}

const CASES_SHOWN = 5;

/** For a terminal, at most 100 columns but for what jobs and paths need. */
export function reportLines(report: Report): string[] {
  const { run, counts, violations } = report;
  const { finals, refused, unanswered } = counts;
  return [
    `${counts.acknowledged} jobs acknowledged (${countsText(finals) || 'ends not looked at'}), ${counts.executions} executions, ${counts.faults} faults.`,
    `${counts.lost} lost, ${counts.secondOutcomes} with a second outcome, ${counts.conflicts} keys that became two jobs, as listed.`,
    `Repeated executions: ${countsText(countsBy(report.duplicates.map(causeText))) || 'none'}.`,
    `Submits refused: ${countsText(refused) || 'none'}; unanswered: ${unanswered || 'none'}.`,
    '',
    ...table(
      ['', 'count', 'p50', 'p99', 'worst'],
      report.measures.map((one) => [one.what, ...timeCells(one)]),
    ),
    '',
    ...table(
      ['fault', 'times', 'ran', 'survived', 'again', 'p50', 'p99', 'worst'],
      report.faults.map(({ kind, count, ran, survived, again }) => [
        kind,
        String(count),
        String(ran),
        String(survived),
        ...(again ? timeCells(again) : ['0', '', '', '']),
      ]),
    ),
    ...run.skipped.map((sentence) => `Not done: ${sentence}`),
    ...(counts.logErrors > 0 ? [`The nodes' logs have ${counts.logErrors} errors.`] : []),
    '',
    ...violations.flatMap(violationLines),
    ...verdictLines(report),
  ];
}

function violationLines({ promise, rule, cases }: Violation): string[] {
  const shown = cases.slice(0, CASES_SHOWN);
  const more = cases.length - shown.length;
  return [
    `BROKEN  ${promise}: ${rule} (${cases.length})`,
    ...shown.map(({ job, what }) => `        ${job === undefined ? '' : `${job}: `}${what}`),
    ...(more > 0 ? [`        and ${more} more, in the report`] : []),
  ];
}

function verdictLines({ verdict, violations, run }: Report): string[] {
  const kept = run.kept === undefined ? [] : [`The nodes' logs and data: ${run.kept}`];
  switch (verdict) {
    case 'clean':
      return ['Every promise was kept.'];
    case 'interrupted':
      return ['Interrupted; until then every promise was kept.', ...kept];
    case 'broken':
      return ['', `${violations.length} promises were broken.`, ...kept, `Again: ${run.repeat}`];
  }
}

// ---------------------------------------------------------------- details

function countsOf(history: History, violations: readonly Violation[]): Omit<Counts, 'logErrors'> {
  const submits = history.jobs.flatMap((job) => job.submits);
  const refusals = submits.flatMap(({ answer }) => (answer.tag === 'refused' ? [answer.code] : []));
  const jobsOf = (name: CheckName): number => {
    const cases = violations.filter((one) => one.name === name).flatMap((one) => one.cases);
    return new Set(cases.map(({ job }) => job)).size;
  };
  return {
    acknowledged: acknowledgedJobs(history).size,
    refused: countsBy(refusals),
    unanswered: submits.filter(({ answer }) => answer.tag === 'unanswered').length,
    executions: history.executions.length,
    faults: history.faults.length,
    finals: finalsOf(history),
    lost: jobsOf('lost'),
    secondOutcomes: jobsOf('second-outcome'),
    conflicts: [...acknowledgedJobs(history).keys()].filter((job) => isListedConflict(history, job))
      .length,
  };
}

/** Status → jobs, as the first node says. */
function finalsOf({ end, nodes }: History): Record<string, number> {
  const views = [...(end?.views.get(nodes[0] ?? '')?.values() ?? [])];
  return countsBy(views.flatMap((view) => (view.tag === 'final' ? [view.final.status] : [])));
}

function countsBy(words: readonly string[]): Record<string, number> {
  const groups = Map.groupBy(words, (word) => word);
  return Object.fromEntries([...groups].map(([word, group]) => [word, group.length]));
}

const causeText = ({ cause }: Duplicate): string => cause ?? 'without a cause';

const countsText = (counts: Readonly<Record<string, number>>): string =>
  Object.entries(counts)
    .map(([word, count]) => `${count} ${word}`)
    .join(', ');

export function timeText(ms: number): string {
  if (ms < 1000) return `${ms} ms`;
  return `${(ms / 1000).toFixed(ms < 10_000 ? 2 : 1)} s`;
}

const timeCells = ({ count, p50Ms, p99Ms, worstMs }: Times): string[] => [
  String(count),
  timeText(p50Ms),
  timeText(p99Ms),
  timeText(worstMs),
];

/** The first column is text, the others are numbers. Empty without rows. */
function table(head: readonly string[], rows: readonly (readonly string[])[]): string[] {
  if (rows.length === 0) return [];
  const all = [head, ...rows];
  const widths = head.map((_, i) => Math.max(...all.map((row) => row[i]?.length ?? 0)));
  const cell = (text: string, i: number): string =>
    i === 0 ? text.padEnd(widths[i] ?? 0) : text.padStart(widths[i] ?? 0);
  return all.map((row) => row.map(cell).join('  ').trimEnd());
}
