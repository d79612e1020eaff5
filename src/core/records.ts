/**
 * The replicated records of jobs, as one part of the core: this table says which rule is where.
 *
 * | rule                                               | file            |
 * |----------------------------------------------------|-----------------|
 * | what this node keeps and has promised              | replicas.ts     |
 * | when a value of its own is decided                 | register.ts     |
 * | majorities, pairs, bans                            | quorum.ts       |
 * | who leads a job whose owner is gone                | takeover.ts     |
 * | who keeps a record, and how that changes           | replica-sets.ts |
 * | whether an attempt may run on                      | leases.ts       |
 * | first writes of ids that clients choose            | births.ts       |
 * | what a node missed that was away                   | catch-up.ts     |
 * | nodes that are never let in again                  | bans.ts         |
 *
 * Which moves a job makes is not its business: ownership.ts, assignments.ts and intake.ts propose.
 */
import type { Birth, JobId, NodeId, RequestId } from '../base/ids.ts';
import type { MonoMs } from '../base/instant.ts';
import { unreachable } from '../base/unreachable.ts';
import { Bans } from './bans.ts';
import { Births, conflictOfBirth } from './births.ts';
import { CatchUp } from './catch-up.ts';
import type { Write } from './effects.ts';
import type { StoredState, Submission } from './inputs.ts';
import type { JobRecord } from './job-record.ts';
import { Leases } from './leases.ts';
import type { Member } from './member.ts';
import type { Membership } from './membership.ts';
import type { JobMessage, RegisterMessage } from './messages.ts';
import type { Outgoing } from './outgoing.ts';
import type { Ownership } from './ownership.ts';
import { replicasOf } from './quorum.ts';
import { type Ban, compareEpochs, type Epoch } from './record.ts';
import { Register } from './register.ts';
import { ReplicaSets } from './replica-sets.ts';
import { Replicas } from './replicas.ts';
import { Takeover, type Won } from './takeover.ts';

export interface RecordParts {
  readonly out: Outgoing;
  /** Met in earlier lives: waited for so long after a start as if they were members out of reach. */
  readonly remembered: { readonly nodes: readonly NodeId[]; readonly forMs: number };
  readonly membership: () => Membership;
  readonly ownership: () => Ownership;
  /** This node leads the job now, with this value; it is not written under its epoch yet. */
  readonly onWon: (found: JobRecord, won: Won) => void;
  /** An id that a client chose is free: it may be written. */
  readonly onFree: (
    submission: Submission,
    at: { epoch: Epoch; rs: readonly NodeId[] },
    requests: RequestId[],
  ) => void;
  /** An own job gives way to another birth of its id: what runs of it is to end. */
  readonly onGivingWay: (job: JobId) => void;
  /** An outcome waits to be acknowledged by this node. */
  readonly isHearer: (node: NodeId) => boolean;
}

export class Records {
  readonly replicas: Replicas;
  readonly register: Register;
  readonly replicaSets: ReplicaSets;
  readonly births: Births;
  readonly leases: Leases;
  private readonly parts: RecordParts;
  private readonly out: Outgoing;
  private readonly bornAt: MonoMs;
  private readonly bans: Bans;
  private readonly takeover: Takeover;
  private readonly catchUp: CatchUp;

