/**
 * Where waiting jobs go. The queue stays with the owner and work binds late: a job is offered to
 * one elected node, and only the claim of a slot that is really free is answered with a grant. A
 * node that was asked in vain asks back when a slot falls free, so no load has to be polled.
 */
import type { BootId, JobId, NodeId } from '../base/ids.ts';
import { compareText } from '../base/ids.ts';
import type { Assignments } from './assignments.ts';
import type { WaitingReason } from './calls.ts';
import { type Candidate, chooseTarget, misfitOf, presumedFree, refusalOf } from './election.ts';
import type { JobMessage } from './messages.ts';
import type { Outgoing } from './outgoing.ts';
import { avoidNode, isAvoided, type OwnedJob, type Ownership, QUEUED } from './ownership.ts';
import { JobQueue, type Lane } from './queue.ts';

const OFFER_TIMEOUT_MS = 1000;
/** Jobs of one lane that are passed over in a run because the only free node just refused them. */
const MAX_SKIPPED = 16;

export interface DispatchParts {
  readonly out: Outgoing;
  readonly ownership: Ownership;
  readonly assignments: Assignments;
  /** All members and the own node, by node id. */
  readonly nodes: () => readonly NodeView[];
  /** What this answer to a node does to its slots, before it says so itself. */
  readonly onAnswered: (node: NodeId, change: SlotChange) => void;
}

/** Added to what the node last told. */
export interface SlotChange {
  readonly claimed: number;
  readonly running: number;
}

export type NodeView = Omit<Candidate, 'inFlight'>;

export class Dispatch {
  private readonly parts: DispatchParts;
  private readonly queue = new JobQueue();
  /** Offers without an answer yet, by job. */
  private readonly offered = new Set<OwnedJob>();
  private readonly inFlight = new Map<NodeId, number>();
  private isDirty = false;
  isPaused = false;

  constructor(parts: DispatchParts) {
    this.parts = parts;
  }

  /** Without what is offered: an asker that heard of it would nearly always come too late. */
  get queued(): number {
    return this.queue.size;
  }

  /** @param isReturn it has waited before, as a job whose attempt was lost: it keeps its turn */
  enqueue(owned: OwnedJob, isReturn = owned.record.job.attempts > 0): void {
    if (owned.record.job.state.tag !== 'pending') return;
    const { job } = owned.record.header;
    this.parts.ownership.setStage(owned, QUEUED);
    if (isReturn) this.queue.putBack(job, owned.record.job.spec);
    else this.queue.add(job, owned.record.job.spec);
    this.isDirty = true;
  }

  dequeue(job: JobId): void {
    this.queue.remove(job);
    const owned = this.parts.ownership.get(job);
    if (owned?.stage.tag === 'offered') this.endOffer(owned, owned.stage.to);
  }

  /** Another node decides about it now. */
  forget(owned: OwnedJob): void {
    this.queue.remove(owned.record.header.job);
    if (owned.stage.tag === 'offered') this.endOffer(owned, owned.stage.to);
  }

  /** Slots may have fallen free. */
  markChanged(): void {
    this.isDirty = true;
  }

  onMembersChanged(): void {
    this.queue.unparkAll();
    this.isDirty = true;
  }

  // -------------------------------------------------------------- offering

  /** Offers what can be offered now; called once at the end of each input. */
  run(): void {
    if (!this.isDirty || this.isPaused) return;
    this.isDirty = false;
    if (this.queue.size === 0) return;
    const nodes = this.candidates();
    if ([...nodes.values()].every((node) => presumedFree(node) <= 0)) return;
    const skipped = new Map<Lane, OwnedJob[]>();
    this.queue.serve((lane) => this.serveFirst(lane, nodes, skipped));
    for (const jobs of skipped.values())
      for (const owned of jobs.reverse()) this.enqueue(owned, true);
  }

  /** Offers the first job of the lane; false: nobody has room for the lane now. */
  private serveFirst(
    lane: Lane,
    nodes: Map<NodeId, Candidate>,
    skipped: Map<Lane, OwnedJob[]>,
  ): boolean {
    const { out, ownership } = this.parts;
    const { needs, taskType } = lane.spec;
    const fitting = [...nodes.values()].filter(
      (node) => refusalOf(needs, taskType, node) === undefined,
    );
    if (fitting.length === 0) {
      const fitsNobody = [...nodes.values()].every((node) => misfitOf(needs, taskType, node.facts));
      if (fitsNobody) this.queue.park(lane);
      return false;
    }
    const job = this.queue.take(lane);
    const owned = job && ownership.get(job);
    if (!owned) return true;
    const choice = chooseTarget(
      fitting.filter((node) => !isAvoided(owned, node.facts.node, out.now.mono)),
      out.self,
      out.random,
    );
    if (choice) this.offer(owned, choice.node, choice.why, nodes);
    else skipped.set(lane, [...(skipped.get(lane) ?? []), owned]);
    return (skipped.get(lane)?.length ?? 0) < MAX_SKIPPED;
  }

  private offer(owned: OwnedJob, to: NodeId, why: string, nodes: Map<NodeId, Candidate>): void {
    const { out, ownership } = this.parts;
    const { header, job } = owned.record;
    ownership.setStage(owned, { tag: 'offered', to, at: out.now.mono, why });
    this.offered.add(owned);
    const count = (this.inFlight.get(to) ?? 0) + 1;
    this.inFlight.set(to, count);
    const node = nodes.get(to);
    if (node) nodes.set(to, { ...node, inFlight: count });
    out.send(to, {
      kind: 'offer',
      job: header.job,
      taskType: job.spec.taskType,
      needs: job.spec.needs,
    });
  }

