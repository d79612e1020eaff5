/**
 * The envelope of a heartbeat.
 *
 *     "MESH"  version  key id  salt  sequence | sealed payload  tag
 *       4        1        8     16      8     |       n          16     bytes
 *
 * It is sealed and not only signed (AES-256-GCM, the header as additional data): who listens on
 * the network without the key learns that a mesh is there and how many nodes beat, but no name,
 * no id and no load. The key of each life of a node is derived from the mesh's heartbeat secret
 * and the salt, which is random at each start; the nonce is the sequence, which only rises. So no
 * pair of key and nonce is ever used twice, also not by a node whose disk went back.
 */
import { createCipheriv, createDecipheriv, createHmac, randomBytes } from 'node:crypto';
import { MAX_DATAGRAM_BYTES } from '../wire/limits.ts';

export interface HeartbeatKey {
  /** 16 hex digits; stands on every datagram. */
  readonly id: string;
  /** 32 bytes, for heartbeats alone. */
  readonly secret: Uint8Array;
}

export type Opened =
  | { readonly kind: 'opened'; readonly sequence: number; readonly payload: Uint8Array }
  | { readonly kind: 'otherMesh'; readonly keyId: string }
  | { readonly kind: 'dropped'; readonly reason: DropReason };

export type DropReason =
  | 'wrong size'
  | 'not a heartbeat'
  | 'another version'
  | 'broken seal'
  | 'malformed'
  | 'repeated or old'
  | 'copied identity';

const MAGIC = Buffer.from('MESH');
const VERSION = 1;
const KEY_ID_AT = 5;
const SALT_AT = 13;
const SEQUENCE_AT = 29;
const HEADER_BYTES = 37;
const TAG_BYTES = 16;
const CIPHER = 'aes-256-gcm';
const MAX_KEYS = 1024;

/** Seals the heartbeats of one life. */
export class Sealer {
  private readonly header: Buffer;
  private readonly key: Buffer;
  private sequence = 0;

  constructor(key: HeartbeatKey) {
    const salt = randomBytes(SEQUENCE_AT - SALT_AT);
    this.key = keyOfLife(key, salt);
    this.header = Buffer.alloc(HEADER_BYTES);
    MAGIC.copy(this.header);
    this.header[MAGIC.length] = VERSION;
    Buffer.from(key.id, 'hex').copy(this.header, KEY_ID_AT);
    salt.copy(this.header, SALT_AT);
  }

  /** @returns undefined when it would be larger than any receiver takes */
  seal(payload: Uint8Array): Buffer | undefined {
    if (HEADER_BYTES + payload.length + TAG_BYTES > MAX_DATAGRAM_BYTES) return undefined;
    this.sequence += 1;
    this.header.writeBigUInt64BE(BigInt(this.sequence), SEQUENCE_AT);
    const cipher = createCipheriv(CIPHER, this.key, nonceOf(this.header));
    cipher.setAAD(this.header);
    const sealed = cipher.update(payload);
    cipher.final();
    return Buffer.concat([this.header, sealed, cipher.getAuthTag()]);
  }
}

/** Opens what anybody may have sent; the cheap checks come first. */
export class Opener {
  private readonly key: HeartbeatKey;
  /** Salt → key, of lives that were heard. Only a whole seal makes an entry: strangers cannot. */
  private readonly keys = new Map<string, Buffer>();

  constructor(key: HeartbeatKey) {
    this.key = key;
  }

  open(datagram: Buffer): Opened {
    if (datagram.length <= HEADER_BYTES + TAG_BYTES || datagram.length > MAX_DATAGRAM_BYTES) {
      return { kind: 'dropped', reason: 'wrong size' };
    }
    if (!datagram.subarray(0, MAGIC.length).equals(MAGIC)) {
      return { kind: 'dropped', reason: 'not a heartbeat' };
    }
    if (datagram[MAGIC.length] !== VERSION) return { kind: 'dropped', reason: 'another version' };
    const keyId = datagram.toString('hex', KEY_ID_AT, SALT_AT);
    if (keyId !== this.key.id) return { kind: 'otherMesh', keyId };
    const sequence = Number(datagram.readBigUInt64BE(SEQUENCE_AT));
    const payload = this.unseal(datagram);
    if (!payload) return { kind: 'dropped', reason: 'broken seal' };
    return { kind: 'opened', sequence, payload };
  }

  private unseal(datagram: Buffer): Buffer | undefined {
    const salt = datagram.toString('latin1', SALT_AT, SEQUENCE_AT);
    const known = this.keys.get(salt);
    const key = known ?? keyOfLife(this.key, datagram.subarray(SALT_AT, SEQUENCE_AT));
    const decipher = createDecipheriv(CIPHER, key, nonceOf(datagram), { authTagLength: TAG_BYTES });
    decipher.setAAD(datagram.subarray(0, HEADER_BYTES));
    decipher.setAuthTag(datagram.subarray(-TAG_BYTES));
    const payload = decipher.update(datagram.subarray(HEADER_BYTES, -TAG_BYTES));
    try {
      decipher.final();
    } catch {
      // The only thing it can mean is that the seal is not ours.
      return undefined;
    }
    if (!known) this.remember(salt, key);
    return payload;
  }

  private remember(salt: string, key: Buffer): void {
    const [oldest] = this.keys.keys();
    if (this.keys.size >= MAX_KEYS && oldest !== undefined) this.keys.delete(oldest);
    this.keys.set(salt, key);
  }
}

const keyOfLife = (key: HeartbeatKey, salt: Uint8Array): Buffer =>
  createHmac('sha256', key.secret).update(salt).digest();

/** 96 bits, as GCM wants: the sequence behind four zeros. */
function nonceOf(header: Uint8Array): Buffer {
  const nonce = Buffer.alloc(12);
  nonce.set(header.subarray(SEQUENCE_AT, HEADER_BYTES), 4);
  return nonce;
}
