/**
 * Rendezvous hashing: every node that knows the same members puts them in the same order for a
 * key, and a member that comes or goes moves only the keys it is first for.
 */

import { hash32 } from '../base/hash.ts';
import { compareText, type NodeId } from '../base/ids.ts';

/** The nodes in the key's order of preference. */
export function rendezvousOrder(key: string, nodes: readonly NodeId[]): NodeId[] {
  return nodes
    .map((node) => ({ node, weight: hash32(`${key}\n${node}`) }))
    .sort((a, b) => b.weight - a.weight || compareText(a.node, b.node))
    .map((placed) => placed.node);
}
