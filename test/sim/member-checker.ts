/**
 * What nodes believe of each other, against what is so: I13 nobody is declared dead who is well,
 * least of all by a node that stood still itself, and the dead are found; I14 after healing all
 * member tables agree.
 */
import type { NodeId } from '../../src/base/ids.ts';
import type { MeshEvent } from '../../src/core/effects.ts';
import type { WatchedWorld } from './checker.ts';
import type { SimNode } from './sim-node.ts';

/** A verdict may come so long after a fault is over: a silence of 7 s, and what was under way. */
const AFTERMATH_MS = 9000;
/** By then the dead are known, also by one who stood still in between. */
const FOUND_MS = 25_000;

type Changed = Extract<MeshEvent, { kind: 'memberChanged' }>;

export class MemberChecker {
  deaths = 0;
  private readonly world: WatchedWorld;
  private readonly violate: (what: string) => void;

  constructor(world: WatchedWorld, violate: (what: string) => void) {
    this.world = world;
    this.violate = violate;
  }

  onChanged(by: SimNode, event: Changed): void {
    if (event.state !== 'dead') return;
    this.deaths++;
    if (by.isDiskLate || by.isClockBehind) return;
    const about = this.world.nodes().get(event.node);
    if (!about?.isWell) return;
    const since = Math.max(about.wellSince, this.world.network.wellSince);
    // It saw nothing of what ended or came back while it stood still itself.
    const now = this.world.now();
    const seenUntil = by.wellSince > now - AFTERMATH_MS ? by.stoodStillAt : now;
    if (seenUntil - since > AFTERMATH_MS)
      this.violate(`I13 ${by.id} declared ${about.id} dead, which was well: ${event.reason}`);
  }

  /** Called now and then: whoever is dead for long is known to be. */
  checkFound(nodes: readonly SimNode[]): void {
    const now = this.world.now();
    if (now - this.world.network.wellSince < FOUND_MS) return;
    const gone = nodes.filter((node) => !node.isUp && now - node.wellSince > FOUND_MS);
    if (gone.length === 0) return;
    for (const node of nodes) {
      if (!node.isWell || now - node.wellSince < FOUND_MS) continue;
      for (const dead of gone)
        if (stateOf(node, dead.id) === 'alive')
          this.violate(`I13 ${node.id} has not found that ${dead.id} is dead`);
    }
  }

  checkTables(nodes: readonly SimNode[]): void {
    for (const node of nodes) {
      const missing = nodes.filter(
        (other) => other !== node && stateOf(node, other.id) !== 'alive',
      );
      for (const other of missing)
        this.violate(`I14 ${node.id} holds ${other.id} for ${stateOf(node, other.id) ?? 'nobody'}`);
    }
  }
}

const stateOf = (node: SimNode, of: NodeId): string | undefined =>
  node
    .view()
    ?.peers()
    .find(({ facts }) => facts.node === of)?.state;
