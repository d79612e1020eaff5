/** What a whole run has found, as it is written to results.json. */
import type { Measured } from '../frame/contestant-child.ts';
import type { Entrant } from '../frame/race.ts';
import type { Line, Row } from '../frame/row.ts';
import { median, spreadOf } from '../frame/statistics.ts';

export interface Results {
  readonly startedAt: string;
  readonly isQuick: boolean;
  readonly machine: Machine;
  readonly rows: readonly RowResult[];
}

export interface Machine {
  readonly node: string;
  readonly system: string;
  readonly processor: string;
  readonly cores: number;
  readonly memoryBytes: number;
  readonly commit: string;
}

export interface RowResult {
  readonly name: string;
  readonly what: string;
  readonly note: string | null;
  readonly lines: readonly LineResult[];
  /** Those that have not, or not all, figures, and why. */
  readonly without: readonly { readonly contestant: string; readonly why: string }[];
}

export interface LineResult extends Line {
  readonly contestants: readonly ContestantResult[];
}

export interface ContestantResult {
  readonly name: string;
  readonly isMesh: boolean;
  readonly keeps: string;
  readonly rounds: readonly number[];
  readonly median: number;
  /** Highest minus lowest, as a part of the median. */
  readonly spread: number;
  /** The mesh's figure by this one's, round by round, median; null for the mesh itself. */
  readonly ratio: number | null;
  /** Of all its processes; null where it was not about jobs. */
  readonly cpuSecondsPer10kJobs: number | null;
  readonly peakMemoryBytes: number;
  /** Cores that others used meanwhile: over a quarter, the figure is doubtful. */
  readonly foreignCores: number;
}

export function resultOf(row: Row, entrants: readonly Entrant[]): RowResult {
  return {
    name: row.name,
    what: row.what,
    note: row.note ?? null,
    lines: row.lines.map((line) => lineResultOf(line, entrants)),
    without: entrants.flatMap(({ contestant, why }) =>
      why === undefined ? [] : [{ contestant: contestant.name, why }],
    ),
  };
}

function lineResultOf(line: Line, entrants: readonly Entrant[]): LineResult {
  const valuesOf = ({ measured }: Entrant): number[] =>
    (measured.get(line.run) ?? [])
      .map(({ sample }) => sample.figures[line.figure])
      .filter((value) => value !== undefined);
  const measured = entrants.filter((entrant) => valuesOf(entrant).length > 0);
  const mesh = measured.find(({ contestant }) => contestant.isMesh);
  const contestants = measured.map((entrant): ContestantResult => {
    const { contestant } = entrant;
    const [rounds, ours] = [valuesOf(entrant), mesh ? valuesOf(mesh) : []];
    const all = entrant.measured.get(line.run) ?? [];
    return {
      name: contestant.name,
      isMesh: contestant.isMesh,
      keeps: contestant.keeps,
      rounds,
      median: median(rounds),
      spread: spreadOf(rounds),
      ratio: contestant.isMesh || ours.length === 0 ? null : ratioOf(ours, rounds),
      cpuSecondsPer10kJobs: cpuOf(all),
      peakMemoryBytes: Math.max(...all.map(({ peakMemoryBytes }) => peakMemoryBytes)),
      foreignCores: median(all.map(({ foreignCores }) => foreignCores)),
    };
  });
  return { ...line, contestants };
}

/** Of neighbours in time, because the machine's speed changes; else of the medians. */
function ratioOf(ours: readonly number[], theirs: readonly number[]): number | null {
  const pairs = theirs.flatMap((value, i) => {
    const own = ours[i];
    return own === undefined ? [] : [own / value];
  });
  const ratio = pairs.length > 0 ? median(pairs) : median(ours) / median(theirs);
  // Nothing is so many times zero.
  return Number.isFinite(ratio) ? ratio : null;
}

function cpuOf(all: readonly Measured[]): number | null {
  const each = all.flatMap(({ cpuSeconds, sample: { jobs } }) =>
    jobs === undefined ? [] : [(cpuSeconds / jobs) * 10_000],
  );
  return each.length > 0 ? median(each) : null;
}
