/**
 * The clocks of a simulated machine: one that only goes forward, a little too fast or too slow and
 * not at all while the machine is suspended with it, and the one on the wall, which jumps.
 */
import { asMono, asWall, type Now } from '../../src/base/instant.ts';
import type { EventQueue } from './event-queue.ts';

/** After its clock stood still a node may believe in leases that are long over. */
const DOUBT_MS = 15_000;

export class SimClock {
  private readonly events: EventQueue;
  private readonly rate: number;
  private readonly startMs: number;
  private lagMs = 0;
  private stoppedUntil = 0;
  private doubtUntil = -1;
  private wallOffsetMs = 0;

  constructor(events: EventQueue, rate: number, startMs: number) {
    this.events = events;
    this.rate = rate;
    this.startMs = startMs;
  }

  now(): Now {
    const { events, rate, startMs, lagMs, wallOffsetMs } = this;
    const mono = startMs + (events.now - lagMs) * rate;
    return { mono: asMono(mono), wall: asWall(1.7e12 + events.now + wallOffsetMs) };
  }

  /** A second standstill adds only what it lasts longer. */
  stop(until: number): void {
    this.lagMs += Math.max(0, until - Math.max(this.events.now, this.stoppedUntil));
    this.stoppedUntil = Math.max(this.stoppedUntil, until);
    this.doubtUntil = Math.max(this.doubtUntil, until + DOUBT_MS);
  }

  /** Perhaps before its time: it is behind by what it stood still, and never goes back. */
  goOn(): void {
    this.lagMs -= Math.max(0, this.stoppedUntil - this.events.now);
    this.stoppedUntil = Math.min(this.stoppedUntil, this.events.now);
  }

  jumpWall(ms: number): void {
    this.wallOffsetMs += ms;
  }

  get isBehind(): boolean {
    return this.events.now < this.doubtUntil;
  }
}
