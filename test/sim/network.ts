/**
 * The network between simulated nodes: links that come up by dialling, messages that are late,
 * lost or doubled, partitions (also one-way) and ports that refuse. Worse than TCP on purpose: a
 * link may lose a message and go on, so nothing in the core may lean on delivery.
 */
import type { NodeId } from '../../src/base/ids.ts';
import { type Random, randomBelow } from '../../src/base/random.ts';
import type { Message } from '../../src/core/messages.ts';
import type { EventQueue } from './event-queue.ts';
import type { SimNode } from './sim-node.ts';

export interface NetworkFaults {
  /** Parts of all messages, 0 to 1. */
  readonly loss: number;
  readonly duplication: number;
  /** Heartbeats lost on their way. */
  readonly hintLoss: number;
}

const CONNECT_TIMEOUT_MS = 3000;

export class Network {
  private readonly events: EventQueue;
  private readonly random: Random;
  private readonly nodes: readonly SimNode[];
  faults: NetworkFaults = { loss: 0, duplication: 0, hintLoss: 0 };
  /** Which messages a scenario loses on purpose. */
  isLost: (message: Message) => boolean = () => false;
  /** `from to` pairs that let nothing through. */
  private readonly cut = new Set<string>();
  private serial = 0;

  constructor(events: EventQueue, random: Random, nodes: readonly SimNode[]) {
    this.events = events;
    this.random = random;
    this.nodes = nodes;
  }

  // -------------------------------------------------------------- partitions

  /** Splits the nodes in two; one way: the second half hears the first, but is not heard. */
  partition(group: ReadonlySet<NodeId>, isOneWay: boolean): void {
    for (const a of this.nodes) {
      for (const b of this.nodes) {
        if (group.has(a.id) === group.has(b.id)) continue;
        if (!isOneWay || group.has(b.id)) this.cut.add(`${a.id} ${b.id}`);
      }
    }
  }

  heal(): void {
    this.cut.clear();
  }

  isOpen(from: SimNode, to: SimNode): boolean {
    return !this.cut.has(`${from.id} ${to.id}`);
  }

  private isOpenBothWays(a: SimNode, b: SimNode): boolean {
    return this.isOpen(a, b) && this.isOpen(b, a);
  }

  // -------------------------------------------------------------- links

  dial(from: SimNode, to: NodeId): void {
    const target = this.find(to);
    const life = from.life;
    const fail = (ms: number, isRefused: boolean): void =>
      this.events.after(ms, () => {
        if (from.life === life)
          from.push({
            kind: 'dialFailed',
            node: to,
            isRefused,
            reason: isRefused ? 'refused' : 'timeout',
          });
      });
    if (!target || !this.isOpenBothWays(from, target)) fail(CONNECT_TIMEOUT_MS, false);
    else if (!target.isUp) fail(this.delay(), true);
    else if (target.isFrozen) fail(CONNECT_TIMEOUT_MS, false);
    else this.events.after(2 * this.delay(), () => this.connect(from, life, target));
  }

  private connect(from: SimNode, life: number, target: SimNode): void {
    if (from.life !== life || !from.isUp) return;
    if (!target.isUp || !this.isOpenBothWays(from, target)) {
      from.push({
        kind: 'dialFailed',
        node: target.id,
        isRefused: !target.isUp,
        reason: 'not there',
      });
      return;
    }
    const linked = from.links.get(target.id);
    if (linked !== undefined && target.links.get(from.id) === linked) return;
    const link = ++this.serial;
    from.linkUp(target, link);
    target.linkUp(from, link);
  }

  /** The other side hears of it unless the path is cut. */
  close(from: SimNode, to: NodeId, reason: string): void {
    const link = from.links.get(to);
    const target = this.find(to);
    if (link === undefined || !target) return;
    from.linkDown(target, link, reason);
    this.events.after(this.delay(), () => {
      if (this.isOpen(from, target)) target.linkDown(from, link, 'closed by peer');
    });
  }

  closeAll(from: SimNode): void {
    for (const peer of [...from.links.keys()]) this.close(from, peer, 'ended');
  }

  send(from: SimNode, to: NodeId, messages: readonly Message[]): void {
    const link = from.links.get(to);
    const target = this.find(to);
    if (link === undefined || !target) return;
    for (const message of messages) {
      if (this.random() < this.faults.loss || this.isLost(message)) continue;
      this.deliver(from, target, link, message);
      if (this.random() < this.faults.duplication) this.deliver(from, target, link, message);
    }
  }

  private deliver(from: SimNode, target: SimNode, link: number, message: Message): void {
    const { boot } = from;
    this.events.after(this.delay(), () => {
      if (!this.isOpen(from, target) || target.links.get(from.id) !== link) return;
      target.push({ kind: 'message', from: from.id, boot, message });
    });
  }

  // -------------------------------------------------------------- discovery

  beat(from: SimNode): void {
    for (const target of this.nodes) {
      if (target === from || this.random() < this.faults.hintLoss) continue;
      const { id, boot } = from;
      this.events.after(this.delay(), () => {
        if (this.isOpen(from, target))
          target.push({ kind: 'hint', node: id, boot, host: id, port: 1 });
      });
    }
  }

  private find(id: NodeId): SimNode | undefined {
    return this.nodes.find((node) => node.id === id);
  }

  /** 0.3 to 1.3 ms, and one in twenty up to 300 ms more. */
  private delay(): number {
    const late = this.random() < 0.05 ? randomBelow(this.random, 300) : 0;
    return 0.3 + this.random() + late;
  }
}
