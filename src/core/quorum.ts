/**
 * When a set of replicas has decided. A majority of each set; in a pair both, or one alone that has
 * the right to: two nodes can have safety and go on in silence only if at most one of them may, and
 * that right belongs to a boot and not to a disk (register.ts, takeover.ts).
 *
 * A banned node is no member of any set: the rest is the base of the majority. That is what
 * `forget` is for, and what it risks.
 */
import type { NodeId } from '../base/ids.ts';
import type { JobRecord } from './job-record.ts';
import { compareValues, type ReplicaSets } from './record.ts';

export interface Rights {
  readonly self: NodeId;
  readonly isBanned: (node: NodeId) => boolean;
  /** The own node may decide alone in a pair with this peer. */
  readonly isAloneWithout: (peer: NodeId) => boolean;
}

export const majorityOf = (members: readonly NodeId[]): number =>
  Math.floor(members.length / 2) + 1;

export const isOnly = (set: readonly NodeId[], node: NodeId): boolean =>
  set.length === 1 && set[0] === node;

/** All who keep the record, each once. */
export const replicasOf = ({ rs, oldRs }: ReplicaSets): readonly NodeId[] =>
  oldRs.length === 0 ? rs : [...new Set([...rs, ...oldRs])];

export function isDecided(
  sets: ReplicaSets,
  hasYes: (node: NodeId) => boolean,
  rights: Rights,
): boolean {
  const bases = basesOf(sets, rights.isBanned);
  return bases.length > 0 && bases.every((base) => isQuorum(base, hasYes, rights));
}

interface Base {
  readonly set: readonly NodeId[];
  /** Those of it that are not banned. */
  readonly left: readonly NodeId[];
}

/** A set of which everybody was forgotten has no say, as long as the other one is left. */
function basesOf({ rs, oldRs }: ReplicaSets, isBanned: (node: NodeId) => boolean): Base[] {
  return [rs, oldRs]
    .map((set) => ({ set, left: set.filter((node) => !isBanned(node)) }))
    .filter(({ left }) => left.length > 0);
}

function isQuorum(
  { set, left }: Base,
  hasYes: (node: NodeId) => boolean,
  { self, isAloneWithout }: Rights,
): boolean {
  if (left.filter(hasYes).length >= majorityOf(left)) return true;
  if (set.length !== 2 || left.length !== 2 || !left.includes(self) || !hasYes(self)) return false;
  const peer = left.find((node) => node !== self);
  return peer !== undefined && isAloneWithout(peer);
}

/** May an attempt run on? In a pair, as alone, the owner's yes is enough: only it can be followed. */
export function isLeased(
  sets: ReplicaSets,
  owner: NodeId,
  hasYes: (node: NodeId) => boolean,
  isBanned: (node: NodeId) => boolean,
): boolean {
  const bases = basesOf(sets, isBanned);
  return (
    bases.length > 0 &&
    bases.every(({ set, left }) =>
      set.length <= 2 ? hasYes(owner) : left.filter(hasYes).length >= majorityOf(left),
    )
  );
}

/** The owner's own yes is evidence that nobody has followed it. */
export const isOwnEvidence = ({ rs, oldRs }: ReplicaSets): boolean =>
  rs.length <= 2 && oldRs.length <= 2;

/** Undefined: there is none. */
export const newestOf = (records: readonly JobRecord[]): JobRecord | undefined =>
  records.reduce<JobRecord | undefined>(
    (best, record) =>
      best && compareValues(best.header.accepted, record.header.accepted) >= 0 ? best : record,
    undefined,
  );

/**
 * The values whose sets have a say. Those of one that a replica was let go from have none any more
 * beside a newer value: the move away from them was decided before that replica was told, and it
 * will never promise again.
 */
export function bindingOf(
  records: readonly JobRecord[],
  without: ReadonlySet<NodeId>,
): typeof records {
  const newest = newestOf(records);
  const isLeft = ({ header }: JobRecord): boolean =>
    replicasOf(header).some((node) => without.has(node));
  return newest && isLeft(newest) ? records : records.filter((record) => !isLeft(record));
}
