/**
 * Which heartbeats are new. Of each node only what is later than everything heard before counts:
 * by boot counter, then by sequence. A datagram that came by two ways, or that somebody recorded
 * and sends again, does nothing.
 */
import type { BootId, NodeId } from '../base/ids.ts';

const MAX_NODES = 4096;

interface Latest {
  readonly boot: BootId;
  readonly sequence: number;
}

export class Freshness {
  /** The node that was silent for longest comes first. */
  private readonly latest = new Map<NodeId, Latest>();

  /** `twin`: another life with the same boot counter, so another machine with the same disk. */
  note(node: NodeId, boot: BootId, sequence: number): 'fresh' | 'stale' | 'twin' {
    const before = this.latest.get(node);
    if (before && before.boot.counter > boot.counter) return 'stale';
    if (before && before.boot.counter === boot.counter) {
      if (before.boot.salt !== boot.salt) return 'twin';
      if (before.sequence >= sequence) return 'stale';
    }
    this.latest.delete(node);
    this.latest.set(node, { boot, sequence });
    const [oldest] = this.latest.keys();
    if (this.latest.size > MAX_NODES && oldest) this.latest.delete(oldest);
    return 'fresh';
  }
}
