/**
 * One attempt's processes: a session and process group of their own, so that a signal reaches all
 * of them and none of ours. child_process.spawn is the one place where they are made; how they
 * are made can change here without anybody noticing.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { setTimeout as delay } from 'node:timers/promises';
import type { AttemptEnd } from '../core/job.ts';
import { LISTING_SCRIPT, type Listing } from './listing.ts';
import { isGroupAlive, signalGroup } from './process-table.ts';
import type { Running } from './task-type.ts';

export interface GroupOrder {
  /** File and arguments. */
  readonly program: readonly string[];
  readonly folder: string;
  readonly env: Readonly<Record<string, string>>;
  /** File descriptors, opened for appending; the caller closes its own. */
  readonly stdout: number;
  readonly stderr: number;
  readonly listing: Listing;
  /** /proc, or a folder without such files where the system has none. */
  readonly procFolder?: string;
}

/** What a killed process may take to die: it does so when its system call returns. */
const GONE_DEADLINE_MS = 1000;
const LOOK_EVERY_MS = 10;

/** Rejects with what spawn throws or reports: E2BIG, EAGAIN, EMFILE, …; a TypeError for a zero byte. */
export async function startProcessGroup(order: GroupOrder): Promise<ProcessGroup> {
  const { program, folder, env, stdout, stderr, listing, procFolder = '/proc' } = order;
  const { name, job, fence } = listing;
  const listed = [listing.folder, name, job, fence, procFolder];
  const child = spawn('/bin/sh', ['-c', LISTING_SCRIPT, 'mesh-job', ...listed, ...program], {
    detached: true,
    cwd: folder,
    env,
    stdio: ['ignore', stdout, stderr],
  });
  if (child.pid !== undefined) return new ProcessGroup(child, child.pid);
  return new Promise((_, reject) => child.once('error', reject));
}

export class ProcessGroup implements Running {
  readonly groupId: number;
  readonly ended: Promise<AttemptEnd>;
  /** performance.now() at which SIGKILL is due; undefined: nobody asked it to end. */
  private killDueAt: number | undefined;
  private killTimer: NodeJS.Timeout | undefined;
  private isGone = false;

  constructor(child: ChildProcess, groupId: number) {
    this.groupId = groupId;
    child.on('error', () => {});
    this.ended = new Promise((resolve) => {
      child.once('exit', (code, signal) => {
        const end: AttemptEnd = signal
          ? { tag: 'signalled', signal }
          : { tag: 'exited', code: code ?? 0 };
        void this.clear().then(() => resolve(end));
      });
    });
  }

  end(graceMs: number): void {
    if (this.isGone) return;
    const dueAt = performance.now() + graceMs;
    if (this.killDueAt !== undefined && this.killDueAt <= dueAt) return;
    const isFirst = this.killDueAt === undefined;
    this.killDueAt = dueAt;
    clearTimeout(this.killTimer);
    if (graceMs <= 0) {
      signalGroup(this.groupId, 'SIGKILL');
      return;
    }
    if (isFirst) {
      signalGroup(this.groupId, 'SIGTERM');
      // A stopped process does not see the SIGTERM until it goes on.
      signalGroup(this.groupId, 'SIGCONT');
    }
    this.killTimer = setTimeout(() => signalGroup(this.groupId, 'SIGKILL'), graceMs);
  }

  /**
   * After the main process: what it left in the group has what remains of a grace time, if it was
   * being ended, and is killed then. The number cannot mean another group meanwhile: the system
   * does not give it away while a process is in it, and where none is, all that is sent is one
   * SIGKILL, microseconds after the exit.
   */
  private async clear(): Promise<void> {
    while (this.graceLeftMs() > 0 && (await isGroupAlive(this.groupId))) await delay(LOOK_EVERY_MS);
    clearTimeout(this.killTimer);
    if (signalGroup(this.groupId, 'SIGKILL')) await this.untilGone();
    this.isGone = true;
  }

  private async untilGone(): Promise<void> {
    const deadline = performance.now() + GONE_DEADLINE_MS;
    while ((await isGroupAlive(this.groupId)) && performance.now() < deadline) {
      await delay(LOOK_EVERY_MS);
    }
  }

  private graceLeftMs(): number {
    return this.killDueAt === undefined ? 0 : this.killDueAt - performance.now();
  }
}