  private endOffer(owned: OwnedJob, to: NodeId): void {
    if (!this.offered.delete(owned)) return;
    const count = (this.inFlight.get(to) ?? 1) - 1;
    if (count > 0) this.inFlight.set(to, count);
    else this.inFlight.delete(to);
  }

  private candidates(): Map<NodeId, Candidate> {
    const views = this.parts.nodes();
    return new Map(
      views.map((node) => [
        node.facts.node,
        { ...node, inFlight: this.inFlight.get(node.facts.node) ?? 0 },
      ]),
    );
  }

  // -------------------------------------------------------------- answers

  /** The first claim for a job gets it; a claim for any job gets the most urgent one that fits. */
  onClaim(from: NodeId, boot: BootId, claim: Extract<JobMessage, { kind: 'claim' }>): void {
    const owned = this.isPaused
      ? undefined
      : claim.job
        ? this.claimed(claim.job, from)
        : this.bestFor(from);
    if (!owned) {
      this.parts.out.send(from, { kind: 'decline', nonce: claim.nonce });
      this.parts.onAnswered(from, { claimed: -1, running: 0 });
      return;
    }
    const why =
      owned.stage.tag === 'offered' && owned.stage.to === from ? owned.stage.why : 'asked for work';
    this.dequeue(owned.record.header.job);
    this.parts.assignments.grant(owned, { node: from, boot, nonce: claim.nonce }, why);
    this.parts.onAnswered(from, { claimed: -1, running: 1 });
  }

  private claimed(job: JobId, from: NodeId): OwnedJob | undefined {
    const owned = this.parts.ownership.get(job);
    const isOpen = owned?.stage.tag === 'offered' || owned?.stage.tag === 'queued';
    return isOpen && this.isAlive(from) ? owned : undefined;
  }

  private bestFor(node: NodeId): OwnedJob | undefined {
    // An offer and a claim may cross: the claim is the answer, or both would be refused for the
    // other's sake, again and again.
    for (const owned of this.offered) {
      if (owned.stage.tag === 'offered' && owned.stage.to === node) return owned;
    }
    const view = this.candidates().get(node);
    if (!view) return undefined;
    const willing: Candidate = {
      ...view,
      inFlight: 0,
      load: { ...view.load, running: 0, claimed: 0 },
    };
    for (const lane of this.queue.byUrgency()) {
      if (refusalOf(lane.spec.needs, lane.spec.taskType, willing)) continue;
      const job = this.queue.take(lane);
      const owned = job && this.parts.ownership.get(job);
      if (!owned) continue;
      if (!isAvoided(owned, node, this.parts.out.now.mono)) return owned;
      // It has asked for just the job that it could not run a moment ago.
      this.enqueue(owned, true);
    }
    return undefined;
  }

  private isAlive(node: NodeId): boolean {
    return this.parts.nodes().some((view) => view.facts.node === node && view.state === 'alive');
  }

  onRefuse(from: NodeId, refusal: Extract<JobMessage, { kind: 'refuse' }>): void {
    const owned = this.parts.ownership.get(refusal.job);
    if (owned?.stage.tag !== 'offered' || owned.stage.to !== from) return;
    this.endOffer(owned, from);
    // Without a free slot it asks back by itself; any other reason holds for a while.
    if (refusal.reason !== 'no free slot') this.avoid(owned, from);
    this.enqueue(owned, true);
  }

  onNodeGone(node: NodeId): void {
    for (const owned of [...this.offered]) {
      if (owned.stage.tag === 'offered' && owned.stage.to === node) {
        this.endOffer(owned, node);
        this.enqueue(owned, true);
      }
    }
    this.isDirty = true;
  }

  onTick(): void {
    const { mono } = this.parts.out.now;
    for (const owned of [...this.offered]) {
      if (owned.stage.tag !== 'offered' || mono - owned.stage.at < OFFER_TIMEOUT_MS) continue;
      this.avoid(owned, owned.stage.to);
      this.endOffer(owned, owned.stage.to);
      this.enqueue(owned, true);
    }
    // What was avoided may be asked again, and loads told by pings may have changed.
    if (this.queue.size > 0) this.isDirty = true;
  }

  private avoid(owned: OwnedJob, node: NodeId): void {
    avoidNode({ owned, node, now: this.parts.out.now.mono, pauseMs: OFFER_TIMEOUT_MS });
  }

  // -------------------------------------------------------------- explaining

  /** Why the job waits: what each node's answer would be now, sorted by node. */
  explain(owned: OwnedJob): WaitingReason[] {
    const { needs, taskType } = owned.record.job.spec;
    const reasons: WaitingReason[] = [];
    for (const [node, view] of this.candidates()) {
      const isRefusing = isAvoided(owned, node, this.parts.out.now.mono);
      const avoided = isRefusing ? 'just refused' : undefined;
      const reason = refusalOf(needs, taskType, view) ?? avoided ?? 'asked, not answered yet';
      reasons.push({ node, reason });
    }
    return reasons.sort((a, b) => compareText(a.node, b.node));
  }
}
