/**
 * One running node per data folder. The lock is an open exclusive transaction on an empty SQLite
 * file of its own: the kernel drops it when the process ends, however it ends, children don't
 * inherit it, and the database proper stays readable for others. A pid file alone would survive
 * a SIGKILL, and Node has no flock. The pid beside it is for the message only.
 */
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { MeshError } from '../base/errors.ts';

const LOCK_FILE = 'node.lock';
const PID_FILE = 'node.pid';

/** Returns the way to release it. @throws MeshError DATA_LOCKED; what SQLite throws otherwise */
export function lockFolder(folder: string): () => void {
  const lock = new Database(join(folder, LOCK_FILE), { timeout: 0 });
  const pidFile = join(folder, PID_FILE);
  try {
    lock.exec('BEGIN EXCLUSIVE');
    writeFileSync(pidFile, `${process.pid}\n`, { mode: 0o600 });
  } catch (thrown) {
    lock.close();
    const isTaken = (thrown as { code?: string }).code?.startsWith('SQLITE_BUSY');
    throw isTaken ? lockedBy(folder, readPid(pidFile)) : thrown;
  }
  return () => {
    rmSync(pidFile, { force: true });
    lock.close();
  };
}

function lockedBy(folder: string, pid: string | undefined): MeshError {
  const who = pid === undefined ? 'another running node' : `a running node, process ${pid}`;
  return new MeshError(
    'DATA_LOCKED',
    `The data folder ${folder} is in use by ${who}. Stop that one, or give this one another --name or --data-dir.`,
  );
}

/** Undefined: the other process has not written it yet, or it can't be read. */
function readPid(pidFile: string): string | undefined {
  try {
    return /^\d+/.exec(readFileSync(pidFile, 'utf8'))?.[0];
  } catch {
    return undefined;
  }
}
