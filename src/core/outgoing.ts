/**
 * Collects what one input leads to. A message from a node to itself takes the same way as one to a
 * peer, but is handled within the same turn: everything it changes is in the same transaction, so
 * durable-before-visible holds without a round through the disk.
 */
import type { BootId, JobId, NodeId, RequestId } from '../base/ids.ts';
import type { Now } from '../base/instant.ts';
import type { Random } from '../base/random.ts';
import type { Effect, MeshEvent, Reply, Write } from './effects.ts';
import type { JobMessage, Signal } from './messages.ts';

/** What every part of the core shares: who it is, what time it is, where effects go. */
export class Outgoing {
  readonly self: NodeId;
  readonly boot: BootId;
  readonly random: Random;
  /** Of the input being handled. */
  now: Now;
  private effects: Effect[] = [];
  private toSelf: JobMessage[] = [];

  constructor(identity: { node: NodeId; boot: BootId; random: Random; now: Now }) {
    this.self = identity.node;
    this.boot = identity.boot;
    this.random = identity.random;
    this.now = identity.now;
  }

  persist(write: Write): void {
    this.effects.push({ kind: 'persist', write });
  }

  send(to: NodeId, message: JobMessage): void {
    if (to === this.self) this.toSelf.push(message);
    else this.effects.push({ kind: 'send', to, message });
  }

  signal(to: NodeId, message: Signal): void {
    if (to !== this.self) this.effects.push({ kind: 'signal', to, message });
    else if (message.kind === 'renew' || message.kind === 'renewed') this.toSelf.push(message);
  }

  reply(request: RequestId, reply: Reply): void {
    this.effects.push({ kind: 'reply', request, reply });
  }

  load(job: JobId): void {
    this.effects.push({ kind: 'load', job });
  }

  event(event: MeshEvent): void {
    this.effects.push({ kind: 'event', event });
  }

  emit(effect: Effect): void {
    this.effects.push(effect);
  }

  /** The next message of this node to itself, in the order of sending. */
  takeOwnMessage(): JobMessage | undefined {
    return this.toSelf.shift();
  }

  get hasOwnMessage(): boolean {
    return this.toSelf.length > 0;
  }

  takeEffects(): Effect[] {
    const taken = this.effects;
    this.effects = [];
    return taken;
  }
}
