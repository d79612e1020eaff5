/**
 * Who decides about a job whose owner is gone. Phase one of Paxos: a candidate asks all replicas
 * to take nothing below its epoch; when a quorum of every replica set that the answers name has
 * promised, the value with the highest (epoch, version) among them goes on under the new epoch.
 *
 * - Rank r among the replicas waits (r − 1) × 1.5 s after the owner's death, so that one candidate
 *   usually meets nobody. One that is refused waits a random time and looks again.
 * - A node that is started again asks for its own jobs at once, whatever it has on its disk: an
 *   old epoch is never resumed, since what it wrote last may have been decided without it knowing.
 *   To its replicas a new boot counts as the owner's death; they take what it leaves.
 * - A pair cannot have both safety and takeover on silence. A replica follows a dead owner alone
 *   only if the owner's process is known to be gone (its port refused two dials) within 4 s of a
 *   ping that it answered without marks: it decides alone 7 s after it last heard us, so it cannot
 *   have decided anything meanwhile. That right ends with the first word of another boot.
 * - A candidate that finds that the record has moved away from it does not lead: it hands what it
 *   was promised to a replica and drops its own copy once that one was promised more.
 * - The age of the youngest yes to a lease travels with each promise. The winner starts nothing
 *   before 6.6 s after it, unless it finds the attempt.
 */
import { isSameBoot, type JobId, type NodeId } from '../base/ids.ts';
import { afterMono, asMono, type MonoMs } from '../base/instant.ts';
import { randomBelow } from '../base/random.ts';
import type { JobRecord } from './job-record.ts';
import type { Member } from './member.ts';
import type { RegisterMessage } from './messages.ts';
import type { Outgoing } from './outgoing.ts';
import { bindingOf, isDecided, isOnly, newestOf, replicasOf } from './quorum.ts';
import {
  type Accepted,
  compareEpochs,
  compareValues,
  type Epoch,
  ownerOf,
  RECORD_VERSION,
  type RecordHeader,
} from './record.ts';
import { type Kept, leaderOf, type Replicas, yesAtOf } from './replicas.ts';

const RANK_STEP_MS = 1500;
const REPEAT_MS = 500;
/** A candidate that another one beat waits for its value so long, then tries again. */
const BACKOFF_MS = 1000;
/** From a promise to the first value under it; after that nobody is waited for. */
const PROMISE_MS = 10_000;
/**
 * Candidacies open at once: each may bring a record of 64 KiB from two replicas, and a link that has
 * more than 16 MiB before it is closed. The rest of a dead node's jobs follows as these are won.
 */
const MAX_OPEN = 100;
/** A leader that has not been a member since this node started counts as dead after this. */
const UNSEEN_MS = 7000;

export interface TakeoverParts {
  readonly out: Outgoing;
  readonly replicas: Replicas;
  readonly member: (node: NodeId) => Member | undefined;
  readonly isBanned: (node: NodeId) => boolean;
  /** Every other node that can be asked now. */
  readonly linked: () => readonly NodeId[];
  /**
   * Those too that are out of reach, or were not met since the start, and are not given up.
   * @param isForLong all that have not said that they leave, however long they are out of reach
   */
  readonly listed: (isForLong: boolean) => readonly NodeId[];
  readonly isOwned: (job: JobId) => boolean;
  readonly ownedCount: () => number;
  /** The owner's process is gone and nothing of a pair's was decided without this node. */
  readonly mayFollowAlone: (owner: NodeId) => boolean;
  readonly onWon: (found: JobRecord, won: Won) => void;
  /** A replica has another birth of the id than this node. */
  readonly onOther: (node: NodeId, own: JobRecord, theirs: JobRecord) => void;
}

export interface Won {
  readonly epoch: Epoch;
  readonly youngestYes: MonoMs;
  readonly hasPairRight: boolean;
  /** Its last owner said of just this value that nothing runs, whatever was renewed before. */
  readonly isIdle: boolean;
}

interface Promised {
  readonly record: JobRecord | undefined;
  readonly yesAt: MonoMs;
}

interface Candidacy {
  readonly epoch: Epoch;
  readonly promises: Map<NodeId, Promised>;
  /** Those whose record moved away: they have no say, and nothing to tell. */
  readonly without: Set<NodeId>;
  /** Since the last time that all were. */
  readonly asked: Set<NodeId>;
  /** The value under which its owner has said that nothing runs. */
  readonly idle: Accepted | undefined;
  /** Refused: it stands again at `askAt`. */
  readonly isBeaten: boolean;
  askAt: MonoMs;
}

