/** So that `mesh progress` works inside a job on every node, installed or not. */
import { existsSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';

/**
 * The node's PATH with the folder of its launcher at the end, where there is one.
 * @param program what this process was started with
 */
export function pathWithLauncher(
  path: string | undefined,
  program: string | undefined,
): string | undefined {
  const folder = program === undefined ? undefined : dirname(program);
  if (!path || folder === undefined || !existsSync(join(folder, 'mesh'))) return path;
  return path.split(delimiter).includes(folder) ? path : `${path}${delimiter}${folder}`;
}
