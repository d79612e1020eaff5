/** Programs of the system that attempts are started with. */
import { access, constants } from 'node:fs/promises';
import { join } from 'node:path';

const USUAL_FOLDERS = ['/usr/bin', '/bin', '/usr/sbin', '/sbin'];

/** @param path PATH of the node, looked through after the usual places */
export async function findProgram(
  name: string,
  path: string | undefined,
): Promise<string | undefined> {
  const folders = (path ?? '').split(':').filter((folder) => folder.startsWith('/'));
  for (const folder of [...USUAL_FOLDERS, ...folders]) {
    const file = join(folder, name);
    const isThere = await access(file, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (isThere) return file;
  }
  return undefined;
}
