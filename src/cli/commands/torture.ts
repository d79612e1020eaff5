/** `mesh torture`: see for yourself what the mesh survives. The work is in src/torture. */
import { realpathSync } from 'node:fs';
import { type Command, InvalidArgumentError } from 'commander';
import { FAULTS, type FaultKind, isFaultKind } from '../../torture/plan.ts';
import type { Progress, TortureOptions, TortureResult } from '../../torture/torture.ts';
import { parseCount } from '../command-line.ts';
import type { CommandTree } from '../command-tree.ts';
import { EXIT } from '../exit-codes.ts';
import { clip, print, printJson, terminalWidth, visible } from '../terminal.ts';

interface Flags {
  readonly nodes: number;
  readonly minutes?: number;
  readonly seconds?: number;
  readonly seed?: number;
  readonly faults?: readonly FaultKind[];
  readonly jobsPerSecond: number;
  readonly outage?: number;
  readonly report?: string;
  readonly namespaces?: boolean;
  readonly json?: boolean;
}

const MAX_JOBS_PER_SECOND = 100;
const MAX_MINUTES = 24 * 60;
const DEFAULT_MINUTES = 10;
const SEEDS = 1_000_000;

const EXAMPLES = `
Examples:
  mesh torture --seconds 60
  mesh torture --minutes 10 --seed 7 --faults kill,host
  sudo mesh torture --namespaces           # with network cuts and packet loss

It starts nodes of its own with a key of their own, and touches nothing else.
Exit code: 0 every promise was kept, 1 one was broken (the nodes' logs and
data are left beside the report), 2 the command line was wrong. Ctrl-C heals,
ends everything and still reports.

Faults (default: all that can be done here):
`;

export function addTorture(tree: CommandTree): void {
  tree
    .local('torture', 'Break a mesh of its own in every way, and check every promise')
    .option('--nodes <number>', 'so many nodes, 1 to 9', parseNodes, 3)
    .option('--minutes <number>', 'faults and jobs for so long (10)', numberUpTo(MAX_MINUTES))
    .option('--seconds <number>', 'the same in seconds', numberUpTo(MAX_MINUTES * 60))
    .option('--seed <number>', 'plan the faults and jobs of this seed', parseCount)
    .option('--faults <kind,…>', 'only these faults, or none', parseFaults)
    .option('--jobs-per-second <number>', 'submit so many', numberUpTo(MAX_JOBS_PER_SECOND), 4)
    .option('--outage <seconds>', 'no outage lasts longer (20): more faults', numberUpTo(20))
    .option('--namespaces', 'each node on a network host of its own (root on Linux)')
    .option('--report <dir>', 'write report.html and report.json into this folder')
    .addHelpText('after', EXAMPLES + faultsHelp())
    .action(async (flags: Flags, command: Command) => {
      tree.exitCode = await torture(flags, command);
    });
}

async function torture(flags: Flags, command: Command): Promise<number> {
  const options = await toOptions(flags, command);
  const { runTorture } = await import('../../torture/torture.ts');
  const stop = new AbortController();
  const interrupt = (): void => stop.abort();
  process.on('SIGINT', interrupt).on('SIGTERM', interrupt).on('SIGHUP', interrupt);
  const line = flags.json ? undefined : new ProgressLine(options);
  try {
    const result = await runTorture(options, stop.signal, (progress) => line?.show(progress));
    line?.clear();
    if (flags.json) printJson({ ...result.report, report_dir: result.reportDir });
    else await printResult(result);
    if (result.report.violations.length > 0) return EXIT.failed;
    return stop.signal.aborted ? EXIT.interrupted : EXIT.ok;
  } finally {
    process.off('SIGINT', interrupt).off('SIGTERM', interrupt).off('SIGHUP', interrupt);
  }
}

