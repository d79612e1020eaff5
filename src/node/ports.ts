/**
 * What the driver needs of the world. Each interface is implemented by one adapter folder and
 * proven by one conformance suite (test/conformance); adapters never import each other.
 * Every `start` and `stop` is idempotent, `stop` works before `start`, and settles once
 * everything is released.
 */
import type { BootId, JobId, NodeId } from '../base/ids.ts';
import type { Now, WallMs } from '../base/instant.ts';
import type {
  Answer,
  BlobChunk,
  Call,
  OutputChunk,
  OutputRemoval,
  OutputStream,
  RecordQuery,
  TerminalCall,
  TerminalReply,
} from '../core/calls.ts';
import type { DiskAge, KnownDisk } from '../core/disk-ages.ts';
import type { AttemptOrder, Conflict, SupervisedLease, Write } from '../core/effects.ts';
import type { NodeFacts } from '../core/facts.ts';
import type { AttemptReport, StoredState, Survivor } from '../core/inputs.ts';
import type { JobRecord } from '../core/job-record.ts';
import type { Message } from '../core/messages.ts';
import type { Fence } from '../core/record.ts';

export interface Clock {
  now(): Now;
}

// ---------------------------------------------------------------- store

export interface Store {
  /** What a node starts from. */
  restore(): StoredState;
  /**
   * All writes in one transaction, or none; readable at once, and durable with the next `flush`.
   * @throws MeshError DISK_FULL or DATA_FAILED; the same writes may be tried again.
   */
  write(writes: readonly Write[]): void;
  /**
   * Calls `done` once all that was written before is on the disk. One at a time.
   * A failure is final: what was written may be lost, or not.
   */
  flush(done: (failure?: Error) => void): void;
  /** Both in one: durable when it returns. @throws as `write` */
  commit(writes: readonly Write[]): void;
  /** @throws MeshError DATA_CORRUPT when the row cannot be read. */
  readRecord(job: JobId): JobRecord | undefined;
  /** Newest first (created_at, then id, both descending). */
  listRecords(query: RecordQuery): JobRecord[];
  /** Newest first, at most `limit`. */
  listConflicts(limit: number): Conflict[];
  /**
   * Final records that ended before this: those settled everywhere are deleted, the others shrink
   * to a stub (no spec, no output), which goes when it is older than `stubsBefore`. At most
   * `limit` rows; says how many it changed.
   */
  expire(before: WallMs, stubsBefore: WallMs, limit: number): number;
  /** Unfinished and final jobs by recorded status. */
  countByStatus(): Readonly<Record<string, number>>;
  /** Remembered between runs, so that a mesh comes together again without discovery. */
  readPeers(): RememberedPeer[];
  writePeer(peer: PeerRow): void;
  /** Two lives of it were met with this boot counter; of no effect for a node that is not remembered. */
  noteCloned(node: NodeId, counter: number): void;
  /** Transactions that this disk has taken in all its boots. */
  commits(): number;
  close(): void;
}

export interface RememberedPeer extends KnownDisk {
  readonly name: string;
  readonly hosts: readonly string[];
  readonly linkPort: number;
}

/** A row of the table `worker_nodes`. */
export interface PeerRow extends DiskAge {
  readonly facts: NodeFacts;
  /** IDLE, BUSY, DRAINING, FAILED, UNKNOWN. */
  readonly status: string;
  readonly lastHeartbeat: WallMs;
}

/** What an identity of this folder held when the mesh had forgotten it. */
export interface Former {
  readonly node: NodeId;
  /** The member that said so. */
  readonly by: NodeId;
  /** For messages. */
  readonly file: string;
  readPeers(): RememberedPeer[];
  /** Jobs after this one, by id, that are not final, or whose end perhaps nobody else knows. */
  openJobs(after: JobId | undefined, limit: number): readonly FormerJob[];
  /** Durable when it returns. */
  note(job: JobId, fate: Fate): void;
  close(): void;
}

