/** A link that is up: messages in and out, questions and answers. */
import type { LinkHandlers } from '../node/ports.ts';
import type { Frame } from '../wire/wire.ts';
import type { Connection, ConnectionEnd, ConnectionHandlers } from './connection.ts';
import type { Introduction } from './handshake.ts';
import { Questions } from './questions.ts';

export interface LinkParts {
  readonly peer: Introduction;
  readonly connection: Connection;
  readonly handlers: Pick<LinkHandlers, 'onMessages' | 'onCall'>;
  readonly onMalformed: () => void;
  readonly onFault: (thrown: unknown) => void;
  /** Once. */
  readonly onDown: (reason: string) => void;
}

export class Link implements ConnectionHandlers {
  readonly peer: Introduction;
  readonly questions: Questions;
  private readonly parts: LinkParts;
  private readonly upAt = performance.now();

  constructor(parts: LinkParts) {
    this.parts = parts;
    this.peer = parts.peer;
    this.questions = new Questions({
      peer: parts.peer.node,
      connection: parts.connection,
      answer: (call, signal) => parts.handlers.onCall(parts.peer.node, call, signal),
      onFault: parts.onFault,
    });
  }

  get ageMs(): number {
    return performance.now() - this.upAt;
  }

  send(frames: Uint8Array): void {
    this.parts.connection.send(frames);
  }

  close(reason: string): void {
    this.parts.connection.close(reason);
  }

  onFrame(frame: Frame): void {
    switch (frame.kind) {
      case 'messages': {
        const { node, boot } = this.peer;
        this.parts.handlers.onMessages({ node, boot }, frame.messages);
        return;
      }
      case 'question':
        void this.questions.onQuestion(frame);
        return;
      case 'answer':
        this.questions.onAnswer(frame);
        return;
      case 'withdrawal':
        this.questions.onWithdrawal(frame.id);
        return;
      case 'hello':
      case 'welcome':
      case 'close':
        this.parts.onMalformed();
        this.close(`it said ${frame.kind} on a link that is up`);
    }
  }

  onMalformed(): void {
    this.parts.onMalformed();
  }

  onClosed({ reason }: ConnectionEnd): void {
    this.questions.close(reason);
    this.parts.onDown(reason);
  }
}
