/**
 * Questions and answers on one link, both ways. An answer travels in parts, and the next part
 * leaves only when the ones before have: a long answer neither fills the send buffer nor keeps
 * signs of life waiting behind it.
 */
import { MeshError, messageOf } from '../base/errors.ts';
import type { NodeId } from '../base/ids.ts';
import type { Answer, Call } from '../core/calls.ts';
import { answerFrames } from '../wire/answer-frames.ts';
import { type AnswerError, parseAnswer } from '../wire/answers.ts';
import { MAX_ANSWER_BYTES } from '../wire/limits.ts';
import { type AnswerPart, encodeFrame, type Question } from '../wire/wire.ts';
import type { Connection } from './connection.ts';

/** Open at once in each direction. */
export const MAX_OPEN_QUESTIONS = 1024;
/** Unfinished answers on one link, together. */
const MAX_HELD_BYTES = 2 * MAX_ANSWER_BYTES;
/** A piece of a file goes in one. */
const PART_BYTES = 256 * 1024;
const MAX_ANSWERING_MS = 10 * 60_000;

export interface QuestionParts {
  readonly peer: NodeId;
  readonly connection: Connection;
  readonly answer: (call: Call, signal: AbortSignal) => Promise<Answer>;
  /** A fault of this program, not of the question. */
  readonly onFault: (thrown: unknown) => void;
}

interface Asked {
  readonly settle: (answer: Answer | AnswerError | undefined, failure?: MeshError) => void;
  readonly parts: Uint8Array[];
  bytes: number;
}

export class Questions {
  private readonly with: QuestionParts;
  private readonly asked = new Map<number, Asked>();
  private readonly answering = new Map<number, AbortController>();
  private heldBytes = 0;
  private lastId = 0;

  constructor(parts: QuestionParts) {
    this.with = parts;
  }

  /** @throws MeshError NODE_UNREACHABLE, BUSY, or what the peer answered with */
  ask(call: Call, options: { deadlineMs: number; signal?: AbortSignal }): Promise<Answer> {
    const { peer, connection } = this.with;
    if (this.asked.size >= MAX_OPEN_QUESTIONS) {
      const sentence = `${this.asked.size} questions to node ${peer} wait for their answers. Try again later.`;
      return Promise.reject(new MeshError('BUSY', sentence));
    }
    if (options.signal?.aborted) return Promise.reject(withdrawn(peer, options.signal));
    const id = this.nextId();
    const answer = this.open(id, options);
    connection.send(
      encodeFrame({ kind: 'question', id, deadlineMs: Math.max(0, options.deadlineMs), call }),
    );
    return answer;
  }

  onAnswer(part: AnswerPart): void {
    const asked = this.asked.get(part.id);
    // Withdrawn, or answered before: whoever asked has gone.
    if (!asked) return;
    asked.parts.push(part.bytes);
    asked.bytes += part.bytes.length;
    this.heldBytes += part.bytes.length;
    if (asked.bytes > MAX_ANSWER_BYTES || this.heldBytes > MAX_HELD_BYTES) {
      const sentence = `The answer of node ${this.with.peer} is too large. Ask for less at a time.`;
      asked.settle(undefined, new MeshError('BODY_TOO_LARGE', sentence));
      this.withdraw(part.id);
    } else if (part.isLast) {
      const [only] = asked.parts;
      asked.settle(
        parseAnswer(asked.parts.length === 1 && only ? only : Buffer.concat(asked.parts)),
      );
    }
  }

  async onQuestion(question: Question): Promise<void> {
    const { id, call, deadlineMs } = question;
    if (this.answering.has(id)) return;
    if (this.answering.size >= MAX_OPEN_QUESTIONS) {
      const message = 'This node is answering as many questions as it can. Try again later.';
      await this.sendAnswer(id, { kind: 'error', code: 'BUSY', message });
      return;
    }
    const controller = new AbortController();
    this.answering.set(id, controller);
    const overdue = setTimeout(() => controller.abort(), Math.min(deadlineMs, MAX_ANSWERING_MS));
    // An answer that nobody waits for any more gives up its place, even if it is never ready.
    const { promise: over, resolve: giveUp } = Promise.withResolvers<undefined>();
    controller.signal.addEventListener('abort', () => giveUp(undefined));
    const answer = await Promise.race([this.answerOf(call, controller.signal), over]);
    clearTimeout(overdue);
    if (answer) await this.sendAnswer(id, answer, controller.signal);
    this.answering.delete(id);
  }