export interface FormerJob {
  readonly job: JobId;
  /** Undefined: it cannot be read. */
  readonly record: JobRecord | undefined;
  /** Undefined: nobody has looked at it yet. */
  readonly fate: Fate | undefined;
}

/** `submitting`: it may have been taken already. */
export type Fate = 'submitting' | 'submitted' | 'listed';

// ---------------------------------------------------------------- links

export interface Links {
  /** Listens; settles with the port. @throws MeshError PORT_IN_USE */
  start(handlers: LinkHandlers): Promise<{ port: number }>;
  /** Ends in exactly one of onUp or onDialFailed for a node that is not linked; a linked one is left as it is. */
  dial(node: NodeId, host: string, port: number): void;
  /** Queued at once, in order; all of one callback go in one write. Dropped when there is no link. */
  send(to: NodeId, messages: readonly Message[]): void;
  /** @throws MeshError NODE_UNREACHABLE without a link or an answer in time; else the error the peer answered with. */
  call(
    to: NodeId,
    call: Call,
    options: { deadlineMs: number; signal?: AbortSignal },
  ): Promise<Answer>;
  hangUp(node: NodeId, reason: string): void;
  stop(): Promise<void>;
}

/** At most one link to a node is up at a time; onDown of the old one comes before onUp of the new. */
export interface LinkHandlers {
  onUp(peer: DiskAge & { node: NodeId; facts: NodeFacts; host: string }): void;
  onDown(peer: { node: NodeId; boot: BootId; reason: string }): void;
  onDialFailed(failure: { node: NodeId; isRefused: boolean; reason: string }): void;
  onMessages(from: { node: NodeId; boot: BootId }, messages: readonly Message[]): void;
  /** A rejection reaches the caller as a MeshError of the same code. `signal` is aborted when the link goes. */
  onCall(from: NodeId, call: Call, signal: AbortSignal): Promise<Answer>;
}

// ---------------------------------------------------------------- discovery

export interface Discovery {
  /** @throws MeshError PORT_IN_USE when another program holds the port for itself. */
  start(
    onHint: (hint: { node: NodeId; boot: BootId; host: string; port: number }) => void,
  ): Promise<void>;
  /** Send the last heartbeat of this life: the peers may notice, nothing hangs on it. */
  stop(): Promise<void>;
  report(): DiscoveryReport;
}

/** For `mesh doctor`. */
export interface DiscoveryReport {
  readonly port: number;
  readonly targets: readonly {
    readonly address: string;
    readonly sent: number;
    readonly lastError?: string;
  }[];
  /** Own broadcasts heard back: proof that broadcast works on this machine. */
  readonly ownHeard: number;
  readonly heard: number;
  readonly dropped: Readonly<Record<string, number>>;
  /** Key ids of other meshes on this network → datagrams. At most 32. */
  readonly otherMeshes: Readonly<Record<string, number>>;
}

// ---------------------------------------------------------------- executors

export type ParamsChecked =
  /** What is wrong with each, in order; undefined: nothing, or it cannot be found out now. Never rejects. */
  | { readonly tag: 'checking'; readonly problems: Promise<readonly (string | undefined)[]> }
  /** The type takes any. */
  | { readonly tag: 'free' }
  /** The type is not known here. */
  | { readonly tag: 'unknown' };

