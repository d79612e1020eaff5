/**
 * The processes of attempts. Each attempt is a session and process group of its own, so that a
 * signal reaches all of its processes and none of the node's. Four parts see to it that no group
 * outlives its right to run, whatever becomes of its node: a file on disk for every group that runs
 * (group-file.ts), a runner that leads it and notes its end (runners.ts), a supervisor process
 * that holds the leases and outlives the node (supervisor.ts), and the next start, which adopts
 * what still has a lease and ends the rest (earlier-lives.ts).
 *
 * That takes a /proc with the machine's uptime: any Linux. Elsewhere (macOS) groups are plain, and
 * led by their main process: no lease is kept while the node stands still, and all end with their
 * node.
 *
 * How attempts' processes are made, by runners or by child_process.spawn, can change without anybody
 * noticing. What a group is may not: a leader whose id is the group's and the session's, listed
 * before the program of the job begins.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import type { WallMs } from '../../base/instant.ts';
import type { SupervisedLease } from '../../core/effects.ts';
import type { AttemptEnd, Usage } from '../../core/job.ts';
import type { Running } from '../task-type.ts';
import { afterBoot, type BootTime, bootTime, wallOf } from './boot-clock.ts';
import { type FileLease, type ListedGroup, leaseText, toFileLease } from './group-file.ts';
import { LeaseWriter } from './lease-writer.ts';
import { type Listing, readGroupFile } from './life.ts';
import { type MainProcess, watchAdopted, watchChild, watchRunner } from './main-process.ts';
import { signalGroup, signalSession, untilSessionIsGone } from './process-table.ts';
import type { Runners } from './runners.ts';
import { type Entry, PLAIN_SCRIPT, plainArguments } from './start-scripts.ts';
import type { Plain, Supervised } from './supervision.ts';

export interface GroupOrder {
  /** File and arguments. */
  readonly program: readonly string[];
  readonly folder: string;
  readonly env: Record<string, string>;
  /** Files it appends to. */
  readonly stdout: string;
  readonly stderr: string;
  readonly listing: Listing;
  readonly lease: SupervisedLease;
  readonly startedAt: WallMs;
  /** What it has listed; undefined: nothing, and so it ran nothing. */
  readonly readListed: () => Promise<ListedGroup | undefined>;
  readonly onLeaseFailure: (failure: unknown) => void;
  /** Lines of shell for the process that becomes the program. */
  readonly begin: string;
  readonly holder: Holder;
}

/** Who knows more of a group's processes than its number: whoever holds it to its limits. */
export interface Holder {
  /** To those that have left the session, too. */
  signalStray(sessionId: number, signal: NodeJS.Signals): Promise<void>;
  /** As far as it knows, nothing is left. */
  isEmpty(): Promise<boolean>;
  /** Ends whatever is left. Settles when nothing is, or it takes too long. */
  killRest(): Promise<void>;
  /** It is over. @param cpuMs as its runner counted it */
  judge(end: AttemptEnd, cpuMs: number | undefined): Promise<Judged>;
  /** It is over, or never began: nothing is kept for it any more. */
  release(): Promise<void>;
}

export interface Judged {
  readonly end: AttemptEnd;
  readonly usage: Usage | undefined;
}

/** By what groups are started. */
export type Starter =
  | (Supervised & { readonly runners: Runners })
  /** The node itself. */
  | Plain;

/** Node's timers fire at once when they are set to more. */
const MAX_TIMER_MS = 2 ** 31 - 1;
/** What a killed process may take to die: it does so when its system call returns. */
const GONE_DEADLINE_MS = 1000;
const NOT_LISTED_PAUSE_MS = 5;
const LAST_LOOK_MS = 250;
const STRAY_PAUSE_MS = 50;
/** The supervisor may have seen that a lease is over, and strike a moment later. */
const LEASE_MARGIN_MS = 3000;

/** Rejects with what spawn throws or reports: E2BIG, EAGAIN, EMFILE, …; a TypeError for a zero byte. */
export function startProcessGroup(order: GroupOrder, starter: Starter): Promise<ProcessGroup> {
  return starter.tag === 'plain' ? startPlain(order, starter) : startSupervised(order, starter);
}

const entryOf = (
  { listing, startedAt }: GroupOrder,
  lease: FileLease,
  procFolder: string,
): Entry => ({ ...listing, procFolder, lease: leaseText(lease), startedAt });

