/**
 * Processor time and memory of a process and all below it, as /proc tells. Memory is what is
 * really there and belongs to nobody else: anonymous pages of all, and memory that is shared among
 * them (PostgreSQL's) once. A program's text is left out, as it is shared with whoever runs it too.
 */
import { readdirSync, readFileSync } from 'node:fs';

const TICKS_PER_SECOND = 100;
const SAMPLE_EVERY_MS = 200;

/** The process itself first; those that end meanwhile are left out. */
export function treeOf(pid: number): number[] {
  const found = [pid];
  for (const parent of found) {
    for (const thread of namesIn(`/proc/${parent}/task`)) {
      const children = textOf(`/proc/${parent}/task/${thread}/children`);
      found.push(...children.split(' ').map(Number).filter(Boolean));
    }
  }
  return found;
}

/** User and system time of the tree, with children that have ended and were waited for. */
export const cpuSecondsOf = (pid: number): number =>
  treeOf(pid).reduce((sum, each) => sum + cpuTicks(each), 0) / TICKS_PER_SECOND;

function cpuTicks(pid: number): number {
  const stat = textOf(`/proc/${pid}/stat`);
  // The second field may contain anything, also `)`.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return [11, 12, 13, 14].reduce((sum, at) => sum + Number(fields[at] ?? 0), 0);
}

export function memoryBytesOf(pids: readonly number[]): number {
  let own = 0;
  let shared = 0;
  for (const pid of pids) {
    const status = textOf(`/proc/${pid}/status`);
    own += kilobytes(status, 'RssAnon');
    shared = Math.max(shared, kilobytes(status, 'RssShmem'));
  }
  return (own + shared) * 1024;
}

const kilobytes = (status: string, field: string): number =>
  Number(new RegExp(`${field}:\\s+(\\d+)`).exec(status)?.[1] ?? 0);

export interface Usage {
  readonly cpuSeconds: number;
  readonly peakMemoryBytes: number;
  /** Cores that others on this machine used meanwhile, the system itself included. */
  readonly foreignCores: number;
}

/** Counts from now on; what it returns ends the counting. */
export function meter(pid: number): () => Usage {
  const from = performance.now();
  const [cpu, all, busy] = [cpuSecondsOf(pid), cpuSecondsOf(process.pid), machineSeconds()];
  let peak = memoryBytesOf(treeOf(pid));
  const look = (): void => {
    peak = Math.max(peak, memoryBytesOf(treeOf(pid)));
  };
  const timer = setInterval(look, SAMPLE_EVERY_MS);
  return () => {
    clearInterval(timer);
    look();
    const seconds = (performance.now() - from) / 1000;
    const foreign = machineSeconds() - busy - (cpuSecondsOf(process.pid) - all);
    return {
      cpuSeconds: cpuSecondsOf(pid) - cpu,
      peakMemoryBytes: peak,
      foreignCores: Math.max(0, foreign / seconds),
    };
  };
}

/** All that the processors did: user, nice, system and interrupts. */
function machineSeconds(): number {
  const [, ...fields] = (textOf('/proc/stat').split('\n')[0] ?? '').split(/\s+/).map(Number);
  return [0, 1, 2, 5, 6].reduce((sum, at) => sum + (fields[at] ?? 0), 0) / TICKS_PER_SECOND;
}

function textOf(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return '';
  }
}

function namesIn(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}
