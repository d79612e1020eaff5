/**
 * This terminal as the client of one in the mesh: every key goes there, what it shows comes here.
 * A connection that breaks is made again, at another node if need be, behind the last byte shown
 * and with the keys that were not taken; only then Ctrl-C is this program's again.
 */
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { type RawData, WebSocket } from 'ws';
import { PATHS } from '../api/api.ts';
import type { JobJson } from '../api/job-json.ts';
import { fromProblem } from '../api/problem.ts';
import { ACK_EVERY_BYTES, type TerminalNews, type TerminalOrder } from '../api/terminal-json.ts';
import { MeshError } from '../base/errors.ts';
import type { Endpoint } from './node-connection.ts';

export interface Seat {
  readonly job: string;
  readonly endpoints: () => readonly Endpoint[];
  readonly input: NodeJS.ReadStream;
  readonly output: NodeJS.WriteStream;
  readonly onNotice: (sentence: string) => void;
}

const FIRST_PAUSE_MS = 100;
const MAX_PAUSE_MS = 2000;
/** The mesh keeps the terminal so long without its client. */
const PATIENCE_MS = 30_000;
const SILENCE_MS = 45_000;
const CTRL_C = 3;

/** How a connection went. */
type Outcome =
  | Exclude<Rising, { tag: 'left' }>
  | { readonly tag: 'failed'; readonly failure: MeshError }
  | { readonly tag: 'broken' };

/** Why somebody gets up: it has ended, another client has it, or they left while it was away. */
export type Rising =
  | { readonly tag: 'ended'; readonly job: JobJson }
  | { readonly tag: 'takenOver' }
  | { readonly tag: 'left' };

export async function sitAtTerminal(seat: Seat): Promise<Rising> {
  const session = new TerminalClient(seat);
  session.sit();
  try {
    return await session.follow();
  } finally {
    session.rise();
  }
}

class TerminalClient {
  private readonly seat: Seat;
  private readonly session = randomUUID();
  private readonly left = new AbortController();
  private socket: WebSocket | undefined;
  private isReady = false;
  private lastHeardAt = performance.now();
  private shown = 0;
  private told = 0;
  /** Typed and not taken yet; the first byte is number `taken`. */
  private pending = Buffer.alloc(0);
  private taken = 0;

  constructor(seat: Seat) {
    this.seat = seat;
  }

  sit(): void {
    const { input, output } = this.seat;
    if (input.isTTY) input.setRawMode(true);
    input.on('data', this.onKeys).resume();
    output.on('resize', this.onResize);
  }

  rise(): void {
    const { input, output } = this.seat;
    input.off('data', this.onKeys).pause();
    output.off('resize', this.onResize);
    if (input.isTTY) input.setRawMode(false);
    this.socket?.terminate();
  }

  async follow(): Promise<Rising> {
    let pauseMs = FIRST_PAUSE_MS;
    for (let round = 0; !this.left.signal.aborted; round++) {
      const endpoints = this.seat.endpoints();
      const endpoint = endpoints[round % endpoints.length];
      if (!endpoint) break;
      const outcome = await this.connectTo(endpoint);
      if (outcome.tag === 'ended') return outcome;
      if (outcome.tag === 'takenOver') {
        this.seat.onNotice('another client has this terminal now');
        return outcome;
      }
      const isOver = performance.now() - this.lastHeardAt > PATIENCE_MS;
      if (outcome.tag === 'failed' && (isOver || !outcome.failure.retryable)) throw outcome.failure;
      if (isOver) throw new MeshError('NODE_UNREACHABLE', 'No node answers for this terminal.');
      if (this.isReady) this.seat.onNotice('the connection broke; trying again (Ctrl-C leaves)');
      this.isReady = false;
      await sleep(pauseMs, undefined, { signal: this.left.signal }).catch(() => undefined);
      pauseMs = Math.min(MAX_PAUSE_MS, pauseMs * 2);
    }
    return { tag: 'left' };
  }

