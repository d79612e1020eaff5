/**
 * What a node's own log says of times in which its loop stood still: on a machine with more to do
 * than it can, or with a disk that answers late, a node is away as if it were frozen. A run counts
 * that like a fault that nobody had planned, or the mesh would be blamed for its machine.
 */
import type { Disturbance } from './history.ts';

/** @param calendarMs when the run began */
export function readStandstills(log: string, node: string, calendarMs: number): Disturbance[] {
  return log.split('\n').flatMap((line) => {
    if (!line.includes('"event loop stood still"')) return [];
    const said = parse(line);
    if (!said) return [];
    const to = Math.round(said.at - calendarMs);
    return [{ kind: 'standstill', nodes: [node], from: Math.round(to - said.lateMs), to } as const];
  });
}

function parse(line: string): { at: number; lateMs: number } | undefined {
  try {
    const { time, lateMs } = JSON.parse(line) as { time?: unknown; lateMs?: unknown };
    const at = Date.parse(String(time));
    return Number.isNaN(at) || typeof lateMs !== 'number' ? undefined : { at, lateMs };
  } catch {
    // The last line of a node that was killed as it wrote.
    return undefined;
  }
}
