/**
 * The REST API of a node: HTTP on one side, the node's `MeshService` on the other. Nothing is
 * decided here; a request is checked, put to the service, and the answer is put into the shapes of
 * `src/api`.
 *
 * Every request goes the same way: guard (is it from a web page, is it meant for this machine),
 * access (who asks, with which role), route, answer. Requests that wait, as a followed output, are
 * held in bounded number and end with their client. What a slow or hostile client can hold is
 * bounded by time and count before the first line of ours runs: headers and body have a deadline,
 * connections and header bytes a maximum.
 *
 * Hono, for its router and because it adds 3 µs to a request; Node's own server underneath, since
 * the guard needs the socket and the raw headers.
 */
import { once } from 'node:events';
import {
  createServer as createPlainServer,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { getRequestListener } from '@hono/node-server';
import { MeshError, messageOf } from '../base/errors.ts';
import type { MeshService } from '../node/service.ts';
import { Access } from './access.ts';
import { Answers } from './answers.ts';
import { createApp } from './app.ts';
import { JobFeeds } from './events/job-feeds.ts';
import { MeshFeed } from './events/mesh-feed.ts';
import { HeldRequests } from './held-requests.ts';
import { JobWatch } from './job-watch.ts';
import { isLoopbackHost } from './loopback.ts';
import { DEFAULT_LIMITS, type HttpLimits, type HttpOptions } from './options.ts';
import { RequestGuard } from './request-guard.ts';
import { TerminalUpgrades } from './terminal/terminal-upgrades.ts';

export interface HttpServer {
  /** Settles once it listens. @throws MeshError PORT_IN_USE, BAD_SETTING */
  start(): Promise<{ readonly url: string; readonly port: number }>;
  /** Ends what is open; settles when all connections are gone. */
  stop(): Promise<void>;
}

/** Requests under way get so long to be answered when the server stops. */
const STOP_GRACE_MS = 500;
/** Clients that ask again and again keep their connection, and with it what is known of their user. */
const KEEP_ALIVE_MS = 30_000;

/** @throws MeshError BAD_SETTING when others could read along */
export function createHttpServer(setup: HttpOptions & { service: MeshService }): HttpServer {
  const { service, ...options } = setup;
  if (!isLoopbackHost(options.host) && options.tls === undefined) {
    throw new MeshError(
      'BAD_SETTING',
      `The API on ${options.host} can be reached from outside and needs a certificate.`,
    );
  }
  return new ApiServer(service, options);
}

class ApiServer implements HttpServer {
  private readonly options: HttpOptions;
  private readonly limits: HttpLimits;
  private readonly answers: Answers;
  private readonly held: HeldRequests;
  private readonly watch: JobWatch;
  private readonly followers: HeldRequests;
  private readonly feeds: JobFeeds;
  private readonly meshFeed: MeshFeed;
  private readonly guard: RequestGuard;
  private readonly upgrades: TerminalUpgrades;
  private readonly listener: ReturnType<typeof getRequestListener>;
  private readonly server: Server;
  private started: Promise<{ url: string; port: number }> | undefined;
  private stopped: Promise<void> | undefined;

  constructor(service: MeshService, options: HttpOptions) {
    this.options = options;
    this.limits = { ...DEFAULT_LIMITS, ...options.limits };
    this.answers = new Answers(service.facts.node);
    this.held = new HeldRequests(this.limits.maxHeld);
    this.watch = new JobWatch(service);
    this.followers = new HeldRequests(this.limits.maxFollowers);
    this.feeds = new JobFeeds(service, this.limits.heartbeatMs);
    this.meshFeed = new MeshFeed(service, this.limits.heartbeatMs);
    const { answers, held, watch, followers, feeds, meshFeed } = this;
    const access = new Access(options);
    const streams = { followers, feeds, meshFeed };
    const parts = { service, options, access, answers, held, watch, ...streams };
    this.guard = new RequestGuard(options);
    const { guard } = this;
    const { onFault } = options;
    this.upgrades = new TerminalUpgrades({ service, guard, access, answers, watch, onFault });
    this.listener = getRequestListener(createApp(parts).fetch);
    this.server = this.createServer();
    this.server.on('request', (incoming, outgoing) => this.onRequest(incoming, outgoing));
    this.server.on('upgrade', (incoming, socket, head) => {
      void this.upgrades.onUpgrade(incoming, socket, head);
    });
    this.server.maxConnections = this.limits.maxConnections;
    this.server.on('clientError', (error, socket) => this.onUnreadable(error, socket as Socket));
  }

  start(): Promise<{ url: string; port: number }> {
    this.started ??= this.listen();
    return this.started;
  }

  stop(): Promise<void> {
    this.stopped ??= this.close();
    return this.stopped;
  }

  private createServer(): Server {
    const { headersTimeoutMs, requestTimeoutMs, maxHeaderBytes } = this.limits;
    const limits = {
      headersTimeout: headersTimeoutMs,
      requestTimeout: requestTimeoutMs,
      keepAliveTimeout: KEEP_ALIVE_MS,
      connectionsCheckingInterval: Math.min(1000, headersTimeoutMs),
      maxHeaderSize: maxHeaderBytes,
      // A request without Host is refused by the guard, with its reason.
      requireHostHeader: false,
      // Others that offer to change to something (curl to HTTP/2) are answered as they are.
      shouldUpgradeCallback: ({ headers }: IncomingMessage) =>
        headers.upgrade?.toLowerCase() === 'websocket',
    };
    const { tls } = this.options;
    return tls
      ? createTlsServer({ ...limits, ...tls, minVersion: 'TLSv1.2' })
      : createPlainServer(limits);
  }

  /** The guard stands before the application: that would take apart even a hostile Host header. */
  private onRequest(incoming: IncomingMessage, outgoing: ServerResponse): void {
    try {
      this.guard.check(incoming);
    } catch (failure) {
      if (!(failure instanceof MeshError)) throw failure;
      this.answers.refuse(outgoing, failure);
      return;
    }
    void this.listener(incoming, outgoing);
  }

  private async listen(): Promise<{ url: string; port: number }> {
    const { host, port, tls } = this.options;
    this.server.listen({ host, port });
    try {
      await once(this.server, 'listening');
    } catch (cause) {
      throw listenError(cause, this.options);
    }
    this.server.on('error', (fault) => this.options.onFault(fault, 'listening'));
    this.watch.start();
    this.feeds.start();
    this.meshFeed.start();
    const { port: bound } = this.server.address() as AddressInfo;
    return { url: `${tls ? 'https' : 'http'}://${urlHost(host)}:${bound}`, port: bound };
  }

  private async close(): Promise<void> {
    await this.started?.catch(() => undefined);
    this.held.stop();
    this.watch.stop();
    this.followers.stop();
    this.feeds.stop();
    this.meshFeed.stop();
    this.upgrades.stop();
    if (!this.server.listening) return;
    const closed = once(this.server, 'close');
    this.server.close();
    this.server.closeIdleConnections();
    const timer = setTimeout(() => this.server.closeAllConnections(), STOP_GRACE_MS);
    await closed;
    clearTimeout(timer);
  }

  /** Nothing could be read that a route could answer: too large, too slow, or no HTTP at all. */
  private onUnreadable(error: Error & { code?: string }, socket: Socket): void {
    if (!socket.writable || error.code === 'ECONNRESET') {
      socket.destroy();
      return;
    }
    const [phrase, problem] = unreadable(error);
    socket.end(this.answers.rawProblem(problem, phrase));
  }
}

/** Nobody can connect to a wildcard; from this machine the loopback address does. */
function urlHost(host: string): string {
  if (host === '0.0.0.0') return '127.0.0.1';
  if (host === '::') return '[::1]';
  return host.includes(':') ? `[${host}]` : host;
}

function unreadable(error: Error & { code?: string }): [string, MeshError] {
  const problem = (reason: string): MeshError => new MeshError('BAD_REQUEST', reason);
  switch (error.code) {
    case 'HPE_HEADER_OVERFLOW':
      return ['431 Request Header Fields Too Large', problem('The headers are too large.')];
    case 'HPE_CHUNK_EXTENSIONS_OVERFLOW':
      return ['413 Payload Too Large', problem('The chunk extensions are too large.')];
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return ['408 Request Timeout', problem('The request did not arrive in time.')];
    default:
      return ['400 Bad Request', problem('What was sent is no HTTP request.')];
  }
}

function listenError(cause: unknown, { host, port }: HttpOptions): MeshError {
  const code = (cause as NodeJS.ErrnoException).code;
  if (code === 'EADDRINUSE') {
    return new MeshError(
      'PORT_IN_USE',
      `Port ${port} on ${host} is taken by another program: stop it (mesh doctor says which), or choose another port with --api-port (MESH_API_PORT).`,
      { cause },
    );
  }
  const hint =
    code === 'EACCES'
      ? `ports below 1024 are for root; choose another with --api-port (MESH_API_PORT)`
      : `is it an address of this machine? See --api-host (MESH_API_HOST)`;
  return new MeshError(
    'BAD_SETTING',
    `The API cannot listen on ${host}, port ${port} (${messageOf(cause)}): ${hint}.`,
    { cause },
  );
}
