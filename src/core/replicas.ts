/**
 * The records this node keeps, its own jobs' and other nodes' alike: the acceptor of single-decree
 * Paxos, one register per job. A promise never falls, a value below it is never taken, and every
 * answer leaves after the commit of what it says.
 *
 * Unfinished records, and final ones that are not known to be decided, are in memory; the rest is
 * read back from disk when somebody speaks of it. A record leaves memory only when the commit that
 * settles it is done, so what is read back is never older than what was answered.
 *
 * Beside the record it is remembered when this node last said yes to it, to a value or to a lease
 * of an attempt: nobody may start another attempt until the lease that this yes may have given is
 * over. After a restart that is counted from the start.
 */
import type { Birth, JobId, NodeId } from '../base/ids.ts';
import { asMono, type MonoMs } from '../base/instant.ts';
import type { Write } from './effects.ts';
import type { StoredState } from './inputs.ts';
import type { JobRecord } from './job-record.ts';
import type { RegisterMessage } from './messages.ts';
import type { Outgoing } from './outgoing.ts';
import { replicasOf } from './quorum.ts';
import { compareEpochs, compareValues, type Epoch, ownerOf, type RecordHeader } from './record.ts';

export interface Kept {
  /** Undefined: only a promise is here. */
  record: JobRecord | undefined;
  promised: Epoch;
  yesAt: MonoMs | undefined;
  /** When the promise was made, in this life. */
  promisedAt: MonoMs;
  /** The promise was made for its own sake, and is to be kept without a value too. */
  readonly isPromised: boolean;
  /** Its record moved away from here: it has no say until a value names it again. */
  isRetired: boolean;
  /** Its final state is decided: nothing is to be done about it any more. */
  isSettled: boolean;
}

export interface ReplicasParts {
  readonly out: Outgoing;
  /** A higher epoch was promised to another node. */
  readonly onDeposed: (job: JobId) => void;
  /** It is being talked about: it stays in memory. */
  readonly isWanted: (job: JobId) => boolean;
  /** The birth was dropped here for a lower one. */
  readonly isLostBirth: (job: JobId, birth: Birth) => boolean;
  /** A value of another owner was taken: that one has it. */
  readonly onForeign: (job: JobId, owner: NodeId) => void;
}

export class Replicas {
  private readonly parts: ReplicasParts;
  private readonly kept = new Map<JobId, Kept>();
  /** Records by the node that leads them as far as is known here; mere promises wait for nobody. */
  private readonly led = new Map<NodeId, Set<JobId>>();
  private readonly parked = new Map<JobId, ((kept: Kept | undefined) => void)[]>();
  /** Left out of memory with the commit that removes them. */
  private readonly dropping = new Set<JobId>();
  private recordCount = 0;
  /** Records whose promise is above their value: somebody may be about to lead them. */
  private readonly awaited = new Set<JobId>();

  constructor(parts: ReplicasParts) {
    this.parts = parts;
  }

  get(job: JobId): Kept | undefined {
    return this.kept.get(job);
  }

  /** Records that still need somebody to decide about them. */
  get size(): number {
    return this.recordCount;
  }

  entries(): MapIterator<[JobId, Kept]> {
    return this.kept.entries();
  }

  /** Some record kept here names it as a replica; looks at all. */
  isNamed(node: NodeId): boolean {
    for (const { record } of this.kept.values())
      if (record && replicasOf(record.header).includes(node)) return true;
    return false;
  }

  /** Nodes that lead something kept here. */
  leaders(): NodeId[] {
    return [...this.led.keys()];
  }

  ledBy(node: NodeId): ReadonlySet<JobId> {
    return this.led.get(node) ?? new Set();
  }

  // -------------------------------------------------------------- memory and disk

  restore(state: StoredState): void {
    const yesAt = this.parts.out.now.mono;
    for (const record of state.records) {
      const { promised } = record.header;
      const promisedAt = yesAt;
      const kept = { ...onlyPromised(promised), record, yesAt, promisedAt, isPromised: true };
      this.put(record.header.job, kept);
    }
    for (const { job, epoch, isRetired } of state.promises)
      this.put(job, { ...onlyPromised(epoch), yesAt, isPromised: true, isRetired });
  }