export class Takeover {
  private readonly parts: TakeoverParts;
  private readonly candidacies = new Map<JobId, Candidacy>();
  /** Highest counters that refused this node. */
  private readonly counters = new Map<JobId, number>();
  /** Since when a leader is gone, or is in a later life than its records. */
  private readonly goneSince = new Map<NodeId, MonoMs>();
  private readonly bornAt: MonoMs;
  /** Looks that had to stop go on where they did: there may be a million jobs. */
  private readonly unfinished = new Map<NodeId, { jobs: Iterator<JobId>; hasFound: boolean }>();

  constructor(parts: TakeoverParts) {
    this.parts = parts;
    this.bornAt = parts.out.now.mono;
  }

  get size(): number {
    return this.candidacies.size;
  }

  // -------------------------------------------------------------- whose jobs have no owner

  onLeaderGone(node: NodeId): void {
    if (!this.goneSince.has(node)) this.goneSince.set(node, this.parts.out.now.mono);
  }

  /** Alive again, perhaps in another life: then it asks for its jobs itself, and first. */
  onLeaderUp(node: NodeId): void {
    this.goneSince.set(node, this.parts.out.now.mono);
  }

  onTick(): void {
    this.lookAround();
    const { mono } = this.parts.out.now;
    for (const [job, candidacy] of this.candidacies) {
      if (mono >= candidacy.askAt) this.repeat(job, candidacy);
    }
  }

  private lookAround(): void {
    for (const leader of this.parts.replicas.leaders()) this.look(leader);
    this.lookAtPromises();
  }

  /** A candidate that lives asks again and writes soon, unless it has no cause any more. */
  private lookAtPromises(): void {
    const { out, replicas, isOwned } = this.parts;
    for (const job of replicas.promisedBefore(asMono(out.now.mono - PROMISE_MS))) {
      const record = replicas.get(job)?.record;
      if (!record || isOwned(job) || this.candidacies.has(job) || !this.canWin(record)) continue;
      if (this.candidacies.size >= MAX_OPEN) return;
      this.stand(job);
    }
  }

  private look(leader: NodeId): void {
    const { replicas, ownedCount, out } = this.parts;
    const since = this.doubtfulSince(leader);
    const jobs = replicas.ledBy(leader);
    // Nearly always all that this node leads is owned by it, and there may be a million of them.
    if (since === undefined || (leader === out.self && jobs.size <= ownedCount())) {
      this.unfinished.delete(leader);
      return;
    }
    const look = this.unfinished.get(leader) ?? { jobs: jobs.values(), hasFound: false };
    this.unfinished.set(leader, look);
    while (this.candidacies.size < MAX_OPEN) {
      const { value: job, done } = look.jobs.next();
      if (done) {
        this.unfinished.delete(leader);
        if (!look.hasFound && this.isUp(leader)) this.goneSince.delete(leader);
        return;
      }
      look.hasFound = this.consider(job, leader, since) || look.hasFound;
    }
  }

  /** Whether it has no owner that is known to live. */
  private consider(job: JobId, leader: NodeId, since: MonoMs): boolean {
    const { replicas, isOwned } = this.parts;
    const kept = replicas.get(job);
    const record = kept?.record;
    if (!record || kept.isSettled || isOwned(job) || this.isLedInThisLife(kept, record, leader)) {
      return false;
    }
    if (record.header.minVersion > RECORD_VERSION) return false;
    const isDue = this.isDue(record, leader, since);
    if (isDue && !this.candidacies.has(job) && this.canWin(record)) this.stand(job);
    return true;
  }

  /** Undefined: it lives, and in the life that wrote its records as far as is known. */
  private doubtfulSince(leader: NodeId): MonoMs | undefined {
    const { out, member, isBanned } = this.parts;
    if (leader === out.self || isBanned(leader)) return this.bornAt;
    const known = this.goneSince.get(leader);
    if (known !== undefined || member(leader)) return known;
    // Not a member in this life: it may be on its way.
    return out.now.mono - this.bornAt >= UNSEEN_MS ? afterMono(this.bornAt, UNSEEN_MS) : undefined;
  }

  private isUp(node: NodeId): boolean {
    const state = this.parts.member(node)?.state;
    return state === 'alive' || state === 'suspect';
  }

