/** Reads what a request says: body, query, ids. Whatever is not as documented is refused by name. */
import type { IncomingMessage } from 'node:http';
import { parseJsonBody } from '../api/json-body.ts';
import { MeshError } from '../base/errors.ts';
import { asJobId, isJobId, isNodeId, type JobId, type NodeId } from '../base/ids.ts';
import type { MeshService } from '../node/service.ts';
import { hasBody } from './request-guard.ts';

export interface BodyLimits {
  readonly bodyLimitBytes: number;
  /** When the body is an array. */
  readonly bulkBodyLimitBytes: number;
}

/** @throws MeshError BODY_TOO_LARGE, NOT_JSON, BAD_JSON, BAD_REQUEST */
export async function readJson(incoming: IncomingMessage, limits: BodyLimits): Promise<unknown> {
  if (!hasBody(incoming) && incoming.headers['content-type'] === undefined) {
    throw new MeshError(
      'NOT_JSON',
      'A JSON body is needed, with the header Content-Type: application/json.',
    );
  }
  return parseJsonBody(await readBytes(incoming, limits));
}

function readBytes(incoming: IncomingMessage, limits: BodyLimits): Promise<Uint8Array> {
  const { promise, resolve, reject } = Promise.withResolvers<Uint8Array>();
  const chunks: Buffer[] = [];
  let size = 0;
  let limit: number | undefined;
  const end = (): void => {
    incoming.off('data', onData).off('end', onEnd).off('error', onError);
  };
  const onData = (chunk: Buffer): void => {
    chunks.push(chunk);
    size += chunk.length;
    limit ??= limitFor(chunk, limits);
    if (size <= (limit ?? limits.bodyLimitBytes)) return;
    end();
    reject(tooLarge(limits));
  };
  const onEnd = (): void => {
    end();
    resolve(chunks.length === 1 && chunks[0] ? chunks[0] : Buffer.concat(chunks, size));
  };
  const onError = (cause: Error): void => {
    end();
    reject(new MeshError('BAD_REQUEST', 'The connection ended before the body did.', { cause }));
  };
  if (Number(incoming.headers['content-length'] ?? 0) > largest(limits)) reject(tooLarge(limits));
  else incoming.on('data', onData).on('end', onEnd).on('error', onError);
  return promise;
}

/** By the first character that is not blank; undefined: not seen yet. */
function limitFor(chunk: Buffer, limits: BodyLimits): number | undefined {
  const first = chunk.find(
    (byte) => byte !== 0x20 && byte !== 0x09 && byte !== 0x0a && byte !== 0x0d,
  );
  if (first === undefined) return undefined;
  return first === '['.charCodeAt(0) ? largest(limits) : limits.bodyLimitBytes;
}

const largest = (limits: BodyLimits): number =>
  Math.max(limits.bodyLimitBytes, limits.bulkBodyLimitBytes);

const tooLarge = ({ bodyLimitBytes, bulkBodyLimitBytes }: BodyLimits): MeshError =>
  new MeshError(
    'BODY_TOO_LARGE',
    `The body may have ${bodyLimitBytes} bytes for one job and ${bulkBodyLimitBytes} for an array of jobs (settings body-limit, bulk-body-limit).`,
  );

/** @throws MeshError BAD_REQUEST */
export function parseJobId(text: string): JobId {
  if (isJobId(text)) return asJobId(text);
  throw new MeshError(
    'BAD_REQUEST',
    `${JSON.stringify(text.slice(0, 80))} is no job id: 1 to 128 of A-Z a-z 0-9 . _ : - beginning with a letter or digit.`,
  );
}

/**
 * A full id may be of a node that left long ago; its jobs are still there.
 * @throws MeshError NODE_NOT_FOUND
 */
export function parseNode(service: MeshService, text: string): NodeId {
  const node = service.findNode(text) ?? (isNodeId(text) ? text : undefined);
  if (node !== undefined) return node;
  throw new MeshError(
    'NODE_NOT_FOUND',
    `No node, or more than one, is known here as ${JSON.stringify(text.slice(0, 80))}. GET /api/v1/nodes (mesh peers) lists them.`,
  );
}

/** The parameters of a query: each at most once, and only those that are known. */
export class Query {
  private readonly values: URLSearchParams;

  /** @throws MeshError BAD_REQUEST */
  constructor(url: string, known: readonly string[]) {
    const at = url.indexOf('?');
    this.values = new URLSearchParams(at < 0 ? '' : url.slice(at + 1));
    const names = [...this.values.keys()];
    const unknown = names.find((name) => !known.includes(name));
    if (unknown !== undefined) {
      badQuery(
        `unknown parameter ${JSON.stringify(unknown.slice(0, 64))}; known are ${known.join(', ') || 'none'}`,
      );
    }
    const twice = names.find((name, i) => names.indexOf(name) !== i);
    if (twice !== undefined) badQuery(`${twice} is given twice`);
  }

  /** Empty counts as not given. */
  text(name: string): string | undefined {
    return this.values.get(name) || undefined;
  }

  integer(name: string, range: { min: number; max: number; fallback: number }): number {
    const text = this.text(name);
    if (text === undefined) return range.fallback;
    const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
    if (value >= range.min && value <= range.max) return value;
    return badQuery(`${name} must be a whole number from ${range.min} to ${range.max}`);
  }

  choice<const Choice extends string>(
    name: string,
    choices: readonly [Choice, ...Choice[]],
  ): Choice {
    const text = this.text(name);
    if (text === undefined) return choices[0];
    const found = choices.find((choice) => choice === text.toLowerCase());
    return found ?? badQuery(`${name} must be one of ${choices.join(', ')}`);
  }
}

export function badQuery(reason: string): never {
  throw new MeshError('BAD_REQUEST', `The query is wrong: ${reason}.`);
}
