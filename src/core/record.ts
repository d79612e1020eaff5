/**
 * The header that every replicated record carries, whatever its body says. Decided as in
 * single-decree Paxos (register.ts); compared by epoch, then version.
 */
import { hash32 } from '../base/hash.ts';
import { type Birth, type BootId, compareText, type JobId, type NodeId } from '../base/ids.ts';
import type { WallMs } from '../base/instant.ts';

/** Of the records this program writes; nodes that cannot read them do not decide about them. */
export const RECORD_VERSION = 1;

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

/** Who keeps the record. While `oldRs` is not empty, every decision needs a quorum of both. */
export interface ReplicaSets {
  /** Owner included; never empty. */
  readonly rs: readonly NodeId[];
  /** The set it is changing from; empty when it is not changing. */
  readonly oldRs: readonly NodeId[];
}

/** A node id that is never let in again: forgotten by an operator, or absent for 30 days. */
export interface Ban {
  readonly node: NodeId;
  /** For people: the name it had. */
  readonly name: string;
  readonly at: WallMs;
}

/** Of a record that is not changing its sets; the same for all. */
export const NO_OLD_SET: readonly NodeId[] = [];

export interface Accepted {
  readonly epoch: Epoch;
  /** From 1 in each epoch. */
  readonly version: number;
}

export interface RecordHeader extends ReplicaSets {
  readonly job: JobId;
  readonly birth: Birth;
  /** No write below this epoch is taken. */
  readonly promised: Epoch;
  readonly accepted: Accepted;
  /** The boot of the owner that wrote the accepted value. */
  readonly writerBoot: BootId;
  /** Nodes of a lower protocol version keep and pass on this record, but do not decide about it. */
  readonly minVersion: number;
}

/** To tell in four bytes whether two nodes mean the same sets. */
export const setsHash = ({ rs, oldRs }: ReplicaSets): number =>
  hash32(`${rs.join(' ')}\n${oldRs.join(' ')}`);

/** Who decides about the job: read from the record, never from the id. */
export const ownerOf = (header: RecordHeader): NodeId => header.accepted.epoch.node;

export const compareEpochs = (a: Epoch, b: Epoch): number =>
  a.counter - b.counter || compareText(a.node, b.node);

/** Which of two values of one record is the newer: by epoch, then version. */
export const compareValues = (a: Accepted, b: Accepted): number =>
  compareEpochs(a.epoch, b.epoch) || a.version - b.version;

export const isSameFence = (a: Fence, b: Fence): boolean =>
  a.attempt === b.attempt && compareEpochs(a.epoch, b.epoch) === 0;

/** `3.node-ab….2`: epoch counter, epoch node, attempt. Also the value of MESH_FENCE. */
export const fenceText = (fence: Fence): string =>
  `${fence.epoch.counter}.${fence.epoch.node}.${fence.attempt}`;

/** One attempt at one job, as text for the key of a map. */
export const attemptKey = (job: JobId, fence: Fence): string => `${job} ${fenceText(fence)}`;
