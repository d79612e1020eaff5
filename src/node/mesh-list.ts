/**
 * One list of jobs out of the lists of all nodes. Up to three of them keep the same job; the row of
 * the node that decides counts. Where that node has answered and does not list the job, it is not
 * what was asked for, whatever an older copy says.
 *
 * A node answers with its newest rows, as many as were asked for. Beyond the last row of a full
 * answer there may be more there, so the merged list ends where the first of the full answers does,
 * and goes on from there.
 */
import { compareText, type NodeId } from '../base/ids.ts';
import type { LiveRecord } from '../core/calls.ts';
import { isBetter } from './finder.ts';
import type { JobPage } from './service.ts';

/** What one node has of it, newest first. */
export interface NodeRows {
  readonly node: NodeId;
  readonly rows: readonly LiveRecord[];
}

type Position = NonNullable<JobPage['next']>;

/** @param limit rows asked of each node, and given at most */
export function mergeRows(
  answers: readonly NodeRows[],
  limit: number,
): { jobs: LiveRecord[]; next: Position | undefined } {
  const answered = new Set(answers.map(({ node }) => node));
  const best = new Map<string, LiveRecord>();
  for (const { node, rows } of answers) {
    for (const row of rows) {
      const { job } = row.record.header;
      if (isCounted(row, node, answered) && isBetter(row, best.get(job))) best.set(job, row);
    }
  }
  const horizon = horizonOf(answers, limit);
  const known = [...best.values()]
    .sort((a, b) => compareAge(positionOf(a), positionOf(b)))
    .filter((row) => !horizon || compareAge(positionOf(row), horizon) <= 0);
  const jobs = known.slice(0, limit);
  const last = jobs.at(-1);
  return { jobs, next: last && known.length > limit ? positionOf(last) : horizon };
}

/** A copy tells only of a job whose decider did not answer itself. */
function isCounted(row: LiveRecord, node: NodeId, answered: ReadonlySet<NodeId>): boolean {
  const decider = row.record.header.promised.node;
  return row.isOwner || decider === node || !answered.has(decider);
}

/** The newest of the last rows of full answers; undefined: every answer was whole. */
function horizonOf(answers: readonly NodeRows[], limit: number): Position | undefined {
  return answers
    .filter(({ rows }) => rows.length >= limit)
    .flatMap(({ rows }) => rows.slice(-1).map(positionOf))
    .sort(compareAge)[0];
}

const positionOf = ({ record }: LiveRecord): Position => ({
  createdAt: record.job.createdAt,
  job: record.header.job,
});

/** The newer first. */
const compareAge = (a: Position, b: Position): number =>
  b.createdAt - a.createdAt || compareText(b.job, a.job);
