/**
 * Which node is offered a job. A filter says who could run it and, for everybody else, why not;
 * among those with a free slot the less loaded of two random ones is taken. Always taking the
 * least loaded by what heartbeats say herds all owners onto one node: in a simulated mesh of 200
 * nodes at 90 % load the p99 waiting time was 72 s against 11 s with two random choices.
 */
import type { NodeId } from '../base/ids.ts';
import { type Random, randomBelow } from '../base/random.ts';
import { freeSlots, type Load, type NodeFacts } from './facts.ts';
import type { Needs } from './job.ts';
import type { MemberState } from './member.ts';
import type { RefusalReason } from './messages.ts';

/** A node as the election sees it; the own node is one of them. */
export interface Candidate {
  readonly facts: NodeFacts;
  readonly state: MemberState;
  readonly load: Load;
  /** Offers and grants of this owner that the load does not count yet. */
  readonly inFlight: number;
}

/** Why this node may not run it even with all slots free; undefined: it may. */
export function misfitOf(
  needs: Needs,
  taskType: string,
  facts: NodeFacts,
): RefusalReason | undefined {
  if (needs.target !== undefined && needs.target !== facts.node) return 'pinned to another node';
  if (!facts.taskTypes.includes(taskType)) return 'task type not served';
  if (!hasAll(facts.labels, needs.labels)) return 'label missing';
  if (!hasAll(facts.capabilities, needs.capabilities)) return 'capability missing';
  return undefined;
}

/** Why this node gets no offer now; undefined: it is a candidate. */
export function refusalOf(
  needs: Needs,
  taskType: string,
  node: Candidate,
): RefusalReason | undefined {
  const misfit = misfitOf(needs, taskType, node.facts);
  if (misfit) return misfit;
  if (node.state !== 'alive') return node.state;
  if (node.load.draining) return 'draining';
  if (!node.load.accepting) return 'disk takes no writes';
  return presumedFree(node) > 0 ? undefined : 'no free slot';
}

export const presumedFree = (node: Candidate): number => freeSlots(node.load) - node.inFlight;

export interface Choice {
  readonly node: NodeId;
  readonly why: string;
}

/**
 * @param fitting nodes without refusal, in any order
 * @param self is taken at once when it is among them: the job is already here
 */
export function chooseTarget(
  fitting: readonly Candidate[],
  self: NodeId,
  random: Random,
): Choice | undefined {
  if (fitting.some((node) => node.facts.node === self)) return { node: self, why: 'own free slot' };
  const first = fitting[randomBelow(random, fitting.length)];
  if (!first) return undefined;
  if (fitting.length === 1)
    return { node: first.facts.node, why: 'the only node with a free slot that fits' };
  const others = fitting.filter((node) => node !== first);
  const second = others[randomBelow(random, others.length)] ?? first;
  const taken = isLessLoaded(second, first) ? second : first;
  return { node: taken.facts.node, why: `less loaded of 2 out of ${fitting.length}` };
}

/** Occupied part of the slots, compared without division. */
function isLessLoaded(a: Candidate, b: Candidate): boolean {
  const used = (node: Candidate): number => node.load.running + node.load.claimed + node.inFlight;
  return used(a) * Math.max(1, b.load.slots) < used(b) * Math.max(1, a.load.slots);
}

function hasAll(
  has: Readonly<Record<string, string>>,
  wanted: Readonly<Record<string, string>>,
): boolean {
  return Object.keys(wanted).every(
    (name) => Object.hasOwn(has, name) && has[name] === wanted[name],
  );
}
