/**
 * The working folder of an attempt as a container sees it. It is made by the node, so where the job
 * names a user it is given to that one: by number, or by a name, which is the image's and may mean
 * nobody or somebody else on this machine.
 */
import { chown } from 'node:fs/promises';
import type { RunOptions } from '../../run/run-options.ts';
import { giveInputs } from '../files/inputs.ts';
import type { Engine } from './engine.ts';

/** Where it is in the container. */
export const WORK = '/work';

export const hasFiles = ({ inputs, outputs }: RunOptions): boolean =>
  inputs !== undefined || outputs !== undefined;

/** @returns a sentence why this node cannot let the job's user have its files */
export function whyNotGiven(run: RunOptions): string | undefined {
  const own = process.getuid?.();
  const isOwn = run.user === undefined || run.user === String(own);
  if (isOwn || own === 0 || !hasFiles(run)) return undefined;
  return 'Only a node that runs as root can give files to the user of a container: leave the user out, or ask for another node.';
}

/** Before its start. Whom the image does not know the engine refuses by itself. */
export async function giveFolder(
  engine: Engine,
  container: string,
  { run, folder }: { run: RunOptions; folder: string },
): Promise<void> {
  const { user, inputs = [] } = run;
  if (user === undefined || !hasFiles(run) || process.getuid?.() !== 0) return;
  const uid = /^\d+$/.test(user) ? Number(user) : await uidIn(engine, container, user);
  const gid = process.getgid?.();
  if (uid === undefined || gid === undefined) return;
  await chown(folder, uid, gid);
  await giveInputs(inputs, { folder, uid, gid });
}

async function uidIn(engine: Engine, container: string, user: string): Promise<number | undefined> {
  const query = { path: '/etc/passwd' };
  const archive = await engine.read({ path: `/containers/${container}/archive`, query });
  // A tar file of one entry, whose text begins behind zero bytes.
  const name = user.replaceAll('.', '\\.');
  const found = new RegExp(`(?:^|[\\n\\0])${name}:[^:\\n]*:(\\d+):`).exec(archive);
  return found ? Number(found[1]) : undefined;
}
