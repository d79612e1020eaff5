/**
 * Watches every commit, start and end of a run and names each broken invariant. Numbers are those
 * of the ownership protocol:
 *
 * I1 every acknowledged job becomes final once faults stop. I2 one outcome, for ever, the same on
 * every disk. I7 no start of a fence seen before or beside an outbox row; no two live attempts of a
 * job outside suspended machines. I8 without faults one execution and no death. I9 a job is
 * executed again only when its last executor was lost, stopped or declared dead. I10 nothing runs
 * on a node without its task type or over its slots. I11 after a decided cancel only
 * JOB_CANCELLED. I12 every outbox row is collected in the end. I16 the same seed gives the same
 * trace. I3 to I6: register-checker.ts; I13, I14: member-checker.ts.
 */
import type { Birth, JobId, NodeId } from '../../src/base/ids.ts';
import type { AttemptOrder, MeshEvent, Reply, Write } from '../../src/core/effects.ts';
import type { Input } from '../../src/core/inputs.ts';
import type { FinalState } from '../../src/core/job.ts';
import type { Message } from '../../src/core/messages.ts';
import { attemptKey, compareEpochs, fenceText } from '../../src/core/record.ts';
import type { Journal } from './journal.ts';
import { MemberChecker } from './member-checker.ts';
import type { Network } from './network.ts';
import { isKeptAlone, RegisterChecker } from './register-checker.ts';
import type { SimNode } from './sim-node.ts';
import { Trace } from './trace.ts';

/** One execution of a job, from its start on. */
interface Execution {
  readonly node: NodeId;
  readonly order: AttemptOrder;
  readonly startedAt: number;
  isOver: boolean;
  /** It was not let run to its own end, or its outcome may be gone with its disk. */
  isExcused: boolean;
  /** Its machine stood still or nobody watched over it meanwhile, so nobody could end it in time. */
  wasSuspended: boolean;
}

export interface WatchedWorld {
  readonly journal?: Journal | undefined;
  /** Those that are lost for ever among them. */
  readonly nodes: () => ReadonlyMap<NodeId, SimNode>;
  readonly now: () => number;
  readonly network: Pick<Network, 'wellSince' | 'wholeSince'>;
}

const MAX_VIOLATIONS = 5;
/** Four losses end a job; each drain of its executor gives it one more start. */
const MAX_EXECUTIONS = 25;

export class Checker {
  readonly violations: string[] = [];
  /** Job → how many disks had it when the client was told. */
  readonly acknowledged = new Map<JobId, number>();
  readonly cancelled = new Set<JobId>();
  readonly registers: RegisterChecker;
  readonly members: MemberChecker;
  readonly trace = new Trace();
  /** Acknowledged jobs that a lost disk may take with it: no other disk had them. */
  private readonly excused = new Set<JobId>();
  /** Its word alone counted, and others still had a copy that it was taking back. */
  private readonly excusedIfGone = new Set<JobId>();
  private readonly usedFences = new Set<string>();
  private readonly outboxes = new Set<string>();
  private readonly executed = new Map<JobId, Execution[]>();
  private readonly byOrder = new Map<AttemptOrder, Execution>();
  private readonly declaredAt = new Map<NodeId, number>();
  private readonly world: WatchedWorld;

  constructor(world: WatchedWorld) {
    this.world = world;
    const violate = (what: string): void => this.violate(what);
    this.registers = new RegisterChecker(world, violate, (job, birth, final) =>
      this.onDecided(job, birth, final),
    );
    this.members = new MemberChecker(world, violate);
  }

  violate(what: string): void {
    if (this.violations.length < MAX_VIOLATIONS)
      this.violations.push(`t=${Math.round(this.world.now())} ${what}`);
  }

  executions(job: JobId): number {
    return this.executed.get(job)?.length ?? 0;
  }

  /** Of all jobs. */
  get executionCount(): number {
    return this.byOrder.size;
  }

  final(job: JobId): FinalState | undefined {
    return this.registers.finalOf(job);
  }

  // -------------------------------------------------------------- hooks

  onInput(node: SimNode, input: Input): void {
    const kind = input.kind === 'message' ? input.message.kind : input.kind;
    this.trace.add(this.world.now(), node.index, kind);
  }

  onSend(from: SimNode, to: NodeId, message: Message): void {
    this.world.journal?.note(this.world.now(), from, `-> ${to}`, message);
    this.registers.onSend(from, message);
    if (from.setBackAt !== undefined)
      for (const job of this.registers.onDoubtfulVote(message)) this.cancelled.delete(job);
    if (message.kind === 'result') this.checkResult(from, message);
  }

  /** An outcome that was told and is not on disk is another one after a crash. */
  private checkResult(from: SimNode, { job, outcome }: Extract<Message, { kind: 'result' }>): void {
    const isKept = this.outboxes.has(`${from.id} ${attemptKey(job, outcome.fence)}`);
    if (!isKept && !this.wasSetBack(from.id))
      this.violate(`I12 ${from.id} told an outcome of ${job} that its disk does not have`);
  }

