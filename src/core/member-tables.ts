/**
 * Tables of members, by which a node that reaches one other comes to know them all, and learns how
 * far the disks of those it has not met had come. One is told over each new link while it is small,
 * and one goes to a random peer every 30 s. If a large one went over each new link too, forming a
 * mesh would cost the third power of its size: with 200 nodes that was three quarters of the work
 * until all knew all. A node asks for large ones, and only a few of those it meets at a time: the
 * first tables tell nearly everything, and a mesh that has formed asks again when it meets another.
 */
import type { NodeId } from '../base/ids.ts';
import type { MonoMs } from '../base/instant.ts';
import { randomBelow } from '../base/random.ts';
import type { Member } from './member.ts';
import type { MemberEntry } from './messages.ts';
import type { Outgoing } from './outgoing.ts';

const TABLE_INTERVAL_MS = 30_000;
const MAX_TABLE = 256;
/** Up to this size it is told unasked. */
const SMALL_TABLE = 64;
const MAX_ASKS = 8;
const ASKS_PER_SECOND = 1;
/** Between two answers to one peer. */
const ANSWER_INTERVAL_MS = 1000;

export class MemberTables {
  private readonly out: Outgoing;
  private readonly members: ReadonlyMap<NodeId, Member>;
  private exchangedAt: MonoMs;
  /** Nodes that may be asked for their table now, as of `asksAt`. */
  private asks = MAX_ASKS;
  private asksAt: MonoMs;

  /** @param members all that are known, by their node; it changes as they come and go */
  constructor(out: Outgoing, members: ReadonlyMap<NodeId, Member>) {
    this.out = out;
    this.members = members;
    this.exchangedAt = out.now.mono;
    this.asksAt = out.now.mono;
  }

  onLinkUp(member: Member): void {
    if (this.members.size <= SMALL_TABLE) this.tell(member);
    this.ask(member);
  }

  private ask(member: Member): void {
    const { out } = this;
    const earned = ((out.now.mono - this.asksAt) / 1000) * ASKS_PER_SECOND;
    this.asks = Math.min(MAX_ASKS, this.asks + earned);
    this.asksAt = out.now.mono;
    if (this.asks < 1) return;
    this.asks--;
    out.signal(member.facts.node, { kind: 'members', members: [] });
  }

  onAsked(member: Member): void {
    if (this.out.now.mono - member.toldTableAt < ANSWER_INTERVAL_MS) return;
    this.tell(member);
  }

  onTick(): void {
    const { now, random } = this.out;
    if (now.mono - this.exchangedAt < TABLE_INTERVAL_MS) return;
    this.exchangedAt = now.mono;
    const linked = [...this.members.values()].filter(({ isLinked }) => isLinked);
    const chosen = linked[randomBelow(random, linked.length)];
    if (chosen) this.tell(chosen);
  }

  private tell(to: Member): void {
    const known = [...this.members.values()].filter(
      (member) => member !== to && member.state !== 'left',
    );
    // Those that can be dialled come first.
    const members = [...known.filter(isHere), ...known.filter((member) => !isHere(member))]
      .slice(0, MAX_TABLE)
      .map(entryOf);
    to.toldTableAt = this.out.now.mono;
    // An empty one would be a question.
    if (members.length > 0) this.out.signal(to.facts.node, { kind: 'members', members });
  }
}

const isHere = (member: Member): boolean => member.isLinked && member.state === 'alive';

function entryOf(member: Member): MemberEntry {
  const { facts, boot, commits, host } = member;
  const { node } = facts;
  if (!isHere(member)) return { node, boot, commits, hosts: [], linkPort: 0 };
  const hosts = [host, ...facts.hosts.filter((other) => other !== host)].slice(0, 8);
  return { node, boot, commits, hosts, linkPort: facts.linkPort };
}
