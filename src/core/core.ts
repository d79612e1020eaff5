/**
 * A node as a deterministic state machine: inputs in, effects out, no clock, socket, disk or
 * promise in between, so that any run can be replayed from its inputs. The driver (src/node) gives
 * it real ones, the simulator (test/sim) invented ones.
 *
 * | part        | file           | decides                                              |
 * |-------------|----------------|------------------------------------------------------|
 * | membership  | membership.ts  | who is alive, suspect, dead; whom to dial            |
 * | records     | records.ts     | what is kept, decided, taken over and moved, with peers |
 * | ownership   | ownership.ts   | the jobs this node owns, and when a move is decided  |
 * | intake      | intake.ts      | what a submit and a cancel do                        |
 * | dispatch    | dispatch.ts    | which node is offered a waiting job                  |
 * | assignments | assignments.ts | grants, outcomes, executors that die                 |
 * | execution   | execution.ts   | the attempts that run here                           |
 */
import { type BootId, compareText, type JobId, type NodeId } from '../base/ids.ts';
import { afterMono, asWall, type MonoMs, type Now } from '../base/instant.ts';
import type { Random } from '../base/random.ts';
import { unreachable } from '../base/unreachable.ts';
import { Assignments } from './assignments.ts';
import type { LiveRecord } from './calls.ts';
import { Deadlines } from './deadlines.ts';
import { Departure } from './departure.ts';
import type { KnownDisk } from './disk-ages.ts';
import { Dispatch } from './dispatch.ts';
import type { Effect, Write } from './effects.ts';
import { Execution } from './execution.ts';
import type { Load, MachineUse, NodeFacts } from './facts.ts';
import type { Input } from './inputs.ts';
import { Intake, TOO_FEW } from './intake.ts';
import { recordedStatus } from './job.ts';
import type { JobRecord } from './job-record.ts';
import type { Member, MemberChange } from './member.ts';
import { Membership } from './membership.ts';
import type { DispatchMessage, JobMessage, Message } from './messages.ts';
import { Outgoing } from './outgoing.ts';
import { type OwnedJob, Ownership } from './ownership.ts';
import { isRegisterMessage, Records } from './records.ts';

/** Between two ticks; every time limit of the core is exact to this much. */
export const TICK_MS = 100;

export interface CoreOptions {
  readonly boot: BootId;
  /** Its ports are known only once they are open, so it is read anew each time. */
  readonly facts: () => NodeFacts;
  readonly node: NodeId;
  /** The newest measure; undefined: none. */
  readonly machine?: () => MachineUse | undefined;
  readonly random: Random;
  readonly now: Now;
  readonly peerTimeoutMs: number;
  readonly killGraceMs: number;
  /** What earlier lives of this node have seen of its peers. */
  readonly knownDisks?: Iterable<KnownDisk>;
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
  private readonly records: Records;
  private readonly ownership: Ownership;
  private readonly intake: Intake;
  private readonly dispatch: Dispatch;
  private readonly assignments: Assignments;
  private readonly execution: Execution;
  private readonly departure: Departure;
  private readonly deadlines: Deadlines;
  private readonly facts: () => NodeFacts;
  private readonly machine: () => MachineUse | undefined;
  private tickAt: MonoMs;
  private isPeersTurn = true;
  /** Asked with each input: made once. */
  private readonly queuedAt = (owner: NodeId): number =>
    this.membership.get(owner)?.load.queued ?? 0;

  constructor(options: CoreOptions) {
    this.facts = options.facts;
    this.machine = options.machine ?? (() => undefined);
    this.tickAt = options.now.mono;
    this.out = new Outgoing(options);
    const { out } = this;
    this.records = this.makeRecords(options);
    this.execution = this.makeExecution(options);
    this.membership = this.makeMembership(options);
    const { records, membership, execution } = this;
    this.ownership = new Ownership({
      out,
      register: records.register,
      onOwned: (owned) => this.deadlines.watch(owned),
      onDeposed: (owned) => this.dispatch.forget(owned),
      onRefused: (job) => {
        for (const part of [execution, records.replicas]) part.withdraw(job);
      },
      onTooFew: (owned) => this.assignments.cancelPending(owned, TOO_FEW),
    });
    const { ownership } = this;
    this.deadlines = new Deadlines({
      out,
      ownership: () => ownership,
      expire: (owned, reason) => this.assignments.expirePending(owned, reason),
    });
    const enqueue = (owned: OwnedJob): void => this.dispatch.enqueue(owned);
    this.assignments = new Assignments({
      out,
      ownership,
      replicas: records.replicas,
      enqueue,
      dequeue: (job) => this.dispatch.dequeue(job),
      stateOf: (peer) => membership.stateOf(peer),
      linked: () => membership.linked().map((member) => member.facts.node),
    });
    const { assignments } = this;
    this.dispatch = new Dispatch({
      out,
      ownership,
      assignments,
      nodes: () => this.nodes(),
      onAnswered: (peer, change) => membership.adjustLoad(peer, change),
    });
    this.intake = new Intake({
      out,
      ownership,
      records,
      assignments,
      enqueue,
      maxJobs: options.maxJobs,
    });
    const { intake, dispatch } = this;
    const parts = { out, intake, dispatch, execution, membership, ownership };
    this.departure = new Departure({ ...parts, replicas: records.replicas });
  }

