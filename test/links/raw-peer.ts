/** Speaks to a link port frame by frame, or byte by byte, as a node never would. */
import type net from 'node:net';
import tls, { type ConnectionOptions, type SecureContextOptions, type TLSSocket } from 'node:tls';
import type { MeshCa } from '../../src/links/mesh-ca.ts';
import type { NodeIdentity } from '../../src/links/node-identity.ts';
import { secureOptions } from '../../src/links/tls.ts';
import { FrameReader } from '../../src/wire/frame-reader.ts';
import { encodeFrame, type Frame, PROTOCOL_VERSIONS, parseFrame } from '../../src/wire/wire.ts';
import { FACTS } from '../wire/samples.ts';
import { FIRST_BOOT, HOST } from './nodes.ts';

export class RawPeer {
  readonly socket: TLSSocket;
  readonly frames: Frame[] = [];
  readonly ended: Promise<{ code: string }>;
  private readonly reader = new FrameReader();
  private waiting: (() => void)[] = [];

  constructor(port: number, options: ConnectionOptions) {
    this.socket = tls.connect({
      host: HOST,
      port,
      rejectUnauthorized: false,
      checkServerIdentity: () => undefined,
      ...options,
    });
    let code = '';
    this.socket.on('error', (error: NodeJS.ErrnoException) => {
      code = error.code ?? error.message;
    });
    this.socket.on('data', (chunk: Buffer) => this.onData(chunk));
    this.ended = new Promise((resolve) => this.socket.once('close', () => resolve({ code })));
  }

  /** Settles with the frame; or undefined when the connection ended without one. */
  async next(kind: Frame['kind']): Promise<Frame | undefined> {
    const find = () => this.frames.find((frame) => frame.kind === kind);
    while (!find() && !this.socket.closed) {
      await Promise.race([this.ended, new Promise<void>((wake) => this.waiting.push(wake))]);
    }
    return find();
  }

  send(frame: Exclude<Frame, { kind: 'messages' }>): void {
    this.socket.write(encodeFrame(frame));
  }

  /** All that a handshake takes. */
  async greet(identity: NodeIdentity, change: Partial<Extract<Frame, { kind: 'hello' }>> = {}) {
    const facts = { ...FACTS, node: identity.node };
    this.send({ kind: 'hello', versions: PROTOCOL_VERSIONS, boot: FIRST_BOOT, facts, ...change });
    if ((await this.next('welcome')) === undefined) return false;
    this.send({ kind: 'welcome', version: PROTOCOL_VERSIONS.max });
    return true;
  }

  close(): void {
    this.socket.destroy();
  }

  private onData(chunk: Buffer): void {
    this.reader.push(chunk, (bytes) => {
      const frame = parseFrame(bytes);
      if (frame) this.frames.push(frame);
      return true;
    });
    const waiting = this.waiting;
    this.waiting = [];
    for (const wake of waiting) wake();
  }
}

export const asMember = (ca: MeshCa, identity: NodeIdentity): SecureContextOptions =>
  secureOptions(ca, identity);

/** A TLS server that is a member or not, to be dialled; says nothing after the handshake. */
export async function rawServer(options: tls.TlsOptions): Promise<{ port: number; close(): void }> {
  const sockets = new Set<net.Socket>();
  const server = tls.createServer(options, (socket) => socket.on('error', () => undefined));
  server.on('connection', (socket) => sockets.add(socket));
  server.on('tlsClientError', () => undefined);
  await new Promise<void>((ready) => server.listen(0, HOST, ready));
  const close = (): void => {
    server.close();
    for (const socket of sockets) socket.destroy();
  };
  return { port: (server.address() as net.AddressInfo).port, close };
}
