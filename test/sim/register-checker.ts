/**
 * The replicated records, seen from outside: all disks at once.
 *
 * I2 one outcome for ever, decided when a quorum of the record's sets has it on disk, and in the
 * end the same on every disk. I3 one value per (job, birth, epoch, version), one life of one node
 * per (job, epoch). I4 a promised epoch never falls on any disk, and nothing below it is taken. I5
 * when a client is told 201, that many disks have the record. I6 when anybody is told a final
 * state, it is decided.
 */
import { type Birth, bootText, type JobId, type NodeId } from '../../src/base/ids.ts';
import type { MeshEvent, Reply, Write } from '../../src/core/effects.ts';
import type { FinalState, Job } from '../../src/core/job.ts';
import type { JobRecord } from '../../src/core/job-record.ts';
import type { Grant, Message } from '../../src/core/messages.ts';
import { isOnly } from '../../src/core/quorum.ts';
import {
  compareEpochs,
  compareValues,
  type Epoch,
  type Fence,
  fenceText,
  isSameFence,
  type RecordHeader,
} from '../../src/core/record.ts';
import type { WatchedWorld } from './checker.ts';
import type { SimNode } from './sim-node.ts';

interface Register {
  readonly job: JobId;
  readonly birth: Birth;
  /** Epoch and version → the value first seen. */
  readonly values: Map<string, JobRecord>;
  /** Epoch → the life that writes under it. */
  readonly writers: Map<string, string>;
  /** Attempts that must be the only ones, and were given out by a value that was decided once. */
  readonly assigned: Set<string>;
  final: FinalState | undefined;
  finalAt?: Epoch;
}

type Disk = SimNode['disk'];
type IsHolder = (id: NodeId, of: RecordHeader) => boolean;
type Of<K extends Message['kind']> = Extract<Message, { kind: K }>;
type Submitted = Extract<Reply, { kind: 'submitted' }>;

export class RegisterChecker {
  private readonly world: WatchedWorld;
  private readonly violate: (what: string) => void;
  private readonly decided: (job: JobId, birth: Birth, final: FinalState) => void;
  /** By job, then birth: ids that clients choose may be born twice. */
  private readonly registers = new Map<JobId, Map<Birth, Register>>();
  private readonly promises = new Map<NodeId, Map<JobId, Epoch>>();
  private readonly banned = new Set<NodeId>();
  private readonly isHolder: IsHolder = (id, of) => this.hasValue(id, of);
  /** Decided alone in a pair, and lost with the disk or by a wrong clock: it may be decided again. */
  readonly takenAway = new Set<JobId>();
  /** A disk that was set back has had a vote about it since, with somebody who was not warned. */
  readonly doubted = new Set<JobId>();

  constructor(
    world: WatchedWorld,
    violate: (what: string) => void,
    decided: (job: JobId, birth: Birth, final: FinalState) => void,
  ) {
    this.world = world;
    this.violate = violate;
    this.decided = decided;
  }

  finalOf(job: JobId): FinalState | undefined {
    for (const { final } of this.registers.get(job)?.values() ?? []) if (final) return final;
    return undefined;
  }

  isBornTwice(job: JobId): boolean {
    return (this.registers.get(job)?.size ?? 0) > 1;
  }

  /** Final states of all jobs. */
  *finals(): Iterable<FinalState> {
    for (const births of this.registers.values())
      for (const { final } of births.values()) if (final) yield final;
  }

  /** Disks that keep the job, without that of one node. */
  holders(job: JobId, without?: NodeId): number {
    let count = 0;
    for (const node of this.world.nodes().values())
      if (node.id !== without && !node.isLost && node.disk.tables.records.has(job)) count++;
    return count;
  }

  // -------------------------------------------------------------- commits

  onCommit(node: SimNode, writes: readonly Write[]): void {
    // Who was heard how long ago is told by a clock: one that stood still is not within 4 %.
    for (const write of writes)
      if (write.kind === 'marked' && write.lacking && node.isClockBehind)
        this.takenAway.add(write.job);
    for (const write of writes) {
      if (write.kind === 'record') this.onRecord(node, write);
      else if (write.kind === 'promise') this.onPromised(node, write.job, write.epoch);
      else if (write.kind === 'dropped') this.onPromised(node, write.job, write.promised);
      else if (write.kind === 'marked' && write.lacking) this.onMarked(write.job);
      else if (write.kind === 'ban') this.onBanned(write.ban.node);
    }
  }

