/** Headers of records and their parts, the names of attempts, and bans. */
import type { NodeId } from '../base/ids.ts';
import type { AttemptRef } from '../core/messages.ts';
import type { Accepted, Ban, Epoch, Fence, RecordHeader, ReplicaSets } from '../core/record.ts';
import * as field from './fields.ts';
import { MAX_REPLICAS } from './limits.ts';
import { parseBoot, toBoot } from './nodes.ts';
import type { mesh } from './schema.ts';
import { sharedAccepted, sharedEpoch, sharedNodes } from './shared-parts.ts';

type Maybe<T> = T | null | undefined;

export const toEpoch = (epoch: Epoch): mesh.Epoch.$Properties => ({
  counter: epoch.counter,
  nodeId: epoch.node,
});

export function parseEpoch(wire: Maybe<mesh.Epoch.$Properties>): Epoch {
  const { counter, nodeId } = field.required(wire);
  return sharedEpoch(field.count(counter), field.nodeId(nodeId));
}

export const toFence = (fence: Fence): mesh.Fence.$Properties => ({
  epoch: toEpoch(fence.epoch),
  attempt: fence.attempt,
});

export function parseFence(wire: Maybe<mesh.Fence.$Properties>): Fence {
  const { epoch, attempt } = field.required(wire);
  return { epoch: parseEpoch(epoch), attempt: field.count(attempt) };
}

export const toAttemptRef = (ref: AttemptRef): mesh.AttemptRef.$Properties => ({
  jobId: ref.job,
  fence: toFence(ref.fence),
});

export const parseAttemptRef = (wire: mesh.AttemptRef.$Properties): AttemptRef => ({
  job: field.jobId(wire.jobId),
  fence: parseFence(wire.fence),
});

export const toAccepted = ({ epoch, version }: Accepted): mesh.Accepted.$Properties => ({
  epoch: toEpoch(epoch),
  version,
});

export function parseAccepted(wire: Maybe<mesh.Accepted.$Properties>): Accepted {
  const { epoch, version } = field.required(wire);
  return sharedAccepted(parseEpoch(epoch), field.count(version));
}

export const toSets = ({ rs, oldRs }: ReplicaSets): mesh.ReplicaSets.$Properties => ({
  rs: [...rs],
  oldRs: [...oldRs],
});

export function parseSets(wire: Maybe<mesh.ReplicaSets.$Properties>): ReplicaSets {
  const { rs, oldRs } = field.required(wire);
  return { rs: parseReplicas(rs), oldRs: parseOldReplicas(oldRs) };
}

export const toBan = (ban: Ban): mesh.Ban.$Properties => ({
  nodeId: ban.node,
  name: field.sayable(ban.name),
  atMs: field.wholeMs(ban.at),
});

export function parseBan(wire: Maybe<mesh.Ban.$Properties>): Ban {
  const { nodeId, name, atMs } = field.required(wire);
  return { node: field.nodeId(nodeId), name: field.name(name), at: field.wall(atMs) };
}

export const toHeader = (header: RecordHeader): mesh.RecordHeader.$Properties => ({
  jobId: header.job,
  birth: header.birth,
  rs: [...header.rs],
  oldRs: [...header.oldRs],
  promised: toEpoch(header.promised),
  acceptedEpoch: toEpoch(header.accepted.epoch),
  acceptedVersion: header.accepted.version,
  writerBoot: toBoot(header.writerBoot),
  minVersion: header.minVersion,
});

export function parseHeader(wire: Maybe<mesh.RecordHeader.$Properties>): RecordHeader {
  const header = field.required(wire);
  return {
    job: field.jobId(header.jobId),
    birth: field.birth(header.birth),
    rs: parseReplicas(header.rs),
    oldRs: parseOldReplicas(header.oldRs),
    promised: parseEpoch(header.promised),
    accepted: sharedAccepted(parseEpoch(header.acceptedEpoch), field.count(header.acceptedVersion)),
    writerBoot: parseBoot(header.writerBoot),
    minVersion: field.count(header.minVersion),
  };
}

export function parseReplicas(wire: Maybe<readonly string[]>): readonly NodeId[] {
  const replicas = parseOldReplicas(wire);
  if (replicas.length === 0) throw new field.Malformed('a replica set is empty');
  return replicas;
}

/** May be empty. A node that is named twice would have two votes. */
export function parseOldReplicas(wire: Maybe<readonly string[]>): readonly NodeId[] {
  const replicas = field.list(wire, MAX_REPLICAS, field.nodeId);
  if (new Set(replicas).size < replicas.length) throw new field.Malformed('a replica twice');
  return sharedNodes(replicas);
}
