/** GET /jobs: what is asked for, as a query to the node, and its page as the API shows it. */
import { DEFAULT_LIST_LIMIT, MAX_LIST_LIMIT } from '../api/api.ts';
import { JOB_STATUSES, type JobListJson } from '../api/job-json.ts';
import { asJobId, isJobId } from '../base/ids.ts';
import { asWall } from '../base/instant.ts';
import type { RecordQuery } from '../core/calls.ts';
import type { JobStatus } from '../core/job.ts';
import type { JobPage, MeshService } from '../node/service.ts';
import { LIST_TAIL_BYTES, toJobJson } from './job-view.ts';
import { badQuery, parseNode, Query } from './json-request.ts';

const PARAMETERS = ['limit', 'cursor', 'status', 'task_type', 'node', 'scope'] as const;
type Cursor = NonNullable<JobPage['next']>;

/** @throws MeshError BAD_REQUEST, NODE_NOT_FOUND */
export async function listJobs(service: MeshService, url: string): Promise<JobListJson> {
  const query = new Query(url, PARAMETERS);
  const scope = query.choice('scope', ['mesh', 'node']);
  const { jobs, next, missing } = await service.listJobs(toRecordQuery(service, query), scope);
  return {
    jobs: jobs.map((live) => toJobJson(live, LIST_TAIL_BYTES)),
    count: jobs.length,
    next_cursor: next ? formatCursor(next) : null,
    scope,
    partial: missing.map(({ node, reason }) => ({ node_id: node, reason })),
  };
}

function toRecordQuery(service: MeshService, query: Query): RecordQuery {
  const cursor = query.text('cursor');
  const node = query.text('node');
  const status = query.text('status');
  return {
    limit: query.integer('limit', { min: 1, max: MAX_LIST_LIMIT, fallback: DEFAULT_LIST_LIMIT }),
    before: cursor === undefined ? undefined : parseCursor(cursor),
    statuses: status === undefined ? undefined : parseStatuses(status),
    taskType: query.text('task_type')?.toLowerCase(),
    node: node === undefined ? undefined : parseNode(service, node),
  };
}

/** `completed,JOB_FAILED`: in any case, with or without the prefix. */
function parseStatuses(text: string): JobStatus[] {
  const statuses = text.split(',').map((word) => {
    const name = word
      .trim()
      .toUpperCase()
      .replace(/^(?!JOB_)/, 'JOB_');
    const found = JOB_STATUSES.find((status) => status === name);
    return (
      found ??
      badQuery(`status ${JSON.stringify(word.slice(0, 40))} is none of ${JOB_STATUSES.join(', ')}`)
    );
  });
  return [...new Set(statuses)];
}

/** Opaque to clients, so that what a position is may change. */
const formatCursor = ({ createdAt, job }: Cursor): string =>
  Buffer.from(`${createdAt} ${job}`).toString('base64url');

function parseCursor(text: string): Cursor {
  const [, createdAt, job] =
    /^(\d{1,15}) (.+)$/.exec(Buffer.from(text, 'base64url').toString()) ?? [];
  if (createdAt === undefined || job === undefined || !isJobId(job)) {
    return badQuery('cursor must be the next_cursor of an earlier answer');
  }
  return { createdAt: asWall(Number(createdAt)), job: asJobId(job) };
}
