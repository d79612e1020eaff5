/**
 * The proposer's half of the replicated register of one job: `propose` a value, hear `onDecided`
 * when a quorum of its replica sets has it on disk. Whatever must not be taken back (a 201, a final
 * state, an acknowledgement, the answer to a cancel) hangs on the decision and never on a commit.
 *
 * - The own disk is a voter like any other: its vote comes with the commit.
 * - A replica that lacks the newest value is told again until it has it, for as long as it lives;
 *   what one lacks that is dead is asked for by itself when it is back (`holding`).
 * - Alone in a pair: an owner whose peer is dead decides by itself if this very boot of it made the
 *   record or once had the peer's word for its epoch. What the peer lacks then is marked on disk,
 *   and pongs tell the peer that there are marks: only a peer that knows of none may take over
 *   from an owner whose process is gone. Most often the value itself comes before the first pong;
 *   not so while the owner's disk takes no writes, which holds back everything but pongs.
 */
import { isSameBoot, type JobId, type NodeId } from '../base/ids.ts';
import { asMono, type MonoMs } from '../base/instant.ts';
import { Interned } from '../base/interned.ts';
import type { JobRecord } from './job-record.ts';
import type { MemberState } from './member.ts';
import type { RegisterMessage } from './messages.ts';
import type { Outgoing } from './outgoing.ts';
import { isDecided, isOnly, replicasOf } from './quorum.ts';
import { compareEpochs, type ReplicaSets } from './record.ts';
import { type Replicas, yesAtOf } from './replicas.ts';

const REPEAT_MS = 1000;
/** Told again to one replica in a tick: each may be 64 KiB, and a link takes 16 MiB. */
const MAX_REPEATS = 100;

export interface RegisterParts {
  readonly out: Outgoing;
  readonly replicas: Replicas;
  readonly stateOf: (node: NodeId) => MemberState | undefined;
  readonly isBanned: (node: NodeId) => boolean;
  readonly onDecided: (record: JobRecord, decision: Decision) => void;
}

export interface Decision {
  /** When the value was sent: nobody else can have led the job then. */
  readonly sentAt: MonoMs;
  /** The youngest yes to a lease that any of the voters gave before this value. */
  readonly youngestYes: MonoMs;
}

interface Proposal {
  readonly record: JobRecord;
  readonly sentAt: MonoMs;
}

interface Tally {
  newest: JobRecord;
  /** Undecided values, oldest first. */
  open: readonly Proposal[];
  /** Highest version of the newest value's epoch that each of its replicas has; no others. */
  votes: ReadonlyMap<NodeId, number>;
  youngestYes: MonoMs;
  /** This boot made the record, or has had the peer's word for this epoch. */
  hasPairRight: boolean;
  lacking: NodeId | undefined;
}

export class Register {
  private readonly parts: RegisterParts;
  private readonly tallies = new Map<JobId, Tally>();
  private readonly tables = new Interned<ReadonlyMap<NodeId, number>>();
  /** By replica: what it lacks, and when it was last told; the longest ago first. */
  private readonly lagging = new Map<NodeId, Map<JobId, MonoMs>>();
  /** Values decided alone, by the peer that lacks them. */
  private readonly marks = new Map<NodeId, Set<JobId>>();
  /** By peer of a pair: what went on without it and is over, while it has an older value still. */
  private readonly letGo = new Map<NodeId, Set<JobId>>();

  constructor(parts: RegisterParts) {
    this.parts = parts;
  }

  // -------------------------------------------------------------- proposing

  /** @param hasPairRight for the first value of this owner: see the note on top */
  propose(record: JobRecord, hasPairRight = false): void {
    const { out, replicas } = this.parts;
    const { job } = record.header;
    const sentAt = out.now.mono;
    const tally = this.tallyFor(record, hasPairRight);
    tally.newest = record;
    tally.open = [...tally.open, { record, sentAt }];
    this.dropVotesOfOthers(tally);
    const before = replicas.keepOwn(record);
    if (before !== undefined && before > tally.youngestYes) tally.youngestYes = before;
    for (const node of replicasOf(record.header)) {
      if (node === out.self) continue;
      this.noteLagging(node, job, sentAt);
      out.send(node, { kind: 'accept', record });
    }
  }

