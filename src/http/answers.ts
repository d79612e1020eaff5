/**
 * Every answer is made here, so that every one bears the node's id and the headers that keep
 * browsers from making anything of it but data: nothing is cached, sniffed, framed or run.
 */
import type { ServerResponse } from 'node:http';
import { HEADERS } from '../api/api.ts';
import { PROBLEM_TYPE, toProblem } from '../api/problem.ts';
import type { ErrorCode, MeshError } from '../base/errors.ts';

type AnswerHeaders = Readonly<Record<string, string>>;

/** When it may be worth to try again. */
const RETRY_AFTER_SECONDS: Partial<Record<ErrorCode, number>> = {
  TOO_MANY_FAILURES: 10,
  QUEUE_FULL: 5,
  DRAINING: 10,
  DISK_FULL: 30,
  NOT_ENOUGH_REPLICAS: 5,
  BUSY: 1,
};
const DEFAULT_RETRY_SECONDS = 2;

/** Said before the body of the request was read to its end. */
const UNREAD_BODY: ReadonlySet<ErrorCode> = new Set([
  'BODY_TOO_LARGE',
  'BLOB_MISMATCH',
  'WRONG_OFFSET',
  'STORAGE_FULL',
]);

export class Answers {
  private readonly base: AnswerHeaders;

  constructor(nodeId: string) {
    this.base = {
      [HEADERS.node]: nodeId,
      'Cache-Control': 'no-store',
      'X-Content-Type-Options': 'nosniff',
      'Content-Security-Policy': "default-src 'none'; frame-ancestors 'none'; sandbox",
      'Cross-Origin-Resource-Policy': 'same-origin',
    };
  }

  json(status: number, value: unknown, more: AnswerHeaders = {}): Response {
    const headers = { ...this.base, 'Content-Type': 'application/json', ...more };
    return new Response(JSON.stringify(value), { status, headers });
  }

  /** Nothing came in the time that was to be waited. */
  empty(): Response {
    return new Response(null, { status: 204, headers: this.base });
  }

  problem(error: MeshError, more: AnswerHeaders = {}): Response {
    const headers = { ...this.base, ...this.problemHeaders(error), ...more };
    return new Response(JSON.stringify(toProblem(error)), { status: error.status, headers });
  }

  /** Job output is foreign bytes: never a type that a browser would show or run. */
  bytes(body: ReadableStream<Uint8Array> | null, more: AnswerHeaders, status = 200): Response {
    const headers = { ...this.base, 'Content-Type': 'application/octet-stream', ...more };
    return new Response(body, { status, headers });
  }

  /** Before a request is one of the application's. */
  refuse(outgoing: ServerResponse, error: MeshError): void {
    outgoing.writeHead(error.status, { ...this.base, ...this.problemHeaders(error) });
    outgoing.end(JSON.stringify(toProblem(error)));
  }

  /**
   * The whole answer as text, for connections on which no request could be read.
   * @param statusLine `431 Request Header Fields Too Large`: HTTP's own, which no code of ours has
   */
  rawProblem(error: MeshError, statusLine: string): string {
    const problem = { ...toProblem(error), status: Number.parseInt(statusLine, 10) };
    const body = `${JSON.stringify(problem)}\n`;
    const headers = {
      ...this.base,
      ...this.problemHeaders(error),
      'Content-Length': String(Buffer.byteLength(body)),
      Connection: 'close',
    };
    const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}`);
    return [`HTTP/1.1 ${statusLine}`, ...lines, '', body].join('\r\n');
  }

  private problemHeaders(error: MeshError): AnswerHeaders {
    const { code, retryable } = error;
    const seconds = RETRY_AFTER_SECONDS[code] ?? DEFAULT_RETRY_SECONDS;
    return {
      'Content-Type': PROBLEM_TYPE,
      ...(retryable && { 'Retry-After': String(seconds) }),
      ...(code === 'UNAUTHORIZED' && { 'WWW-Authenticate': 'Bearer realm="worker-mesh"' }),
      // What is left of the body would be read as the next request.
      ...(UNREAD_BODY.has(code) && { Connection: 'close' }),
    };
  }
}
