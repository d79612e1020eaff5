/** `mesh conflicts`, `forget`: what needs a person. */
import { createInterface } from 'node:readline/promises';
import type { Command } from 'commander';
import type { ConflictJson, ConflictListJson, NodeJson } from '../../api/node-json.ts';
import { MeshError } from '../../base/errors.ts';
import { parseCount } from '../command-line.ts';
import type { CommandTree } from '../command-tree.ts';
import { EXIT } from '../exit-codes.ts';
import { type ConnectionOptions, connect } from '../node-connection.ts';
import {
  ageOf,
  type Column,
  print,
  printError,
  printJson,
  tableLines,
  terminalWidth,
  visible,
} from '../terminal.ts';

interface ListOptions extends ConnectionOptions {
  readonly limit: number;
}

interface ForgetOptions extends ConnectionOptions {
  readonly yes?: boolean;
  readonly force?: boolean;
}

const FORGET_HELP = `
Only for a node that will never return: its disk is gone, or it was taken away.
The others then decide without it about the jobs it kept; a job that was on its
disk alone is lost with it. Its identity is never let in again: should it return,
it must start with a new data folder. A node that is alive leaves by itself:
mesh leave.

Examples:
  mesh forget atlas
  mesh forget node-3f9c21… --yes      # in a script: nobody is asked`;

export function addConflicts(tree: CommandTree): void {
  tree
    .client('conflicts', 'List what the mesh could not decide without doubt, newest first')
    .option('-n, --limit <count>', 'at most so many, 1 to 1000', parseCount, 20)
    .addHelpText(
      'after',
      `
births     one id was taken on both sides of a partition; one of the two counts
outcomes   another attempt ended as well, after the job was decided
forgotten  a forgotten node came back with the job`,
    )
    .action(async (_options: ListOptions, command: Command) =>
      listConflicts(command.optsWithGlobals()),
    );
  tree
    .client('forget', 'Ban a node that will not return, so that its jobs go on without it')
    .argument('<node>', 'name or id of the node')
    .option('-y, --yes', 'do not ask')
    .option('--force', 'even if it is alive: jobs may get two outcomes')
    .addHelpText('after', FORGET_HELP)
    .action(async (node: string, _options: ForgetOptions, command: Command) => {
      tree.exitCode = await forget(node, command.optsWithGlobals());
    });
}

// ---------------------------------------------------------------- conflicts

async function listConflicts(options: ListOptions): Promise<void> {
  const client = await connect(options);
  const { limit } = options;
  if (options.json) {
    printJson(await client.conflicts({ limit }));
    return;
  }
  const [list, { nodes }] = await Promise.all([client.conflicts({ limit }), client.nodes()]);
  printList(list, nodes);
}

function printList(list: ConflictListJson, nodes: readonly NodeJson[]): void {
  const names = new Map(nodes.map((node) => [node.node_id, node.name]));
  if (list.count === 0) print('No conflicts.');
  else for (const line of tableLines(columns(), list.conflicts, terminalWidth())) print(line);
  if (list.truncated) print('There are more: add --limit 1000');
  for (const { node_id, reason } of list.partial)
    printError(
      `What ${visible(names.get(node_id) ?? node_id)} has found is missing: ${visible(reason)}.`,
    );
}

function columns(): Column<ConflictJson>[] {
  const now = Date.now();
  return [
    { title: 'AGE', text: ({ at }) => ageOf(at, now), isRight: true },
    { title: 'JOB', text: ({ job_id }) => job_id, maxWidth: 26 },
    { title: 'KIND', text: ({ kind }) => kind },
    { title: 'WHAT', text: ({ note }) => note },
  ];
}

// ---------------------------------------------------------------- forget

async function forget(wanted: string, options: ForgetOptions): Promise<number> {
  const client = await connect(options);
  if (!options.yes && !(await isConfirmed(wanted))) {
    printError('mesh: nothing was done.');
    return EXIT.failed;
  }
  const answer = await client.forget(wanted, { force: options.force });
  if (options.json) printJson(answer);
  else
    print(
      `${visible(answer.name || answer.node_id)} is forgotten: the others decide without it, and it is not let in again.`,
    );
  return EXIT.ok;
}

/** @throws MeshError BAD_REQUEST where nobody can be asked */
async function isConfirmed(wanted: string): Promise<boolean> {
  const { stdin, stderr } = process;
  if (!stdin.isTTY || !stderr.isTTY) {
    throw new MeshError(
      'BAD_REQUEST',
      `There is no terminal to ask on whether ${wanted} is to be forgotten: say --yes.`,
    );
  }
  const lines = createInterface({ input: stdin, output: stderr });
  lines.on('SIGINT', () => process.kill(process.pid, 'SIGINT'));
  try {
    stderr.write(
      `${visible(wanted)} will never be let in again, and jobs that were on its disk alone are lost.\n`,
    );
    return /^y(es)?$/i.test((await lines.question('Forget it? [y/N] ')).trim());
  } finally {
    lines.close();
  }
}
