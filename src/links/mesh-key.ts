/**
 * The mesh key: 32 random bytes that every node of a mesh has and nobody else. Whoever has it may
 * join, and run commands on all nodes.
 *
 * - The first node of a user creates it; the user's other nodes on that machine find it. It is
 *   carried to another machine once, as text: `mesh1-` and 58 letters and digits. That is base32
 *   of the key and four bytes of its hash, so that a letter lost on the way is noticed. Base32,
 *   because it can be read aloud and marked with one double click.
 * - It is used for nothing itself: each use has a secret of its own, derived with HKDF-SHA256 and
 *   the name of the use. None of them tells anything about another or about the key.
 * - In memory it is a KeyObject, which prints as nothing in logs and errors.
 */
import { createHash, createSecretKey, hkdfSync, type KeyObject, randomBytes } from 'node:crypto';
import fs from 'node:fs';
import { MeshError } from '../base/errors.ts';
import { createPrivateFile, readPrivateFile, replacePrivateFile } from './private-file.ts';

export interface MeshKey {
  /** 16 hex digits, derived; tells meshes apart and is no secret. */
  readonly id: string;
  readonly secret: KeyObject;
  /** The key that everybody knows. */
  readonly isOpen: boolean;
}

/** What secrets are derived for. The text is part of the derivation: never change one. */
export type Purpose = 'ca-ed25519-seed' | 'heartbeat' | 'key-id';

const KEY_BYTES = 32;
const CHECK_BYTES = 4;
const PREFIX = 'mesh1-';
const TEXT_CHARS = 58;
const ALPHABET = 'abcdefghijklmnopqrstuvwxyz234567';

export const createMeshKey = (): MeshKey => toMeshKey(randomBytes(KEY_BYTES));

/** For a lab without a secret: the same key for everybody. */
export const openMeshKey = (): MeshKey => ({
  ...toMeshKey(createHash('sha256').update('worker-mesh: open to everybody').digest()),
  isOpen: true,
});

export const deriveSecret = (key: MeshKey, purpose: Purpose, bytes: number): Buffer =>
  Buffer.from(hkdfSync('sha256', key.secret, 'worker-mesh-1', purpose, bytes));

/** `mesh1-…`: this is the secret itself, for the eyes of the user alone. */
export function formatMeshKey(key: MeshKey): string {
  const bytes = key.secret.export();
  return PREFIX + toBase32(Buffer.concat([bytes, checkOf(bytes)]));
}

/** Upper case and white space are forgiven. @returns undefined when it is not a whole key */
export function parseMeshKey(text: string): MeshKey | undefined {
  const compact = text.replace(/\s/g, '').toLowerCase();
  if (!compact.startsWith(PREFIX)) return undefined;
  const bytes = fromBase32(compact.slice(PREFIX.length));
  if (bytes?.length !== KEY_BYTES + CHECK_BYTES) return undefined;
  const key = bytes.subarray(0, KEY_BYTES);
  return checkOf(key).equals(bytes.subarray(KEY_BYTES)) ? toMeshKey(key) : undefined;
}

/** @returns undefined when there is no such file. @throws MeshError BAD_KEY */
export function readMeshKey(file: string): MeshKey | undefined {
  const text = readPrivateFile(file);
  if (text === undefined) return undefined;
  const key = parseMeshKey(text);
  if (key) return key;
  const sentence = `The mesh key in ${file} is damaged or cut short. Print it with \`mesh key\` on another node and take it with \`mesh join\`; or delete the file, and the next node makes a new mesh.`;
  throw new MeshError('BAD_KEY', sentence);
}

/** Two nodes that start at once end with the same key. @throws MeshError BAD_KEY, DATA_FAILED */
export function findOrCreateMeshKey(file: string): { key: MeshKey; isNew: boolean } {
  const found = readMeshKey(file);
  if (found) return { key: found, isNew: false };
  const created = createMeshKey();
  if (createPrivateFile(file, `${formatMeshKey(created)}\n`)) return { key: created, isNew: true };
  const winner = readMeshKey(file);
  if (winner) return { key: winner, isNew: false };
  throw new MeshError('DATA_FAILED', `${file} comes and goes. See who else writes there.`);
}

/**
 * Takes a key from another machine. Another key that was there is kept beside the file, because
 * it may be the last copy.
 * @returns where the other key went; undefined: there was none
 * @throws MeshError BAD_KEY, DATA_FAILED
 */
export function joinMesh(file: string, key: MeshKey): { keptAt: string | undefined } {
  const before = readMeshKey(file);
  if (before?.id === key.id) return { keptAt: undefined };
  const keptAt = before && `${file}.${before.id}`;
  if (keptAt !== undefined) fs.copyFileSync(file, keptAt);
  replacePrivateFile(file, `${formatMeshKey(key)}\n`);
  return { keptAt };
}

function toMeshKey(bytes: Uint8Array): MeshKey {
  const secret = createSecretKey(bytes);
  const key = { id: '', secret, isOpen: false };
  return { ...key, id: deriveSecret(key, 'key-id', 8).toString('hex') };
}

const checkOf = (key: Uint8Array): Buffer =>
  createHash('sha256').update(PREFIX).update(key).digest().subarray(0, CHECK_BYTES);

/** RFC 4648 without padding, in lower case. */
function toBase32(bytes: Uint8Array): string {
  let text = '';
  let held = 0;
  let heldBits = 0;
  for (const byte of bytes) {
    held = (held << 8) | byte;
    heldBits += 8;
    for (; heldBits >= 5; heldBits -= 5) text += ALPHABET[(held >> (heldBits - 5)) & 31];
    held &= (1 << heldBits) - 1;
  }
  return heldBits > 0 ? text + ALPHABET[(held << (5 - heldBits)) & 31] : text;
}

function fromBase32(text: string): Buffer | undefined {
  if (text.length !== TEXT_CHARS) return undefined;
  const bytes: number[] = [];
  let held = 0;
  let heldBits = 0;
  for (const letter of text) {
    const value = ALPHABET.indexOf(letter);
    if (value < 0) return undefined;
    held = (held << 5) | value;
    heldBits += 5;
    if (heldBits < 8) continue;
    heldBits -= 8;
    bytes.push((held >> heldBits) & 0xff);
    held &= (1 << heldBits) - 1;
  }
  // Bits that are left over are zero, or two texts would be one key.
  return held === 0 ? Buffer.from(bytes) : undefined;
}
