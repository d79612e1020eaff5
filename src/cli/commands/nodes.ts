/** `mesh peers`, `drain`: the nodes of the mesh. */
import type { Command } from 'commander';
import type { NodeJson } from '../../api/node-json.ts';
import { parseSeconds } from '../command-line.ts';
import type { CommandTree } from '../command-tree.ts';
import { type ConnectionOptions, connect } from '../node-connection.ts';
import { ageOf, type Column, print, printJson, tableLines, terminalWidth } from '../terminal.ts';

interface DrainOptions extends ConnectionOptions {
  readonly timeout?: number;
}

export function addNodes(tree: CommandTree): void {
  tree
    .client('peers', 'List the nodes of the mesh as one of them sees it')
    .addHelpText('after', '\nThe node that was asked is marked with *.')
    .action(async (_options: unknown, command: Command) => listNodes(command.optsWithGlobals()));
  tree
    .client('drain', 'Let a node finish its jobs, take no new ones, and leave')
    .option('-t, --timeout <duration>', 'hand back what still runs after so long', parseSeconds)
    .addHelpText(
      'after',
      '\nExamples:\n  mesh drain --timeout 5m\n  mesh --api http://127.0.0.1:3002 drain',
    )
    .action(async (_options: DrainOptions, command: Command) => drain(command.optsWithGlobals()));
}

async function listNodes(options: ConnectionOptions): Promise<void> {
  const client = await connect(options);
  const list = await client.nodes();
  if (options.json) printJson(list);
  else for (const line of tableLines(columns(), list.nodes, terminalWidth())) print(line);
}

function columns(): Column<NodeJson>[] {
  const now = Date.now();
  return [
    { title: 'NAME', text: (node) => `${node.name}${node.is_self ? '*' : ''}`, maxWidth: 14 },
    { title: 'NODE', text: (node) => node.node_id.slice(0, 13) },
    { title: 'STATUS', text: (node) => node.status },
    { title: 'JOBS', text: ({ load }) => `${load.running}/${load.slots}`, isRight: true },
    { title: 'QUEUED', text: ({ load }) => String(load.queued), isRight: true },
    {
      title: 'HEARD',
      text: (node) => (node.is_self ? '-' : ageOf(node.last_heartbeat, now)),
      isRight: true,
    },
    { title: 'ADDRESS', text: (node) => node.address },
  ];
}

async function drain(options: DrainOptions): Promise<void> {
  const client = await connect(options);
  const answer = await client.drain({ deadlineSeconds: options.timeout });
  if (options.json) printJson(answer);
  else
    print(
      `${answer.node_id} takes no new jobs and leaves when its jobs are done, after ${answer.deadline_seconds} s at the latest.`,
    );
}
