/**
 * One client before one terminal. Two loops: what is shown is asked for as fast as the client says
 * that it has it, and what is typed goes on in order, one call at a time, again until it was taken.
 * While the node with the terminal cannot be asked both wait: either it is back soon, or the job
 * ends as lost.
 */
import type { RawData, WebSocket } from 'ws';
import { isFinalStatus } from '../../api/job-json.ts';
import { toProblem } from '../../api/problem.ts';
import { ACK_EVERY_BYTES, type TerminalNews } from '../../api/terminal-json.ts';
import { MeshError, messageOf } from '../../base/errors.ts';
import type { JobId } from '../../base/ids.ts';
import type { TerminalAsk, TerminalReply, TerminalSize } from '../../core/calls.ts';
import type { MeshService } from '../../node/service.ts';
import { type TerminalPlace, terminalPlace } from '../../node/terminal-calls.ts';
import { toJobJson } from '../job-view.ts';
import type { JobWatch } from '../job-watch.ts';

export interface TerminalSocketParts {
  readonly service: MeshService;
  readonly watch: JobWatch;
  readonly job: JobId;
  readonly session: string;
  readonly offset: number;
  readonly typed: number;
  readonly onFault: (fault: unknown, request: string) => void;
}

const READ_WAIT_MS = 10_000;
const AGAIN_MS = 200;
const END_WAIT_MS = 30_000;
const PING_MS = 15_000;
const STOP_GRACE_MS = 300;
const MAX_TYPED_BYTES = 32 * 1024;
/** More, and the client is read no further. */
const MAX_PENDING_BYTES = 256 * 1024;
const MAX_SIDE = 1000;

const CLOSE = { normal: 1000, goingAway: 1001, failed: 1011, takenOver: 4001 } as const;

export class TerminalSocket {
  private readonly client: WebSocket;
  private readonly parts: TerminalSocketParts;
  private readonly gone = new AbortController();
  private readonly timer: NodeJS.Timeout;
  private isHeard = true;
  /** Once the program runs. */
  private current: TerminalPlace | undefined;
  /** Of what is shown: sent, and had by the client. */
  private sent: number;
  private had: number;
  private typed: number;
  private pending = Buffer.alloc(0);
  private size: TerminalSize | undefined;
  private isTyping = false;
  private onProgress: () => void = () => {};

  constructor(client: WebSocket, parts: TerminalSocketParts) {
    this.client = client;
    this.parts = parts;
    this.sent = parts.offset;
    this.had = parts.offset;
    this.typed = parts.typed;
    client.on('message', (data, isBinary) => this.onMessage(data, isBinary));
    client.on('pong', () => {
      this.isHeard = true;
    });
    // The close that follows says it.
    client.on('error', () => undefined);
    client.on('close', () => this.onClosed());
    this.timer = setInterval(() => this.ping(), PING_MS);
  }

  start(): void {
    this.show().catch((failure: unknown) => {
      if (this.gone.signal.aborted) return;
      const isKnown = failure instanceof MeshError;
      if (!isKnown) this.parts.onFault(failure, 'terminal');
      const problem = isKnown ? failure : new MeshError('INTERNAL', messageOf(failure));
      this.close({ type: 'error', problem: toProblem(problem) }, CLOSE.failed);
    });
  }

  stop(): void {
    this.client.close(CLOSE.goingAway, 'the node stops');
    setTimeout(() => this.client.terminate(), STOP_GRACE_MS).unref();
  }

  private onClosed(): void {
    clearInterval(this.timer);
    this.gone.abort();
    this.onProgress();
  }

  private ping(): void {
    if (!this.isHeard) this.client.terminate();
    this.isHeard = false;
    this.client.ping();
  }

  private send(news: TerminalNews): void {
    this.client.send(JSON.stringify(news));
  }

  private close(news: TerminalNews, code: number): void {
    this.send(news);
    this.client.close(code);
  }

  // -------------------------------------------------------------- shown

  private async show(): Promise<void> {
    const { signal } = this.gone;
    while (!signal.aborted) {
      const place = await this.place();
      if (!place) return;
      if (!this.current) this.send({ type: 'ready', node_id: place.executor });
      this.current = place;
      void this.type();
      const reply = await this.ask({ tag: 'read', offset: this.sent, waitMs: READ_WAIT_MS }, place);
      if (signal.aborted) return;
      if (reply?.tag === 'takenOver') {
        this.close({ type: 'taken_over' }, CLOSE.takenOver);
        return;
      }
      if (reply?.tag === 'shown') await this.pass(reply);
      else await this.pause();
    }
  }