  /**
   * What waited for its word may be decided without; not so what a higher epoch's decision has
   * passed over: whoever still held that for decided would tell it, which is seen.
   */
  private onBanned(node: NodeId): void {
    if (this.banned.has(node)) return;
    this.banned.add(node);
    for (const [job, births] of this.registers) {
      const isOpen = ({ header }: JobRecord): boolean => {
        const { finalAt } = births.get(header.birth) ?? {};
        return !finalAt || compareEpochs(header.accepted.epoch, finalAt) >= 0;
      };
      this.recheck(job, this.isHolder, isOpen);
    }
  }

  private onRecord(node: SimNode, { header, job }: JobRecord): void {
    // What a disk that was set back decides alone counts for nobody else.
    if (node.setBackAt !== undefined && header.rs.length === 1) return;
    const register = this.register(header);
    // Peers that never met its later life cannot tell that it is writing under used epochs.
    const writer = this.world.nodes().get(header.accepted.epoch.node);
    if (writer?.setBackAt === undefined) this.checkValue(register, { header, job });
    this.checkPromise(node, header);
    if (job.state.tag === 'final') this.checkDecided(register, header, job.state.final);
    if (job.spec.delivery === 'at_most_once') this.noteAssigned(register);
  }

  private register({ job, birth }: RecordHeader): Register {
    let births = this.registers.get(job);
    if (!births) {
      births = new Map();
      this.registers.set(job, births);
    }
    let register = births.get(birth);
    if (!register) {
      const empty = { values: new Map(), writers: new Map(), assigned: new Set<string>() };
      register = { job, birth, ...empty, final: undefined };
      births.set(birth, register);
    }
    return register;
  }

  private checkValue(register: Register, record: JobRecord): void {
    const { epoch, version } = record.header.accepted;
    const epochKey = epochText(epoch);
    const key = `${epochKey} ${version}`;
    const first = register.values.get(key);
    if (!first) register.values.set(key, record);
    else if (!isSameValue(first, record))
      this.violate(`I3 ${register.job} has two values at ${key}`);
    const life = bootText(record.header.writerBoot);
    const writer = register.writers.get(epochKey);
    if (writer === undefined) register.writers.set(epochKey, life);
    else if (writer !== life)
      this.violate(`I3 ${register.job}: two lives write under epoch ${epochKey}`);
  }

  private checkPromise(node: SimNode, { job, promised, accepted }: RecordHeader): void {
    const before = this.promises.get(node.id)?.get(job);
    if (before && compareEpochs(accepted.epoch, before) < 0)
      this.violate(`I4 ${node.id} took ${job} at ${epochText(accepted.epoch)} below its promise`);
    this.onPromised(node, job, promised);
  }

  private onPromised(node: SimNode, job: JobId, promised: Epoch): void {
    const kept = this.promises.get(node.id) ?? new Map<JobId, Epoch>();
    this.promises.set(node.id, kept);
    const before = kept.get(job);
    const { records, promises } = node.disk.tables;
    const has = records.get(job)?.header.promised ?? promises.get(job)?.epoch;
    if (before && (!has || compareEpochs(has, before) < 0))
      this.violate(`I4 the promise of ${node.id} for ${job} fell`);
    if (!before || compareEpochs(promised, before) > 0) kept.set(job, promised);
  }

  /** What a disk holds now may be later than what is decided by it. */
  private recheck(
    job: JobId,
    isHolder = this.isHolder,
    isOpen: (record: JobRecord) => boolean = () => true,
  ): void {
    for (const register of this.registers.get(job)?.values() ?? [])
      for (const record of register.values.values()) {
        const { header, job: body } = record;
        if (body.state.tag === 'final' && isOpen(record))
          this.checkDecided(register, header, body.state.final, isHolder);
      }
  }

  /** Its owner counts the votes it has had, also of a disk that is lost by now. */
  private onMarked(job: JobId): void {
    this.recheck(job, (id, of) => isHeldBy(this.world.nodes().get(id)?.disk, of));
  }

  // -------------------------------------------------------------- decisions