  private tallyFor(record: JobRecord, hasPairRight: boolean): Tally {
    const { job, accepted } = record.header;
    const known = this.tallies.get(job);
    const isSameEpoch =
      known !== undefined &&
      compareEpochs(known.newest.header.accepted.epoch, accepted.epoch) === 0;
    if (isSameEpoch) return known;
    const tally: Tally = {
      newest: record,
      open: NOTHING_OPEN,
      votes: NO_VOTES,
      youngestYes: asMono(Number.NEGATIVE_INFINITY),
      hasPairRight,
      lacking: this.markedFor(job, record.header),
    };
    this.tallies.set(job, tally);
    return tally;
  }

  /** Who is let go keeps nothing, and has to take it anew should it be chosen again. */
  private dropVotesOfOthers(tally: Tally): void {
    const kept = replicasOf(tally.newest.header);
    const votes = [...tally.votes].filter(([node]) => kept.includes(node));
    if (votes.length < tally.votes.size) tally.votes = this.shared(new Map(votes));
  }

  /** The same of all jobs that wait with equal votes, of which there may be a million. */
  private shared(votes: ReadonlyMap<NodeId, number>): ReadonlyMap<NodeId, number> {
    return this.tables.get([...votes].join(' '), () => votes);
  }

  /** The value was never written and never will be, or another node decides now. */
  withdraw(job: JobId): void {
    const tally = this.tallies.get(job);
    if (!tally) return;
    this.tallies.delete(job);
    for (const node of replicasOf(tally.newest.header)) this.noteVoted(node, job);
  }

  /** This node's disk has one of its first values; until then it can still be withdrawn. */
  isOnOwnDisk(job: JobId): boolean {
    return (this.tallies.get(job)?.votes.get(this.parts.out.self) ?? 0) > 0;
  }

  /** Disks that are known to have some value of this owner's, and so the job. */
  holdersOf(job: JobId): number {
    return this.tallies.get(job)?.votes.size ?? 0;
  }

  lackingOf(job: JobId): NodeId | undefined {
    return this.tallies.get(job)?.lacking;
  }

  // -------------------------------------------------------------- votes

  /** A commit of this node; of a value it wrote itself, in this life. */
  onOwnDisk(record: JobRecord): void {
    const { header } = record;
    const { epoch, version } = header.accepted;
    const isOwn = epoch.node === this.parts.out.self;
    if (!isOwn || !isSameBoot(header.writerBoot, this.parts.out.boot)) return;
    this.onVote(this.parts.out.self, { job: header.job, epoch, version });
  }

  onVote(from: NodeId, vote: Pick<Of<'accepted'>, 'job' | 'epoch' | 'version' | 'yesAgoMs'>): void {
    const tally = this.tallies.get(vote.job);
    if (vote.version === 0) {
      this.onLetGo(from, vote.job, tally);
      return;
    }
    if (!tally) return;
    const { accepted, rs, oldRs } = tally.newest.header;
    if (compareEpochs(accepted.epoch, vote.epoch) !== 0) return;
    const isReplica = replicasOf(tally.newest.header).includes(from);
    const isNews = isReplica && (tally.votes.get(from) ?? 0) < vote.version;
    if (isNews) tally.votes = this.shared(new Map(tally.votes).set(from, vote.version));
    const yesAt = yesAtOf(this.parts.out.now.mono, vote.yesAgoMs);
    if (yesAt > tally.youngestYes) tally.youngestYes = yesAt;
    if (from !== this.parts.out.self && rs.length === 2 && oldRs.length === 0)
      tally.hasPairRight = true;
    if (vote.version >= accepted.version) this.noteVoted(from, vote.job);
    if (tally.lacking === from && vote.version >= accepted.version) this.unmark(vote.job, tally);
    if (isNews) this.settle(vote.job, tally);
  }

  /** A later version contains the earlier ones, so its decision is theirs too. */
  private settle(job: JobId, tally: Tally): void {
    for (;;) {
      const last = tally.open.findLastIndex(({ record }) => this.hasQuorum(record, tally));
      if (last < 0) break;
      const { youngestYes } = tally;
      const decided = tally.open.slice(0, last + 1);
      tally.open = last + 1 < tally.open.length ? tally.open.slice(last + 1) : NOTHING_OPEN;
      // Before what hangs on the first of them may change the sets, and with them whose votes count.
      for (const { record } of decided) this.markAbsent(record, tally);
      for (const { record, sentAt } of decided) {
        this.parts.onDecided(record, { sentAt, youngestYes });
        if (this.tallies.get(job) !== tally) return;
      }
    }
    if (tally.open.length === 0 && tally.newest.job.state.tag === 'final') this.finish(job, tally);
  }

