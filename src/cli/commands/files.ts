/** `mesh files`, `mesh get`: what a job has left. */
import { createHash, type Hash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { type FileHandle, mkdir, open, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Command } from 'commander';
import type { KeptFileJson } from '../../api/job-json.ts';
import { MeshError } from '../../base/errors.ts';
import type { Client } from '../../client/client.ts';
import type { CommandTree } from '../command-tree.ts';
import { EXIT } from '../exit-codes.ts';
import { type ConnectionOptions, connectToAny } from '../node-connection.ts';
import { print, printError, printJson, tableLines, terminalWidth, visible } from '../terminal.ts';
import { TransferProgress } from '../transfer-progress.ts';

interface GetOptions extends ConnectionOptions {
  readonly output: string;
  readonly force?: boolean;
}

const PIECE_BYTES = 1024 * 1024;

export function addFiles(tree: CommandTree): void {
  tree
    .client('files', 'List the files that a job has left')
    .argument('<id>', 'id of the job')
    .action(async (id: string, _options: unknown, command: Command) =>
      listFiles(id, command.optsWithGlobals()),
    );
  tree
    .client('get', 'Fetch files that a job has left')
    .argument('<id>', 'id of the job')
    .argument('[path...]', 'which of them (default: all)')
    .option('-o, --output <folder>', 'where to put them', '.')
    .option('--force', 'replace other files of these names')
    .addHelpText(
      'after',
      '\nWhat broke off goes on where it stopped.\n\nExamples:\n  mesh get job-7h2k…\n  mesh get job-7h2k… -o results result/table.csv',
    )
    .action(async (id: string, paths: string[], _options: GetOptions, command: Command) => {
      tree.exitCode = await getFiles(id, paths, command.optsWithGlobals());
    });
}

async function listFiles(id: string, options: ConnectionOptions): Promise<void> {
  const list = await (await connectToAny(options)).files(id);
  if (options.json) {
    printJson(list);
    return;
  }
  const columns = [
    { title: 'BYTES', text: (file: KeptFileJson) => String(file.bytes), isRight: true },
    { title: 'SHA-256', text: (file: KeptFileJson) => file.sha256.slice(0, 12) },
    { title: 'PATH', text: (file: KeptFileJson) => file.path },
  ];
  if (list.count === 0) print('No files.');
  else for (const line of tableLines(columns, list.files, terminalWidth())) print(line);
}

async function getFiles(id: string, paths: readonly string[], options: GetOptions) {
  const client = await connectToAny(options);
  const { files } = await client.files(id);
  const unknown = paths.find((path) => !files.some((file) => file.path === path));
  if (unknown !== undefined)
    throw new MeshError(
      'BLOB_NOT_FOUND',
      `Job ${id} has left no file ${unknown}: mesh files ${id}`,
    );
  const wanted = paths.length === 0 ? files : files.filter(({ path }) => paths.includes(path));
  if (wanted.length === 0) printError(`mesh: job ${visible(id)} has left no files`);
  for (const file of wanted) {
    const target = targetOf(file, options);
    const how = await getFile(client, { id, file, target, isForced: options.force ?? false });
    if (options.json) printJson({ path: file.path, file: target, bytes: file.bytes });
    else print(`${visible(target)}${how === 'there' ? ' (was there)' : ''}`);
  }
  return wanted.length === 0 ? EXIT.failed : EXIT.ok;
}

/** The name comes from the mesh, and must not lead out of the folder. */
function targetOf({ path }: KeptFileJson, { output }: GetOptions): string {
  const parts = path.split('/');
  if (path.startsWith('/') || parts.some((part) => part === '..' || part === ''))
    throw new MeshError('BAD_REQUEST', `The path ${path} leads out of the folder: left alone.`);
  return join(output, path);
}

interface Fetched {
  readonly id: string;
  readonly file: KeptFileJson;
  readonly target: string;
  readonly isForced: boolean;
}

async function getFile(client: Client, fetched: Fetched): Promise<'fetched' | 'there'> {
  const { file, target, isForced } = fetched;
  if (existsSync(target)) {
    if (await isThatFile(target, file)) return 'there';
    if (!isForced)
      throw new MeshError('BAD_REQUEST', `${target} is another file: --force replaces it.`);
  }
  await mkdir(dirname(target), { recursive: true });
  const part = `${target}.part`;
  // What an earlier try has left may be of another file: then all of it is fetched anew, once.
  if (!(await fetchTo(part, client, fetched))) {
    await rm(part, { force: true });
    if (!(await fetchTo(part, client, fetched))) {
      await rm(part, { force: true });
      const sentence = `${file.path} came damaged twice. Ask another node: mesh --api URL get …`;
      throw new MeshError('BLOB_MISMATCH', sentence);
    }
  }
  await rename(part, target);
  return 'fetched';
}

/** Whether what is there now is that file. */
async function fetchTo(
  part: string,
  client: Client,
  { id, file, target }: Fetched,
): Promise<boolean> {
  const output = await open(part, 'a+');
  const progress = new TransferProgress(`fetching ${target}`, file.bytes);
  try {
    const { hash, length } = await hashed(output);
    let offset = length;
    if (offset < file.bytes || file.bytes === 0) {
      for await (const bytes of client.download(id, file.path, { offset })) {
        hash.update(bytes);
        await output.writeFile(bytes);
        offset += bytes.length;
        progress.show(offset);
      }
    }
    return offset === file.bytes && hash.digest('hex') === file.sha256;
  } finally {
    progress.end();
    await output.close();
  }
}

async function isThatFile(path: string, { bytes, sha256 }: KeptFileJson): Promise<boolean> {
  const file = await open(path, 'r');
  try {
    const { hash, length } = await hashed(file);
    return length === bytes && hash.digest('hex') === sha256;
  } finally {
    await file.close();
  }
}

async function hashed(file: FileHandle): Promise<{ hash: Hash; length: number }> {
  const hash = createHash('sha256');
  const piece = Buffer.allocUnsafe(PIECE_BYTES);
  for (let length = 0; ; ) {
    const { bytesRead } = await file.read(piece, 0, piece.length, length);
    if (bytesRead === 0) return { hash, length };
    hash.update(piece.subarray(0, bytesRead));
    length += bytesRead;
  }
}
