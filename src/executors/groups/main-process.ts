/**
 * The main process of a group, as the node sees it: which it is, and how it ended. There are three
 * ways to know: the node is its parent (where nothing supervises), its runner says when to look
 * into its file, or the group is an earlier life's and only the file tells.
 */
import type { ChildProcess } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import type { AttemptEnd } from '../../core/job.ts';
import { folderFailure, NO_FOLDER, NOT_LISTED, unableReason } from '../failures.ts';
import type { BootTime } from './boot-clock.ts';
import { type ListedGroup, parseGroupFile } from './group-file.ts';
import { isSameProcess } from './process-table.ts';
import type { HandedJob, RunnerEnd } from './runners.ts';
import { NO_FOLDER_CODE, NO_OUTPUT_CODE, NOT_LISTED_CODE, UNABLE_CODE } from './start-scripts.ts';

export interface MainProcess {
  /** Settles when it has ended; rejects never. Never settles after `leave`. */
  readonly ended: Promise<MainEnd>;
  /** Undefined while the group has not listed itself, or when it never will. */
  groupId(): number | undefined;
  /** All of the group is being killed by this node, with whoever would note its end. */
  expectKilled?(): void;
  /** Leads the group and waits for the main process; none: that leads itself. */
  readonly runner?: HandedJob;
  /** It goes on without this node, which may end. */
  leave(): void;
}

export interface MainEnd {
  readonly end: AttemptEnd;
  /** Undefined: just now. */
  readonly at?: BootTime | undefined;
  /** Undefined: not known. */
  readonly cpuMs?: number | undefined;
}

const LEASE_OVER = 'its lease ran out, and the supervisor ended it';
const NOT_WATCHED =
  'how it ended is not known: the process that waited for it was ended by somebody, or the disk was full';

/** The node's own child. @param readListed undefined: it has not listed itself */
export function watchChild(
  child: ChildProcess,
  groupId: number,
  readListed: () => Promise<ListedGroup | undefined>,
): MainProcess {
  child.on('error', () => {});
  const ended = new Promise<MainEnd>((resolve) => {
    child.once('exit', (code, signal) => {
      if (signal) resolve({ end: { tag: 'signalled', signal } });
      else if (code !== NOT_LISTED_CODE && code !== UNABLE_CODE)
        resolve({ end: exited(code ?? 0) });
      // A job may exit with these codes, too; the list decides.
      else void readListed().then((group) => resolve({ end: endOfListed(group, code) }));
    });
  });
  return { ended, groupId: () => groupId, leave: () => leaveChild(child) };
}

/** The child of a runner. */
export function watchRunner(
  job: HandedJob,
  { path, outputs }: { readonly path: string; readonly outputs: readonly string[] },
): MainProcess {
  let known: number | undefined;
  // Read at once: it is written a moment ago, a hundred bytes, and the next job waits for it.
  const read = (): ListedGroup | undefined => {
    try {
      return parseGroupFile(readFileSync(path, 'latin1'));
    } catch {
      // Unreadable is as good as missing: the group could not rely on it either.
      return undefined;
    }
  };
  const groupId = (): number | undefined => {
    known ??= read()?.groupId;
    return known;
  };
  const ended = job.ended.then((how): MainEnd => {
    const group = read();
    known ??= group?.groupId;
    if (!group && how.tag === 'exited' && how.code === NO_FOLDER_CODE) {
      return { end: { tag: 'failed', reason: NO_FOLDER } };
    }
    if (!group && how.tag === 'exited' && how.code === NO_OUTPUT_CODE) {
      return { end: whyNoOutput(outputs) };
    }
    if (!group || group.isRefused) return { end: NOTHING };
    if (group.exit || group.isCut) return { end: endOf(group), cpuMs: group.exit?.cpuMs };
    // The disk took the group's name and not its end; the runner has the same code.
    return { end: endOfRunner(how) };
  });
  return { ended, groupId, runner: job, leave: () => job.leave() };
}

const FIRST_LOOK_MS = 20;
const LAST_LOOK_MS = 250;
/** Of an earlier life. @param readGroup its file, again and again */
export function watchAdopted(
  group: ListedGroup,
  readGroup: () => Promise<ListedGroup | undefined>,
): MainProcess {
  const stop = new AbortController();
  let isKilled = false;
  const endOfGone = (found: ListedGroup | undefined): AttemptEnd => {
    if (isKilled) return { tag: 'signalled', signal: 'SIGKILL' };
    return { tag: 'lost', reason: found?.isCut ? LEASE_OVER : NOT_WATCHED };
  };
  return {
    ended: follow(group, readGroup, endOfGone, stop.signal),
    groupId: () => group.groupId,
    expectKilled: () => {
      isKilled = true;
    },
    leave: () => stop.abort(),
  };
}

async function follow(
  { groupId, startTime }: ListedGroup,
  readGroup: () => Promise<ListedGroup | undefined>,
  endOfGone: (group: ListedGroup | undefined) => AttemptEnd,
  signal: AbortSignal,
): Promise<MainEnd> {
  for (let pauseMs = FIRST_LOOK_MS; ; pauseMs = Math.min(pauseMs * 1.5, LAST_LOOK_MS)) {
    // Asked before the file: its runner writes the end, and what is gone by then writes no more.
    const isThere = await isSameProcess(groupId, startTime);
    const group = await readGroup();
    if (group?.exit) return { end: endOf(group), at: group.exit.at, cpuMs: group.exit.cpuMs };
    if (!isThere) return { end: endOfGone(group) };
    const wait = delay(pauseMs, undefined, { signal }).catch(() => {});
    await wait;
    if (signal.aborted) return new Promise(() => {});
  }
}

/** A shell does not say what the system said: so it is asked once more. */
function whyNoOutput(paths: readonly string[]): AttemptEnd {
  try {
    for (const path of paths) closeSync(openSync(path, 'a', 0o600));
    return NOTHING;
  } catch (thrown) {
    return folderFailure(thrown);
  }
}

/** A runner that was killed was so with its group: it is deaf to all that could be meant for it. */
function endOfRunner(how: RunnerEnd): AttemptEnd {
  if (how.tag === 'exited') return exited(how.code);
  const { signal } = how;
  return signal ? { tag: 'signalled', signal } : { tag: 'lost', reason: NOT_WATCHED };
}

const exited = (code: number): AttemptEnd => ({ tag: 'exited', code });
const NOTHING: AttemptEnd = { tag: 'returned', reason: NOT_LISTED };

function endOfListed(group: ListedGroup | undefined, code: number): AttemptEnd {
  if (group?.unable !== undefined) return { tag: 'failed', reason: unableReason(group.unable) };
  return group || code !== NOT_LISTED_CODE ? exited(code) : NOTHING;
}

function endOf({ exit, isCut, isRefused, unable }: ListedGroup): AttemptEnd {
  if (isRefused) return NOTHING;
  if (unable !== undefined) return { tag: 'failed', reason: unableReason(unable) };
  if (isCut) return { tag: 'lost', reason: LEASE_OVER };
  if (!exit) return { tag: 'lost', reason: NOT_WATCHED };
  const signal = exit.isSignalled ? nameOfSignal(exit.code - 128) : undefined;
  return signal ? { tag: 'signalled', signal } : exited(exit.code);
}

const nameOfSignal = (number: number): string | undefined =>
  Object.entries(constants.signals).find(([, value]) => value === number)?.[0];

function leaveChild(child: ChildProcess): void {
  child.removeAllListeners('exit');
  child.unref();
}
