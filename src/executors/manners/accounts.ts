/** Users of this machine, wherever it keeps them: `getent` asks for all of them, files or directory. */
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { promisify } from 'node:util';

const run = promisify(execFile);
const DEADLINE_MS = 10_000;

export interface Account {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
  readonly home: string;
}

/** @param user name or number; undefined: there is none */
export async function findAccount(user: string): Promise<Account | undefined> {
  const options = { timeout: DEADLINE_MS };
  const asked = await run('getent', ['passwd', user], options).catch(() => undefined);
  const text = asked?.stdout ?? (await readFile('/etc/passwd', 'utf8').catch(() => ''));
  // The system takes 00 for 0, and 4294967296 too; whoever has denied 0 has not thought of those.
  return text
    .split('\n')
    .map(parseEntry)
    .find((entry) => entry && (entry.name === user || String(entry.uid) === user));
}

function parseEntry(line: string): Account | undefined {
  const [name, , uid, gid, , home] = line.split(':');
  if (!name || !/^\d+$/.test(uid ?? '') || !/^\d+$/.test(gid ?? '')) return undefined;
  return { name, uid: Number(uid), gid: Number(gid), home: home || '/' };
}
