/**
 * The certificate authority of a mesh, derived from the mesh key: every node has it, and every
 * node makes the same bytes, so nothing has to be handed out or kept. A node's certificate is
 * issued in memory at its start and says one thing: the holder of this key had the mesh key.
 *
 * - Certificates of nodes have no useful date: they are as good as the mesh key, which has none,
 *   and a machine without a clock battery starts in 1970.
 * - The API's certificate is for servers only (extended key usage), so it is of no use on a link.
 *   Its key is P-256, which TLS clients of all kinds can use. The signature on it is the mesh's,
 *   Ed25519: OpenSSL, curl and Node verify that; browsers don't, and warn about the page.
 * - DER is made by @peculiar/asn1-x509, which costs 1.3 MiB and 8 ms in the bundle;
 *   @peculiar/x509 above it costs 8 MiB and 35 ms, and its interface is asynchronous for nothing.
 */
import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  sign,
} from 'node:crypto';
import net from 'node:net';
import { AsnConvert, OctetString } from '@peculiar/asn1-schema';
import * as x509 from '@peculiar/asn1-x509';
import { deriveSecret, type MeshKey } from './mesh-key.ts';
import type { NodeIdentity } from './node-identity.ts';

export interface MeshCa {
  readonly caPem: string;
  issueNodeCertificate(identity: NodeIdentity): IssuedCertificate;
  /** @param hosts names and addresses under which the API may be asked */
  issueServerCertificate(options: { hosts: readonly string[] }): IssuedCertificate;
}

export interface IssuedCertificate {
  readonly certPem: string;
  readonly keyPem: string;
}

interface Subject {
  readonly name: string;
  readonly publicKey: KeyObject;
  readonly serial: Uint8Array;
  readonly validity: x509.Validity;
  readonly extensions: x509.Extension[];
}

const ED25519 = '1.3.101.112';
/** PKCS #8 of an Ed25519 private key, up to the 32 bytes of the key itself (RFC 8410). */
const ED25519_PKCS8_HEAD = Buffer.from('302e020100300506032b657004220420', 'hex');
/** RFC 5280, 4.1.2.5: the end of time means that there is none. */
const ALWAYS = { notBefore: new Date(0), notAfter: new Date('9999-12-31T23:59:59Z') };
const DAY_MS = 24 * 3_600_000;
/** The most that browsers take. */
const SERVER_DAYS = 397;

export function createMeshCa(key: MeshKey): MeshCa {
  const seed = deriveSecret(key, 'ca-ed25519-seed', 32);
  const caKey = createPrivateKey({
    key: Buffer.concat([ED25519_PKCS8_HEAD, seed]),
    format: 'der',
    type: 'pkcs8',
  });
  const issuer = { name: `mesh-${key.id}`, key: caKey, publicKey: createPublicKey(caKey) };
  const caPem = issue(issuer, {
    name: issuer.name,
    publicKey: issuer.publicKey,
    serial: Buffer.from([1]),
    validity: new x509.Validity(ALWAYS),
    extensions: [
      extension(
        x509.id_ce_basicConstraints,
        new x509.BasicConstraints({ cA: true, pathLenConstraint: 0 }),
        true,
      ),
      extension(x509.id_ce_keyUsage, new x509.KeyUsage(x509.KeyUsageFlags.keyCertSign), true),
      extension(
        x509.id_ce_subjectKeyIdentifier,
        new x509.SubjectKeyIdentifier(hashOf(issuer.publicKey)),
      ),
    ],
  });
  return {
    caPem,
    issueNodeCertificate: (identity) => issueNodeCertificate(issuer, identity),
    issueServerCertificate: ({ hosts }) => issueServerCertificate(issuer, hosts),
  };
}

interface Issuer {
  readonly name: string;
  readonly key: KeyObject;
  readonly publicKey: KeyObject;
}

function issueNodeCertificate(issuer: Issuer, identity: NodeIdentity): IssuedCertificate {
  const publicKey = createPublicKey(identity.privateKey);
  const certPem = issue(issuer, {
    name: identity.node,
    publicKey,
    serial: positive(hashOf(publicKey).subarray(0, 16)),
    validity: new x509.Validity(ALWAYS),
    extensions: leafExtensions(issuer, {
      usages: [x509.id_kp_serverAuth, x509.id_kp_clientAuth],
      hosts: [`${identity.node}.mesh`],
    }),
  });
  return { certPem, keyPem: toPem(identity.privateKey) };
}