  /** A mere promise counts too: whoever lives and was promised something goes on asking. */
  private isLedInThisLife({ promised }: Kept, { header }: JobRecord, leader: NodeId): boolean {
    const member = this.parts.member(leader);
    if (!member || !this.isUp(leader) || this.parts.isBanned(leader)) return false;
    if (compareEpochs(promised, header.accepted.epoch) > 0) return true;
    return isSameBoot(header.writerBoot, member.boot);
  }

  private isDue(record: JobRecord, leader: NodeId, since: MonoMs): boolean {
    const { out, isBanned } = this.parts;
    if (leader === out.self) return true;
    const rank = this.rankOf(record, leader);
    const isBack = this.isUp(leader) && !isBanned(leader);
    return out.now.mono >= since + (isBack ? rank : rank - 1) * RANK_STEP_MS;
  }

  /** A candidate that cannot win only hinders an owner that is merely out of sight. */
  private canWin({ header }: JobRecord): boolean {
    const { out, isBanned } = this.parts;
    const isThere = (node: NodeId): boolean => node === out.self || this.isUp(node);
    const isAloneWithout = (peer: NodeId): boolean => this.mayFollowAlone(header, peer);
    if (this.isKeptBy(out.self, header)) return true;
    return isDecided(header, isThere, { self: out.self, isBanned, isAloneWithout });
  }

  /**
   * Whoever alone kept it, and was followed by nobody, has every value that can have been decided
   * since: the first one of a follower needs its word. Of what a follower has written it has that one
   * at least, and perhaps not the next, which may have left the old set behind.
   */
  private isKeptBy(node: NodeId, header: RecordHeader): boolean {
    return isOnly(header.oldRs, node) && ownerOf(header) === node;
  }

  /** Only the life that wrote what is here: what a later one did not lead again it may have ended. */
  private mayFollowAlone(header: RecordHeader, peer: NodeId): boolean {
    const member = this.parts.member(peer);
    if (ownerOf(header) !== peer || !member) return false;
    return isSameBoot(header.writerBoot, member.boot) && this.parts.mayFollowAlone(peer);
  }

  /** 1 for the first replica after the leader. */
  private rankOf(record: JobRecord, leader: NodeId): number {
    const others = replicasOf(record.header).filter((node) => node !== leader);
    const at = others.indexOf(this.parts.out.self);
    return (at < 0 ? others.length : at) + 1;
  }

  // -------------------------------------------------------------- standing

  onHandOver(from: NodeId, { job, birth, epoch, idleVersion }: Of<'handOver'>): void {
    this.parts.replicas.with(job, (kept) => {
      if (!kept?.record || this.candidacies.has(job)) return;
      const { header } = kept.record;
      const isMember = replicasOf(header).includes(from);
      const { out } = this.parts;
      if (header.birth !== birth) out.send(from, { kind: 'clash', record: kept.record });
      else if (!kept.isSettled && leaderOf(kept) === from)
        this.stand(job, idleVersion === undefined ? undefined : { epoch, version: idleVersion });
      else if (!isMember) out.send(from, { kind: 'retire', job, epoch, birth });
    });
  }

  /** Asks for the job's leadership, at once. @param idle nothing runs under this value */
  stand(job: JobId, idle?: Accepted): void {
    const { out, replicas } = this.parts;
    const kept = replicas.get(job);
    if (!kept?.record) return;
    const counter = Math.max(kept.promised.counter, this.counters.get(job) ?? 0) + 1;
    const candidacy: Candidacy = {
      epoch: { counter, node: out.self },
      promises: new Map(),
      without: new Set(),
      asked: new Set(),
      idle,
      isBeaten: false,
      askAt: afterMono(out.now.mono, REPEAT_MS),
    };
    this.candidacies.set(job, candidacy);
    this.ask(job, candidacy, kept.record);
  }

  private ask(job: JobId, candidacy: Candidacy, record: JobRecord): void {
    const { epoch, promises, without } = candidacy;
    const { birth } = record.header;
    const asked = new Set([this.parts.out.self, ...replicasOf(record.header)]);
    for (const promised of promises.values()) {
      if (promised.record) for (const node of replicasOf(promised.record.header)) asked.add(node);
    }
    if (this.isBaseShrunk(record)) for (const node of this.parts.linked()) asked.add(node);
    for (const node of asked) {
      if (candidacy.asked.has(node) || promises.has(node) || without.has(node)) continue;
      if (this.parts.isBanned(node)) continue;
      candidacy.asked.add(node);
      this.parts.out.send(node, { kind: 'prepare', job, epoch, ifAbsent: false, birth });
    }
  }

