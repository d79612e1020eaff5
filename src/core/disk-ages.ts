/**
 * How far the disk of each peer had come when it was met last: the boot it had, and the commits it
 * counted. A node that comes back with less has lost what it promised and voted for, and is nobody
 * to agree with. The boot counter alone does not show it: an old copy that is started once more may
 * have a counter nobody has seen, and only its commits tell that it is not the next life of that
 * disk. Nodes tell each other what they have seen; what nobody whom it meets has
 * seen the end of cannot be told from a lawful restart.
 *
 * Two boots of one counter are two machines with one data folder. Nobody can tell which of them is
 * the copy, so both are refused until one comes with a higher counter.
 *
 * The links judge each hello by this, and the core each link, as far as a node remembers: what it
 * has seen is in `worker_nodes`, and outlives it.
 */
import { type BootId, isSameBoot, type NodeId } from '../base/ids.ts';

export interface DiskAge {
  readonly boot: BootId;
  /** Of all its boots together; undefined: it does not tell. */
  readonly commits?: number | undefined;
}

export interface KnownDisk extends DiskAge {
  readonly node: NodeId;
  /** Two lives of it were met with this boot counter. */
  readonly clonedCounter?: number | undefined;
}

export interface DiskRefusal {
  readonly kind: 'wentBack' | 'cloned';
  /** For both logs and `mesh doctor`: what happened, and what to do. */
  readonly text: string;
}

const MAX_KNOWN = 4096;

export class DiskAges {
  /** The one met longest ago first. */
  private readonly known = new Map<NodeId, DiskAge>();
  private readonly cloned = new Map<NodeId, number>();

  constructor(known: Iterable<KnownDisk> = []) {
    for (const { node, boot, commits, clonedCounter } of known) {
      this.known.set(node, { boot, commits });
      if (clonedCounter !== undefined) this.cloned.set(node, clonedCounter);
    }
  }

  refusalOf(node: NodeId, told: DiskAge): DiskRefusal | undefined {
    if (this.cloned.get(node) === told.boot.counter) return clonedRefusal(node);
    const known = this.known.get(node);
    return known && judge(node, told, known);
  }

  /**
   * Another node has seen it like this. Undefined, or why the one that is known here is refused from
   * now on: whoever has not met the last life of a disk can be warned by those who have.
   */
  learn(node: NodeId, seen: DiskAge): DiskRefusal | undefined {
    const known = this.known.get(node);
    const refusal = known && judge(node, known, seen);
    if (refusal?.kind === 'cloned') this.noteCloned(node, seen.boot.counter);
    if (refusal?.kind === 'wentBack') this.keep(node, seen);
    return refusal;
  }

  /** It was let in like this. */
  note(node: NodeId, told: DiskAge): void {
    const known = this.known.get(node);
    const isSame = known !== undefined && isSameBoot(known.boot, told.boot);
    const commits = isSame ? laterOf(known.commits, told.commits) : told.commits;
    this.cloned.delete(node);
    this.keep(node, { boot: told.boot, commits });
  }

  private keep(node: NodeId, age: DiskAge): void {
    this.known.delete(node);
    this.known.set(node, age);
    const [oldest] = this.known.keys();
    if (this.known.size > MAX_KNOWN && oldest !== undefined) this.known.delete(oldest);
  }

  noteCloned(node: NodeId, counter: number): void {
    this.cloned.set(node, counter);
  }
}

/** Is what is told less than what is known? */
function judge(node: NodeId, told: DiskAge, known: DiskAge): DiskRefusal | undefined {
  const [now, before] = [told.boot.counter, known.boot.counter];
  if (now < before) return wentBack(node, `it is in start ${now}, and start ${before} was seen`);
  if (now === before) return isSameBoot(told.boot, known.boot) ? undefined : clonedRefusal(node);
  if (told.commits === undefined || known.commits === undefined) return undefined;
  if (told.commits >= known.commits) return undefined;
  return wentBack(node, `it has ${told.commits} commits, and ${known.commits} were seen`);
}

const laterOf = (a: number | undefined, b: number | undefined): number | undefined =>
  a === undefined || b === undefined ? (a ?? b) : Math.max(a, b);

const wentBack = (node: NodeId, what: string): DiskRefusal => ({
  kind: 'wentBack',
  text: `the disk of ${node} went back: ${what}, as if an old copy of its data folder had been restored. Put the newest data folder back; if that is gone, stop the node, remove node.key and the database from its folder, start it again, and say here: mesh forget ${node}`,
});

const clonedRefusal = (node: NodeId): DiskRefusal => ({
  kind: 'cloned',
  text: `two nodes use one identity, ${node}: its data folder was copied. Stop both, remove node.key and the database from the folder of the copy, and start them again`,
});
