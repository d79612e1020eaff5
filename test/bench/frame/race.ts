/**
 * Runs one row: opens its contestants, lets them take turns, and closes them. Who runs first
 * changes from round to round. One that fails is out of the row, with the reason.
 */
import { ContestantChild, type Measured } from './contestant-child.ts';
import { missingFor } from './needs.ts';
import { type Contestant, type Row, Unavailable } from './row.ts';

const DEADLINE_MS = 120_000;

export interface RaceOptions {
  readonly isQuick: boolean;
  readonly rounds: number;
  /** Told what is being done now. */
  readonly tell: (what: string) => void;
  /** Ends the race, and all that was started for it. */
  readonly signal: AbortSignal;
}

export interface Entrant {
  readonly contestant: Contestant;
  /** Run → one of each round. */
  readonly measured: Map<string, Measured[]>;
  /** Why it has no figures, or no more of them. */
  why?: string;
}

export async function race(row: Row, options: RaceOptions): Promise<Entrant[]> {
  const entrants: Entrant[] = row.contestants.map((contestant) => ({
    contestant,
    measured: new Map(),
  }));
  const children = new Map<Entrant, ContestantChild>();
  const endAll = (): void => void Promise.all([...children.values()].map((child) => child.end()));
  options.signal.addEventListener('abort', endAll);
  try {
    const opened = entrants.map((entrant) => () => open(row, entrant, children, options));
    // What is measured means nothing in a quick run, so nobody has to wait for another.
    if (options.isQuick) await Promise.all(opened.map((act) => act()));
    else for (const act of opened) await act();
    await turns(row, children, options);
  } finally {
    await Promise.all([...children.values()].map((child) => child.close()));
    options.signal.removeEventListener('abort', endAll);
  }
  return entrants;
}

async function open(
  row: Row,
  entrant: Entrant,
  children: Map<Entrant, ContestantChild>,
  options: RaceOptions,
): Promise<void> {
  if (options.signal.aborted) return;
  const { contestant } = entrant;
  const missing = missingFor(contestant, options.isQuick);
  if (missing !== undefined) {
    entrant.why = missing;
    return;
  }
  options.tell(`${row.name}: ${contestant.name} starts`);
  const child = new ContestantChild(row, contestant, options.isQuick);
  children.set(entrant, child);
  await orOut(entrant, children, () => child.open(deadlineOf(row, options)));
}

/** A first round that does not count warms up compilers, pools and files. */
async function turns(
  row: Row,
  children: Map<Entrant, ContestantChild>,
  options: RaceOptions,
): Promise<void> {
  const rounds = options.isQuick ? 1 : (row.rounds ?? options.rounds);
  const isWarmedUp = options.isQuick || row.isWarm === false;
  const runs = [...new Set(row.lines.map(({ run }) => run))];
  for (let round = isWarmedUp ? 0 : -1; round < rounds; round++) {
    for (const run of runs) {
      for (const [entrant, child] of rotated([...children], round)) {
        if (options.signal.aborted) return;
        if (!child.runs.includes(run) || !children.has(entrant)) continue;
        const turn = round < 0 ? 'warm-up' : `round ${round + 1} of ${rounds}`;
        options.tell(`${row.name}: ${run}, ${entrant.contestant.name}, ${turn}`);
        await orOut(entrant, children, async () => {
          const measured = await child.run(run, deadlineOf(row, options));
          if (round < 0) return;
          entrant.measured.set(run, [...(entrant.measured.get(run) ?? []), measured]);
        });
      }
    }
  }
}

async function orOut(
  entrant: Entrant,
  children: Map<Entrant, ContestantChild>,
  act: () => Promise<void>,
): Promise<void> {
  try {
    await act();
  } catch (failure) {
    const why = failure instanceof Error ? failure.message : String(failure);
    entrant.why = failure instanceof Unavailable ? why : `failed: ${why}`;
    await children.get(entrant)?.end();
    children.delete(entrant);
  }
}

const deadlineOf = (row: Row, { isQuick }: RaceOptions): number =>
  isQuick ? DEADLINE_MS : (row.deadlineMs ?? DEADLINE_MS);

function rotated<T>(all: readonly T[], by: number): T[] {
  const at = Math.max(0, by) % Math.max(1, all.length);
  return [...all.slice(at), ...all.slice(0, at)];
}
