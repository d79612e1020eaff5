/**
 * What clients ask for: new jobs and cancels. A submit is answered when its record is decided, a
 * cancel when it is, so that neither answer can be taken back.
 */
import type { JobId, NodeId, RequestId } from '../base/ids.ts';
import type { Assignments } from './assignments.ts';
import type { Submission } from './inputs.ts';
import { NO_HISTORY, PENDING, recordedStatus } from './job.ts';
import type { JobRecord } from './job-record.ts';
import type { Outgoing } from './outgoing.ts';
import type { OwnedJob, Ownership } from './ownership.ts';
import { majorityOf } from './quorum.ts';
import { type Accepted, type Epoch, NO_OLD_SET, ownerOf, RECORD_VERSION } from './record.ts';
import type { Records } from './records.ts';
import { leaderOf } from './replicas.ts';
import { SpecParts } from './spec-parts.ts';

export interface IntakeParts {
  readonly out: Outgoing;
  readonly ownership: Ownership;
  readonly records: Records;
  readonly assignments: Assignments;
  /** Unfinished jobs this node owns at most. */
  readonly maxJobs: number;
  readonly enqueue: (owned: OwnedJob) => void;
}

export class Intake {
  private readonly parts: IntakeParts;
  /** Of every job that is made here: kept once. */
  private readonly firstValue: Accepted;
  private readonly specParts = new SpecParts();
  isDraining = false;
  isAccepting = true;

  constructor(parts: IntakeParts) {
    this.parts = parts;
    this.firstValue = { epoch: { counter: 1, node: parts.out.self }, version: 1 };
  }

  onSubmit(request: RequestId, submission: Submission): void {
    if (!submission.isKeyed) {
      this.create(request, submission);
      return;
    }
    this.parts.records.replicas.with(submission.job, (kept) => {
      const known = this.parts.ownership.get(submission.job)?.record ?? kept?.record;
      if (!known) {
        if (this.isTaking(request)) this.parts.records.births.begin(request, submission);
      } else if (known.job.contentHash !== submission.contentHash) {
        this.parts.out.reply(request, { kind: 'keyConflict', job: submission.job });
      } else this.repeat(request, submission, known, kept?.isSettled === true);
    });
  }

  /** Told only from what is decided; whatever else this node may keep, another one decides about it. */
  private repeat(
    request: RequestId,
    { job, spec }: Submission,
    known: JobRecord,
    isSettled: boolean,
  ): void {
    const { out, ownership, records } = this.parts;
    const owned = ownership.get(job);
    const tell = (disks: number): void => {
      const wanted = spec.replicas ?? 1;
      if (isTooFew(known)) {
        out.reply(request, { kind: 'fewReplicas', wanted, disks: known.header.rs.length });
        return;
      }
      // What is over was taken once, on as many disks as were asked for. What goes on under a new
      // owner was too, as far as that one knows: it is not cancelled, and more may be heard of.
      if (disks < wanted && !isSettled) out.reply(request, { kind: 'noQuorum', job });
      else out.reply(request, { kind: 'submitted', record: known, isRepeat: true, disks });
    };
    if (ownership.awaitSubmit(job, request)) return;
    if (owned) ownership.whenDecided(owned, () => tell(records.register.holdersOf(job)), request);
    else if (isSettled) tell(majorityOf(known.header.rs));
    else out.reply(request, { kind: 'deposed', job });
  }

  /** The id of a keyed submit is free among its replicas. */
  onFree(
    submission: Submission,
    at: { epoch: Epoch; rs: readonly NodeId[] },
    requests: RequestId[],
  ): void {
    const wanted = submission.spec.replicas;
    if (wanted !== undefined && at.rs.length < wanted) {
      for (const request of requests)
        this.parts.out.reply(request, { kind: 'fewReplicas', wanted, disks: 0 });
      return;
    }
    const record = this.firstRecord(submission, at);
    this.parts.ownership.create(record, requests, this.parts.enqueue);
  }

