/** The calls of the SDK. */
import { HEADERS, MAX_WAIT_SECONDS, PATHS } from '../api/api.ts';
import {
  type CancelledJson,
  type ExplanationJson,
  isFinalStatus,
  type JobFilesJson,
  type JobJson,
  type JobListJson,
  type SubmittedJson,
  type UploadedJson,
} from '../api/job-json.ts';
import type { JobRequest } from '../api/job-request.ts';
import type {
  ConflictListJson,
  DoctorJson,
  DrainingJson,
  DrainWay,
  ForgottenJson,
  HealthJson,
  NodeListJson,
  PeerListJson,
  StatusJson,
} from '../api/node-json.ts';
import type { ProblemJson } from '../api/problem.ts';
import { type EventOptions, followEvents, type JobEvent } from './events.ts';
import {
  type DownloadOptions,
  download,
  filePath,
  type UploadOptions,
  type UploadSource,
  upload,
} from './files.ts';
import { type OutputOptions, readOutput } from './output.ts';
import { type ClientOptions, Requests, withQuery } from './request.ts';

export type { ClientOptions, EventOptions, JobEvent, OutputOptions };

export interface JobFilter {
  /** 1 to 1,000; default 50. */
  readonly limit?: number | undefined;
  readonly cursor?: string | undefined;
  /** Any of them, in any case, with or without `JOB_`. */
  readonly status?: readonly string[] | undefined;
  readonly taskType?: string | undefined;
  /** Id or name of the node that runs or ran it. */
  readonly node?: string | undefined;
  /** `mesh` (default): all nodes are asked. */
  readonly scope?: 'mesh' | 'node' | undefined;
}

export interface BulkAnswer {
  /** In the order of the request; a refused one has a problem and no job_id. */
  readonly jobs: readonly (SubmittedJson | { readonly problem: ProblemJson })[];
  readonly count: number;
  readonly accepted: number;
  readonly refused: number;
}

interface Stoppable {
  readonly signal?: AbortSignal | undefined;
}

/** All reject with a MeshError; with the reason of `signal` when that is aborted. */
export interface Client {
  /** With `idempotencyKey`, or an id in the job, it may be repeated: the same job is answered. */
  submit(
    job: JobRequest,
    options?: Stoppable & { idempotencyKey?: string },
  ): Promise<SubmittedJson>;
  /** 1 to 1,000 jobs, each with its own outcome. */
  submitMany(jobs: readonly JobRequest[], options?: Stoppable): Promise<BulkAnswer>;
  /** With `waitSeconds` (0 to 60) the answer comes when the job has ended, or after so long. */
  getJob(id: string, options?: Stoppable & { waitSeconds?: number | undefined }): Promise<JobJson>;
  listJobs(filter?: JobFilter, options?: Stoppable): Promise<JobListJson>;
  explain(id: string, options?: Stoppable): Promise<ExplanationJson>;
  cancel(id: string, options?: Stoppable): Promise<CancelledJson>;
  /** What the newest attempt printed, piece by piece; goes on by itself after a broken connection. */
  output(id: string, options?: OutputOptions): AsyncGenerator<Uint8Array, void, void>;
  /** To the node that is asked, for jobs to name as an input; goes on by itself after a break. */
  upload(source: UploadSource, options?: UploadOptions): Promise<UploadedJson>;
  /** What the job has left; empty until it has ended. */
  files(id: string, options?: Stoppable): Promise<JobFilesJson>;
  /**
   * One of these files, piece by piece; goes on by itself after a broken connection. Its hash is in
   * the list: whoever has all the bytes can check them.
   */
  download(
    id: string,
    path: string,
    options?: DownloadOptions,
  ): AsyncGenerator<Uint8Array, void, void>;
  /**
   * All that happens to a job until it has ended, with both streams of each attempt; goes on by
   * itself, at another node if need be. The last event is its end.
   */
  events(id: string, options?: EventOptions): AsyncGenerator<JobEvent, void, void>;
  /** The job once it has ended. */
  waitFor(id: string, options?: Stoppable): Promise<JobJson>;
  peers(options?: Stoppable): Promise<PeerListJson>;
  nodes(options?: Stoppable): Promise<NodeListJson>;
  status(options?: Stoppable): Promise<StatusJson>;
  /** Also when the node is not healthy. */
  health(options?: Stoppable): Promise<HealthJson>;
  /** The node that is asked goes; `stop` where no way is given. */
  drain(
    options?: Stoppable & { deadlineSeconds?: number | undefined; way?: DrainWay | undefined },
  ): Promise<DrainingJson>;
  /** What the mesh went on from and a person should know of; newest first, 1 to 1,000, default 100. */
  conflicts(options?: Stoppable & { limit?: number | undefined }): Promise<ConflictListJson>;
  /** Bans a node, by id or name, that will not return. With `force` also one that is alive. */
  forget(
    node: string,
    options?: Stoppable & { force?: boolean | undefined },
  ): Promise<ForgottenJson>;
  doctor(options?: Stoppable): Promise<DoctorJson>;
}

