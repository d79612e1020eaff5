import assert from 'node:assert/strict';
import net from 'node:net';
import { describe, type TestContext, test } from 'node:test';
import type { NodeId } from '../../src/base/ids.ts';
import type { DiskRefusal } from '../../src/core/disk-ages.ts';
import { MAX_WAITING_OF_ADDRESS } from '../../src/links/gate.ts';
import { createMeshCa } from '../../src/links/mesh-ca.ts';
import { createMeshKey, openMeshKey } from '../../src/links/mesh-key.ts';
import { createNodeIdentity } from '../../src/links/node-identity.ts';
import { MAX_FRAME_BYTES } from '../../src/wire/limits.ts';
import { encodeFrame, encodeMessages } from '../../src/wire/wire.ts';
import { FACTS, LOAD, MESSAGES } from '../wire/samples.ts';
import { FIRST_BOOT, HOST, openNode, type TlsNode } from './nodes.ts';
import { asMember, RawPeer, rawServer } from './raw-peer.ts';

const ca = createMeshCa(createMeshKey());
const otherCa = createMeshCa(createMeshKey());

function connect(t: TestContext, node: TlsNode, options: ConstructorParameters<typeof RawPeer>[1]) {
  const peer = new RawPeer(node.port, options);
  t.after(() => peer.close());
  return peer;
}

/** A raw peer that is linked. */
async function linkRaw(t: TestContext, node: TlsNode) {
  const identity = createNodeIdentity();
  const peer = connect(t, node, asMember(ca, identity));
  assert.ok(await peer.greet(identity));
  await node.witness.next('up');
  return { peer, identity };
}

describe('a link port', () => {
  const strangers: Record<string, () => ConstructorParameters<typeof RawPeer>[1]> = {
    'a node of another mesh': () => asMember(otherCa, createNodeIdentity()),
    'a node without a key, in a mesh that has one': () =>
      asMember(createMeshCa(openMeshKey()), createNodeIdentity()),
    'a client without a certificate': () => ({ minVersion: 'TLSv1.3' }),
    'a member that speaks TLS 1.2': () => ({
      ...asMember(ca, createNodeIdentity()),
      minVersion: 'TLSv1.2',
      maxVersion: 'TLSv1.2',
    }),
    "the API's certificate": () => {
      const { certPem, keyPem } = ca.issueServerCertificate({ hosts: ['localhost'] });
      return { cert: certPem, key: keyPem, minVersion: 'TLSv1.3' };
    },
  };
  for (const [who, options] of Object.entries(strangers)) {
    test(`refuses ${who} before it can say anything`, async (t) => {
      const node = await openNode(t, { ca });
      const identity = createNodeIdentity();
      const peer = connect(t, node, options());
      assert.equal(await peer.greet(identity), false);
      assert.deepEqual(peer.frames, []);
      assert.deepEqual(node.witness.events, []);
      assert.equal(node.links.report().refused['not of this mesh'], 1);
    });
  }

  test('goes on after plain noise, HTTP and silence', async (t) => {
    const node = await openNode(t, { ca });
    for (const bytes of ['GET / HTTP/1.1\r\n\r\n', '\0'.repeat(1000), '']) {
      const socket = net.connect(node.port, HOST);
      const closed = new Promise((resolve) => socket.on('error', () => {}).on('close', resolve));
      socket.end(bytes);
      socket.resume();
      await closed;
    }
    await linkRaw(t, node);
  });

  test('lets few wait before the door, and still lets members in afterwards', async (t) => {
    const node = await openNode(t, { ca });
    const sockets: net.Socket[] = [];
    const ends: Promise<unknown>[] = [];
    for (let index = 0; index < MAX_WAITING_OF_ADDRESS + 10; index++) {
      const socket = net.connect(node.port, HOST).on('error', () => {});
      sockets.push(socket);
      ends.push(new Promise((resolve) => socket.on('close', () => resolve(index))));
    }
    t.after(() => sockets.forEach((socket) => void socket.destroy()));
    await Promise.race(ends);
    for (const socket of sockets) socket.destroy();
    await Promise.all(ends);
    const { refused } = node.links.report();
    assert.ok((refused['not of this mesh'] ?? 0) >= 10, JSON.stringify(refused));
    await linkRaw(t, node);
  });

  test('counts linked peers as let in: more of one address than may wait', async (t) => {
    const node = await openNode(t, { ca });
    for (let index = 0; index <= MAX_WAITING_OF_ADDRESS; index++) {
      const identity = createNodeIdentity();
      const peer = connect(t, node, asMember(ca, identity));
      assert.ok(await peer.greet(identity));
      await node.witness.next('up', index + 1);
    }
  });
});

