/**
 * Which files the jobs that this node keeps name: inputs of jobs that may still run, and what
 * jobs have left. The texts are not read, only searched for names: how a job is run is its
 * executor's business.
 */
import type { JobSpec } from '../core/job.ts';
import type { JobRecord } from '../core/job-record.ts';
import type { Store } from './ports.ts';

const ROWS_A_STEP = 500;
const NAME = /\b[0-9a-f]{64}\b/g;

/** In steps, so that a store of a million jobs does not hold up the loop. */
export async function namedByJobs(
  store: Pick<Store, 'listRecords'>,
  among: ReadonlySet<string>,
): Promise<ReadonlySet<string>> {
  const found = new Set<string>();
  let before:
    | { createdAt: JobRecord['job']['createdAt']; job: JobRecord['header']['job'] }
    | undefined;
  while (found.size < among.size) {
    const rows = store.listRecords({ limit: ROWS_A_STEP, before });
    for (const row of rows) for (const name of namesIn(row)) if (among.has(name)) found.add(name);
    const last = rows.at(-1);
    if (!last || rows.length < ROWS_A_STEP) break;
    before = { createdAt: last.job.createdAt, job: last.header.job };
    await new Promise((resolve) => setImmediate(resolve));
  }
  return found;
}

/** Inputs of a job; each once. */
export const namedIn = ({ run }: Pick<JobSpec, 'run'>): readonly string[] =>
  run === '{}' ? [] : [...new Set(run.match(NAME))];

function namesIn({ job: { spec, state } }: JobRecord): readonly string[] {
  if (state.tag !== 'final') return namedIn(spec);
  return (state.final.outcome?.receipt?.files ?? []).map(({ sha256 }) => sha256);
}
