/**
 * Every process group that runs is listed in a file before the first instruction of its job, so
 * that whoever outlives the node knows what to end. A group lists itself: its first program is a
 * few lines of shell that write the file and then become the job (`exec`, same process). A node
 * that wrote it after the fork could be killed in between.
 *
 *     running/<life>/open       this life may start groups; removed first by whoever ends them
 *     running/<life>/host       boot id and pid namespace: elsewhere the numbers mean nothing
 *     running/<life>/<n>.group  group id, start time of its leader, job, fence, `end`: a line each
 *
 * A group writes its file, then looks for `open`; who ends groups removes `open`, then reads the
 * files. So a group that is about to start is either seen or sees that it must not start, without
 * any waiting. Group ids are reused by the system: the start time (field 22 of /proc/PID/stat, in
 * clock ticks since boot; without /proc what ps says) tells whether it is still the same.
 */

import { randomBytes } from 'node:crypto';
import { mkdir, open, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { asJobId, isJobId } from '../../base/ids.ts';
import type { AttemptRef } from '../../core/messages.ts';
import { fenceText } from '../../core/record.ts';
import { parseFence } from '../layout.ts';
import { hostIdentity } from './process-table.ts';

export const OPEN_FILE = 'open';
export const HOST_FILE = 'host';
export const GROUP_SUFFIX = '.group';

/** Its files tell when a process began. Where there is no such folder, ps is asked. */
export const PROC_FOLDER = '/proc';

/** The exit code by which a group says that it could not list itself, and so ran nothing. */
export const NOT_LISTED_CODE = 253;

/**
 * Shell text that finds the start time of a process; __mesh holds the result. Names in it are
 * unusual because a job's own variable of the same name would be changed. Written for dash:
 * no fork in the usual case, nothing from PATH.
 */
export const START_TIME_FUNCTIONS = `
__mesh_pick() { __mesh=\${20-}; }
__mesh_join() { __mesh="$*"; }
__mesh_ask() { __mesh_join $(LC_ALL=C TZ=UTC0 /bin/ps -o lstart= -p "$1"); }
`;

/** Arguments: folder of the life, file name, job, fence, folder of /proc; then the program. */
export const LISTING_SCRIPT = `${START_TIME_FUNCTIONS}
{
  if read -r __mesh <"$5/$$/stat"; then __mesh_pick \${__mesh##*) }; else __mesh_ask "$$"; fi
  printf '%s\\n' "$$" "$__mesh" "$3" "$4" end >"$1/$2" && [ -e "$1/${OPEN_FILE}" ]
} 2>/dev/null || exit ${NOT_LISTED_CODE}
shift 5
exec "$@"
`;

/** A group that listed itself. */
export interface ListedGroup extends AttemptRef {
  readonly groupId: number;
  /** Empty when the system could not tell. */
  readonly startTime: string;
}

/** Undefined when the file is not complete: its group saw that, and ran nothing. */
export function parseListing(text: string): ListedGroup | undefined {
  const [group, startTime, job, fenceLine, end] = text.split('\n');
  const fence = parseFence(fenceLine ?? '');
  if (end !== 'end' || !group || startTime === undefined || !job || !isJobId(job) || !fence) {
    return undefined;
  }
  const groupId = Number(group);
  // 0 and 1 would be this process's own group and everything there is.
  if (!Number.isSafeInteger(groupId) || groupId < 2) return undefined;
  return { groupId, startTime, job: asJobId(job), fence };
}

/** Where one group lists itself. */
export interface Listing {
  readonly folder: string;
  readonly name: string;
  readonly job: string;
  readonly fence: string;
}

/** From the start of a node to its end. */
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
    return { folder: this.folder, name, job, fence: fenceText(fence) };
  }

  /** False: the group found no room for its listing, or the folder is gone. */
  async isListed({ folder, name }: Listing): Promise<boolean> {
    try {
      await stat(join(folder, OPEN_FILE));
      return parseListing(await readFile(join(folder, name), 'utf8')) !== undefined;
    } catch {
      // Unreadable is as good as missing: the group could not rely on it either.
      return false;
    }
  }

  async remove({ folder, name }: Listing): Promise<void> {
    await rm(join(folder, name), { force: true });
  }

  /** After the last group has ended. */
  async end(): Promise<void> {
    await rm(this.folder, { recursive: true, force: true });
  }
}
