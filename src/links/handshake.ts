/**
 * What two nodes say to each other before a link is up, on one connection. TLS has shown by then
 * that the peer has the mesh key and which key of its own; a Hello tells the rest, and a Welcome
 * accepts it. Both sides do the same:
 *
 * | state    | entered when                                | left when                              |
 * |----------|---------------------------------------------|----------------------------------------|
 * | greeting | TLS is up; Hello sent                       | the peer's Hello came                  |
 * | welcomed | the peer's Hello was accepted; Welcome sent | the peer's Welcome came: the link is up |
 *
 * A refused TLS client believes for a moment that it is connected; only the Welcome is proof.
 */
import type { NodeId } from '../base/ids.ts';
import type { DiskAge } from '../core/disk-ages.ts';
import type { NodeFacts } from '../core/facts.ts';
import { type Frame, type Hello, PROTOCOL_VERSIONS } from '../wire/wire.ts';

export interface Introduction extends DiskAge {
  readonly node: NodeId;
  readonly facts: NodeFacts;
  /** Agreed version of the link protocol. */
  readonly version: number;
}

export type HandshakeStep =
  /** Say Welcome with this version, if the link is wanted. */
  | { readonly kind: 'introduced'; readonly peer: Introduction }
  | { readonly kind: 'up'; readonly peer: Introduction }
  | { readonly kind: 'refuse'; readonly reason: string };

type HandshakeState =
  | { readonly tag: 'greeting' }
  | { readonly tag: 'welcomed'; readonly peer: Introduction };

/** Not a failure: the other connection is as good. */
export const DUPLICATE = 'there is another connection between the two nodes';

export class Handshake {
  /** Of the peer's certificate. */
  readonly node: NodeId;
  private readonly self: NodeId;
  private state: HandshakeState = { tag: 'greeting' };

  constructor(parts: { self: NodeId; node: NodeId }) {
    this.self = parts.self;
    this.node = parts.node;
  }

  /** Accepted or about to be: the peer has said who it is. */
  get peer(): Introduction | undefined {
    return this.state.tag === 'welcomed' ? this.state.peer : undefined;
  }

  onFrame(frame: Frame): HandshakeStep {
    if (this.state.tag === 'greeting' && frame.kind === 'hello') return this.onHello(frame);
    if (this.state.tag === 'welcomed' && frame.kind === 'welcome') {
      const { peer } = this.state;
      if (frame.version === peer.version) return { kind: 'up', peer };
      return { kind: 'refuse', reason: 'it agreed to another version than both speak' };
    }
    return { kind: 'refuse', reason: `it said ${frame.kind} before the handshake was over` };
  }

  private onHello(hello: Hello): HandshakeStep {
    if (hello.facts.node !== this.node) {
      const reason = `it calls itself ${hello.facts.node} with the key of ${this.node}`;
      return { kind: 'refuse', reason };
    }
    const version = agreeOnVersion(hello.versions);
    if (version === undefined) {
      const reason = `${this.self} speaks versions ${rangeText(PROTOCOL_VERSIONS)} of the link protocol, ${this.node} ${rangeText(hello.versions)}: update the older program`;
      return { kind: 'refuse', reason };
    }
    const { boot, commits, facts } = hello;
    const peer = { node: this.node, boot, commits, facts, version };
    this.state = { tag: 'welcomed', peer };
    return { kind: 'introduced', peer };
  }
}

/** The highest version that both speak. */
function agreeOnVersion(theirs: { min: number; max: number }): number | undefined {
  const version = Math.min(PROTOCOL_VERSIONS.max, theirs.max);
  return version >= Math.max(PROTOCOL_VERSIONS.min, theirs.min) ? version : undefined;
}

const rangeText = (range: { min: number; max: number }): string =>
  range.min === range.max ? `${range.min}` : `${range.min} to ${range.max}`;
