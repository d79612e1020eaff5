/** `mesh key`, `join`, `token`: the secret of the mesh and what is derived from it. */
import { join } from 'node:path';
import { createInterface } from 'node:readline/promises';
import { Writable } from 'node:stream';
import { type Command, Option } from 'commander';
import { ROLES, type Role } from '../../api/api.ts';
import { deriveApiTokens } from '../../api/api-tokens.ts';
import { MeshError } from '../../base/errors.ts';
import { readRunningNodes } from '../../client/running-nodes.ts';
import {
  findOrCreateMeshKey,
  formatMeshKey,
  joinMesh,
  type MeshKey,
  parseMeshKey,
  readMeshKey,
} from '../../links/mesh-key.ts';
import type { CommandTree } from '../command-tree.ts';
import { configFolder } from '../config-folder.ts';
import { print, printError, printJson } from '../terminal.ts';

interface KeyOptions {
  readonly json?: boolean;
  readonly configDir?: string;
  readonly keyFile?: string;
}

interface TokenOptions extends KeyOptions {
  readonly role: Role;
  readonly ca?: boolean;
}

const MAX_KEY_CHARS = 1000;

export function addKey(tree: CommandTree): void {
  withKeyPlace(tree.local('key', 'Print the mesh key, with which another machine can join'))
    .addHelpText(
      'after',
      '\nWhoever has the key can join and run commands on every node.\nOn the other machine:\n  mesh join            # asks for the key, so that it is in no history',
    )
    .action((_options: KeyOptions, command: Command) => printKey(command.optsWithGlobals()));
  withKeyPlace(tree.local('join', 'Take the key of another machine, and with it join its mesh'))
    .argument('[key]', 'mesh1-…; - or nothing: read it from standard input')
    .addHelpText(
      'after',
      '\nExamples:\n  mesh join                            # asks for it\n  ssh atlas mesh key | mesh join -\n\nA key on the command line can be seen by other users of this machine while it\nruns, and stays in the history of the shell.',
    )
    .action((text: string | undefined, _options: KeyOptions, command: Command) =>
      joinWith(text, command.optsWithGlobals()),
    );
  withKeyPlace(tree.local('token', 'Print a token for the REST API'))
    .addOption(new Option('-r, --role <role>', 'what it allows').choices(ROLES).default('submit'))
    .option('--ca', 'print the certificate of the mesh in place of a token (for HTTPS)')
    .addHelpText(
      'after',
      '\nExamples:\n  curl -H "Authorization: Bearer $(mesh token)" …\n  mesh token --ca > mesh-ca.pem; curl --cacert mesh-ca.pem https://atlas:3000/',
    )
    .action((_options: TokenOptions, command: Command) => printToken(command.optsWithGlobals()));
}

const withKeyPlace = (command: Command): Command =>
  command
    .option('--config-dir <path>', 'folder of the mesh key (default: ~/.config/worker-mesh)')
    .option('--key-file <path>', 'file of the mesh key (default: mesh.key in that folder)');

function printKey(options: KeyOptions): void {
  const { key, origin } = findKey(options);
  if (options.json) printJson({ key: formatMeshKey(key), id: key.id, origin });
  else print(formatMeshKey(key));
  if (process.stdout.isTTY)
    printError(`This is the key of mesh ${key.id} (${origin}). Keep it secret.`);
}

async function joinWith(text: string | undefined, options: KeyOptions): Promise<void> {
  const isOnCommandLine = text !== undefined && text !== '-';
  const key = parseMeshKey(isOnCommandLine ? text : await readSecret());
  if (!key) {
    throw new MeshError(
      'BAD_KEY',
      'That is not a whole mesh key. Print it with `mesh key` on a machine of the mesh, and copy all of it: mesh1- and 58 letters and digits.',
    );
  }
  const file = keyFileOf(options);
  const { keptAt } = joinMesh(file, key);
  const running = readRunningNodes(configFolder(options.configDir));
  if (options.json) {
    printJson({
      id: key.id,
      file,
      kept_at: keptAt ?? null,
      to_restart: running.map((node) => node.name),
    });
    return;
  }
  print(`Nodes started here from now on belong to mesh ${key.id} (${file}).`);
  if (keptAt !== undefined) print(`The key that was there is kept in ${keptAt}.`);
  if (running.length > 0)
    print(`Start again to join: ${running.map((node) => node.name).join(', ')}.`);
  if (isOnCommandLine) {
    printError('The key is now in the history of your shell; next time `mesh join` asks for it.');
  }
}

async function printToken(options: TokenOptions): Promise<void> {
  const { key } = findKey(options);
  if (options.ca) {
    const { createMeshCa } = await import('../../links/mesh-ca.ts');
    process.stdout.write(createMeshCa(key).caPem);
    return;
  }
  const token = deriveApiTokens(key.secret.export())[options.role];
  if (options.json) printJson({ role: options.role, token });
  else print(token);
}

/** As a node would find it: the environment first, else the file, which is made when missing. */
function findKey(options: KeyOptions): { key: MeshKey; origin: string } {
  const text = process.env.MESH_KEY;
  if (text && options.keyFile === undefined) {
    const key = parseMeshKey(text);
    if (key) return { key, origin: 'from MESH_KEY' };
    throw new MeshError(
      'BAD_KEY',
      'MESH_KEY is not a whole mesh key: mesh1- and 58 letters and digits.',
    );
  }
  const file = keyFileOf(options);
  const known = readMeshKey(file);
  if (known) return { key: known, origin: file };
  return { key: findOrCreateMeshKey(file).key, origin: `made just now, ${file}` };
}

const keyFileOf = ({ configDir, keyFile }: KeyOptions): string =>
  keyFile ?? (process.env.MESH_KEY_FILE || join(configFolder(configDir), 'mesh.key'));

/** From a pipe as it is; on a terminal it is asked for, and not shown. */
async function readSecret(): Promise<string> {
  const { stdin } = process;
  if (!stdin.isTTY) {
    let text = '';
    for await (const chunk of stdin.setEncoding('utf8')) {
      text += chunk;
      if (text.length > MAX_KEY_CHARS) break;
    }
    return text;
  }
  const silent = new Writable({ write: (_chunk, _encoding, done) => done() });
  const lines = createInterface({ input: stdin, output: silent, terminal: true });
  lines.on('SIGINT', () => process.kill(process.pid, 'SIGINT'));
  process.stderr.write('Mesh key (it is not shown): ');
  try {
    return await lines.question('');
  } finally {
    lines.close();
    process.stderr.write('\n');
  }
}
