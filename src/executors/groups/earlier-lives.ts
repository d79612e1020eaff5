/**
 * What earlier lives of this node left: groups that run, groups that ended while no node was there,
 * and strangers that were given the same numbers since. Who still has a lease is adopted, and so is
 * who ended by itself: its end is in its file. All others are ended before anything is started, so
 * "lost" is true when it is said.
 *
 * Of a node's own jobs (`ownNode`) nobody else decides, so one that is found is taken whenever the
 * death was, unless the supervisor has begun to end it.
 */
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf } from '../../base/errors.ts';
import { fenceText } from '../../core/record.ts';
import { asBootTime, type BootTime, bootTime, untilBootMs } from './boot-clock.ts';
import type { ListedGroup } from './group-file.ts';
import {
  closeEarlierLife,
  type EarlierLife,
  type FoundGroup,
  type Life,
  type Listing,
  readGroupFile,
} from './life.ts';
import {
  hasMember,
  hostIdentity,
  isSameProcess,
  isSessionAlive,
  signalSession,
  startTimeOf,
  untilSessionIsGone,
} from './process-table.ts';

const GONE_DEADLINE_MS = 5000;

export interface EarlierLivesParts {
  readonly runningFolder: string;
  /** The new one. */
  readonly life: Life;
  /** Else all are ended. */
  readonly mayAdopt: boolean;
  /** Of an attempt none of whose processes is alive any more. A rejection is a problem, told on. */
  readonly settle: (group: ListedGroup) => Promise<void>;
  readonly onProblem: (sentence: string) => void;
}

export interface Adopted {
  readonly group: ListedGroup;
  readonly listing: Listing;
  /** Undefined: never ended for its lease. */
  readonly leaseEndsAt: BootTime | undefined;
}

/** Settles once no group of an earlier life is alive but those returned. */
export async function takeOverEarlierLives(parts: EarlierLivesParts): Promise<Adopted[]> {
  const { runningFolder, life } = parts;
  const identity = await hostIdentity();
  const adopted: Adopted[] = [];
  for (const name of await readdir(runningFolder)) {
    const folder = join(runningFolder, name);
    if (folder === life.folder) continue;
    const earlier = await closeEarlierLife(folder, identity);
    await Promise.all(
      earlier.groups.map(async (found) => {
        const taken = await takeOver(found, earlier, parts);
        if (taken) adopted.push(taken);
      }),
    );
    await rm(folder, { recursive: true, force: true });
  }
  return adopted;
}

async function takeOver(
  { group: found, path, isOver }: FoundGroup,
  { isSameHost, deathAt }: EarlierLife,
  { life, mayAdopt, settle, onProblem }: EarlierLivesParts,
): Promise<Adopted | undefined> {
  const isThere = isSameHost && !isOver && (await isStillThere(found));
  // It may have ended since its file was read.
  const group = isThere || found.exit ? found : ((await readGroupFile(path)) ?? found);
  const endsAt = endOfLease(group, deathAt);
  if (mayAdopt && isSameHost && mayGoOn(group, endsAt) && (isThere || group.exit)) {
    // What is left of one whose main process ended is nobody's.
    if (group.exit && isThere) await endGroup(group, onProblem);
    return { group, listing: await life.adopt(group, path), leaseEndsAt: endsAt };
  }
  if (isThere) await endGroup(group, onProblem);
  await settle(group).catch((thrown: unknown) => {
    onProblem(`The output of job ${group.job} cannot be closed (${messageOf(thrown)}).`);
  });
  return undefined;
}

/** Undefined: never. */
function endOfLease({ lease }: ListedGroup, deathAt: BootTime = bootTime()): BootTime | undefined {
  switch (lease.tag) {
    case 'until':
      return lease.at;
    case 'afterDeath':
      return asBootTime(deathAt + lease.hundredths);
    case 'never':
      return undefined;
    case 'withNode':
      return deathAt;
  }
}

function mayGoOn({ lease, isCut, isRefused, exit }: ListedGroup, endsAt: BootTime | undefined) {
  if (isCut || isRefused || lease.tag === 'withNode') return false;
  return exit !== undefined || endsAt === undefined || untilBootMs(endsAt) > 0;
}

async function endGroup(group: ListedGroup, onProblem: (sentence: string) => void): Promise<void> {
  const { groupId, job } = group;
  await signalSession(groupId, 'SIGKILL', { hasLeader: !group.exit });
  if (await untilSessionIsGone(groupId, GONE_DEADLINE_MS)) return;
  onProblem(`Process group ${groupId} of job ${job}, left by an earlier run, does not end.`);
}

/** Without its leader a group has no start time; its members' environment names the attempt. */
async function isStillThere({ groupId, startTime, job, fence }: ListedGroup): Promise<boolean> {
  const found = await startTimeOf(groupId);
  if (found !== undefined && (startTime === '' || found !== startTime)) return false;
  // It may not have made its session yet.
  if (await isSameProcess(groupId, startTime)) return true;
  if (!(await isSessionAlive(groupId))) return false;
  if (found !== undefined) return true;
  return hasMember(groupId, [`MESH_JOB_ID=${job}`, `MESH_FENCE=${fenceText(fence)}`]);
}
