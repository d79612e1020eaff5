/**
 * Who is in the mesh. A heartbeat is only a hint that somebody can be dialled; a link is identity,
 * and any word over it is a sign of life. The state table is in member.ts.
 *
 * The times come from measurement: judging by silence of datagrams alone gives 4.5 false deaths
 * per pair and hour at 5 % loss; silence of 3 s on a link, then 4 s of unanswered questions, direct
 * and through three others, gave none in 4,000 pair-hours at 20 %. A process that is gone is known
 * sooner: its link closes and its port refuses two dials.
 *
 * A node whose own loop stood still must not bury the mesh: it has heard nobody because it did not
 * listen. After a late tick a verdict waits for a question sent since, for one second, and is put
 * off at most twice per peer, or steady load would end all detection.
 */
import { type BootId, isSameBoot, type NodeId } from '../base/ids.ts';
import { afterMono, asMono, type MonoMs } from '../base/instant.ts';
import { randomBelow } from '../base/random.ts';
import { AddressBook } from './addresses.ts';
import { type DiskAge, DiskAges, type KnownDisk } from './disk-ages.ts';
import { freeSlots, IDLE_LOAD, type Load, type NodeFacts } from './facts.ts';
import type { Member, MemberChange, MemberState } from './member.ts';
import { MemberTables } from './member-tables.ts';
import type { MemberEntry, MembershipMessage } from './messages.ts';
import type { Outgoing } from './outgoing.ts';

export const PING_INTERVAL_MS = 1000;
export const SUSPECT_AFTER_MS = 3000;
export const DEAD_AFTER_MS = 4000;
const PROBE_INTERVAL_MS = 1000;
const PROBES = 3;
/** A third node vouches only for whom it has heard within this time. */
const VOUCH_MS = 1500;
/** A tick this late means that the own loop stood still. */
const LATE_TICK_MS = 200;
const GUARD_MS = 1000;
const MAX_POSTPONEMENTS = 2;
const REFUSED_DIALS_OF_THE_DEAD = 2;
/**
 * An owner in a pair decides alone 7 s after it last heard us: what it answered so lately, without
 * marks, is all it has decided.
 */
const CLEAN_PING_MS = 4000;
const SETTLING_IN_MS = 5000;
/** Nodes that died or left are remembered so long; the store remembers them longer. */
const FORGET_MS = 24 * 3_600_000;

export interface MembershipParts {
  readonly out: Outgoing;
  /** When a dead peer leaves the list, after its death. */
  readonly peerTimeoutMs: number;
  readonly load: () => Load;
  /** What earlier lives of this node have seen of its peers. */
  readonly knownDisks: Iterable<KnownDisk>;
  /** A member says something new of itself. */
  readonly onFacts: () => void;
  readonly isBanned: (node: NodeId) => boolean;
  /** Values of pair records that this node decided alone and the peer lacks. */
  readonly marks: (peer: NodeId) => number;
  readonly onChange: (change: MemberChange) => void;
  /** It told its load; `isFreer`: it has more free slots than before. */
  readonly onLoad: (member: Member, isFreer: boolean) => void;
}

export class Membership {
  private readonly parts: MembershipParts;
  private readonly out: Outgoing;
  private readonly members = new Map<NodeId, Member>();
  private readonly addresses: AddressBook;
  private readonly disks: DiskAges;
  private readonly tables: MemberTables;
  /** The life of another process under this identity that was told last. */
  private twin: BootId | undefined;
  private serial = 0;
  private tickedAt: MonoMs | undefined;
  private stalledAt: MonoMs | undefined;
  private readonly bornAt: MonoMs;

  constructor(parts: MembershipParts) {
    this.parts = parts;
    this.out = parts.out;
    this.addresses = new AddressBook(parts.out);
    this.disks = new DiskAges(parts.knownDisks);
    this.tables = new MemberTables(parts.out, this.members);
    this.bornAt = parts.out.now.mono;
  }

  get(node: NodeId): Member | undefined {
    return this.members.get(node);
  }

  stateOf(node: NodeId): MemberState | undefined {
    return node === this.out.self ? 'alive' : this.members.get(node)?.state;
  }

  /** Also those that are shown to nobody any more. */
  known(): Member[] {
    return [...this.members.values()];
  }

  /** Everybody but those who left and those dead for longer than the peer timeout. */
  listed(): Member[] {
    return [...this.members.values()].filter((member) => !this.isGone(member));
  }

  /** Members that may be asked: linked and not dead. */
  linked(): Member[] {
    return [...this.members.values()].filter((member) => member.isLinked);
  }

  /** It has just started, and does not know yet who of those it has heard of lives. */
  isSettlingIn(): boolean {
    if (this.out.now.mono - this.bornAt >= SETTLING_IN_MS) return false;
    return this.addresses.isExpecting((node) => this.members.get(node)?.isLinked === true);
  }

