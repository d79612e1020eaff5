/**
 * What clients ask for: new jobs and cancels. A submit is answered when its record is decided, a
 * cancel when it is, so that neither answer can be taken back.
 */
import type { JobId, RequestId } from '../base/ids.ts';
import type { Submission } from './inputs.ts';
import { recordedStatus } from './job.ts';
import type { JobRecord } from './job-record.ts';
import { cancelledFinal } from './outcome.ts';
import type { Outgoing } from './outgoing.ts';
import type { OwnedJob, Ownership } from './ownership.ts';
import { ownerOf } from './record.ts';

/** Of the records this program writes; nodes that cannot read them do not decide about them. */
export const RECORD_VERSION = 1;

export interface IntakeParts {
  readonly out: Outgoing;
  readonly ownership: Ownership;
  /** Unfinished jobs this node owns at most. */
  readonly maxJobs: number;
  readonly enqueue: (owned: OwnedJob) => void;
  readonly dequeue: (job: JobId) => void;
  readonly sendCancel: (owned: OwnedJob) => void;
}

export class Intake {
  private readonly parts: IntakeParts;
  isDraining = false;
  isAccepting = true;

  constructor(parts: IntakeParts) {
    this.parts = parts;
  }

  onSubmit(request: RequestId, submission: Submission): void {
    if (!submission.isKeyed) {
      this.create(request, submission);
      return;
    }
    this.parts.ownership.withRecord(submission.job, (owned, stored) => {
      const known = owned?.record ?? stored;
      if (!known) this.create(request, submission);
      else if (known.job.contentHash !== submission.contentHash) {
        this.parts.out.reply(request, { kind: 'keyConflict', job: submission.job });
      } else if (!this.parts.ownership.awaitSubmit(submission.job, request)) {
        this.parts.out.reply(request, { kind: 'submitted', record: known, isRepeat: true });
      }
    });
  }

  onCancel(request: RequestId, job: JobId): void {
    const { out, ownership } = this.parts;
    ownership.withRecord(job, (owned, stored) => {
      if (owned) this.cancel(request, owned);
      else if (!stored) out.reply(request, { kind: 'unknownJob', job });
      else if (stored.job.state.tag === 'final') this.replyFinal(request, stored);
      else out.reply(request, { kind: 'notOwner', job, owner: ownerOf(stored.header) });
    });
  }

  private create(request: RequestId, submission: Submission): void {
    const { out, ownership, maxJobs, enqueue } = this.parts;
    if (this.isDraining || !this.isAccepting) {
      out.reply(request, { kind: 'notAccepting', reason: this.isDraining ? 'draining' : 'disk' });
    } else if (ownership.size >= maxJobs) {
      out.reply(request, { kind: 'queueFull', limit: maxJobs });
    } else {
      ownership.create(this.firstRecord(submission), request, enqueue);
    }
  }

  private firstRecord(submission: Submission): JobRecord {
    const { self, boot, now } = this.parts.out;
    const epoch = { counter: 1, node: self };
    return {
      header: {
        job: submission.job,
        birth: submission.birth,
        rs: [self],
        oldRs: [],
        promised: epoch,
        accepted: { epoch, version: 1 },
        writerBoot: boot,
        minVersion: RECORD_VERSION,
      },
      job: {
        spec: submission.spec,
        createdAt: now.wall,
        createdBy: self,
        contentHash: submission.contentHash,
        state: { tag: 'pending' },
        attempts: 0,
        losses: 0,
        history: [],
      },
    };
  }

  private cancel(request: RequestId, owned: OwnedJob): void {
    const { out, ownership, dequeue, sendCancel } = this.parts;
    const { job } = owned.record;
    const { job: id } = owned.record.header;
    const { state } = job;
    if (state.tag === 'final') {
      ownership.whenDecided(owned, () => this.replyFinal(request, owned.record));
    } else if (state.tag === 'pending') {
      dequeue(id);
      ownership.setStage(owned, { tag: 'settling' });
      const final = cancelledFinal(out.now.wall);
      ownership.propose(owned, { ...job, state: { tag: 'final', final } }, () => {
        out.reply(request, { kind: 'cancelled', job: id });
      });
    } else if (state.cancelAt !== undefined) {
      ownership.whenDecided(owned, () => out.reply(request, { kind: 'cancelling', job: id }));
    } else {
      ownership.propose(owned, { ...job, state: { ...state, cancelAt: out.now.wall } }, () => {
        out.reply(request, { kind: 'cancelling', job: id });
        sendCancel(owned);
      });
    }
  }

  private replyFinal(request: RequestId, record: JobRecord): void {
    const { job } = record.header;
    const status = recordedStatus(record.job.state);
    if (status === 'JOB_CANCELLED') this.parts.out.reply(request, { kind: 'cancelled', job });
    else this.parts.out.reply(request, { kind: 'alreadyFinal', job, status });
  }
}
