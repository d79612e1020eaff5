/**
 * What an attempt finds around it in a process of the pool: its folder, environment and output.
 * The folder is the process's own and stays with it from one attempt to the next, as long as each
 * leaves it as it found it. One that is to be removed is left before its node hears of the end: in
 * a folder that is gone, what is loaded late or runs in a thread fails. An output file is made by the first who prints. So a handler that needs
 * none of them costs the file system nothing.
 */
import { closeSync, lstatSync, mkdirSync, openSync, readdirSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { FOLDER_MODE, type RunCommand } from './protocol.ts';

export class Surroundings {
  /** The process's when it started, before its module changed anything. */
  private readonly env: Readonly<Record<string, string | undefined>> = { ...process.env };
  private readonly home = process.cwd();
  private readonly stdout = new Redirection(process.stdout);
  private readonly stderr = new Redirection(process.stderr);
  private folder: string | undefined;
  /** That folder, as the system names it. */
  private cwd = '';

  /** The process becomes the attempt's. */
  enter({ folder, env, stdout, stderr }: RunCommand): void {
    this.stdout.open(stdout);
    this.stderr.open(stderr);
    setEnvironment({ ...this.env, ...env });
    if (folder === this.folder) return;
    process.chdir(folder);
    this.folder = folder;
    this.cwd = process.cwd();
  }

  /** After the attempt. @returns that its folder is the process's own, empty and as it was made */
  leave({ folder, isOwnFolder }: RunCommand): boolean {
    this.stdout.close();
    this.stderr.close();
    const isKept = isOwnFolder && isAsMade(folder);
    if (!isKept || !isIn(this.cwd)) {
      process.chdir(this.home);
      this.folder = undefined;
    }
    return isKept;
  }
}

/** A handler may have gone elsewhere, and removed that. */
function isIn(cwd: string): boolean {
  try {
    return process.cwd() === cwd;
  } catch {
    return false;
  }
}

function isAsMade(path: string): boolean {
  try {
    const { mode, uid } = lstatSync(path);
    const isOurs = (mode & 0o7777) === FOLDER_MODE && uid === process.getuid?.();
    return isOurs && readdirSync(path).length === 0;
  } catch {
    return false;
  }
}

function setEnvironment(env: Readonly<Record<string, string | undefined>>): void {
  for (const name of Object.keys(process.env)) if (!(name in env)) delete process.env[name];
  for (const [name, value] of Object.entries(env)) {
    // To set one is dearer than to look at it.
    if (process.env[name] !== value) process.env[name] = value;
  }
}

type Done = (error?: Error) => void;

/** What is printed is in the file when the call returns, whatever ends the process next. */
class Redirection {
  /** Undefined: no attempt is here, and what is printed goes where the process was told. */
  private path: string | undefined;
  private descriptor: number | undefined;

  constructor(stream: NodeJS.WriteStream) {
    const write = stream.write.bind(stream) as (...all: unknown[]) => boolean;
    stream.write = ((chunk: string | Uint8Array, ...rest: unknown[]): boolean => {
      const { path } = this;
      if (path === undefined) return write(chunk, ...rest);
      const [encoding] = rest;
      const text = typeof encoding === 'string' ? (encoding as BufferEncoding) : 'utf8';
      const done = rest.find((each) => typeof each === 'function') as Done | undefined;
      try {
        this.append(path, typeof chunk === 'string' ? Buffer.from(chunk, text) : chunk);
        if (done) setImmediate(done);
      } catch (thrown) {
        // A full disk costs the output, not the job, as it does for a program of its own.
        if (done) setImmediate(done, thrown as Error);
      }
      return true;
    }) as typeof stream.write;
  }

  open(path: string): void {
    this.path = path;
  }

  private append(path: string, bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    if (this.descriptor === undefined) {
      mkdirSync(dirname(path), { recursive: true, mode: FOLDER_MODE });
      this.descriptor = openSync(path, 'a', 0o600);
    }
    for (let at = 0; at < bytes.length; ) at += writeSync(this.descriptor, bytes, at);
  }

  close(): void {
    if (this.descriptor !== undefined) closeSync(this.descriptor);
    this.descriptor = undefined;
    this.path = undefined;
  }
}
