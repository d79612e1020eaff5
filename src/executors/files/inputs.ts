/**
 * The input files of an attempt, put into its working folder before it starts. The folder may be
 * one that the job names, with anything in it: nothing is written through a link that lies there,
 * so that what is named below the folder ends up below it.
 */
import { chmod, chown, lstat, mkdir, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { MeshError, messageOf } from '../../base/errors.ts';
import type { NodeId } from '../../base/ids.ts';
import type { InputFile } from '../../run/run-options.ts';
import type { NotRun } from '../failures.ts';
import type { Files } from './files.ts';

const DEFAULT_MODE = 0o644;

export interface InputPlace {
  readonly folder: string;
  readonly files: Files | undefined;
  readonly hints: readonly NodeId[];
  readonly signal: AbortSignal;
}

/** Undefined: all are there. */
export async function placeInputs(
  inputs: readonly InputFile[],
  place: InputPlace,
): Promise<NotRun | undefined> {
  for (const input of inputs) {
    try {
      place.signal.throwIfAborted();
      await makeFolders(place.folder, dirname(input.path));
      await placeOne(input, place);
    } catch (thrown) {
      return notPlaced(input, thrown);
    }
  }
  return undefined;
}

async function placeOne(input: InputFile, place: InputPlace): Promise<void> {
  const path = join(place.folder, input.path);
  const mode = input.mode === undefined ? DEFAULT_MODE : Number.parseInt(input.mode, 8);
  // The link itself is removed, and not what it leads to.
  await rm(path, { force: true });
  const { sha256, bytes, text, base64 } = input;
  if (sha256 === undefined || bytes === undefined) {
    const content = Buffer.from(text ?? base64 ?? '', text === undefined ? 'base64' : 'utf8');
    await writeFile(path, content, { flag: 'wx', mode });
    // The node's own mask had a say.
    await chmod(path, mode);
    return;
  }
  if (!place.files) throw new Error('this node keeps no files');
  const { hints, signal } = place;
  await place.files.place({ sha256, bytes, path, mode, hints, signal });
}

/** One by one: what is there must be a folder, and not a link to one. */
async function makeFolders(folder: string, below: string): Promise<void> {
  let path = folder;
  for (const part of below.split('/').filter((name) => name !== '.')) {
    path = join(path, part);
    await mkdir(path, { mode: 0o755 }).catch((thrown: { code?: string }) => {
      if (thrown.code !== 'EEXIST') throw thrown;
    });
    if (!(await lstat(path)).isDirectory()) throw new Unplaceable(`${part} is there and no folder`);
  }
}

class Unplaceable extends Error {}

const JOBS_FAULT: ReadonlySet<string> = new Set(['EISDIR', 'ENOTDIR', 'EEXIST', 'ENAMETOOLONG']);

function notPlaced(input: InputFile, thrown: unknown): NotRun {
  const reason = `The input file ${input.path} could not be put into the working folder: ${sentence(messageOf(thrown))}`;
  const { code = '' } = thrown as { code?: string };
  const isJobsFault =
    thrown instanceof Unplaceable || JOBS_FAULT.has(code) || code === 'BLOB_NOT_FOUND';
  if (isJobsFault) return { tag: 'failed', reason };
  // Another node may have room for it, or reach the node that has it; later, so may this one.
  if (thrown instanceof MeshError || code !== '') return { tag: 'returned', reason };
  return { tag: 'failed', reason };
}

const sentence = (text: string): string => (/[.!?]$/.test(text) ? text : `${text}.`);

/** For a job that runs as another user than its node: the files it was given are its own. */
export async function giveInputs(
  inputs: readonly InputFile[],
  { folder, uid, gid }: { folder: string; uid: number; gid: number },
): Promise<void> {
  const paths = new Set<string>();
  for (const { path } of inputs) for (let at = path; at !== '.'; at = dirname(at)) paths.add(at);
  for (const path of paths) await chown(join(folder, path), uid, gid);
}
