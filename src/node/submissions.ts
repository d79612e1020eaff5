/**
 * From a request to a submission: ids are made here, at the edge, because the core has no
 * randomness. A client's own id or idempotency key is a key: it goes to its home, the first living
 * node in the key's rendezvous order, so that two submits of one key meet at one node.
 */
import { createHash, hash } from 'node:crypto';
import { customAlphabet } from 'nanoid';
import { asBirth, asJobId, type Birth, type JobId, type NodeId } from '../base/ids.ts';
import type { Submission } from '../core/inputs.ts';
import type { JobSpec } from '../core/job.ts';
import { rendezvousOrder } from '../core/placement.ts';
import type { SubmitRequest } from './service.ts';

const ALPHABET = '0123456789abcdefghjkmnpqrstvwxyz';
/** 60 bits: two nodes that make an id in the same millisecond do not make the same. */
const randomPart = customAlphabet(ALPHABET, 12);
const randomBirth = customAlphabet('0123456789abcdef', 16);

/**
 * The time first, then chance: ids that are made one after another lie beside each other in every
 * index of the database, which makes a commit less than half as dear as with random ones.
 */
function newJobId(): JobId {
  const time = Date.now().toString(32).padStart(9, '0');
  const readable = [...time].map((digit) => ALPHABET[Number.parseInt(digit, 32)]).join('');
  return asJobId(`job-${readable}${randomPart()}`);
}

export function toSubmission(request: SubmitRequest): Submission {
  const { spec, key } = request;
  return {
    job: key ? keyedId(key) : newJobId(),
    birth: newBirth(),
    spec,
    contentHash: hashOf(spec),
    isKeyed: key !== undefined,
  };
}

export const newBirth = (): Birth => asBirth(randomBirth());

export function homeOf(job: JobId, living: readonly NodeId[]): NodeId | undefined {
  return rendezvousOrder(job, living)[0];
}

function keyedId(key: NonNullable<SubmitRequest['key']>): JobId {
  if (key.kind === 'id') return asJobId(key.text);
  return asJobId(`key-${createHash('sha256').update(key.text).digest('hex').slice(0, 32)}`);
}

/** Equal content in any order of names has an equal hash. */
function hashOf(spec: JobSpec): string {
  // Not cut from the longer text, which it would keep in memory.
  return hash('sha256', JSON.stringify(sorted(spec)), 'buffer').toString('hex', 0, 16);
}

/** Half as dear as a replacer of JSON.stringify that does the same. */
function sorted(value: unknown): unknown {
  if (value === null || typeof value !== 'object') return value;
  if (Array.isArray(value)) return value.map(sorted);
  const content = value as Readonly<Record<string, unknown>>;
  const names = Object.keys(content).sort();
  return Object.fromEntries(names.map((name) => [name, sorted(content[name])]));
}