  private async pass(reply: Extract<TerminalReply, { tag: 'shown' }>): Promise<void> {
    const { bytes, offset, isEnd } = reply;
    if (offset > this.sent) this.send({ type: 'gap', offset });
    this.sent = offset + bytes.length;
    if (bytes.length > 0) this.client.send(bytes);
    const { job, watch } = this.parts;
    if (isEnd) await watch.untilFinal(job, END_WAIT_MS, this.gone.signal);
    while (this.sent - this.had > 2 * ACK_EVERY_BYTES && !this.gone.signal.aborted)
      await new Promise<void>((resolve) => {
        this.onProgress = resolve;
      });
  }

  /** Undefined: it is over, and the client was told. */
  private async place(): Promise<TerminalPlace | undefined> {
    const { service, job } = this.parts;
    while (!this.gone.signal.aborted) {
      const live = await service.getJob(job).catch(passing);
      if (live && isFinalStatus(live.status)) {
        this.close({ type: 'end', job: toJobJson(live) }, CLOSE.normal);
        return undefined;
      }
      const place = live && terminalPlace(live);
      if (place) return place;
      await this.pause();
    }
    return undefined;
  }

  /** Undefined: it cannot be asked now. */
  private ask(ask: TerminalAsk, place: TerminalPlace): Promise<TerminalReply | undefined> {
    const { service, session } = this.parts;
    return service.askTerminal(place, session, { ask, signal: this.gone.signal }).catch(passing);
  }

  private pause(): Promise<void> {
    return new Promise((resolve) => {
      const { signal } = this.gone;
      const settle = (): void => {
        clearTimeout(timer);
        signal.removeEventListener('abort', settle);
        resolve();
      };
      const timer = setTimeout(settle, AGAIN_MS);
      signal.addEventListener('abort', settle, { once: true });
    });
  }

  // -------------------------------------------------------------- typed

  private onMessage(data: RawData, isBinary: boolean): void {
    const bytes = Buffer.isBuffer(data)
      ? data
      : Buffer.concat(Array.isArray(data) ? data : [Buffer.from(data)]);
    if (isBinary) {
      this.pending = Buffer.concat([this.pending, bytes]);
      if (this.pending.length > MAX_PENDING_BYTES) this.client.pause();
    } else this.onOrder(bytes.toString());
    if (this.current) void this.type();
  }

  private onOrder(text: string): void {
    const order = parseOrder(text);
    if (!order) {
      const reason = 'A text message must be a resize or say what was shown.';
      const problem = toProblem(new MeshError('BAD_REQUEST', reason));
      this.close({ type: 'error', problem }, CLOSE.failed);
    } else if (order.type === 'resize') this.size = order;
    else {
      this.had = Math.min(this.sent, Math.max(this.had, order.offset));
      this.onProgress();
    }
  }

  private async type(): Promise<void> {
    if (this.isTyping) return;
    this.isTyping = true;
    try {
      while ((this.pending.length > 0 || this.size) && !this.gone.signal.aborted)
        await this.typeSome();
    } finally {
      this.isTyping = false;
    }
  }

  private async typeSome(): Promise<void> {
    const { size } = this;
    const bytes = this.pending.subarray(0, MAX_TYPED_BYTES);
    const { current } = this;
    const write = { tag: 'write', offset: this.typed, bytes, size } as const;
    const reply = current && (await this.ask(write, current));
    if (reply?.tag !== 'taken') {
      await this.pause();
      return;
    }
    if (this.size === size) this.size = undefined;
    const count = Math.max(0, Math.min(bytes.length, reply.offset - this.typed));
    this.typed += count;
    this.pending = this.pending.subarray(count);
    if (this.pending.length <= MAX_PENDING_BYTES) this.client.resume();
    if (bytes.length > 0 && this.client.readyState === this.client.OPEN)
      this.send({ type: 'taken', offset: this.typed });
  }
}

/** What may be otherwise in a moment is no end. */
function passing(failure: unknown): undefined {
  if (failure instanceof MeshError && failure.retryable) return undefined;
  throw failure;
}

type Order =
  | ({ readonly type: 'resize' } & TerminalSize)
  | { readonly type: 'shown'; readonly offset: number };

function parseOrder(text: string): Order | undefined {
  let value: Record<string, unknown>;
  try {
    value = Object(JSON.parse(text));
  } catch {
    return undefined;
  }
  const { type, columns, rows, offset } = value;
  if (type === 'shown' && isCount(offset)) return { type, offset };
  if (type !== 'resize' || !isCount(columns) || !isCount(rows)) return undefined;
  const isSize = columns > 0 && rows > 0 && columns <= MAX_SIDE && rows <= MAX_SIDE;
  return isSize ? { type, columns, rows } : undefined;
}

const isCount = (value: unknown): value is number =>
  Number.isSafeInteger(value) && Number(value) >= 0;