describe('a dialled node', () => {
  async function dial(t: TestContext, server: { port: number; close(): void }, expected: string) {
    t.after(() => server.close());
    const node = await openNode(t, { ca });
    const wanted = createNodeIdentity();
    node.links.dial(wanted.node, HOST, server.port);
    const { isRefused, reason } = await node.witness.next('dialFailed');
    assert.match(reason, new RegExp(expected));
    assert.ok(!isRefused);
    assert.equal(node.witness.of('up').length, 0);
  }

  test('of another mesh is not believed', async (t) => {
    await dial(t, await rawServer(asMember(otherCa, createNodeIdentity())), 'another mesh key');
  });

  test('cannot be played by another member', async (t) => {
    await dial(t, await rawServer(asMember(ca, createNodeIdentity())), 'another node answers');
  });

  test("cannot be played by a member's API", async (t) => {
    const { certPem, keyPem } = ca.issueServerCertificate({ hosts: [HOST] });
    await dial(t, await rawServer({ cert: certPem, key: keyPem }), 'no identity');
  });

  test('that speaks no TLS is a failure with a reason', async (t) => {
    const server = net.createServer((socket) => socket.on('error', () => {}).end('hello\r\n'));
    await new Promise<void>((ready) => server.listen(0, HOST, ready));
    const { port } = server.address() as net.AddressInfo;
    await dial(t, { port, close: () => void server.close() }, 'TLS');
  });

  test('that accepts and says nothing is given up', async (t) => {
    const server = net.createServer((socket) => t.after(() => void socket.destroy()));
    await new Promise<void>((ready) => server.listen(0, HOST, ready));
    const { port } = server.address() as net.AddressInfo;
    await dial(t, { port, close: () => void server.close() }, 'in time');
  });
});

describe('a handshake', () => {
  test('refuses a member that poses as another', async (t) => {
    const node = await openNode(t, { ca });
    const peer = connect(t, node, asMember(ca, createNodeIdentity()));
    const victim = createNodeIdentity();
    assert.equal(await peer.greet(victim), false);
    const close = await peer.next('close');
    assert.ok(close?.kind === 'close' && close.reason.includes(`calls itself ${victim.node}`));
    assert.deepEqual(node.witness.events, []);
  });

  test("refuses the node's own identity", async (t) => {
    const node = await openNode(t, { ca });
    const peer = connect(t, node, asMember(ca, node.identity));
    assert.equal(await peer.greet(node.identity), false);
    const close = await peer.next('close');
    assert.ok(close?.kind === 'close' && close.reason.includes('data folder was copied'));
  });

  test('tells the commits of the own disk, and refuses a later life that has fewer than before', async (t) => {
    const refused: (DiskRefusal & { node: NodeId })[] = [];
    const node = await openNode(t, { ca, refused });
    const identity = createNodeIdentity();
    const met = async (counter: number, commits?: number) => {
      const peer = connect(t, node, asMember(ca, identity));
      const boot = { ...FIRST_BOOT, counter };
      const isUp = await peer.greet(identity, { boot, ...(commits !== undefined && { commits }) });
      return { peer, isUp };
    };
    const first = await met(1, 50);
    assert.ok(first.isUp);
    const hello = await first.peer.next('hello');
    assert.equal(hello?.kind === 'hello' && hello.commits, 12);
    await node.witness.next('up');
    const back = await met(2, 49);
    assert.equal(back.isUp, false);
    const close = await back.peer.next('close');
    assert.ok(close?.kind === 'close');
    assert.match(close.reason, /it has 49 commits, and 50 were seen.*mesh forget/);
    assert.deepEqual(
      refused.map(({ node: who, kind }) => [who, kind]),
      [[identity.node, 'wentBack']],
    );
    assert.ok((await met(2, 51)).isUp);
    assert.ok((await met(3)).isUp, 'an older program does not tell');
  });

  test('refuses both lives of a copied folder, also those that an earlier run has met', async (t) => {
    const identity = createNodeIdentity();
    const known = { node: identity.node, boot: FIRST_BOOT, clonedCounter: 1 };
    const node = await openNode(t, { ca, knownDisks: [known] });
    for (const salt of [FIRST_BOOT.salt, 'f'.repeat(16)]) {
      const peer = connect(t, node, asMember(ca, identity));
      assert.equal(await peer.greet(identity, { boot: { counter: 1, salt } }), false);
    }
    const later = connect(t, node, asMember(ca, identity));
    assert.ok(await later.greet(identity, { boot: { ...FIRST_BOOT, counter: 2 } }));
  });

  test('agrees on the highest version of both', async (t) => {
    const node = await openNode(t, { ca });
    const identity = createNodeIdentity();
    const peer = connect(t, node, asMember(ca, identity));
    assert.ok(await peer.greet(identity, { versions: { min: 0, max: 9 } }));
    assert.deepEqual(await peer.next('welcome'), { kind: 'welcome', version: 2 });
    await node.witness.next('up');
  });

  for (const versions of [
    { min: 3, max: 4 },
    { min: 0, max: 1 },
    { min: 4, max: 2 },
  ]) {
    test(`refuses versions ${versions.min} to ${versions.max}, and names both ranges`, async (t) => {
      const node = await openNode(t, { ca });
      const identity = createNodeIdentity();
      const peer = connect(t, node, asMember(ca, identity));
      assert.equal(await peer.greet(identity, { versions }), false);
      const close = await peer.next('close');
      assert.ok(close?.kind === 'close');
      assert.match(close.reason, /speaks versions 2 of the link protocol/);
      assert.match(close.reason, new RegExp(`${identity.node} ${versions.min}`));
    });
  }

  test('comes before everything else', async (t) => {
    const node = await openNode(t, { ca });
    const identity = createNodeIdentity();
    for (const first of [
      encodeFrame({ kind: 'welcome', version: 2 }),
      ...encodeMessages(MESSAGES).frames,
    ]) {
      const peer = connect(t, node, asMember(ca, identity));
      peer.socket.write(first);
      await peer.ended;
    }
    assert.deepEqual(node.witness.events, []);
  });

  test('ends by itself when the peer says nothing more', { timeout: 20_000 }, async (t) => {
    const node = await openNode(t, { ca });
    const peer = connect(t, node, asMember(ca, createNodeIdentity()));
    await peer.next('hello');
    const close = await peer.next('close');
    assert.deepEqual(close, { kind: 'close', reason: 'the handshake took too long' });
    await peer.ended;
  });
});

