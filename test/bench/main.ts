/**
 * `make bench`: the mesh beside what people would use instead, in one run on this machine. Medians
 * of rounds that take turns, and the ratio of neighbours; nothing is asserted, and nothing is
 * printed that was not measured in this run. ONLY=row,row, ROUNDS=3, QUICK=1 (small sizes, nothing
 * from Debian: shows that every row works, not how fast it is).
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { cpus, totalmem } from 'node:os';
import { join } from 'node:path';
import { ROOT } from './frame/needs.ts';
import { race } from './frame/race.ts';
import { pageOf } from './report/page.ts';
import { type Machine, type Results, type RowResult, resultOf } from './report/results.ts';
import { disturbed, machineLine, markdownOf, tablesOf } from './report/text.ts';
import { ROWS } from './rows.ts';

const INTERRUPTED = 130;

const startedAt = new Date().toISOString();
/** A folder for each run: a short one must not take the place of the one that took half an hour. */
const ownFolder = join(ROOT, 'bench-results', startedAt.slice(0, 19).replaceAll(':', '-'));
const { ONLY = '', QUICK = '', ROUNDS = '3', OUT = ownFolder } = process.env;
const isQuick = QUICK !== '' && QUICK !== '0';
const say = (line: string): void => void process.stdout.write(`${line}\n`);

if (process.platform !== 'linux') {
  say('The bench reads processor time and memory in /proc: it runs on Linux only.');
  process.exit(2);
}

function chosenRows(): typeof ROWS {
  const names = ONLY.split(',').filter((name) => name !== '');
  const unknown = names.filter((name) => !ROWS.some((row) => row.name === name));
  if (unknown.length > 0) {
    const all = ROWS.map(({ name, what }) => `  ${name.padEnd(10)} ${what}`);
    say(`There is no row ${unknown.join(', ')}. ONLY takes:\n${all.join('\n')}`);
    process.exit(2);
  }
  return names.length === 0 ? ROWS : ROWS.filter(({ name }) => names.includes(name));
}

const rounds = Number(ROUNDS);
if (!Number.isInteger(rounds) || rounds < 1) {
  say('ROUNDS must be a whole number, at least 1.');
  process.exit(2);
}
const rows = chosenRows();
const interrupt = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, () => {
    if (!interrupt.signal.aborted) say('\nEnding what was started …');
    interrupt.abort();
  });
}

// Whoever read it has gone, as `head` does: there is nobody left to measure for.
process.stdout.on('error', () => interrupt.abort());

/** On a terminal one line that is written over; elsewhere nothing, the tables are enough. */
function tell(what: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${what.slice(0, 100)}`);
}

const done: RowResult[] = [];
const results = (): Results => ({ startedAt, isQuick, machine: machineOf(), rows: done });

say(machineLine(results()));
if (isQuick) say('A quick run: the figures mean nothing.');
for (const row of rows) {
  const entrants = await race(row, { isQuick, rounds, tell, signal: interrupt.signal });
  tell('');
  if (interrupt.signal.aborted) break;
  const result = resultOf(row, entrants);
  done.push(result);
  say(tablesOf(result));
  write();
}
const noisy = disturbed(done);
if (noisy.length > 0 && !isQuick)
  say(`\nOthers used this machine meanwhile; doubtful: ${noisy.join(', ')}.`);
if (done.length > 0) say(`\n${join(OUT, 'report.html')}, results.json and results.md beside it.`);
if (interrupt.signal.aborted) process.exitCode = INTERRUPTED;

/** After each row, so that a run that is interrupted has left what it found. */
function write(): void {
  mkdirSync(OUT, { recursive: true });
  writeFileSync(join(OUT, 'results.json'), `${JSON.stringify(results(), undefined, 1)}\n`);
  writeFileSync(join(OUT, 'results.md'), markdownOf(results()));
  writeFileSync(join(OUT, 'report.html'), pageOf(results()));
}

function machineOf(): Machine {
  const { node } = process.versions;
  return {
    node,
    system: `${process.platform}-${process.arch}`,
    processor: cpus()[0]?.model ?? 'unknown processor',
    cores: cpus().length,
    memoryBytes: totalmem(),
    commit: commit(),
  };
}

function commit(): string {
  try {
    const words = ['-C', ROOT, 'describe', '--always', '--dirty'];
    return execFileSync('git', words, {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim();
  } catch {
    return 'unknown';
  }
}
