/**
 * Until when the attempt of a process may run, in memory that both of its threads see. The main one
 * writes it as it begins and ends an attempt; the guard reads it, and hears of a longer one from the
 * node itself, because the main thread may be busy for ever. Most attempts are over before there is
 * anything to tell the guard, and a line to it would cost them a wake of its thread.
 */

/** Milliseconds of a clock that all processes of a machine share, and that never goes back. */
export const monotonicMs = (): number => Number(process.hrtime.bigint() / 1_000_000n);

const [RUN, UNTIL] = [0, 1];
const NONE = 0n;

export class RunLease {
  readonly memory: SharedArrayBuffer;
  private readonly cells: BigInt64Array<SharedArrayBuffer>;

  constructor(memory = new SharedArrayBuffer(2 * BigInt64Array.BYTES_PER_ELEMENT)) {
    this.memory = memory;
    this.cells = new BigInt64Array(memory);
  }

  /** @param run its number, from 1 on @param untilMs undefined: as long as the node lives */
  begin(run: number, untilMs: number | undefined): void {
    // In this order: who sees the run finds its end, too.
    Atomics.store(this.cells, UNTIL, untilMs === undefined ? NONE : BigInt(Math.round(untilMs)));
    Atomics.store(this.cells, RUN, BigInt(run));
  }

  end(): void {
    Atomics.store(this.cells, RUN, NONE);
  }

  /** Undefined: none is here now. */
  get run(): number | undefined {
    return Number(Atomics.load(this.cells, RUN)) || undefined;
  }

  /** Of the run that was begun last. */
  get untilMs(): number | undefined {
    return Number(Atomics.load(this.cells, UNTIL)) || undefined;
  }
}
