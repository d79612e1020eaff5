/**
 * Who holds an attempt to its limits, and says at its end what it took and whether it was a limit
 * that ended it. Nobody has to for one without limits; what a runner counted is told then.
 *
 * | limit        | with a cgroup                        | without                               |
 * |--------------|--------------------------------------|---------------------------------------|
 * | cpu_seconds  | all processes together, looked at    | each process for itself               |
 * | memory_bytes | all together, swap included          | address space of each process         |
 * | processes    | all together                         | all of the user on the node           |
 * | open_files, file_bytes | each process for itself    | each process for itself               |
 */
import { readFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import type { AttemptEnd, Usage } from '../../core/job.ts';
import type { ListedLimits } from '../groups/group-file.ts';
import type { Holder, Judged } from '../groups/groups.ts';
import { Cgroup, kill } from './cgroup.ts';

const FIRST_LOOK_MS = 20;
const LAST_LOOK_MS = 60_000;
/**
 * What a shell makes of a child that was ended for its time: SIGXCPU says that itself, SIGKILL
 * could be anybody's. The system has two ways to count, which differ by some percent.
 */
const TIME_CODES = { atLeast: 0.5, signal: 'SIGXCPU', code: 128 + 24 };
const KILL_CODES = { atLeast: 0.9, signal: 'SIGKILL', code: 128 + 9 };
/** Version 1 says "no limit" with a number that is one page short of this. */
const NO_LIMIT_BYTES = 2 ** 62;

/** @param limits as the group lists them */
export function holderOf(limits: ListedLimits | undefined): Holder {
  if (!limits) return NOBODY;
  return limits.cgroupFolders.length > 0 ? new CgroupHolder(limits) : new EachForItself(limits);
}

const NOBODY: Holder = {
  signalStray: () => Promise.resolve(),
  isEmpty: () => Promise.resolve(true),
  killRest: () => Promise.resolve(),
  release: () => Promise.resolve(),
  judge: async (end, cpuMs) => ({ end, usage: cpuMs === undefined ? undefined : { cpuMs } }),
};

class EachForItself implements Holder {
  private readonly cpuSeconds: number;

  constructor({ cpuSeconds }: ListedLimits) {
    this.cpuSeconds = cpuSeconds;
  }

  async signalStray(): Promise<void> {}

  async isEmpty(): Promise<boolean> {
    return true;
  }

  async killRest(): Promise<void> {}

  async release(): Promise<void> {}

  async judge(end: AttemptEnd, cpuMs: number | undefined): Promise<Judged> {
    const usage: Usage = { ...(cpuMs !== undefined && { cpuMs }), limitsBy: 'rlimit' };
    return {
      end: isTimeOver(end, cpuMs, this.cpuSeconds) ? timeOver(this.cpuSeconds) : end,
      usage,
    };
  }
}

class CgroupHolder implements Holder {
  private readonly cgroup: Cgroup;
  private readonly cpuSeconds: number;
  private lookTimer: NodeJS.Timeout | undefined;
  private isTimeUsed = false;
  private isOver = false;

  constructor({ cpuSeconds, cgroupFolders }: ListedLimits) {
    this.cgroup = new Cgroup(cgroupFolders);
    this.cpuSeconds = cpuSeconds;
    if (cpuSeconds > 0) this.lookIn(cpuSeconds * 1000);
  }

  async signalStray(sessionId: number, signal: NodeJS.Signals): Promise<void> {
    if (signal === 'SIGKILL') {
      await this.cgroup.kill();
      return;
    }
    for (const pid of await this.cgroup.processes()) {
      if ((await sessionOf(pid)) !== sessionId) kill(pid, signal);
    }
  }

  async isEmpty(): Promise<boolean> {
    return (await this.cgroup.processes()).length === 0;
  }

  async killRest(): Promise<void> {
    this.isOver = true;
    clearTimeout(this.lookTimer);
    await this.cgroup.kill();
  }

  async release(): Promise<void> {
    this.isOver = true;
    clearTimeout(this.lookTimer);
    await this.cgroup.remove();
  }

  async judge(end: AttemptEnd): Promise<Judged> {
    const [usage, memoryBytes] = await Promise.all([
      this.cgroup.usage(),
      this.cgroup.outOfMemoryAt(),
    ]);
    await this.release();
    if (memoryBytes !== undefined) return { end: outOfMemory(memoryBytes), usage };
    const isOver = this.isTimeUsed || isTimeOver(end, usage.cpuMs, this.cpuSeconds);
    return { end: isOver ? timeOver(this.cpuSeconds) : end, usage };
  }

  /** Not before all processors together could have used up what is left. */
  private lookIn(leftMs: number): void {
    const pauseMs = Math.min(
      LAST_LOOK_MS,
      Math.max(FIRST_LOOK_MS, leftMs / availableParallelism()),
    );
    this.lookTimer = setTimeout(() => void this.look(), pauseMs);
    this.lookTimer.unref();
  }

  private async look(): Promise<void> {
    const cpuMs = (await this.cgroup.cpuMs()) ?? 0;
    if (this.isOver) return;
    const leftMs = this.cpuSeconds * 1000 - cpuMs;
    if (leftMs > 0) {
      this.lookIn(leftMs);
      return;
    }
    this.isTimeUsed = true;
    await this.cgroup.kill();
  }
}

function isTimeOver(end: AttemptEnd, cpuMs: number | undefined, cpuSeconds: number): boolean {
  if (cpuSeconds === 0) return false;
  return [TIME_CODES, KILL_CODES].some(({ atLeast, signal, code }) => {
    const isSuch =
      end.tag === 'signalled' ? end.signal === signal : end.tag === 'exited' && end.code === code;
    return isSuch && (cpuMs ?? 0) >= cpuSeconds * 1000 * atLeast;
  });
}

const timeOver = (seconds: number): AttemptEnd => ({
  tag: 'failed',
  reason: `CPU time over: it has used the ${seconds} s of processor time that limits.cpu_seconds gives it.`,
});

const outOfMemory = (bytes: number): AttemptEnd => ({
  tag: 'failed',
  reason:
    bytes < NO_LIMIT_BYTES
      ? `out of memory: it needed more than the ${bytes} bytes that limits.memory_bytes gives it, and the system ended one of its processes.`
      : 'out of memory: the node had no more, and the system ended one of its processes.',
});

async function sessionOf(pid: number): Promise<number | undefined> {
  const stat = await readFile(`/proc/${pid}/stat`, 'latin1').catch(() => '');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return fields[3] === undefined ? undefined : Number(fields[3]);
}
