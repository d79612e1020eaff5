/**
 * The command line: `mesh` and its commands, each in its own file under commands/. A command that
 * only talks to a node loads neither the database nor the network code.
 *
 * What goes wrong is one sentence on stderr, never a stack, and with --json an object of `code` and
 * `message`. Exit codes: 0 done, 1 failed, 2 the command line was wrong; those of `mesh run` are in
 * exit-codes.ts.
 *
 * Commander, since its help, its "did you mean" and its -- are what people know, without any
 * dependency of its own.
 */
import { realpathSync } from 'node:fs';
import { CommanderError } from 'commander';
import { MeshError, messageOf } from '../base/errors.ts';
import { CommandTree } from './command-tree.ts';
import { addConflicts } from './commands/conflicts.ts';
import { addDoctor } from './commands/doctor.ts';
import { addFiles } from './commands/files.ts';
import { addJobs } from './commands/jobs.ts';
import { addKey } from './commands/key.ts';
import { addLeaving } from './commands/leaving.ts';
import { addNodes } from './commands/nodes.ts';
import { addProgress } from './commands/progress.ts';
import { addRun } from './commands/run.ts';
import { addTorture } from './commands/torture.ts';
import { addUp } from './commands/up.ts';
import { EXIT } from './exit-codes.ts';
import { visible } from './terminal.ts';
import { withTerminalFlag } from './terminal-flag.ts';

/** Settles with the exit code. */
export async function runProgram(argv: readonly string[]): Promise<number> {
  const tree = createProgram();
  if (argv.length <= 2) {
    tree.root.outputHelp();
    return EXIT.ok;
  }
  try {
    await tree.root.parseAsync(withTerminalFlag(argv, tree.root));
    return tree.exitCode;
  } catch (failure) {
    return explain(failure, argv, tree.given === 'run');
  }
}

function createProgram(): CommandTree {
  const tree = new CommandTree();
  const groups = [
    addUp,
    addRun,
    addProgress,
    addJobs,
    addFiles,
    addNodes,
    addLeaving,
    addConflicts,
    addKey,
    addDoctor,
  ];
  for (const add of [...groups, addDemo, addTorture]) add(tree);
  return tree;
}

/** Loaded only when it is asked for. */
function addDemo(tree: CommandTree): void {
  tree
    .local('demo', 'Three nodes on this machine find each other and run real jobs')
    .action(async () => {
      const { runDemo } = await import('./commands/demo.ts');
      tree.exitCode = await runDemo(realpathSync(process.argv[1] ?? ''));
    });
}

function explain(failure: unknown, argv: readonly string[], isRun: boolean): number {
  // Commander has printed it already: help, version, or what is wrong with the words.
  if (failure instanceof CommanderError)
    return failure.exitCode === 0 ? EXIT.ok : isRun ? EXIT.mesh : EXIT.usage;
  const code = failure instanceof MeshError ? failure.code : 'INTERNAL';
  const message =
    failure instanceof MeshError
      ? failure.message
      : `the program made a mistake: ${messageOf(failure)}`;
  // What stands after -- is a job's.
  const end = argv.indexOf('--');
  const isJson = (end < 0 ? argv : argv.slice(0, end)).includes('--json');
  const line = isJson ? JSON.stringify({ code, message }) : `mesh: ${visible(message)}`;
  process.stderr.write(`${line}\n`);
  if (code === 'INTERNAL' && process.env.MESH_LOG_LEVEL === 'debug') console.error(failure);
  return isRun ? EXIT.mesh : EXIT.failed;
}
