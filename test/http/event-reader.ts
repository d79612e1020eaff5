/** Reads server-sent events one by one, as they came. */
import assert from 'node:assert/strict';

export interface SentEvent {
  readonly event: string;
  readonly id: string;
  readonly data: Record<string, unknown>;
}

export class EventReader {
  readonly status: number;
  readonly type: string | null;
  /** Comments seen: heartbeats. */
  comments = 0;
  private readonly reader: ReadableStreamDefaultReader<Uint8Array>;
  private readonly decoder = new TextDecoder();
  private text = '';

  private constructor(response: Response) {
    this.status = response.status;
    this.type = response.headers.get('content-type');
    this.reader = (response.body ?? assert.fail('no body')).getReader();
  }

  static async open(url: string, headers: Record<string, string> = {}): Promise<EventReader> {
    return new EventReader(await fetch(url, { headers }));
  }

  /** Undefined: the stream has ended in order. */
  async next(): Promise<SentEvent | undefined> {
    for (;;) {
      const end = this.text.indexOf('\n\n');
      if (end >= 0) {
        const block = this.text.slice(0, end);
        this.text = this.text.slice(end + 2);
        if (!block.startsWith(':')) return parse(block);
        this.comments += 1;
        continue;
      }
      const { value, done } = await this.reader.read();
      if (done) return undefined;
      this.text += this.decoder.decode(value, { stream: true });
    }
  }

  /** The next one of this name. */
  async until(event: string): Promise<SentEvent> {
    for (;;) {
      const next = await this.next();
      assert.ok(next, `the stream ended before ${event}`);
      if (next.event === event) return next;
    }
  }

  async rest(): Promise<SentEvent[]> {
    const events: SentEvent[] = [];
    for (let next = await this.next(); next; next = await this.next()) events.push(next);
    return events;
  }

  close(): Promise<void> {
    return this.reader.cancel();
  }
}

function parse(block: string): SentEvent {
  const field = (name: string): string =>
    block
      .split('\n')
      .find((line) => line.startsWith(`${name}: `))
      ?.slice(name.length + 2) ?? '';
  return { event: field('event'), id: field('id'), data: JSON.parse(field('data')) };
}

export function bytesOf({ data }: SentEvent): Buffer {
  const { text, base64 } = data as { text?: string; base64?: string };
  return base64 === undefined ? Buffer.from(text ?? '') : Buffer.from(base64, 'base64');
}