/** Runs attempts of one or more task types. */
export interface Executor {
  /**
   * Settles with the attempts of earlier lives that the supervisor still has; from then on they
   * are reported (one that ended meanwhile: `ended`, after this has settled), prolonged and ended
   * like any other. All else that earlier lives left running has been ended before it settles.
   */
  start(report: (report: AttemptReport) => void): Promise<readonly Survivor[]>;
  /** Never throws: a failure to start is an `ended` report. `running` comes at most once, `ended` exactly once. */
  run(attempt: AttemptOrder): void;
  /** SIGTERM to the whole group, SIGKILL after graceMs; 0: SIGKILL at once. Unknown attempts are ignored. */
  end(job: JobId, fence: Fence, graceMs: number): void;
  /** The supervisor's deadline for this attempt is moved. Unknown attempts are ignored. */
  prolong(job: JobId, fence: Fence, lease: SupervisedLease): void;
  /**
   * The `ended` report of this attempt is on the disk, or nobody wants it: until then a next start
   * reports it again, so that an outcome does not die with its node. Unknown attempts are ignored.
   */
  release(job: JobId, fence: Fence): void;
  /** How the processes of attempts are made. After the start. */
  jobProcesses?(): JobProcesses;
  /** @param params JSON texts */
  checkParams?(taskType: string, params: readonly string[]): ParamsChecked;
  /**
   * No reports come after it has settled. `leave`: running attempts go on under the supervisor
   * until their lease ends, for the next start to adopt; else all are ended at once.
   */
  stop(running?: 'end' | 'leave'): Promise<void>;
}

/**
 * - supervised: started by small shells that outlive the node, as the attempts do until their
 *   leases end.
 * - child_process: children of the node, where the system offers no more; they end with it.
 */
export type JobProcesses = 'supervised' | 'child_process';

/** Terminals that run on this node. */
export interface Terminals {
  /** Never rejects. What nobody reads makes the program in it wait. */
  answer(call: TerminalCall, signal: AbortSignal): Promise<TerminalReply>;
}

/** The kept output of attempts that ran on this node. */
export interface Outputs {
  /**
   * Bytes from `offset` on, at most `maxBytes`. `undefined` when nothing is kept for this attempt.
   * With `waitMs` it waits that long for bytes beyond `offset` while the attempt runs.
   */
  read(
    attempt: { job: JobId; fence: Fence },
    stream: OutputStream,
    range: { offset: number; maxBytes: number; waitMs?: number; signal?: AbortSignal },
  ): Promise<OutputChunk | undefined>;
  /** Why nothing is kept for this attempt; undefined: it never was, or nobody knows any more. */
  whyRemoved(attempt: { job: JobId; fence: Fence }): Promise<OutputRemoval | undefined>;
}

// ---------------------------------------------------------------- blobs

/** Whole files on this node's disk, each named by the SHA-256 of its bytes (64 hex digits). */
export interface Blobs {
  /** Its length; undefined: it is not here, or not whole. */
  find(sha256: string): Promise<number | undefined>;
  /** At most `maxBytes` or 256 KiB; undefined as above. */
  read(sha256: string, range: { offset: number; maxBytes: number }): Promise<BlobChunk | undefined>;
  /** Bytes that are here of one that is not whole. */
  begun(sha256: string): Promise<number>;
  /**
   * Goes on behind what is here of it.
   * @throws MeshError BUSY (it is being written), STORAGE_FULL, DISK_FULL, DATA_FAILED
   */
  write(sha256: string, totalBytes: number): Promise<BlobWriter>;
  /** It is kept for a while longer. */
  noteUse(sha256: string): Promise<void>;
  /** It was found to be damaged. */
  remove(sha256: string): Promise<void>;
  /**
   * A copy at this path, which must not exist. Its bytes are the right ones.
   * @throws MeshError BLOB_NOT_FOUND, BLOB_MISMATCH (what was here was damaged, and is not any more), DISK_FULL
   */
  place(sha256: string, path: string, mode: number): Promise<void>;
}

/** Ends with exactly one of `finish`, `leave` and `discard`, or a failed `append`. */
export interface BlobWriter {
  /** Bytes that are here. */
  readonly offset: number;
  /** One at a time. What fails leaves nothing behind. @throws MeshError DISK_FULL, BLOB_MISMATCH (too long) */
  append(bytes: Uint8Array): Promise<void>;
  /** Of what has come and is not checked yet; less than asked for only at its end. */
  read(offset: number, maxBytes: number): Promise<Uint8Array>;
  /** On the disk, and it is that file. @throws MeshError BLOB_MISMATCH, DISK_FULL; nothing is left then */
  finish(): Promise<void>;
  /** What has come stays, to be gone on with. */
  leave(): Promise<void>;
  discard(): Promise<void>;
}
