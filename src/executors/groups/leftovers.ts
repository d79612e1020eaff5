/**
 * What an earlier life of this node left behind: groups that its guard did not end (it was killed
 * with the node, or the machine was too busy), told apart from strangers that were given the same
 * number since. Nothing is started before they are gone.
 */

import { readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf } from '../../base/errors.ts';
import type { AttemptRef } from '../../core/messages.ts';
import { fenceText } from '../../core/record.ts';
import { GROUP_SUFFIX, HOST_FILE, type ListedGroup, OPEN_FILE, parseListing } from './listing.ts';
import {
  hasMember,
  hostIdentity,
  isGroupAlive,
  signalGroup,
  startTimeOf,
  untilGroupIsGone,
} from './process-table.ts';

const GONE_DEADLINE_MS = 5000;

export interface LeftoverParts {
  readonly runningFolder: string;
  /** Of an attempt none of whose processes is alive any more. A rejection is a problem, told on. */
  readonly settle: (attempt: AttemptRef) => Promise<void>;
  readonly onProblem: (sentence: string) => void;
}

/** Settles once no group of an earlier life is alive. */
export async function endEarlierLives(parts: LeftoverParts): Promise<void> {
  const { runningFolder, onProblem } = parts;
  const identity = await hostIdentity();
  for (const name of await readdir(runningFolder)) {
    const folder = join(runningFolder, name);
    const groups = await closeLife(folder);
    const host = await readFile(join(folder, HOST_FILE), 'utf8').catch(() => '');
    if (host === identity) await Promise.all(groups.map((group) => endGroup(group, onProblem)));
    for (const group of groups) {
      await parts.settle(group).catch((thrown: unknown) => {
        onProblem(`The output of job ${group.job} cannot be closed (${messageOf(thrown)}).`);
      });
    }
    await rm(folder, { recursive: true, force: true });
  }
}

/** No group starts in this life any more; those that did are returned. */
async function closeLife(folder: string): Promise<ListedGroup[]> {
  await rm(join(folder, OPEN_FILE), { force: true });
  const groups: ListedGroup[] = [];
  for (const name of await readdir(folder).catch(() => [])) {
    if (!name.endsWith(GROUP_SUFFIX)) continue;
    const listed = parseListing(await readFile(join(folder, name), 'utf8'));
    if (listed) groups.push(listed);
  }
  return groups;
}

async function endGroup(group: ListedGroup, onProblem: (sentence: string) => void): Promise<void> {
  const { groupId, job } = group;
  if (!(await isGroupAlive(groupId)) || !(await isStillTheSame(group))) return;
  signalGroup(groupId, 'SIGKILL');
  if (await untilGroupIsGone(groupId, GONE_DEADLINE_MS)) return;
  onProblem(`Process group ${groupId} of job ${job}, left by an earlier run, does not end.`);
}

/** Without its leader a group has no start time; its members' environment names the attempt. */
async function isStillTheSame({ groupId, startTime, job, fence }: ListedGroup): Promise<boolean> {
  const found = await startTimeOf(groupId);
  if (found !== undefined) return startTime !== '' && found === startTime;
  return hasMember(groupId, [`MESH_JOB_ID=${job}`, `MESH_FENCE=${fenceText(fence)}`]);
}
