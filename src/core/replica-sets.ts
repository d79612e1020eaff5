/**
 * Who keeps a job's record: its owner and the first two other members in the job's rendezvous
 * order. A set that is too small grows as soon as somebody is there; a place is refilled, or
 * dropped where nobody is left to fill it, when its node left, was banned, goes for good, or is
 * dead for a minute. A restart changes no set.
 *
 * A change is two decisions of the owner: {new, old}, which needs a quorum of both, then {new}.
 * From the first on every lease and every takeover needs both sets too. One change at a time for
 * a job, and a bounded number of jobs at a time, in the background.
 */
import type { JobId, NodeId } from '../base/ids.ts';
import { asMono, type MonoMs } from '../base/instant.ts';
import { Interned } from '../base/interned.ts';
import type { Member } from './member.ts';
import type { Outgoing } from './outgoing.ts';
import type { OwnedJob, Ownership } from './ownership.ts';
import { rendezvousOrder } from './placement.ts';
import { isOnly, replicasOf } from './quorum.ts';
import { NO_OLD_SET } from './record.ts';

const FULL_SET = 3;
/** A new record goes only to those heard so lately: another would hold up its acceptance. */
const STEADY_MS = 2000;
/** A dead node keeps its places so long. */
const REFILL_AFTER_MS = 60_000;
const CHECK_MS = 1000;
const MAX_LOOKED_AT = 2000;
const MAX_MOVING = 200;

export interface ReplicaSetParts {
  readonly out: Outgoing;
  readonly ownership: () => Ownership;
  readonly members: () => readonly Member[];
  readonly member: (node: NodeId) => Member | undefined;
  readonly isBanned: (node: NodeId) => boolean;
}

export class ReplicaSets {
  private readonly parts: ReplicaSetParts;
  private readonly moving = new Set<OwnedJob>();
  private readonly sets = new Interned<readonly NodeId[]>();
  private checkedAt: MonoMs = asMono(Number.NEGATIVE_INFINITY);
  /** Jobs to look at before there is nothing to do again. */
  private toLookAt: IterableIterator<OwnedJob> | undefined;
  private isDirty = true;

  constructor(parts: ReplicaSetParts) {
    this.parts = parts;
  }

  /** For a new job. @param wanted disks that the submit demands */
  choose(job: JobId, wanted: number | undefined): readonly NodeId[] {
    const { self } = this.parts.out;
    if (wanted === 1) return this.sets.get(self, () => [self]);
    const rs = [self, ...rendezvousOrder(job, this.steady()).slice(0, FULL_SET - 1)];
    return this.sets.get(rs.join(' '), () => rs);
  }

  /** For an id that clients choose: the first of its order, this node among them. */
  chooseForKey(job: JobId): NodeId[] {
    const { self } = this.parts.out;
    const first = rendezvousOrder(job, [self, ...this.living()]).slice(0, FULL_SET);
    return first.includes(self) ? first : [self, ...first.slice(0, FULL_SET - 1)];
  }

  /**
   * Also those that are silent for now: a node that stood still and wakes has heard nobody lately,
   * and must not take an id for itself that the others have long given.
   */
  private living(): NodeId[] {
    return this.parts
      .members()
      .filter(({ state, load }) => (state === 'alive' || state === 'suspect') && !load.leaving)
      .map(({ facts }) => facts.node);
  }

  private steady(): NodeId[] {
    const { out, members } = this.parts;
    return members()
      .filter(
        ({ state, isLinked, heardAt, load }) =>
          state === 'alive' && isLinked && !load.leaving && out.now.mono - heardAt <= STEADY_MS,
      )
      .map(({ facts }) => facts.node);
  }

  // -------------------------------------------------------------- changing

  /** Somebody came or went: every owned job is looked at again. */
  markChanged(): void {
    this.isDirty = true;
  }

  onTick(): void {
    const { mono } = this.parts.out.now;
    for (const owned of this.moving) if (!this.isOwned(owned)) this.moving.delete(owned);
    if (mono - this.checkedAt < CHECK_MS && !this.toLookAt) return;
    this.checkedAt = mono;
    if (!this.toLookAt && (this.isDirty || this.hasLeaving())) {
      this.isDirty = this.hasDying();
      this.toLookAt = this.parts.ownership().all();
    }
    this.lookOn();
  }

