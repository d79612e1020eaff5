/** What all commands of the program have in common; they are added to it by program.ts. */
import { Command } from 'commander';
import { VERSION } from '../version.ts';
import { EXIT } from './exit-codes.ts';

const EXAMPLES = `
Examples:
  mesh up                      # start a node
  mesh run -- echo hello       # run a command somewhere in the mesh
  mesh jobs                    # what runs, and what ran
  mesh doctor                  # what is wrong, and what to do`;

export class CommandTree {
  readonly root = new Command('mesh');
  exitCode: number = EXIT.ok;
  /** Name of the command that was given; undefined: none yet. */
  given: string | undefined;

  constructor() {
    withConnection(this.root)
      .description('A mesh of equal nodes that runs durable jobs on a LAN.')
      .version(VERSION, '-V, --version')
      .enablePositionalOptions()
      .showSuggestionAfterError()
      .configureOutput({ outputError: (text, write) => write(text.replace(/^error: /, 'mesh: ')) })
      .showHelpAfterError('(see: mesh --help)')
      .exitOverride()
      .hook('preSubcommand', (_root, command) => {
        this.given = command.name();
      })
      .addHelpText('after', EXAMPLES);
  }

  /** A command that asks a node. */
  client(name: string, summary: string): Command {
    return withConnection(this.add(name, summary));
  }

  /** A command that works on this machine alone. */
  local(name: string, summary: string): Command {
    return this.add(name, summary).option('--json', 'print JSON');
  }

  private add(name: string, summary: string): Command {
    return this.root
      .command(name)
      .description(summary)
      .showHelpAfterError(`(see: mesh ${name} --help)`);
  }
}

/** Options may stand before the command's name or after it. */
const withConnection = (command: Command): Command =>
  command
    .option('--json', 'print JSON: one document, or one per line')
    .option('--api <url>', 'address of the node to ask (default: MESH_API, or one of yours here)');
