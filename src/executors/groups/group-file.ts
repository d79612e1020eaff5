/**
 * Every process group that runs has a file, written before the first instruction of its job, so
 * that whoever outlives the node knows what it may do, until when, and how it ended:
 *
 *     U      123456     123456     the lease, see below; rewritten in place when it is prolonged
 *     4711                         id of the group, and of its session and its main process
 *     98765                        start time of the main process
 *     job-1                        job, fence, and when it was started (ms since 1970)
 *     1.node-….1
 *     1700000000000
 *     end                          without this line the group saw that, and ran nothing
 *     refused                      it was listed too late, and ran nothing
 *     limits 60 /sys/fs/cgroup/…   seconds of processor time it may use (0: any), and its cgroup
 *     unable open_files            that could not be done for it, and so its program did not start
 *     cut                          the supervisor has ended it: its lease was over (after `exit` it
 *                                  says nothing: then it had ended before)
 *     Killed                       (any text) what a shell says of a child that a signal has ended
 *     0m0.01s 0m0.00s              `times` of its runner; the second line is about all its jobs
 *     0m1.25s 0m0.50s
 *     exit 137 123400.17 1250      exit code of the main process, seconds since boot, and
 *                                  milliseconds of processor time of the runner's earlier jobs
 *
 * The node writes nothing of that but the lease, so the node may die at any moment. The lease is
 * `U` until that time, `D` so long after the node's death, `N` never, `P` with the node's death
 * (where there is no supervision); times are hundredths of a second (boot-clock.ts). The time is
 * there twice: a shell reads byte by byte, and two that differ were read while it was written. As
 * its length never changes, a full disk does not keep a lease from being prolonged.
 *
 * The file of a group that ended by itself stays until its outcome is in the node's database: a
 * node that is killed in between finds it at its next start, and repeats nothing.
 *
 * Group ids are reused by the system: the start time (field 22 of /proc/PID/stat, in clock ticks
 * since boot; without /proc what ps says) tells whether it is still the same.
 */
import { asJobId, isJobId } from '../../base/ids.ts';
import { asWall, type WallMs } from '../../base/instant.ts';
import type { SupervisedLease } from '../../core/effects.ts';
import type { AttemptRef } from '../../core/messages.ts';
import { parseFence } from '../layout.ts';
import { afterBoot, asBootTime, type BootTime, bootTime } from './boot-clock.ts';

export const GROUP_SUFFIX = '.group';
export const ENDED_SUFFIX = '.ended';

export type FileLease =
  | { readonly tag: 'until'; readonly at: BootTime }
  | { readonly tag: 'afterDeath'; readonly hundredths: number }
  | { readonly tag: 'never' }
  | { readonly tag: 'withNode' };

/** A group that was listed. */
export interface ListedGroup extends AttemptRef {
  readonly groupId: number;
  /** Empty when the system could not tell. */
  readonly startTime: string;
  readonly startedAt: WallMs;
  readonly lease: FileLease;
  readonly isRefused: boolean;
  readonly isCut: boolean;
  /** What could not be done for it before its start. */
  readonly unable: string | undefined;
  readonly limits: ListedLimits | undefined;
  /** Of the main process; undefined: nobody has noted its end. */
  readonly exit: Exit | undefined;
}

export interface ListedLimits {
  /** 0: as much as it likes. */
  readonly cpuSeconds: number;
  /** Of its cgroup, one for each hierarchy; none: each of its processes is held by itself. */
  readonly cgroupFolders: readonly string[];
}

export interface Exit {
  /** 128 and its number for a signal. */
  readonly code: number;
  /** A death by SIGINT or SIGPIPE is not told apart from an exit with 130 or 141. */
  readonly isSignalled: boolean;
  readonly at: BootTime;
  /** Processor time of all its processes that somebody has waited for. */
  readonly cpuMs: number | undefined;
}

const NUMBER_WIDTH = 11;
/** Of the lease, with the end of its line. */
export const LEASE_BYTES = 2 + 2 * NUMBER_WIDTH + 1;

export function toFileLease(lease: SupervisedLease): FileLease {
  switch (lease.tag) {
    case 'leased':
      return { tag: 'until', at: afterBoot(bootTime(), Math.max(0, lease.leftMs)) };
    case 'ownNode':
      return { tag: 'afterDeath', hundredths: Math.floor(Math.max(0, lease.afterDeathMs) / 10) };
    case 'unlimited':
      return { tag: 'never' };
  }
}