async function startSupervised(
  order: GroupOrder,
  { runners, procFolder, env }: Extract<Starter, { tag: 'supervised' }>,
): Promise<ProcessGroup> {
  const { program, begin, folder, stdout, stderr, listing, onLeaseFailure, holder } = order;
  const job = await runners.run(
    {
      entry: entryOf(order, toFileLease(order.lease), procFolder),
      env,
      program,
      begin,
      workingFolder: folder,
      stdout,
      stderr,
    },
    order.env,
  );
  const lease = new LeaseWriter(listing.path, onLeaseFailure);
  const main = watchRunner(job, { path: listing.path, outputs: [stdout, stderr] });
  return new ProcessGroup(main, { lease, holder, leased: order.lease });
}

async function startPlain(order: GroupOrder, { procFolder }: Plain): Promise<ProcessGroup> {
  const { program, begin, folder, env, stdout, stderr, readListed, holder } = order;
  const args = plainArguments(entryOf(order, { tag: 'withNode' }, procFolder), begin);
  const files: number[] = [];
  let child: ChildProcess;
  try {
    for (const path of [stdout, stderr]) files.push(openSync(path, 'a', 0o600));
    child = spawn('/bin/sh', ['-c', PLAIN_SCRIPT, 'mesh-job', ...args, ...program], {
      detached: true,
      cwd: folder,
      env,
      stdio: ['ignore', ...files],
    });
  } finally {
    for (const file of files) closeSync(file);
  }
  const { pid } = child;
  if (pid === undefined) return new Promise((_, reject) => child.once('error', reject));
  return new ProcessGroup(watchChild(child, pid, readListed), { holder });
}

/** One that an earlier life started, and whose file is this life's now. */
export function adoptProcessGroup(
  group: ListedGroup,
  parts: Pick<GroupOrder, 'listing' | 'onLeaseFailure' | 'holder'>,
): ProcessGroup {
  const { path } = parts.listing;
  const main = watchAdopted(group, () => readGroupFile(path));
  // What it left behind was looked after as it was found: its number may be another's by now.
  const lease = new LeaseWriter(path, parts.onLeaseFailure);
  const { holder } = parts;
  return new ProcessGroup(main, { lease, holder, isOver: group.exit !== undefined });
}

interface GroupParts {
  readonly holder: Holder;
  /** Undefined: it ends with its node. */
  readonly lease?: LeaseWriter;
  /** What is in its file from the start. */
  readonly leased?: SupervisedLease;
  /** It had ended before. */
  readonly isOver?: boolean;
}

export class ProcessGroup implements Running {
  readonly canBeLeft = true;
  isTraceless = false;
  readonly ended: Promise<AttemptEnd>;
  private readonly main: MainProcess;
  private readonly lease: LeaseWriter | undefined;
  private readonly holder: Holder;
  private used: Usage | undefined;
  private endedAt: BootTime | undefined;
  /** performance.now() at which SIGKILL is due; undefined: nobody asked it to end. */
  private killDueAt: number | undefined;
  private killTimer: NodeJS.Timeout | undefined;
  private isMainOver = false;
  private isGone: boolean;
  private isLeft = false;
  /** Its runner is one of the group. */
  private isSignalled = false;
  /** What it had used when it was killed with its runner. */
  private cpuMsAtKill: number | undefined;
  /** performance.now() */
  private leaseEndsAt = Number.POSITIVE_INFINITY;

  constructor(main: MainProcess, { lease, leased, holder, isOver = false }: GroupParts) {
    this.main = main;
    this.lease = lease;
    this.holder = holder;
    this.isGone = isOver;
    if (leased) this.noteLease(leased);
    this.ended = this.follow();
  }

  private noteLease(lease: SupervisedLease): void {
    this.leaseEndsAt =
      lease.tag === 'leased' ? performance.now() + lease.leftMs : Number.POSITIVE_INFINITY;
  }

  private async follow(): Promise<AttemptEnd> {
    const { end, at, cpuMs } = await this.main.ended;
    this.isMainOver = true;
    this.endedAt = at;
    if (this.isGone) await this.holder.killRest();
    else await this.clear();
    // Its end is in its file for the next life.
    if (this.isLeft) return new Promise(() => {});
    await this.lease?.close();
    const judged = await this.holder.judge(end, cpuMs ?? this.cpuMsAtKill);
    this.used = judged.usage;
    return judged.end;
  }

  usage(): Usage | undefined {
    return this.used;
  }

  finishedAt(now: WallMs): WallMs {
    return this.endedAt === undefined ? now : wallOf(this.endedAt, now);
  }

