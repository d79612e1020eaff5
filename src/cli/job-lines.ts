/** One job as `mesh job` shows it. */
import { isFinalStatus, type JobJson } from '../api/job-json.ts';
import { commandText } from './command-line.ts';
import { progressText } from './progress-text.ts';
import { visible } from './terminal.ts';

type NameOf = (node: string) => string | undefined;

const LABEL_WIDTH = 10;
const MAX_OUTPUT_LINES = 10;
const NO_OWNER = ', which cannot be asked: this is what a replica knew last';

/** Whole, however long: what a table cuts off is looked up here. */
export function jobLines(job: JobJson, nameOf: NameOf): string[] {
  const named = (node: string): string => nameOf(node) ?? node;
  const fields: (readonly [string, string | null])[] = [
    ['Job', job.job_id],
    ['Status', statusText(job)],
    ['Command', commandText(job)],
    ['Node', job.target_node_id && named(job.target_node_id)],
    ['Progress', progressText(job)],
    ['Needs', needsOf(job)],
    ['Reason', job.error_message],
    ['Created', `${job.created_at} at ${named(job.created_by_node)}`],
    ['Started', job.started_at],
    ['Ended', job.finished_at && `${job.finished_at}${durationOf(job)}`],
    ['Timeout', `${job.timeout_seconds} s`],
    ['Owner', `${named(job.owner_node_id)}${job.from_replica ? NO_OWNER : ''}`],
    ['Durable', `${job.durability}, kept by ${job.replicas.map(named).join(', ')}`],
    ['Delivery', job.delivery === 'at_least_once' ? null : job.delivery],
    ['Isolation', job.on_isolation === 'stop' ? null : job.on_isolation],
  ];
  const lines = fields.flatMap(([label, text]) => (text ? [fieldLine(label, text)] : []));
  const history = job.attempts.map(
    ({ attempt, node_id, note, superseded }) =>
      `attempt ${attempt} on ${named(node_id)}: ${note}${superseded ? ' (too late, does not count)' : ''}`,
  );
  const waiting = job.waiting.map((one) => `${named(one.node_id)}: ${one.reason}`);
  return [
    ...lines,
    ...section('Waits, because', waiting),
    ...section('Attempts', history),
    ...outputSection(job),
  ];
}

const fieldLine = (label: string, text: string): string =>
  `${label.padEnd(LABEL_WIDTH)}${visible(text)}`;

const section = (title: string, lines: readonly string[]): string[] =>
  lines.length === 0 ? [] : ['', `${title}:`, ...lines.map((line) => `  ${visible(line)}`)];

function statusText(job: JobJson): string {
  const exit = job.exit_code === null ? '' : `, exit code ${job.exit_code}`;
  const signal = job.signal === null ? '' : `, ${job.signal}`;
  const cancelling = job.cancelling ? ', being cancelled' : '';
  return `${job.status}${exit}${signal}${cancelling}${job.settling ? ', has ended' : ''}`;
}

function needsOf({ labels, required }: JobJson): string | null {
  const pairs = Object.entries({ ...labels, ...required }).map(
    ([name, value]) => `${name}=${value}`,
  );
  return pairs.length === 0 ? null : pairs.join(', ');
}

function durationOf({ started_at, finished_at }: JobJson): string {
  if (started_at === null || finished_at === null) return '';
  return ` (${((Date.parse(finished_at) - Date.parse(started_at)) / 1000).toFixed(1)} s)`;
}

function outputSection(job: JobJson): string[] {
  if (!isFinalStatus(job.status)) return ['', `Its output: mesh logs -f ${job.job_id}`];
  return (['stdout', 'stderr'] as const).flatMap((stream) => {
    const lines = job[stream].replace(/\n$/, '').split('\n');
    if (job[stream] === '') return [];
    const shown = lines.slice(-MAX_OUTPUT_LINES);
    const isCut = shown.length < lines.length || job[`${stream}_truncated`];
    const hint = isCut ? `, the end of ${job[`${stream}_bytes`]} bytes` : '';
    return section(`${stream}${hint}`, shown);
  });
}
