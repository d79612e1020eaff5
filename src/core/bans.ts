/**
 * Nodes that are never let in again. Bans only grow, so members simply tell each other all of them
 * at each new link, and new ones at once.
 */
import type { NodeId } from '../base/ids.ts';
import type { Outgoing } from './outgoing.ts';
import type { Ban } from './record.ts';

export interface BanParts {
  readonly out: Outgoing;
  readonly linked: () => readonly NodeId[];
  readonly onBanned: (ban: Ban) => void;
}

export class Bans {
  private readonly parts: BanParts;
  private readonly bans = new Map<NodeId, Ban>();

  constructor(parts: BanParts) {
    this.parts = parts;
  }

  has(node: NodeId): boolean {
    return this.bans.has(node);
  }

  all(): Ban[] {
    return [...this.bans.values()];
  }

  restore(bans: readonly Ban[]): void {
    for (const ban of bans) this.bans.set(ban.node, ban);
  }

  /** Never of the own node: it is told so by the others, and has to take another identity. */
  add(bans: readonly Ban[]): void {
    const { out, linked, onBanned } = this.parts;
    const fresh = bans.filter(({ node }) => !this.bans.has(node) && node !== out.self);
    if (fresh.length === 0) return;
    for (const ban of fresh) {
      this.bans.set(ban.node, ban);
      out.persist({ kind: 'ban', ban });
    }
    for (const node of linked()) {
      if (!this.bans.has(node)) out.send(node, { kind: 'bans', bans: fresh });
    }
    for (const ban of fresh) onBanned(ban);
  }

  tell(node: NodeId): void {
    if (this.bans.size > 0) this.parts.out.send(node, { kind: 'bans', bans: this.all() });
  }
}
