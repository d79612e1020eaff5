/**
 * The network between simulated nodes: links that come up by dialling and break, partitions (also
 * one-way), links of which only one end knows that they are gone, ports that refuse. A link is what
 * TCP promises, in order and complete until it breaks, or, worse on purpose, one that loses,
 * doubles and overtakes: nothing in the core may lean on delivery.
 */
import type { NodeId } from '../../src/base/ids.ts';
import { randomBelow } from '../../src/base/random.ts';
import type { Message } from '../../src/core/messages.ts';
import type { EventQueue } from './event-queue.ts';
import type { NetworkPlan } from './plan.ts';
import type { SimNode } from './sim-node.ts';

const CONNECT_TIMEOUT_MS = 3000;

export const CALM: NetworkPlan = {
  loss: 0,
  duplication: 0,
  isOrdered: false,
  hintLoss: 0,
  delay: 1,
};

export class Network {
  readonly nodes = new Map<NodeId, SimNode>();
  faults: NetworkPlan = CALM;
  /** Which messages a scenario loses on purpose. */
  isLost: (message: Message) => boolean = () => false;
  private readonly events: EventQueue;
  /** `from to` pairs that let nothing through. */
  private cut = new Set<string>();
  /** `from to` → when the last message of an ordered link arrives. */
  private readonly arrivals = new Map<string, number>();
  private serial = 0;
  private disturbedAt = 0;

  constructor(events: EventQueue) {
    this.events = events;
  }

  add(node: SimNode): void {
    this.nodes.set(node.id, node);
  }

  /** Infinity: some path is cut. */
  get wholeSince(): number {
    return this.cut.size > 0 ? Number.POSITIVE_INFINITY : this.disturbedAt;
  }

  /** Infinity: something is lost on its way all the time. */
  get wellSince(): number {
    return this.faults.loss > 0 ? Number.POSITIVE_INFINITY : this.wholeSince;
  }

  // -------------------------------------------------------------- partitions

  /** Splits the nodes in two; one way: the second half hears the first, but is not heard. */
  partition(group: ReadonlySet<NodeId>, isOneWay: boolean): void {
    for (const a of this.nodes.keys()) {
      for (const b of this.nodes.keys()) {
        if (group.has(a) === group.has(b)) continue;
        if (!isOneWay || group.has(b)) this.cut.add(`${a} ${b}`);
      }
    }
  }

  /** Nothing that `to` sends reaches `from`, and unless it is one way nothing back. */
  cutPair(from: SimNode, to: SimNode, isOneWay: boolean): void {
    if (from === to) return;
    this.cut.add(`${to.id} ${from.id}`);
    if (!isOneWay) this.cut.add(`${from.id} ${to.id}`);
  }

  heal(): void {
    this.cut = new Set();
    this.disturbedAt = this.events.now;
  }

  isOpen(from: SimNode, to: SimNode): boolean {
    return this.cut.size === 0 || !this.cut.has(`${from.id} ${to.id}`);
  }

  private isOpenBothWays(a: SimNode, b: SimNode): boolean {
    return this.isOpen(a, b) && this.isOpen(b, a);
  }

  // -------------------------------------------------------------- links

  dial(from: SimNode, to: NodeId): void {
    const target = this.nodes.get(to);
    const { life } = from;
    const fail = (ms: number, isRefused: boolean): void => {
      this.events.after(ms, () => {
        if (from.life !== life) return;
        const reason = isRefused ? 'refused' : 'timeout';
        from.push({ kind: 'dialFailed', node: to, isRefused, reason });
      });
    };
    if (!target || !this.isOpenBothWays(from, target)) fail(CONNECT_TIMEOUT_MS, false);
    else if (!target.isUp)
      fail(target.isHostUp ? this.delay(from) : CONNECT_TIMEOUT_MS, target.isHostUp);
    else if (target.isFrozen) fail(CONNECT_TIMEOUT_MS, false);
    else this.events.after(2 * this.delay(from), () => this.connect(from, life, target));
  }

  private connect(from: SimNode, life: number, target: SimNode): void {
    if (from.life !== life || !from.isUp) return;
    if (!target.isUp || !this.isOpenBothWays(from, target)) {
      const isRefused = !target.isUp && target.isHostUp;
      from.push({ kind: 'dialFailed', node: target.id, isRefused, reason: 'not there' });
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
    const target = this.nodes.get(to);
    if (link === undefined || !target) return;
    from.linkDown(target, link, reason);
    this.events.after(this.delay(from), () => {
      if (this.isOpen(from, target)) target.linkDown(from, link, 'closed by peer');
    });
  }

  closeAll(from: SimNode): void {
    for (const peer of [...from.links.keys()]) this.close(from, peer, 'ended');
  }

  /** All links of a machine that dies: nobody is told. */
  forgetAll(from: SimNode): void {
    from.links.clear();
  }

  /** The link breaks with all that is under way; `isHalf`: the other end does not notice. */
  drop(from: SimNode, to: SimNode, isHalf: boolean): void {
    this.disturbedAt = this.events.now;
    const link = from.links.get(to.id);
    if (link === undefined) return;
    from.linkDown(to, link, 'reset');
    if (!isHalf) to.linkDown(from, link, 'reset');
  }

  // -------------------------------------------------------------- messages

  send(from: SimNode, to: NodeId, messages: readonly Message[]): void {
    const link = from.links.get(to);
    const target = this.nodes.get(to);
    if (link === undefined || !target) return;
    const { loss, duplication } = this.faults;
    for (const message of messages) {
      from.options.checker.onSend(from, to, message);
      if ((loss > 0 && from.random() < loss) || this.isLost(message)) continue;
      this.deliver(from, target, link, message);
      if (duplication > 0 && from.random() < duplication) this.deliver(from, target, link, message);
    }
  }

  private deliver(from: SimNode, target: SimNode, link: number, message: Message): void {
    const { boot } = from;
    this.events.after(this.transit(from, target), () => {
      if (target.links.get(from.id) !== link || !this.isOpen(from, target)) return;
      target.push({ kind: 'message', from: from.id, boot, message });
    });
  }

  private transit(from: SimNode, target: SimNode): number {
    const delay = this.delay(from);
    if (!this.faults.isOrdered) return delay;
    const { now } = this.events;
    const key = `${from.id} ${target.id}`;
    const at = Math.max(now + delay, this.arrivals.get(key) ?? 0);
    this.arrivals.set(key, at);
    return at - now;
  }

  // -------------------------------------------------------------- discovery

  beat(from: SimNode): void {
    for (const target of this.nodes.values()) {
      if (target === from || from.random() < this.faults.hintLoss) continue;
      const { id, boot } = from;
      this.events.after(this.delay(from), () => {
        if (this.isOpen(from, target))
          target.push({ kind: 'hint', node: id, boot, host: id, port: 1 });
      });
    }
  }

  /** On a LAN 0.3 to 1.3 ms, and one in twenty up to 300 ms more. */
  private delay(from: SimNode): number {
    const late = from.random() < 0.05 ? randomBelow(from.random, 300) : 0;
    return (0.3 + from.random()) * this.faults.delay + late;
  }
}