  private checkDecided(
    register: Register,
    header: RecordHeader,
    final: FinalState,
    isHolder = this.isHolder,
  ): void {
    if (register.final && finalText(register.final) === finalText(final)) return;
    if (!this.isOnQuorum(header, isHolder)) return;
    if (register.final && this.takenAway.has(register.job)) register.final = final;
    else if (register.final)
      this.violate(
        `I2 ${register.job} was ${finalText(register.final)}, became ${finalText(final)}`,
      );
    else {
      register.final = final;
      register.finalAt = header.accepted.epoch;
      this.doubt(register);
      this.decided(register.job, register.birth, final);
    }
  }

  /** An attempt that must be the only one is given out by a decided record, or by a later one. */
  isAssigned({ job, birth, spec }: Grant, fence: Fence): boolean {
    const isOfInterest = spec.delivery === 'at_most_once' && birth !== undefined;
    if (!isOfInterest || this.takenAway.has(job) || this.doubted.has(job)) return true;
    // Given to an executor just before a lower birth was met.
    if (this.isBornTwice(job)) return true;
    const register = this.registers.get(job)?.get(birth);
    if (!register) return false;
    this.noteAssigned(register);
    return register.assigned.has(fenceText(fence));
  }

  /** What is decided stays so, whatever becomes of the disks that had their say. */
  private noteAssigned({ job, values, assigned }: Register): void {
    const isSince = (id: NodeId, { accepted }: RecordHeader): boolean => {
      const has = this.diskOf(id)?.tables.records.get(job)?.header;
      return has !== undefined && compareValues(has.accepted, accepted) >= 0;
    };
    for (const { header, job: body } of values.values()) {
      const { state } = body;
      if (state.tag !== 'granted' || assigned.has(fenceText(state.grant.fence))) continue;
      if (this.isOnQuorum(header, isSince)) assigned.add(fenceText(state.grant.fence));
    }
  }

  private isOnQuorum(header: RecordHeader, isHolder = this.isHolder): boolean {
    const isLeft = [...header.rs, ...header.oldRs].some((id) => !this.banned.has(id));
    const hasQuorum = (set: readonly NodeId[]): boolean => {
      const base = set.filter((id) => !this.banned.has(id));
      if (base.length === 0) return isLeft;
      const having = set.filter((id) => isHolder(id, header));
      const isMajority = (of: readonly NodeId[]): boolean =>
        having.filter((id) => of.includes(id)).length > of.length / 2;
      return isMajority(set) || isMajority(base) || this.isAlone(set, having, header);
    };
    // Only one kept it so far, and nobody else can lead it: its word is enough to go back.
    const [former, ...others] = header.oldRs;
    if (former !== undefined && others.length === 0 && this.hasValue(former, header)) return true;
    return hasQuorum(header.rs) && (header.oldRs.length === 0 || hasQuorum(header.oldRs));
  }

  /**
   * One of a pair has it and has marked that the other has not. For the new one of two pairs the
   * old one's mark will do: who has a value that names both needs a word of both.
   */
  private isAlone(set: readonly NodeId[], having: readonly NodeId[], of: RecordHeader): boolean {
    const [only] = having;
    const { job, rs, oldRs } = of;
    if (set.length !== 2 || only === undefined) return false;
    const lacking = this.diskOf(only)?.tables.notes.get(job)?.lacking;
    const named = set === rs ? [...rs, ...oldRs] : set;
    return lacking !== undefined && lacking !== only && named.includes(lacking);
  }

  private hasValue(id: NodeId, header: RecordHeader): boolean {
    return isHeldBy(this.diskOf(id), header);
  }

  private wasSetBack(id: NodeId): boolean {
    return this.world.nodes().get(id)?.setBackAt !== undefined;
  }

  private diskOf(id: NodeId): Disk | undefined {
    const node = this.world.nodes().get(id);
    return node?.isLost ? undefined : node?.disk;
  }

  // -------------------------------------------------------------- what is told

  /** Says how many disks the client was promised. */
  onSubmitted(reply: Submitted): number {
    const { header } = reply.record;
    const { disks } = reply;
    // A disk that was set back has lost what it said yes to.
    const isLost = (id: NodeId): boolean => {
      return (
        !this.diskOf(id) ||
        (this.wasSetBack(id) && !this.diskOf(id)?.tables.records.has(header.job))
      );
    };
    const lost = header.rs.filter(isLost).length;
    const holders = this.holders(header.job) + lost;
    const wanted = reply.record.job.spec.replicas ?? 1;
    const isFinal = reply.record.job.state.tag === 'final';
    if (disks < wanted && !isFinal)
      this.violate(`I5 ${header.job} wants ${wanted} disks, told are ${disks}`);
    if (holders < disks)
      this.violate(`I5 ${header.job} was accepted for ${disks} disks and is on ${holders}`);
    return disks;
  }