  constructor(parts: RecordParts) {
    this.parts = parts;
    this.out = parts.out;
    this.bornAt = parts.out.now.mono;
    const { out, membership, ownership } = parts;
    const isBanned = (node: NodeId): boolean => this.isBanned(node);
    const isOwned = (job: JobId): boolean => ownership().get(job) !== undefined;
    const isLostBirth = (job: JobId, birth: Birth): boolean => this.births.lost.has(job, birth);
    const linked = (): NodeId[] => this.linked();
    const member = (node: NodeId): Member | undefined => membership().get(node);
    this.bans = new Bans({ out, linked, onBanned: (ban) => this.onBanned(ban) });
    this.replicas = new Replicas({
      out,
      onDeposed: (job) => ownership().depose(job),
      isWanted: (job) => this.takeover.isStanding(job),
      onForeign: (job, owner) => this.register.clearMark(job, owner),
      isLostBirth,
    });
    const { replicas } = this;
    this.register = new Register({
      out,
      replicas,
      isBanned,
      stateOf: (node) => membership().stateOf(node),
      onDecided: (record, decision) => ownership().onDecided(record, decision),
    });
    this.leases = new Leases(out, replicas, isOwned);
    this.catchUp = new CatchUp(out, replicas, { isOwned, isLostBirth, linked });
    this.takeover = new Takeover({
      out,
      replicas,
      member,
      isBanned,
      linked,
      listed: (isForLong) => this.listed(isForLong),
      isOwned,
      ownedCount: () => ownership().size,
      mayFollowAlone: (owner) => membership().isKnownGone(owner),
      onWon: parts.onWon,
      onOther: (node, own, theirs) => this.births.compare(node, own, theirs),
    });
    this.replicaSets = new ReplicaSets({
      out,
      ownership,
      members: () => membership().known(),
      member,
      isBanned,
    });
    this.births = new Births({
      out,
      isBanned,
      isSettlingIn: () => membership().isSettlingIn(),
      chooseForKey: (job) => this.replicaSets.chooseForKey(job),
      onFree: parts.onFree,
      promisedOf: (job) => replicas.get(job)?.promised,
      withRecord: (job, act) =>
        replicas.with(job, (kept) => act(ownership().get(job)?.record ?? kept?.record)),
      onLost: (own) => this.giveWay(own),
    });
  }

  private listed(isForLong: boolean): NodeId[] {
    const { membership } = this.parts;
    const isHere = ({ state }: Member): boolean => state !== 'left';
    const members = isForLong ? membership().known().filter(isHere) : membership().listed();
    return [...nodesOf(members), ...this.notMetAgain()];
  }

  private notMetAgain(): NodeId[] {
    const { out, remembered, membership } = this.parts;
    if (out.now.mono >= this.bornAt + remembered.forMs) return [];
    return remembered.nodes.filter((node) => !membership().get(node));
  }

  private linked(): NodeId[] {
    return nodesOf(this.parts.membership().linked());
  }

  isBanned(node: NodeId): boolean {
    return this.bans.has(node);
  }

  // -------------------------------------------------------------- disk

  onRestored(state: StoredState): void {
    this.bans.restore(state.bans);
    this.replicas.restore(state);
    this.births.restore(state);
    for (const { header, lacking } of state.records)
      if (lacking) this.register.restoreMark(header.job, lacking);
  }

  /** Own jobs of an earlier life are asked for at once. */
  begin(): void {
    this.takeover.onTick();
  }

  onCommitted(write: Write): void {
    this.replicas.onCommitted(write);
    if (write.kind === 'record') this.register.onOwnDisk(write);
  }

  // -------------------------------------------------------------- messages

  onMessage(from: NodeId, message: RegisterMessage): void {
    switch (message.kind) {
      case 'accept':
        return this.replicas.onAccept(from, message);
      case 'accepted':
        if (message.version === 0) this.takeover.onWithout(from, message);
        return this.register.onVote(from, message);
      case 'refused':
        return this.onRefused(from, message);
      case 'prepare':
        return this.replicas.onPrepare(from, message);
      case 'promise':
        if (!this.births.onPromise(from, message)) this.takeover.onPromise(from, message);
        return;
      case 'settled':
        return this.replicas.onSettled(message);
      case 'retire':
        return this.replicas.onRetire(from, message);
      case 'handOver':
        return this.takeover.onHandOver(from, message);
      case 'holding':
        return this.catchUp.onHolding(from, message);
      case 'clash':
        return this.births.onClash(from, message);
      case 'birthLost':
        return this.births.onBirthLost(message);
      case 'bans':
        return this.bans.add(message.bans);
      default:
        return unreachable(message);
    }
  }

