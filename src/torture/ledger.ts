/**
 * What jobs did, written down by the jobs themselves: each start, sign of life and end appends one
 * line to the job's file, in a folder that belongs to no node. Executions can then be counted, and
 * whether two of them lived at the same time does not depend on any clock: appending to one file
 * puts their lines into the order in which they happened. In between, each execution holds a lock
 * on the file (flock, where there is one), which the system takes from it when its last process
 * has died, not earlier: an execution that does not get it says `contested`. One that cannot print,
 * because the disk of its node is full, says `mute`.
 *
 *     start label job attempt fence node pid time
 *
 * The times are those of /proc/uptime, which every process of a machine reads alike and without a
 * fork; elsewhere, seconds of the calendar.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Execution, Overlap } from './history.ts';

/** Variables of a job: the folder, and what it shall do. */
export const LEDGER_VARIABLES = {
  folder: 'TORTURE_LEDGER',
  label: 'TORTURE_LABEL',
  /** All processes of a run carry it. */
  run: 'TORTURE_RUN',
} as const;

const TICK_MS = 500;

export interface Work {
  readonly runsMs: number;
  readonly exitCode: number;
  readonly isStubborn: boolean;
}

/** Shell text; it prints its fence, so that an outcome tells which execution it is of. */
export function workCommand({ runsMs, exitCode, isStubborn }: Work): string {
  const ticks = Math.floor(runsMs / TICK_MS);
  const rest = ((runsMs % TICK_MS) / 1000).toFixed(3);
  return [
    `exec 9>>"$${LEDGER_VARIABLES.folder}/$MESH_JOB_ID"`,
    'now() { { read -r t _ </proc/uptime && t=u$t || t=d$(date +%s); } 2>/dev/null; }',
    `say() { now; printf '%s %s %s %s %s %s %s %s\\n' "$1" "$${LEDGER_VARIABLES.label}" "$MESH_JOB_ID" "$MESH_ATTEMPT" "$MESH_FENCE" "$MESH_NODE_NAME" $$ "$t" >&9; }`,
    ...(isStubborn ? ["trap '' TERM"] : []),
    'say start',
    'flock -n 9 2>/dev/null; [ $? = 1 ] && say contested',
    'echo "$MESH_FENCE" 2>/dev/null || say mute',
    `n=${ticks}; while [ $n -gt 0 ]; do sleep ${TICK_MS / 1000}; say tick; n=$((n - 1)); done`,
    `sleep ${rest}`,
    `say end:${exitCode}`,
    `exit ${exitCode}`,
  ].join('\n');
}

/** Between the clock of the lines and that of the run. */
export interface LedgerClock {
  /** Subtracted from a time of /proc/uptime in milliseconds. */
  readonly uptimeMs: number;
  /** Subtracted from a time of the calendar in milliseconds. */
  readonly calendarMs: number;
}

/** @param elapsedMs time since the run began, now */
export function readLedgerClock(elapsedMs: number): LedgerClock {
  return { uptimeMs: uptimeMs() - elapsedMs, calendarMs: Date.now() - elapsedMs };
}

/** NaN where the system does not tell: then no line will have such a time. */
function uptimeMs(): number {
  try {
    return Number(readFileSync('/proc/uptime', 'latin1').split(' ')[0]) * 1000;
  } catch {
    return Number.NaN;
  }
}

export function readLedger(folder: string, clock: LedgerClock): Execution[] {
  return readdirSync(folder).flatMap((name) =>
    parseLedger(readFileSync(join(folder, name), 'utf8'), clock),
  );
}

interface Entry {
  readonly what: string;
  readonly label: string;
  readonly job: string;
  readonly attempt: number;
  readonly fence: string;
  readonly node: string;
  readonly pid: number;
  readonly at: number;
}

/** The lines of one job's file. A line that is not whole is the last one of a full disk: skipped. */
export function parseLedger(text: string, clock: LedgerClock): Execution[] {
  const entries = text.split('\n').flatMap((line) => parseEntry(line, clock));
  const lives = new Map<string, Entry[]>();
  for (const entry of entries) {
    const life = lives.get(lifeOf(entry));
    if (life) life.push(entry);
    else lives.set(lifeOf(entry), [entry]);
  }
  const spans = [...lives.values()].map((life) => ({
    life,
    first: entries.indexOf(life[0] as Entry),
    last: entries.indexOf(life.at(-1) as Entry),
  }));
  return spans.map(({ life, first }) => {
    // Older ones that wrote something after this one had begun.
    const overlapping = spans
      .filter((other) => other.first < first && other.last > first)
      .map((other): Overlap => ({ other: other.life[0]?.fence }));
    return toExecution(life, overlapping);
  });
}

/** Two executions of one fence are two all the same. */
const lifeOf = (entry: Entry): string => `${entry.fence} ${entry.node} ${entry.pid}`;

function parseEntry(line: string, clock: LedgerClock): Entry[] {
  const [what, label, job, attempt, fence, node, pid, time, ...more] = line.split(' ');
  if (!what || !label || !job || !fence || !node || !time || more.length > 0) return [];
  const at = toElapsed(time, clock);
  if (Number.isNaN(at)) return [];
  return [{ what, label, job, attempt: Number(attempt), fence, node, pid: Number(pid), at }];
}

function toElapsed(time: string, clock: LedgerClock): number {
  const ms = Number(time.slice(1)) * 1000;
  return Math.round(time.startsWith('u') ? ms - clock.uptimeMs : ms - clock.calendarMs);
}

function toExecution(life: readonly Entry[], overlapping: readonly Overlap[]): Execution {
  const [first] = life;
  if (!first) throw new Error('an execution without a line');
  const { job, label, attempt, fence, node, pid, at } = first;
  const end = life.find(({ what }) => what.startsWith('end:'));
  const isContested = life.some(({ what }) => what === 'contested');
  return {
    job,
    label,
    attempt,
    fence,
    node,
    pid,
    start: at,
    last: life.at(-1)?.at ?? at,
    exitCode: end && Number(end.what.slice('end:'.length)),
    isMute: life.some(({ what }) => what === 'mute'),
    overlaps: overlapping.length > 0 || !isContested ? overlapping : [{ other: undefined }],
  };
}
