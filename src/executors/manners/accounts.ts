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
  if (asked) return parseEntry(asked.stdout.split('\n')[0] ?? '');
  const entries = (await readFile('/etc/passwd', 'utf8').catch(() => '')).split('\n');
  return entries
    .map(parseEntry)
    .find((entry) => entry && (entry.name === user || String(entry.uid) === user));
}

function parseEntry(line: string): Account | undefined {
  const [name, , uid, gid, , home] = line.split(':');
  if (!name || !/^\d+$/.test(uid ?? '') || !/^\d+$/.test(gid ?? '')) return undefined;
  return { name, uid: Number(uid), gid: Number(gid), home: home || '/' };
}
