/**
 * From the start of a node to its end: the folder in which its groups are listed.
 *
 *     running/<life>/open       this life may start groups; removed first by whoever ends it
 *     running/<life>/host       boot id and pid namespace: elsewhere the numbers mean nothing
 *     running/<life>/busy       the node runs something: its supervisor looks again and again
 *     running/<life>/death      the node is gone since then (boot-clock.ts)
 *     running/<life>/<n>.group  one process group (group-file.ts)
 *     running/<life>/<n>.ended  one that ended by itself, until the node has that on its own disk
 *
 * A group writes its file, then looks for `open`; who ends a life removes `open`, then reads the
 * files. So a group that is about to start is either seen or sees that it must not start, without
 * any waiting. The next life adopts a group by moving its file into its own folder: who writes
 * into it has it open, and at every moment exactly one supervisor finds it.
 *
 * What is done for every job is done at once, not in turn: in the folder of the database, which is
 * written to in the same way, a rename takes microseconds, and waiting for a thread ten times that.
 */
import { randomBytes } from 'node:crypto';
import { renameSync, rmSync, unlinkSync, writeFileSync } from 'node:fs';
import { mkdir, open, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { AttemptRef } from '../../core/messages.ts';
import { fenceText } from '../../core/record.ts';
import { asBootTime, type BootTime, bootTime } from './boot-clock.ts';
import { ENDED_SUFFIX, GROUP_SUFFIX, type ListedGroup, parseGroupFile } from './group-file.ts';
import { hostIdentity } from './process-table.ts';

export const OPEN_FILE = 'open';
export const HOST_FILE = 'host';
export const BUSY_FILE = 'busy';
export const DEATH_FILE = 'death';

/** Where one group is listed. */
export interface Listing {
  readonly folder: string;
  readonly name: string;
  readonly path: string;
  /** Where its file is kept after its end; the supervisor does not look at it there. */
  readonly endedPath: string;
  /** What it reads as its standard input, if its job says so. */
  readonly stdinPath: string;
  readonly job: string;
  readonly fence: string;
}

export class Life {
  readonly folder: string;
  private serial = 0;

  private constructor(folder: string) {
    this.folder = folder;
  }

  static async begin(runningFolder: string): Promise<Life> {
    const folder = join(runningFolder, `${process.pid}-${randomBytes(4).toString('hex')}`);
    await mkdir(folder, { mode: 0o700 });
    await writeFile(join(folder, HOST_FILE), await hostIdentity());
    await (await open(join(folder, OPEN_FILE), 'w')).close();
    return new Life(folder);
  }

  newListing({ job, fence }: AttemptRef): Listing {
    this.serial += 1;
    const name = `${this.serial}${GROUP_SUFFIX}`;
    const path = join(this.folder, name);
    const endedPath = join(this.folder, `${this.serial}${ENDED_SUFFIX}`);
    const stdinPath = join(this.folder, `${this.serial}.stdin`);
    return { folder: this.folder, name, path, endedPath, stdinPath, job, fence: fenceText(fence) };
  }

  /** Takes the file of a group of an earlier life. */
  async adopt(group: ListedGroup, path: string): Promise<Listing> {
    const listing = this.newListing(group);
    await rename(path, listing.path);
    return listing;
  }

  /** Undefined: the group found no room for its file, or the folder is gone. */
  async listed({ path }: Listing): Promise<ListedGroup | undefined> {
    const isOpen = await stat(join(this.folder, OPEN_FILE)).catch(() => undefined);
    return isOpen && readGroupFile(path);
  }

  async remove({ path }: Listing): Promise<void> {
    await rm(path, { force: true });
  }

  /** Nothing of it runs any more, and only its file tells how it ended. */
  keepEnd({ path, endedPath }: Listing): void {
    renameSync(path, endedPath);
  }

  removeEnd({ endedPath }: Listing): void {
    unlinkSync(endedPath);
  }

  /** At once: the next group is started when this returns. @throws what the file system says */
  setBusy(isBusy: boolean): void {
    const path = join(this.folder, BUSY_FILE);
    if (isBusy) writeFileSync(path, '');
    else rmSync(path, { force: true });
  }

  /** This process lives on, but not as the node of this life. */
  async noteDeath(): Promise<void> {
    await writeFile(join(this.folder, DEATH_FILE), `${bootTime()}\n`);
  }

  /** After the last group has ended. */
  async end(): Promise<void> {
    await rm(this.folder, { recursive: true, force: true });
  }
}

/** Undefined: there is none, or it is not complete. */
export async function readGroupFile(path: string): Promise<ListedGroup | undefined> {
  return parseGroupFile(await readFile(path, 'latin1').catch(() => ''));
}

/** An earlier life, closed: no group starts in it any more. */
export interface EarlierLife {
  readonly folder: string;
  /** Since when its node is gone, if somebody noted it. */
  readonly deathAt: BootTime | undefined;
  /** Its process ids mean what they meant. */
  readonly isSameHost: boolean;
  readonly groups: readonly FoundGroup[];
}

export interface FoundGroup {
  readonly group: ListedGroup;
  readonly path: string;
  /** Its node has seen that nothing of it is left: its runner may lead another group by now. */
  readonly isOver: boolean;
}

export async function closeEarlierLife(folder: string, identity: string): Promise<EarlierLife> {
  await rm(join(folder, OPEN_FILE), { force: true });
  const groups: FoundGroup[] = [];
  for (const name of await readdir(folder).catch(() => [])) {
    const isOver = name.endsWith(ENDED_SUFFIX);
    if (!name.endsWith(GROUP_SUFFIX) && !isOver) continue;
    const path = join(folder, name);
    const group = await readGroupFile(path);
    if (group) groups.push({ group, path, isOver });
  }
  const host = await readFile(join(folder, HOST_FILE), 'utf8').catch(() => '');
  const death = await readFile(join(folder, DEATH_FILE), 'utf8').catch(() => '');
  const deathAt = /^\d+\n$/.test(death) ? asBootTime(Number(death)) : undefined;
  return { folder, deathAt, isSameHost: host === identity, groups };
}
