/**
 * A node as a deterministic state machine: inputs in, effects out, no clock, socket, disk or
 * promise in between, so that any run can be replayed from its inputs. The driver (src/node) gives
 * it real ones, the simulator (test/sim) invented ones.
 *
 * | part        | file           | decides                                              |
 * |-------------|----------------|------------------------------------------------------|
 * | membership  | membership.ts  | who is alive, suspect, dead; whom to dial            |
 * | ownership   | ownership.ts   | the jobs this node owns, and when a move is decided  |
 * | intake      | intake.ts      | what a submit and a cancel do                        |
 * | dispatch    | dispatch.ts    | which node is offered a waiting job                  |
 * | assignments | assignments.ts | grants, outcomes, executors that die                 |
 * | execution   | execution.ts   | the attempts that run here                           |
 */
import type { BootId, JobId, NodeId } from '../base/ids.ts';
import { afterMono, asWall, type MonoMs, type Now } from '../base/instant.ts';
import type { Random } from '../base/random.ts';
import { unreachable } from '../base/unreachable.ts';
import { Assignments } from './assignments.ts';
import type { LiveRecord } from './calls.ts';
import { Dispatch } from './dispatch.ts';
import type { Effect, Write } from './effects.ts';
import { Execution } from './execution.ts';
import type { Load, NodeFacts } from './facts.ts';
import type { Input } from './inputs.ts';
import { Intake } from './intake.ts';
import { recordedStatus } from './job.ts';
import type { JobRecord } from './job-record.ts';
import type { Member, MemberChange } from './member.ts';
import { Membership } from './membership.ts';
import type { JobMessage, Message } from './messages.ts';
import { Outgoing } from './outgoing.ts';
import { type OwnedJob, Ownership } from './ownership.ts';

/** Between two ticks; every time limit of the core is exact to this much. */
export const TICK_MS = 100;

export interface CoreOptions {
  readonly boot: BootId;
  /** Its ports are known only once they are open, so it is read anew each time. */
  readonly facts: () => NodeFacts;
  readonly node: NodeId;
  readonly random: Random;
  readonly now: Now;
  readonly peerTimeoutMs: number;
  readonly killGraceMs: number;
  /** Unfinished jobs this node owns at most. */
  readonly maxJobs: number;
}

export interface Owned {
  /** Jobs of this node, those given away among them. */
  readonly unfinished: number;
  readonly given: number;
  /** Outcomes of other nodes' jobs that their owners do not have. */
  readonly untold: number;
}

export class Core {
  private readonly out: Outgoing;
  private readonly membership: Membership;
  private readonly ownership: Ownership;
  private readonly intake: Intake;
  private readonly dispatch: Dispatch;
  private readonly assignments: Assignments;
  private readonly execution: Execution;
  private readonly facts: () => NodeFacts;
  private tickAt: MonoMs;
  private isPeersTurn = true;
  private drain: { readonly deadline: MonoMs; hasGivenBack: boolean; isDone: boolean } | undefined;

  constructor(options: CoreOptions) {
    this.facts = options.facts;
    this.tickAt = options.now.mono;
    this.out = new Outgoing({
      node: options.node,
      boot: options.boot,
      random: options.random,
      now: options.now,
    });
    const { out } = this;
    this.execution = new Execution({
      out,
      facts: this.facts,
      killGraceMs: options.killGraceMs,
      queued: () => this.dispatch.queued,
    });
    this.membership = new Membership({
      out,
      peerTimeoutMs: options.peerTimeoutMs,
      load: () => this.load(),
      onChange: (change) => this.onMemberChange(change),
      onLoad: (member, isFreer) => this.onPeerLoad(member, isFreer),
    });
    this.ownership = new Ownership(out);
    const { ownership } = this;
    this.dispatch = new Dispatch({
      out,
      ownership,
      assignments: () => this.assignments,
      nodes: () => this.nodes(),
      onAnswered: (node, change) => this.membership.adjustLoad(node, change),
    });
    const enqueue = (owned: OwnedJob): void => this.dispatch.enqueue(owned);
    const dequeue = (job: JobId): void => this.dispatch.dequeue(job);
    const stateOf = (node: NodeId) => this.membership.stateOf(node);
    this.assignments = new Assignments({ out, ownership, enqueue, dequeue, stateOf });
    const sendCancel = (owned: OwnedJob): void => this.assignments.sendCancel(owned);
    this.intake = new Intake({
      out,
      ownership,
      maxJobs: options.maxJobs,
      enqueue,
      dequeue,
      sendCancel,
    });
  }

