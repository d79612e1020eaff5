/**
 * Virtual time: a heap of things to do, ordered by time and then by when they were put in. What is
 * called off stays in the heap, empty, until its time has come.
 */
interface Entry {
  readonly at: number;
  readonly order: number;
  act: (() => void) | undefined;
}

export class EventQueue {
  private readonly heap: Entry[] = [];
  private order = 0;
  /** Milliseconds since the start of the run. */
  now = 0;
  processed = 0;

  /** Returns the way to call it off. */
  after(ms: number, act: () => void): () => void {
    const entry: Entry = { at: this.now + Math.max(0, ms), order: this.order++, act };
    this.push(entry);
    return () => {
      entry.act = undefined;
    };
  }

  /** Does what is due until then, or until `isWaiting` holds after an event; false: it does. */
  runUntil(end: number, isWaiting: () => boolean = () => false): boolean {
    for (let next = this.heap[0]; next && next.at <= end; next = this.heap[0]) {
      this.pop();
      const { act } = next;
      if (!act) continue;
      this.now = next.at;
      this.processed++;
      act();
      if (isWaiting()) return false;
    }
    this.now = end;
    return true;
  }

  private push(entry: Entry): void {
    const { heap } = this;
    let i = heap.length;
    while (i > 0) {
      const parent = (i - 1) >> 1;
      const above = heap[parent];
      if (!above || isBefore(above, entry)) break;
      heap[i] = above;
      i = parent;
    }
    heap[i] = entry;
  }

  private pop(): void {
    const { heap } = this;
    const last = heap.pop();
    if (!last || heap.length === 0) return;
    let i = 0;
    for (;;) {
      let child = 2 * i + 1;
      const left = heap[child];
      const right = heap[child + 1];
      if (!left) break;
      if (right && isBefore(right, left)) child++;
      const least = heap[child];
      if (!least || isBefore(last, least)) break;
      heap[i] = least;
      i = child;
    }
    heap[i] = last;
  }
}

const isBefore = (a: Entry, b: Entry): boolean =>
  a.at < b.at || (a.at === b.at && a.order < b.order);
