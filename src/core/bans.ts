/**
 * Nodes that are never let in again. Bans only grow, so members simply tell each other all of them
 * at each new link, and new ones at once; and one of them now and then, should a word have been lost.
 */
import type { NodeId } from '../base/ids.ts';
import { afterMono, type MonoMs } from '../base/instant.ts';
import { randomBelow } from '../base/random.ts';
import type { Outgoing } from './outgoing.ts';
import type { Ban } from './record.ts';

const TELL_AGAIN_MS = 30_000;

export interface BanParts {
  readonly out: Outgoing;
  readonly linked: () => readonly NodeId[];
  readonly onBanned: (ban: Ban) => void;
}

export class Bans {
  private readonly parts: BanParts;
  private readonly bans = new Map<NodeId, Ban>();
  private tellAt: MonoMs;

  constructor(parts: BanParts) {
    this.parts = parts;
    this.tellAt = afterMono(parts.out.now.mono, TELL_AGAIN_MS);
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

  onTick(): void {
    const { out, linked } = this.parts;
    if (this.bans.size === 0 || out.now.mono < this.tellAt) return;
    this.tellAt = afterMono(out.now.mono, TELL_AGAIN_MS);
    const nodes = linked();
    const chosen = nodes[randomBelow(out.random, nodes.length)];
    if (chosen) this.tell(chosen);
  }

  tell(node: NodeId): void {
    if (this.bans.size > 0) this.parts.out.send(node, { kind: 'bans', bans: this.all() });
  }
}
