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
import type { Message } from '../../src/core/messages.ts';
import {
  compareEpochs,
  type Epoch,
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
  final: FinalState | undefined;
}

type Submitted = Extract<Reply, { kind: 'submitted' }>;

export class RegisterChecker {
  private readonly world: WatchedWorld;
  private readonly violate: (what: string) => void;
  private readonly decided: (job: JobId, birth: Birth, final: FinalState) => void;
  /** By job, then birth: ids that clients choose may be born twice. */
  private readonly registers = new Map<JobId, Map<Birth, Register>>();
  private readonly promises = new Map<NodeId, Map<JobId, Epoch>>();

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
    for (const write of writes) {
      if (write.kind === 'record') this.onRecord(node, write);
      else if (write.kind === 'marked' && write.lacking) {
        const record = node.disk.tables.records.get(write.job);
        if (record) this.onMarked(this.register(record.header));
      }
    }
  }

  private onRecord(node: SimNode, { header, job }: JobRecord): void {
    const register = this.register(header);
    this.checkValue(register, { header, job });
    this.checkPromise(node, header);
    if (job.state.tag === 'final') this.checkDecided(register, header, job.state.final);
  }

  /** Any of the values so far may have waited for it. */
  private onMarked(register: Register): void {
    for (const { header, job } of register.values.values())
      if (job.state.tag === 'final') this.checkDecided(register, header, job.state.final);
  }

  private register({ job, birth }: RecordHeader): Register {
    let births = this.registers.get(job);
    if (!births) {
      births = new Map();
      this.registers.set(job, births);
    }
    let register = births.get(birth);
    if (!register) {
      register = { job, birth, values: new Map(), writers: new Map(), final: undefined };
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

  private checkPromise(node: SimNode, header: RecordHeader): void {
    const { job, promised, accepted } = header;
    const kept = this.promises.get(node.id) ?? new Map<JobId, Epoch>();
    this.promises.set(node.id, kept);
    const before = kept.get(job);
    if (before && compareEpochs(accepted.epoch, before) < 0)
      this.violate(`I4 ${node.id} took ${job} at ${epochText(accepted.epoch)} below its promise`);
    const has = node.disk.tables.records.get(job)?.header.promised ?? promised;
    if (before && compareEpochs(has, before) < 0)
      this.violate(`I4 the promise of ${node.id} for ${job} fell`);
    if (!before || compareEpochs(promised, before) > 0) kept.set(job, promised);
  }

  // -------------------------------------------------------------- decisions

  private checkDecided(register: Register, header: RecordHeader, final: FinalState): void {
    if (register.final && finalText(register.final) === finalText(final)) return;
    if (!this.isOnQuorum(header)) return;
    // Decided alone in a pair, by a node that took it away for ever: a listed conflict.
    const first = [...register.values.values()].find(
      (value) =>
        value.job.state.tag === 'final' &&
        register.final &&
        finalText(value.job.state.final) === finalText(register.final),
    );
    const wasTakenAway =
      first?.header.rs.some((id) => this.world.nodes().get(id)?.isLost) &&
      !this.isOnQuorum(first.header);
    if (wasTakenAway) register.final = undefined;
    if (register.final)
      this.violate(
        `I2 ${register.job} was ${finalText(register.final)}, became ${finalText(final)}`,
      );
    else {
      register.final = final;
      this.decided(register.job, register.birth, final);
    }
  }

  private isOnQuorum(header: RecordHeader): boolean {
    const isForgotten = (id: NodeId): boolean =>
      [...this.world.nodes().values()].some((node) => node.disk.tables.bans.has(id));
    const hasQuorum = (
      whole: readonly NodeId[],
      set = whole.filter((id) => !isForgotten(id)),
    ): boolean =>
      set.filter((id) => this.hasValue(id, header)).length > set.length / 2 ||
      this.isMarked(whole, header);
    return hasQuorum(header.rs) && (header.oldRs.length === 0 || hasQuorum(header.oldRs));
  }

  /** Decided alone in a pair: the one that has it has noted that the other lacks it. */
  private isMarked(set: readonly NodeId[], header: RecordHeader): boolean {
    const [a, b] = set;
    if (set.length !== 2 || !a || !b) return false;
    const isBy = (id: NodeId, other: NodeId): boolean =>
      this.hasValue(id, header) &&
      this.world.nodes().get(id)?.disk.tables.notes.get(header.job)?.lacking === other;
    return isBy(a, b) || isBy(b, a);
  }

  /** This disk took that value; later versions of its epoch imply it. */
  private hasValue(id: NodeId, { job, birth, accepted }: RecordHeader): boolean {
    const node = this.world.nodes().get(id);
    const has = node?.disk.tables.records.get(job)?.header;
    if (!has || has.birth !== birth) return false;
    const isSameEpoch = compareEpochs(has.accepted.epoch, accepted.epoch) === 0;
    return isSameEpoch && has.accepted.version >= accepted.version;
  }

  // -------------------------------------------------------------- what is told

  /** Says how many disks the client was promised. */
  onSubmitted(reply: Submitted): number {
    const { header } = reply.record;
    const told = 'disks' in reply && typeof reply.disks === 'number' ? reply.disks : undefined;
    const disks = told ?? Math.floor(header.rs.length / 2) + 1;
    const holders = this.holders(header.job);
    if (holders < disks)
      this.violate(`I5 ${header.job} was accepted for ${disks} disks and is on ${holders}`);
    return disks;
  }

  onToldCancel(reply: Extract<Reply, { kind: 'cancelled' | 'cancelling' }>): void {
    if (reply.kind === 'cancelled') this.onToldFinal(reply.job, 'JOB_CANCELLED');
  }

  onToldFinal(job: JobId, status: string): void {
    const final = this.finalOf(job);
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
    if (message.kind !== 'acknowledge') return;
    const record = from.disk.tables.records.get(message.job);
    const state = record?.job.state;
    if (!record || state?.tag !== 'final' || !state.final.outcome) return;
    if (!isSameFence(state.final.outcome.fence, message.fence)) return;
    if (!this.registers.get(message.job)?.get(record.header.birth)?.final)
      this.violate(`I6 ${message.job}: its outcome was acknowledged before it was decided`);
  }

  // -------------------------------------------------------------- disks, the end

  onDiskLost(node: SimNode): void {
    this.promises.delete(node.id);
  }

  /** Every copy of a decided job says what was decided, and none is left that says nothing. */
  checkEnd(nodes: readonly SimNode[]): void {
    for (const node of nodes) {
      for (const { header, job } of node.disk.tables.records.values()) {
        const final = this.registers.get(header.job)?.get(header.birth)?.final;
        if (job.state.tag !== 'final')
          this.violate(`I2 ${node.id} still holds ${header.job} as ${job.state.tag}`);
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

const epochText = ({ counter, node }: Epoch): string => `${counter}.${node}`;

const finalText = (final: FinalState): string =>
  `${final.status}${final.outcome ? ` by ${fenceText(final.outcome.fence)}` : ''}`;

const isSameValue = (a: JobRecord, b: JobRecord): boolean =>
  (a.job === b.job || bodyText(a.job) === bodyText(b.job)) &&
  a.header.rs.join() === b.header.rs.join() &&
  a.header.oldRs.join() === b.header.oldRs.join();

const bodyText = (job: Job): string => JSON.stringify(job);
