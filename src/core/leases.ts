/**
 * What a replica says to an executor that asks whether its attempts may run on. No yes below the
 * own promise: so a takeover's quorum has ended every older lease, and knows when the last one
 * began. No yes for other replica sets than the record names: its own quorum may be elsewhere.
 *
 * Nor any yes of a node for the epoch of its own earlier life: in a pair the owner's yes is enough
 * for a lease, and a node that was started again may have been followed.
 *
 * Silence is neither yes nor no: a final state or a revocation may not be decided yet, and one that
 * never is must not have ended an attempt. The lease ends it soon enough if it is.
 */
import type { JobId, NodeId } from '../base/ids.ts';
import type { AttemptRef, DispatchMessage, LeaseRef, MovedSets } from './messages.ts';
import type { Outgoing } from './outgoing.ts';
import { compareEpochs, isSameFence, setsHash } from './record.ts';
import type { Kept, Replicas } from './replicas.ts';

export class Leases {
  private readonly out: Outgoing;
  private readonly replicas: Replicas;
  private readonly isOwned: (job: JobId) => boolean;

  constructor(out: Outgoing, replicas: Replicas, isOwned: (job: JobId) => boolean) {
    this.out = out;
    this.replicas = replicas;
    this.isOwned = isOwned;
  }

  onRenew(from: NodeId, { attempts, sentAt }: Extract<DispatchMessage, { kind: 'renew' }>): void {
    const here: [LeaseRef, Kept][] = [];
    for (const ref of attempts) {
      const kept = this.replicas.get(ref.job);
      if (kept) here.push([ref, kept]);
      else {
        // Long decided, or never heard of here: only the disk knows.
        this.replicas.with(ref.job, (found) => {
          if (found) this.answer(from, sentAt, [[ref, found]]);
        });
      }
    }
    if (here.length > 0) this.answer(from, sentAt, here);
  }

  private answer(from: NodeId, sentAt: number, asked: readonly [LeaseRef, Kept][]): void {
    const granted: AttemptRef[] = [];
    const revoked: AttemptRef[] = [];
    const moved: MovedSets[] = [];
    for (const [ref, kept] of asked) {
      const { job, fence } = ref;
      const isOfEarlierLife = ref.epoch.node === this.out.self && !this.isOwned(job);
      const judged = judge(kept, ref);
      const verdict = isOfEarlierLife && judged === 'yes' ? 'silent' : judged;
      const header = kept.record?.header;
      if (verdict === 'no') revoked.push({ job, fence });
      else if (verdict === 'yes' && header && setsHash(header) !== ref.sets) {
        const { accepted, rs, oldRs } = header;
        moved.push({ job, fence, accepted, sets: { rs, oldRs } });
      } else if (verdict === 'yes') {
        this.replicas.sayYes(kept);
        granted.push({ job, fence });
      }
    }
    if (granted.length + revoked.length + moved.length === 0) return;
    this.out.signal(from, { kind: 'renewed', sentAt, granted, revoked, moved });
  }
}

function judge(kept: Kept, { birth, fence, epoch }: LeaseRef): 'yes' | 'no' | 'silent' {
  if (!kept.record) return 'silent';
  if (birth !== undefined && birth !== kept.record.header.birth) return 'silent';
  const { state, attempts } = kept.record.job;
  if (state.tag === 'final') return kept.isSettled ? 'no' : 'silent';
  if (compareEpochs(epoch, kept.promised) < 0) return 'silent';
  if (state.tag === 'pending') return fence.attempt > attempts ? 'yes' : 'no';
  if (isSameFence(state.grant.fence, fence)) return state.tag === 'granted' ? 'yes' : 'silent';
  return fence.attempt > state.grant.fence.attempt ? 'yes' : 'no';
}