  /** Effects in the order they must be done; see effects.ts for what waits for the commit. */
  handle(input: Input, now: Now): Effect[] {
    this.out.now = now;
    this.route(input);
    for (;;) {
      this.shareSlots();
      const message = this.out.takeOwnMessage();
      if (!message) return this.out.takeEffects();
      if (message.kind === 'grant') this.isPeersTurn = true;
      this.onJobMessage(this.out.self, this.out.boot, message);
    }
  }

  /**
   * Free slots go in turn to peers that asked in vain and to this node's own queue: neither a long
   * own queue nor a busy mesh may starve the other, least of all a job that is pinned here. What
   * the own queue leaves in its turn, because its jobs wait for other nodes, is the peers' again.
   */
  private shareSlots(): void {
    if (this.dispatch.queued === 0) this.askPeers(Number.POSITIVE_INFINITY);
    else if (this.isPeersTurn) this.askPeers(1);
    this.dispatch.run();
    if (!this.out.hasOwnMessage) this.askPeers(Number.POSITIVE_INFINITY);
  }

  private askPeers(most: number): void {
    const queuedAt = (owner: NodeId): number => this.membership.get(owner)?.load.queued ?? 0;
    if (this.execution.askForWork(queuedAt, most) > 0) this.isPeersTurn = false;
  }

  /** When the next `tick` is due. */
  nextWakeAt(): MonoMs {
    return this.tickAt;
  }

  private route(input: Input): void {
    switch (input.kind) {
      case 'restored':
        return this.onRestored(input);
      case 'tick':
        return this.onTick();
      case 'committed':
        return this.onCommitted(input.writes);
      case 'stored':
        return this.ownership.onStored(input.job, input.record);
      case 'storeChanged':
        return this.onStoreChanged(input.isWorking);
      case 'hint':
        return this.membership.onHint(input);
      case 'linkUp':
        return this.membership.onLinkUp(input);
      case 'linkDown':
        return this.membership.onLinkDown(input);
      case 'dialFailed':
        return this.membership.onDialFailed(input);
      case 'message':
        return this.onMessage(input.from, input.boot, input.message);
      case 'report':
        return this.onReport(input);
      case 'submit':
        return this.intake.onSubmit(input.request, input.submission);
      case 'cancel':
        return this.intake.onCancel(input.request, input.job);
      case 'drain':
        return this.onDrain(input.deadlineMs);
      default:
        return unreachable(input);
    }
  }

  // -------------------------------------------------------------- messages

  private onMessage(from: NodeId, boot: BootId, message: Message): void {
    this.membership.onHeard(from);
    switch (message.kind) {
      case 'ping':
      case 'pong':
      case 'probe':
      case 'heard':
      case 'members':
      case 'goodbye':
        return this.membership.onMessage(from, message);
      case 'claim':
      case 'refuse':
        this.membership.noteLoad(from, message.load);
        return this.onJobMessage(from, boot, message);
      default:
        return this.onJobMessage(from, boot, message);
    }
  }

  private onJobMessage(from: NodeId, boot: BootId, message: JobMessage): void {
    switch (message.kind) {
      case 'offer':
        return this.execution.onOffer(from, message);
      case 'claim':
        return this.dispatch.onClaim(from, boot, message);
      case 'refuse':
        return this.dispatch.onRefuse(from, message);
      case 'decline':
        return this.execution.slots.onDecline(from, message.nonce);
      case 'grant':
        return this.execution.onGrant(from, message.grant);
      case 'started':
        return this.assignments.onStarted(from, message);
      case 'reject':
        return this.assignments.onReject(from, message);
      case 'renew':
        return this.assignments.onRenew(from, message);
      case 'renewed':
        return this.execution.onRenewed(from, message);
      case 'result':
        this.membership.adjustLoad(from, { claimed: 0, running: -1 });
        return this.assignments.onResult(from, message.job, message.outcome);
      case 'acknowledge':
        return this.execution.outbox.onAcknowledge(from, message.job, message.fence);
      case 'cancel':
        return this.execution.onCancel(from, message.job, message.fence);
      default:
        return unreachable(message);
    }
  }

  // -------------------------------------------------------------- disk

  private onRestored({ state, survivors }: Extract<Input, { kind: 'restored' }>): void {
    for (const record of state.records)
      this.ownership.adopt(record, (owned) => this.assignments.resume(owned));
    this.execution.onRestored(state, survivors);
  }

  private onCommitted(writes: readonly Write[]): void {
    for (const write of writes) {
      if (write.kind === 'record') this.ownership.onAccepted(this.out.self, write.header);
      else if (write.kind === 'started') this.execution.onStartedWritten(write);
    }
  }

  private onStoreChanged(isWorking: boolean): void {
    this.intake.isAccepting = isWorking;
    this.execution.slots.isAccepting = isWorking;
    if (!isWorking) this.ownership.onStoreFailed();
    this.membership.pingAll();
    this.dispatch.markChanged();
  }