  private makeRecords({ knownDisks = [], peerTimeoutMs }: CoreOptions): Records {
    return new Records({
      out: this.out,
      remembered: { nodes: [...knownDisks].map(({ node }) => node), forMs: peerTimeoutMs },
      membership: () => this.membership,
      ownership: () => this.ownership,
      onWon: (found, won) =>
        this.ownership.takeOver(found, won, (owned) => this.assignments.resume(owned)),
      onFree: (submission, at, requests) => this.intake.onFree(submission, at, requests),
      onGivingWay: (job) => this.endAttemptOf(job),
      isHearer: (node) => this.execution.outbox.isNamed(node),
    });
  }

  private makeExecution({ killGraceMs }: CoreOptions): Execution {
    return new Execution({
      out: this.out,
      facts: this.facts,
      isBanned: (peer) => this.records.isBanned(peer),
      killGraceMs,
      queued: () => this.dispatch.queued,
    });
  }

  private makeMembership({ peerTimeoutMs, knownDisks = [] }: CoreOptions): Membership {
    return new Membership({
      out: this.out,
      isBanned: (peer) => this.records.isBanned(peer),
      peerTimeoutMs,
      knownDisks,
      load: () => this.load(),
      marks: (peer) => this.records.register.marksFor(peer),
      onChange: (change) => this.onMemberChange(change),
      onLoad: (peer, isFreer) => this.onPeerLoad(peer, isFreer),
      onFacts: () => this.dispatch.onMembersChanged(),
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
    if (this.execution.askForWork(this.queuedAt, most) > 0) this.isPeersTurn = false;
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
        return this.records.replicas.onStored(input.job, input.record);
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
      case 'factsChanged':
        return this.onFactsChanged();
      case 'submit':
        return this.intake.onSubmit(input.request, input.submission);
      case 'cancel':
        return this.intake.onCancel(input.request, input.job);
      case 'forget':
        return this.records.forget(input.request, input.node);
      case 'drain':
        return this.departure.begin(input.deadlineMs, input.way);
      default:
        return unreachable(input);
    }
  }

  // -------------------------------------------------------------- messages

  private onMessage(from: NodeId, boot: BootId, message: Message): void {
    // Until its link is closed it may still speak.
    if (this.records.isBanned(from)) return;
    this.membership.onHeard(from);
    switch (message.kind) {
      case 'ping':
      case 'pong':
      case 'probe':
      case 'heard':
      case 'members':
      case 'facts':
      case 'goodbye':
      case 'banned':
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
    if (isRegisterMessage(message)) this.records.onMessage(from, message);
    else this.onDispatchMessage(from, boot, message);
  }

  private onDispatchMessage(from: NodeId, boot: BootId, message: DispatchMessage): void {
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
      case 'progress':
        return this.assignments.onProgress(from, message);
      case 'reject':
        return this.assignments.onReject(from, message);
      case 'renew':
        return this.records.leases.onRenew(from, message);
      case 'renewed':
        return this.execution.onRenewed(from, message);
      case 'result':
        this.membership.adjustLoad(from, { claimed: 0, running: -1 });
        return this.assignments.onResult(from, message.job, message.outcome);
      case 'acknowledge':
        return this.execution.outbox.onAcknowledge(from, message.job, message.fence);
      case 'gone':
        return this.execution.outbox.onGone(from, message.job, message.fence);
      case 'cancel':
        return this.execution.onCancel(from, message);
      case 'whoHas':
        return this.execution.onWhoHas(from, message);
      case 'have':
        return this.assignments.onHave(from, message);
      case 'adopt':
        return this.execution.onAdopt(from, message);
      default:
        return unreachable(message);
    }
  }

  private endAttemptOf(job: JobId): void {
    const owned = this.ownership.get(job);
    if (owned) this.assignments.sendCancel(owned);
  }

  // -------------------------------------------------------------- disk

  private onRestored({ state, survivors }: Extract<Input, { kind: 'restored' }>): void {
    this.records.onRestored(state);
    this.execution.onRestored(state, survivors);
    this.records.begin();
  }

  private onCommitted(writes: readonly Write[]): void {
    for (const write of writes) {
      this.records.onCommitted(write);
      if (write.kind === 'started') this.execution.onStartedWritten(write);
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
      this.records.onUp(node);
      this.assignments.onExecutorUp(node);
      this.execution.outbox.onPeerUp(node);
    } else this.dispatch.onNodeGone(node);
    if (kind === 'dead' || kind === 'left') {
      this.assignments.onExecutorDead(
        node,
        kind === 'left' ? 'its executor left' : `its executor died: ${reason}`,
      );
      this.execution.slots.onOwnerGone(node);
      this.records.onGone(node);
    }
    this.dispatch.onMembersChanged();
  }

  private onPeerLoad(member: Member, isFreer: boolean): void {
    if (member.load.queued === 0) this.execution.slots.forgetAsker(member.facts.node);
    else if (member.state === 'alive') this.execution.slots.rememberAsker(member.facts.node);
    if (isFreer) this.dispatch.markChanged();
  }

  private onReport(input: Extract<Input, { kind: 'report' }>): void {
    this.execution.onReport(input.report);
    this.dispatch.markChanged();
  }

  private onFactsChanged(): void {
    this.membership.tellFacts(this.facts());
    this.dispatch.onMembersChanged();
  }

  private onTick(): void {
    this.tickAt = afterMono(this.out.now.mono, TICK_MS);
    this.membership.onTick(TICK_MS);
    this.ownership.onTick();
    this.records.onTick();
    this.assignments.onTick();
    this.deadlines.onTick();
    this.execution.onTick();
    this.dispatch.onTick();
    this.departure.onTick();
  }

  // -------------------------------------------------------------- views

  load(): Load {
    const machine = this.machine();
    const load = this.execution.load();
    return machine ? { ...load, machine } : load;
  }

  /** Members that are shown to users; by node id. */
  peers(): Member[] {
    return this.membership.listed().sort((a, b) => (a.facts.node < b.facts.node ? -1 : 1));
  }

  /** Nodes met in this life that have not left: each may keep records, and be back with them. */
  remembered(): NodeId[] {
    return this.membership
      .known()
      .filter(({ state }) => state !== 'left')
      .map(({ facts }) => facts.node);
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

  /** Nodes that do not answer and lead jobs of which a record is kept here; by node id. */
  missedLeaders(): { node: NodeId; name: string | undefined; jobs: number }[] {
    const { replicas } = this.records;
    const isHere = (node: NodeId): boolean => {
      const state = this.membership.stateOf(node);
      return node === this.out.self || state === 'alive' || state === 'suspect';
    };
    const isWaiting = (job: JobId): boolean => {
      const kept = replicas.get(job);
      return kept?.record !== undefined && !kept.isSettled;
    };
    return replicas
      .leaders()
      .filter((node) => !isHere(node))
      .map((node) => ({
        node,
        name: this.membership.get(node)?.facts.name,
        jobs: [...replicas.ledBy(node)].filter(isWaiting).length,
      }))
      .filter(({ jobs }) => jobs > 0)
      .sort((a, b) => compareText(a.node, b.node));
  }

  /** Adds to a record from disk what is only in memory. */
  enliven(record: JobRecord): LiveRecord {
    const { job, rs } = record.header;
    const owned = this.ownership.get(job);
    const isFinal = record.job.state.tag === 'final';
    const isSettling = isFinal && this.records.replicas.get(job)?.isSettled === false;
    const status = isSettling ? 'JOB_RUNNING' : recordedStatus(record.job.state);
    const isLocal =
      rs.length < 2 ||
      this.records.register.lackingOf(job) !== undefined ||
      (owned !== undefined && owned.decidedVersion === 0);
    const live = {
      record,
      durability: isLocal ? ('local' as const) : ('replicated' as const),
      isSettling,
      isOwner: owned !== undefined || (isFinal && !isSettling),
      status,
      waiting: [],
    };
    if (!owned) return live;
    if (owned.stage.tag === 'given' && owned.stage.run.isStarted && status === 'JOB_ASSIGNED') {
      const { startedAt, progress } = owned.stage.run;
      return {
        ...live,
        status: 'JOB_RUNNING',
        progress,
        startedAt: startedAt === undefined ? undefined : asWall(startedAt),
      };
    }
    return { ...live, waiting: status === 'JOB_PENDING' ? this.dispatch.explain(owned) : [] };
  }

  private nodes(): { facts: NodeFacts; state: Member['state']; load: Load }[] {
    const self = { facts: this.facts(), state: 'alive' as const, load: this.load() };
    return [self, ...this.membership.listed()];
  }
}
