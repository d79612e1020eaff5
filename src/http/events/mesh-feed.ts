/**
 * What happens in the mesh as this node sees it: changes of the jobs that it decides about or
 * runs, and of the nodes that it knows. A client that takes the events too slowly loses the oldest
 * of those that wait, and is told how many.
 */
import type { MeshEvent } from '../../core/effects.ts';
import { fenceText, ownerOf } from '../../core/record.ts';
import type { MeshService } from '../../node/service.ts';
import { eventText, HEARTBEAT } from './event-text.ts';

const MAX_WAITING = 256;

class Listener {
  private readonly waiting: string[] = [];
  private lostCount = 0;
  private onWake: (() => void) | undefined;

  add(text: string): void {
    this.waiting.push(text);
    if (this.waiting.length > MAX_WAITING) {
      this.waiting.shift();
      this.lostCount += 1;
    }
    this.wake();
  }

  beat(): void {
    if (this.waiting.length === 0) this.add(HEARTBEAT);
  }

  wake(): void {
    const { onWake } = this;
    this.onWake = undefined;
    onWake?.();
  }

  next(): string | undefined {
    const { lostCount } = this;
    this.lostCount = 0;
    return lostCount > 0
      ? eventText('lost', JSON.stringify({ count: lostCount }))
      : this.waiting.shift();
  }

  woken(): Promise<void> {
    return new Promise((resolve) => {
      this.onWake = resolve;
    });
  }
}

export class MeshFeed {
  private readonly service: MeshService;
  private readonly heartbeatMs: number;
  private readonly listeners = new Set<Listener>();
  private unsubscribe: (() => void) | undefined;
  private timer: NodeJS.Timeout | undefined;

  constructor(service: MeshService, heartbeatMs: number) {
    this.service = service;
    this.heartbeatMs = heartbeatMs;
  }

  start(): void {
    this.unsubscribe ??= this.service.subscribe((event) => {
      if (this.listeners.size === 0) return;
      const text = textOf(event);
      if (text !== undefined) for (const listener of this.listeners) listener.add(text);
    });
    this.timer ??= setInterval(() => {
      for (const listener of this.listeners) listener.beat();
    }, this.heartbeatMs).unref();
  }

  stop(): void {
    this.unsubscribe?.();
    this.unsubscribe = undefined;
    clearInterval(this.timer);
    this.timer = undefined;
  }

  listen(signal: AbortSignal, onCut: () => void): ReadableStream<Uint8Array> {
    const listener = new Listener();
    const { node, name } = this.service.facts;
    listener.add(eventText('hello', JSON.stringify({ node_id: node, name })));
    this.listeners.add(listener);
    const leave = (): void => {
      this.listeners.delete(listener);
      listener.wake();
    };
    signal.addEventListener('abort', leave, { once: true });
    const encoder = new TextEncoder();
    const pull = async (controller: ReadableStreamDefaultController<Uint8Array>): Promise<void> => {
      for (;;) {
        if (signal.aborted) return onCut();
        const text = listener.next();
        if (text !== undefined) return controller.enqueue(encoder.encode(text));
        await listener.woken();
      }
    };
    return new ReadableStream({ pull }, { highWaterMark: 0 });
  }
}

/** Undefined: it is of no use to who looks at a mesh. */
function textOf(event: MeshEvent): string | undefined {
  switch (event.kind) {
    case 'jobChanged': {
      const { job, status, note, header } = event;
      return told('job', { job_id: job, status, note, owner_node_id: ownerOf(header) });
    }
    case 'memberChanged': {
      const { node, name, state, reason } = event;
      return told('node', { node_id: node, name, state, reason });
    }
    case 'attemptStarted':
      return told('attempt', { job_id: event.job, fence: fenceText(event.fence) });
    case 'attemptProgressed': {
      const { job, progress } = event;
      const { percent, message } = progress;
      return told('progress', { job_id: job, progress: percent, progress_message: message });
    }
    case 'conflictFound': {
      const { job, tag, note } = event.conflict;
      return told('conflict', { job_id: job, kind: tag, note });
    }
    default:
      return undefined;
  }
}

const told = (name: string, value: unknown): string => eventText(name, JSON.stringify(value));
