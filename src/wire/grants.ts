/** The right to run an attempt. `encodeGrant` is also what an executor keeps on its disk. */
import type { Grant } from '../core/messages.ts';
import * as field from './fields.ts';
import { parseFence, parseOldReplicas, parseReplicas, toFence } from './records.ts';
import { mesh } from './schema.ts';
import { parseSpec, toSpec } from './specs.ts';

export const encodeGrant = (grant: Grant): Uint8Array => mesh.Grant.encode(toGrant(grant)).finish();

/** @returns undefined when malformed */
export const parseGrant = (bytes: Uint8Array): Grant | undefined =>
  field.parsed(() => fromGrant(mesh.Grant.decode(bytes)));

export const toGrant = (grant: Grant): mesh.Grant.$Properties => ({
  jobId: grant.job,
  birth: grant.birth ?? null,
  fence: toFence(grant.fence),
  nonce: grant.nonce,
  rs: [...grant.rs],
  leaseMs: field.wholeMs(grant.leaseMs),
  job: toSpec(grant.spec),
  oldRs: [...grant.oldRs],
  leftMs: grant.leftMs === undefined ? null : field.wholeMs(grant.leftMs),
});

export function fromGrant(wire: mesh.Grant.$Properties | null | undefined): Grant {
  const grant = field.required(wire);
  return {
    job: field.jobId(grant.jobId),
    ...field.optionalBirth(grant.birth),
    fence: parseFence(grant.fence),
    nonce: field.nonce(grant.nonce),
    rs: parseReplicas(grant.rs),
    oldRs: parseOldReplicas(grant.oldRs),
    leaseMs: field.count(grant.leaseMs),
    ...field.optionalCount('leftMs', grant.leftMs),
    spec: parseSpec(grant.job),
  };
}
