/**
 * The time that a node and its supervisor share: hundredths of a second since the machine started,
 * as /proc/uptime has it. It goes on while the machine sleeps and nobody can set it, so it is never
 * behind the monotonic clock; and a shell reads it without starting a program.
 */
import { readFileSync } from 'node:fs';
import os from 'node:os';
import { join } from 'node:path';
import { asWall, type WallMs } from '../../base/instant.ts';

declare const brand: unique symbol;

/** Hundredths of a second since the start of the machine. */
export type BootTime = number & { readonly [brand]: 'BootTime' };

export const asBootTime = (hundredths: number): BootTime => hundredths as BootTime;

export const bootTime = (): BootTime => asBootTime(Math.floor(os.uptime() * 100));

/** False: deadlines cannot be kept by anybody but the node. */
export function hasBootClock(procFolder: string): boolean {
  try {
    return /^\d+\.\d\d /.test(readFileSync(join(procFolder, 'uptime'), 'latin1'));
  } catch {
    return false;
  }
}

export const afterBoot = (at: BootTime, ms: number): BootTime =>
  asBootTime(at + Math.floor(ms / 10));

export const untilBootMs = (at: BootTime): number => (at - bootTime()) * 10;

/** Where that moment is in the calendar of now. */
export const wallOf = (at: BootTime, now: WallMs): WallMs =>
  asWall(now - Math.max(0, (bootTime() - at) * 10));
