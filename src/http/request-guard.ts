/**
 * What keeps web pages out. A page somebody opens in a browser on this machine can send requests
 * to loopback addresses, and the same user needs no token there; so a request is refused
 *
 * - when its Host header does not name this machine. A page whose own name was rebound to
 *   127.0.0.1 counts as same-origin for its browser, but its name stays in the Host header;
 * - when its Origin is not exactly this API (another port is another program), or when
 *   Sec-Fetch-Site says that another site asked. Browsers send at least one of the two with
 *   everything a page can do that changes something, also with forms and beacons;
 * - when it changes something and its body is not declared as application/json (that of a PUT as
 *   application/octet-stream), which no form and no request without preflight can do. A request without a body needs no type: forms always
 *   send one, and what scripts send without one bears an Origin.
 *
 * No answer carries CORS headers, so a preflight never succeeds.
 */
import type { IncomingMessage } from 'node:http';
import { hostname } from 'node:os';
import { MeshError } from '../base/errors.ts';
import { isLoopback } from './loopback.ts';
import type { HttpOptions } from './options.ts';

const HOST = /^(\[[0-9a-f:.]{2,45}\]|[a-z0-9._-]{1,253})(?::\d{1,5})?$/;
const JSON_TYPE = /^application\/json\s*(?:;|$)/i;
const BYTES_TYPE = /^application\/octet-stream\s*(?:;|$)/i;
const SAFE_METHODS: readonly string[] = ['GET', 'HEAD', 'OPTIONS'];

export class RequestGuard {
  private readonly scheme: string;
  private readonly names: ReadonlySet<string>;

  constructor(options: Pick<HttpOptions, 'host' | 'names' | 'tls'>) {
    this.scheme = options.tls ? 'https' : 'http';
    this.names = namesOf(options);
  }

  /** @throws MeshError WRONG_HOST, CROSS_SITE, NOT_JSON, BAD_REQUEST */
  check(incoming: IncomingMessage): void {
    const host = this.checkHost(incoming);
    this.checkOrigin(incoming, host);
    if (!SAFE_METHODS.includes(incoming.method ?? '')) checkBodyType(incoming);
  }

  /** The header as it was sent, in lower case. */
  private checkHost(incoming: IncomingMessage): string {
    if (!incoming.url?.startsWith('/')) {
      throw new MeshError('BAD_REQUEST', 'The request must name a path; this is no proxy.');
    }
    const sent = incoming.headersDistinct.host ?? [];
    const host = (sent[0] ?? '').toLowerCase();
    const name = HOST.exec(host)?.[1];
    if (sent.length === 1 && name !== undefined && this.isOwnName(name, incoming)) return host;
    throw new MeshError(
      'WRONG_HOST',
      `The Host header ${quoted(sent.join(', '))} does not name this node. Ask under one of ` +
        `${[...this.names].join(', ')}, or add the name with --api-names (MESH_API_NAMES).`,
    );
  }

  /** An address cannot be rebound: the one that the connection came in by is this machine's. */
  private isOwnName(name: string, { socket }: IncomingMessage): boolean {
    if (this.names.has(name)) return true;
    const address = name.replace(/^\[|\]$/g, '');
    return isLoopback(address) || address === socket.localAddress?.replace(/^::ffff:/, '');
  }

  private checkOrigin({ headers }: IncomingMessage, host: string): void {
    const origin = headers.origin;
    if (origin !== undefined && origin.toLowerCase() !== `${this.scheme}://${host}`) {
      refuseSite(`The Origin ${quoted(origin)} is not this API.`);
    }
    const site = headers['sec-fetch-site'];
    if (site !== undefined && site !== 'same-origin' && site !== 'none') {
      refuseSite(
        `The request was made by a page of another site (Sec-Fetch-Site ${quoted(String(site))}).`,
      );
    }
  }
}

/** Content-Length 0 and no Transfer-Encoding is the same as no body. */
export const hasBody = ({ headers }: IncomingMessage): boolean =>
  headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0;

function checkBodyType(incoming: IncomingMessage): void {
  const type = incoming.headers['content-type'];
  if (type === undefined && !hasBody(incoming)) return;
  const isPut = incoming.method === 'PUT';
  if (isPut && (type === undefined || !BYTES_TYPE.test(type))) {
    throw new MeshError(
      'NOT_JSON',
      'An upload must say that it is bytes: send the header Content-Type: application/octet-stream.',
    );
  }
  if (!isPut && (type === undefined || !JSON_TYPE.test(type))) {
    throw new MeshError(
      'NOT_JSON',
      `The body must be JSON and say so: send the header Content-Type: application/json${
        type === undefined ? '' : `, not ${quoted(type)}`
      }.`,
    );
  }
  const encoding = incoming.headers['content-encoding'];
  if (encoding === undefined || encoding === 'identity') return;
  throw new MeshError(
    'NOT_JSON',
    `Send the body as it is, without Content-Encoding ${quoted(encoding)}.`,
  );
}

function refuseSite(reason: string): never {
  throw new MeshError('CROSS_SITE', `${reason} Web pages of other origins may not use the API.`);
}

/** Wildcard addresses are no names: what they stand for is told by each connection. */
function namesOf({ host, names }: Pick<HttpOptions, 'host' | 'names'>): Set<string> {
  const isWildcard = host === '0.0.0.0' || host === '::';
  const own = [...hostNames(), ...(isWildcard ? [] : [bracketed(host)])];
  return new Set(
    ['localhost', '127.0.0.1', '[::1]', ...own, ...names].map((name) => name.toLowerCase()),
  );
}

function hostNames(): string[] {
  const name = hostname();
  return [name, name.split('.')[0] ?? name];
}

const bracketed = (host: string): string => (host.includes(':') ? `[${host}]` : host);
const quoted = (text: string): string =>
  JSON.stringify(text.length > 80 ? `${text.slice(0, 79)}…` : text);
