/**
 * The first write of an id that clients choose. It may be there already, or be written at this
 * moment by another node that believes to be the key's home, so nothing is written before a quorum
 * of its replicas has promised and none of them has a value: two such writers cannot both win.
 *
 * Across a partition two births of one id can arise. When they meet, the lower birth is the job:
 * a rule that everybody who keeps one of them applies to the same two numbers, whatever happens to
 * the records meanwhile. The other is dropped for good (lost-births.ts), and is a conflict if an
 * executor ever had it. What the lower one is worth the job is worth: kept by one disk only, it is
 * lost with that one, though more had the other.
 */
import { compareText, type JobId, type NodeId, type RequestId } from '../base/ids.ts';
import { afterMono, asMono, type MonoMs } from '../base/instant.ts';
import { randomBelow } from '../base/random.ts';
import type { Conflict } from './effects.ts';
import type { StoredState, Submission } from './inputs.ts';
import type { JobRecord } from './job-record.ts';
import { LostBirths } from './lost-births.ts';
import type { Held, RegisterMessage } from './messages.ts';
import type { Outgoing } from './outgoing.ts';
import { isDecided } from './quorum.ts';
import { compareEpochs, type Epoch, type RecordHeader } from './record.ts';

const GIVE_UP_MS = 2000;
const RETRY_MS = 100;
const RECENT_MS = 3_600_000;
/** That many are restored, too. */
export const MAX_RECENT_BIRTHS = 1000;

export interface BirthParts {
  readonly out: Outgoing;
  readonly isBanned: (node: NodeId) => boolean;
  readonly chooseForKey: (job: JobId) => NodeId[];
  /** This node does not know yet who is there: its own view of the members is no view. */
  readonly isSettlingIn: () => boolean;
  /** The id is free: it is written now. */
  readonly onFree: (
    submission: Submission,
    at: { epoch: Epoch; rs: readonly NodeId[] },
    requests: RequestId[],
  ) => void;
  /** By this node. */
  readonly promisedOf: (job: JobId) => Epoch | undefined;
  readonly withRecord: (job: JobId, act: (record: JobRecord | undefined) => void) => void;
  /** The birth that this node keeps lost against a lower one. */
  readonly onLost: (own: JobRecord) => void;
}

interface Birth {
  readonly submission: Submission;
  readonly requests: RequestId[];
  /** Empty: not chosen yet. */
  rs: readonly NodeId[];
  readonly giveUpAt: MonoMs;
  epoch: Epoch;
  promises: Set<NodeId>;
  retryAt: MonoMs;
}

export class Births {
  private readonly parts: BirthParts;
  private readonly open = new Map<JobId, Birth>();
  readonly lost = new LostBirths();
  private readonly recent = new Map<JobId, { held: Held; at: MonoMs }>();

  constructor(parts: BirthParts) {
    this.parts = parts;
  }

  restore({ lostBirths, births }: Pick<StoredState, 'lostBirths' | 'births'>): void {
    const { mono, wall } = this.parts.out.now;
    this.lost.restore(lostBirths);
    for (const { createdAt, ...held } of births)
      this.recent.set(held.job, { held, at: asMono(mono - Math.max(0, wall - createdAt)) });
  }

  begin(request: RequestId, submission: Submission): void {
    const { out } = this.parts;
    const known = this.open.get(submission.job);
    if (known) {
      const isSame = known.submission.contentHash === submission.contentHash;
      if (isSame) known.requests.push(request);
      else out.reply(request, { kind: 'keyConflict', job: submission.job });
      return;
    }
    const birth: Birth = {
      submission,
      requests: [request],
      rs: [],
      giveUpAt: afterMono(out.now.mono, GIVE_UP_MS),
      epoch: { counter: 1, node: out.self },
      promises: new Set(),
      retryAt: afterMono(out.now.mono, GIVE_UP_MS),
    };
    this.open.set(submission.job, birth);
    this.choose(submission.job, birth);
  }

  private choose(job: JobId, birth: Birth): void {
    if (this.parts.isSettlingIn()) return;
    birth.rs = this.parts.chooseForKey(job);
    // An earlier birth of the id may have been written, and run, under an epoch of this node.
    const counter = (this.parts.promisedOf(job)?.counter ?? 0) + 1;
    birth.epoch = { counter, node: this.parts.out.self };
    this.ask(job, birth);
  }

  private ask(job: JobId, { rs, epoch, promises }: Birth): void {
    for (const node of rs) {
      if (!promises.has(node))
        this.parts.out.send(node, { kind: 'prepare', job, epoch, ifAbsent: true });
    }
  }

