/** `mesh peers`: the nodes of the mesh. */
import { type Command, Option } from 'commander';
import type { NodeJson } from '../../api/node-json.ts';
import type { CommandTree } from '../command-tree.ts';
import { type ConnectionOptions, connect } from '../node-connection.ts';
import { ageOf, type Column, print, printJson, tableLines, terminalWidth } from '../terminal.ts';

export function addNodes(tree: CommandTree): void {
  tree
    .client('peers', 'List the nodes of the mesh as one of them sees it')
    .addOption(
      new Option('-o, --output <form>', 'wide: machines, and what they can run').choices(['wide']),
    )
    .addHelpText('after', '\nThe node that was asked is marked with *.')
    .action(async (_options: unknown, command: Command) => listNodes(command.optsWithGlobals()));
}

interface NodesOptions extends ConnectionOptions {
  readonly output?: 'wide';
}

/** Nothing is cut: a terminal wraps what it has no room for. */
const UNCUT = Number.MAX_SAFE_INTEGER;

async function listNodes(options: NodesOptions): Promise<void> {
  const client = await connect(options);
  const list = await client.nodes();
  if (options.json) printJson(list);
  else for (const line of linesOf(list.nodes, options)) print(line);
}

function linesOf(nodes: readonly NodeJson[], { output }: NodesOptions): string[] {
  if (output === undefined) return tableLines(columns(), nodes, terminalWidth());
  return tableLines([...columns(), ...machineColumns()], nodes, UNCUT);
}

function machineColumns(): Column<NodeJson>[] {
  return [
    { title: 'CORES', text: ({ hardware }) => String(hardware.cores), isRight: true },
    {
      title: 'CPU',
      text: ({ load }) => (load.machine ? `${Math.round(load.machine.cpu_percent)}%` : '-'),
      isRight: true,
    },
    { title: 'LOAD', text: ({ load }) => load.machine?.load1.toFixed(1) ?? '-', isRight: true },
    {
      title: 'MEMORY',
      text: ({ load, hardware }) => partOf(load.machine?.memory_bytes, hardware.memory_bytes),
      isRight: true,
    },
    {
      title: 'DISK FREE',
      text: ({ load, hardware }) => partOf(load.machine?.disk_free_bytes, hardware.disk_bytes),
      isRight: true,
    },
    {
      title: 'TASK TYPES',
      text: ({ task_types, type_versions }) =>
        task_types.map((type) => [type, type_versions[type]].filter(Boolean).join(' ')).join(', '),
    },
    { title: 'CAPABILITIES', text: ({ capabilities }) => pairsOf(capabilities) },
    { title: 'LABELS', text: ({ labels }) => pairsOf(labels) },
  ];
}

/** `3.1/8.0G`; `-` where it is not known. */
function partOf(bytes: number | undefined, ofBytes: number): string {
  const part = bytes === undefined ? '-' : gibOf(bytes);
  return ofBytes === 0 ? '-' : `${part}/${gibOf(ofBytes)}G`;
}

const gibOf = (bytes: number): string => (bytes / 1024 ** 3).toFixed(1);

/** `gpu, gpu.count=2`, or `-`. */
const pairsOf = (pairs: Readonly<Record<string, string>>): string =>
  Object.entries(pairs)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, value]) => (value === 'true' ? name : `${name}=${value}`))
    .join(', ') || '-';

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
