/**
 * Which folders of this machine a container may see: those below the operator's list, by their
 * real paths, so that no link leads out of it. A source has to be there: the engine would make it.
 */
import { realpath } from 'node:fs/promises';
import type { RunParams } from '../../run/docker-params.ts';

/** `/srv/data`, or `/srv/data:ro` for reading only. */
export type AllowedMounts = readonly string[];

/** @returns what the engine mounts, or a sentence why it is not allowed */
export async function allowedBinds(
  mounts: RunParams['mounts'],
  allowed: AllowedMounts,
): Promise<readonly string[] | string> {
  const folders = await Promise.all(allowed.map(toFolder));
  const binds: string[] = [];
  for (const { source, target, read_only } of mounts) {
    const path = await realpath(source).catch(() => undefined);
    if (path === undefined)
      return `The mount of ${source} is not possible: it is not on this node.`;
    const within = folders.filter((folder) => isWithin(path, folder.path));
    const isAllowed = within.some(({ isReadOnly }) => read_only || !isReadOnly);
    if (!isAllowed) {
      const how = within.length > 0 ? ' for writing (read_only: true is)' : '';
      return `The mount of ${source} is not allowed on this node${how}: its operator allows folders with --docker-mounts.`;
    }
    binds.push(`${path}:${target}:${read_only ? 'ro' : 'rw'}`);
  }
  return binds;
}

async function toFolder(allowed: string): Promise<{ path: string; isReadOnly: boolean }> {
  const isReadOnly = allowed.endsWith(':ro');
  const path = isReadOnly ? allowed.slice(0, -':ro'.length) : allowed;
  return { path: await realpath(path).catch(() => path), isReadOnly };
}

const isWithin = (path: string, folder: string): boolean =>
  path === folder || path.startsWith(folder.endsWith('/') ? folder : `${folder}/`);
