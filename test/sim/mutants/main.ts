/**
 * `make mutants`: breaks one rule of the core after the other in a copy of the source and counts
 * the seeds until the simulation notices. A mutant that lives through all of them is a hole in the
 * tests. Seeds that fail as the code is are left out.
 */
import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { MUTANTS, type Mutant } from './mutants.ts';

const ROOT = join(import.meta.dirname, '..', '..', '..');
/**
 * A mutant that never comes to an end is noticed as well: by its processor time, of which all seeds
 * together need a quarter, because on a busy machine the time that passes says nothing.
 */
const MOST_CPU_SECONDS = 360;

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '1500' },
    /** Only those whose name contains this. */
    only: { type: 'string', default: '' },
  },
});

const say = (text: string): void => void process.stdout.write(`${text}\n`);
const folder = mkdtempSync(join(tmpdir(), 'mesh-mutants-'));
process.on('exit', () => rmSync(folder, { recursive: true }));

interface Found {
  /** Undefined: nothing broke. */
  readonly seed: number | undefined;
  readonly what: string;
}

prepare();
const skipped = failingSeeds();
if (skipped.length > 0) say(`fail as the code is, and are left out: ${skipped.join(', ')}`);
const mutants = MUTANTS.filter(({ name }) => name.includes(values.only));
const survivors = mutants.filter((mutant) => {
  const { seed, what } = tryOut(mutant);
  say(`${seed === undefined ? 'NOT NOTICED' : `seed ${String(seed).padStart(4)}`}  ${mutant.name}`);
  if (what !== '') say(`             ${what}`);
  return seed === undefined;
});
say(`${survivors.length} of ${mutants.length} mutants live through ${values.seeds} seeds`);
process.exitCode = survivors.length > 0 ? 1 : 0;

function prepare(): void {
  for (const part of ['src', 'test/sim', 'test/conformance', 'package.json'])
    cpSync(join(ROOT, part), join(folder, part), { recursive: true });
  symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'));
}

function simulate(...more: readonly string[]): { readonly out: string; readonly isHung: boolean } {
  const args = [...process.execArgv, 'test/sim/main.ts', '--seeds', values.seeds, ...more];
  const limited = `ulimit -t ${MOST_CPU_SECONDS}; exec "$0" "$@"`;
  const { stdout, stderr, signal, error } = spawnSync(
    'sh',
    ['-c', limited, process.execPath, ...args],
    { cwd: folder, encoding: 'utf8' },
  );
  if (error) throw error;
  return { out: `${stdout}${stderr}`, isHung: signal !== null };
}

function failingSeeds(): number[] {
  const { out } = simulate('--plain');
  return [...out.matchAll(/^seed (\d+):/gm)].map(([, seed]) => Number(seed));
}

function tryOut(mutant: Mutant): Found {
  const file = join(folder, 'src', 'core', mutant.file);
  const source = readFileSync(file, 'utf8');
  const parts = source.split(mutant.from);
  if (parts.length !== 2) return { seed: undefined, what: `its place is not in ${mutant.file}` };
  writeFileSync(file, parts.join(mutant.to));
  const { out, isHung } = simulate('--first', '--skip', skipped.join());
  writeFileSync(file, source);
  if (isHung) return { seed: 0, what: 'it never ends' };
  const noticed = /^seed (\d+): t=\d+ (.*?)(;|$)/m.exec(out);
  if (noticed) return { seed: Number(noticed[1]), what: noticed[2] ?? '' };
  return { seed: undefined, what: /^\d+ seeds, 0 failed/m.test(out) ? '' : out.slice(0, 500) };
}
