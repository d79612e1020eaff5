/** Words and pairs as they come from a command line. */
import { InvalidArgumentError } from 'commander';
import { REPLICAS } from '../api/api.ts';
import type { JobJson } from '../api/job-json.ts';
import { parseDurationMs } from '../base/instant.ts';

/** Several words are a program and exactly these arguments; one word is a line for the shell. */
export function toCommand(words: readonly string[]): { command: string } | { argv: string[] } {
  const [only] = words;
  return words.length === 1 && only !== undefined ? { command: only } : { argv: [...words] };
}

/** What a job runs, as one would type it. */
export function commandText(
  job: Pick<JobJson, 'command' | 'run' | 'task_type' | 'params'>,
): string {
  const { argv } = job.run;
  if (Array.isArray(argv)) return wordsText(argv);
  return job.command || paramsText(job) || `(task type ${job.task_type})`;
}

const wordsText = (words: readonly unknown[]): string =>
  words.map((word) => quoteForShell(String(word))).join(' ');

/** The words that `mesh run` would take for them, or nearly. */
function paramsText({ task_type, params }: Pick<JobJson, 'task_type' | 'params'>): string {
  const given = (params ?? {}) as Readonly<Record<string, unknown>>;
  const { method = 'GET', url, image, operation = 'run', id, command = '', code, script } = given;
  switch (task_type) {
    case 'http':
      return `${method} ${url}`;
    case 'python':
      return String(script ?? code ?? '');
    case 'docker':
      if (operation !== 'run') return `${operation} ${id}`;
      return `${image} ${Array.isArray(command) ? wordsText(command) : command}`.trim();
    default:
      return '';
  }
}

export const quoteForShell = (word: string): string =>
  /^[A-Za-z0-9_/:=.,@%+-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;

export type Pairs = Readonly<Record<string, string>>;

/** `NAME=VALUE`, or `NAME` for the value it has here, as env and docker take it. */
export function collectVariable(text: string, before: Pairs = {}): Pairs {
  const at = text.indexOf('=');
  if (at > 0) return { ...before, [text.slice(0, at)]: text.slice(at + 1) };
  const value = process.env[text];
  if (at === 0 || value === undefined) {
    throw new InvalidArgumentError('Write NAME=VALUE, or the NAME of a variable that is set here.');
  }
  return { ...before, [text]: value };
}

export function collectLabel(text: string, before: Pairs = {}): Pairs {
  const at = text.indexOf('=');
  if (at < 1) throw new InvalidArgumentError('Write it as name=value.');
  return { ...before, [text.slice(0, at)]: text.slice(at + 1) };
}

/** `gpu` is short for `gpu=true`. */
export const collectCapability = (text: string, before: Pairs = {}): Pairs =>
  collectLabel(text.includes('=') ? text : `${text}=true`, before);

export const collectText = (text: string, before: readonly string[] = []): readonly string[] => [
  ...before,
  text,
];

export function parseSeconds(text: string): number {
  const ms = parseDurationMs(text);
  if (ms === undefined) throw new InvalidArgumentError('Write it as 90, 30s, 5m or 2h.');
  return ms / 1000;
}

export function parseReplicas(text: string): (typeof REPLICAS)[number] {
  const found = REPLICAS.find((count) => String(count) === text.trim());
  if (found === undefined) throw new InvalidArgumentError(`It must be ${REPLICAS.join(', ')}.`);
  return found;
}

export function parseCount(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new InvalidArgumentError('It must be a whole number.');
  return Number(text);
}