  /** Runs `act` with what is kept, from memory or, after a turn, from disk. */
  with(job: JobId, act: (kept: Kept | undefined) => void): void {
    const kept = this.kept.get(job);
    if (kept) {
      act(kept);
      return;
    }
    const waiting = this.parked.get(job);
    if (waiting) waiting.push(act);
    else {
      this.parked.set(job, [act]);
      this.parts.out.load(job);
    }
  }

  onStored(job: JobId, record: JobRecord | undefined): void {
    const acts = this.parked.get(job) ?? [];
    this.parked.delete(job);
    if (record && !this.kept.has(job)) {
      // Only settled ones are not in memory; it goes back to the disk unless something changes it.
      const { promised } = record.header;
      const settled = { record, isSettled: true, isPromised: true };
      this.put(job, { ...onlyPromised(promised), ...settled });
    }
    for (const act of acts) act(this.kept.get(job));
    const kept = this.kept.get(job);
    const isUntouched = kept?.record === record && kept?.promised === record?.header.promised;
    if (isUntouched) this.evictSettled(job);
  }

  onCommitted(write: Write): void {
    if (write.kind === 'dropped') this.dropping.delete(write.job);
    else if (write.kind === 'record') this.evictSettled(write.header.job);
    else if (write.kind === 'settled' || write.kind === 'promise') this.evictSettled(write.job);
  }

  private evictSettled(job: JobId): void {
    const isWanted = this.dropping.has(job) || this.parts.isWanted(job);
    if (this.kept.get(job)?.isSettled && !isWanted) this.evict(job);
  }

  private put(job: JobId, kept: Kept): void {
    this.kept.set(job, kept);
    this.noteAwaited(job, kept);
    if (!kept.record) return;
    this.recordCount++;
    this.index(job, leaderOf(kept));
  }

  private evict(job: JobId): void {
    const kept = this.kept.get(job);
    if (kept?.record) {
      this.unindex(job, leaderOf(kept));
      this.recordCount--;
    }
    this.kept.delete(job);
    this.awaited.delete(job);
  }

  private change(job: JobId, kept: Kept, change: Partial<Kept>): void {
    const before = kept.record && leaderOf(kept);
    if ('record' in change) this.recordCount += Number(!!change.record) - Number(!!kept.record);
    Object.assign(kept, change);
    this.noteAwaited(job, kept);
    const after = kept.record && leaderOf(kept);
    if (before === after) return;
    if (before) this.unindex(job, before);
    if (after) this.index(job, after);
  }

  private noteAwaited(job: JobId, { record, promised, isSettled }: Kept): void {
    const isAwaited =
      record !== undefined &&
      !isSettled &&
      compareEpochs(promised, record.header.accepted.epoch) > 0;
    if (isAwaited) this.awaited.add(job);
    else this.awaited.delete(job);
  }

  /** Jobs that were promised to somebody before this, who has written nothing since. */
  promisedBefore(at: MonoMs): JobId[] {
    return [...this.awaited].filter((job) => (this.kept.get(job)?.promisedAt ?? at) < at);
  }

  private index(job: JobId, leader: NodeId): void {
    const jobs = this.led.get(leader);
    if (jobs) jobs.add(job);
    else this.led.set(leader, new Set([job]));
  }

  private unindex(job: JobId, leader: NodeId): void {
    const jobs = this.led.get(leader);
    jobs?.delete(job);
    if (jobs?.size === 0) this.led.delete(leader);
  }

  // -------------------------------------------------------------- values

  /** This node's own value as an owner; says when it last said yes before. */
  keepOwn(record: JobRecord): MonoMs | undefined {
    const { job, promised } = record.header;
    const kept = this.kept.get(job);
    const before = kept?.yesAt;
    this.keep(record, kept ?? onlyPromised(promised));
    return before;
  }

  onAccept(from: NodeId, { record }: Of<'accept'>): void {
    const { job, birth, accepted } = record.header;
    this.with(job, (kept) => {
      const has = kept?.record?.header;
      if (this.parts.isLostBirth(job, birth)) {
        this.parts.out.send(from, { kind: 'birthLost', job, birth });
        return;
      }
      if (kept?.isRetired && !this.isNamedAgain(from, record)) return;
      if (kept && has && has.birth !== birth) this.refuse(from, job, accepted.epoch, kept);
      else if (kept && compareEpochs(accepted.epoch, kept.promised) < 0)
        this.refuse(from, job, accepted.epoch, kept);
      else this.take(from, record, kept);
    });
  }

