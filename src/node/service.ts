/**
 * What a node does for those who talk to it: the REST API, an embedding program, tests. Domain
 * values in, domain values out; `src/http` turns them into JSON of the documented shapes.
 */
import type { BootId, JobId, NodeId } from '../base/ids.ts';
import type { WallMs } from '../base/instant.ts';
import type {
  LiveRecord,
  OutputChunk,
  OutputStream,
  RecordQuery,
  TerminalAsk,
  TerminalReply,
} from '../core/calls.ts';
import type { Owned } from '../core/core.ts';
import type { Conflict, MeshEvent, Reply } from '../core/effects.ts';
import type { Load, NodeFacts } from '../core/facts.ts';
import type { Leaving } from '../core/inputs.ts';
import type { AttemptOutcome, JobSpec } from '../core/job.ts';
import type { MemberState } from '../core/member.ts';
import type { Ban, Fence } from '../core/record.ts';
import type { DiscoveryReport, JobProcesses } from './ports.ts';
import type { TerminalPlace } from './terminal-calls.ts';

export interface MeshService {
  readonly facts: NodeFacts;
  readonly boot: BootId;
  health(): Health;
  /** This node as its peers see it. */
  load(): Load;
  /** What waits for this node and no other. */
  owned(): Owned;
  /** All known members but this node, by node id: alive, suspect and recently dead ones. */
  peers(): PeerView[];
  discovery(): DiscoveryReport;
  /** Undefined: not known yet. */
  jobProcesses(): JobProcesses | undefined;
  /** Nodes that do not answer and for which jobs kept here wait. */
  missedNodes(): MissedNode[];
  /**
   * Node by full id, unique id prefix of 6 or more digits, or unique name; undefined: none or
   * several. Those that are not listed any more are known as long as their address is.
   */
  findNode(idOrName: string): NodeId | undefined;

  /** One outcome each, in order. All are made durable together. Never rejects for one bad submission. */
  submit(requests: readonly SubmitRequest[]): Promise<SubmitResult[]>;
  /**
   * As its owner knows it; while no node decides about it, as the best of its replicas does.
   * @throws MeshError JOB_NOT_FOUND, NOT_KNOWABLE (some node could not be asked)
   */
  getJob(job: JobId): Promise<LiveRecord>;
  /**
   * Follows the job from owner to owner while one takes over from another.
   * @throws MeshError JOB_NOT_FOUND, NOT_KNOWABLE, OWNER_UNREACHABLE, DISK_FULL, BUSY
   */
  cancelJob(job: JobId): Promise<CancelReply>;
  listJobs(query: RecordQuery, scope: 'node' | 'mesh'): Promise<JobPage>;
  /**
   * Output of the job's newest attempt, from wherever it is kept; waits up to `waitMs` for more.
   * @throws MeshError JOB_NOT_FOUND, NOT_KNOWABLE, OUTPUT_GONE, NODE_UNREACHABLE
   */
  readOutput(
    job: JobId,
    stream: OutputStream,
    range: {
      offset: number;
      maxBytes: number;
      waitMs?: number;
      fence?: Fence;
      source?: OutputSource | undefined;
      signal?: AbortSignal;
    },
  ): Promise<OutputPart>;
  readonly files: FileService;
  /**
   * To a terminal, wherever it runs.
   * @throws MeshError NODE_UNREACHABLE: it is not known whether it was taken
   */
  askTerminal(
    place: TerminalPlace,
    session: string,
    options: { ask: TerminalAsk; signal: AbortSignal },
  ): Promise<TerminalReply>;
  /** What the nodes of the mesh have found, newest first, at most `limit`. */
  listConflicts(limit: number): Promise<ConflictPage>;
  /**
   * Bans a node that will not return, so that the rest of each replica set can decide without it.
   * @throws MeshError NODE_NOT_FOUND, NODE_ALIVE (also for this node; not with `isForced`), DISK_FULL, BUSY
   */
  forgetNode(node: NodeId, options: { isForced: boolean }): Promise<Ban>;
  /** Starts to drain and returns; the node leaves when it is done or the deadline is over. */
  drain(deadlineMs: number, way: Leaving): void;
  /** Listener is called after the event is durable; returns the way to end it. */
  subscribe(listener: (event: MeshEvent) => void): () => void;
}

