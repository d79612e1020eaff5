/**
 * A network in memory between real nodes of one test: links that carry messages and questions, and
 * can be cut, frozen at one end, or end with their node. Delivery is never within the call that
 * sends, as on a socket.
 */
import { MeshError } from '../../src/base/errors.ts';
import type { BootId, NodeId } from '../../src/base/ids.ts';
import type { Answer, Call } from '../../src/core/calls.ts';
import type { NodeFacts } from '../../src/core/facts.ts';
import type { Message } from '../../src/core/messages.ts';
import type { LinkHandlers, Links } from '../../src/node/ports.ts';

interface End {
  readonly node: NodeId;
  readonly boot: BootId;
  readonly facts: () => NodeFacts;
  readonly handlers: LinkHandlers;
  readonly linked: Set<NodeId>;
}

const HOST = '10.0.0.1';

export class Network {
  private readonly ends = new Map<NodeId, End>();
  /** Hear nothing and say nothing; their links stay open. */
  private readonly frozen = new Set<NodeId>();
  private readonly cuts = new Set<string>();
  private readonly muted = new Set<string>();
  /** Not answered yet. */
  private readonly questions = new Set<{ readonly pair: string; readonly fail: () => void }>();
  /** What a node was asked, in order. */
  readonly calls: { readonly to: NodeId; readonly kind: Call['kind'] }[] = [];
  /** Told of each question before it is delivered. */
  onCall: (to: NodeId, call: Call) => void = () => {};

  linksOf(self: Pick<End, 'node' | 'boot' | 'facts'>): Links {
    const { node } = self;
    return {
      start: async (handlers) => {
        this.ends.set(node, { ...self, handlers, linked: new Set() });
        return { port: 4000 };
      },
      dial: (to) => setImmediate(() => this.dial(node, to)),
      send: (to, messages) => setImmediate(() => this.deliver(node, to, messages)),
      call: (to, call, options) => this.call(node, to, call, options),
      hangUp: (to, reason) => this.hangUp(node, to, reason),
      stop: async () => this.end(node),
    };
  }

  freeze(node: NodeId): void {
    this.frozen.add(node);
  }

  thaw(node: NodeId): void {
    this.frozen.delete(node);
  }

  /** Nothing passes between the two; their link stays open. */
  mute(a: NodeId, b: NodeId): void {
    this.muted.add(pairOf(a, b));
  }

  /** Links between the two close, and cannot be opened. */
  cut(a: NodeId, b: NodeId): void {
    this.cuts.add(pairOf(a, b));
    this.hangUp(a, b, 'cut');
  }

  heal(a: NodeId, b: NodeId): void {
    this.cuts.delete(pairOf(a, b));
  }

  private dial(from: NodeId, to: NodeId): void {
    const [one, other] = [this.ends.get(from), this.ends.get(to)];
    if (!one || one.linked.has(to)) return;
    if (!other || this.isMute(from, to)) {
      const isRefused = !other;
      one.handlers.onDialFailed({ node: to, isRefused, reason: isRefused ? 'refused' : 'silent' });
      return;
    }
    one.linked.add(to);
    other.linked.add(from);
    one.handlers.onUp({ node: to, boot: other.boot, facts: other.facts(), host: HOST });
    other.handlers.onUp({ node: from, boot: one.boot, facts: one.facts(), host: HOST });
  }

  private deliver(from: NodeId, to: NodeId, messages: readonly Message[]): void {
    const [one, other] = [this.ends.get(from), this.ends.get(to)];
    if (!one?.linked.has(to) || !other || this.isMute(from, to)) return;
    other.handlers.onMessages({ node: from, boot: one.boot }, messages);
  }

  private call(
    from: NodeId,
    to: NodeId,
    call: Call,
    { deadlineMs }: { deadlineMs: number },
  ): Promise<Answer> {
    const { promise, resolve, reject } = Promise.withResolvers<Answer>();
    const fail = (reason: string): void => reject(new MeshError('NODE_UNREACHABLE', reason));
    if (!this.ends.get(from)?.linked.has(to)) {
      fail(`no link to ${to}`);
      return promise;
    }
    this.calls.push({ to, kind: call.kind });
    this.onCall(to, call);
    const closed = new AbortController();
    const question = { pair: pairOf(from, to), fail: () => fail(`link to ${to} closed`) };
    this.questions.add(question);
    const timer = setTimeout(() => fail(`no answer of ${to}`), deadlineMs);
    setImmediate(() => {
      if (this.isMute(from, to)) return;
      const answered = this.ends.get(to)?.handlers.onCall(from, call, closed.signal);
      answered?.then((answer) => {
        if (!this.isMute(from, to)) resolve(answer);
      }, reject);
    });
    return promise.finally(() => {
      clearTimeout(timer);
      this.questions.delete(question);
      closed.abort();
    });
  }

  private hangUp(node: NodeId, to: NodeId, reason: string): void {
    const [one, other] = [this.ends.get(node), this.ends.get(to)];
    if (one && other) this.unlink(one, other, reason);
  }

  /** The process is gone: its links close, and nobody listens on its port. */
  private end(node: NodeId): void {
    const end = this.ends.get(node);
    this.ends.delete(node);
    for (const to of end?.linked ?? []) {
      const other = this.ends.get(to);
      if (end && other) this.unlink(end, other, 'closed');
    }
  }

  private unlink(one: End, other: End, reason: string): void {
    one.linked.delete(other.node);
    if (!other.linked.delete(one.node)) return;
    const pair = pairOf(one.node, other.node);
    for (const question of this.questions) if (question.pair === pair) question.fail();
    one.handlers.onDown({ node: other.node, boot: other.boot, reason });
    other.handlers.onDown({ node: one.node, boot: one.boot, reason });
  }

  private isMute(a: NodeId, b: NodeId): boolean {
    const pair = pairOf(a, b);
    const isFrozen = this.frozen.has(a) || this.frozen.has(b);
    return isFrozen || this.cuts.has(pair) || this.muted.has(pair);
  }
}

const pairOf = (a: NodeId, b: NodeId): string => [a, b].sort().join(' ');
