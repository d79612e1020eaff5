/**
 * Two clocks, never mixed. Decisions about waiting, leases and liveness use the monotonic one;
 * what users read and what is compared between machines' calendars uses the wall clock, and no
 * decision that could lose a job depends on it.
 */

declare const brand: unique symbol;

/** Milliseconds on this process's monotonic clock, time spent suspended included. */
export type MonoMs = number & { readonly [brand]: 'MonoMs' };
/** Milliseconds since 1970-01-01T00:00Z by this machine's calendar. */
export type WallMs = number & { readonly [brand]: 'WallMs' };

/** One reading of both clocks. */
export interface Now {
  readonly mono: MonoMs;
  readonly wall: WallMs;
}

export const asMono = (ms: number): MonoMs => ms as MonoMs;
export const asWall = (ms: number): WallMs => ms as WallMs;
export const afterMono = (at: MonoMs, ms: number): MonoMs => (at + ms) as MonoMs;
export const NEVER: MonoMs = Number.POSITIVE_INFINITY as MonoMs;
export const earliest = (a: MonoMs, b: MonoMs): MonoMs => (a < b ? a : b);

const UNIT_MS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

/** `500ms`, `5s`, `2m`, `1h`, `1d`, or a bare number of seconds; undefined when it is none of these. */
export function parseDurationMs(text: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)?$/.exec(text.trim());
  if (!match?.[1]) return undefined;
  return Math.round(Number(match[1]) * (UNIT_MS[match[2] ?? 's'] ?? 1000));
}
