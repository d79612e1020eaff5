/**
 * What a replica missed. An owner tells its replicas what they lack only while they live; who
 * comes back names what it keeps of each node it meets, and is told what became of it. So nothing
 * that was decided, moved or deleted in its absence is ever taken up again.
 *
 * A word that is lost on a living link is not noticed so: a few of the records that this node does
 * not own are named from time to time, in turn, to whoever leads them, and to some other node: the
 * leader known here may know as little. It may be this node itself, that stands and cannot win, as
 * its replicas have let the record go for another birth of its id.
 */
import type { Birth, JobId, NodeId } from '../base/ids.ts';
import type { MonoMs } from '../base/instant.ts';
import { randomBelow } from '../base/random.ts';
import type { JobRecord } from './job-record.ts';
import type { Held, RegisterMessage } from './messages.ts';
import type { Outgoing } from './outgoing.ts';
import { replicasOf } from './quorum.ts';
import { compareValues, ownerOf } from './record.ts';
import { type Kept, leaderOf, type Replicas } from './replicas.ts';

const MAX_HELD = 500;
const ROUND_MS = 10_000;
/** Looked at in one go; each may be 64 KiB, and a link that has 16 MiB before it is closed. */
const MAX_PORTION = 50;
/** Told to one node in a tick, on average. */
const BYTES_IN_A_TICK = 1024 * 1024;
/** Named by one node and not looked at yet; what is beyond is named again in its rounds. */
const MAX_WAITING = 200_000;

/** What a node has named, in the order of naming. */
interface Asked {
  waiting: Held[];
  /** Being read from disk. */
  loading: number;
  /** Until the next tick; below zero: told ahead of time. */
  bytesLeft: number;
}

export interface CatchUpWorld {
  readonly isOwned: (job: JobId) => boolean;
  readonly isLostBirth: (job: JobId, birth: Birth) => boolean;
  readonly linked: () => readonly NodeId[];
}

export class CatchUp {
  private readonly out: Outgoing;
  private readonly replicas: Replicas;
  private readonly isOwned: (job: JobId) => boolean;
  private readonly isLostBirth: CatchUpWorld['isLostBirth'];
  private readonly linked: () => readonly NodeId[];
  private toldAt: MonoMs;
  /** Where the present round through all records stands. */
  private round: MapIterator<[JobId, Kept]> | undefined;
  private readonly asked = new Map<NodeId, Asked>();

  constructor(out: Outgoing, replicas: Replicas, world: CatchUpWorld) {
    this.out = out;
    this.replicas = replicas;
    this.isOwned = world.isOwned;
    this.isLostBirth = world.isLostBirth;
    this.linked = world.linked;
    this.toldAt = out.now.mono;
  }

  onTick(): void {
    this.answerOn();
    const { out } = this;
    if (out.now.mono - this.toldAt < ROUND_MS) return;
    this.toldAt = out.now.mono;
    const linked = this.linked();
    const anybody = linked[randomBelow(out.random, linked.length)];
    const byNode = new Map<NodeId, Held[]>();
    for (const [job, kept] of this.nextOfRound()) {
      const leader = leaderOf(kept);
      if (!kept.record || this.isOwned(job)) continue;
      const { birth, accepted } = kept.record.header;
      const held = { job, birth, accepted };
      for (const node of new Set(anybody ? [leader, anybody] : [leader])) {
        if (node === out.self) continue;
        const list = byNode.get(node);
        if (list) list.push(held);
        else byNode.set(node, [held]);
      }
    }
    for (const [node, held] of byNode) out.send(node, { kind: 'holding', held });
  }

  private nextOfRound(): [JobId, Kept][] {
    this.round ??= this.replicas.entries();
    const part = [...this.round.take(MAX_HELD)];
    if (part.length < MAX_HELD) this.round = undefined;
    return part;
  }

  /** Names what is kept here of jobs that `node` led as far as is known. */
  onPeerUp(node: NodeId): void {
    // What it asked on an older link it asks again.
    this.asked.delete(node);
    let held: Held[] = [];
    for (const job of this.replicas.ledBy(node)) {
      const header = this.replicas.get(job)?.record?.header;
      if (!header) continue;
      held.push({ job, birth: header.birth, accepted: header.accepted });
      if (held.length < MAX_HELD) continue;
      this.out.send(node, { kind: 'holding', held });
      held = [];
    }
    if (held.length > 0) this.out.send(node, { kind: 'holding', held });
  }

  onHolding(from: NodeId, message: Extract<RegisterMessage, { kind: 'holding' }>): void {
    const asked = this.asked.get(from) ?? { waiting: [], loading: 0, bytesLeft: BYTES_IN_A_TICK };
    this.asked.set(from, asked);
    for (const held of message.held)
      if (asked.waiting.length < MAX_WAITING) asked.waiting.push(held);
    this.answer(from, asked);
  }

  /** A node that was away may lack thousands of values, more than a link takes at once. */
  private answerOn(): void {
    if (this.asked.size === 0) return;
    const linked = this.linked();
    for (const [node, asked] of this.asked) {
      asked.bytesLeft = Math.min(BYTES_IN_A_TICK, asked.bytesLeft + BYTES_IN_A_TICK);
      this.answer(node, asked);
      const isDone = asked.waiting.length + asked.loading === 0 && asked.bytesLeft > 0;
      if (isDone || !linked.includes(node)) this.asked.delete(node);
    }
  }

  private answer(to: NodeId, asked: Asked): void {
    while (asked.bytesLeft > 0 && asked.loading === 0 && asked.waiting.length > 0) {
      const portion = asked.waiting.splice(0, MAX_PORTION);
      asked.loading = portion.length;
      for (const held of portion)
        this.replicas.with(held.job, (kept) => {
          asked.loading--;
          asked.bytesLeft -= this.tell(to, held, kept);
        });
    }
  }

  /** How many bytes that took, about. */
  private tell(to: NodeId, { job, birth, accepted }: Held, kept: Kept | undefined): number {
    const { out } = this;
    const record = kept?.record;
    if (this.isLostBirth(job, birth)) {
      out.send(to, { kind: 'birthLost', job, birth });
      return 0;
    }
    // A node that let it go knows of its own place only, and one whose row is damaged of nothing.
    if (!record) return 0;
    const { header } = record;
    if (header.birth !== birth) {
      out.send(to, { kind: 'clash', record });
      return bytesOf(record);
    }
    const isOurs = ownerOf(header) === out.self;
    if (!replicasOf(header).includes(to)) {
      const isSettled = kept.isSettled && record.job.state.tag === 'final';
      if (isOurs || isSettled) {
        const about = { job, birth, ...header.accepted };
        out.send(to, { kind: 'retire', ...about, ...(isSettled && { isSettled }) });
      }
      return 0;
    }
    const isTold = compareValues(header.accepted, accepted) > 0 && !this.isOwned(job);
    if (isTold) out.send(to, { kind: 'accept', record });
    if (kept.isSettled && record.job.state.tag === 'final')
      out.send(to, { kind: 'settled', job, ...header.accepted, isEverywhere: false });
    return isTold ? bytesOf(record) : 0;
  }
}

/** Without the small parts. */
function bytesOf({ job: { spec, state } }: JobRecord): number {
  const outcome = state.tag === 'final' ? state.final.outcome : undefined;
  const outputBytes = (outcome?.stdout.bytes.length ?? 0) + (outcome?.stderr.bytes.length ?? 0);
  return spec.command.length + spec.params.length + outputBytes;
}