  prolong(lease: SupervisedLease): void {
    this.noteLease(lease);
    this.lease?.write(leaseText(toFileLease(lease)));
  }

  /** It goes on without this node; what was to be killed still is. `ended` never settles. */
  async leave(): Promise<void> {
    this.isLeft = true;
    clearTimeout(this.killTimer);
    this.main.leave();
    if (this.killDueAt === undefined) await this.lease?.close();
    else {
      const at = afterBoot(bootTime(), Math.max(0, this.graceLeftMs()));
      await this.lease?.finish(leaseText({ tag: 'until', at }));
    }
  }

  /** @param isUnlisted its file is gone, or has another name */
  release(isUnlisted: boolean): void {
    const isLeased = this.leaseEndsAt - performance.now() > LEASE_MARGIN_MS;
    this.main.runner?.release(isUnlisted && !this.isSignalled && isLeased);
  }

  end(graceMs: number): void {
    if (this.isGone) return;
    const dueAt = performance.now() + graceMs;
    if (this.killDueAt !== undefined && this.killDueAt <= dueAt) return;
    const isFirst = this.killDueAt === undefined;
    this.isSignalled = true;
    this.killDueAt = dueAt;
    clearTimeout(this.killTimer);
    if (graceMs <= 0) {
      void this.send('SIGKILL');
      return;
    }
    // A stopped process does not see the SIGTERM until it goes on.
    if (isFirst) void this.send('SIGTERM', 'SIGCONT');
    const kill = () => void this.send('SIGKILL');
    this.killTimer = setTimeout(kill, Math.min(graceMs, MAX_TIMER_MS));
  }

  /** It lists itself a moment after its start. */
  async untilFound(deadlineMs: number): Promise<void> {
    const deadline = performance.now() + deadlineMs;
    while (this.main.groupId() === undefined && !this.isMainOver && !this.isLeft) {
      if (performance.now() >= deadline) return;
      await delay(NOT_LISTED_PAUSE_MS);
    }
  }

  /** As soon as the group has listed itself. */
  private async send(...signals: readonly NodeJS.Signals[]): Promise<void> {
    if (this.main.groupId() === undefined) await this.untilFound(Number.POSITIVE_INFINITY);
    const groupId = this.main.groupId();
    if (groupId === undefined || this.isGone || this.isLeft) return;
    const target = { hasLeader: !this.isMainOver };
    if (signals.includes('SIGKILL')) {
      this.cpuMsAtKill ??= this.main.runner?.cpuMs();
      this.main.expectKilled?.();
    }
    await Promise.all(
      signals.map(async (signal) => {
        await signalSession(groupId, signal, target);
        await this.holder.signalStray(groupId, signal);
      }),
    );
  }

  /**
   * After the main process: what it left in the group has what remains of a grace time, if it was
   * being ended, and is killed then. The number cannot mean another group meanwhile: the system
   * does not give it away while a process is in it, and where none is, all that is sent is one
   * SIGKILL, milliseconds after the exit.
   */
  private async clear(): Promise<void> {
    const groupId = this.main.groupId();
    const runner = this.main.runner?.runnerId;
    // A call of `end` may have shortened it meanwhile.
    while (groupId !== undefined && this.graceLeftMs() > 0) {
      const pauseMs = Math.min(this.graceLeftMs(), LAST_LOOK_MS);
      if (!(await untilSessionIsGone(groupId, pauseMs, runner))) continue;
      if (await this.holder.isEmpty()) break;
      await delay(Math.min(this.graceLeftMs(), STRAY_PAUSE_MS));
    }
    clearTimeout(this.killTimer);
    if (groupId !== undefined) await this.killRest(groupId);
    await this.holder.killRest();
    this.isGone = true;
  }

  private async killRest(groupId: number): Promise<void> {
    const remains = await this.main.runner?.remains();
    this.isTraceless = remains === 'nothing';
    if (remains === 'nothing' || remains === 'elsewhere') return;
    this.isSignalled = true;
    const wasThere = signalGroup(groupId, 'SIGKILL');
    // A walk through all processes, for those that are in groups of their own.
    if (remains || this.killDueAt !== undefined) {
      await signalSession(groupId, 'SIGKILL', { hasLeader: false });
    } else if (!wasThere) return;
    await untilSessionIsGone(groupId, GONE_DEADLINE_MS);
  }

  private graceLeftMs(): number {
    return this.killDueAt === undefined ? 0 : this.killDueAt - performance.now();
  }
}
