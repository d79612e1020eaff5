/**
 * Who a node is: an Ed25519 key of its own, kept beside its database and lost with it. Its id is
 * the hash of the public key, so that nobody can use the id without the key, not even another
 * member of the mesh.
 */
import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
} from 'node:crypto';
import { renameSync } from 'node:fs';
import path from 'node:path';
import { MeshError } from '../base/errors.ts';
import { asNodeId, type NodeId } from '../base/ids.ts';
import { createPrivateFile, readPrivateFile } from './private-file.ts';

export interface NodeIdentity {
  readonly node: NodeId;
  readonly privateKey: KeyObject;
}

const FILE = 'node.key';
const ID_HEX_DIGITS = 32;

export const createNodeIdentity = (): NodeIdentity =>
  toIdentity(generateKeyPairSync('ed25519').privateKey);

/** @param dataDir made where it is missing. @throws MeshError BAD_KEY, DATA_FAILED */
export function findOrCreateNodeIdentity(dataDir: string): NodeIdentity {
  const file = path.join(dataDir, FILE);
  const found = readIdentity(file);
  if (found) return found;
  const created = createNodeIdentity();
  const pem = created.privateKey.export({ type: 'pkcs8', format: 'pem' });
  createPrivateFile(file, pem.toString());
  // Whoever was first is the identity of this folder.
  return readIdentity(file) ?? created;
}

/**
 * The folder gets a new key at the next `findOrCreateNodeIdentity`; this one is kept under another
 * name. @returns false when the key there is not, or no more, that of this node
 */
export function setIdentityAside(dataDir: string, node: NodeId, mark: string): boolean {
  const file = path.join(dataDir, FILE);
  if (readIdentity(file)?.node !== node) return false;
  renameSync(file, `${file}.${mark}`);
  return true;
}

/** The id that belongs to a public key. */
export function nodeIdOf(publicKey: KeyObject): NodeId {
  const der = publicKey.export({ type: 'spki', format: 'der' });
  const hash = createHash('sha256').update(der).digest('hex');
  return asNodeId(`node-${hash.slice(0, ID_HEX_DIGITS)}`);
}

function readIdentity(file: string): NodeIdentity | undefined {
  const pem = readPrivateFile(file);
  if (pem === undefined) return undefined;
  try {
    const key = createPrivateKey(pem);
    if (key.asymmetricKeyType === 'ed25519') return toIdentity(key);
  } catch {
    // What is wrong with it makes no difference to what can be done.
  }
  const sentence = `The node's own key in ${file} is damaged. Restore it from a copy; or move the whole data folder away, and the node starts as a new one without its jobs.`;
  throw new MeshError('BAD_KEY', sentence);
}

const toIdentity = (privateKey: KeyObject): NodeIdentity => ({
  node: nodeIdOf(createPublicKey(privateKey)),
  privateKey,
});
