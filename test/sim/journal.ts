/**
 * What happened to one job, line by line, for a person who looks for the cause of a failure:
 * `test/sim/main.ts --seeds 1 --from SEED --job JOB`.
 */
import type { JobId } from '../../src/base/ids.ts';
import type { JobState } from '../../src/core/job.ts';
import type { JobRecord } from '../../src/core/job-record.ts';
import { type Epoch, fenceText, type RecordHeader } from '../../src/core/record.ts';
import type { SimNode } from './sim-node.ts';

export class Journal {
  private readonly job: JobId;
  private readonly print: (line: string) => void;

  constructor(job: JobId, print: (line: string) => void) {
    this.job = job;
    this.print = print;
  }

  /** Noted when the job is named in it. */
  note(at: number, node: SimNode | undefined, what: string, detail: unknown): void {
    const text = textOf(detail);
    if (text.includes(`"${this.job}"`)) this.write(at, node, what, text);
  }

  /** Faults and what members believe concern every job. */
  always(at: number, node: SimNode | undefined, what: string, detail: unknown): void {
    this.write(at, node, what, textOf(detail));
  }

  private write(at: number, node: SimNode | undefined, what: string, text: string): void {
    const who = node ? `n${node.index}` : '--';
    this.print(`${at.toFixed(1).padStart(9)} ${who} ${shortIds(what)} ${text.replace(/"/g, '')}`);
  }
}

/** `n3`: the node's index. */
const shortIds = (text: string): string => text.replace(/node-0*(\d+)/g, (_, index) => `n${index}`);

const LEFT_OUT: ReadonlySet<string> = new Set([
  'spec',
  'load',
  'params',
  'stdout',
  'stderr',
  'contentHash',
  'needs',
  'executorBoot',
]);

const textOf = (value: unknown): string =>
  shortIds(
    JSON.stringify(value, (key, part) => (LEFT_OUT.has(key) ? undefined : brief(part))) ?? '',
  );

function brief(part: unknown): unknown {
  if (typeof part !== 'object' || part === null) return part;
  if ('counter' in part && 'node' in part) return epochText(part as Epoch);
  if ('header' in part && 'job' in part && typeof part.job === 'object') {
    const { header, job, ...rest } = part as JobRecord;
    return { ...rest, job: header.job, record: `${headerText(header)} ${stateText(job.state)}` };
  }
  if ('accepted' in part && 'writerBoot' in part) {
    const header = part as RecordHeader;
    return { job: header.job, header: headerText(header) };
  }
  return part;
}

const epochText = ({ counter, node }: Epoch): string => `${counter}.${node}`;

function headerText({ accepted, promised, rs, oldRs, writerBoot }: RecordHeader): string {
  const old = oldRs.length > 0 ? ` was ${oldRs.join()}` : '';
  return `${epochText(accepted.epoch)} v${accepted.version} promised ${epochText(promised)} boot ${writerBoot.counter} [${rs.join()}${old}]`;
}

function stateText(state: JobState): string {
  if (state.tag === 'pending') return 'pending';
  if (state.tag === 'final')
    return `${state.final.status}${state.final.outcome ? ` by ${fenceText(state.final.outcome.fence)}` : ''}`;
  const cancelled = state.cancelAt === undefined ? '' : ' cancelling';
  return `${state.tag}${cancelled} ${fenceText(state.grant.fence)} at ${state.grant.executor}`;
}
