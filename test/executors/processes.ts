/** What the system says of processes, for the tests. */
import { readFileSync } from 'node:fs';

/** False for one that is dead and only waits to be fetched. */
export function isAlive(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2, stat.lastIndexOf(')') + 3) !== 'Z';
  } catch {
    return false;
  }
}
