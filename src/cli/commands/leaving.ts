/** `mesh drain`, `restart`, `leave`: how a node goes, and whether it comes back. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import type { DrainWay } from '../../api/node-json.ts';
import { MeshError } from '../../base/errors.ts';
import type { Client } from '../../client/client.ts';
import { parseSeconds } from '../command-line.ts';
import type { CommandTree } from '../command-tree.ts';
import { EXIT } from '../exit-codes.ts';
import { type ConnectionOptions, connect, connectTo } from '../node-connection.ts';
import { print, printError, printJson, visible } from '../terminal.ts';

interface DrainOptions extends ConnectionOptions {
  readonly timeout?: number;
}

const NODE = 'name or id of the node; . for the one that is asked';
const LOOK_AGAIN_MS = 300;
/** A node that drains gets so long for its last words after the deadline. */
const LAST_WORDS_SECONDS = 5;

export function addLeaving(tree: CommandTree): void {
  tree
    .client('drain', 'Let a node finish its jobs, take no new ones, and leave')
    .option('-t, --timeout <duration>', 'hand back what still runs after so long', parseSeconds)
    .addHelpText(
      'after',
      '\nExamples:\n  mesh drain --timeout 5m\n  mesh --api http://127.0.0.1:3002 drain',
    )
    .action(async (_options: DrainOptions, command: Command) => drain(command.optsWithGlobals()));
  tree
    .client('restart', 'End a node for a moment: its jobs go over, what runs there goes on')
    .argument('<node>', NODE)
    .addHelpText(
      'after',
      `
The node ends, and whatever has started it starts it again: a service manager
does so by itself. Jobs that run there are not ended: they wait some seconds
for the next start, which takes them up, with the output they printed meanwhile.

Examples:
  mesh restart .
  mesh restart atlas && ssh atlas systemctl start worker-mesh`,
    )
    .action(async (node: string, _options: unknown, command: Command) => {
      tree.exitCode = await go('restart', node, command.optsWithGlobals());
    });
  tree
    .client('leave', 'Take a node out for good: what it keeps moves to other nodes first')
    .argument('[node]', NODE, '.')
    .option('-t, --timeout <duration>', 'go after so long, whatever is left', parseSeconds)
    .addHelpText('after', '\nExamples:\n  mesh leave\n  mesh leave atlas --timeout 10m')
    .action(async (node: string, _options: DrainOptions, command: Command) => {
      tree.exitCode = await go('leave', node, command.optsWithGlobals());
    });
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

async function go(way: DrainWay, node: string, options: DrainOptions): Promise<number> {
  const { client, name } = await connectTo(options, node);
  const answer = await client.drain({ deadlineSeconds: options.timeout, way });
  if (!options.json) print(BEGINNING[way](visible(name), answer.deadline_seconds));
  const left = await untilGone(client, answer.deadline_seconds + LAST_WORDS_SECONDS);
  if (options.json) printJson({ ...answer, is_gone: left.isGone, jobs_left: left.jobs });
  else tellEnd(way, visible(name), left);
  return left.isGone ? EXIT.ok : EXIT.failed;
}

const BEGINNING: Readonly<Record<DrainWay, (name: string, seconds: number) => string>> = {
  stop: (name, seconds) => `${name} finishes its jobs; it ends after ${seconds} s at the latest.`,
  restart: (name) => `${name} hands over its jobs and ends; what runs there goes on.`,
  leave: (name, seconds) =>
    `${name} leaves for good: its records move to other nodes, and what runs there may end, for ${seconds} s at the latest.`,
};

interface Left {
  readonly isGone: boolean;
  /** Unfinished jobs it decided about when it was last seen. */
  readonly jobs: number;
}

/** Asks the node until it does not answer any more. */
async function untilGone(client: Client, seconds: number): Promise<Left> {
  const end = performance.now() + seconds * 1000;
  let jobs = 0;
  while (performance.now() < end) {
    try {
      jobs = (await client.status({ signal: AbortSignal.timeout(2000) })).owned_jobs;
    } catch (failure) {
      if (failure instanceof MeshError && failure.code === 'NODE_UNREACHABLE')
        return { isGone: true, jobs };
      const isSlow = failure instanceof DOMException && failure.name === 'TimeoutError';
      if (!isSlow) throw failure;
    }
    await sleep(LOOK_AGAIN_MS);
  }
  return { isGone: false, jobs };
}

function tellEnd(way: DrainWay, name: string, { isGone, jobs }: Left): void {
  if (!isGone) {
    printError(`mesh: ${name} still answers, and has ${jobs} unfinished jobs of its own.`);
    return;
  }
  print(way === 'restart' ? `${name} has ended. Start it again now.` : `${name} has left.`);
  if (jobs > 0 && way === 'leave')
    printError(
      `mesh: at its last word it had ${jobs} unfinished jobs of its own. Those that another node keeps go on there; the others wait in its data folder (see its log).`,
    );
}
