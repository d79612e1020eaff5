/**
 * The HTTP contract: what the REST API takes and answers. The server and the client are both
 * written against this folder, so neither can drift from the other.
 *
 * Names are those of the API that users of Worker Mesh know: snake_case, statuses in capitals
 * with `JOB_`, times in RFC 3339 with milliseconds, a field that has no value is null and not
 * missing. Requests are strict: a field nobody knows is refused by name, because a misspelt
 * `timeout_second` that is silently ignored costs more than an error. Answers may grow fields.
 */

export const API_PREFIX = '/api/v1';

/** Paths with `:id` in the way routers write it. */
export const PATHS = {
  card: '/',
  health: `${API_PREFIX}/health`,
  status: `${API_PREFIX}/status`,
  peers: `${API_PREFIX}/peers`,
  nodes: `${API_PREFIX}/nodes`,
  forget: `${API_PREFIX}/nodes/:id/forget`,
  jobs: `${API_PREFIX}/jobs`,
  job: `${API_PREFIX}/jobs/:id`,
  output: `${API_PREFIX}/jobs/:id/output`,
  jobEvents: `${API_PREFIX}/jobs/:id/events`,
  terminal: `${API_PREFIX}/jobs/:id/terminal`,
  explain: `${API_PREFIX}/jobs/:id/explain`,
  cancel: `${API_PREFIX}/jobs/:id/cancel`,
  events: `${API_PREFIX}/events`,
  /** Files that a job has left, and one of them by its path. */
  files: `${API_PREFIX}/jobs/:id/files`,
  file: `${API_PREFIX}/jobs/:id/files/:rest{.+}`,
  /** A file by the SHA-256 of its bytes. */
  blob: `${API_PREFIX}/blobs/:id`,
  conflicts: `${API_PREFIX}/conflicts`,
  drain: `${API_PREFIX}/drain`,
  doctor: `${API_PREFIX}/doctor`,
  workers: `${API_PREFIX}/workers`,
  workerClaim: `${API_PREFIX}/workers/claim`,
  workerHeartbeat: `${API_PREFIX}/workers/jobs/:id/heartbeat`,
  workerProgress: `${API_PREFIX}/workers/jobs/:id/progress`,
  workerOutput: `${API_PREFIX}/workers/jobs/:id/output`,
  workerComplete: `${API_PREFIX}/workers/jobs/:id/complete`,
  workerFail: `${API_PREFIX}/workers/jobs/:id/fail`,
} as const;

export const HEADERS = {
  /** On every answer: the node that gave it. */
  node: 'X-Node-ID',
  /** Of a job that a worker has got. */
  job: 'X-Mesh-Job',
  /** Of an output: the attempt these bytes are of, as its fence in text form; of a worker: its own. */
  attempt: 'X-Mesh-Attempt',
  /** Of an output: where its first byte lies in the stream. Of an upload: how many bytes are here. */
  offset: 'X-Mesh-Offset',
  /** Of an output: `true` when the job printed more than is kept. */
  truncated: 'X-Mesh-Truncated',
  /** Of an output of a job that has ended: the length of the whole stream. */
  total: 'X-Mesh-Total-Bytes',
  /** Of an output: `true` when its node cannot be asked and these bytes came with the outcome. */
  tail: 'X-Mesh-Tail',
  idempotencyKey: 'Idempotency-Key',
} as const;

export const DEFAULT_LIST_LIMIT = 50;
export const MAX_LIST_LIMIT = 1000;
export const DEFAULT_CONFLICT_LIMIT = 100;
export const MAX_CONFLICT_LIMIT = 1000;
/** Jobs in one POST. */
export const MAX_BULK_JOBS = 1000;
/** A node answers `GET /jobs/:id?wait_seconds=` at the latest after so long. */
export const MAX_WAIT_SECONDS = 60;

/** Values of fields of a job; the first is the default. */
export const DELIVERIES = ['at_least_once', 'at_most_once'] as const;
export const ON_ISOLATION = ['stop', 'continue'] as const;
/** Disks that can be demanded: no job is kept on more. */
export const REPLICAS = [1, 2, 3] as const;

/** To hand over the jobs of a node that is started again at once. */
export const RESTART_DEADLINE_SECONDS = 3;

/** What a token allows; each includes the ones before it. */
export const ROLES = ['read', 'submit', 'admin'] as const;
export type Role = (typeof ROLES)[number];

export const includesRole = (given: Role, needed: Role): boolean =>
  ROLES.indexOf(given) >= ROLES.indexOf(needed);