/** The first line, without its end. */
export function leaseText(lease: FileLease): string {
  switch (lease.tag) {
    case 'until':
      return leaseLine('U', lease.at);
    case 'afterDeath':
      return leaseLine('D', lease.hundredths);
    case 'never':
      return leaseLine('N', 0);
    case 'withNode':
      return leaseLine('P', 0);
  }
}

function leaseLine(kind: string, value: number): string {
  const number = String(Math.min(value, 9_999_999_999)).padStart(NUMBER_WIDTH);
  return `${kind} ${number}${number}`;
}

function parseLease(line: string): FileLease | undefined {
  const match = /^([UDNP]) +(\d+) +(\d+)$/.exec(line);
  if (!match || match[2] !== match[3]) return undefined;
  const value = Number(match[2]);
  switch (match[1]) {
    case 'U':
      return { tag: 'until', at: asBootTime(value) };
    case 'D':
      return { tag: 'afterDeath', hundredths: value };
    case 'N':
      return { tag: 'never' };
    default:
      return { tag: 'withNode' };
  }
}

/** Undefined when the file is not complete: its group saw that, and ran nothing. */
export function parseGroupFile(text: string): ListedGroup | undefined {
  const [first = '', group, startTime, job, fenceLine, started, end, ...later] = text.split('\n');
  const lease = parseLease(first);
  const fence = parseFence(fenceLine ?? '');
  if (end !== 'end' || !lease || !group || startTime === undefined) return undefined;
  if (!job || !isJobId(job) || !fence || !/^\d{1,15}$/.test(started ?? '')) return undefined;
  const groupId = Number(group);
  // 0 and 1 would be this process's own group and everything there is.
  if (!Number.isSafeInteger(groupId) || groupId < 2) return undefined;
  const startedAt = asWall(Number(started));
  return { groupId, startTime, job: asJobId(job), fence, startedAt, lease, ...parseLater(later) };
}

/** Milliseconds of user and system time; undefined: it is no line of `times`. */
export function parseTimes(line: string): number | undefined {
  const match = /^(\d+)m(\d+)[.,](\d+)s (\d+)m(\d+)[.,](\d+)s$/.exec(line);
  if (!match) return undefined;
  const seconds = (at: number): number =>
    Number(match[at]) * 60 + Number(`${match[at + 1]}.${match[at + 2]}`);
  return Math.round((seconds(1) + seconds(4)) * 1000);
}

export const limitsLine = ({ cpuSeconds, cgroupFolders }: ListedLimits): string =>
  ['limits', cpuSeconds, ...cgroupFolders].join(' ');

function parseLimits(line: string): ListedLimits | undefined {
  const match = /^limits (\d{1,15})((?: \/[^ ]+)*)$/.exec(line);
  if (!match) return undefined;
  const cgroupFolders = (match[2] ?? '').split(' ').filter((folder) => folder !== '');
  return { cpuSeconds: Number(match[1]), cgroupFolders };
}

type Later = Pick<ListedGroup, 'isRefused' | 'isCut' | 'unable' | 'limits' | 'exit'>;

/** What groups, runners and supervisors say of themselves; the rest is what a shell says of a child. */
const isKnown = (line: string): boolean =>
  line === '' ||
  line === 'cut' ||
  line.startsWith('limits ') ||
  line.startsWith('unable ') ||
  parseTimes(line) !== undefined;

function parseLater(lines: readonly string[]): Later {
  // The text behind the last line feed: a line that is being written is none yet.
  const whole = lines.slice(0, -1);
  // A supervisor that has not seen the end yet may say `cut` after it: that was too late.
  const last = whole.findLastIndex((line) => line !== 'cut');
  const match = /^exit (\d{1,3}) (\d+)\.(\d\d)(?: (\d+))?$/.exec(whole[last] ?? '');
  const before = match ? whole.slice(0, last) : whole;
  const said = before.some((line) => !isKnown(line));
  const exit = match && {
    code: Number(match[1]),
    isSignalled: said && Number(match[1]) > 128,
    at: asBootTime(Number(`${match[2]}${match[3]}`)),
    cpuMs: cpuMsOf(before.at(-1) ?? '', match[4]),
  };
  return {
    isRefused: whole.includes('refused'),
    isCut: before.includes('cut'),
    unable: whole.find((line) => line.startsWith('unable '))?.slice('unable '.length),
    limits: whole.map(parseLimits).find((limits) => limits !== undefined),
    exit: exit ?? undefined,
  };
}

function cpuMsOf(times: string, before: string | undefined): number | undefined {
  const all = parseTimes(times);
  if (all === undefined || before === undefined) return undefined;
  return Math.max(0, all - Number(before));
}