  private isGone(member: Member): boolean {
    if (member.state === 'left') return true;
    return (
      member.state === 'dead' && this.out.now.mono - member.stateSince >= this.parts.peerTimeoutMs
    );
  }

  // -------------------------------------------------------------- links

  onHint(hint: { node: NodeId; boot: BootId; host: string; port: number }): void {
    if (hint.node === this.out.self) {
      this.noteTwin(hint);
      return;
    }
    if (this.isWanted(hint)) this.addresses.onHint(hint);
  }

  /** Not linked, and not the same life that said goodbye. */
  private isWanted({ node, boot }: { node: NodeId; boot: BootId }): boolean {
    if (this.parts.isBanned(node)) return false;
    const member = this.members.get(node);
    if (member?.state === 'left') return !isSameBoot(member.boot, boot);
    return !member?.isLinked;
  }

  private noteTwin(hint: { boot: BootId; host: string }): void {
    if (isSameBoot(hint.boot, this.out.boot)) return;
    // It is heard every second, and is told once.
    if (this.twin && isSameBoot(hint.boot, this.twin)) return;
    this.twin = hint.boot;
    const note = `a node at ${hint.host} uses this node's identity: two machines must not share a data folder`;
    this.out.event({ kind: 'anomaly', note, node: this.out.self });
  }

  onLinkUp(link: DiskAge & { node: NodeId; facts: NodeFacts; host: string }): void {
    if (this.parts.isBanned(link.node)) {
      this.turnAway(link.node);
      return;
    }
    const before = this.members.get(link.node);
    const refusal = this.disks.refusalOf(link.node, link);
    if (refusal) {
      this.out.emit({ kind: 'hangUp', node: link.node, reason: refusal.text });
      // The dial has ended, or it would count as open for ever.
      this.addresses.onDialFailed(link.node, { isUrgent: false });
      return;
    }
    this.disks.note(link.node, link);
    const { now } = this.out;
    const member: Member = {
      facts: link.facts,
      boot: link.boot,
      commits: link.commits,
      host: link.host,
      state: 'alive',
      stateSince: now.mono,
      isLinked: true,
      load: { ...IDLE_LOAD, slots: 0 },
      heardAt: now.mono,
      heardWall: now.wall,
      vouchedAt: now.mono,
      pingedAt: asMono(Number.NEGATIVE_INFINITY),
      probedAt: asMono(Number.NEGATIVE_INFINITY),
      refusedDials: 0,
      isProcessGone: false,
      pinged: { serial: 0, at: asMono(Number.NEGATIVE_INFINITY) },
      cleanPingAt: asMono(Number.NEGATIVE_INFINITY),
      guardedUntil: asMono(Number.NEGATIVE_INFINITY),
      postponements: 0,
      toldTableAt: asMono(Number.NEGATIVE_INFINITY),
    };
    this.members.set(link.node, member);
    this.addresses.onLinkUp(link);
    this.ping(member);
    this.tables.onLinkUp(member);
    const isReboot = before !== undefined && !isSameBoot(before.boot, link.boot);
    this.parts.onChange({ member, kind: 'up', isReboot, reason: `linked at ${link.host}` });
  }

  onLinkDown(link: { node: NodeId; boot: BootId; reason: string }): void {
    const member = this.members.get(link.node);
    if (!member?.isLinked || !isSameBoot(member.boot, link.boot)) return;
    member.isLinked = false;
    member.refusedDials = 0;
    if (member.state === 'left') return;
    this.addresses.onLinkDown(link.node);
    if (member.state === 'alive') this.change(member, 'suspect', `its link closed: ${link.reason}`);
  }

  onDialFailed(failure: { node: NodeId; isRefused: boolean; reason: string }): void {
    const member = this.members.get(failure.node);
    const isFastPath = failure.isRefused && member?.state === 'suspect' && !member.isLinked;
    if (isFastPath && ++member.refusedDials >= REFUSED_DIALS_OF_THE_DEAD) {
      member.isProcessGone = true;
      this.change(member, 'dead', 'its link closed and its port refused two dials');
    }
    this.addresses.onDialFailed(failure.node, {
      isUrgent: isFastPath && member.state === 'suspect',
    });
  }

  // -------------------------------------------------------------- messages

  onHeard(from: NodeId): void {
    const member = this.members.get(from);
    if (!member) return;
    member.heardAt = this.out.now.mono;
    member.heardWall = this.out.now.wall;
    member.postponements = 0;
    if (member.state === 'suspect' && member.isLinked) this.change(member, 'up', 'heard again');
    else if (member.state === 'dead' && member.isLinked) this.change(member, 'up', 'heard again');
  }