  private async connectTo({ url, token, ca }: Endpoint): Promise<Outcome> {
    const { job } = this.seat;
    const path = PATHS.terminal.replace(':id', encodeURIComponent(job));
    const query = `session=${this.session}&offset=${this.shown}&typed=${this.taken}`;
    const socket = new WebSocket(
      `${url.replace(/^http/, 'ws').replace(/\/$/, '')}${path}?${query}`,
      {
        headers: token === undefined ? {} : { Authorization: `Bearer ${token}` },
        ...(ca !== undefined && { ca }),
        handshakeTimeout: 5000,
      },
    );
    this.socket = socket;
    let outcome: Outcome = { tag: 'broken' };
    const silence = setTimeout(() => socket.terminate(), SILENCE_MS);
    const onHeard = (): void => {
      silence.refresh();
      this.lastHeardAt = performance.now();
    };
    // The close that follows ends it.
    socket.on('error', () => undefined);
    socket.on('ping', onHeard);
    socket.on('unexpected-response', (_request, response) => {
      void refusalOf(response).then((failure) => {
        if (failure) outcome = { tag: 'failed', failure };
        socket.terminate();
      });
    });
    socket.on('open', () => this.onOpen());
    socket.on('message', (data, isBinary) => {
      onHeard();
      if (isBinary) void this.show(toBuffer(data));
      else outcome = this.onNews(JSON.parse(toBuffer(data).toString())) ?? outcome;
    });
    if (socket.readyState !== WebSocket.CLOSED) await once(socket, 'close');
    clearTimeout(silence);
    return outcome;
  }

  private onOpen(): void {
    this.told = this.shown;
    this.onResize();
    if (this.pending.length > 0) this.socket?.send(this.pending);
  }

  private onNews(news: TerminalNews): Outcome | undefined {
    switch (news.type) {
      case 'ready':
        this.isReady = true;
        return undefined;
      case 'taken':
        this.pending = this.pending.subarray(Math.max(0, news.offset - this.taken));
        this.taken = Math.max(this.taken, news.offset);
        return undefined;
      case 'gap':
        this.shown = news.offset;
        return undefined;
      case 'taken_over':
        return { tag: 'takenOver' };
      case 'end':
        return { tag: 'ended', job: news.job };
      case 'error': {
        const failure = fromProblem(news.problem);
        return failure && { tag: 'failed', failure };
      }
    }
  }

  private async show(bytes: Buffer): Promise<void> {
    const { output } = this.seat;
    const { socket } = this;
    this.shown += bytes.length;
    const { shown } = this;
    if (!output.write(bytes)) await once(output, 'drain');
    if (shown - this.told < ACK_EVERY_BYTES || socket !== this.socket) return;
    this.told = shown;
    this.order({ type: 'shown', offset: shown });
  }

  private readonly onKeys = (keys: Buffer): void => {
    if (!this.isReady && keys.includes(CTRL_C)) {
      this.left.abort();
      this.socket?.terminate();
      return;
    }
    this.pending = Buffer.concat([this.pending, keys]);
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(keys);
  };

  private readonly onResize = (): void => {
    const { columns = 80, rows = 24 } = this.seat.output;
    this.order({ type: 'resize', columns, rows });
  };

  private order(order: TerminalOrder): void {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(order));
  }
}

const toBuffer = (data: RawData): Buffer =>
  Buffer.isBuffer(data) ? data : Buffer.concat(Array.isArray(data) ? data : [Buffer.from(data)]);

/** What a node says instead of becoming a WebSocket. */
async function refusalOf(response: AsyncIterable<Buffer>): Promise<MeshError | undefined> {
  const parts: Buffer[] = [];
  try {
    for await (const part of response) parts.push(part);
    return fromProblem(JSON.parse(Buffer.concat(parts).toString()));
  } catch {
    // It is no problem of ours: the next node is asked.
    return undefined;
  }
}