  /** False: it answers no birth. */
  onPromise(from: NodeId, message: Of<'promise'>): boolean {
    const birth = this.open.get(message.job);
    if (!birth || compareEpochs(birth.epoch, message.epoch) !== 0) return false;
    birth.promises.add(from);
    const { isBanned, onFree, out, promisedOf } = this.parts;
    const sets = { rs: birth.rs, oldRs: [] };
    const rights = { self: out.self, isBanned, isAloneWithout: () => false };
    if (!birth.promises.has(out.self)) return true;
    if (!isDecided(sets, (node) => birth.promises.has(node), rights)) return true;
    const own = promisedOf(message.job);
    if (!own || compareEpochs(own, birth.epoch) !== 0) return true;
    this.open.delete(message.job);
    this.noteRecent(message.job, birth);
    onFree(birth.submission, birth, birth.requests);
    return true;
  }

  onRefused(message: Of<'refused'>): boolean {
    const { out } = this.parts;
    const birth = this.open.get(message.job);
    if (!birth || compareEpochs(birth.epoch, message.epoch) !== 0) return false;
    if (message.birth !== undefined) {
      // It is there: the node that asked looks it up.
      this.end(message.job, birth, 'deposed');
      return true;
    }
    birth.epoch = { counter: message.promised.counter + 1, node: out.self };
    birth.promises = new Set();
    birth.retryAt = afterMono(out.now.mono, RETRY_MS + randomBelow(out.random, RETRY_MS));
    return true;
  }

  onTick(): void {
    const { mono } = this.parts.out.now;
    for (const [job, birth] of this.open) {
      if (mono >= birth.giveUpAt) this.end(job, birth, 'noQuorum');
      else if (birth.rs.length === 0) this.choose(job, birth);
      else if (mono >= birth.retryAt) {
        birth.retryAt = birth.giveUpAt;
        this.ask(job, birth);
      }
    }
  }

  private end(job: JobId, birth: Birth, kind: 'deposed' | 'noQuorum'): void {
    this.open.delete(job);
    for (const request of birth.requests) this.parts.out.reply(request, { kind, job });
  }

  // -------------------------------------------------------------- two births that meet

  private noteRecent(job: JobId, { submission, epoch }: Birth): void {
    const held = { job, birth: submission.birth, accepted: { epoch, version: 1 } };
    this.recent.delete(job);
    this.recent.set(job, { held, at: this.parts.out.now.mono });
    const [oldest] = this.recent.keys();
    if (this.recent.size > MAX_RECENT_BIRTHS && oldest !== undefined) this.recent.delete(oldest);
  }

  /**
   * Ids that were given within the last hour: who was away meanwhile may have given them too. Those
   * given here, and after a restart all that are kept here: two that gave one id and ended its jobs
   * may both have been started again before they met.
   */
  onPeerUp(node: NodeId): void {
    const { out } = this.parts;
    const held: Held[] = [];
    for (const [job, birth] of this.recent) {
      if (out.now.mono - birth.at > RECENT_MS) this.recent.delete(job);
      else held.push(birth.held);
    }
    if (held.length > 0) out.send(node, { kind: 'holding', held });
  }

  /** `other` keeps another birth of the id than this node: both compare. */
  onOther(other: NodeId, own: JobRecord): void {
    this.parts.out.send(other, { kind: 'clash', record: own });
  }

  onClash(from: NodeId, { record: theirs }: Of<'clash'>): void {
    this.parts.withRecord(theirs.header.job, (ours) => {
      const { job, birth } = theirs.header;
      if (this.lost.has(job, birth)) this.parts.out.send(from, { kind: 'birthLost', job, birth });
      else if (ours && ours.header.birth !== birth) this.compare(from, ours, theirs);
    });
  }

  /** What another one has dropped, since it met a lower one. */
  onBirthLost({ job, birth }: Of<'birthLost'>): void {
    this.parts.withRecord(job, (ours) => {
      if (ours?.header.birth === birth) this.parts.onLost(ours);
    });
  }

  /** This birth is dropped here, and is never taken again. */
  bury({ job, birth }: RecordHeader): void {
    this.lost.add(job, birth);
    if (this.recent.get(job)?.held.birth === birth) this.recent.delete(job);
    this.parts.out.persist({ kind: 'birthLost', job, birth });
  }

  /** Of two births that met the one that is dropped: at `from`, or here. */
  compare(from: NodeId, ours: JobRecord, theirs: JobRecord): void {
    if (compareText(theirs.header.birth, ours.header.birth) < 0) this.parts.onLost(ours);
    else this.onOther(from, ours);
  }
}

/** Undefined: the birth that lost was never given to anybody. */
export function conflictOfBirth(lost: JobRecord, at: Conflict['at']): Conflict | undefined {
  const { job, header } = lost;
  if (job.attempts === 0) return undefined;
  const note = `taken on both sides of a partition: the job of ${job.createdBy} was dropped after ${job.attempts} attempt${job.attempts === 1 ? '' : 's'}, the other counts`;
  return { job: header.job, at, tag: 'births', note };
}

type Of<K extends RegisterMessage['kind']> = Extract<RegisterMessage, { kind: K }>;
