/** The node's TLS port, and dialling from it. Gives connections whose peer TLS has identified. */
import { once } from 'node:events';
import type net from 'node:net';
import tls, { type TLSSocket } from 'node:tls';
import { MeshError, messageOf } from '../base/errors.ts';
import type { NodeId } from '../base/ids.ts';
import { Gate } from './gate.ts';
import type { MeshCa } from './mesh-ca.ts';
import type { NodeIdentity } from './node-identity.ts';
import { codeOf, explainFailure, isRefusal, peerNodeOf, secureOptions, TIMED_OUT } from './tls.ts';

export interface EndpointParts {
  readonly ca: MeshCa;
  readonly identity: NodeIdentity;
  readonly host: string | undefined;
  readonly port: number;
  readonly onConnection: (socket: TLSSocket, origin: Origin) => void;
  /** Somebody connected and could not show that it belongs to the mesh. */
  readonly onRefused: (reason: string, address: string | undefined) => void;
}

/** Where a connection comes from and who is at its other end. */
export interface Origin {
  readonly kind: 'dialled' | 'accepted';
  readonly node: NodeId;
  readonly host: string;
  /** To be called when it becomes a link. */
  readonly leaveGate: () => void;
}

interface Target {
  readonly node: NodeId;
  readonly host: string;
  readonly port: number;
}

type DialFailure = { readonly reason: string; readonly isRefused: boolean };

const CONNECT_MS = 3000;
const TLS_HANDSHAKE_MS = 5000;
/** For the peers to take what was said last. */
const CLOSE_MS = 1000;

export class Endpoint {
  private readonly parts: EndpointParts;
  private readonly context: tls.SecureContextOptions;
  private readonly server: tls.Server;
  private readonly sockets = new Set<net.Socket>();
  private readonly dialling = new Set<net.Socket>();
  /** By remote address and port, which name an open connection on its raw and on its TLS side. */
  private readonly leaveGate = new Map<string, () => void>();
  private readonly gate = new Gate();
  private listening: Promise<{ port: number }> | undefined;
  private isClosed = false;

  constructor(parts: EndpointParts) {
    this.parts = parts;
    this.context = secureOptions(parts.ca, parts.identity);
    this.server = tls.createServer({
      ...this.context,
      requestCert: true,
      rejectUnauthorized: true,
      handshakeTimeout: TLS_HANDSHAKE_MS,
    });
    this.server.prependListener('connection', (socket: net.Socket) => this.onKnock(socket));
    this.server.on('secureConnection', (socket) => this.onAccepted(socket));
    this.server.on('tlsClientError', (error, socket) => {
      parts.onRefused(explainFailure(error), addressOf(socket));
    });
  }

  /** @throws MeshError PORT_IN_USE, BAD_SETTING */
  listen(): Promise<{ port: number }> {
    this.listening ??= this.bind();
    return this.listening;
  }

  private async bind(): Promise<{ port: number }> {
    const { port, host = '0.0.0.0' } = this.parts;
    try {
      this.server.listen({ port, host });
      await once(this.server, 'listening');
    } catch (cause) {
      throw toListenFailure(cause, host, port);
    }
    // A failure to accept (too many open files) concerns that connection alone.
    this.server.on('error', (error) => this.parts.onRefused(messageOf(error), host));
    const address = this.server.address();
    return { port: typeof address === 'object' && address ? address.port : port };
  }

  /** Ends in `onConnection` or in `onFailed`, once. */
  dial(target: Target, onFailed: (failure: DialFailure) => void): void {
    let mismatch: string | undefined;
    const socket = tls.connect({
      ...this.context,
      host: target.host,
      port: target.port,
      rejectUnauthorized: true,
      // Names don't count. The key does, and is compared below; nothing may be thrown in here.
      checkServerIdentity: () => undefined,
    });
    this.track(socket);
    this.dialling.add(socket);
    let failure: Error | undefined;
    const overdue = setTimeout(() => socket.destroy(new Error(TIMED_OUT)), CONNECT_MS);
    const onClose = (): void => {
      clearTimeout(overdue);
      this.dialling.delete(socket);
      const reason = mismatch ?? explainFailure(failure);
      onFailed({ reason, isRefused: isRefusal(failure) });
    };
    const onError = (error: Error): void => {
      failure = error;
    };
    socket.on('error', onError);
    socket.on('close', onClose);
    socket.once('secureConnect', () => {
      const found = peerNodeOf(socket);
      if (found !== target.node) {
        mismatch = found ? `another node answers there: ${found}` : 'it has no identity';
        socket.destroy();
        return;
      }
      clearTimeout(overdue);
      this.dialling.delete(socket);
      socket.off('close', onClose);
      const { host } = target;
      this.parts.onConnection(socket, { kind: 'dialled', node: found, host, leaveGate: () => {} });
    });
  }

  /** Settles once the port is free and every socket is gone. */
  async close(): Promise<void> {
    this.isClosed = true;
    await this.listening?.catch(() => undefined);
    for (const socket of this.dialling) socket.destroy();
    const cut = setTimeout(() => {
      for (const socket of this.sockets) socket.destroy();
    }, CLOSE_MS);
    await Promise.all([
      ...[...this.sockets].map((socket) => new Promise((gone) => socket.once('close', gone))),
      this.server.listening && new Promise((resolve) => this.server.close(resolve)),
    ]);
    clearTimeout(cut);
  }

  private onKnock(socket: net.Socket): void {
    const address = addressOf(socket);
    this.track(socket);
    const leave = this.gate.enter(address ?? '');
    if (!leave) {
      this.parts.onRefused('too many connections wait to prove themselves', address);
      socket.destroy();
      return;
    }
    const name = nameOf(socket);
    this.leaveGate.set(name, leave);
    socket.once('close', () => {
      leave();
      this.leaveGate.delete(name);
    });
  }

  private onAccepted(socket: TLSSocket): void {
    const node = peerNodeOf(socket);
    const host = addressOf(socket);
    if (!node || !host || this.isClosed) {
      if (!this.isClosed) this.parts.onRefused('it has no identity', host);
      socket.on('error', () => undefined);
      socket.destroy();
      return;
    }
    const leaveGate = this.leaveGate.get(nameOf(socket)) ?? (() => {});
    this.parts.onConnection(socket, { kind: 'accepted', node, host, leaveGate });
  }

  private track(socket: net.Socket): void {
    this.sockets.add(socket);
    socket.once('close', () => this.sockets.delete(socket));
  }
}

/** Undefined once the socket is closed. */
const addressOf = (socket: net.Socket): string | undefined =>
  socket.remoteAddress?.replace(/^::ffff:/, '');

const nameOf = (socket: net.Socket): string => `${socket.remoteAddress} ${socket.remotePort}`;

function toListenFailure(cause: unknown, host: string, port: number): MeshError {
  if (codeOf(cause) === 'EADDRINUSE') {
    const sentence = `Another program listens on port ${port}. Choose another one with --link-port, or leave it at 0 to take any free one.`;
    return new MeshError('PORT_IN_USE', sentence, { cause });
  }
  const sentence = `This node cannot listen on ${host}, port ${port} (${messageOf(cause)}). Check --link-host and --link-port.`;
  return new MeshError('BAD_SETTING', sentence, { cause });
}