async function toOptions(flags: Flags, command: Command): Promise<TortureOptions> {
  const { whyNoFault, whyNoNamespaces } = await import('../../torture/available.ts');
  const { nodes, minutes, seconds, namespaces: hasNamespaces = false } = flags;
  const wrong = (sentence: string): never => command.error(`error: ${sentence}`, { exitCode: 2 });
  if (minutes !== undefined && seconds !== undefined) wrong('give --minutes or --seconds.');
  const noNamespaces = hasNamespaces ? whyNoNamespaces() : undefined;
  if (noNamespaces !== undefined) wrong(`--namespaces cannot be had here: ${noNamespaces}.`);
  const asked = flags.faults ?? (Object.keys(FAULTS) as FaultKind[]);
  const reasons = asked.map((kind) => ({ kind, why: whyNoFault(kind, { nodes, hasNamespaces }) }));
  const impossible = reasons.filter(({ why }) => why !== undefined);
  const [first] = impossible;
  if (flags.faults && first) wrong(`the fault ${first.kind} cannot be had here: ${first.why}.`);
  const options = {
    nodes,
    durationMs: (seconds ?? (minutes ?? DEFAULT_MINUTES) * 60) * 1000,
    seed: flags.seed ?? Date.now() % SEEDS,
    faults: reasons.filter(({ why }) => why === undefined).map(({ kind }) => kind),
    jobsPerSecond: flags.jobsPerSecond,
    longestMs: flags.outage === undefined ? undefined : flags.outage * 1000,
    hasNamespaces,
    reportDir: flags.report,
    entry: realpathSync(process.argv[1] ?? ''),
    skipped: impossible.map(({ kind, why }) => `the fault ${kind}: ${why}.`),
  };
  return { ...options, repeat: repeatOf(options) };
}

/** What is planned depends on each of these. */
const repeatOf = (options: Omit<TortureOptions, 'repeat'>): string =>
  [
    `mesh torture --nodes ${options.nodes} --seconds ${options.durationMs / 1000}`,
    `--seed ${options.seed} --jobs-per-second ${options.jobsPerSecond}`,
    ...(options.longestMs === undefined ? [] : [`--outage ${options.longestMs / 1000}`]),
    ...(options.hasNamespaces ? ['--namespaces'] : []),
    `--faults ${options.faults.join(',') || 'none'}`,
  ].join(' ');

// ---------------------------------------------------------------- the words

function parseNodes(text: string): number {
  if (/^[1-9]$/.test(text)) return Number(text);
  throw new InvalidArgumentError('It must be a whole number from 1 to 9.');
}

function numberUpTo(most: number): (text: string) => number {
  return (text) => {
    const value = /^\d+(\.\d+)?$/.test(text) ? Number(text) : 0;
    if (value > 0 && value <= most) return value;
    throw new InvalidArgumentError(`It must be a number above 0, ${most} at most.`);
  };
}

function parseFaults(text: string): FaultKind[] {
  if (text === 'none') return [];
  const words = [...new Set(text.split(',').map((word) => word.trim()))];
  return words.map((word) => {
    if (isFaultKind(word)) return word;
    throw new InvalidArgumentError(`Choose from ${Object.keys(FAULTS).join(', ')}, or none.`);
  });
}

const faultsHelp = (): string =>
  Object.entries(FAULTS)
    .map(([kind, meaning]) => `  ${kind.padEnd(12)} ${meaning}`)
    .join('\n');

// ---------------------------------------------------------------- the terminal

const SLOW_LINE_MS = 10_000;

/** Drawn in place on a terminal; elsewhere a line now and then. */
class ProgressLine {
  private readonly durationMs: number;
  private shownAt = Number.NEGATIVE_INFINITY;

  constructor({ durationMs, nodes, seed, faults }: TortureOptions) {
    this.durationMs = durationMs;
    const kinds = faults.length > 0 ? faults.join(', ') : 'none';
    print(`${nodes} nodes, ${durationMs / 1000} s, seed ${seed}. Faults: ${kinds}.`);
  }

  show(progress: Progress): void {
    const { isTTY } = process.stdout;
    const now = performance.now();
    if (!isTTY && now - this.shownAt < SLOW_LINE_MS) return;
    this.shownAt = now;
    const text = clip(visible(this.textOf(progress)), terminalWidth() - 1);
    process.stdout.write(isTTY ? `\r\x1b[2K${text}` : `${text}\n`);
  }

  clear(): void {
    if (process.stdout.isTTY) process.stdout.write('\r\x1b[2K');
  }

  private textOf({ phase, elapsedMs, living, acknowledged, unfinished, faults }: Progress): string {
    const seconds = `${Math.round(elapsedMs / 1000)}/${this.durationMs / 1000} s`;
    const time = phase === 'running' ? seconds : phase;
    const jobs = `${acknowledged} jobs, ${unfinished} unfinished`;
    return `${time}  ${living} nodes up  ${jobs}  ${faults.join('; ') || 'no fault'}`;
  }
}

async function printResult({ report, reportDir }: TortureResult): Promise<void> {
  const { reportLines } = await import('../../torture/report.ts');
  for (const line of reportLines(report)) print(visible(line));
  print(`Report: ${reportDir}/report.html`);
}
