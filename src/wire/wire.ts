/**
 * Bytes of links and heartbeats ↔ values of the core. proto/mesh.proto is the document; protobufjs
 * makes the code (fastest of the protobuf encoders measured here, and needs no class of its own
 * around each message); nothing of it leaves this folder.
 *
 * - `to…` and `encode…` make what goes out; `from…` and `parse…` take what came in. What came in
 *   may be anything: a `parse…` never throws, checks every id, number, length and count against
 *   limits.ts, and says undefined for the whole when one of them is wrong.
 * - Each side of a link writes frames one after the other, each with its length in front as a
 *   varint. frame-reader.ts cuts them out again.
 * - Unknown fields are skipped, unknown kinds are malformed: what a peer cannot read is not sent
 *   to it, because versions are agreed in the handshake.
 */
import type { BootId } from '../base/ids.ts';
import type { Call } from '../core/calls.ts';
import type { NodeFacts } from '../core/facts.ts';
import type { Message } from '../core/messages.ts';
import { fromCall, toCall } from './calls.ts';
import * as field from './fields.ts';
import {
  FULL_FRAME_BYTES,
  MAX_FRAME_BYTES,
  MAX_LIST_ENTRIES,
  MAX_MESSAGES_PER_FRAME,
  MAX_SENTENCE_CHARS,
} from './limits.ts';
import { fromMessage, toMessage } from './messages.ts';
import { parseBoot, parseFacts, toBoot, toFacts } from './nodes.ts';
import { mesh, Writer } from './schema.ts';

/** Versions of the link protocol that this program speaks. */
export const PROTOCOL_VERSIONS = { min: 2, max: 2 } as const;

export type Frame =
  | Hello
  | { readonly kind: 'welcome'; readonly version: number }
  | { readonly kind: 'close'; readonly reason: string }
  | { readonly kind: 'messages'; readonly messages: readonly Message[] }
  | Question
  | AnswerPart
  | { readonly kind: 'withdrawal'; readonly id: number };

export interface Hello {
  readonly kind: 'hello';
  readonly versions: { readonly min: number; readonly max: number };
  readonly boot: BootId;
  /** Of its disk; undefined: not told. */
  readonly commits?: number | undefined;
  readonly facts: NodeFacts;
}

export interface Question {
  readonly kind: 'question';
  readonly id: number;
  readonly deadlineMs: number;
  readonly call: Call;
}

/** The bytes of all parts, in order, are what `parseAnswer` reads. */
export interface AnswerPart {
  readonly kind: 'answer';
  readonly id: number;
  readonly bytes: Uint8Array;
  readonly isLast: boolean;
}

/** With its length in front. */
export const encodeFrame = (frame: Exclude<Frame, { kind: 'messages' }>): Uint8Array =>
  mesh.Frame.encodeDelimited(toFrame(frame)).finish();

/**
 * As many frames as they fill, each with its length in front, in order. A message that is larger
 * than a frame may be is left out and counted in `oversized`: no peer could take it.
 */
export function encodeMessages(given: readonly Message[]): {
  frames: Uint8Array[];
  oversized: number;
} {
  const messages = given.some(isLong) ? given.flatMap(shorten) : given;
  const frames: Uint8Array[] = [];
  let oversized = 0;
  let next = 0;
  while (next < messages.length) {
    const most = Math.min(messages.length, next + MAX_MESSAGES_PER_FRAME);
    let batch = encodeBatch(messages.slice(next, most));
    // The last one burst the frame: it gets one of its own.
    if (isTooLarge(batch.content) && batch.count > 1) {
      batch = encodeBatch(messages.slice(next, next + batch.count - 1));
    }
    next += batch.count;
    if (isTooLarge(batch.content)) oversized += 1;
    else frames.push(envelop(batch.content));
  }
  return { frames, oversized };
}

/** @param bytes one frame without its length; undefined when malformed */
export function parseFrame(bytes: Uint8Array): Frame | undefined {
  if (bytes.length > MAX_FRAME_BYTES) return undefined;
  return field.parsed(() => fromFrame(mesh.Frame.decode(bytes)));
}

/** Its list has more entries than a message may; it says the same in several. */
const isLong = (message: Message): boolean =>
  (message.kind === 'renew' && message.attempts.length > MAX_LIST_ENTRIES) ||
  (message.kind === 'bans' && message.bans.length > MAX_LIST_ENTRIES);

