/**
 * The tables of `worker_<node id>.db`, made for two readers: the node, which needs few and narrow
 * writes, and a person with the sqlite3 tool, who wants to read `jobs` as it stands while the node
 * runs.
 *
 * - Times are integers (milliseconds since 1970): 6 bytes in a row and in an index, and no text
 *   to make on the hot path. The readable `created_at`, `started_at`, … beside them are virtual
 *   columns: RFC 3339 in UTC, computed when somebody reads them, stored nowhere.
 * - `body` is what decides: the job as its owner wrote it, passed on unread by replicas. The
 *   columns beside it are copies for people and for lists, never read back into a job.
 * - `stdout` and `stderr` are virtual as well: the bytes of the outcome's tails lie verbatim in
 *   the body, so a place and a length stand for up to 32 KiB of each that would be there twice.
 * - A final record that ended long ago shrinks to a stub, of which nothing but the end is left: it
 *   is there for nodes that come back late, and in no list.
 * - The indexes: one finds unfinished jobs and serves lists by status, one serves the list of all,
 *   one finds what ended and is not decided or is to be forgotten, one what a peer lacks, one the
 *   newest ids that clients chose. A start looks at nothing else, however many final jobs there are.
 */
import type { SQL } from 'drizzle-orm';
import { blob, index, integer, primaryKey, sql, sqliteTable, text } from './drizzle.ts';

/** RFC 3339 of a column of milliseconds; NULL where it is NULL. */
const instantOf = (column: string): SQL =>
  sql.raw(`strftime('%Y-%m-%dT%H:%M:%fZ', ${column} / 1000.0, 'unixepoch')`);

const partOfBody = (stream: string): SQL =>
  sql.raw(`CAST(substr(body, ${stream}_from, ${stream}_bytes) AS TEXT)`);

/** Conditions of partial indexes; a query uses one only when it says the same words. */
export const isWhole = sql.raw('"is_stub" = 0');
export const isFinal = sql.raw('"finished_ms" IS NOT NULL');
export const isMarked = sql.raw('"lacking" IS NOT NULL');
/** Of ids that no node has made (node/submissions.ts): a client chose it, or its key is hashed. */
export const isChosen = sql.raw(`(length("job_id") <> 25 OR "job_id" NOT GLOB 'job-*')`);

const virtual = { mode: 'virtual' } as const;

export const jobs = sqliteTable(
  'jobs',
  {
    jobId: text('job_id').primaryKey(),
    /**
     * As recorded: JOB_PENDING, JOB_ASSIGNED (granted, perhaps running) or a final one. JOB_UNKNOWN:
     * only a newer version can read the body; the other columns say nothing then.
     */
    status: text('status').notNull(),
    taskType: text('task_type').notNull(),
    command: text('command').notNull(),
    /** Executor of the newest grant, else the pinned target; NULL while nobody is chosen. */
    targetNodeId: text('target_node_id'),
    createdByNode: text('created_by_node').notNull(),
    /** JSON object. */
    env: text('env').notNull(),
    timeoutSeconds: integer('timeout_seconds').notNull(),
    priority: integer('priority').notNull(),
    attempt: integer('attempt').notNull(),
    /** NULL unless a process exited by itself. */
    exitCode: integer('exit_code'),
    errorMessage: text('error_message'),
    createdMs: integer('created_ms').notNull(),
    startedMs: integer('started_ms'),
    finishedMs: integer('finished_ms'),
    updatedMs: integer('updated_ms').notNull(),
    /** Where the tails begin in the body, from 1; NULL: there is none. */
    stdoutFrom: integer('stdout_from'),
    stdoutBytes: integer('stdout_bytes'),
    stderrFrom: integer('stderr_from'),
    stderrBytes: integer('stderr_bytes'),
    createdAt: text('created_at').generatedAlwaysAs(instantOf('created_ms'), virtual),
    startedAt: text('started_at').generatedAlwaysAs(instantOf('started_ms'), virtual),
    finishedAt: text('finished_at').generatedAlwaysAs(instantOf('finished_ms'), virtual),
    updatedAt: text('updated_at').generatedAlwaysAs(instantOf('updated_ms'), virtual),
    stdout: text('stdout').generatedAlwaysAs(partOfBody('stdout'), virtual),
    stderr: text('stderr').generatedAlwaysAs(partOfBody('stderr'), virtual),

    // The replicated header.
    birth: text('birth').notNull(),
    /** Node ids with blanks between. */
    rs: text('rs').notNull(),
    oldRs: text('old_rs').notNull(),
    promisedCounter: integer('promised_counter').notNull(),
    promisedNode: text('promised_node').notNull(),
    acceptedCounter: integer('accepted_counter').notNull(),
    acceptedNode: text('accepted_node').notNull(),
    acceptedVersion: integer('accepted_version').notNull(),
    /** `<counter>.<salt>` */
    writerBoot: text('writer_boot').notNull(),
    minVersion: integer('min_version').notNull(),

    // What this node knows of it beside the value.
    /** Of a final state. 0: not known to be decided, 1: decided, 2: and on every disk of its sets. */
    settled: integer('settled').notNull().default(0),
    /** The peer of a pair that lacks this value, which was decided without it. */
    lacking: text('lacking'),
    isStub: integer('is_stub').notNull().default(0),
    /** Why the body could not be read at the last start; such a row is kept and never trusted. */
    unreadable: text('unreadable'),
    body: blob('body', { mode: 'buffer' }).notNull(),
  },
  (table) => [
    index('jobs_by_status').on(table.status, table.createdMs, table.jobId).where(isWhole),
    index('jobs_by_age').on(table.createdMs, table.jobId).where(isWhole),
    index('jobs_by_end').on(table.settled, table.isStub, table.finishedMs).where(isFinal),
    index('jobs_by_birth').on(table.createdMs).where(isChosen),
    index('jobs_marked').on(table.lacking).where(isMarked),
  ],
);

