/**
 * Small files that hold a secret: readable by their owner alone, complete from the moment they
 * have their name, and never written over by accident.
 */
import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { MeshError, messageOf } from '../base/errors.ts';

const OWNER_ONLY = 0o600;
const OTHERS = 0o077;
/** Secrets are a line or two; whatever is larger is another file. */
const MAX_BYTES = 4096;

/**
 * @returns the text, or undefined when there is no such file
 * @throws MeshError BAD_KEY when others may read it, it is not this user's, or it cannot be read
 */
export function readPrivateFile(file: string): string | undefined {
  let descriptor: number;
  try {
    descriptor = fs.openSync(file, 'r');
  } catch (cause) {
    if (isCode(cause, 'ENOENT')) return undefined;
    throw new MeshError('BAD_KEY', `${file} cannot be read (${messageOf(cause)}).`, { cause });
  }
  try {
    // The open file is examined, not its name, which may mean another file a moment later.
    checkOwner(file, fs.fstatSync(descriptor));
    return fs.readFileSync(descriptor, 'utf8');
  } finally {
    fs.closeSync(descriptor);
  }
}

function checkOwner(file: string, stat: fs.Stats): void {
  if (!stat.isFile() || stat.size > MAX_BYTES) {
    throw new MeshError('BAD_KEY', `${file} is not a key file. Name another one, or move it away.`);
  }
  const user = process.getuid?.();
  if (user !== undefined && stat.uid !== user) {
    const sentence = `${file} belongs to another user. Mend it with: chown ${user} '${file}'`;
    throw new MeshError('BAD_KEY', sentence);
  }
  if ((stat.mode & OTHERS) !== 0) {
    const sentence = `${file} may be read or written by others. Mend it with: chmod 600 '${file}'`;
    throw new MeshError('BAD_KEY', sentence);
  }
}

/**
 * Creates the file with this text, and its folder where that is missing.
 * @returns false when it was there already; it is left as it is
 * @throws MeshError DATA_FAILED
 */
export function createPrivateFile(file: string, text: string): boolean {
  return withTemporary(file, text, (temporary) => {
    try {
      // A hard link fails where the name is taken, and gives the name to a complete file.
      fs.linkSync(temporary, file);
      return true;
    } catch (cause) {
      if (isCode(cause, 'EEXIST')) return false;
      throw cause;
    } finally {
      fs.unlinkSync(temporary);
    }
  });
}

/** Creates or replaces the file in one step. @throws MeshError DATA_FAILED */
export function replacePrivateFile(file: string, text: string): void {
  withTemporary(file, text, (temporary) => fs.renameSync(temporary, file));
}

function withTemporary<T>(file: string, text: string, use: (temporary: string) => T): T {
  const temporary = `${file}.${randomBytes(6).toString('hex')}`;
  try {
    fs.mkdirSync(path.dirname(file), { recursive: true, mode: 0o700 });
    const descriptor = fs.openSync(temporary, 'wx', OWNER_ONLY);
    try {
      fs.writeFileSync(descriptor, text);
      fs.fsyncSync(descriptor);
    } finally {
      fs.closeSync(descriptor);
    }
    return use(temporary);
  } catch (cause) {
    fs.rmSync(temporary, { force: true });
    const sentence = `${file} cannot be written (${messageOf(cause)}). See to its folder.`;
    throw new MeshError('DATA_FAILED', sentence, { cause });
  }
}

const isCode = (thrown: unknown, code: string): boolean =>
  thrown instanceof Error && 'code' in thrown && thrown.code === code;
