/**
 * `make sim SEEDS=1000 FROM=1`: runs so many seeds and prints what they found. A failing seed is
 * printed with the one command that repeats it, and the first ones are shrunk to a scenario file,
 * which `--scenario FILE` runs.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { asJobId } from '../../src/base/ids.ts';
import { Journal } from './journal.ts';
import { type Plan, planOf } from './plan.ts';
import { shrink } from './shrink.ts';
import { type RunResult, runPlan } from './simulate.ts';

const MAX_FAILED = 10;
const MAX_SHRUNK = 2;
const SHRINK_RUNS = 1500;

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '1000' },
    from: { type: 'string', default: '1' },
    /** Only whether something breaks, and where first. */
    first: { type: 'boolean', default: false },
    /** All that break, as they are. */
    plain: { type: 'boolean', default: false },
    /** Seeds to leave out. */
    skip: { type: 'string', default: '' },
    scenario: { type: 'string' },
    /** Prints what happens to this job. */
    job: { type: 'string' },
  },
});
const seeds = Number(values.seeds);
const from = Number(values.from);
if (!Number.isInteger(seeds) || !Number.isInteger(from) || seeds < 1) {
  process.stderr.write('SEEDS and FROM must be whole numbers: make sim SEEDS=1000 FROM=1\n');
  process.exit(2);
}

const say = (text: string): void => void process.stdout.write(`${text}\n`);
const COUNTED = [
  'events',
  'simulatedMs',
  'acknowledged',
  'executions',
  'cancelled',
  'lost',
] as const;
const totals = Object.fromEntries(COUNTED.map((name) => [name, 0])) as Record<
  (typeof COUNTED)[number],
  number
>;
const failed: RunResult[] = [];
const startedAt = performance.now();

if (values.scenario === undefined) {
  const skipped = new Set(values.skip.split(',').map(Number));
  const mostFailed = values.plain ? seeds : MAX_FAILED;
  for (let seed = from; seed < from + seeds && failed.length < mostFailed; seed++) {
    if (skipped.has(seed)) continue;
    await run(planOf(seed), `make sim SEEDS=1 FROM=${seed}`);
    if (values.first && failed.length > 0) break;
  }
} else {
  const plan: Plan = JSON.parse(readFileSync(values.scenario, 'utf8'));
  await run(plan, `node --import tsx test/sim/main.ts --scenario ${values.scenario}`);
}
summarize();

async function run(plan: Plan, again: string): Promise<void> {
  const journal = values.job === undefined ? undefined : new Journal(asJobId(values.job), say);
  const result = await runPlan(plan, journal);
  for (const name of COUNTED) totals[name] += result[name];
  if (result.violations.length === 0) return;
  failed.push(result);
  say(`seed ${plan.seed}: ${result.violations.join('; ')}\n  at ${commit()}; again: ${again}`);
  if (values.first || values.plain || values.scenario !== undefined || failed.length > MAX_SHRUNK)
    return;
  const small = await shrink(plan, SHRINK_RUNS);
  const file = join(tmpdir(), `scenario-${plan.seed}.json`);
  writeFileSync(file, `${JSON.stringify(small, undefined, 1)}\n`);
  say(
    `  shrunk to ${small.nodes.length} nodes, ${small.jobs.length} jobs, ${small.faults.length} faults: ` +
      `node --import tsx test/sim/main.ts --scenario ${file}\n  ${(await runPlan(small)).violations[0]}`,
  );
}

function commit(): string {
  try {
    return execFileSync('git', ['describe', '--always', '--dirty'], { encoding: 'utf8' }).trim();
  } catch {
    return 'no commit';
  }
}

function summarize(): void {
  const seconds = (performance.now() - startedAt) / 1000;
  const count = values.scenario === undefined ? `${seeds} seeds` : '1 scenario';
  say(
    `${count}, ${failed.length} failed; ${totals.acknowledged} jobs, ${totals.executions} executions, ` +
      `${totals.cancelled} cancelled, ${totals.lost} lost with their executors; ${Math.round(totals.events / seconds / 1000)}k events/s, ` +
      `${Math.round(totals.simulatedMs / 1000 / seconds)} times real time, ${seconds.toFixed(1)} s`,
  );
  process.exitCode = failed.length > 0 ? 1 : 0;
}