/** @throws MeshError BAD_REQUEST when the address is none */
export function createClient(options: ClientOptions): Client {
  const requests = new Requests(options);
  return { ...jobCalls(requests), ...nodeCalls(requests) };
}

type JobCalls = Pick<
  Client,
  | 'upload'
  | 'files'
  | 'download'
  | 'submit'
  | 'submitMany'
  | 'getJob'
  | 'listJobs'
  | 'explain'
  | 'cancel'
  | 'output'
  | 'events'
  | 'waitFor'
>;

function jobCalls(requests: Requests): JobCalls {
  return {
    submit: (job, { idempotencyKey, signal } = {}) =>
      requests.json(PATHS.jobs, {
        method: 'POST',
        body: job,
        signal,
        ...(idempotencyKey !== undefined && {
          headers: { [HEADERS.idempotencyKey]: idempotencyKey },
        }),
      }),
    submitMany: (jobs, { signal } = {}) =>
      requests.json(PATHS.jobs, { method: 'POST', body: jobs, signal }),
    getJob: (id, { waitSeconds, signal } = {}) =>
      requests.jsonAnywhere(withQuery(pathOf(PATHS.job, id), { wait_seconds: waitSeconds }), {
        signal,
      }),
    listJobs: (filter = {}, { signal } = {}) => requests.json(listPath(filter), { signal }),
    explain: (id, { signal } = {}) => requests.json(pathOf(PATHS.explain, id), { signal }),
    cancel: (id, { signal } = {}) =>
      requests.jsonAnywhere(pathOf(PATHS.cancel, id), { method: 'POST', body: {}, signal }),
    upload: (source, options = {}) => upload(requests, source, options),
    files: (id, { signal } = {}) => requests.jsonAnywhere(pathOf(PATHS.files, id), { signal }),
    download: (id, path, options = {}) => download(requests, filePath(id, path), options),
    output: (id, options = {}) => readOutput(requests, pathOf(PATHS.output, id), options),
    events: (id, options = {}) => followEvents(requests, pathOf(PATHS.jobEvents, id), options),
    waitFor: (id, { signal } = {}) => waitFor(requests, id, signal),
  };
}

function nodeCalls(requests: Requests): Omit<Client, keyof JobCalls> {
  return {
    peers: ({ signal } = {}) => requests.json(PATHS.peers, { signal }),
    nodes: ({ signal } = {}) => requests.json(PATHS.nodes, { signal }),
    status: ({ signal } = {}) => requests.json(PATHS.status, { signal }),
    health: ({ signal } = {}) => health(requests, signal),
    drain: ({ deadlineSeconds, way, signal } = {}) =>
      requests.json(PATHS.drain, {
        method: 'POST',
        body: { deadline_seconds: deadlineSeconds, way },
        signal,
      }),
    conflicts: ({ limit, signal } = {}) =>
      requests.json(withQuery(PATHS.conflicts, { limit }), { signal }),
    forget: (node, { force, signal } = {}) =>
      requests.json(pathOf(PATHS.forget, node), { method: 'POST', body: { force }, signal }),
    doctor: ({ signal } = {}) => requests.json(PATHS.doctor, { signal }),
  };
}

const pathOf = (path: string, id: string): string => path.replace(':id', encodeURIComponent(id));

function listPath(filter: JobFilter): string {
  const { limit, cursor, status, taskType, node, scope } = filter;
  const statuses = status && status.length > 0 ? status.join(',') : undefined;
  return withQuery(PATHS.jobs, {
    limit,
    cursor,
    status: statuses,
    task_type: taskType,
    node,
    scope,
  });
}

/** The node holds each question until the job ends, or for a minute at most. */
async function waitFor(
  requests: Requests,
  id: string,
  signal: AbortSignal | undefined,
): Promise<JobJson> {
  const path = withQuery(pathOf(PATHS.job, id), { wait_seconds: MAX_WAIT_SECONDS });
  for (;;) {
    const job = await requests.jsonAnywhere<JobJson>(path, { signal });
    if (isFinalStatus(job.status)) return job;
  }
}

async function health(requests: Requests, signal: AbortSignal | undefined): Promise<HealthJson> {
  const response = await requests.fetch(PATHS.health, { signal });
  // An unhealthy node answers 503 with the same shape; anything else is a problem.
  if (response.status !== 503) return requests.json(PATHS.health, { signal });
  return (await response.json()) as HealthJson;
}
