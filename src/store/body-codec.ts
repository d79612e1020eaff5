/** Stand-in until the wire format is there. */
import type { AttemptOutcome, Job } from '../core/job.ts';
import type { Grant } from '../core/messages.ts';

const encode = (value: unknown): Uint8Array =>
  Buffer.from(
    JSON.stringify(value, (_, v) =>
      v instanceof Uint8Array ? { $bytes: Buffer.from(v).toString('base64') } : v,
    ),
  );
function decode<T>(bytes: Uint8Array): T | undefined {
  try {
    return JSON.parse(Buffer.from(bytes).toString(), (_, v) => {
      if (v?.type === 'Buffer') return new Uint8Array(v.data);
      return typeof v?.$bytes === 'string' ? new Uint8Array(Buffer.from(v.$bytes, 'base64')) : v;
    }) as T;
  } catch {
    return undefined;
  }
}
export const encodeJob = (job: Job): Uint8Array => encode(job);
export const parseJob = (bytes: Uint8Array): Job | undefined => decode(bytes);
export const encodeOutcome = (outcome: AttemptOutcome): Uint8Array => encode(outcome);
export const parseOutcome = (bytes: Uint8Array): AttemptOutcome | undefined => decode(bytes);
export const encodeGrant = (grant: Grant): Uint8Array => encode(grant);
export const parseGrant = (bytes: Uint8Array): Grant | undefined => decode(bytes);
