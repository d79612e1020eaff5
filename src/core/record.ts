/**
 * The header that every replicated record carries, whatever its body says. Decided as in
 * single-decree Paxos (register.ts); compared by epoch, then version.
 */
import { type Birth, type BootId, compareText, type JobId, type NodeId } from '../base/ids.ts';

/** Raised at each change of owner and at each start of an owner; ordered by counter, then node. */
export interface Epoch {
  readonly counter: number;
  readonly node: NodeId;
}

/** Names one attempt at one job; always compared whole. */
export interface Fence {
  readonly epoch: Epoch;
  /** 1 for the first. */
  readonly attempt: number;
}

export interface RecordHeader {
  readonly job: JobId;
  readonly birth: Birth;
  /** The replica set, owner included; never empty. */
  readonly rs: readonly NodeId[];
  /** The set it is changing from; empty when it is not changing. */
  readonly oldRs: readonly NodeId[];
  /** No write below this epoch is taken. */
  readonly promised: Epoch;
  readonly accepted: { readonly epoch: Epoch; readonly version: number };
  /** The boot of the owner that wrote the accepted value. */
  readonly writerBoot: BootId;
  /** Nodes of a lower protocol version keep and pass on this record, but do not decide about it. */
  readonly minVersion: number;
}

/** Who decides about the job: read from the record, never from the id. */
export const ownerOf = (header: RecordHeader): NodeId => header.accepted.epoch.node;

export const compareEpochs = (a: Epoch, b: Epoch): number =>
  a.counter - b.counter || compareText(a.node, b.node);

export const isSameFence = (a: Fence, b: Fence): boolean =>
  a.attempt === b.attempt && compareEpochs(a.epoch, b.epoch) === 0;

/** `3.node-ab….2`: epoch counter, epoch node, attempt. Also the value of MESH_FENCE. */
export const fenceText = (fence: Fence): string =>
  `${fence.epoch.counter}.${fence.epoch.node}.${fence.attempt}`;

/** One attempt at one job, as text for the key of a map. */
export const attemptKey = (job: JobId, fence: Fence): string => `${job} ${fenceText(fence)}`;