  /**
   * Only by its owner, whose links keep the order: what another one passes on may be a value of
   * before the move, and bring back a voter for what was before it.
   */
  private isNamedAgain(from: NodeId, { header }: JobRecord): boolean {
    return from === ownerOf(header) && replicasOf(header).includes(this.parts.out.self);
  }

  private take(from: NodeId, record: JobRecord, kept: Kept | undefined): void {
    const { out, onDeposed } = this.parts;
    const { job, accepted } = record.header;
    const yesAgoMs = this.yesAgo(kept);
    const has = kept?.record?.header.accepted;
    const wasOwn = kept !== undefined && leaderOf(kept) === out.self;
    if (kept && has && compareValues(accepted, has) <= 0) kept.yesAt = out.now.mono;
    else {
      this.keep(record, kept ?? onlyPromised(accepted.epoch));
      if (wasOwn && accepted.epoch.node !== out.self) onDeposed(job);
      if (accepted.epoch.node !== out.self) this.parts.onForeign(job, accepted.epoch.node);
    }
    const newest = this.kept.get(job)?.record?.header.accepted ?? accepted;
    out.send(from, { kind: 'accepted', job, ...newest, yesAgoMs });
  }

  private keep(record: JobRecord, kept: Kept): void {
    const { job, accepted } = record.header;
    const header: RecordHeader = { ...record.header, promised: accepted.epoch };
    const newest = header.promised === record.header.promised ? record : { ...record, header };
    const isAlone = replicasOf(header).length === 1 && ownerOf(header) === this.parts.out.self;
    const isFinal = record.job.state.tag === 'final';
    // What was decided once stays decided, whoever writes it again.
    const isSettled = isFinal && (isAlone || kept.isSettled);
    const change = { record: newest, promised: accepted.epoch, isSettled, isRetired: false };
    if (this.kept.has(job)) this.change(job, kept, change);
    else this.put(job, Object.assign(kept, change));
    kept.yesAt = this.parts.out.now.mono;
    this.parts.out.persist({
      kind: 'record',
      ...newest,
      ...(isFinal && isAlone && { isSettled: true }),
    });
  }

  // -------------------------------------------------------------- promises

  /**
   * A retired node promises nothing, and says just that: a promise would count like that of one that
   * never had a value, and help a candidate of the old sets to lead with what was before the move.
   * An epoch that has a value was used, perhaps by a life whose disk was set back since. Of another
   * birth nothing is promised: the two are compared first, and one of them is dropped.
   */
  onPrepare(from: NodeId, { job, epoch, ifAbsent, birth }: Of<'prepare'>): void {
    this.with(job, (kept) => {
      if (birth !== undefined && this.parts.isLostBirth(job, birth)) {
        this.parts.out.send(from, { kind: 'birthLost', job, birth });
        return;
      }
      if (kept?.record && birth !== undefined && birth !== kept.record.header.birth) {
        this.parts.out.send(from, { kind: 'clash', record: kept.record });
        return;
      }
      if (kept?.isRetired) {
        this.parts.out.send(from, { kind: 'accepted', job, epoch, version: 0 });
        return;
      }
      const has = kept?.record?.header.accepted.epoch;
      const isTaken = ifAbsent && has !== undefined;
      const isUsed = has !== undefined && compareEpochs(epoch, has) === 0;
      const order = kept ? compareEpochs(epoch, kept.promised) : 1;
      if (kept && (isTaken || isUsed || order < 0)) this.refuse(from, job, epoch, kept);
      else this.promise(from, job, epoch, kept, order > 0);
    });
  }

  private promise(
    from: NodeId,
    job: JobId,
    epoch: Epoch,
    kept: Kept | undefined,
    isNew: boolean,
  ): void {
    const { out, onDeposed } = this.parts;
    const yesAgoMs = this.yesAgo(kept);
    if (isNew) {
      const wasOwn = kept !== undefined && leaderOf(kept) === out.self;
      if (kept) this.change(job, kept, { promised: epoch, promisedAt: out.now.mono });
      else this.put(job, { ...onlyPromised(epoch), isPromised: true });
      out.persist({ kind: 'promise', job, epoch });
      if (wasOwn && epoch.node !== out.self) onDeposed(job);
    }
    out.send(from, { kind: 'promise', job, epoch, yesAgoMs, record: kept?.record });
  }

  private refuse(to: NodeId, job: JobId, epoch: Epoch, kept: Kept): void {
    const { promised, record } = kept;
    const birth = record?.header.birth;
    const isFinal = record?.job.state.tag === 'final';
    this.parts.out.send(to, { kind: 'refused', job, epoch, promised, birth, isFinal });
  }

