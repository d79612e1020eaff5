/**
 * The replicated register of one job: `propose` a value, hear `onDecided` when a quorum of its
 * replica set has it on disk. Whatever must not be taken back (a 201, a final state, an
 * acknowledgement, the answer to a cancel) hangs on the decision and never on a commit.
 *
 * The set of every record is this node alone so far, and a quorum of one is its own disk. Votes of
 * other replicas are counted by the same rule, so replication adds voters here and changes nothing
 * for those who propose.
 */
import type { JobId, NodeId } from '../base/ids.ts';
import type { JobRecord } from './job-record.ts';
import type { Outgoing } from './outgoing.ts';
import { compareEpochs, type RecordHeader } from './record.ts';

interface Proposal {
  readonly record: JobRecord;
  readonly yes: Set<NodeId>;
}

export class Register {
  private readonly out: Outgoing;
  private readonly onDecided: (record: JobRecord) => void;
  /** Undecided values by job, oldest version first. */
  private readonly proposals = new Map<JobId, Proposal[]>();

  constructor(out: Outgoing, onDecided: (record: JobRecord) => void) {
    this.out = out;
    this.onDecided = onDecided;
  }

  propose(record: JobRecord): void {
    const open = this.proposals.get(record.header.job);
    const proposal: Proposal = { record, yes: new Set() };
    if (open) open.push(proposal);
    else this.proposals.set(record.header.job, [proposal]);
    this.out.persist({ kind: 'record', ...record });
  }

  /** A replica has this version on its disk. Later versions of an epoch imply the earlier ones. */
  onAccepted(by: NodeId, header: RecordHeader): void {
    const open = this.proposals.get(header.job);
    if (!open) return;
    for (const proposal of open) {
      if (isCoveredBy(proposal.record.header, header)) proposal.yes.add(by);
    }
    this.settle(header.job, open);
  }

  /** The value was never written and never will be. */
  withdraw(job: JobId): void {
    this.proposals.delete(job);
  }

  private settle(job: JobId, open: Proposal[]): void {
    while (open[0] && hasQuorum(open[0])) {
      const decided = open.shift();
      if (open.length === 0) this.proposals.delete(job);
      if (decided) this.onDecided(decided.record);
    }
  }
}

const isCoveredBy = (proposed: RecordHeader, accepted: RecordHeader): boolean =>
  compareEpochs(proposed.accepted.epoch, accepted.accepted.epoch) === 0 &&
  proposed.accepted.version <= accepted.accepted.version;

export const majorityOf = (members: readonly NodeId[]): number =>
  Math.floor(members.length / 2) + 1;

function hasQuorum(proposal: Proposal): boolean {
  const { rs, oldRs } = proposal.record.header;
  const yes = (set: readonly NodeId[]): number =>
    set.filter((node) => proposal.yes.has(node)).length;
  return yes(rs) >= majorityOf(rs) && (oldRs.length === 0 || yes(oldRs) >= majorityOf(oldRs));
}
