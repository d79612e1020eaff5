/** The results as text: tables for a terminal, and one in Markdown for the README. */
import type { ContestantResult, LineResult, Results, RowResult } from './results.ts';

/** Differences below this mean nothing on a machine that does other things too. */
const EVEN = 0.1;

export function tablesOf(row: RowResult): string {
  const lines = row.lines.map((line) => [
    `  ${line.what}, ${line.unit} (${line.better} is better)`,
    ...(line.contestants.length > 0 ? aligned(line) : ['    no figure']),
  ]);
  const without = row.without.map(({ contestant, why }) => `  – ${contestant}: ${why}`);
  return [`\n${row.name}: ${row.what}`, ...lines.flat(), ...without].join('\n');
}

const HEAD = ['', 'median', 'spread', 'mesh / it', '', 'CPU s/10k', 'MB', 'kept'];

/** Columns that are words, the others are numbers. */
const WORDS: readonly string[] = ['', 'kept'];

/** Columns without anything in them are left out. */
function aligned(line: LineResult): string[] {
  const cells = line.contestants.map((each) => cellsOf(line, each));
  const columns = HEAD.map((head, at) => [head, ...cells.map((row) => row[at] ?? '')])
    .filter(([, ...rest]) => rest.some((cell) => cell !== ''))
    .map((column) => {
      const width = Math.max(...column.map((cell) => cell.length));
      const isWords = WORDS.includes(column[0] ?? '');
      return column.map((cell) => (isWords ? cell.padEnd(width) : cell.padStart(width)));
    });
  return [HEAD, ...cells].map((_, i) =>
    `    ${columns.map((each) => each[i]).join('  ')}`.trimEnd(),
  );
}

function cellsOf(line: LineResult, each: ContestantResult): string[] {
  return [
    each.name,
    numeral(each.median),
    each.rounds.length > 1 ? `±${((each.spread / 2) * 100).toFixed(0)} %` : '',
    each.ratio === null ? '' : each.ratio.toFixed(2),
    each.ratio === null ? '' : verdictOf(line, each.ratio),
    each.cpuSecondsPer10kJobs === null ? '' : each.cpuSecondsPer10kJobs.toFixed(2),
    (each.peakMemoryBytes / 1e6).toFixed(0),
    each.keeps,
  ];
}

/** Of the mesh against it. */
export function verdictOf(line: LineResult, ratio: number): 'ahead' | 'even' | 'behind' {
  const gain = line.better === 'more' ? ratio : 1 / ratio;
  if (gain > 1 + EVEN) return 'ahead';
  return gain < 1 / (1 + EVEN) ? 'behind' : 'even';
}

export function numeral(value: number): string {
  if (!Number.isFinite(value)) return '–';
  const digits = Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2;
  return value.toLocaleString('en-GB', {
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  });
}

export function machineLine({ machine }: Results): string {
  const memory = (machine.memoryBytes / 2 ** 30).toFixed(0);
  return `${machine.cores} × ${machine.processor}, ${memory} GiB, ${machine.system}, Node ${machine.node}, commit ${machine.commit}`;
}

/** Lines where others disturbed the measurement, for people. */
export function disturbed(rows: readonly RowResult[], limit = 0.25): string[] {
  return rows
    .filter(({ lines }) =>
      lines.some(({ contestants }) => contestants.some((each) => each.foreignCores > limit)),
    )
    .map(({ name }) => name);
}

export function markdownOf(results: Results): string {
  const head = [
    '| row | figure | mesh | beside it | mesh / it | kept by it |',
    '|---|---|---|---|---|---|',
  ];
  const rows = results.rows.flatMap((row) =>
    row.lines.flatMap((line) => {
      const mesh = line.contestants.find(({ isMesh }) => isMesh);
      if (!mesh) return [];
      const own = `${numeral(mesh.median)} ${line.unit}`;
      const others = line.contestants.filter((each) => each !== mesh);
      const start = `| \`${row.name}\` | ${line.what}`;
      if (others.length === 0) return [`${start} | ${own} | | | |`];
      return others.map((each) => {
        const ratio = each.ratio === null ? '' : each.ratio.toFixed(2);
        return `${start} | ${own} | ${each.name}: ${numeral(each.median)} | ${ratio} | ${each.keeps} |`;
      });
    }),
  );
  return [machineLine(results), '', ...head, ...rows, ''].join('\n');
}
