/** What a contestant needs and whether it is there. */
import { accessSync, constants, existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Contestant, Need } from './row.ts';

export const ROOT = new URL('../../../', import.meta.url).pathname;
/** What install.sh unpacks, so that nothing is installed on the machine itself. */
const UNPACKED = join(ROOT, '.runtime/bench/debian/root/usr');
const PACKAGES = new URL('../node_modules/', import.meta.url).pathname;

/** Says in words what is missing; undefined: all is there. */
export function missingFor({ needs = [] }: Contestant, isQuick: boolean): string | undefined {
  const debian = needs.find((need) => 'program' in need);
  if (isQuick && debian)
    return `left out of a quick run, as it needs the Debian package ${debian.debian}`;
  for (const need of needs) {
    if (isThere(need)) continue;
    return 'npm' in need
      ? `the package ${need.npm} is missing: npm ci --ignore-scripts --prefix test/bench`
      : `${need.program} is missing: it comes with the Debian package ${need.debian}`;
  }
  return undefined;
}

const isThere = (need: Need): boolean =>
  'npm' in need
    ? existsSync(join(PACKAGES, need.npm, 'package.json'))
    : findProgram(need.program) !== undefined;

/** Its path: on the PATH, where Debian hides servers, or unpacked by install.sh. */
export const findProgram = (name: string): string | undefined =>
  folders()
    .map((folder) => join(folder, name))
    .find(isExecutable);

function folders(): string[] {
  const versions = [join(UNPACKED, 'lib/postgresql'), '/usr/lib/postgresql'].flatMap((folder) =>
    existsSync(folder) ? readdirSync(folder).map((version) => join(folder, version, 'bin')) : [],
  );
  return [
    ...(process.env.PATH ?? '').split(':').filter((folder) => folder !== ''),
    '/usr/local/bin',
    '/usr/sbin',
    join(UNPACKED, 'bin'),
    join(UNPACKED, 'sbin'),
    ...versions,
  ];
}

/** For a program that may have been unpacked: it finds its libraries there too. */
export function programEnv(): NodeJS.ProcessEnv {
  const folder = join(UNPACKED, 'lib');
  if (!existsSync(folder)) return process.env;
  const libraries = readdirSync(folder).filter((name) => name.endsWith('-linux-gnu'));
  return { ...process.env, LD_LIBRARY_PATH: libraries.map((name) => join(folder, name)).join(':') };
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
