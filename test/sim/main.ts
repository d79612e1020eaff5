/**
 * `make sim SEEDS=1000 FROM=1`: runs so many seeds and prints what they found. A failing seed is
 * printed with the one command that repeats it.
 */
import { parseArgs } from 'node:util';
import { type RunResult, simulate } from './simulate.ts';

const { values } = parseArgs({ options: { seeds: { type: 'string' }, from: { type: 'string' } } });
const seeds = Number(values.seeds ?? 1000);
const from = Number(values.from ?? 1);
if (!Number.isInteger(seeds) || !Number.isInteger(from) || seeds < 1) {
  process.stderr.write('SEEDS and FROM must be whole numbers: make sim SEEDS=1000 FROM=1\n');
  process.exit(2);
}

const startedAt = performance.now();
const failed: RunResult[] = [];
const totals = { events: 0, simulatedMs: 0, acknowledged: 0, executions: 0, cancelled: 0, lost: 0 };
for (let seed = from; seed < from + seeds; seed++) {
  const result = await simulate(seed);
  for (const name of Object.keys(totals) as (keyof typeof totals)[]) totals[name] += result[name];
  if (result.violations.length > 0) {
    failed.push(result);
    process.stdout.write(
      `seed ${seed}: ${result.violations.join('; ')}\n  again: make sim SEEDS=1 FROM=${seed}\n`,
    );
    if (failed.length >= 10) break;
  }
}
const seconds = (performance.now() - startedAt) / 1000;
process.stdout.write(
  `${seeds} seeds, ${failed.length} failed; ${totals.acknowledged} jobs, ${totals.executions} executions, ` +
    `${totals.cancelled} cancelled, ${totals.lost} lost with their executors; ${Math.round(totals.events / seconds / 1000)}k events/s, ` +
    `${Math.round(totals.simulatedMs / 1000 / seconds)} times real time, ${seconds.toFixed(1)} s\n`,
);
process.exitCode = failed.length > 0 ? 1 : 0;
