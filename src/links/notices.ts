/**
 * What is worth a line in the log, and how often it happened. The same line is told once a minute
 * at most: a peer that is refused dials again and again, and anybody can knock.
 */
import type { NodeId } from '../base/ids.ts';

export interface LinkNotice {
  /** warn: somebody should look at it. */
  readonly level: 'info' | 'warn';
  readonly text: string;
  readonly node?: NodeId | undefined;
  readonly address?: string | undefined;
}

const INTERVAL_MS = 60_000;
const MAX_REMEMBERED = 256;

export class Notices {
  readonly counts: Record<string, number> = {};
  private readonly tell: (notice: LinkNotice) => void;
  private readonly toldAt = new Map<string, number>();

  constructor(tell: (notice: LinkNotice) => void) {
    this.tell = tell;
  }

  count(kind: string): void {
    this.counts[kind] = (this.counts[kind] ?? 0) + 1;
  }

  note(notice: LinkNotice): void {
    const line = `${notice.text} ${notice.node} ${notice.address}`;
    const now = performance.now();
    const before = this.toldAt.get(line);
    if (before !== undefined && now - before < INTERVAL_MS) return;
    if (this.toldAt.size >= MAX_REMEMBERED) this.toldAt.clear();
    this.toldAt.set(line, now);
    this.tell(notice);
  }
}