  onCancel(request: RequestId, job: JobId): void {
    const { out, ownership, records } = this.parts;
    records.replicas.with(job, (kept) => {
      const owned = ownership.get(job);
      if (owned) this.cancel(request, owned);
      else if (!kept?.record) out.reply(request, { kind: 'unknownJob', job });
      else if (kept.isSettled) this.replyFinal(request, kept.record);
      else out.reply(request, { kind: 'notOwner', job, owner: this.deciderOf(kept.record) });
    });
  }

  /** As far as this node knows; it may be a candidate that has not won yet. */
  private deciderOf({ header }: JobRecord): NodeId {
    const kept = this.parts.records.replicas.get(header.job);
    return kept ? leaderOf(kept) : ownerOf(header);
  }

  private isTaking(request: RequestId): boolean {
    const { out, ownership, maxJobs } = this.parts;
    if (this.isDraining || !this.isAccepting)
      out.reply(request, { kind: 'notAccepting', reason: this.isDraining ? 'draining' : 'disk' });
    else if (ownership.size >= maxJobs) out.reply(request, { kind: 'queueFull', limit: maxJobs });
    else return true;
    return false;
  }

  private create(request: RequestId, submission: Submission): void {
    const { out, ownership, records, enqueue } = this.parts;
    if (!this.isTaking(request)) return;
    const wanted = submission.spec.replicas;
    const rs = records.replicaSets.choose(submission.job, wanted);
    if (wanted !== undefined && rs.length < wanted) {
      out.reply(request, { kind: 'fewReplicas', wanted, disks: 0 });
      return;
    }
    const record = this.firstRecord(submission, { epoch: this.firstValue.epoch, rs });
    ownership.create(record, [request], enqueue);
  }

  private firstRecord(
    submission: Submission,
    { epoch, rs }: { epoch: Epoch; rs: readonly NodeId[] },
  ): JobRecord {
    const { self, boot, now } = this.parts.out;
    return {
      header: {
        job: submission.job,
        birth: submission.birth,
        rs,
        oldRs: NO_OLD_SET,
        promised: epoch,
        accepted: epoch === this.firstValue.epoch ? this.firstValue : { epoch, version: 1 },
        writerBoot: boot,
        minVersion: RECORD_VERSION,
      },
      job: {
        spec: this.specParts.share(submission.spec),
        createdAt: now.wall,
        createdBy: self,
        contentHash: submission.contentHash,
        state: PENDING,
        attempts: 0,
        losses: 0,
        history: NO_HISTORY,
      },
    };
  }

  private cancel(request: RequestId, owned: OwnedJob): void {
    const { out, ownership, assignments } = this.parts;
    const { job } = owned.record;
    const { job: id } = owned.record.header;
    const { state } = job;
    if (state.tag === 'final') {
      ownership.whenDecided(owned, () => this.replyFinal(request, owned.record), request);
    } else if (state.tag === 'pending') {
      assignments.cancelPending(owned, 'cancelled', request);
    } else if (state.cancelAt !== undefined) {
      const tell = (): void => out.reply(request, { kind: 'cancelling', job: id });
      ownership.whenDecided(owned, tell, request);
    } else {
      const next = { ...job, state: { ...state, cancelAt: out.now.wall } };
      const decided = (): void => {
        out.reply(request, { kind: 'cancelling', job: id });
        assignments.sendCancel(owned);
      };
      ownership.propose(owned, next, decided, request);
    }
  }

  private replyFinal(request: RequestId, record: JobRecord): void {
    const { job } = record.header;
    const status = recordedStatus(record.job.state);
    if (status === 'JOB_CANCELLED') this.parts.out.reply(request, { kind: 'cancelled', job });
    else this.parts.out.reply(request, { kind: 'alreadyFinal', job, status });
  }
}

/** The reason of a job that was cancelled because too few disks took it. */
export const TOO_FEW = 'not enough nodes took it in time';

/** A second submit of its key is refused like the first. */
const isTooFew = ({ job: { state } }: JobRecord): boolean =>
  state.tag === 'final' && state.final.reason === TOO_FEW;
