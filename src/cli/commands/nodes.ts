/** `mesh peers`: the nodes of the mesh. */
import type { Command } from 'commander';
import type { NodeJson } from '../../api/node-json.ts';
import type { CommandTree } from '../command-tree.ts';
import { type ConnectionOptions, connect } from '../node-connection.ts';
import { ageOf, type Column, print, printJson, tableLines, terminalWidth } from '../terminal.ts';

export function addNodes(tree: CommandTree): void {
  tree
    .client('peers', 'List the nodes of the mesh as one of them sees it')
    .addHelpText('after', '\nThe node that was asked is marked with *.')
    .action(async (_options: unknown, command: Command) => listNodes(command.optsWithGlobals()));
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
