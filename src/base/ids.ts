/**
 * Identities. All are branded strings, so that one cannot be passed for another; equal text means
 * equal identity, and byte order of the text is the one order used wherever a tie is broken.
 */

declare const brand: unique symbol;
type Branded<Name extends string> = string & { readonly [brand]: Name };

/** `node-` and 32 hex digits: the hash of the node's public key. Survives restarts. */
export type NodeId = Branded<'NodeId'>;
/** Made by the node that takes the job, or chosen by the client (then it is a key). 1 to 128 characters of `A-Za-z0-9._:-`. */
export type JobId = Branded<'JobId'>;
/** Random, made at the first write of a job: tells two jobs of one id apart. */
export type Birth = Branded<'Birth'>;
/** One outstanding claim of an executor node: `<boot counter>.<serial>`, unique within its node. */
export type Nonce = Branded<'Nonce'>;
/** Names an expected reply between the driver and the core; unique within one process. */
export type RequestId = Branded<'RequestId'>;

/** One life of a node: the counter is kept on disk and rises at each start, the salt is random. */
export interface BootId {
  readonly counter: number;
  /** 16 hex digits. */
  readonly salt: string;
}

const NODE_ID = /^node-[0-9a-f]{32}$/;
const SHA256 = /^[0-9a-f]{64}$/;
const JOB_ID = /^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$/;

export const isNodeId = (text: string): text is NodeId => NODE_ID.test(text);
export const isJobId = (text: string): text is JobId => JOB_ID.test(text);
/** In the one form that names are made of: lower case. */
export const isSha256 = (text: string): boolean => SHA256.test(text);

/** Marks text that is known to be of this kind (own making, or checked by its parser). */
export const asNodeId = (text: string): NodeId => text as NodeId;
export const asJobId = (text: string): JobId => text as JobId;
export const asBirth = (text: string): Birth => text as Birth;
export const asNonce = (text: string): Nonce => text as Nonce;
export const asRequestId = (text: string): RequestId => text as RequestId;

export const bootText = (boot: BootId): string => `${boot.counter}.${boot.salt}`;
export const isSameBoot = (a: BootId, b: BootId): boolean =>
  a.counter === b.counter && a.salt === b.salt;

/** Byte order, the same on every machine (localeCompare is not). */
export const compareText = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
