/** What can be done here, and why the rest cannot: each reason is the end of a sentence. */
import { whyNoFilter, whyNoLan } from './lan.ts';
import type { FaultKind } from './plan.ts';
import { hasProcFolder } from './processes.ts';
import { whyNoSmallDisk } from './small-disk.ts';

export interface Circumstances {
  readonly nodes: number;
  readonly hasNamespaces: boolean;
}

/** Undefined: nodes can have a network of their own. */
export const whyNoNamespaces = (): string | undefined => whyNoLan();

/** Undefined: it can be done. */
export function whyNoFault(
  kind: FaultKind,
  { nodes, hasNamespaces }: Circumstances,
): string | undefined {
  switch (kind) {
    case 'kill':
    case 'freeze':
    case 'restart':
    case 'drain':
    case 'rolling':
      return undefined;
    case 'host':
    case 'host-freeze':
      return hasProcFolder() ? undefined : 'without /proc the processes of a node are not known';
    case 'cut':
      return hasNamespaces ? undefined : 'it needs --namespaces';
    case 'one-way':
      if (nodes < 2) return 'it needs two nodes';
      return hasNamespaces ? whyNoFilter() : 'it needs --namespaces';
    case 'udp':
    case 'loss':
      return hasNamespaces ? whyNoFilter() : 'it needs --namespaces';
    case 'disk':
      return whyNoSmallDisk();
  }
}
