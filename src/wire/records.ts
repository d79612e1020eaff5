/** Headers of records, and the names of attempts. */
import type { AttemptRef } from '../core/messages.ts';
import type { Epoch, Fence, RecordHeader } from '../core/record.ts';
import * as field from './fields.ts';
import { MAX_REPLICAS } from './limits.ts';
import { parseBoot, toBoot } from './nodes.ts';
import type { mesh } from './schema.ts';

type Maybe<T> = T | null | undefined;

const toEpoch = (epoch: Epoch): mesh.Epoch.$Properties => ({
  counter: epoch.counter,
  nodeId: epoch.node,
});

function parseEpoch(wire: Maybe<mesh.Epoch.$Properties>): Epoch {
  const { counter, nodeId } = field.required(wire);
  return { counter: field.count(counter), node: field.nodeId(nodeId) };
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
    oldRs: field.list(header.oldRs, MAX_REPLICAS, field.nodeId),
    promised: parseEpoch(header.promised),
    accepted: {
      epoch: parseEpoch(header.acceptedEpoch),
      version: field.count(header.acceptedVersion),
    },
    writerBoot: parseBoot(header.writerBoot),
    minVersion: field.count(header.minVersion),
  };
}

export function parseReplicas(wire: Maybe<readonly string[]>): RecordHeader['rs'] {
  const replicas = field.list(wire, MAX_REPLICAS, field.nodeId);
  if (replicas.length === 0) throw new field.Malformed('a replica set is empty');
  return replicas;
}