  private repeat(job: JobId, candidacy: Candidacy): void {
    const { out, replicas } = this.parts;
    const kept = replicas.get(job);
    if (!kept?.record || kept.isSettled || leaderOf(kept) !== out.self) {
      // Another one leads, or nothing is left to lead; `look` starts anew should that one go too.
      this.candidacies.delete(job);
      if (!kept?.record || kept.isSettled) this.counters.delete(job);
      return;
    }
    if (!this.canWin(kept.record)) {
      this.candidacies.delete(job);
      return;
    }
    if (candidacy.isBeaten) {
      this.stand(job);
      return;
    }
    candidacy.askAt = afterMono(out.now.mono, REPEAT_MS);
    candidacy.asked.clear();
    this.ask(job, candidacy, kept.record);
    this.count(job, candidacy);
  }

  // -------------------------------------------------------------- answers

  onPromise(from: NodeId, message: Of<'promise'>): void {
    const candidacy = this.candidacies.get(message.job);
    if (!candidacy || compareEpochs(candidacy.epoch, message.epoch) !== 0) return;
    const yesAt = yesAtOf(this.parts.out.now.mono, message.yesAgoMs);
    const kept = this.parts.replicas.get(message.job);
    const isOther = message.record?.header.birth !== kept?.record?.header.birth;
    if (message.record && kept?.record && isOther) {
      this.parts.onOther(from, kept.record, message.record);
      return;
    }
    candidacy.promises.set(from, { record: message.record, yesAt });
    if (message.record && kept?.record) this.ask(message.job, candidacy, kept.record);
    this.count(message.job, candidacy);
  }

  /** It keeps nothing of it any more. */
  onWithout(from: NodeId, { job, epoch }: Of<'accepted'>): void {
    const candidacy = this.candidacies.get(job);
    if (!candidacy || compareEpochs(candidacy.epoch, epoch) !== 0) return;
    candidacy.without.add(from);
    this.count(job, candidacy);
  }

  /** False: it answers no candidacy. */
  onRefused(message: Of<'refused'>): boolean {
    const candidacy = this.candidacies.get(message.job);
    if (!candidacy || compareEpochs(candidacy.epoch, message.epoch) !== 0) return false;
    const newest = newestOf(recordsOf(candidacy));
    if (newest && !replicasOf(newest.header).includes(this.parts.out.self)) {
      this.candidacies.delete(message.job);
      this.parts.replicas.drop(message.job, true);
    } else {
      this.noteBeaten(message.job, message.promised);
    }
    return true;
  }

  isStanding(job: JobId): boolean {
    return this.candidacies.has(job);
  }

  /** Its record is here no more. */
  withdraw(job: JobId): void {
    this.candidacies.delete(job);
    this.counters.delete(job);
  }

  /** Another node was promised more: its value is waited for before this node asks again. */
  noteBeaten(job: JobId, promised: Epoch): void {
    const { out } = this.parts;
    this.counters.set(job, Math.max(promised.counter, this.counters.get(job) ?? 0));
    const askAt = afterMono(out.now.mono, BACKOFF_MS + randomBelow(out.random, BACKOFF_MS));
    const known = this.candidacies.get(job);
    const epoch = known?.epoch ?? { counter: 0, node: out.self };
    this.candidacies.set(job, {
      epoch,
      promises: new Map(),
      without: new Set(),
      asked: new Set(),
      idle: undefined,
      isBeaten: true,
      askAt,
    });
  }