  /** Of a candidate's question, of a first write, or of an owner's value. */
  private onRefused(from: NodeId, message: Extract<RegisterMessage, { kind: 'refused' }>): void {
    if (this.births.onRefused(message)) return;
    const ownership = this.parts.ownership();
    const owned = ownership.get(message.job);
    const header = owned?.record.header;
    if (!owned || !header || compareEpochs(header.accepted.epoch, message.epoch) !== 0) {
      if (!this.takeover.onRefused(message)) this.insist(message);
      return;
    }
    if (message.birth !== undefined && message.birth !== header.birth)
      this.births.onOther(from, owned.record);
    else if (compareEpochs(message.promised, message.epoch) > 0) {
      ownership.depose(message.job);
      this.takeover.noteBeaten(message.job, message.promised);
    }
  }

  /**
   * A replica that missed the end has promised more to somebody who never led, and can only be told
   * under a higher epoch still.
   */
  private insist({ job, epoch, birth }: Extract<RegisterMessage, { kind: 'refused' }>): void {
    this.replicas.with(job, (kept) => {
      const header = kept?.record?.header;
      if (!header || !kept?.isSettled || birth !== header.birth) return;
      if (compareEpochs(header.accepted.epoch, epoch) === 0) this.takeover.stand(job);
    });
  }

  /**
   * Another birth is the job. Its owner tells the other replicas, and what runs of it. They drop it
   * too and are not retired: what moved away from them is the birth that lost, and the one that is
   * the job may need their votes.
   */
  private giveWay(ours: JobRecord): void {
    const { out, parts } = this;
    const { job, birth, accepted } = ours.header;
    const isOwned = parts.ownership().get(job) !== undefined;
    if (isOwned) parts.onGivingWay(job);
    parts.ownership().depose(job);
    this.takeover.withdraw(job);
    this.replicas.drop(job, false);
    this.births.bury(ours.header);
    if (!isOwned && accepted.epoch.node !== out.self) return;
    for (const node of replicasOf(ours.header))
      if (node !== out.self) out.send(node, { kind: 'birthLost', job, birth });
    const conflict = conflictOfBirth(ours, out.now.wall);
    if (!conflict) return;
    out.persist({ kind: 'conflict', conflict });
    out.event({ kind: 'conflictFound', conflict });
  }

  // -------------------------------------------------------------- members, time

  onUp(node: NodeId): void {
    this.takeover.onLeaderUp(node);
    this.bans.tell(node);
    this.catchUp.onPeerUp(node);
    this.births.onPeerUp(node);
    this.register.onPeerUp(node);
    this.replicaSets.markChanged();
  }

  /** It is dead, or has left. */
  onGone(node: NodeId): void {
    this.takeover.onLeaderGone(node);
    this.register.recount(node);
    this.replicaSets.markChanged();
  }

  onTick(): void {
    this.register.onTick();
    this.births.onTick();
    this.takeover.onTick();
    this.replicaSets.onTick();
    this.catchUp.onTick();
    this.bans.onTick();
  }

  forget(request: RequestId, node: NodeId): void {
    const { out, replicas, parts } = this;
    const member = parts.membership().get(node);
    const isKnown = member || replicas.isNamed(node) || parts.isHearer(node);
    if (!isKnown || node === out.self) {
      out.reply(request, { kind: 'unknownNode' });
      return;
    }
    const ban: Ban = { node, name: member?.facts.name ?? '', at: out.now.wall };
    this.bans.add([ban]);
    out.reply(request, { kind: 'forgotten', ban });
  }

  private onBanned({ node }: Ban): void {
    this.parts.membership().ban(node);
    this.onGone(node);
  }
}

const KINDS: ReadonlySet<JobMessage['kind']> = new Set<RegisterMessage['kind']>([
  'accept',
  'accepted',
  'refused',
  'prepare',
  'promise',
  'settled',
  'retire',
  'handOver',
  'holding',
  'clash',
  'birthLost',
  'bans',
]);

export const isRegisterMessage = (message: JobMessage): message is RegisterMessage =>
  KINDS.has(message.kind);

const nodesOf = (members: readonly Member[]): NodeId[] => members.map(({ facts }) => facts.node);
