/** Whether this machine can have attempts supervised: what groups.ts says under "That takes". */
import { findProgram } from '../programs.ts';
import { hasBootClock } from './boot-clock.ts';
import { hostIdentity } from './process-table.ts';

export type Supervision = Supervised | Plain;

export interface Supervised {
  readonly tag: 'supervised';
  readonly procFolder: string;
  /** Path of the program. */
  readonly env: string;
}

export interface Plain {
  readonly tag: 'plain';
  readonly procFolder: string;
}

/** @param path PATH of the node, where its system keeps its programs */
export async function findSupervision(
  procFolder: string,
  path: string | undefined,
): Promise<Supervision> {
  const plain: Plain = { tag: 'plain', procFolder };
  if (!hasBootClock(procFolder) || (await hostIdentity()) === '') return plain;
  const env = await findProgram('env', path);
  return env ? { tag: 'supervised', procFolder, env } : plain;
}