  /** A decided final state: replicas that live are told until they have it, the others ask. */
  private finish(job: JobId, tally: Tally): void {
    const { out, replicas, stateOf, isBanned } = this.parts;
    const { header } = tally.newest;
    const { lacking } = tally;
    if (lacking !== undefined && !isBanned(lacking) && replicasOf(header).includes(lacking)) {
      // Final here, and told so; a restart asks the peer again.
      replicas.noteFinal(job);
      return;
    }
    if (lacking !== undefined) this.endMark(job, lacking);
    tally.lacking = undefined;
    const { epoch, version } = header.accepted;
    const others = replicasOf(header).filter((node) => node !== out.self && !isBanned(node));
    const missing = others.filter((node) => (tally.votes.get(node) ?? 0) < version);
    const isEverywhere = missing.length === 0;
    for (const to of others) {
      if (missing.includes(to)) continue;
      out.send(to, { kind: 'settled', job, epoch, version, isEverywhere });
    }
    // One that nobody else keeps was written as settled.
    const isNoted = replicasOf(header).length === 1 || replicas.get(job)?.isSettled === true;
    if (!isNoted || (isEverywhere && others.length > 0)) replicas.settle(job, isEverywhere);
    const isHopeless = missing.every((node) => stateOf(node) !== 'alive');
    if (isHopeless) this.withdraw(job);
  }

  /**
   * A record that only this node kept is on its way to others, who are gone before they had it.
   * Nobody can lead it without this node's promise, so its own word is enough to go back.
   */
  private isSharedInVain({ header }: JobRecord, tally: Tally): boolean {
    const { out, stateOf } = this.parts;
    const has = (node: NodeId): boolean => (tally.votes.get(node) ?? 0) >= header.accepted.version;
    if (!isOnly(header.oldRs, out.self) || !has(out.self)) return false;
    const missing = header.rs.filter((node) => !has(node));
    return missing.every((node) => stateOf(node) === 'dead' || stateOf(node) === 'left');
  }

  private hasQuorum(record: JobRecord, tally: Tally): boolean {
    const { version } = record.header.accepted;
    const { isBanned, stateOf, out } = this.parts;
    if (this.isSharedInVain(record, tally)) return true;
    return isDecided(record.header, (node) => (tally.votes.get(node) ?? 0) >= version, {
      self: out.self,
      isBanned,
      isAloneWithout: (peer) =>
        tally.hasPairRight && (stateOf(peer) === 'dead' || stateOf(peer) === 'left'),
    });
  }

  // -------------------------------------------------------------- alone in a pair

  /**
   * Of two sets the old one's peer: its value may name the old set alone, and be followed with. Who
   * has one that names both needs a word of both.
   */
  private markAbsent(record: JobRecord, tally: Tally): void {
    const { rs, oldRs, job, accepted } = record.header;
    if (isOnly(oldRs, this.parts.out.self)) return;
    for (const set of [oldRs, rs]) {
      if (set.length !== 2) continue;
      const peer = set.find((node) => node !== this.parts.out.self);
      if (!peer || this.parts.isBanned(peer)) continue;
      if ((tally.votes.get(peer) ?? 0) >= accepted.version) continue;
      if (tally.lacking === peer) return;
      tally.lacking = peer;
      this.mark(job, peer);
      this.parts.out.persist({ kind: 'marked', job, lacking: peer });
      return;
    }
  }

  private mark(job: JobId, peer: NodeId): void {
    const jobs = this.marks.get(peer);
    if (jobs) jobs.add(job);
    else this.marks.set(peer, new Set([job]));
  }

  private unmark(job: JobId, tally: Tally): void {
    if (tally.lacking) this.clearMark(job, tally.lacking);
    tally.lacking = undefined;
  }

  /** A mark of an earlier life. */
  restoreMark(job: JobId, peer: NodeId): void {
    this.mark(job, peer);
  }

  /** The peer has the value, or a newer one, on its disk: only that ends a mark. */
  clearMark(job: JobId, peer: NodeId): void {
    if (this.marks.get(peer)?.delete(job))
      this.parts.out.persist({ kind: 'marked', job, lacking: undefined });
  }

