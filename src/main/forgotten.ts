/**
 * A node whose identity was banned (`mesh forget`, or absent too long) is let in nowhere again. It
 * notes that beside its database, ends what it runs, and its next start takes a new identity: the
 * old key and database are kept under other names, and what was unfinished is handed in
 * (node/hand-in.ts).
 *
 * Only a start that finds such a note about the very key it would use makes a new key, and each
 * note names one identity: so no chain of starts can go on for ever, and none loses a database.
 */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { messageOf } from '../base/errors.ts';
import { asNodeId, isNodeId, type NodeId } from '../base/ids.ts';
import { setIdentityAside } from '../links/node-identity.ts';
import { createPrivateFile, readPrivateFile } from '../links/private-file.ts';
import type { Log } from '../log.ts';
import type { Former } from '../node/ports.ts';
import { openForgotten, setDatabaseAside, withLockedFolder } from '../store/forgotten.ts';

interface Note {
  readonly node: NodeId;
  readonly by: NodeId;
  /** The ending of the names of what is kept. */
  readonly mark: string;
}

const NOTE_FILE = /^forgotten_(node-[0-9a-f]{32})\.json$/;

/** Durable when it returns; the first word counts. */
export function noteForgotten(dataDir: string, node: NodeId, by: NodeId): void {
  const date = new Date().toISOString().slice(0, 10);
  const note: Note = { node, by, mark: `forgotten-${date}` };
  createPrivateFile(noteFile(dataDir, node), `${JSON.stringify(note)}\n`);
}

export const isForgotten = (dataDir: string, node: NodeId): boolean =>
  existsSync(noteFile(dataDir, node));

/**
 * To be called before the identity is read.
 * @returns what earlier identities of this folder have left to hand in
 */
export function settleForgotten(dataDir: string, log: Log): Former[] {
  const notes = readNotes(dataDir);
  if (notes.length === 0) return [];
  return withLockedFolder(dataDir, () => notes.flatMap((note) => settle(dataDir, note, log)));
}

function settle(dataDir: string, { node, by, mark }: Note, log: Log): Former[] {
  const isNew = setIdentityAside(dataDir, node, mark);
  const file = setDatabaseAside(dataDir, node, mark);
  if (isNew) log.warn({ old: node, by, file }, 'forgotten by the mesh: taking a new identity');
  // A person may remove the old database once it is not wanted any more.
  if (!existsSync(file)) return [];
  try {
    return [openForgotten({ file, node, by })];
  } catch (failure) {
    log.error({ file }, `jobs of a forgotten identity cannot be read: ${messageOf(failure)}`);
    return [];
  }
}

const noteFile = (dataDir: string, node: NodeId): string => join(dataDir, `forgotten_${node}.json`);

function readNotes(dataDir: string): Note[] {
  return readdirSync(dataDir).flatMap((name) => {
    const node = NOTE_FILE.exec(name)?.[1];
    if (node === undefined) return [];
    const { by, mark } = parseNote(readPrivateFile(join(dataDir, name)) ?? '');
    return [{ node: asNodeId(node), by: by ?? asNodeId(node), mark: mark ?? 'forgotten' }];
  });
}

/** Its name says the most; what cannot be read of it is made up for. */
function parseNote(text: string): Partial<Note> {
  try {
    const { by, mark } = JSON.parse(text) as Record<string, unknown>;
    return {
      ...(typeof by === 'string' && isNodeId(by) && { by }),
      ...(typeof mark === 'string' && /^forgotten-[0-9-]{10}$/.test(mark) && { mark }),
    };
  } catch {
    return {};
  }
}