/** Files by the SHA-256 of their bytes, in 64 hex digits. */
export interface FileService {
  /** What is on this node's disk of it. */
  look(sha256: string): Promise<UploadResult>;
  /**
   * All of it or a piece, in order; what is whole already is not read again.
   * @throws MeshError WRONG_OFFSET, BLOB_MISMATCH, BUSY, STORAGE_FULL, DISK_FULL; what `body` throws
   */
  receive(upload: Upload): Promise<UploadResult>;
  /**
   * From wherever it is. To be closed.
   * @throws MeshError BLOB_NOT_FOUND, NOT_KNOWABLE, STORAGE_FULL, DISK_FULL, BUSY
   */
  open(wanted: {
    readonly sha256: string;
    /** Nodes that should have it. */
    readonly hints?: readonly NodeId[] | undefined;
  }): Promise<OpenFile>;
}

export interface Upload {
  readonly sha256: string;
  /** Where `body` begins; 0: what is here of it is thrown away. */
  readonly offset: number;
  /** Of the whole file. */
  readonly totalBytes: number;
  readonly body: AsyncIterable<Uint8Array>;
}

export interface UploadResult {
  /** Else more is to come. */
  readonly isWhole: boolean;
  /** That are here. */
  readonly bytes: number;
}

export interface OpenFile {
  readonly totalBytes: number;
  /** At least a byte, but at the end. @throws MeshError also what `open` throws; BLOB_MISMATCH: what was read before was wrong */
  read(offset: number, maxBytes: number): Promise<Uint8Array>;
  /**
   * Whoever has read the whole found that it is not that file. Undefined: that is found before the
   * last byte is given, and nobody else need look.
   */
  readonly damaged: (() => Promise<void>) | undefined;
  close(): void;
}

export type CancelReply = Extract<Reply, { kind: 'cancelled' | 'cancelling' | 'alreadyFinal' }>;

export interface Health {
  readonly isHealthy: boolean;
  /** Sentences: what is wrong and what to do. Empty when healthy. */
  readonly problems: readonly string[];
}

export interface PeerView {
  readonly facts: NodeFacts;
  readonly boot: BootId;
  readonly state: MemberState;
  readonly load: Load;
  /** Host and link port it is linked by. */
  readonly address: string;
  readonly lastHeardAt: WallMs;
}

export interface SubmitRequest {
  readonly spec: JobSpec;
  /** A client's own id or idempotency key; undefined: a new job. */
  readonly key?: { readonly kind: 'id' | 'idempotency'; readonly text: string } | undefined;
}

export type SubmitResult =
  | {
      readonly kind: 'accepted';
      readonly live: LiveRecord;
      readonly isRepeat: boolean;
      readonly durability: 'local' | 'replicated';
    }
  | {
      readonly kind: 'refused';
      readonly code:
        | 'BAD_PARAMS'
        | 'KEY_CONFLICT'
        | 'QUEUE_FULL'
        | 'DRAINING'
        | 'DISK_FULL'
        | 'OWNER_UNREACHABLE'
        | 'NOT_ENOUGH_REPLICAS'
        | 'NO_QUORUM'
        | 'NOT_KNOWABLE'
        | 'BUSY';
      readonly message: string;
    };

export interface JobPage {
  /** Newest first. */
  readonly jobs: readonly LiveRecord[];
  /** Position after the last one; undefined: no more. */
  readonly next?: { readonly createdAt: WallMs; readonly job: JobId } | undefined;
  /** Nodes that did not answer in time; empty: the list is whole. */
  readonly missing: readonly MissingNode[];
}

export interface MissedNode {
  readonly node: NodeId;
  /** Empty where it is not known. */
  readonly name: string;
  /** That it decides about, and that go on when it is back or another node takes them over. */
  readonly jobs: number;
}

export interface MissingNode {
  readonly node: NodeId;
  readonly reason: string;
}

export interface ConflictPage {
  readonly conflicts: readonly FoundConflict[];
  /** There are more than the limit. */
  readonly isCut: boolean;
  readonly missing: readonly MissingNode[];
}

export interface FoundConflict extends Conflict {
  readonly foundBy: NodeId;
}

/** An attempt whose output is read, and where. */
export interface OutputSource {
  readonly fence: Fence;
  readonly executor: NodeId;
  readonly outcome: AttemptOutcome | undefined;
}

export interface OutputPart extends OutputChunk {
  /** The attempt these bytes are of: give it back with the next read. Undefined: none has started. */
  readonly fence: Fence | undefined;
  /** Of a job that is final: given back, it spares the next read the look for the job. */
  readonly source?: OutputSource | undefined;
  /** Length of the whole stream where it is known (the job is final). */
  readonly totalBytes?: number | undefined;
  /** These bytes came with the outcome: the disk that has the whole cannot be asked. */
  readonly isTail: boolean;
}