  onToldCancel(reply: Extract<Reply, { kind: 'cancelled' | 'cancelling' }>): void {
    if (reply.kind === 'cancelled') this.onToldFinal(reply.job, 'JOB_CANCELLED');
  }

  onToldFinal(job: JobId, status: string): void {
    const final = this.finalOf(job);
    if (this.isBornTwice(job) || this.takenAway.has(job)) return;
    if (final?.status !== status)
      this.violate(`I6 ${job} was told to be ${status}, decided is ${final?.status ?? 'nothing'}`);
  }

  onAnnounced({ header, status }: Extract<MeshEvent, { kind: 'jobChanged' }>): void {
    if (!FINAL.has(status)) return;
    const final = this.registers.get(header.job)?.get(header.birth)?.final;
    if (final?.status !== status)
      this.violate(`I6 ${header.job} was announced as ${status} before that was decided`);
  }

  onSend(from: SimNode, message: Message): void {
    // Version 0 is no vote: it says that nothing is kept.
    const isLetGo = message.kind === 'accepted' && message.version === 0;
    if (isLetGo) return;
    if (message.kind === 'promise' || message.kind === 'accepted') this.onWord(from, message);
    else if (message.kind === 'acknowledge') this.onAcknowledged(from, message);
  }

  /** A replica says nothing that is not on its disk. */
  private onWord(from: SimNode, { kind, job, epoch }: Of<'promise' | 'accepted'>): void {
    const { records, promises } = from.disk.tables;
    const has = records.get(job)?.header.promised ?? promises.get(job)?.epoch;
    if (!has || compareEpochs(has, epoch) < 0)
      this.violate(
        `I4 ${from.id} says ${kind} to ${epochText(epoch)} of ${job}, and its disk does not`,
      );
  }

  private onAcknowledged(from: SimNode, message: Of<'acknowledge'>): void {
    const record = from.disk.tables.records.get(message.job);
    const state = record?.job.state;
    if (!record || state?.tag !== 'final' || !state.final.outcome) return;
    if (!isSameFence(state.final.outcome.fence, message.fence)) return;
    // What a disk that was set back decides alone is decided as far as it goes: see `onRecord`.
    if (from.setBackAt !== undefined && isKeptAlone(record.header, from.id)) return;
    if (!this.registers.get(message.job)?.get(record.header.birth)?.final)
      this.violate(`I6 ${message.job}: its outcome was acknowledged before it was decided`);
  }

  // -------------------------------------------------------------- disks, the end

  /** Names the jobs that this node decided alone: what it decided may be gone with its disk. */
  onDiskLost(node: SimNode): JobId[] {
    this.promises.delete(node.id);
    const { records, notes } = node.disk.tables;
    const taken = [...records.values()].flatMap(({ header }) => {
      return isKeptAlone(header, node.id) || notes.get(header.job)?.lacking ? [header.job] : [];
    });
    const lost = taken.filter((job) => !this.isFinalElsewhere(job, node));
    for (const job of lost) this.forget(job);
    return lost;
  }

  /**
   * Somebody who has not been warned yet takes a disk that was set back for a voter. Until it is,
   * that disk may vote again on what it had decided with others, and against its own promises. Names
   * the jobs of which what is decided hangs on it.
   */
  onDoubtfulVote(message: Message): JobId[] {
    const doubted = jobsVotedFor(message);
    for (const job of doubted) {
      this.doubted.add(job);
      for (const register of this.registers.get(job)?.values() ?? []) this.doubt(register);
    }
    return doubted.filter((job) => this.takenAway.has(job) || !this.isCancelKept(job));
  }

  /** On a quorum, also without disks that were set back: whoever leads it next learns of it. */
  private isCancelKept(job: JobId): boolean {
    const isHolder = (id: NodeId): boolean => {
      const record = this.wasSetBack(id) ? undefined : this.diskOf(id)?.tables.records.get(job);
      return record !== undefined && isCancelled(record.job);
    };
    for (const { values } of this.registers.get(job)?.values() ?? [])
      for (const { header, job: body } of values.values())
        if (isCancelled(body) && this.isOnQuorum(header, isHolder)) return true;
    return false;
  }