  onReply(by: SimNode, reply: Reply): void {
    // Nobody else counts on what a node says whose disk was set back.
    if (by.setBackAt !== undefined) return;
    this.world.journal?.note(this.world.now(), undefined, 'told', reply);
    if (reply.kind === 'submitted') {
      const { job } = reply.record.header;
      if (!this.acknowledged.has(job))
        this.acknowledged.set(job, this.registers.onSubmitted(reply));
    } else if (reply.kind === 'cancelled' || reply.kind === 'cancelling') {
      this.cancelled.add(reply.job);
      this.registers.onToldCancel(reply);
      const final = this.final(reply.job);
      if (final) this.checkCancelled(reply.job, final);
    } else if (reply.kind === 'alreadyFinal') {
      this.registers.onToldFinal(reply.job, reply.status);
    }
  }

  onCommit(node: SimNode, writes: readonly Write[]): void {
    for (const write of writes) {
      this.trace.add(this.world.now(), node.index, write.kind);
      this.world.journal?.note(this.world.now(), node, 'wrote', write);
      if (write.kind === 'outcome')
        this.outboxes.add(`${node.id} ${attemptKey(write.job, write.outcome.fence)}`);
    }
    this.registers.onCommit(node, writes);
  }

  onEvent(node: SimNode, event: MeshEvent): void {
    const { journal } = this.world;
    if (event.kind === 'memberChanged') {
      journal?.always(this.world.now(), node, 'sees', event);
      const isOver = event.state === 'dead' || event.state === 'left';
      if (isOver) this.declaredAt.set(event.node, this.world.now());
      this.members.onChanged(node, event);
    } else if (event.kind === 'jobChanged') {
      journal?.note(this.world.now(), node, 'announces', event);
      if (node.setBackAt === undefined) this.registers.onAnnounced(event);
    } else if (event.kind === 'anomaly' && !node.isExpectingAnomalies) {
      if (!event.node || !this.wasSetBack(event.node)) this.violate(`anomaly: ${event.note}`);
    }
  }

  private onDecided(job: JobId, _birth: Birth, final: FinalState): void {
    this.trace.add(this.world.now(), 0, final.status);
    if (this.cancelled.has(job)) this.checkCancelled(job, final);
  }

  private checkCancelled(job: JobId, final: FinalState): void {
    if (this.registers.isBornTwice(job)) return;
    if (final.status !== 'JOB_CANCELLED')
      this.violate(`I11 ${job} is ${final.status} after its cancel`);
  }

  // -------------------------------------------------------------- attempts

  onStart(node: SimNode, order: AttemptOrder, running: number): void {
    const key = `${node.id} ${attemptKey(order.job, order.fence)}`;
    if (!node.isExpectingAnomalies) this.checkFence(key);
    this.usedFences.add(key);
    const { facts } = node;
    if (running > facts.slots)
      this.violate(`I10 ${node.id} runs ${running} on ${facts.slots} slots`);
    if (!facts.taskTypes.includes(order.grant.spec.taskType))
      this.violate(`I10 ${node.id} runs a ${order.grant.spec.taskType}`);
    const isOfSetBack = this.wasSetBack(node.id) || this.wasSetBack(order.fence.epoch.node);
    if (!isOfSetBack && !this.registers.isAssigned(order.grant, order.fence))
      this.violate(`I9 ${order.job} starts at ${node.id}, which is decided nowhere`);
    const execution: Execution = {
      node: node.id,
      order,
      startedAt: this.world.now(),
      isOver: false,
      isExcused: false,
      wasSuspended:
        node.isClockBehind || node.isUnguarded || this.isClockBehind(order.fence.epoch.node),
    };
    this.world.journal?.note(this.world.now(), node, 'starts', order);
    const before = this.executed.get(order.job) ?? [];
    for (const other of before) this.checkSecond(other, execution);
    if (before.length === MAX_EXECUTIONS)
      this.violate(`I9 ${order.job} was executed more than ${MAX_EXECUTIONS} times`);
    this.executed.set(order.job, [...before, execution]);
    this.byOrder.set(order, execution);
  }

  private checkFence(key: string): void {
    if (this.usedFences.has(key)) this.violate(`I7 ${key} started twice`);
    if (this.outboxes.has(key)) this.violate(`I7 ${key} started beside its outcome`);
  }

