/**
 * Checks of single fields, for bytes that anybody may have made. A check that fails throws, and
 * `parsed` at the outermost parse function turns whatever was thrown into "malformed": one exit
 * instead of an `undefined` to pass up through forty functions. Nothing thrown leaves this folder.
 */
import {
  asBirth,
  asNonce,
  type Birth,
  isJobId,
  isNodeId,
  isSha256,
  type JobId,
  type NodeId,
  type Nonce,
} from '../base/ids.ts';
import { asWall, type WallMs } from '../base/instant.ts';
import { MAX_ID_CHARS, MAX_MAP_ENTRIES, MAX_NAME_CHARS, MAX_SENTENCE_CHARS } from './limits.ts';

/** What protobufjs gives for a field: null for an unset optional one. */
type Maybe<T> = T | null | undefined;

export class Malformed extends Error {}

/** @returns undefined for anything malformed; protobufjs throws several kinds of errors itself. */
export function parsed<T>(parse: () => T): T | undefined {
  try {
    return parse();
  } catch {
    return undefined;
  }
}

export function required<T>(value: Maybe<T>): T {
  if (value === null || value === undefined) throw new Malformed('a field is missing');
  return value;
}

/** 0 to `max`. */
export function count(value: Maybe<number>, max = Number.MAX_SAFE_INTEGER): number {
  const number = value ?? 0;
  if (!Number.isSafeInteger(number) || number < 0 || number > max) {
    throw new Malformed('a number is out of range');
  }
  return number;
}

export function integer(value: Maybe<number>): number {
  const number = value ?? 0;
  if (!Number.isSafeInteger(number)) throw new Malformed('a number is out of range');
  return number;
}

export const wall = (value: Maybe<number>): WallMs => asWall(integer(value));

/** The unset field is undefined here, never null. */
export const optionalWall = (value: Maybe<number>): WallMs | undefined =>
  value === null || value === undefined ? undefined : wall(value);

export function text(value: Maybe<string>, maxChars: number): string {
  const string = value ?? '';
  if (string.length > maxChars) throw new Malformed('a text is too long');
  return string;
}

export const name = (value: Maybe<string>): string => text(value, MAX_NAME_CHARS);

export const optionalName = (value: Maybe<string>): string | undefined =>
  value === null || value === undefined ? undefined : name(value);

export function nodeId(value: Maybe<string>): NodeId {
  const id = value ?? '';
  if (!isNodeId(id)) throw new Malformed('not a node id');
  return id;
}

export const optionalNodeId = (value: Maybe<string>): NodeId | undefined =>
  value ? nodeId(value) : undefined;

export function jobId(value: Maybe<string>): JobId {
  const id = value ?? '';
  if (!isJobId(id)) throw new Malformed('not a job id');
  return id;
}

export function sha256(value: Maybe<string>): string {
  const hash = value ?? '';
  if (!isSha256(hash)) throw new Malformed('not a SHA-256');
  return hash;
}

export const birth = (value: Maybe<string>): Birth => asBirth(identifier(value));
/** Nothing where the field is unset. */
export const optionalBirth = (value: Maybe<string>): { birth?: Birth } =>
  typeof value === 'string' ? { birth: birth(value) } : {};

export const nonce = (value: Maybe<string>): Nonce => asNonce(identifier(value));

/** Not empty. */
export function identifier(value: Maybe<string>): string {
  const id = text(value, MAX_ID_CHARS);
  if (id === '') throw new Malformed('an id is empty');
  return id;
}

/** As much as a receive buffer holds that is not joined of several. */
const WINDOW_BYTES = 64 * 1024;

/** A copy: what the decoder gives is a window onto the receive buffer and would keep all of it. */
export function bytes(value: Maybe<Uint8Array>, maxBytes: number): Uint8Array {
  if (!value) return new Uint8Array(0);
  if (value.length > maxBytes) throw new Malformed('too many bytes');
  return new Uint8Array(value);
}

/** Not kept for long: a copy only of what is small beside the buffer that it would keep. */
export function passingBytes(value: Maybe<Uint8Array>, maxBytes: number): Uint8Array {
  if (!value || value.length < WINDOW_BYTES) return bytes(value, maxBytes);
  if (value.length > maxBytes) throw new Malformed('too many bytes');
  return value;
}

export function list<From, To>(
  values: Maybe<readonly From[]>,
  max: number,
  parse: (value: From) => To,
): To[] {
  if (!values) return [];
  if (values.length > max) throw new Malformed('a list is too long');
  return values.map((value) => parse(value));
}

/** `fromEntries` makes own properties of all names, `__proto__` included. */
export function map(
  values: Maybe<Record<string, string>>,
  maxValueChars = MAX_NAME_CHARS,
): Record<string, string> {
  const entries = Object.entries(values ?? {});
  if (entries.length > MAX_MAP_ENTRIES) throw new Malformed('a map is too large');
  return Object.fromEntries(entries.map(([key, value]) => [name(key), text(value, maxValueChars)]));
}

/** Nothing where the field is unset. */
export const optionalCount = <Name extends string>(
  name: Name,
  value: Maybe<number>,
): { [Key in Name]?: number } =>
  value === null || value === undefined
    ? {}
    : ({ [name]: count(value) } as { [Key in Name]?: number });

/** Not negative, not infinite. */
export function measure(value: Maybe<number>): number {
  const number = value ?? 0;
  if (!(number >= 0 && Number.isFinite(number))) throw new Malformed('not a measure');
  return number + 0;
}

/** 0 to 100. */
export function percentage(value: Maybe<number>): number {
  const number = value ?? 0;
  if (!(number >= 0 && number <= 100)) throw new Malformed('not a percentage');
  // Minus zero would not be read as it was written.
  return number + 0;
}

/** Times on the wire are whole milliseconds. */
export const wholeMs = (ms: number): number => Math.round(ms);

/**
 * Text as UTF-8 can say it. Half a surrogate pair, which JSON lets through, would become bytes
 * that the other side refuses together with the whole frame.
 */
export const sayable = (written: string): string => written.toWellFormed();

/** A sentence for people, cut where it would be refused. */
export const sentence = (written: string): string => sayable(written.slice(0, MAX_SENTENCE_CHARS));

export const sayableMap = (written: Readonly<Record<string, string>>): Record<string, string> => {
  const entries = Object.entries(written);
  return Object.fromEntries(entries.map(([key, value]) => [sayable(key), sayable(value)]));
};
