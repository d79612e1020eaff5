/**
 * Task type `http`: one request, made by the node itself. The body of the answer is the attempt's
 * stdout, its status and headers are the result; a status that was not expected is a failure.
 */
import { createWriteStream } from 'node:fs';
import type { IncomingHttpHeaders } from 'node:http';
import { pipeline } from 'node:stream/promises';
import { messageOf } from '../../base/errors.ts';
import type { AttemptEnd } from '../../core/job.ts';
import { type HttpParams, httpParams } from '../../run/http-params.ts';
import { parseParams } from '../../run/task-params.ts';
import { folderFailure } from '../failures.ts';
import { type Ending, Hosted } from '../hosted.ts';
import type { Launch, TaskType } from '../task-type.ts';
import { type Exchange, exchange } from './exchange.ts';

const MAX_HEADER_CHARS = 16 * 1024;

export interface HttpOptions {
  /** Which addresses may be asked. */
  readonly isAllowed: (address: string) => boolean;
}

export const makeHttp = (options: HttpOptions): TaskType => ({
  name: 'http',
  launch: async (launch) => {
    const params = parseParams(httpParams, launch.order.grant.spec);
    if (typeof params === 'string') return { tag: 'failed', reason: params };
    const running = new Hosted((ending) => ask(params, launch, { ...options, ...ending }));
    return { tag: 'started', running };
  },
});

async function ask(
  params: HttpParams,
  { place, note }: Launch,
  { isAllowed, asked }: HttpOptions & Ending,
): Promise<AttemptEnd> {
  const reached = await exchange(params, { isAllowed, signal: asked }).catch((thrown: unknown) => {
    asked.throwIfAborted();
    throw new Error(`${questionOf(params)} failed: ${messageOf(thrown)}.`);
  });
  const { answer } = reached;
  let bodyBytes = 0;
  const count = async function* (body: AsyncIterable<Buffer>) {
    for await (const chunk of body) {
      bodyBytes += chunk.length;
      if (bodyBytes > params.max_body_bytes) throw new TooLong();
      yield chunk;
    }
  };
  const file = createWriteStream(place.stdout, { flags: 'a' });
  const failure = await pipeline(answer, count, file, { signal: asked }).then(
    () => undefined,
    (thrown: unknown) => thrown ?? new Error('the answer broke off'),
  );
  note({ result: resultOf(reached, bodyBytes) });
  asked.throwIfAborted();
  return failure === undefined ? judged(params, answer.statusCode ?? 0) : broken(params, failure);
}

class TooLong extends Error {}

function broken(params: HttpParams, failure: unknown): AttemptEnd {
  if (failure instanceof TooLong) {
    const limit = params.max_body_bytes;
    const reason = `The answer to ${questionOf(params)} is longer than max_body_bytes (${limit}).`;
    return { tag: 'failed', reason };
  }
  if ((failure as { syscall?: string }).syscall === 'write') return folderFailure(failure);
  const reason = `The answer to ${questionOf(params)} broke off: ${messageOf(failure)}.`;
  return { tag: 'failed', reason };
}

function judged(params: HttpParams, status: number): AttemptEnd {
  const expected = params.expected_status;
  if (expected.some((each) => each === String(status) || each === `${String(status)[0]}xx`)) {
    return { tag: 'exited', code: 0 };
  }
  const reason = `${questionOf(params)} was answered with status ${status}, expected ${expected.join(' or ')}.`;
  return { tag: 'failed', reason };
}

/** Without what may be a secret in it. */
function questionOf({ method, url }: HttpParams): string {
  const { origin, pathname } = new URL(url);
  return `${method} ${origin}${pathname}`.slice(0, 300);
}

function resultOf({ answer, url, redirects }: Exchange, bodyBytes: number): string {
  const { statusCode = 0, headers } = answer;
  return JSON.stringify({
    status: statusCode,
    url: url.href.slice(0, MAX_HEADER_CHARS),
    redirects,
    ...shortened(headers),
    body_bytes: bodyBytes,
  });
}

/** What would not fit into a result is left out, whole headers at a time. */
function shortened(headers: IncomingHttpHeaders): object {
  let left = MAX_HEADER_CHARS;
  const all = Object.entries(headers);
  const kept = all.filter(([name, value]) => {
    left -= name.length + JSON.stringify(value).length;
    return left >= 0;
  });
  return { headers: Object.fromEntries(kept), headers_truncated: kept.length < all.length };
}
