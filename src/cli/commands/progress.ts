/**
 * `mesh progress`, for jobs that would rather not open a file. The launcher (mesh.sh) does it in the
 * shell, in a few milliseconds; this is for everything it does not understand.
 */
import { appendFileSync } from 'node:fs';
import { MeshError } from '../../base/errors.ts';
import type { CommandTree } from '../command-tree.ts';

const EXAMPLES = `
Example, in the script of a job:
  mesh progress 40 'half of the rows'
  echo '40 half of the rows' >>"$MESH_PROGRESS"      # the same without mesh`;

export function addProgress(tree: CommandTree): void {
  tree
    .local('progress', 'Inside a job: tell how far it is')
    .argument('<percent>', '0 to 100')
    .argument('[message]', 'what it is doing')
    .addHelpText('after', EXAMPLES)
    .action((percent: string, message = '') => {
      const path = process.env.MESH_PROGRESS;
      if (!path) {
        throw new MeshError(
          'BAD_REQUEST',
          'mesh progress is for the inside of a job, which has a variable MESH_PROGRESS: there is none here.',
        );
      }
      if (!/^\d{1,3}(\.\d+)?$/.test(percent) || Number(percent) > 100) {
        throw new MeshError('BAD_REQUEST', `${percent} is no number from 0 to 100.`);
      }
      appendFileSync(path, `${percent} ${message.replaceAll('\n', ' ')}\n`);
    });
}
