/**
 * Which processes belong to a run, as /proc tells: each job carries the run's mark in its
 * environment, and so does each node; what a node starts beside its jobs (its supervisor has an
 * environment of its own) names the node's folder among its arguments and has no terminal, which
 * tells it from a person's editor or `tail -f`. Only such processes are ever sent a signal.
 */
import { readdir, readFile } from 'node:fs/promises';
import { LEDGER_VARIABLES } from './ledger.ts';

export interface Mark {
  readonly run: string;
  /** Undefined: of any node. */
  readonly node?: string | undefined;
  /** The data folder of the node, or the folder of all. */
  readonly folder: string;
}

/** Parents before their children, as a rule: in the order of their ids. Empty without /proc. */
export async function processesOf(mark: Mark): Promise<number[]> {
  const names = await readdir('/proc').catch((): string[] => []);
  const pids = names.map(Number).filter((pid) => Number.isInteger(pid) && pid !== process.pid);
  const found = await Promise.all(pids.map((pid) => isOf(pid, mark)));
  return pids.filter((_, i) => found[i]).sort((a, b) => a - b);
}

export const hasProcFolder = (): boolean => process.platform === 'linux';

/** What a process was started as, for people; empty when it has ended. */
export async function commandOf(pid: number): Promise<string> {
  const words = (await textOf(pid, 'cmdline')).split('\0').filter((word) => word !== '');
  return words.join(' ').replaceAll(/\s+/g, ' ').slice(0, 120);
}

export function signalAll(pids: readonly number[], signal: NodeJS.Signals): void {
  for (const pid of pids) {
    try {
      process.kill(pid, signal);
    } catch {
      // It ended in between.
    }
  }
}

const KILL_ROUNDS = 20;
const KILL_PAUSE_MS = 25;

/**
 * Ends them as if the power had gone: all stand still before the first one dies, so none of them
 * sees another's death and draws a conclusion. A process that is being made meanwhile is found in
 * the next round.
 */
export async function killAtOnce(find: () => Promise<number[]>): Promise<void> {
  for (let round = 0; round < KILL_ROUNDS; round++) {
    const pids = await find();
    if (pids.length === 0) return;
    signalAll(pids, 'SIGSTOP');
    signalAll(await find(), 'SIGSTOP');
    signalAll(await find(), 'SIGKILL');
    await new Promise((resolve) => setTimeout(resolve, KILL_PAUSE_MS));
  }
}

async function isOf(pid: number, { run, node, folder }: Mark): Promise<boolean> {
  const stat = await textOf(pid, 'stat');
  // The second field may contain anything, also `)`.
  const [state, , , , terminal] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  if (state === undefined || state === '' || state === 'Z' || state === 'X') return false;
  const words = (await textOf(pid, 'cmdline')).split('\0');
  const isInFolder = words.some((word) => word === folder || word.startsWith(`${folder}/`));
  if (terminal === '0' && isInFolder) return true;
  const variables = (await textOf(pid, 'environ')).split('\0');
  if (!variables.includes(`${LEDGER_VARIABLES.run}=${run}`)) return false;
  return node === undefined || variables.includes(`MESH_NODE_NAME=${node}`);
}

const textOf = (pid: number, file: string): Promise<string> =>
  readFile(`/proc/${pid}/${file}`, 'latin1').catch(() => '');
