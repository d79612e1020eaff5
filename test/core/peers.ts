/** What executors and owners say to the core on the bench, as far as several tests need it. */
import { asJobId, type JobId, type NodeId } from '../../src/base/ids.ts';
import { asWall } from '../../src/base/instant.ts';
import { IDLE_LOAD } from '../../src/core/facts.ts';
import type { JobSpec } from '../../src/core/job.ts';
import { type AttemptEnd, type AttemptOutcome, NO_OUTPUT } from '../../src/core/job.ts';
import { LEASE_MS } from '../../src/core/lease.ts';
import type { Grant, Message } from '../../src/core/messages.ts';
import { type Epoch, type Fence, type ReplicaSets, setsHash } from '../../src/core/record.ts';
import { type CoreBench, SPEC } from './core-bench.ts';

export const EXIT_0: AttemptEnd = { tag: 'exited', code: 0 };

export const outcomeOf = (
  fence: Fence,
  executor: NodeId,
  end: AttemptEnd = EXIT_0,
): AttemptOutcome => ({
  fence,
  executor,
  end,
  startedAt: asWall(1),
  finishedAt: asWall(2),
  stdout: NO_OUTPUT,
  stderr: NO_OUTPUT,
});

/** A peer that runs jobs of the core on the bench. */
export class PeerExecutor {
  readonly node: NodeId;
  private readonly bench: CoreBench;
  private serial = 0;

  constructor(bench: CoreBench, node: NodeId) {
    this.bench = bench;
    this.node = node;
  }

  /** Claims the offered job; returns the grant. */
  takeOffered(job: JobId): Grant {
    const { bench, node } = this;
    const offers = bench.messages(node, 'offer').filter((offer) => offer.job === job);
    if (offers.length !== 1) throw new Error(`${offers.length} offers of ${job}`);
    this.claim(job);
    return bench.message(node, 'grant').grant;
  }

  claim(job?: JobId): string {
    const { bench, node } = this;
    const nonce = `1.${++this.serial}` as Grant['nonce'];
    const load = bench.talking.get(node) ?? { ...IDLE_LOAD, slots: 2 };
    bench.hear(node, { kind: 'claim', nonce, job, load: { ...load, claimed: 1 } });
    return nonce;
  }

  refuse(job: JobId, reason: 'no free slot' | 'draining' | 'task type not served'): void {
    const load = { ...IDLE_LOAD, slots: 2, running: reason === 'no free slot' ? 2 : 0 };
    this.bench.hear(this.node, { kind: 'refuse', job, reason, load });
  }

  started({ job, fence }: Grant): void {
    this.bench.hear(this.node, { kind: 'started', job, fence, startedAt: 1 });
  }

  reject({ job, fence }: Grant, reason = 'the claim is not open'): void {
    this.bench.hear(this.node, { kind: 'reject', job, fence, reason });
  }

  renew({ job, fence }: Grant): void {
    const sets = setsHash(this.setsOf(job));
    const attempts = [{ job, fence, epoch: this.epochOf(job), sets }];
    this.bench.hear(this.node, { kind: 'renew', sentAt: 1, attempts });
  }

  private setsOf(job: JobId): ReplicaSets {
    return this.bench.record(job).header;
  }

  private epochOf(job: JobId): Epoch {
    return this.bench.record(job).header.accepted.epoch;
  }

  result({ job, fence }: Grant, end: AttemptEnd = EXIT_0): void {
    const outcome = outcomeOf(fence, this.node, end);
    this.bench.hear(this.node, { kind: 'result', job, outcome });
  }
}

/** A peer that gives jobs to the core on the bench. */
export class PeerOwner {
  readonly node: NodeId;
  private readonly bench: CoreBench;
  private serial = 0;

  constructor(bench: CoreBench, node: NodeId) {
    this.bench = bench;
    this.node = node;
  }

  newJob(): JobId {
    return asJobId(`of-${this.node.slice(5, 7)}-${++this.serial}`);
  }

  offer(job: JobId, spec: Partial<JobSpec> = {}): void {
    const { taskType, needs } = { ...SPEC, ...spec };
    this.bench.hear(this.node, { kind: 'offer', job, taskType, needs });
  }

  grantOf(job: JobId, nonce: string, change: Partial<Grant> & { attempt?: number } = {}): Grant {
    const { attempt = 1, ...rest } = change;
    return {
      job,
      fence: { epoch: { counter: 1, node: this.node }, attempt },
      nonce: nonce as Grant['nonce'],
      rs: [this.node],
      oldRs: [],
      leaseMs: LEASE_MS,
      spec: SPEC,
      ...rest,
    };
  }

  grant(grant: Grant): void {
    this.bench.hear(this.node, { kind: 'grant', grant });
  }

  /** Offers a job, and grants it to the claim. The start is not claimed. */
  give(spec: Partial<JobSpec> = {}): Grant {
    const job = this.newJob();
    this.offer(job, spec);
    const { nonce } = this.bench.message(this.node, 'claim');
    const grant = this.grantOf(job, nonce, { spec: { ...SPEC, ...spec } });
    this.grant(grant);
    return grant;
  }

  /** Answers the newest renewal with yes to all of it. */
  renewAll(): void {
    for (const { sentAt, attempts } of this.bench.messages(this.node, 'renew'))
      this.bench.hear(this.node, {
        kind: 'renewed',
        sentAt,
        granted: attempts,
        revoked: [],
        moved: [],
      });
  }

  /** It has nothing more for those who ask back. */
  declineAll(): void {
    const isForAny = (effect: { to: NodeId; message: Message }): boolean =>
      effect.to === this.node && effect.message.kind === 'claim' && !effect.message.job;
    for (const { message } of this.bench.take('send', isForAny))
      if (message.kind === 'claim')
        this.bench.hear(this.node, { kind: 'decline', nonce: message.nonce });
  }

  cancel({ job, fence }: Grant): void {
    this.bench.hear(this.node, { kind: 'cancel', job, fence, epoch: fence.epoch });
  }

  acknowledge({ job, fence }: Grant): void {
    this.bench.hear(this.node, { kind: 'acknowledge', job, fence });
  }
}

/** What the executor adapter reports of attempts on the bench. */
export function reportRunning(
  bench: CoreBench,
  { job, fence }: { job: JobId; fence: Fence },
): void {
  bench.put({ kind: 'report', report: { kind: 'running', job, fence, startedAt: asWall(3) } });
}

export function reportEnd(
  bench: CoreBench,
  { job, fence }: { job: JobId; fence: Fence },
  end: AttemptEnd = EXIT_0,
): void {
  bench.put({
    kind: 'report',
    report: {
      kind: 'ended',
      job,
      fence,
      end,
      startedAt: asWall(3),
      finishedAt: asWall(4),
      stdout: NO_OUTPUT,
      stderr: NO_OUTPUT,
    },
  });
}