  /** Nodes whose places are refilled only after a while: there will be something to do again. */
  private hasDying(): boolean {
    const { mono } = this.parts.out.now;
    return this.parts
      .members()
      .some(
        ({ state, stateSince }) =>
          state === 'dead' && mono - stateSince <= REFILL_AFTER_MS + CHECK_MS,
      );
  }

  /** Nodes whose places are refilled while they wait for that: also of jobs that come over now. */
  private hasLeaving(): boolean {
    return this.parts.members().some(({ state, load }) => state === 'alive' && load.leaving);
  }

  private lookOn(): void {
    for (let i = 0; i < MAX_LOOKED_AT && this.moving.size < MAX_MOVING; i++) {
      const next = this.toLookAt?.next();
      if (!next || next.done) {
        this.toLookAt = undefined;
        return;
      }
      this.look(next.value);
    }
  }

  private look(owned: OwnedJob): void {
    const { header, job } = owned.record;
    const isBusy = this.moving.has(owned) || owned.stage.tag === 'settling';
    if (isBusy || job.state.tag === 'final' || !this.parts.ownership().isSettled(owned)) {
      // Looked at again when what it waits for is over.
      this.isDirty = true;
      return;
    }
    if (!header.rs.includes(this.parts.out.self)) this.passOn(owned);
    else if (header.oldRs.length > 0) this.finish(owned);
    else if (job.spec.replicas !== 1) this.change(owned, this.wanted(owned));
  }

  private wanted({ record: { header } }: OwnedJob): NodeId[] {
    const { self } = this.parts.out;
    const kept = header.rs.filter((node) => node === self || !this.isGone(node));
    if (kept.length >= FULL_SET) return kept;
    const others = rendezvousOrder(header.job, this.steady()).filter(
      (node) => !kept.includes(node),
    );
    return [...kept, ...others].slice(0, FULL_SET);
  }

  private isGone(node: NodeId): boolean {
    const { out, member, isBanned } = this.parts;
    if (isBanned(node)) return true;
    const known = member(node);
    if (!known) return false;
    if (known.state === 'left' || known.load.leaving) return true;
    return known.state === 'dead' && out.now.mono - known.stateSince >= REFILL_AFTER_MS;
  }

  private change(owned: OwnedJob, rs: NodeId[]): void {
    const before = owned.record.header.rs;
    const isSame = rs.length === before.length && rs.every((node) => before.includes(node));
    if (isSame || rs.length === 0) return;
    this.moving.add(owned);
    this.parts.ownership().proposeSets(owned, { rs, oldRs: before }, () => this.finish(owned));
  }

  /** It leads a record that is on its way to others: one of them finishes the move. */
  private passOn({ record: { header } }: OwnedJob): void {
    const { out, member } = this.parts;
    const { job, birth, accepted, rs } = header;
    this.isDirty = true;
    const heir = rs.find((node) => member(node)?.state === 'alive');
    if (heir) out.send(heir, { kind: 'handOver', job, birth, epoch: accepted.epoch });
  }

  private finish(owned: OwnedJob): void {
    const { out } = this.parts;
    const ownership = this.parts.ownership();
    const { rs: next, oldRs, job } = owned.record.header;
    const { self } = out;
    const isInVain =
      isOnly(oldRs, self) &&
      next.some((node) => node !== self && this.parts.member(node)?.state !== 'alive');
    const rs = isInVain ? oldRs : next;
    this.moving.add(owned);
    ownership.proposeSets(owned, { rs, oldRs: NO_OLD_SET }, () => {
      this.moving.delete(owned);
      const { birth, accepted } = owned.record.header;
      const left = replicasOf({ rs: next, oldRs }).filter((node) => !rs.includes(node));
      for (const node of left) out.send(node, { kind: 'retire', job, birth, ...accepted });
    });
  }

  private isOwned(owned: OwnedJob): boolean {
    return this.parts.ownership().get(owned.record.header.job) === owned;
  }
}
