/**
 * Text from outside as a JSON value that the rest of the program can hold safely: not too deep,
 * and every string in it something that can be stored, sent and handed to a process unchanged.
 */
import { MeshError } from '../base/errors.ts';
import { INVALID_BODY } from './problem.ts';

const MAX_DEPTH = 32;

/** @throws MeshError BAD_JSON, BAD_REQUEST */
export function parseJsonBody(bytes: Uint8Array): unknown {
  const value = parse(decode(bytes));
  refuseUnholdable(value);
  return value;
}

function decode(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new MeshError('BAD_JSON', `${INVALID_BODY}: it is not UTF-8 text.`, { cause });
  }
}

function parse(text: string): unknown {
  if (text.trim() === '') throw new MeshError('BAD_JSON', `${INVALID_BODY}: it is empty.`);
  try {
    return JSON.parse(text);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : 'it cannot be read';
    throw new MeshError('BAD_JSON', `${INVALID_BODY}: it is not JSON (${printable(reason)}).`, {
      cause,
    });
  }
}

/** Walks without recursion: a body of a million brackets must not end the stack. */
function refuseUnholdable(root: unknown): void {
  const open: { value: unknown; depth: number }[] = [{ value: root, depth: 0 }];
  for (let next = open.pop(); next; next = open.pop()) {
    const { value, depth } = next;
    if (typeof value === 'string') refuseText(value);
    if (value === null || typeof value !== 'object') continue;
    if (depth === MAX_DEPTH) refuse(`it is nested more than ${MAX_DEPTH} deep.`);
    for (const [key, inner] of Object.entries(value)) {
      refuseText(key);
      // JSON may name a field so, but no object may be given one without surprises.
      if (key === '__proto__') refuse('no field may be called __proto__.');
      open.push({ value: inner, depth: depth + 1 });
    }
  }
}

function refuseText(text: string): void {
  if (text.includes('\0'))
    refuse('a text in it has a NUL character, which no process can be given.');
  if (!text.isWellFormed())
    refuse('a text in it has half of a surrogate pair (\\ud800 to \\udfff).');
}

function refuse(reason: string): never {
  throw new MeshError('BAD_REQUEST', `${INVALID_BODY}: ${reason}`);
}

const printable = (text: string): string => text.replace(/[^\x20-\x7e]/g, '?').slice(0, 160);
