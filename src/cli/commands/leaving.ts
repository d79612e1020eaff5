/** `mesh drain`, `restart`, `leave`: how a node goes, and whether it comes back. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import type { StatusJson } from '../../api/node-json.ts';
import { MeshError } from '../../base/errors.ts';
import type { Client } from '../../client/client.ts';
import { parseSeconds } from '../command-line.ts';
import type { CommandTree } from '../command-tree.ts';
import { EXIT } from '../exit-codes.ts';
import { type ConnectionOptions, connect, connectHere, connectTo } from '../node-connection.ts';
import { print, printError, printJson, visible } from '../terminal.ts';

interface DrainOptions extends ConnectionOptions {
  readonly timeout?: number;
}

const NODE = 'name or id of the node; . for the one that is asked';
const LOOK_AGAIN_MS = 300;
/** A node that drains gets so long for its last words after the deadline. */
const LAST_WORDS_SECONDS = 5;
const START_SECONDS = 10;

export function addLeaving(tree: CommandTree): void {
  tree
    .client('drain', 'Let a node finish its jobs, take no new ones, and end')
    .option('-t, --timeout <duration>', 'hand back what still runs after so long', parseSeconds)
    .addHelpText(
      'after',
      '\nExamples:\n  mesh drain --timeout 5m\n  mesh --api http://127.0.0.1:3002 drain',
    )
    .action(async (_options: DrainOptions, command: Command) => drain(command.optsWithGlobals()));
  tree
    .client('restart', 'Start a node anew: its jobs go over, what runs there goes on')
    .argument('<node>', NODE)
    .addHelpText(
      'after',
      `
The node hands over its jobs, ends, and starts again in place, with the program
and the settings that are there then. Jobs that run on it are not ended: the new
start takes them up, with the output they printed meanwhile.

Examples:
  mesh restart .
  git pull && make build && mesh restart .     # the new version`,
    )
    .action(async (node: string, _options: unknown, command: Command) => {
      tree.exitCode = await restart(node, command.optsWithGlobals());
    });
  tree
    .client('leave', 'Take a node out for good: what it keeps moves to other nodes first')
    .argument('[node]', NODE, '.')
    .option('-t, --timeout <duration>', 'go after so long, whatever is left', parseSeconds)
    .addHelpText('after', '\nExamples:\n  mesh leave\n  mesh leave atlas --timeout 10m')
    .action(async (node: string, _options: DrainOptions, command: Command) => {
      tree.exitCode = await leave(node, command.optsWithGlobals());
    });
}

async function drain(options: DrainOptions): Promise<void> {
  const client = await connect(options);
  const answer = await client.drain({ deadlineSeconds: options.timeout });
  if (options.json) printJson(answer);
  else
    print(
      `${answer.node_id} takes no new jobs and ends when its jobs are done, after ${answer.deadline_seconds} s at the latest.`,
    );
}

async function restart(wanted: string, options: ConnectionOptions): Promise<number> {
  const { client, id, name } = await connectTo(options, wanted);
  const { starts } = await client.status();
  const answer = await client.drain({ way: 'restart' });
  if (!options.json) print(`${visible(name)} hands over its jobs; what runs there goes on.`);
  const isBack = await untilBack(() => connectHere(id) ?? client, {
    starts,
    seconds: answer.deadline_seconds + LAST_WORDS_SECONDS + START_SECONDS,
  });
  if (options.json) printJson({ ...answer, is_back: isBack });
  else if (isBack) print(`${visible(name)} is back.`);
  else printError(`mesh: ${visible(name)} is not back yet. See its log, and start it again.`);
  return isBack ? EXIT.ok : EXIT.failed;
}

/** Asks until another life of the node answers. */
async function untilBack(
  client: () => Client,
  { starts, seconds }: { starts: number; seconds: number },
): Promise<boolean> {
  const end = performance.now() + seconds * 1000;
  while (performance.now() < end) {
    const status = await statusOf(client());
    if (status && status.starts > starts) return true;
    await sleep(LOOK_AGAIN_MS);
  }
  return false;
}

async function leave(wanted: string, options: DrainOptions): Promise<number> {
  const { client, name } = await connectTo(options, wanted);
  const answer = await client.drain({ deadlineSeconds: options.timeout, way: 'leave' });
  const seconds = answer.deadline_seconds;
  if (!options.json)
    print(
      `${visible(name)} leaves for good: its records move to other nodes, and what runs there may end, for ${seconds} s at the latest.`,
    );
  const left = await untilGone(client, seconds + LAST_WORDS_SECONDS);
  if (options.json) printJson({ ...answer, is_gone: left.isGone, jobs_left: left.jobs });
  else tellEnd(visible(name), left);
  return left.isGone ? EXIT.ok : EXIT.failed;
}

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
    const status = await statusOf(client);
    if (!status) return { isGone: true, jobs };
    jobs = status.owned_jobs;
    await sleep(LOOK_AGAIN_MS);
  }
  return { isGone: false, jobs };
}

/** Undefined: nobody answers there. */
async function statusOf(client: Client): Promise<StatusJson | undefined> {
  try {
    return await client.status();
  } catch (failure) {
    if (failure instanceof MeshError && failure.code === 'NODE_UNREACHABLE') return undefined;
    throw failure;
  }
}

function tellEnd(name: string, { isGone, jobs }: Left): void {
  if (!isGone) {
    printError(`mesh: ${name} still answers, and has ${jobs} unfinished jobs of its own.`);
    return;
  }
  print(`${name} has left.`);
  if (jobs > 0)
    printError(
      `mesh: at its last word it had ${jobs} unfinished jobs of its own. Those that another node keeps go on there; the others wait in its data folder (see its log).`,
    );
}
