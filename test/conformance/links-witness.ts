/** Writes down what links tell, in order, and lets a test wait for it. */
import type { BootId, NodeId } from '../../src/base/ids.ts';
import type { Answer, Call } from '../../src/core/calls.ts';
import type { NodeFacts } from '../../src/core/facts.ts';
import type { Message } from '../../src/core/messages.ts';
import type { LinkHandlers } from '../../src/node/ports.ts';

export type LinkEvent =
  | { kind: 'up'; node: NodeId; boot: BootId; facts: NodeFacts; host: string }
  | { kind: 'down'; node: NodeId; boot: BootId; reason: string }
  | { kind: 'dialFailed'; node: NodeId; isRefused: boolean; reason: string }
  | { kind: 'message'; node: NodeId; boot: BootId; message: Message };

const DEADLINE_MS = 10_000;

export class Witness implements LinkHandlers {
  readonly events: LinkEvent[] = [];
  private readonly counts = new Map<LinkEvent['kind'], number>();
  /** How this node answers. */
  answer: (call: Call, signal: AbortSignal) => Promise<Answer> = async () => ({
    kind: 'lookUp',
    found: undefined,
  });
  private waiting: (() => void)[] = [];

  onUp(peer: { node: NodeId; boot: BootId; facts: NodeFacts; host: string }): void {
    this.note({ kind: 'up', ...peer });
  }

  onDown(peer: { node: NodeId; boot: BootId; reason: string }): void {
    this.note({ kind: 'down', ...peer });
  }

  onDialFailed(failure: { node: NodeId; isRefused: boolean; reason: string }): void {
    this.note({ kind: 'dialFailed', ...failure });
  }

  onMessages(from: { node: NodeId; boot: BootId }, messages: readonly Message[]): void {
    for (const message of messages) this.note({ kind: 'message', ...from, message });
  }

  onCall(_from: NodeId, call: Call, signal: AbortSignal): Promise<Answer> {
    return this.answer(call, signal);
  }

  /** What was told so far. */
  forget(): void {
    this.events.length = 0;
    this.counts.clear();
  }

  of<Kind extends LinkEvent['kind']>(kind: Kind): Extract<LinkEvent, { kind: Kind }>[] {
    return this.events.filter((event) => event.kind === kind) as never;
  }

  /** The `nth` event of this kind, as soon as it is there. */
  async next<Kind extends LinkEvent['kind']>(
    kind: Kind,
    nth = 1,
  ): Promise<Extract<LinkEvent, { kind: Kind }>> {
    await this.until(`${kind} number ${nth}`, () => (this.counts.get(kind) ?? 0) >= nth);
    return this.of(kind)[nth - 1] as never;
  }

  until(what: string, isSo: () => boolean): Promise<void> {
    return new Promise((resolve, reject) => {
      const overdue = setTimeout(() => {
        const seen = JSON.stringify(this.events.slice(-20));
        reject(new Error(`still no ${what}; the last events: ${seen}`));
      }, DEADLINE_MS);
      const check = (): void => {
        if (!isSo()) {
          this.waiting.push(check);
          return;
        }
        clearTimeout(overdue);
        resolve();
      };
      check();
    });
  }

  private note(event: LinkEvent): void {
    this.events.push(event);
    this.counts.set(event.kind, (this.counts.get(event.kind) ?? 0) + 1);
    const waiting = this.waiting;
    this.waiting = [];
    for (const check of waiting) check();
  }
}
