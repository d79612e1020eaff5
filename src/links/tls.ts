/**
 * TLS as links use it: version 1.3 only, certificates of the mesh on both sides, no resumption (on
 * a resumed session Node checks no identity), and failures in words that say what to do.
 */
import type { SecureContextOptions, TLSSocket } from 'node:tls';
import type { NodeId } from '../base/ids.ts';
import type { MeshCa } from './mesh-ca.ts';
import { type NodeIdentity, nodeIdOf } from './node-identity.ts';

export function secureOptions(ca: MeshCa, identity: NodeIdentity): SecureContextOptions {
  const { certPem, keyPem } = ca.issueNodeCertificate(identity);
  return { ca: ca.caPem, cert: certPem, key: keyPem, minVersion: 'TLSv1.3' };
}

/**
 * Who is at the other end: the hash of the key in its certificate, which TLS has verified.
 * @returns undefined when that cannot be said; never throws
 */
export function peerNodeOf(socket: TLSSocket): NodeId | undefined {
  if (!socket.authorized || socket.isSessionReused()) return undefined;
  try {
    const publicKey = socket.getPeerX509Certificate()?.publicKey;
    // Only keys of nodes: the API's certificates are of the same authority.
    return publicKey?.asymmetricKeyType === 'ed25519' ? nodeIdOf(publicKey) : undefined;
  } catch {
    return undefined;
  }
}

export const TIMED_OUT = 'it did not answer in time';

const OTHER_KEY = 'it has another mesh key, or none';

/** OpenSSL's and the system's codes of what really happens. */
const SENTENCES: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'nothing listens there',
  ECONNRESET: 'it cut the connection',
  EHOSTUNREACH: 'there is no way to that machine',
  ENETUNREACH: 'there is no way to that network',
  ENOTFOUND: 'this name is not known',
  ETIMEDOUT: TIMED_OUT,
  SELF_SIGNED_CERT_IN_CHAIN: OTHER_KEY,
  DEPTH_ZERO_SELF_SIGNED_CERT: OTHER_KEY,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: OTHER_KEY,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: OTHER_KEY,
  CERT_SIGNATURE_FAILURE: OTHER_KEY,
  ERR_SSL_TLSV1_ALERT_UNKNOWN_CA: OTHER_KEY,
  ERR_SSL_TLSV1_ALERT_DECRYPT_ERROR: OTHER_KEY,
  ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED: OTHER_KEY,
  ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE: OTHER_KEY,
  ERR_SSL_UNSUPPORTED_PROTOCOL: 'it speaks an older TLS than 1.3',
  ERR_SSL_WRONG_VERSION_NUMBER: 'it does not speak TLS',
  ERR_SSL_HTTP_REQUEST: 'it speaks HTTP: this is the port for nodes, not the API',
  ERR_SSL_PACKET_LENGTH_TOO_LONG: 'it does not speak TLS',
};

export const codeOf = (error: unknown): string =>
  error instanceof Error && 'code' in error ? String(error.code) : '';

export function explainFailure(error: Error | undefined): string {
  if (!error) return 'the connection was cut';
  return SENTENCES[codeOf(error)] ?? (error.message || codeOf(error));
}

/** The machine answered that nothing listens; for a name, that each of its addresses did. */
export function isRefusal(error: Error | undefined): boolean {
  if (error instanceof AggregateError && error.errors.length > 0) {
    return error.errors.every((one) => codeOf(one) === 'ECONNREFUSED');
  }
  return codeOf(error) === 'ECONNREFUSED';
}