function issueServerCertificate(issuer: Issuer, hosts: readonly string[]): IssuedCertificate {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const now = Date.now();
  const certPem = issue(issuer, {
    name: 'worker-mesh API',
    publicKey,
    serial: positive(randomBytes(16)),
    validity: new x509.Validity({
      notBefore: new Date(now - DAY_MS),
      notAfter: new Date(now + (SERVER_DAYS - 1) * DAY_MS),
    }),
    extensions: leafExtensions(issuer, { usages: [x509.id_kp_serverAuth], hosts }),
  });
  return { certPem, keyPem: toPem(privateKey) };
}

function leafExtensions(
  issuer: Issuer,
  leaf: { usages: string[]; hosts: readonly string[] },
): x509.Extension[] {
  const names = leaf.hosts.map((host) =>
    net.isIP(host) === 0
      ? new x509.GeneralName({ dNSName: host })
      : new x509.GeneralName({ iPAddress: host }),
  );
  const authority = new x509.KeyIdentifier(hashOf(issuer.publicKey));
  const digitalSignature = new x509.KeyUsage(x509.KeyUsageFlags.digitalSignature);
  return [
    extension(x509.id_ce_basicConstraints, new x509.BasicConstraints({ cA: false }), true),
    extension(x509.id_ce_keyUsage, digitalSignature, true),
    extension(x509.id_ce_extKeyUsage, new x509.ExtendedKeyUsage(leaf.usages)),
    extension(x509.id_ce_subjectAltName, new x509.SubjectAlternativeName(names)),
    extension(
      x509.id_ce_authorityKeyIdentifier,
      new x509.AuthorityKeyIdentifier({ keyIdentifier: authority }),
    ),
  ];
}

function extension(extnID: string, value: unknown, critical = false): x509.Extension {
  const extnValue = new OctetString(AsnConvert.serialize(value));
  return new x509.Extension({ extnID, critical, extnValue });
}

function issue(issuer: Issuer, subject: Subject): string {
  const algorithm = new x509.AlgorithmIdentifier({ algorithm: ED25519 });
  const spki = subject.publicKey.export({ type: 'spki', format: 'der' });
  const tbsCertificate = new x509.TBSCertificate({
    version: x509.Version.v3,
    serialNumber: toArrayBuffer(subject.serial),
    signature: algorithm,
    issuer: commonName(issuer.name),
    validity: subject.validity,
    subject: commonName(subject.name),
    subjectPublicKeyInfo: AsnConvert.parse(spki, x509.SubjectPublicKeyInfo),
    extensions: new x509.Extensions(subject.extensions),
  });
  const signature = sign(null, Buffer.from(AsnConvert.serialize(tbsCertificate)), issuer.key);
  const certificate = new x509.Certificate({
    tbsCertificate,
    signatureAlgorithm: algorithm,
    signatureValue: toArrayBuffer(signature),
  });
  const base64 = Buffer.from(AsnConvert.serialize(certificate)).toString('base64');
  const lines = base64.match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`;
}

function commonName(name: string): x509.Name {
  const value = new x509.AttributeValue({ utf8String: name });
  const attribute = new x509.AttributeTypeAndValue({ type: '2.5.4.3', value });
  return new x509.Name([new x509.RelativeDistinguishedName([attribute])]);
}

const hashOf = (publicKey: KeyObject): Buffer =>
  createHash('sha256')
    .update(publicKey.export({ type: 'spki', format: 'der' }))
    .digest()
    .subarray(0, 20);

/** A serial number is a positive integer: the first bit is its sign, and it has no leading zero. */
function positive(bytes: Uint8Array): Uint8Array {
  return Uint8Array.from(bytes, (byte, index) => (index === 0 ? (byte & 0x3f) | 0x40 : byte));
}

const toArrayBuffer = (bytes: Uint8Array): ArrayBuffer => new Uint8Array(bytes).buffer;

const toPem = (key: KeyObject): string => key.export({ type: 'pkcs8', format: 'pem' }).toString();
