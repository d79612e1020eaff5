/**
 * The cgroup of one attempt: a folder in each hierarchy that counts something (cgroup-tree.ts).
 * Which version a folder belongs to shows in the files it has, so nothing else is remembered, and
 * one that an earlier life made is found by its folders alone.
 */
import { readFile, rmdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Usage } from '../../core/job.ts';

const KILL_ROUNDS = 200;
const ROUND_PAUSE_MS = 5;
const REMOVE_ROUNDS = 40;

export class Cgroup {
  readonly folders: readonly string[];

  constructor(folders: readonly string[]) {
    this.folders = folders;
  }

  /** @throws what the file system says of a limit it does not take */
  async limit(memoryBytes: number | undefined, processes: number | undefined): Promise<void> {
    if (memoryBytes !== undefined) {
      const bytes = String(memoryBytes);
      await this.write(['memory.max', 'memory.limit_in_bytes'], bytes);
      // A limit that the disk makes up for is none. Where swap is not counted there is no such file.
      await this.write(['memory.swap.max'], '0').catch(() => {});
      await this.write(['memory.memsw.limit_in_bytes'], bytes).catch(() => {});
      // All die where one must: half a pipeline would look like a whole one.
      await this.write(['memory.oom.group'], '1').catch(() => {});
    }
    if (processes !== undefined) await this.write(['pids.max'], String(processes));
  }

  async processes(): Promise<number[]> {
    const lists = await Promise.all(
      this.folders.map((folder) => textOf(join(folder, 'cgroup.procs'))),
    );
    const ids = lists.flatMap((list) => list.split('\n').filter((line) => line !== ''));
    return [...new Set(ids)].map(Number);
  }

  /** Settles when no process is left, or it takes too long. */
  async kill(): Promise<void> {
    for (let round = 0; round < KILL_ROUNDS; round++) {
      const left = await this.processes();
      if (left.length === 0) return;
      // Version 2 knows how to kill all at once; else none may be made while they are killed.
      await this.write(['cgroup.kill'], '1').catch(() => {});
      if (round === 0) await this.write(['pids.max'], '0').catch(() => {});
      for (const pid of left) kill(pid, 'SIGKILL');
      await delay(ROUND_PAUSE_MS);
    }
  }

  /** Milliseconds of processor time; undefined: not counted. */
  async cpuMs(): Promise<number | undefined> {
    const nanoseconds = await this.read(['cpuacct.usage']);
    if (nanoseconds !== undefined) return Math.round(Number(nanoseconds) / 1e6);
    const microseconds = /^usage_usec (\d+)$/m.exec((await this.read(['cpu.stat'])) ?? '')?.[1];
    return microseconds === undefined ? undefined : Math.round(Number(microseconds) / 1000);
  }

  async usage(): Promise<Usage> {
    const cpuMs = await this.cpuMs();
    const peak = Number(await this.read(['memory.peak', 'memory.max_usage_in_bytes']));
    return {
      ...(cpuMs !== undefined && { cpuMs }),
      ...(Number.isSafeInteger(peak) && { peakMemoryBytes: peak }),
      limitsBy: 'cgroup',
    };
  }

  /** The limit that somebody of it was killed for; undefined: nobody was. */
  async outOfMemoryAt(): Promise<number | undefined> {
    const events = (await this.read(['memory.events', 'memory.oom_control'])) ?? '';
    if (!/^oom_kill [1-9]/m.test(events)) return undefined;
    return Number(await this.read(['memory.max', 'memory.limit_in_bytes']));
  }

  /** A folder stays busy for a moment after its last process. */
  async remove(): Promise<void> {
    await Promise.all(this.folders.map(removeFolder));
  }

  private async read(names: readonly string[]): Promise<string | undefined> {
    for (const folder of this.folders) {
      for (const name of names) {
        const text = await textOf(join(folder, name));
        if (text !== '') return text.trim();
      }
    }
    return undefined;
  }

  /** Into the first of these files that there is. */
  private async write(names: readonly string[], text: string): Promise<void> {
    let failure: unknown;
    for (const folder of this.folders) {
      for (const name of names) {
        try {
          await writeFile(join(folder, name), text, { flag: 'r+' });
          return;
        } catch (thrown) {
          if ((thrown as { code?: string }).code !== 'ENOENT') failure = thrown;
        }
      }
    }
    throw failure ?? new Error(`there is no ${names.join(' or ')}`);
  }
}

async function removeFolder(folder: string): Promise<void> {
  for (let round = 0; round < REMOVE_ROUNDS; round++) {
    try {
      await rmdir(folder);
      return;
    } catch (thrown) {
      if ((thrown as { code?: string }).code !== 'EBUSY') return;
      await delay(ROUND_PAUSE_MS);
    }
  }
}

export function kill(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // It has ended by itself.
  }
}

const textOf = (path: string): Promise<string> => readFile(path, 'utf8').catch(() => '');