  onMessage(from: NodeId, message: MembershipMessage): void {
    const member = this.members.get(from);
    if (!member) return;
    switch (message.kind) {
      case 'ping':
        this.out.signal(from, {
          kind: 'pong',
          serial: message.serial,
          load: this.parts.load(),
          marks: this.parts.marks(from),
        });
        this.noteLoad(from, message.load);
        return;
      case 'pong':
        if (message.marks > 0) member.cleanPingAt = asMono(Number.NEGATIVE_INFINITY);
        else if (message.serial === member.pinged.serial) member.cleanPingAt = member.pinged.at;
        this.noteLoad(from, message.load);
        return;
      case 'probe':
        this.vouch(from, message.target);
        return;
      case 'heard':
        this.onVouched(message.target, message.agoMs);
        return;
      case 'members':
        if (message.members.length === 0) this.tables.onAsked(member);
        for (const entry of message.members) if (entry.node !== this.out.self) this.onEntry(entry);
        return;
      case 'facts':
        this.noteFacts(member, message.facts);
        return;
      case 'goodbye':
        this.onGoodbye(member, message.isBack);
        return;
      case 'banned':
        this.onBanned(from);
        return;
    }
  }

  private onEntry(entry: MemberEntry): void {
    const { node } = entry;
    const refusal = this.disks.learn(node, entry);
    const member = this.members.get(node);
    if (refusal && member?.isLinked) {
      this.out.emit({ kind: 'hangUp', node, reason: refusal.text });
      // A later start was seen: this may be no more than a link that its last life left open.
      const isDoubtful = entry.boot.counter > member.boot.counter;
      if (!isDoubtful) this.out.event({ kind: 'anomaly', note: refusal.text, node });
    } else if (entry.hosts.length > 0 && this.isWanted(entry)) this.addresses.onEntry(entry);
  }

  private noteFacts(member: Member, facts: NodeFacts): void {
    if (facts.node !== member.facts.node) return;
    member.facts = facts;
    this.parts.onFacts();
  }

  /** What this node says of itself is not what it said in its hellos. */
  tellFacts(facts: NodeFacts): void {
    for (const {
      facts: { node },
    } of this.linked())
      this.out.signal(node, { kind: 'facts', facts });
  }

  /** What an answer about slots, or a ping, says of the sender's load. */
  noteLoad(from: NodeId, load: Load): void {
    const member = this.members.get(from);
    if (!member) return;
    const isFreer = freeSlots(load) > freeSlots(member.load);
    // What has to do with slots only does not carry it.
    member.load = load.machine ? load : { ...load, machine: member.load.machine };
    this.parts.onLoad(member, isFreer);
  }

  /**
   * What an own answer or a result does to a peer's slots. Its next word corrects this; to wait for
   * that word would leave a slot unused for up to a second.
   */
  adjustLoad(node: NodeId, change: { claimed: number; running: number }): void {
    const load = this.members.get(node)?.load;
    if (!load) return;
    const claimed = Math.max(0, load.claimed + change.claimed);
    const running = Math.max(0, load.running + change.running);
    this.noteLoad(node, { ...load, claimed, running });
  }

  private vouch(asker: NodeId, target: NodeId): void {
    const member = this.members.get(target);
    if (!member?.isLinked) return;
    const agoMs = Math.round(this.out.now.mono - member.heardAt);
    if (agoMs <= VOUCH_MS) this.out.signal(asker, { kind: 'heard', target, agoMs });
  }

  private onVouched(target: NodeId, agoMs: number): void {
    const member = this.members.get(target);
    if (!member) return;
    const at = asMono(this.out.now.mono - agoMs);
    if (at > member.vouchedAt) member.vouchedAt = at;
  }

  // -------------------------------------------------------------- time

  onTick(intervalMs: number): void {
    const { mono } = this.out.now;
    const lateMs = this.tickedAt === undefined ? 0 : mono - this.tickedAt - intervalMs;
    this.tickedAt = mono;
    if (lateMs > LATE_TICK_MS) {
      this.stalledAt = mono;
      this.out.event({ kind: 'stalled', lateMs: Math.round(lateMs), at: mono });
    }
    for (const member of this.members.values()) this.check(member);
    this.forgetOld();
    this.addresses.onTick((node) => this.members.get(node)?.isLinked === true);
    this.tables.onTick();
  }

  private check(member: Member): void {
    const { mono } = this.out.now;
    if (member.isLinked && mono - member.pingedAt >= PING_INTERVAL_MS) this.ping(member);
    if (member.state === 'alive' && mono - member.heardAt > SUSPECT_AFTER_MS) {
      if (!this.isGuarded(member))
        this.change(member, 'suspect', `silent for ${SUSPECT_AFTER_MS / 1000} s`);
    } else if (member.state === 'suspect') {
      this.checkSuspect(member);
    }
  }

