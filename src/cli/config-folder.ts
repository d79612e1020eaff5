/** Where the key and the signs of running nodes are, found as nodes find it. */
import { readFileSync } from 'node:fs';
import { MeshError, messageOf } from '../base/errors.ts';
import { parseConfig } from '../config.ts';

/** Nothing but the folder: a wrong setting of a node must not keep anybody from asking one. */
export function configFolder(flag?: string): string {
  const { HOME, XDG_CONFIG_HOME, MESH_CONFIG_DIR } = process.env;
  return parseConfig({
    flags: flag === undefined ? {} : { 'config-dir': flag },
    env: { HOME, XDG_CONFIG_HOME, MESH_CONFIG_DIR },
    readFile: () => undefined,
  }).configDir;
}

/** @returns undefined when there is none. @throws MeshError BAD_SETTING */
export function readSettingsFile(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new MeshError('BAD_SETTING', `The settings file cannot be read: ${messageOf(cause)}.`, {
      cause,
    });
  }
}
