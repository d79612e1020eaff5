/**
 * One TLS connection as a pair of streams of frames. Knows nothing of peers or handshakes.
 *
 * What is sent in one callback leaves in as few writes as possible, at the end of that callback:
 * one write per message costs more than twice as much. Both directions are bounded: a peer that
 * reads too slowly, or sends what cannot be read, loses the connection.
 */
import type { TLSSocket } from 'node:tls';
import { FrameReader } from '../wire/frame-reader.ts';
import { encodeFrame, type Frame, parseFrame } from '../wire/wire.ts';
import { explainFailure } from './tls.ts';

/** Small frames are joined up to this. */
const WRITE_BYTES = 64 * 1024;
/** What may wait for a slow peer. */
export const MAX_UNSENT_BYTES = 16 * 1024 * 1024;
/** For the last frame to leave; after it the connection is cut. */
const LINGER_MS = 500;

export interface ConnectionHandlers {
  onFrame(frame: Frame): void;
  /** The bytes could not be read; the connection is closed with a reason right after. */
  onMalformed(): void;
  /** Once. Nothing comes after it. */
  onClosed(end: ConnectionEnd): void;
}

export interface ConnectionEnd {
  /** A phrase, for the log and for users. */
  readonly reason: string;
  /** Who gave the reason; nobody: the connection was cut. */
  readonly by: 'self' | 'peer' | 'nobody';
}

export class Connection {
  private readonly socket: TLSSocket;
  private handlers: ConnectionHandlers;
  private readonly reader = new FrameReader();
  private queue: Uint8Array[] = [];
  private queuedBytes = 0;
  private isFlushPlanned = false;
  private isClosed = false;
  private failure: Error | undefined;
  private waiting: (() => void)[] = [];

  constructor(socket: TLSSocket, handlers: ConnectionHandlers) {
    this.socket = socket;
    this.handlers = handlers;
    socket.setNoDelay(true);
    socket.on('data', (chunk: Buffer) => this.onData(chunk));
    socket.on('drain', () => this.wake());
    socket.on('error', (error) => {
      this.failure = error;
    });
    socket.on('end', () => this.onCut());
    socket.on('close', () => this.onCut());
  }

  /** From now on somebody else takes what comes. */
  handOver(handlers: ConnectionHandlers): void {
    this.handlers = handlers;
  }

  /** @param bytes of frames, each with its length; what follows in the same callback follows on the wire */
  send(bytes: Uint8Array): void {
    if (this.isClosed) return;
    this.queue.push(bytes);
    this.queuedBytes += bytes.length;
    if (this.unsentBytes > MAX_UNSENT_BYTES) {
      const megabytes = MAX_UNSENT_BYTES / 1024 / 1024;
      this.close(`it reads too slowly: more than ${megabytes} MiB wait to be sent`);
    } else if (this.queuedBytes >= WRITE_BYTES) {
      this.flush();
    } else if (!this.isFlushPlanned) {
      this.isFlushPlanned = true;
      process.nextTick(() => {
        this.isFlushPlanned = false;
        this.flush();
      });
    }
  }

  get unsentBytes(): number {
    return this.socket.writableLength + this.queuedBytes;
  }

  /** Settles when what was sent has left, or the connection has ended. */
  whenSent(): Promise<void> {
    this.flush();
    if (this.isClosed || this.socket.writableLength === 0) return Promise.resolve();
    return new Promise((resolve) => this.waiting.push(resolve));
  }

  /** Tells the peer why, after all that was sent before. `onClosed` is called before it returns. */
  close(reason: string): void {
    if (this.isClosed) return;
    this.queue.push(encodeFrame({ kind: 'close', reason }));
    this.flush();
    this.finish({ reason, by: 'self' });
    this.endSocket();
  }

  private flush(): void {
    if (this.isClosed || this.queue.length === 0) return;
    const queue = this.queue;
    this.queue = [];
    this.queuedBytes = 0;
    for (const bytes of joinSmall(queue)) this.socket.write(bytes);
  }

  private onData(chunk: Buffer): void {
    if (this.isClosed) return;
    const isReadable = this.reader.push(chunk, (bytes) => this.onFrameBytes(bytes));
    if (!isReadable) this.onMalformed();
  }

  private onFrameBytes(bytes: Uint8Array): boolean {
    const frame = parseFrame(bytes);
    if (!frame) this.onMalformed();
    else if (frame.kind === 'close') {
      this.finish({ reason: frame.reason, by: 'peer' });
      this.endSocket();
    } else this.handlers.onFrame(frame);
    return !this.isClosed;
  }

  private onMalformed(): void {
    this.handlers.onMalformed();
    this.close('it sent what is not of the protocol');
  }

  private onCut(): void {
    this.finish({ reason: explainFailure(this.failure), by: 'nobody' });
  }

  private endSocket(): void {
    this.socket.end();
    const cut = setTimeout(() => this.socket.destroy(), LINGER_MS);
    this.socket.once('close', () => clearTimeout(cut));
  }

  private finish(end: ConnectionEnd): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.queue = [];
    this.queuedBytes = 0;
    this.wake();
    this.handlers.onClosed(end);
  }

  private wake(): void {
    const waiting = this.waiting;
    this.waiting = [];
    for (const resolve of waiting) resolve();
  }
}

/** Neighbours that fit into one write become one; a large one stays as it is, uncopied. */
function* joinSmall(queue: readonly Uint8Array[]): Generator<Uint8Array> {
  let batch: Uint8Array[] = [];
  let batchBytes = 0;
  for (const bytes of queue) {
    if (batch.length > 0 && batchBytes + bytes.length > WRITE_BYTES) {
      yield join(batch);
      batch = [];
      batchBytes = 0;
    }
    batch.push(bytes);
    batchBytes += bytes.length;
  }
  if (batch.length > 0) yield join(batch);
}

function join(batch: readonly Uint8Array[]): Uint8Array {
  const [only] = batch;
  return batch.length === 1 && only ? only : Buffer.concat(batch);
}
