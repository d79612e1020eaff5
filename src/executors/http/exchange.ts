/**
 * One request and its answer, redirects followed. By node:http, and not by fetch: its look-up is
 * handed in per request, where fetch takes one only from an own copy of undici; nothing of the
 * answer is decoded; and redirects have to be followed by hand anyway, each address being checked.
 */
import { type IncomingMessage, type RequestOptions, request as requestPlain } from 'node:http';
import { request as requestTls } from 'node:https';
import { isIP } from 'node:net';
import type { HttpParams } from '../../run/http-params.ts';
import { guardedLookup, refusal } from './allowed-address.ts';

const MAX_REDIRECTS = 10;
const REDIRECTS: readonly number[] = [301, 302, 303, 307, 308];
/** Not told to another origin than the one they were meant for. */
const PRIVATE_HEADERS: readonly string[] = ['authorization', 'cookie', 'proxy-authorization'];

export interface ExchangeOptions {
  /** Which addresses may be connected to. */
  readonly isAllowed: (address: string) => boolean;
  readonly signal: AbortSignal;
}

export interface Exchange {
  /** Its body has not been read. */
  readonly answer: IncomingMessage;
  readonly url: URL;
  readonly redirects: number;
}

interface Question {
  readonly method: string;
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | undefined;
}

/** Rejects with a sentence's reason, or as an abort. */
export async function exchange(params: HttpParams, options: ExchangeOptions): Promise<Exchange> {
  let question = firstQuestion(params);
  for (let redirects = 0; ; redirects++) {
    const answer = await ask(question, options);
    const { url } = question;
    const next = params.follow_redirects ? nextQuestion(question, answer) : undefined;
    if (!next) return { answer, url, redirects };
    answer.destroy();
    if (redirects === MAX_REDIRECTS) throw new Error(`more than ${MAX_REDIRECTS} redirects`);
    question = next;
  }
}

function firstQuestion({ method, url, headers, body }: HttpParams): Question {
  const lower = Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]);
  const isText = typeof body === 'string';
  const isJson = body !== undefined && !isText;
  return {
    method,
    url: new URL(url),
    headers: {
      accept: '*/*',
      'accept-encoding': 'identity',
      'user-agent': 'worker-mesh',
      ...(isJson && { 'content-type': 'application/json' }),
      ...Object.fromEntries(lower),
    },
    body: isJson ? JSON.stringify(body) : body,
  };
}

/** As browsers do it (Fetch standard, HTTP-redirect fetch). Undefined: the answer is the last. */
function nextQuestion(question: Question, { statusCode = 0, headers }: IncomingMessage) {
  const { location } = headers;
  if (!REDIRECTS.includes(statusCode) || location === undefined) return undefined;
  if (!URL.canParse(location, question.url)) throw new Error('a redirect to what is no URL');
  const url = new URL(location, question.url);
  if (!['http:', 'https:'].includes(url.protocol)) {
    throw new Error(`a redirect to ${url.protocol}, which is not followed`);
  }
  const { method } = question;
  const becomesGet =
    (statusCode === 303 && method !== 'HEAD') || (statusCode < 303 && method === 'POST');
  const isForeign = url.origin !== question.url.origin;
  const kept = Object.entries(question.headers).filter(
    ([name]) =>
      !(isForeign && (PRIVATE_HEADERS.includes(name) || name === 'host')) &&
      !(becomesGet && name.startsWith('content-')),
  );
  const next = { ...question, url, headers: Object.fromEntries(kept) };
  return becomesGet ? { ...next, method: 'GET', body: undefined } : next;
}

function ask(question: Question, options: ExchangeOptions): Promise<IncomingMessage> {
  const { method, url, headers, body } = question;
  const { isAllowed, signal } = options;
  const host = url.hostname.replace(/^\[|\]$/g, '');
  // A host that is an address is connected to without any look-up.
  if (isIP(host) !== 0 && !isAllowed(host)) {
    return Promise.reject(new Error(refusal(host, host)));
  }
  const length = body === undefined ? {} : { 'content-length': Buffer.byteLength(body) };
  const settings: RequestOptions = {
    method,
    headers: { ...headers, ...length },
    // No connection outlives its job.
    agent: false,
    signal,
    lookup: guardedLookup(isAllowed),
  };
  const request = url.protocol === 'https:' ? requestTls : requestPlain;
  return new Promise((resolve, reject) => {
    request(url, settings, resolve).once('error', reject).end(body);
  });
}
