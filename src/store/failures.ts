/** What SQLite and the file system throw, as errors whose sentence says what to do. */
import { type ErrorCode, MeshError } from '../base/errors.ts';

/** What was tried: opening and reading fail for other reasons than writing. */
export type Attempted = 'open' | 'read' | 'write';

const FULL = /^(SQLITE_FULL|ENOSPC|EDQUOT|SQLITE_IOERR_(WRITE|FSYNC|DIR_FSYNC|TRUNCATE|SHM\w+))$/;
const DAMAGED = /^(SQLITE_CORRUPT.*|SQLITE_NOTADB)$/;
const FORBIDDEN = /^(EACCES|EPERM|EROFS|SQLITE_READONLY.*|SQLITE_CANTOPEN.*|SQLITE_PERM)$/;
/** Wrong SQL, a broken rule of a table, a misused statement. */
const OWN_FAULT = /^SQLITE_(ERROR|CONSTRAINT.*|MISMATCH|MISUSE|RANGE|TOOBIG)$/;
const TAKEN = /^(SQLITE_BUSY.*|SQLITE_LOCKED.*)$/;

/**
 * Undefined: this is no failure of a disk but a fault of the program, to be thrown on as it is.
 * Any IOERR of a write counts as a full disk: the same is to be done, and it is tried again.
 */
export function asStoreFailure(
  thrown: unknown,
  attempted: Attempted,
  file: string,
): MeshError | undefined {
  if (thrown instanceof MeshError) return thrown;
  const failure = withCode(thrown);
  const known = failure && describe(failure.code, attempted, file);
  if (known === undefined) return undefined;
  const cause = `${failure?.code}: ${failure?.message}`;
  return new MeshError(known.code, `${known.what} (${cause}). ${known.next}`, { cause: thrown });
}

/** The fsync failed: of what it was for, part may be on the disk, and a second one would not tell. */
export function notKept(failure: NodeJS.ErrnoException, file: string): MeshError {
  return new MeshError(
    'DATA_FAILED',
    `The disk did not keep what was written to ${file} (${failure.code}: ${failure.message}). The node ends, so that its next start reads what is really there; see what the log of the system says of the disk first.`,
    { cause: failure },
  );
}

/** Drizzle wraps what the driver throws in the statements of a migration. */
function withCode(thrown: unknown): { code: string; message: string } | undefined {
  for (let error = thrown; error instanceof Error; error = error.cause) {
    const code = (error as { code?: unknown }).code;
    if (typeof code === 'string') return { code, message: error.message };
  }
  return undefined;
}

interface Description {
  readonly code: ErrorCode;
  readonly what: string;
  readonly next: string;
}

function describe(code: string, attempted: Attempted, file: string): Description | undefined {
  if (DAMAGED.test(code)) return { code: 'DATA_CORRUPT', ...damaged(file) };
  const isWriteError = attempted === 'write' && code.startsWith('SQLITE_IOERR');
  if (FULL.test(code) || isWriteError) {
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
  if (!/^(SQLITE_|E[A-Z]+$)/.test(code) || OWN_FAULT.test(code)) return undefined;
  return {
    code: 'DATA_FAILED',
    what: `The database file ${file} cannot be ${attempted === 'write' ? 'written' : 'read'}`,
    next: 'See what the disk and the log of the system say.',
  };
}

const damaged = (file: string): { what: string; next: string } => ({
  what: `The database file ${file} is damaged`,
  next: `Move it away with its -wal and -shm files to start without its jobs; \`sqlite3 ${file} .recover\` saves what is readable.`,
});
