/** Whether this machine can have attempts supervised: what groups.ts says under "That takes". */
import { access, constants } from 'node:fs/promises';
import { join } from 'node:path';
import { hasBootClock } from './boot-clock.ts';
import { hostIdentity } from './process-table.ts';

export type Supervision =
  | { readonly tag: 'supervised'; readonly procFolder: string; readonly setsid: string }
  | { readonly tag: 'plain'; readonly procFolder: string };

/** @param path PATH of the node, where its system keeps its programs */
export async function findSupervision(
  procFolder: string,
  path: string | undefined,
): Promise<Supervision> {
  if (hasBootClock(procFolder) && (await hostIdentity()) !== '') {
    for (const folder of ['/usr/bin', '/bin', ...(path ?? '').split(':')]) {
      const setsid = join(folder, 'setsid');
      if (folder.startsWith('/') && (await isProgram(setsid))) {
        return { tag: 'supervised', procFolder, setsid };
      }
    }
  }
  return { tag: 'plain', procFolder };
}

const isProgram = (path: string): Promise<boolean> =>
  access(path, constants.X_OK).then(
    () => true,
    () => false,
  );
