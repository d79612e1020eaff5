/** google.protobuf.Timestamp: seconds and nanoseconds. */
import type { WallMs } from '../base/instant.ts';
import * as field from './fields.ts';

interface Timestamp {
  seconds?: number | null;
  nanos?: number | null;
}

const NANOS_PER_MS = 1_000_000;

export function toTimestamp(ms: number): { seconds: number; nanos: number } {
  const whole = field.wholeMs(ms);
  const seconds = Math.floor(whole / 1000);
  return { seconds, nanos: (whole - seconds * 1000) * NANOS_PER_MS };
}

/** @throws Malformed */
export function fromTimestamp(wire: Timestamp | null | undefined): WallMs {
  const { seconds, nanos } = field.required(wire);
  const nanoseconds = field.count(nanos, 999_999_999);
  return field.wall(field.integer(seconds) * 1000 + Math.floor(nanoseconds / NANOS_PER_MS));
}