/** Nothing below this epoch is taken, for jobs of which there is no row in `jobs`. */
export const promises = sqliteTable(
  'promises',
  {
    jobId: text('job_id').primaryKey(),
    counter: integer('counter').notNull(),
    node: text('node').notNull(),
    /** 1: the record was here, and moved away. */
    retired: integer('retired').notNull().default(0),
    /** When it was made or repeated last. */
    madeMs: integer('made_ms').notNull().default(0),
  },
  (table) => [index('promises_by_age').on(table.madeMs)],
);

/** Births of ids that were dropped here for lower ones: whoever comes back with one is told. */
export const lostBirths = sqliteTable(
  'lost_births',
  {
    jobId: text('job_id').notNull(),
    birth: text('birth').notNull(),
    lostMs: integer('lost_ms').notNull(),
  },
  (table) => [
    primaryKey({ columns: [table.jobId, table.birth] }),
    index('lost_births_by_age').on(table.lostMs),
  ],
);

/** Nodes that are never let in again. */
export const bans = sqliteTable('bans', {
  nodeId: text('node_id').primaryKey(),
  name: text('name').notNull(),
  bannedMs: integer('banned_ms').notNull(),
  bannedAt: text('banned_at').generatedAlwaysAs(instantOf('banned_ms'), virtual),
});

/** What a person must know of although the mesh went on; the newest 10,000. */
export const conflicts = sqliteTable(
  'conflicts',
  {
    id: integer('id').primaryKey({ autoIncrement: true }),
    jobId: text('job_id').notNull(),
    /** births, outcomes or forgotten. */
    tag: text('tag').notNull(),
    note: text('note').notNull(),
    foundMs: integer('found_ms').notNull(),
    foundAt: text('found_at').generatedAlwaysAs(instantOf('found_ms'), virtual),
  },
  (table) => [index('conflicts_by_age').on(table.foundMs, table.id)],
);

/** The executor's word that a fence is used up: written before the attempt starts. */
export const started = sqliteTable(
  'started',
  {
    jobId: text('job_id').notNull(),
    /** `<epoch counter>.<node id>.<attempt>` */
    fence: text('fence').notNull(),
    startedMs: integer('started_ms').notNull(),
    startedAt: text('started_at').generatedAlwaysAs(instantOf('started_ms'), virtual),
    /** 1: the outcome was acknowledged; only the fence is remembered. */
    isOver: integer('is_over').notNull(),
    grant: blob('granted', { mode: 'buffer' }).notNull(),
    unreadable: text('unreadable'),
  },
  (table) => [primaryKey({ columns: [table.jobId, table.fence] })],
);

/** Outcomes of attempts that ran here and that no owner has acknowledged. */
export const outbox = sqliteTable(
  'outbox',
  {
    jobId: text('job_id').notNull(),
    fence: text('fence').notNull(),
    /** To whom it goes: node ids with blanks between. */
    rs: text('rs').notNull(),
    outcome: blob('outcome', { mode: 'buffer' }).notNull(),
    unreadable: text('unreadable'),
  },
  (table) => [primaryKey({ columns: [table.jobId, table.fence] })],
);

/** Nodes that were linked once: where a mesh finds itself again without discovery. */
export const workerNodes = sqliteTable('worker_nodes', {
  nodeId: text('node_id').primaryKey(),
  name: text('name').notNull(),
  hostname: text('hostname').notNull(),
  /** `host:port` of its links, the best one. */
  address: text('address').notNull(),
  apiAddress: text('api_address').notNull(),
  /** IDLE, BUSY, DRAINING, FAILED or UNKNOWN, when it was last heard. */
  status: text('status').notNull(),
  version: text('version').notNull(),
  slots: integer('slots').notNull(),
  /** With commas between. */
  supportedTaskTypes: text('supported_task_types').notNull(),
  /** JSON objects. */
  labels: text('labels').notNull(),
  capabilities: text('capabilities').notNull(),
  metadata: text('metadata').notNull(),
  /** All its addresses, best first, with blanks between. */
  hosts: text('hosts').notNull(),
  linkPort: integer('link_port').notNull(),
  bootCounter: integer('boot_counter').notNull(),
  bootSalt: text('boot_salt').notNull(),
  /** Of its disk when it was linked last; 0: it did not tell. */
  commits: integer('commits').notNull().default(0),
  /** Two lives of it were met with this boot counter; 0: none. */
  clonedCounter: integer('cloned_counter').notNull().default(0),
  lastHeartbeatMs: integer('last_heartbeat_ms').notNull(),
  createdMs: integer('created_ms').notNull(),
  updatedMs: integer('updated_ms').notNull(),
  lastHeartbeat: text('last_heartbeat').generatedAlwaysAs(instantOf('last_heartbeat_ms'), virtual),
  createdAt: text('created_at').generatedAlwaysAs(instantOf('created_ms'), virtual),
  updatedAt: text('updated_at').generatedAlwaysAs(instantOf('updated_ms'), virtual),
});

/** Numbers about the file itself: `boots`, `commits`. */
export const meta = sqliteTable('meta', {
  name: text('name').primaryKey(),
  value: integer('value').notNull(),
});
