/**
 * The real clocks. Monotonic time is the greater of two: the process clock is exact but stands
 * still while the machine sleeps, the time since boot goes on. Leases must not outlive a sleep.
 */
import os from 'node:os';
import { asMono, asWall } from '../base/instant.ts';
import type { Clock } from './ports.ts';

/** `os.uptime()` is coarse; only a difference beyond this is a sleep. */
const SUSPEND_MIN_MS = 1000;

export function createSystemClock(): Clock {
  const startedAt = performance.now();
  const bootedAt = os.uptime() * 1000;
  let suspendedMs = 0;
  let checkedAt = 0;
  return {
    now() {
      const running = performance.now() - startedAt;
      if (running - checkedAt >= 1000) {
        checkedAt = running;
        const behindMs = os.uptime() * 1000 - bootedAt - (running + suspendedMs);
        if (behindMs > SUSPEND_MIN_MS) suspendedMs += behindMs;
      }
      return { mono: asMono(running + suspendedMs), wall: asWall(Date.now()) };
    },
  };
}
