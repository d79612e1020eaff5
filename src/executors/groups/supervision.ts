/** Whether this machine can have attempts supervised: what groups.ts says under "That takes". */
import { access, constants } from 'node:fs/promises';
import { join } from 'node:path';
import { hasBootClock } from './boot-clock.ts';
import { hostIdentity } from './process-table.ts';

export type Supervision = Supervised | Plain;

export interface Supervised {
  readonly tag: 'supervised';
  readonly procFolder: string;
  /** Paths of these programs. */
  readonly setsid: string;
  readonly env: string;
}

export interface Plain {
  readonly tag: 'plain';
  readonly procFolder: string;
}

/** @param path PATH of the node, where its system keeps its programs */
export async function findSupervision(
  procFolder: string,
  path: string | undefined,
): Promise<Supervision> {
  const plain: Plain = { tag: 'plain', procFolder };
  if (!hasBootClock(procFolder) || (await hostIdentity()) === '') return plain;
  const folders = ['/usr/bin', '/bin', ...(path ?? '').split(':')].filter((folder) =>
    folder.startsWith('/'),
  );
  const [setsid, env] = await Promise.all([
    findProgram('setsid', folders),
    findProgram('env', folders),
  ]);
  return setsid && env ? { tag: 'supervised', procFolder, setsid, env } : plain;
}

async function findProgram(name: string, folders: readonly string[]): Promise<string | undefined> {
  for (const folder of folders) {
    const path = join(folder, name);
    const isThere = await access(path, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (isThere) return path;
  }
  return undefined;
}
