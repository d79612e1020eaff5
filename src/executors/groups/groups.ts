/**
 * The processes of attempts. Each attempt is a session and process group of its own, so that a
 * signal reaches all of its processes and none of the node's. Three parts see to it that no group
 * outlives its node, whatever becomes of it: a list on disk of all groups that run (listing.ts), a
 * guard process that works it off when the node dies (guard.ts), and the next start, which ends
 * what even the guard left (leftovers.ts).
 *
 * child_process.spawn, here, is the one place where attempts' processes are made; how that is done
 * can change without anybody noticing. What a group is may not: a leader whose id is the group's,
 * that lists itself before its program begins, and whose end is told by the system's own wait.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import type { AttemptEnd } from '../../core/job.ts';
import type { Running } from '../task-type.ts';
import { LISTING_SCRIPT, type Listing, PROC_FOLDER } from './listing.ts';
import { signalGroup, untilGroupIsGone } from './process-table.ts';

export interface GroupOrder {
  /** File and arguments. */
  readonly program: readonly string[];
  readonly folder: string;
  readonly env: Readonly<Record<string, string>>;
  /** File descriptors, opened for appending; the caller closes its own. */
  readonly stdout: number;
  readonly stderr: number;
  readonly listing: Listing;
}

/** Node's timers fire at once when they are set to more. */
const MAX_TIMER_MS = 2 ** 31 - 1;
/** What a killed process may take to die: it does so when its system call returns. */
const GONE_DEADLINE_MS = 1000;

/** Rejects with what spawn throws or reports: E2BIG, EAGAIN, EMFILE, …; a TypeError for a zero byte. */
export async function startProcessGroup(order: GroupOrder): Promise<ProcessGroup> {
  const { program, folder, env, stdout, stderr, listing } = order;
  const { name, job, fence } = listing;
  const listed = [listing.folder, name, job, fence, PROC_FOLDER];
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
    const kill = () => signalGroup(this.groupId, 'SIGKILL');
    this.killTimer = setTimeout(kill, Math.min(graceMs, MAX_TIMER_MS));
  }

  /**
   * After the main process: what it left in the group has what remains of a grace time, if it was
   * being ended, and is killed then. The number cannot mean another group meanwhile: the system
   * does not give it away while a process is in it, and where none is, all that is sent is one
   * SIGKILL, microseconds after the exit.
   */
  private async clear(): Promise<void> {
    // A call of `end` may have shortened it meanwhile.
    while (this.graceLeftMs() > 0) {
      if (await untilGroupIsGone(this.groupId, Math.min(this.graceLeftMs(), 250))) break;
    }
    clearTimeout(this.killTimer);
    if (signalGroup(this.groupId, 'SIGKILL')) {
      await untilGroupIsGone(this.groupId, GONE_DEADLINE_MS);
    }
    this.isGone = true;
  }

  private graceLeftMs(): number {
    return this.killDueAt === undefined ? 0 : this.killDueAt - performance.now();
  }
}
