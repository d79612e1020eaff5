/** How busy the whole machine is; measured at most once a second, when somebody asks. */
import { cpus, freemem, loadavg, totalmem } from 'node:os';
import type { MachineUse } from '../core/facts.ts';
import { diskOf } from './own-facts.ts';

const MEASURE_INTERVAL_MS = 1000;

interface Ticks {
  readonly busy: number;
  readonly all: number;
}

/** @returns a function that is cheap to call; undefined before the first whole second */
export function machineUse(dataDir: string): () => MachineUse | undefined {
  let before = ticksOf();
  let measuredAt = performance.now();
  let latest: MachineUse | undefined;
  return () => {
    const now = performance.now();
    if (now - measuredAt < MEASURE_INTERVAL_MS) return latest;
    const ticks = ticksOf();
    const all = ticks.all - before.all;
    const cpuPercent = all > 0 ? Math.round((1000 * (ticks.busy - before.busy)) / all) / 10 : 0;
    before = ticks;
    measuredAt = now;
    latest = {
      cpuPercent: Math.min(100, Math.max(0, cpuPercent)),
      memoryBytes: totalmem() - freemem(),
      diskFreeBytes: diskOf(dataDir)?.freeBytes ?? 0,
      load1: Math.round((loadavg()[0] ?? 0) * 100) / 100,
    };
    return latest;
  };
}

function ticksOf(): Ticks {
  let busy = 0;
  let all = 0;
  for (const { times } of cpus()) {
    const sum = times.user + times.nice + times.sys + times.idle + times.irq;
    all += sum;
    busy += sum - times.idle;
  }
  return { busy, all };
}
