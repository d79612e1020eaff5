/** What SQLite and the file system throw, as errors whose sentence says what to do. */
import { type ErrorCode, MeshError, messageOf } from '../base/errors.ts';

/** What was tried: opening and reading fail for other reasons than writing. */
export type Attempted = 'open' | 'read' | 'write';

const FULL = /^(SQLITE_FULL|ENOSPC|EDQUOT|SQLITE_IOERR.*)$/;
const DAMAGED = /^(SQLITE_CORRUPT.*|SQLITE_NOTADB)$/;
const FORBIDDEN = /^(EACCES|EPERM|EROFS|SQLITE_READONLY.*|SQLITE_CANTOPEN.*|SQLITE_PERM)$/;
const TAKEN = /^(SQLITE_BUSY.*|SQLITE_LOCKED.*)$/;

/**
 * Undefined: this is no failure of a disk but a fault of the program, to be thrown on as it is.
 * An IOERR on a write counts as a full disk: the same things are to be done, and it is retried.
 */
export function asStoreFailure(
  thrown: unknown,
  attempted: Attempted,
  file: string,
): MeshError | undefined {
  if (thrown instanceof MeshError) return thrown;
  const code = (thrown as { code?: unknown } | undefined)?.code;
  if (typeof code !== 'string' || code === 'SQLITE_ERROR') return undefined;
  const known = describe(code, attempted, file);
  if (known === undefined) return undefined;
  const cause = `${code}: ${messageOf(thrown)}`;
  return new MeshError(known.code, `${known.what} (${cause}). ${known.next}`, { cause: thrown });
}

interface Description {
  readonly code: ErrorCode;
  readonly what: string;
  readonly next: string;
}

function describe(code: string, attempted: Attempted, file: string): Description | undefined {
  if (DAMAGED.test(code)) return { code: 'DATA_CORRUPT', ...damaged(file) };
  if (FULL.test(code) && (attempted === 'write' || !code.startsWith('SQLITE_IOERR'))) {
    return {
      code: 'DISK_FULL',
      what: `The disk takes no writes to ${file}`,
      next: 'Free some space; the node goes on by itself then.',
    };
  }
  if (FORBIDDEN.test(code)) {
    return {
      code: 'DATA_FAILED',
      what: `The database file ${file} cannot be opened or written`,
      next: 'Give this user write permission to the file and its folder, or name another one with --data-dir.',
    };
  }
  if (TAKEN.test(code)) {
    return {
      code: 'DATA_FAILED',
      what: `Another program keeps the database file ${file} locked for writing`,
      next: 'End its transaction; reading is always possible.',
    };
  }
  if (!/^(SQLITE_|E[A-Z]+$)/.test(code) || code.startsWith('SQLITE_CONSTRAINT')) return undefined;
  return {
    code: 'DATA_FAILED',
    what: `The database file ${file} cannot be ${attempted === 'write' ? 'written' : 'read'}`,
    next: 'See what the disk and the log of the system say.',
  };
}

/** The sentence about a damaged file, also where no exception told of it. */
export const damaged = (file: string): { what: string; next: string } => ({
  what: `The database file ${file} is damaged`,
  next: `Move it away with its -wal and -shm files to start without its jobs; \`sqlite3 ${file} .recover\` saves what is readable.`,
});
