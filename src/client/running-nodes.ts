/**
 * Which nodes of this user run on this machine: each leaves a small file while it runs, so that
 * the command line finds it without a setting. A file of a process that is gone is skipped, and so
 * is one that somebody else could have written: it names where a token is sent.
 */
import fs from 'node:fs';
import { join } from 'node:path';
import { compareText } from '../base/ids.ts';

export interface RunningNode {
  readonly node: string;
  readonly name: string;
  readonly pid: number;
  /** `http://127.0.0.1:3000` */
  readonly api: string;
  /** Where a token is needed also on this machine: one of the role admin. */
  readonly token?: string | undefined;
  /** PEM of the authority that the API's certificate is issued by. */
  readonly ca?: string | undefined;
}

const FOLDER = 'run';
const PREFERRED_PORT = '3000';

/** Under a new name first: nobody reads half a file. */
export function writeRunningNode(configDir: string, running: RunningNode): void {
  const folder = join(configDir, FOLDER);
  fs.mkdirSync(folder, { recursive: true, mode: 0o700 });
  const file = fileOf(configDir, running.node);
  const fresh = `${file}.${process.pid}`;
  fs.writeFileSync(fresh, `${JSON.stringify(running)}\n`, { mode: 0o600 });
  fs.renameSync(fresh, file);
}

export function removeRunningNode(configDir: string, node: string): void {
  fs.rmSync(fileOf(configDir, node), { force: true });
}

/** The one on the usual port first, the others by name. Empty: none runs. */
export function readRunningNodes(configDir: string): RunningNode[] {
  const folder = join(configDir, FOLDER);
  return listFolder(folder)
    .filter((name) => name.endsWith('.json'))
    .map((name) => readFile(join(folder, name)))
    .filter((running): running is RunningNode => running !== undefined && isAlive(running.pid))
    .sort(
      (a, b) => rank(a) - rank(b) || compareText(a.name, b.name) || compareText(a.node, b.node),
    );
}

const fileOf = (configDir: string, node: string): string => join(configDir, FOLDER, `${node}.json`);

function listFolder(folder: string): string[] {
  try {
    return fs.readdirSync(folder);
  } catch {
    // No node has run yet.
    return [];
  }
}

function readFile(file: string): RunningNode | undefined {
  try {
    const { uid, mode } = fs.statSync(file);
    const isForeign = process.geteuid !== undefined && uid !== process.geteuid();
    if (isForeign || (mode & 0o022) !== 0) return undefined;
    const value: unknown = JSON.parse(fs.readFileSync(file, 'utf8'));
    return isRunningNode(value) ? value : undefined;
  } catch {
    // It went away in between, or is damaged: then that node is not found, and others may be.
    return undefined;
  }
}

function isRunningNode(value: unknown): value is RunningNode {
  if (value === null || typeof value !== 'object') return false;
  const { node, name, pid, api, token, ca } = value as Record<string, unknown>;
  const isTextOrNone = (text: unknown): boolean => text === undefined || typeof text === 'string';
  return (
    typeof node === 'string' &&
    typeof name === 'string' &&
    typeof pid === 'number' &&
    typeof api === 'string' &&
    URL.canParse(api) &&
    isTextOrNone(token) &&
    isTextOrNone(ca)
  );
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (failure) {
    return (failure as NodeJS.ErrnoException).code === 'EPERM';
  }
}

const rank = ({ api }: RunningNode): number => (new URL(api).port === PREFERRED_PORT ? 0 : 1);
