/** What the system says of processes, for the tests. */
import { readdirSync, readFileSync } from 'node:fs';

/** False for one that is dead and only waits to be fetched. */
export function isAlive(pid: number): boolean {
  const state = stateOf(pid);
  return state !== undefined && state !== 'Z';
}

/** One letter as in /proc/PID/stat; undefined: no such process. */
export function stateOf(pid: number): string | undefined {
  return fieldsOf(pid)?.[0];
}

/** Processes of a session, without the dead. */
export const sessionMembers = (session: number): number[] =>
  allPids().filter((pid) => isAlive(pid) && fieldsOf(pid)?.[3] === String(session));

/** Processes whose arguments mention this path, without the dead. */
export const processesAbout = (path: string): number[] =>
  allPids().filter(
    (pid) => isAlive(pid) && pid !== process.pid && argumentsOf(pid).some((a) => a.includes(path)),
  );

/** Children with this word among their arguments, without the dead. */
export const childrenNamed = (parent: number, word: string): number[] =>
  allPids().filter(
    (pid) =>
      isAlive(pid) && fieldsOf(pid)?.[1] === String(parent) && argumentsOf(pid).includes(word),
  );

/** Of the newest life in that data folder. */
export function supervisorOf(folder: string): number | undefined {
  return supervisorsOf(folder).at(-1);
}

export const supervisorsOf = (folder: string): number[] =>
  allPids()
    .filter((pid) => {
      const words = argumentsOf(pid);
      const isOne = words.includes('mesh-supervisor') && fieldsOf(pid)?.[3] === String(pid);
      return isOne && isAlive(pid) && words.some((word) => word.startsWith(folder));
    })
    .sort((a, b) => Number(fieldsOf(a)?.[19]) - Number(fieldsOf(b)?.[19]));

/** Fields of /proc/PID/stat from the third on. */
function fieldsOf(pid: number): string[] | undefined {
  const stat = textOf(`/proc/${pid}/stat`);
  return stat ? stat.slice(stat.lastIndexOf(')') + 2).split(' ') : undefined;
}

const argumentsOf = (pid: number): string[] => textOf(`/proc/${pid}/cmdline`).split('\0');

const allPids = (): number[] =>
  readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number);

function textOf(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return '';
  }
}
