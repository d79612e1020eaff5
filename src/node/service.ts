/**
 * What a node does for those who talk to it: the REST API, an embedding program, tests. Domain
 * values in, domain values out; `src/http` turns them into JSON of the documented shapes.
 */
import type { BootId, JobId, NodeId } from '../base/ids.ts';
import type { WallMs } from '../base/instant.ts';
import type { LiveRecord, OutputChunk, OutputStream, RecordQuery } from '../core/calls.ts';
import type { MeshEvent, Reply } from '../core/effects.ts';
import type { Load, NodeFacts } from '../core/facts.ts';
import type { JobSpec } from '../core/job.ts';
import type { MemberState } from '../core/member.ts';
import type { Fence } from '../core/record.ts';
import type { DiscoveryReport } from './ports.ts';

export interface MeshService {
  readonly facts: NodeFacts;
  readonly boot: BootId;
  health(): Health;
  /** This node as its peers see it. */
  load(): Load;
  /** All known members but this node, by node id: alive, suspect and recently dead ones. */
  peers(): PeerView[];
  discovery(): DiscoveryReport;
  /** Node by full id, unique id prefix of 6 or more digits, or unique name; undefined: none or several. */
  findNode(idOrName: string): NodeId | undefined;

  /** One outcome each, in order. All are made durable together. Never rejects for one bad submission. */
  submit(requests: readonly SubmitRequest[]): Promise<SubmitResult[]>;
  /** @throws MeshError JOB_NOT_FOUND, NOT_KNOWABLE (some node could not be asked) */
  getJob(job: JobId): Promise<LiveRecord>;
  /** @throws MeshError JOB_NOT_FOUND, NOT_KNOWABLE, OWNER_UNREACHABLE, DISK_FULL, BUSY */
  cancelJob(
    job: JobId,
  ): Promise<Extract<Reply, { kind: 'cancelled' | 'cancelling' | 'alreadyFinal' }>>;
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
      signal?: AbortSignal;
    },
  ): Promise<OutputPart>;
  /** Starts to drain and returns; the node leaves when it is done or the deadline is over. */
  drain(deadlineMs: number): void;
  /** Listener is called after the event is durable; returns the way to end it. */
  subscribe(listener: (event: MeshEvent) => void): () => void;
}

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
        | 'KEY_CONFLICT'
        | 'QUEUE_FULL'
        | 'DRAINING'
        | 'DISK_FULL'
        | 'OWNER_UNREACHABLE'
        | 'BUSY';
      readonly message: string;
    };

export interface JobPage {
  /** Newest first. */
  readonly jobs: readonly LiveRecord[];
  /** Position after the last one; undefined: no more. */
  readonly next?: { readonly createdAt: WallMs; readonly job: JobId } | undefined;
  /** Nodes that did not answer in time; empty: the list is whole. */
  readonly missing: readonly { readonly node: NodeId; readonly reason: string }[];
}

export interface OutputPart extends OutputChunk {
  /** The attempt these bytes are of: give it back with the next read. Undefined: none has started. */
  readonly fence: Fence | undefined;
  /** Length of the whole stream where it is known (the job is final). */
  readonly totalBytes?: number | undefined;
}