  private count(job: JobId, candidacy: Candidacy): void {
    const { isBanned, out } = this.parts;
    if (candidacy.isBeaten || !candidacy.promises.has(out.self)) return;
    // It may have promised more to another one meanwhile.
    const own = this.parts.replicas.get(job)?.promised;
    if (!own || compareEpochs(own, candidacy.epoch) !== 0) return;
    const records = recordsOf(candidacy);
    const newest = newestOf(records);
    const isStranded = newest !== undefined && this.isStranded(newest, candidacy);
    let isAlone = false;
    const rights = {
      self: out.self,
      isBanned: (node: NodeId) => isBanned(node) || (isStranded && candidacy.without.has(node)),
      isAloneWithout: (peer: NodeId): boolean => {
        isAlone = records.every(({ header }) => this.mayFollowAlone(header, peer));
        return isAlone;
      },
    };
    const hasPromised = (node: NodeId): boolean => candidacy.promises.has(node);
    const isWon = ({ header }: JobRecord): boolean =>
      this.isKeptBy(out.self, header) || isDecided(header, hasPromised, rights);
    if (!bindingOf(records, candidacy.without).every(isWon)) return;
    if (!newest || !this.hasAskedAround(candidacy, records, isStranded)) return;
    if (replicasOf(newest.header).includes(out.self)) this.win(job, candidacy, newest, isAlone);
    else this.passOn(job, candidacy, newest);
  }

  /** Its replicas see this node as their leader, so one of them is asked to follow it. */
  private passOn(job: JobId, { epoch }: Candidacy, { header }: JobRecord): void {
    const heir = header.rs.find((node) => this.isUp(node));
    const { birth } = header;
    if (heir) this.parts.out.send(heir, { kind: 'handOver', job, birth, epoch });
  }

  private win(job: JobId, candidacy: Candidacy, found: JobRecord, isAlone: boolean): void {
    const { out, onWon } = this.parts;
    this.candidacies.delete(job);
    this.counters.delete(job);
    const ages = [...candidacy.promises.values()].map(({ yesAt }) => yesAt);
    // A lone owner's yes was enough for a lease, and nobody here knows when it gave the last one.
    // A banned node may have said yes to a lease until a moment ago.
    const isUnknown = isAlone || (this.isBaseShrunk(found) && !this.isOwnBefore(found));
    // What this node gave away itself was in its own record before anybody heard of it.
    const { idle } = candidacy;
    const isPending = found.job.state.tag === 'pending';
    const isSame = idle !== undefined && compareValues(idle, found.header.accepted) === 0;
    const isIdle = isSame && isPending;
    const isAllKnown = this.isOwnBefore(found) && isPending;
    if (isAllKnown) ages.splice(0);
    const youngestYes = isUnknown && !isAllKnown ? out.now.mono : asMono(Math.max(...ages));
    const others = replicasOf(found.header).filter((node) => node !== out.self);
    const hasPairRight = isAlone || others.some((node) => candidacy.promises.has(node));
    onWon(found, { epoch: candidacy.epoch, youngestYes, hasPairRight, isIdle });
    if (this.candidacies.size >= MAX_OPEN / 2) return;
    for (const leader of [...this.unfinished.keys()]) this.look(leader);
  }

  /**
   * What is left of a set after a ban may be one stale disk, while a node that is in no set known
   * here has what was decided since: every node is asked, and waited for until it has answered or
   * is off the list. One that is linked and silent may stand still, with just that value. Where it
   * is known that something was decided since, nobody goes off the list by mere silence.
   */
  private hasAskedAround(
    { promises, without }: Candidacy,
    records: readonly JobRecord[],
    isStranded: boolean,
  ): boolean {
    if (!records.some((record) => this.isBaseShrunk(record))) return true;
    const { out, linked, listed, isBanned } = this.parts;
    // It has just started, and has not met everybody yet.
    if (out.now.mono - this.bornAt < UNSEEN_MS) return false;
    const others = [...linked(), ...listed(isStranded)].filter((node) => !isBanned(node));
    return others.every((node) => promises.has(node) || without.has(node));
  }

  /**
   * The newest value that anybody has is one that a replica was let go from, and a banned node took
   * with it what came after. That replica promises nothing any more, as it has no say; so it is none
   * of the rest either, which goes on from here.
   */
  private isStranded(newest: JobRecord, { without }: Candidacy): boolean {
    const isLetGo = replicasOf(newest.header).some((node) => without.has(node));
    return isLetGo && this.isBaseShrunk(newest);
  }

  /** Some replica was banned. */
  private isBaseShrunk({ header }: JobRecord): boolean {
    return replicasOf(header).some(this.parts.isBanned);
  }

  private isOwnBefore(found: JobRecord): boolean {
    return ownerOf(found.header) === this.parts.out.self;
  }
}

const recordsOf = ({ promises }: Candidacy): JobRecord[] =>
  [...promises.values()].flatMap(({ record }) => record ?? []);

type Of<K extends RegisterMessage['kind']> = Extract<RegisterMessage, { kind: K }>;