  // -------------------------------------------------------------- ends

  onSettled(message: Of<'settled'>): void {
    const kept = this.kept.get(message.job);
    const has = kept?.record?.header.accepted;
    if (!kept || !has || kept.record?.job.state.tag !== 'final') return;
    if (compareValues(has, message) === 0) this.settle(message.job, message.isEverywhere);
  }

  /** Decided as far as this life of the node is concerned. */
  noteFinal(job: JobId): void {
    const kept = this.kept.get(job);
    if (kept) kept.isSettled = true;
  }

  settle(job: JobId, isEverywhere: boolean): void {
    this.noteFinal(job);
    this.parts.out.persist({ kind: 'settled', job, isEverywhere });
  }

  /**
   * The promise stays when the record goes, and that it went: neither an owner nor a candidate of
   * the sets of before may find a node here that seems never to have had it. A higher promise stands
   * against the word of an owner that may be deposed, and not against what has been decided: who
   * promised it itself, and cannot win as the sets went on without it, would keep its value for ever.
   */
  onRetire(from: NodeId, message: Of<'retire'>): void {
    const { job, epoch } = message;
    const kept = this.kept.get(job);
    if (kept && compareEpochs(kept.promised, epoch) > 0 && !message.isSettled) return;
    const birth = kept?.record?.header.birth;
    if (birth !== undefined && message.birth !== undefined && birth !== message.birth) return;
    if (this.isLater(kept, message)) return;
    if (kept) this.retire(job, kept, epoch);
    // Version 0: nothing that is to be decided about is here.
    this.parts.out.send(from, { kind: 'accepted', job, epoch, version: 0 });
  }

  /** It was named again since: the word is late, or came twice. */
  private isLater(kept: Kept | undefined, { epoch, version }: Of<'retire'>): boolean {
    const has = kept?.record?.header.accepted;
    return has !== undefined && version !== undefined && compareValues(has, { epoch, version }) > 0;
  }

  private retire(job: JobId, kept: Kept, epoch: Epoch): void {
    const wasOwn = leaderOf(kept) === this.parts.out.self;
    if (compareEpochs(kept.promised, epoch) < 0) this.change(job, kept, { promised: epoch });
    this.drop(job, true);
    if (wasOwn) this.parts.onDeposed(job);
  }

  /** The disk refused its first value, which is never written now. */
  withdraw(job: JobId): void {
    const kept = this.kept.get(job);
    if (!kept) return;
    if (kept.isPromised) this.change(job, kept, { record: undefined });
    else this.evict(job);
  }

  /** @param isRetired its record is kept elsewhere, and this node has no say about it any more */
  drop(job: JobId, isRetired: boolean): void {
    const kept = this.kept.get(job);
    if (!kept) return;
    this.change(job, kept, { record: undefined, isSettled: false, isRetired });
    this.dropping.add(job);
    this.parts.out.persist({ kind: 'dropped', job, promised: kept.promised, isRetired });
  }

  // -------------------------------------------------------------- the youngest yes

  sayYes(kept: Kept): void {
    kept.yesAt = this.parts.out.now.mono;
  }

  private yesAgo(kept: Kept | undefined): number | undefined {
    if (kept?.yesAt === undefined) return undefined;
    return Math.max(0, Math.ceil(this.parts.out.now.mono - kept.yesAt));
  }
}

/** All fields at once: one that is added later takes an object of its own, a million times. */
const onlyPromised = (promised: Epoch): Kept => ({
  record: undefined,
  promised,
  yesAt: undefined,
  promisedAt: asMono(Number.NEGATIVE_INFINITY),
  isSettled: false,
  isPromised: false,
  isRetired: false,
});

type Of<K extends RegisterMessage['kind']> = Extract<RegisterMessage, { kind: K }>;

/** Whoever was promised most: its owner, or a candidate that may become it. */
export const leaderOf = ({ record, promised }: Kept): NodeId =>
  record && compareEpochs(promised, record.header.accepted.epoch) <= 0
    ? ownerOf(record.header)
    : promised.node;

/** The moment an age that was told points to, at the latest. */
export const yesAtOf = (now: MonoMs, yesAgoMs: number | undefined): MonoMs =>
  yesAgoMs === undefined ? asMono(Number.NEGATIVE_INFINITY) : asMono(now - yesAgoMs);