  onWithdrawal(id: number): void {
    this.answering.get(id)?.abort();
  }

  /** The link has gone. */
  close(reason: string): void {
    const { peer } = this.with;
    const failure = new MeshError('NODE_UNREACHABLE', `The link to node ${peer} ended: ${reason}.`);
    for (const asked of [...this.asked.values()]) asked.settle(undefined, failure);
    for (const controller of this.answering.values()) controller.abort();
  }

  private nextId(): number {
    do this.lastId = this.lastId >= 0xffff_ffff ? 1 : this.lastId + 1;
    while (this.asked.has(this.lastId));
    return this.lastId;
  }

  private open(id: number, options: { deadlineMs: number; signal?: AbortSignal }): Promise<Answer> {
    const { peer } = this.with;
    const { deadlineMs, signal } = options;
    return new Promise((resolve, reject) => {
      const giveUp = (failure: MeshError) => {
        asked.settle(undefined, failure);
        this.withdraw(id);
      };
      const onAbort = () => signal && giveUp(withdrawn(peer, signal));
      const timer = setTimeout(() => giveUp(overdue(peer, deadlineMs)), deadlineMs);
      const asked: Asked = {
        parts: [],
        bytes: 0,
        settle: (answer, failure) => {
          clearTimeout(timer);
          signal?.removeEventListener('abort', onAbort);
          this.asked.delete(id);
          this.heldBytes -= asked.bytes;
          if (answer && answer.kind !== 'error') resolve(answer);
          else reject(failure ?? toFailure(peer, answer));
        },
      };
      signal?.addEventListener('abort', onAbort, { once: true });
      this.asked.set(id, asked);
    });
  }

  private withdraw(id: number): void {
    this.with.connection.send(encodeFrame({ kind: 'withdrawal', id }));
  }

  private async answerOf(call: Call, signal: AbortSignal): Promise<Answer | AnswerError> {
    try {
      return await this.with.answer(call, signal);
    } catch (thrown) {
      if (thrown instanceof MeshError) {
        return { kind: 'error', code: thrown.code, message: thrown.message };
      }
      if (!signal.aborted) this.with.onFault(thrown);
      const message = `The node failed to answer (${messageOf(thrown)}). Its log has more.`;
      return { kind: 'error', code: 'INTERNAL', message };
    }
  }

  private async sendAnswer(
    id: number,
    answer: Answer | AnswerError,
    signal?: AbortSignal,
  ): Promise<void> {
    const { connection } = this.with;
    let isFirst = true;
    for (const frame of answerFrames(id, answer, PART_BYTES)) {
      if (!isFirst) await connection.whenSent();
      if (signal?.aborted) return;
      isFirst = false;
      for (const bytes of frame) connection.send(bytes);
    }
  }
}

function toFailure(peer: NodeId, answer: AnswerError | undefined): MeshError {
  if (answer) return new MeshError(answer.code, answer.message);
  const sentence = `Node ${peer} answered something that cannot be read. Run the same version on both.`;
  return new MeshError('NODE_UNREACHABLE', sentence);
}

const overdue = (peer: NodeId, deadlineMs: number): MeshError =>
  new MeshError('NODE_UNREACHABLE', `Node ${peer} did not answer within ${deadlineMs / 1000} s.`);

const withdrawn = (peer: NodeId, signal: AbortSignal): MeshError =>
  new MeshError('NODE_UNREACHABLE', `The question to node ${peer} was withdrawn.`, {
    cause: signal.reason,
  });
