import assert from 'node:assert/strict';
import { createPublicKey, X509Certificate } from 'node:crypto';
import https from 'node:https';
import type { AddressInfo } from 'node:net';
import { describe, test } from 'node:test';
import { createMeshCa } from '../../src/links/mesh-ca.ts';
import { createMeshKey, formatMeshKey, parseMeshKey } from '../../src/links/mesh-key.ts';
import { createNodeIdentity, nodeIdOf } from '../../src/links/node-identity.ts';

const key = createMeshKey();
const ca = createMeshCa(key);

describe('the certificate authority of a mesh', () => {
  test('is the same, byte by byte, wherever the key is', () => {
    const elsewhere = parseMeshKey(formatMeshKey(key)) ?? assert.fail();
    assert.equal(createMeshCa(elsewhere).caPem, ca.caPem);
    assert.notEqual(createMeshCa(createMeshKey()).caPem, ca.caPem);
  });

  test('is valid in 1970 and in 9999', () => {
    const { validFrom, validTo } = new X509Certificate(ca.caPem);
    assert.match(validFrom, /1970/);
    assert.match(validTo, /9999/);
  });
});

describe("a node's certificate", () => {
  const identity = createNodeIdentity();
  const certificate = new X509Certificate(ca.issueNodeCertificate(identity).certPem);

  test("holds the node's key, signed by the mesh", () => {
    assert.equal(nodeIdOf(certificate.publicKey), identity.node);
    assert.ok(certificate.checkIssued(new X509Certificate(ca.caPem)));
    assert.ok(certificate.verify(new X509Certificate(ca.caPem).publicKey));
    assert.ok(!certificate.ca);
  });

  test('is not signed by any other mesh', () => {
    const other = new X509Certificate(createMeshCa(createMeshKey()).caPem);
    assert.ok(!certificate.verify(other.publicKey));
  });
});

describe("the API's certificate", () => {
  const hosts = ['localhost', 'box.example', '127.0.0.1', '::1'];
  const issued = ca.issueServerCertificate({ hosts });

  test('names all hosts, and is for servers alone', () => {
    const certificate = new X509Certificate(issued.certPem);
    for (const host of ['localhost', 'box.example'])
      assert.equal(certificate.checkHost(host), host);
    for (const ip of ['127.0.0.1', '::1']) assert.equal(certificate.checkIP(ip), ip);
    assert.equal(certificate.checkHost('elsewhere.example'), undefined);
    assert.deepEqual(certificate.keyUsage, ['1.3.6.1.5.5.7.3.1']);
    assert.equal(createPublicKey(issued.keyPem).asymmetricKeyType, 'ec');
  });

  test('is taken by an HTTPS client that trusts the mesh, and by no other', async (t) => {
    const server = https.createServer({ cert: issued.certPem, key: issued.keyPem }, (_, answer) =>
      answer.end('ok'),
    );
    server.listen(0, '127.0.0.1');
    await new Promise((ready) => server.once('listening', ready));
    t.after(() => server.close());
    const { port } = server.address() as AddressInfo;
    const get = (trusted: string) =>
      new Promise<string>((resolve) => {
        const options = { host: '127.0.0.1', port, ca: trusted, agent: false };
        const request = https.get(options, (answer) =>
          resolve(`status ${answer.resume().statusCode}`),
        );
        request.on('error', (error: NodeJS.ErrnoException) => resolve(`${error.code}`));
      });
    assert.equal(await get(ca.caPem), 'status 200');
    assert.equal(await get(createMeshCa(createMeshKey()).caPem), 'UNABLE_TO_VERIFY_LEAF_SIGNATURE');
  });
});