  /** Whoever still has it tells so; what is decided next counts all the same. */
  private doubt(register: Register): void {
    if (!this.doubted.has(register.job) || !register.final || this.isKept(register)) return;
    this.takenAway.add(register.job);
  }

  /** On a quorum, also without disks that were set back. */
  private isKept({ values, final }: Register): boolean {
    return [...values.values()].some(
      ({ header, job: { state } }) =>
        state.tag === 'final' &&
        final !== undefined &&
        finalText(state.final) === finalText(final) &&
        this.isOnQuorum(header, (id, of) => !this.wasSetBack(id) && this.hasValue(id, of)),
    );
  }

  /** What was decided, not what an owner of before had only begun to write. */
  private isFinalElsewhere(job: JobId, without: SimNode): boolean {
    for (const node of this.world.nodes().values()) {
      const record =
        node.isLost || node === without ? undefined : node.disk.tables.records.get(job);
      const state = record?.job.state;
      if (!record || state?.tag !== 'final') continue;
      const decided = this.registers.get(job)?.get(record.header.birth)?.final;
      if (decided && finalText(decided) === finalText(state.final)) return true;
    }
    return false;
  }

  /** A disk that was set back goes on from where it was. */
  private forget(job: JobId): void {
    this.takenAway.add(job);
    for (const register of this.registers.get(job)?.values() ?? []) register.final = undefined;
  }

  /** Every copy of a decided job says what was decided, and none is left that says nothing. */
  checkEnd(nodes: readonly SimNode[]): void {
    for (const node of nodes) {
      for (const { header, job } of node.disk.tables.records.values()) {
        const final = this.registers.get(header.job)?.get(header.birth)?.final;
        if (job.state.tag !== 'final')
          this.violate(`I2 ${node.id} still holds ${header.job} as ${job.state.tag}`);
        else if (this.takenAway.has(header.job)) continue;
        else if (final && finalText(final) !== finalText(job.state.final))
          this.violate(`I2 ${node.id} holds ${header.job} for ${finalText(job.state.final)}`);
      }
    }
  }
}

const FINAL: ReadonlySet<string> = new Set([
  'JOB_COMPLETED',
  'JOB_FAILED',
  'JOB_TIMEOUT',
  'JOB_CANCELLED',
  'JOB_LOST',
]);

/** Its word alone decides, or did before others were to keep it. */
export const isKeptAlone = ({ rs, oldRs }: RecordHeader, node: NodeId): boolean =>
  isOnly(oldRs.length === 0 ? rs : oldRs, node);

/** By a replica, for a value, a candidate or a lease; or by an owner, which counts its own disk. */
function jobsVotedFor(message: Message): JobId[] {
  if (message.kind === 'renewed') return message.granted.map(({ job }) => job);
  if (message.kind === 'promise') return [message.job];
  if (message.kind === 'accept') return [message.record.header.job];
  return message.kind === 'accepted' && message.version > 0 ? [message.job] : [];
}

/** This disk took that value; later versions of its epoch imply it. */
function isHeldBy(disk: Disk | undefined, { job, birth, accepted }: RecordHeader): boolean {
  const has = disk?.tables.records.get(job)?.header;
  if (!has || has.birth !== birth) return false;
  const isSameEpoch = compareEpochs(has.accepted.epoch, accepted.epoch) === 0;
  return isSameEpoch && has.accepted.version >= accepted.version;
}

function isCancelled({ state }: Job): boolean {
  if (state.tag === 'final') return state.final.status === 'JOB_CANCELLED';
  return state.tag !== 'pending' && state.cancelAt !== undefined;
}

const epochText = ({ counter, node }: Epoch): string => `${counter}.${node}`;

const finalText = (final: FinalState): string =>
  `${final.status}${final.outcome ? ` by ${fenceText(final.outcome.fence)}` : ''}`;

const isSameValue = (a: JobRecord, b: JobRecord): boolean =>
  (a.job === b.job || bodyText(a.job) === bodyText(b.job)) &&
  a.header.rs.join() === b.header.rs.join() &&
  a.header.oldRs.join() === b.header.oldRs.join();

const bodyText = (job: Job): string => JSON.stringify(job);
