/** A connection that is not a link yet: TLS is up, the handshake runs against its deadline. */
import type { TLSSocket } from 'node:tls';
import type { NodeId } from '../base/ids.ts';
import type { DiskAge } from '../core/disk-ages.ts';
import type { NodeFacts } from '../core/facts.ts';
import { encodeFrame, type Frame, PROTOCOL_VERSIONS } from '../wire/wire.ts';
import { Connection, type ConnectionEnd, type ConnectionHandlers } from './connection.ts';
import type { Origin } from './endpoint.ts';
import { DUPLICATE, Handshake, type Introduction } from './handshake.ts';

export interface CandidateParts {
  readonly socket: TLSSocket;
  readonly origin: Origin;
  readonly self: NodeId;
  readonly age: DiskAge;
  readonly facts: NodeFacts;
  /** Asked once TLS is up: is this connection still of use? */
  readonly isWanted: () => boolean;
  /** @returns why this peer is refused; undefined: it is welcome */
  readonly admit: (peer: Introduction) => string | undefined;
  /** Both sides said Welcome. The connection is the caller's now. */
  readonly onUp: (peer: Introduction) => void;
  /** It will never be a link. Once, and instead of `onUp`. */
  readonly onEnded: (end: ConnectionEnd) => void;
}

const HANDSHAKE_MS = 5000;

export class Candidate {
  readonly origin: Origin;
  readonly connection: Connection;
  private readonly parts: CandidateParts;
  private readonly handshake: Handshake;
  private readonly deadline: NodeJS.Timeout;

  constructor(parts: CandidateParts) {
    this.parts = parts;
    this.origin = parts.origin;
    this.handshake = new Handshake({ self: parts.self, node: parts.origin.node });
    this.deadline = setTimeout(() => this.close('the handshake took too long'), HANDSHAKE_MS);
    this.connection = new Connection(parts.socket, {
      onFrame: (frame) => this.onFrame(frame),
      onMalformed: () => undefined,
      onClosed: (end) => this.onClosed(end),
    });
    // Not from inside the constructor: whoever makes a candidate must have noted it first.
    queueMicrotask(() => this.greet());
  }

  get node(): NodeId {
    return this.handshake.node;
  }

  /** Once the peer was introduced and welcomed. */
  get peer(): Introduction | undefined {
    return this.handshake.peer;
  }

  close(reason: string): void {
    this.connection.close(reason);
  }

  /** It is a link: it no longer stands before the door, and the link takes what comes. */
  handOver(link: ConnectionHandlers): void {
    this.origin.leaveGate();
    this.connection.handOver(link);
  }

  private greet(): void {
    if (!this.parts.isWanted()) {
      this.close(DUPLICATE);
      return;
    }
    const { age, facts } = this.parts;
    const hello = { kind: 'hello', versions: PROTOCOL_VERSIONS, ...age, facts } as const;
    this.connection.send(encodeFrame(hello));
  }

  private onFrame(frame: Frame): void {
    const step = this.handshake.onFrame(frame);
    switch (step.kind) {
      case 'refuse':
        this.close(step.reason);
        return;
      case 'introduced': {
        const refusal = this.parts.admit(step.peer);
        if (refusal) this.close(refusal);
        else this.connection.send(encodeFrame({ kind: 'welcome', version: step.peer.version }));
        return;
      }
      case 'up':
        clearTimeout(this.deadline);
        this.parts.onUp(step.peer);
    }
  }

  private onClosed(end: ConnectionEnd): void {
    clearTimeout(this.deadline);
    this.parts.onEnded(end);
  }
}