  /** The peer is in the sets no more, but does not know it: it must not follow with what it has. */
  private endMark(job: JobId, peer: NodeId): void {
    this.clearMark(job, peer);
    if (this.parts.isBanned(peer)) return;
    const jobs = this.letGo.get(peer);
    if (jobs) jobs.add(job);
    else this.letGo.set(peer, new Set([job]));
  }

  /** The peer keeps nothing of it any more. */
  private onLetGo(peer: NodeId, job: JobId, tally: Tally | undefined): void {
    const jobs = this.letGo.get(peer);
    jobs?.delete(job);
    if (jobs?.size === 0) this.letGo.delete(peer);
    const isMember = tally !== undefined && replicasOf(tally.newest.header).includes(peer);
    if (tally?.lacking === peer && !isMember) this.unmark(job, tally);
  }

  /** Who lacks what this node decided alone, also in an earlier epoch of it. */
  private markedFor(job: JobId, sets: ReplicaSets): NodeId | undefined {
    for (const [peer, jobs] of this.marks) {
      if (!jobs.has(job)) continue;
      if (replicasOf(sets).includes(peer)) return peer;
      this.endMark(job, peer);
    }
    return undefined;
  }

  /** Of all peers: whoever follows this node alone must know everything it decided alone. */
  marksFor(peer: NodeId): number {
    let count = this.letGo.get(peer)?.size ?? 0;
    for (const jobs of this.marks.values()) count += jobs.size;
    return count;
  }

  // -------------------------------------------------------------- telling again

  private noteLagging(node: NodeId, job: JobId, at: MonoMs): void {
    const jobs = this.lagging.get(node);
    if (!jobs) {
      this.lagging.set(node, new Map([[job, at]]));
      return;
    }
    jobs.delete(job);
    jobs.set(job, at);
  }

  private noteVoted(node: NodeId, job: JobId): void {
    const jobs = this.lagging.get(node);
    jobs?.delete(job);
    if (jobs?.size === 0) this.lagging.delete(node);
  }

  onTick(): void {
    const { mono } = this.parts.out.now;
    for (const [node, jobs] of this.lagging) {
      if (this.parts.stateOf(node) !== 'alive') continue;
      const due: JobId[] = [];
      for (const [job, toldAt] of jobs) {
        if (mono - toldAt < REPEAT_MS || due.length >= MAX_REPEATS) break;
        due.push(job);
      }
      for (const job of due) this.tellAgain(node, job);
    }
  }

  private tellAgain(node: NodeId, job: JobId): void {
    const tally = this.tallies.get(job);
    if (!tally) {
      this.noteVoted(node, job);
      return;
    }
    const { out } = this.parts;
    const { header } = tally.newest;
    if (!replicasOf(header).includes(node)) {
      this.noteVoted(node, job);
      const { birth, accepted } = header;
      if (header.oldRs.length === 0) out.send(node, { kind: 'retire', job, birth, ...accepted });
      return;
    }
    this.noteLagging(node, job, out.now.mono);
    // While the own disk takes no writes the first telling waits for it too.
    if ((tally.votes.get(out.self) ?? 0) < tally.newest.header.accepted.version) return;
    out.send(node, { kind: 'accept', record: tally.newest });
  }

  /** A new link: what it lacks is told at once, as far as it fits; the rest with the ticks. */
  onPeerUp(node: NodeId): void {
    const jobs = this.lagging.get(node);
    if (!jobs) return;
    for (const job of jobs.keys()) jobs.set(job, asMono(Number.NEGATIVE_INFINITY));
    for (const job of [...jobs.keys()].slice(0, MAX_REPEATS)) this.tellAgain(node, job);
  }

  /** Somebody died, left or was banned: what waited for its word may be decided without. */
  recount(node: NodeId): void {
    for (const job of [...(this.lagging.get(node)?.keys() ?? [])]) {
      const tally = this.tallies.get(job);
      if (tally) this.settle(job, tally);
    }
  }
}

const NO_VOTES: ReadonlyMap<NodeId, number> = new Map<NodeId, number>([]);
const NOTHING_OPEN: readonly Proposal[] = [];

type Of<K extends RegisterMessage['kind']> = Extract<RegisterMessage, { kind: K }>;