  // -------------------------------------------------------------- members, attempts, time

  private onMemberChange({ member, kind, reason }: MemberChange): void {
    const { node, name } = member.facts;
    this.out.event({ kind: 'memberChanged', node, name, state: member.state, reason });
    if (kind === 'up') {
      this.assignments.onExecutorUp(node);
      this.execution.outbox.onPeerUp(node);
    } else {
      this.dispatch.onNodeGone(node);
    }
    if (kind === 'dead' || kind === 'left') {
      this.assignments.onExecutorDead(
        node,
        kind === 'left' ? 'its executor left' : `its executor died: ${reason}`,
      );
      this.execution.slots.onOwnerGone(node);
    }
    this.dispatch.onMembersChanged();
  }

  private onPeerLoad(member: Member, isFreer: boolean): void {
    if (member.load.queued > 0 && member.state === 'alive')
      this.execution.slots.rememberAsker(member.facts.node);
    if (isFreer) this.dispatch.markChanged();
  }

  private onReport(input: Extract<Input, { kind: 'report' }>): void {
    this.execution.onReport(input.report);
    this.dispatch.markChanged();
  }

  private onTick(): void {
    this.tickAt = afterMono(this.out.now.mono, TICK_MS);
    this.membership.onTick(TICK_MS);
    this.assignments.onTick();
    this.execution.onTick();
    this.dispatch.onTick();
    this.checkDrain();
  }

  // -------------------------------------------------------------- leaving

  /** New work is refused from here on; jobs given away are still waited for. */
  private onDrain(deadlineMs: number): void {
    const deadline = afterMono(this.out.now.mono, deadlineMs);
    this.intake.isDraining = true;
    this.execution.slots.isDraining = true;
    this.dispatch.isPaused = true;
    this.drain = {
      deadline,
      hasGivenBack: this.drain?.hasGivenBack ?? false,
      isDone: this.drain?.isDone ?? false,
    };
    this.membership.pingAll();
    this.checkDrain();
  }

  /** After the deadline what still runs is given back, and its owners get a moment to take it. */
  private checkDrain(): void {
    const { drain } = this;
    if (!drain || drain.isDone) return;
    const { mono } = this.out.now;
    const isIdle =
      this.execution.running === 0 &&
      !this.execution.outbox.hasHearers((node) => this.mayHear(node)) &&
      this.ownership.movingCount === 0;
    if (mono >= drain.deadline && !drain.hasGivenBack) {
      drain.hasGivenBack = true;
      this.execution.giveBackAll();
    }
    if (!isIdle && mono < drain.deadline + LAST_WORDS_MS) return;
    drain.isDone = true;
    this.membership.sayGoodbye();
    this.out.emit({ kind: 'drained' });
  }

  /** An owner that is dead gets the outcome when both are back; nobody waits for that. */
  private mayHear(node: NodeId): boolean {
    const state = this.membership.stateOf(node);
    return state === 'alive' || state === 'suspect';
  }

  // -------------------------------------------------------------- views

  load(): Load {
    return this.execution.load();
  }

  /** Members that are shown to users; by node id. */
  peers(): Member[] {
    return this.membership.listed().sort((a, b) => (a.facts.node < b.facts.node ? -1 : 1));
  }

  /** Members with an open link, whatever their state. */
  linked(): Member[] {
    return this.membership.linked();
  }

  /** What waits for nothing but this node's return. */
  owned(): Owned {
    const { ownership, execution } = this;
    return {
      unfinished: ownership.size,
      given: ownership.movingCount,
      untold: execution.outbox.size,
    };
  }

  /** Adds to a record from disk what is only in memory. */
  enliven(record: JobRecord): LiveRecord {
    const owned = this.ownership.get(record.header.job);
    const status = recordedStatus(record.job.state);
    if (!owned) return { record, status, waiting: [] };
    if (owned.stage.tag === 'given' && owned.stage.run.isStarted && status === 'JOB_ASSIGNED') {
      const { startedAt } = owned.stage.run;
      return {
        record,
        status: 'JOB_RUNNING',
        waiting: [],
        startedAt: startedAt === undefined ? undefined : asWall(startedAt),
      };
    }
    return {
      record,
      status,
      waiting: status === 'JOB_PENDING' ? this.dispatch.explain(owned) : [],
    };
  }

  private nodes(): { facts: NodeFacts; state: Member['state']; load: Load }[] {
    const self = { facts: this.facts(), state: 'alive' as const, load: this.load() };
    return [self, ...this.membership.listed()];
  }
}

/** From giving back to leaving: time for the outcomes to be acknowledged. */
const LAST_WORDS_MS = 3000;
