/** A job as the API shows it. */

export const JOB_STATUSES = [
  'JOB_PENDING',
  'JOB_ASSIGNED',
  'JOB_RUNNING',
  'JOB_COMPLETED',
  'JOB_FAILED',
  'JOB_TIMEOUT',
  'JOB_CANCELLED',
  'JOB_LOST',
] as const;
export type JobStatusName = (typeof JOB_STATUSES)[number];

const UNFINISHED: readonly string[] = ['JOB_PENDING', 'JOB_ASSIGNED', 'JOB_RUNNING'];

/** A final status never changes. */
export const isFinalStatus = (status: string): boolean =>
  JOB_STATUSES.some((known) => known === status) && !UNFINISHED.includes(status);

/** `local`: on one disk, lost with it. `replicated`: on two at least. */
export type Durability = 'local' | 'replicated';

export interface JobJson {
  readonly job_id: string;
  /** Where it runs or ran, or must run; null while no node is elected. */
  readonly target_node_id: string | null;
  /** The same under the name that the answer to a submit has. */
  readonly target_node: string | null;
  readonly command: string;
  readonly task_type: string;
  readonly params: unknown;
  readonly status: JobStatusName;
  /** A cancel was decided; the job's processes are being ended. */
  readonly cancelling: boolean;
  /** It has ended, and its replicas agree on how: its final status follows. */
  readonly settling: boolean;
  readonly env: Readonly<Record<string, string>>;
  readonly working_dir: string | null;
  /** How its node runs it: limits, user, files, … as they were submitted. */
  readonly run: Readonly<Record<string, unknown>>;
  readonly timeout_seconds: number;
  readonly queue_timeout_seconds: number | null;
  readonly total_timeout_seconds: number | null;
  /** 0 to 100, the last that its newest attempt told; null: nothing. */
  readonly progress: number | null;
  /** What came with it. */
  readonly progress_message: string | null;
  readonly priority: number;
  readonly delivery: 'at_least_once' | 'at_most_once';
  readonly on_isolation: 'stop' | 'continue';
  /** Capability → value that its node must have. */
  readonly required: Readonly<Record<string, string>>;
  /** Label → value that its node must have. */
  readonly labels: Readonly<Record<string, string>>;
  /** Null until known, and where a signal or a timeout ended it. */
  readonly exit_code: number | null;
  /** `SIGSEGV`, … when a signal ended it that the mesh did not send. */
  readonly signal: string | null;
  /** The end of what it printed, as UTF-8; the whole is at `/jobs/:id/output`. Empty until it ends. */
  readonly stdout: string;
  readonly stderr: string;
  /** Length of the whole stream as it is kept. */
  readonly stdout_bytes: number;
  readonly stderr_bytes: number;
  /** The text above is not all that the job printed. */
  readonly stdout_truncated: boolean;
  readonly stderr_truncated: boolean;
  /** Of the attempt that decided; null: not known. */
  readonly usage: UsageJson | null;
  /** Any JSON, of task types that have one; null until it ends. */
  readonly result: unknown;
  /** Files that it left and the mesh keeps. */
  readonly files: readonly KeptFileJson[];
  /** Which files that were to be kept are not, and why; null: all are. */
  readonly files_note: string | null;
  /** A sentence that says why it did not complete; null when it did or has not ended. */
  readonly error_message: string | null;
  readonly created_at: string;
  readonly started_at: string | null;
  readonly finished_at: string | null;
  readonly created_by_node: string;
  /** The node that decides about the job. */
  readonly owner_node_id: string;
  /** That node could not be asked: this is the newest that a replica knows. */
  readonly from_replica: boolean;
  /** Of its owner, as counter and node: `3.node-ab…`. The higher decides. */
  readonly epoch: string;
  /** Number of the newest attempt; 0 when none was given to a node yet. */
  readonly attempt: number;
  /** Of the newest attempt that is known here; null: none. */
  readonly fence: string | null;
  /** Oldest first, superseded ones among them. */
  readonly attempts: readonly AttemptJson[];
  /** Of these, the ones whose outcome came too late to count. */
  readonly superseded: readonly AttemptJson[];
  /** While it waits: each node's own reason, by node. */
  readonly waiting: readonly WaitingJson[];
  readonly durability: Durability;
  /** Ids of the nodes that keep its record, the owner among them. */
  readonly replicas: readonly string[];
  /** Disks that were demanded before it was taken; null: none in particular. */
  readonly replicas_wanted: number | null;
}

/** What an attempt took; null: not known on this platform. */
export interface UsageJson {
  readonly wall_seconds: number;
  /** User and system time of all its processes. */
  readonly cpu_seconds: number | null;
  readonly peak_memory_bytes: number | null;
  /**
   * What has kept it to its limits: a cgroup counts all its processes together, rlimits each for
   * itself; null: it had none.
   */
  readonly limits_by: 'cgroup' | 'rlimit' | null;
  readonly output_bytes: number;
}

export interface KeptFileJson {
  /** Relative to its working folder. */
  readonly path: string;
  readonly bytes: number;
  readonly sha256: string;
}

export interface JobFilesJson {
  readonly job_id: string;
  readonly status: JobStatusName;
  /** Empty until the job has ended. */
  readonly files: readonly KeptFileJson[];
  readonly count: number;
}

/** The answer to an upload. */
export interface UploadedJson {
  readonly sha256: string;
  /** That are on the node's disk. */
  readonly bytes: number;
  /** All of them are, and they are that file. */
  readonly complete: boolean;
}

export interface AttemptJson {
  readonly attempt: number;
  /** Epoch and attempt, the value of X-Mesh-Attempt. */
  readonly fence: string;
  readonly node_id: string;
  readonly at: string;
  /** What became of it, or why this node was chosen. */
  readonly note: string;
  /** Its outcome came when another had been decided. */
  readonly superseded: boolean;
}

export interface WaitingJson {
  readonly node_id: string;
  readonly reason: string;
}

/** The answer to a submit. */
export interface SubmittedJson {
  readonly job_id: string;
  readonly target_node: string | null;
  readonly target_node_id: string | null;
  readonly command: string;
  readonly status: JobStatusName;
  readonly created_at: string;
  readonly durability: Durability;
}

export interface JobListJson {
  /** Newest first. */
  readonly jobs: readonly JobJson[];
  readonly count: number;
  /** For the next page; null: there is none. */
  readonly next_cursor: string | null;
  readonly scope: 'mesh' | 'node';
  /** Nodes whose jobs may be missing from the list. */
  readonly partial: readonly WaitingJson[];
}

export interface CancelledJson {
  readonly job_id: string;
  /** `cancelling`: decided, its processes are being ended. */
  readonly status: 'cancelled' | 'cancelling';
  readonly message: string;
}

export interface ExplanationJson {
  readonly job_id: string;
  readonly status: JobStatusName;
  /** Sentences, in the order to be read. */
  readonly summary: readonly string[];
  readonly waiting: readonly WaitingJson[];
  readonly attempts: readonly AttemptJson[];
  readonly superseded: readonly AttemptJson[];
}
