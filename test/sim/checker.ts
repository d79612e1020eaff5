/**
 * Watches every commit, start and end of a run and names each broken invariant. Numbers are those
 * of the ownership protocol:
 *
 * I1 every acknowledged job becomes final once faults stop. I2 one outcome, for ever. I7 no start
 * of a fence seen before or beside an outbox row; no two live attempts of a job outside frozen
 * nodes. I8 without faults one execution. I10 nothing runs on a node without its task type or over
 * its slots. I11 after a decided cancel only JOB_CANCELLED. I12 every outbox row is collected in
 * the end. I14 after healing all member tables agree. I16 the same seed gives the same trace.
 */
import type { JobId, NodeId } from '../../src/base/ids.ts';
import type { AttemptOrder, MeshEvent, Reply, Write } from '../../src/core/effects.ts';
import type { Input } from '../../src/core/inputs.ts';
import type { FinalState } from '../../src/core/job.ts';
import { attemptKey, fenceText } from '../../src/core/record.ts';
import type { SimNode } from './sim-node.ts';

interface Live {
  readonly node: NodeId;
  readonly order: AttemptOrder;
  /** Its node stood still meanwhile, so nobody could end it in time. */
  wasFrozen: boolean;
}

const MAX_VIOLATIONS = 5;

export class Checker {
  readonly violations: string[] = [];
  readonly acknowledged = new Set<JobId>();
  readonly cancelled = new Set<JobId>();
  readonly finals = new Map<JobId, FinalState>();
  readonly executions = new Map<JobId, number>();
  deaths = 0;
  trace = 0x811c9dc5;
  private readonly usedFences = new Set<string>();
  private readonly outboxes = new Set<string>();
  private readonly live = new Map<JobId, Live[]>();
  private readonly slots: () => ReadonlyMap<NodeId, SimNode>;
  private readonly now: () => number;

  constructor(world: { nodes: () => ReadonlyMap<NodeId, SimNode>; now: () => number }) {
    this.slots = world.nodes;
    this.now = world.now;
  }

  violate(what: string): void {
    if (this.violations.length < MAX_VIOLATIONS)
      this.violations.push(`t=${Math.round(this.now())} ${what}`);
  }

  // -------------------------------------------------------------- hooks

  onInput(node: NodeId, input: Input): void {
    const text = input.kind === 'message' ? input.message.kind : input.kind;
    this.mix(`${this.now().toFixed(3)}${node}${text}`);
  }

  onReply(reply: Reply): void {
    if (reply.kind === 'submitted') this.acknowledged.add(reply.record.header.job);
    else if (reply.kind === 'cancelled' || reply.kind === 'cancelling')
      this.cancelled.add(reply.job);
  }

  onCommit(node: NodeId, writes: readonly Write[]): void {
    for (const write of writes) {
      if (write.kind === 'record' && write.job.state.tag === 'final')
        this.onFinal(write.header.job, write.job.state.final);
      else if (write.kind === 'outcome')
        this.outboxes.add(`${node} ${attemptKey(write.job, write.outcome.fence)}`);
    }
  }

  private onFinal(job: JobId, final: FinalState): void {
    const first = this.finals.get(job);
    if (!first) this.finals.set(job, final);
    else if (finalText(first) !== finalText(final))
      this.violate(`I2 ${job} was ${finalText(first)}, became ${finalText(final)}`);
    if (this.cancelled.has(job) && final.status !== 'JOB_CANCELLED')
      this.violate(`I11 ${job} is ${final.status} after its cancel`);
  }

  onStart(node: NodeId, order: AttemptOrder, running: number): void {
    const key = `${node} ${attemptKey(order.job, order.fence)}`;
    if (this.usedFences.has(key)) this.violate(`I7 ${key} started twice`);
    if (this.outboxes.has(key)) this.violate(`I7 ${key} started beside its outcome`);
    this.usedFences.add(key);
    this.executions.set(order.job, (this.executions.get(order.job) ?? 0) + 1);
    const { facts } = this.slots().get(node) ?? {};
    if (facts && running > facts.slots)
      this.violate(`I10 ${node} runs ${running} on ${facts.slots} slots`);
    if (!facts?.taskTypes.includes(order.grant.spec.taskType))
      this.violate(`I10 ${node} runs a ${order.grant.spec.taskType}`);
    const others = this.live.get(order.job) ?? [];
    for (const other of others) {
      if (!other.wasFrozen)
        this.violate(`I7 ${order.job} runs at ${other.node} and starts at ${node}`);
    }
    this.live.set(order.job, [...others, { node, order, wasFrozen: false }]);
  }

  onEnd(order: AttemptOrder): void {
    const rest = (this.live.get(order.job) ?? []).filter((live) => live.order !== order);
    if (rest.length > 0) this.live.set(order.job, rest);
    else this.live.delete(order.job);
  }

  onFrozen(order: AttemptOrder): void {
    for (const live of this.live.get(order.job) ?? [])
      if (live.order === order) live.wasFrozen = true;
  }

  onEvent(_node: NodeId, event: MeshEvent): void {
    if (event.kind === 'memberChanged' && event.state === 'dead') this.deaths++;
    if (event.kind === 'anomaly') this.violate(`anomaly: ${event.note}`);
  }

  // -------------------------------------------------------------- the end

  /** Nothing is left to wait for. */
  isSettled(nodes: readonly SimNode[]): boolean {
    const isOpen = (node: SimNode): boolean =>
      node.disk.tables.outbox.size + node.disk.tables.started.size > 0;
    return [...this.acknowledged].every((job) => this.finals.has(job)) && !nodes.some(isOpen);
  }

  /** After all faults are over and time enough has passed. */
  checkEnd(nodes: readonly SimNode[], isFaultless: boolean): void {
    for (const job of this.acknowledged) {
      if (!this.finals.has(job)) this.violate(`I1 ${job} was acknowledged and never became final`);
    }
    for (const node of nodes) {
      const left = node.disk.tables.outbox.size;
      if (left > 0) this.violate(`I12 ${node.id} still has ${left} outcomes in its outbox`);
      const fences = node.disk.tables.started.size;
      if (fences > 0) this.violate(`I12 ${node.id} still remembers ${fences} fences`);
      const peers = node
        .view()
        ?.peers()
        .filter((peer) => peer.state === 'alive').length;
      if (peers !== nodes.length - 1)
        this.violate(`I14 ${node.id} sees ${peers} of ${nodes.length - 1} peers`);
    }
    if (!isFaultless) return;
    for (const [job, count] of this.executions)
      if (count !== 1) this.violate(`I8 ${job} was executed ${count} times without faults`);
    if (this.deaths > 0) this.violate(`I8 ${this.deaths} deaths were declared without faults`);
  }

  private mix(text: string): void {
    let h = this.trace;
    for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193);
    this.trace = h >>> 0;
  }
}

const finalText = (final: FinalState): string =>
  `${final.status}${final.outcome ? ` by ${fenceText(final.outcome.fence)}` : ''}`;