describe('a link', () => {
  const wrong: Record<string, Uint8Array> = {
    'a length over the limit': Buffer.from('8180800200', 'hex'),
    'a frame that cannot be read': Buffer.from('03ffffff', 'hex'),
    'an empty frame': Buffer.from('00', 'hex'),
    'a second hello': encodeFrame({
      kind: 'hello',
      versions: { min: 2, max: 2 },
      boot: FIRST_BOOT,
      facts: FACTS,
    }),
  };
  for (const [what, bytes] of Object.entries(wrong)) {
    test(`ends after ${what}, and it is counted`, async (t) => {
      const node = await openNode(t, { ca });
      const { peer } = await linkRaw(t, node);
      peer.socket.write(bytes);
      await node.witness.next('down');
      await peer.ended;
      assert.equal(node.links.report().refused.malformed, 1);
      assert.equal(node.links.report().links, 0);
    });
  }

  test('takes a frame of 4 MiB and ends after one of a byte more', async (t) => {
    const node = await openNode(t, { ca });
    const { peer } = await linkRaw(t, node);
    // An answer nobody asked for: it is read as a whole and ignored.
    const overhead = 16;
    const bytes = new Uint8Array(MAX_FRAME_BYTES - overhead);
    const frame = Buffer.from(encodeFrame({ kind: 'answer', id: 9, bytes, isLast: true }));
    peer.socket.write(frame);
    peer.socket.write(Buffer.concat(encodeMessages([{ kind: 'goodbye', isBack: false }]).frames));
    await node.witness.next('message');
    peer.send({ kind: 'answer', id: 9, bytes: new Uint8Array(MAX_FRAME_BYTES + 1), isLast: true });
    const { reason } = await node.witness.next('down');
    assert.match(reason, /not of the protocol/);
  });

  test('whose peer is killed ends, and says that it was cut', async (t) => {
    const node = await openNode(t, { ca });
    const { peer } = await linkRaw(t, node);
    peer.close();
    assert.match((await node.witness.next('down')).reason, /cut/);
  });

  test('whose peer does not read ends before it fills the memory', async (t) => {
    const node = await openNode(t, { ca });
    const { peer, identity } = await linkRaw(t, node);
    peer.socket.pause();
    const batch = Array.from(
      { length: 1000 },
      (_, serial) => ({ kind: 'ping', serial, load: LOAD }) as const,
    );
    let batches = 0;
    while (node.witness.of('down').length === 0) {
      node.links.send(identity.node, batch);
      batches += 1;
      await new Promise((resolve) => setImmediate(resolve));
      assert.ok(batches < 10_000, 'it went on for ever');
    }
    assert.match((await node.witness.next('down')).reason, /too slowly/);
  });
});
