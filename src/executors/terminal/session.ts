/**
 * One terminal with the program in it, and the client that has it: what is typed comes in by calls
 * that are numbered by their bytes, so one that is repeated is taken once; what it shows is waited
 * for. A client that asks under another session takes the terminal over, and the one before is told.
 *
 * It ends with its program, when nobody has asked for what it shows for 30 s, or when nothing has
 * been typed for the idle time. A terminal that nobody looks at is worth nothing, and it is never
 * started again.
 */
import type { IPty } from '@lydell/node-pty';
import type { TerminalAsk, TerminalReply } from '../../core/calls.ts';
import { Scrollback } from './scrollback.ts';

const READ_BYTES = 64 * 1024;
const MAX_WAIT_MS = 20_000;
/** A client whose connection broke comes back within this. */
const ABSENT_MS = 30_000;
const LOOK_MS = 1000;

export type Abandoned = 'absent' | 'idle';

export interface SessionOptions {
  readonly idleMs: number;
  readonly absentMs?: number;
  /** To the transcript; false: wait for `drained`. */
  readonly keep: (bytes: Buffer) => boolean;
  readonly onAbandoned: (why: Abandoned) => void;
}

export class TerminalSession {
  private readonly pty: IPty;
  private readonly options: SessionOptions;
  private readonly shown = new Scrollback();
  private readonly timer: NodeJS.Timeout;
  private readonly earlier = new Set<string>();
  private session: string | undefined;
  private typedBytes = 0;
  private typedAt = performance.now();
  private seenAt = performance.now();
  private readers = 0;
  private isOver = false;
  private isAbandoned = false;
  private isPaused = false;
  private isFileBusy = false;
  private waiting: (() => void)[] = [];

  constructor(pty: IPty, options: SessionOptions) {
    this.pty = pty;
    this.options = options;
    // Raw bytes: a character cut in two by a read must come out whole at the other end.
    pty.onData((data: string | Buffer) => this.onShown(Buffer.from(data as string)));
    this.timer = setInterval(() => this.look(), LOOK_MS);
  }

  private onShown(bytes: Buffer): void {
    this.isFileBusy = !this.options.keep(bytes);
    this.shown.add(bytes);
    this.adjust();
    this.wake();
  }

  drained(): void {
    this.isFileBusy = false;
    this.adjust();
  }

  /** The program waits while its client, or the disk, is behind. */
  private adjust(): void {
    const isFull = this.shown.isFull || this.isFileBusy;
    if (isFull === this.isPaused || this.isOver) return;
    this.isPaused = isFull;
    if (isFull) this.pty.pause();
    else this.pty.resume();
  }

  /** Nothing more is shown: who waits gets the rest and the end. */
  over(): void {
    this.isOver = true;
    clearInterval(this.timer);
    this.wake();
  }

  async answer(session: string, ask: TerminalAsk, signal: AbortSignal): Promise<TerminalReply> {
    if (!this.admit(session)) return { tag: 'takenOver' };
    return ask.tag === 'write' ? this.write(ask) : this.read(session, ask, signal);
  }

  private admit(session: string): boolean {
    if (this.session === session) return true;
    if (this.earlier.has(session)) return false;
    if (this.session !== undefined) this.earlier.add(this.session);
    this.session = session;
    this.typedBytes = 0;
    this.wake();
    return true;
  }

  private write({ offset, bytes, size }: Extract<TerminalAsk, { tag: 'write' }>): TerminalReply {
    this.seenAt = performance.now();
    const fresh = bytes.subarray(Math.max(0, this.typedBytes - offset));
    if (offset <= this.typedBytes && !this.isOver) {
      if (size) this.pty.resize(size.columns, size.rows);
      if (fresh.length > 0) {
        this.typedAt = performance.now();
        // The types know texts only; bytes are written as they are.
        this.pty.write(Buffer.from(fresh) as unknown as string);
        this.typedBytes += fresh.length;
      }
    }
    return { tag: 'taken', offset: this.typedBytes };
  }

  private async read(
    session: string,
    { offset, waitMs }: Extract<TerminalAsk, { tag: 'read' }>,
    signal: AbortSignal,
  ): Promise<TerminalReply> {
    this.readers += 1;
    try {
      this.shown.see(offset);
      this.adjust();
      const deadline = performance.now() + Math.min(waitMs, MAX_WAIT_MS);
      while (this.shown.endOffset <= offset && !this.isOver && !signal.aborted) {
        if (performance.now() >= deadline || this.session !== session) break;
        await this.change(deadline - performance.now(), signal);
      }
      if (this.session !== session) return { tag: 'takenOver' };
      const { offset: from, bytes } = this.shown.read(offset, READ_BYTES);
      const isEnd = this.isOver && from + bytes.length === this.shown.endOffset;
      return { tag: 'shown', bytes, offset: from, isEnd };
    } finally {
      this.readers -= 1;
      this.seenAt = performance.now();
    }
  }

  private change(waitMs: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const settle = (): void => {
        clearTimeout(timer);
        signal.removeEventListener('abort', settle);
        resolve();
      };
      const timer = setTimeout(settle, waitMs);
      signal.addEventListener('abort', settle, { once: true });
      this.waiting.push(settle);
    });
  }

  private wake(): void {
    const { waiting } = this;
    this.waiting = [];
    for (const settle of waiting) settle();
  }

  private look(): void {
    if (this.isAbandoned) return;
    const now = performance.now();
    const { idleMs, absentMs = ABSENT_MS, onAbandoned } = this.options;
    const isAbsent = this.readers === 0 && now - this.seenAt > absentMs;
    this.isAbandoned = isAbsent || now - this.typedAt > idleMs;
    if (this.isAbandoned) onAbandoned(isAbsent ? 'absent' : 'idle');
  }
}
