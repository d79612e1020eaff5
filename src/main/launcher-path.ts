/** So that `mesh progress` works inside a job on every node, installed or not. */
import { existsSync } from 'node:fs';
import { basename, delimiter, dirname, join } from 'node:path';

/** What the launcher starts. A program that has a node in it has a folder of its own. */
const BUNDLE = 'mesh.mjs';

/**
 * The node's PATH with the folder of its launcher at the end, where there is one.
 * @param program what this process was started with
 */
export function pathWithLauncher(
  path: string | undefined,
  program: string | undefined,
): string | undefined {
  if (!path || program === undefined || basename(program) !== BUNDLE) return path;
  const folder = dirname(program);
  if (!existsSync(join(folder, 'mesh'))) return path;
  return path.split(delimiter).includes(folder) ? path : `${path}${delimiter}${folder}`;
}
