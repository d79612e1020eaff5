/**
 * `--in` of `mesh run`: which files a job gets, and how they get there. Small ones travel in the
 * job; the others are uploaded to the node that is asked before the job is submitted.
 */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { type FileHandle, open, readdir, readFile, stat } from 'node:fs/promises';
import { basename, isAbsolute, join, normalize, relative } from 'node:path';
import type { JobRequest } from '../api/job-request.ts';
import { MeshError } from '../base/errors.ts';
import type { Client } from '../client/client.ts';
import { TransferProgress } from './transfer-progress.ts';

/** What travels in the job lies in its record, on several disks. */
const INLINE_BYTES = 64 * 1024;
const ALL_INLINE_BYTES = 256 * 1024;
const PIECE_BYTES = 1024 * 1024;

type Input = NonNullable<JobRequest['inputs']>[number];

interface LocalFile {
  readonly source: string;
  /** Below the working folder of the job. */
  readonly path: string;
  readonly bytes: number;
  readonly mode: string;
}

/** @throws MeshError BAD_REQUEST for a file that is not there; what an upload throws */
export async function sendInputs(client: Client, given: readonly string[]): Promise<Input[]> {
  const files = (await Promise.all(given.map(filesOf))).flat();
  let inlineBytes = 0;
  const inputs: Input[] = [];
  for (const file of files) {
    const isInline = file.bytes <= INLINE_BYTES && inlineBytes + file.bytes <= ALL_INLINE_BYTES;
    if (isInline) inlineBytes += file.bytes;
    inputs.push(await (isInline ? inlineInput(file) : uploadedInput(client, file)));
  }
  return inputs;
}

// ---------------------------------------------------------------- which

/** `FILE`, `FOLDER`, or `NAME=FILE` and `NAME=FOLDER` to have it there under another name. */
async function filesOf(text: string): Promise<LocalFile[]> {
  const at = text.indexOf('=');
  const isNamed = at > 0 && !existsSync(text);
  const source = isNamed ? text.slice(at + 1) : text;
  const name = isNamed ? text.slice(0, at) : nameOf(source);
  const found = await stat(source).catch((cause: unknown) => {
    throw new MeshError('BAD_REQUEST', `There is no file or folder ${source} here (--in).`, {
      cause,
    });
  });
  if (found.isDirectory()) return filesIn(source, name.replace(/\/+$/, ''));
  const path = name.endsWith('/') ? name + basename(source) : name;
  return [{ source, path, bytes: found.size, mode: modeOf(found.mode) }];
}

/** As it was written, where that leads below this folder; else the last part of it. */
function nameOf(source: string): string {
  const path = normalize(source).replace(/\/+$/, '');
  const isBelow = !isAbsolute(path) && path !== '.' && !path.split('/').includes('..');
  return isBelow ? path : basename(join(process.cwd(), path));
}

/** Links in it are left out: what they lead to may be anywhere. */
async function filesIn(folder: string, name: string): Promise<LocalFile[]> {
  const entries = await readdir(folder, { withFileTypes: true, recursive: true });
  const files = entries.filter((entry) => entry.isFile());
  return Promise.all(
    files.map(async ({ parentPath, name: last }) => {
      const source = join(parentPath, last);
      const { size, mode } = await stat(source);
      return {
        source,
        path: join(name, relative(folder, source)),
        bytes: size,
        mode: modeOf(mode),
      };
    }),
  );
}

const modeOf = (mode: number): string => (mode & 0o777).toString(8).padStart(3, '0');

// ---------------------------------------------------------------- how

async function inlineInput({ source, path, mode }: LocalFile): Promise<Input> {
  const bytes = await readFile(source);
  const text = bytes.toString('utf8');
  // JSON cannot say a NUL here, nor what is no UTF-8.
  const isText = !bytes.includes(0) && Buffer.from(text, 'utf8').equals(bytes);
  return isText ? { path, text, mode } : { path, base64: bytes.toString('base64'), mode };
}

async function uploadedInput(
  client: Client,
  { source, path, bytes, mode }: LocalFile,
): Promise<Input> {
  const file = await open(source, 'r');
  const progress = new TransferProgress(`uploading ${path}`, bytes);
  try {
    const sha256 = await hashOf(file, bytes);
    const read = (offset: number, length: number): Promise<Uint8Array> =>
      readExactly(file, offset, length, source);
    await client.upload({ sha256, bytes, read }, { onProgress: (sent) => progress.show(sent) });
    return { path, sha256, bytes, mode };
  } finally {
    progress.end();
    await file.close();
  }
}

async function hashOf(file: FileHandle, bytes: number): Promise<string> {
  const hash = createHash('sha256');
  for (let at = 0; at < bytes; ) {
    const piece = Buffer.allocUnsafe(Math.min(PIECE_BYTES, bytes - at));
    const { bytesRead } = await file.read(piece, 0, piece.length, at);
    if (bytesRead === 0) break;
    hash.update(piece.subarray(0, bytesRead));
    at += bytesRead;
  }
  return hash.digest('hex');
}

async function readExactly(
  file: FileHandle,
  offset: number,
  length: number,
  source: string,
): Promise<Uint8Array> {
  const piece = Buffer.allocUnsafe(length);
  for (let filled = 0; filled < length; ) {
    const { bytesRead } = await file.read(piece, filled, length - filled, offset + filled);
    if (bytesRead === 0)
      throw new MeshError('BAD_REQUEST', `${source} has become shorter while it was read.`);
    filled += bytesRead;
  }
  return piece;
}