  private forgetOld(): void {
    for (const member of this.members.values()) {
      const isOver = member.state === 'dead' || member.state === 'left';
      if (isOver && this.out.now.mono - member.stateSince > FORGET_MS)
        this.members.delete(member.facts.node);
    }
  }

  private checkSuspect(member: Member): void {
    const { mono } = this.out.now;
    if (mono - member.probedAt >= PROBE_INTERVAL_MS) this.probe(member);
    const lastSign = Math.max(member.stateSince, member.heardAt, member.vouchedAt);
    if (mono - lastSign <= DEAD_AFTER_MS || this.isGuarded(member)) return;
    this.change(
      member,
      'dead',
      `no answer for ${DEAD_AFTER_MS / 1000} s, direct or through others`,
    );
    if (member.isLinked)
      this.out.emit({ kind: 'hangUp', node: member.facts.node, reason: 'it does not answer' });
    member.isLinked = false;
    this.addresses.onDead(member.facts.node);
  }

  private isGuarded(member: Member): boolean {
    const { mono } = this.out.now;
    const stalledSinceHeard = this.stalledAt !== undefined && this.stalledAt >= member.heardAt;
    const isNew =
      stalledSinceHeard && afterMono(this.stalledAt ?? mono, GUARD_MS) > member.guardedUntil;
    if (
      isNew &&
      mono < (this.stalledAt ?? 0) + GUARD_MS &&
      member.postponements < MAX_POSTPONEMENTS
    ) {
      member.postponements++;
      member.guardedUntil = afterMono(this.stalledAt ?? mono, GUARD_MS);
      if (member.isLinked) this.ping(member);
      else this.addresses.onLinkDown(member.facts.node);
      this.probe(member);
    }
    return mono < member.guardedUntil;
  }

  private ping(member: Member): void {
    member.pingedAt = this.out.now.mono;
    member.pinged = { serial: ++this.serial, at: this.out.now.mono };
    this.out.signal(member.facts.node, {
      kind: 'ping',
      serial: this.serial,
      load: this.parts.load(),
    });
  }

  /** Tells every peer the own load now, because it changed in kind (draining, disk). */
  pingAll(): void {
    for (const member of this.members.values()) if (member.isLinked) this.ping(member);
  }

  private probe(member: Member): void {
    member.probedAt = this.out.now.mono;
    const others = this.linked().filter((other) => other !== member && other.state === 'alive');
    for (let i = 0; i < PROBES && others.length > 0; i++) {
      const [third] = others.splice(randomBelow(this.out.random, others.length), 1);
      if (third) this.out.signal(third.facts.node, { kind: 'probe', target: member.facts.node });
    }
  }

  private change(member: Member, kind: MemberChange['kind'], reason: string): void {
    member.state = kind === 'up' ? 'alive' : kind;
    member.stateSince = this.out.now.mono;
    this.parts.onChange({ member, kind, isReboot: false, reason });
  }

  // -------------------------------------------------------------- goodbyes

  sayGoodbye(isBack: boolean): void {
    for (const member of this.linked())
      this.out.signal(member.facts.node, { kind: 'goodbye', isBack });
  }

  /** One that will be back already takes no new work; its death is judged like any other's. */
  private onGoodbye(member: Member, isBack: boolean): void {
    if (isBack) return;
    this.addresses.forget(member.facts.node);
    this.change(member, 'left', 'it said goodbye');
  }

  // -------------------------------------------------------------- bans

  private turnAway(node: NodeId): void {
    this.out.signal(node, { kind: 'banned' });
    this.out.emit({ kind: 'hangUp', node, reason: 'it was forgotten: it needs a new identity' });
    this.addresses.onDialFailed(node, { isUrgent: false });
  }

  private onBanned(from: NodeId): void {
    const note = `this node was forgotten by the mesh (told by ${from}): it starts again with a new identity, and hands in the unfinished jobs that nobody else knows`;
    this.out.event({ kind: 'banned', by: from });
    this.out.event({ kind: 'anomaly', note, node: this.out.self });
  }

  /** It is nobody any more, whatever state it was in. */
  ban(node: NodeId): void {
    const member = this.members.get(node);
    this.addresses.forget(node);
    if (!member) return;
    if (member.isLinked) this.turnAway(node);
    member.isLinked = false;
    if (member.state !== 'left') this.change(member, 'left', 'it was forgotten');
  }

  /** It ended, and everything it decided is here: nothing can have happened since. */
  isKnownGone(node: NodeId): boolean {
    const member = this.members.get(node);
    if (member?.state !== 'dead' || !member.isProcessGone) return false;
    return member.stateSince - member.cleanPingAt <= CLEAN_PING_MS;
  }
}
