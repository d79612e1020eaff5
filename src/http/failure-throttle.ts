/** Counts wrong tokens by where they come from, so that none can be found by trying. */

const MAX_FAILURES = 10;
const FORGIVEN_EVERY_MS = 6000;
const MAX_SOURCES = 10_000;

export class FailureThrottle {
  private readonly now: () => number;
  /** Oldest first: the one that failed last is the last. */
  private readonly failures = new Map<string, { count: number; at: number }>();

  /** @param now milliseconds, monotonic */
  constructor(now: () => number) {
    this.now = now;
  }

  isBlocked(source: string): boolean {
    // Part of the newest is forgiven already by the time the next one comes.
    return this.countOf(source) > MAX_FAILURES - 1;
  }

  note(source: string): void {
    const count = Math.min(MAX_FAILURES, this.countOf(source) + 1);
    this.failures.delete(source);
    this.failures.set(source, { count, at: this.now() });
    const [oldest] = this.failures.keys();
    if (this.failures.size > MAX_SOURCES && oldest !== undefined) this.failures.delete(oldest);
  }

  private countOf(source: string): number {
    const noted = this.failures.get(source);
    if (!noted) return 0;
    const forgiven = (this.now() - noted.at) / FORGIVEN_EVERY_MS;
    return Math.max(0, noted.count - forgiven);
  }
}

/** One household has a whole /64 of IPv6 addresses to try from. */
export const sourceOf = (address: string): string =>
  address.includes(':') && !address.includes('.')
    ? `${address.split(':').slice(0, 4).join(':')}::/64`
    : address;