  private checkSecond(other: Execution, next: Execution): void {
    // Two births of one id are two jobs, until they meet.
    if (this.registers.isBornTwice(next.order.job)) return;
    if (this.registers.takenAway.has(next.order.job)) return;
    if (this.wasSetBack(other.node) || this.wasSetBack(next.node)) return;
    if (this.registers.doubted.has(next.order.job)) return;
    const what = `${next.order.job} at ${other.node} (${fenceText(other.order.fence)}) and ${next.node} (${fenceText(next.order.fence)})`;
    const { delivery, onIsolation } = next.order.grant.spec;
    if (delivery === 'at_most_once') this.violate(`I9 at_most_once, yet executed twice: ${what}`);
    if (onIsolation === 'continue') return;
    if (!other.isOver && !other.wasSuspended && !next.wasSuspended)
      this.violate(`I7 two live attempts of ${what}`);
    if (
      !other.isExcused &&
      !other.wasSuspended &&
      !next.wasSuspended &&
      !this.isDoubted(other, next)
    )
      this.violate(`I9 executed again without need: ${what}`);
  }

  /** Its executor was declared dead since its start, or a new owner could not know better. */
  private isDoubted({ node, startedAt, order }: Execution, next: Execution): boolean {
    const executor = this.world.nodes().get(node);
    if (!executor?.isWell || executor.wellSince >= startedAt) return true;
    if ((this.declaredAt.get(node) ?? -1) >= startedAt) return true;
    const isSameOwner = compareEpochs(order.fence.epoch, next.order.fence.epoch) === 0;
    return !isSameOwner && this.world.network.wholeSince >= startedAt;
  }

  private wasSetBack(node: NodeId): boolean {
    return this.world.nodes().get(node)?.setBackAt !== undefined;
  }

  private isClockBehind(node: NodeId): boolean {
    return this.world.nodes().get(node)?.isClockBehind === true;
  }

  onEnd(order: AttemptOrder): void {
    const execution = this.byOrder.get(order);
    if (execution) execution.isOver = true;
    this.world.journal?.note(this.world.now(), undefined, 'ended', order);
  }

  /** It does not run to its own end. */
  onStopped(order: AttemptOrder): void {
    const execution = this.byOrder.get(order);
    if (execution) execution.isExcused = true;
  }

  onSuspended(order: AttemptOrder): void {
    const execution = this.byOrder.get(order);
    if (execution) execution.wasSuspended = true;
  }

  /**
   * This disk is gone, or is not what it was. What only it kept goes with it: a job that was taken
   * so, and one whose other replicas left it since, whatever it had become there.
   */
  onDiskLost(node: SimNode): void {
    for (const execution of this.byOrder.values())
      if (execution.node === node.id) execution.isExcused = true;
    for (const job of this.registers.onDiskLost(node)) this.cancelled.delete(job);
    for (const [job, disks] of this.acknowledged) {
      const header = node.disk.tables.records.get(job)?.header;
      const isOnly = header !== undefined && isKeptAlone(header, node.id);
      if (this.final(job) || (disks > 1 && !isOnly)) continue;
      if (this.registers.holders(job, node.id) === 0) this.excused.add(job);
      else if (isOnly) this.excusedIfGone.add(job);
    }
  }

  // -------------------------------------------------------------- the end

  /** Nothing is left to wait for. */
  isSettled(nodes: readonly SimNode[]): boolean {
    return this.openJobs().length === 0 && nodes.every((node) => this.leftovers(node) === '');
  }

  openJobs(): JobId[] {
    return [...this.acknowledged.keys()].filter((job) => !this.final(job) && !this.isExcused(job));
  }

  private isExcused(job: JobId): boolean {
    if (this.excused.has(job)) return true;
    return this.excusedIfGone.has(job) && this.registers.holders(job) === 0;
  }

  /** What is still to be done at this node, as a phrase. */
  private leftovers(node: SimNode): string {
    const { tables } = node.disk;
    const isHeard = (rs: readonly NodeId[]): boolean =>
      rs.some((id) => this.world.nodes().get(id)?.isLost === false);
    const outcomes = [...tables.outbox.values()].filter(({ rs }) => isHeard(rs));
    const fences = [...tables.started.values()].filter(
      ({ grant, isOver }) => isOver || isHeard(grant.rs),
    );
    if (outcomes[0]) return `the outcome of ${outcomes[0].job} in its outbox`;
    return fences[0] ? `a fence of ${fences[0].job}` : '';
  }

  /** After all faults are over and time enough has passed. */
  checkEnd(nodes: readonly SimNode[], isFaultless: boolean): void {
    for (const job of this.openJobs())
      this.violate(`I1 ${job} was acknowledged and never became final`);
    for (const node of nodes) {
      const left = this.leftovers(node);
      if (left !== '') this.violate(`I12 ${node.id} still has ${left}`);
    }
    this.members.checkTables(nodes);
    this.registers.checkEnd(nodes);
    if (!isFaultless) return;
    for (const [job, { length }] of this.executed)
      if (length !== 1 && !this.registers.isBornTwice(job))
        this.violate(`I8 ${job} was executed ${length} times without faults`);
    if (this.members.deaths > 0)
      this.violate(`I8 ${this.members.deaths} deaths were declared without faults`);
  }
}