function shorten(message: Message): Message[] {
  if (message.kind === 'renew')
    return chunks(message.attempts).map((attempts) => ({ ...message, attempts }));
  if (message.kind === 'bans') return chunks(message.bans).map((bans) => ({ ...message, bans }));
  return [message];
}

const chunks = <T>(list: readonly T[]): T[][] =>
  Array.from({ length: Math.max(1, Math.ceil(list.length / MAX_LIST_ENTRIES)) }, (_, index) =>
    list.slice(index * MAX_LIST_ENTRIES, (index + 1) * MAX_LIST_ENTRIES),
  );

const MESSAGES_TAG = (4 << 3) | 2;
const MESSAGE_TAG = (1 << 3) | 2;
const MAX_ENVELOPE_BYTES = 8;

/** Takes messages until the frame is full; the first in any case. */
function encodeBatch(messages: readonly Message[]): { content: Uint8Array; count: number } {
  const writer = Writer.create();
  let count = 0;
  for (const message of messages) {
    if (writer.len >= FULL_FRAME_BYTES) break;
    mesh.Message.encode(toMessage(message), writer.uint32(MESSAGE_TAG).fork()).ldelim();
    count += 1;
  }
  return { content: writer.finish(), count };
}

const isTooLarge = (content: Uint8Array): boolean =>
  content.length + MAX_ENVELOPE_BYTES > MAX_FRAME_BYTES;

/** Frame{messages} around encoded messages, with its length. */
function envelop(content: Uint8Array): Uint8Array {
  const writer = Writer.create();
  return writer.fork().uint32(MESSAGES_TAG).bytes(content).ldelim().finish();
}

function toFrame(frame: Exclude<Frame, { kind: 'messages' }>): mesh.Frame.$Properties {
  switch (frame.kind) {
    case 'hello':
      return {
        hello: {
          minVersion: frame.versions.min,
          maxVersion: frame.versions.max,
          boot: toBoot(frame.boot),
          facts: toFacts(frame.facts),
          ...(frame.commits !== undefined && { commits: frame.commits }),
        },
      };
    case 'welcome':
      return { welcome: { version: frame.version } };
    case 'close':
      return { close: { reason: field.sentence(frame.reason) } };
    case 'question': {
      const deadlineMs = Math.min(MAX_UINT32, field.wholeMs(frame.deadlineMs));
      return { question: { id: frame.id, deadlineMs, ...toCall(frame.call) } };
    }
    case 'answer':
      return { answer: { id: frame.id, bytes: frame.bytes, isLast: frame.isLast } };
    case 'withdrawal':
      return { withdrawal: { id: frame.id } };
  }
}

const MAX_UINT32 = 0xffff_ffff;

function fromFrame(wire: mesh.Frame.$Properties): Frame {
  switch (wire.content) {
    case 'hello': {
      const { minVersion, maxVersion, boot, facts, commits } = field.required(wire.hello);
      const versions = { min: field.count(minVersion), max: field.count(maxVersion) };
      const told = field.count(commits);
      return {
        kind: 'hello',
        versions,
        boot: parseBoot(boot),
        facts: parseFacts(facts),
        ...(told > 0 && { commits: told }),
      };
    }
    case 'welcome':
      return { kind: 'welcome', version: field.count(wire.welcome?.version) };
    case 'close':
      return { kind: 'close', reason: field.text(wire.close?.reason, MAX_SENTENCE_CHARS) };
    case 'messages': {
      const { messages } = field.required(wire.messages);
      return {
        kind: 'messages',
        messages: field.list(messages, MAX_MESSAGES_PER_FRAME, fromMessage),
      };
    }
    case 'question': {
      const question = field.required(wire.question);
      const deadlineMs = field.count(question.deadlineMs);
      return {
        kind: 'question',
        id: field.count(question.id),
        deadlineMs,
        call: fromCall(question),
      };
    }
    case 'answer': {
      const { id, bytes, isLast } = field.required(wire.answer);
      return {
        kind: 'answer',
        id: field.count(id),
        bytes: field.passingBytes(bytes, MAX_FRAME_BYTES),
        isLast: isLast === true,
      };
    }
    case 'withdrawal':
      return { kind: 'withdrawal', id: field.count(wire.withdrawal?.id) };
    default:
      throw new field.Malformed('an unknown frame');
  }
}
