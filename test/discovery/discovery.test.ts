import assert from 'node:assert/strict';
import { once } from 'node:events';
import { describe, test } from 'node:test';
import { MeshError } from '../../src/base/errors.ts';
import { Sealer } from '../../src/discovery/datagram.ts';
import { createDiscovery } from '../../src/discovery/discovery.ts';
import { encodeHeartbeat } from '../../src/wire/heartbeats.ts';
import { HEARTBEAT } from '../wire/samples.ts';
import {
  bind,
  bootOf,
  Ear,
  freePort,
  INTERVAL_MS,
  KEY,
  nodeOf,
  OTHER_KEY,
  openNode,
} from './nodes.ts';

const [A, B, C] = [nodeOf('a'), nodeOf('b'), nodeOf('c')];

describe('discovery', () => {
  test('lets nodes on one port of one machine hear each other, none itself', async (t) => {
    const port = await freePort();
    const nodes = await Promise.all([A, B, C].map((node) => openNode(t, { node, port })));
    for (const [index, { ear, discovery }] of nodes.entries()) {
      for (const node of [A, B, C].filter((_, other) => other !== index)) {
        const hint = await ear.hears(node, 2);
        assert.equal(hint.port, 40_001);
        assert.deepEqual(hint.boot, bootOf(1));
      }
      assert.ok(!ear.hints.some((hint) => hint.node === [A, B, C][index]));
      const { ownHeard, heard, targets, otherMeshes } = discovery.report();
      assert.ok(ownHeard > 0, 'own broadcasts come back');
      assert.ok(heard >= 4);
      assert.ok((targets[0]?.sent ?? 0) > 0);
      assert.deepEqual(otherMeshes, {});
    }
  });

  test('says each heartbeat once, by however many ways it came', async (t) => {
    const port = await freePort();
    const { ear, discovery } = await openNode(t, { node: A, port });
    let announced = 0;
    await openNode(t, {
      node: B,
      port,
      peers: ['127.0.0.1', '127.255.255.255'],
      announce: () => {
        announced += 1;
        return { linkPort: 1, status: 'IDLE', address: '', name: '', version: '' };
      },
    });
    await ear.hears(B, 3);
    assert.ok(ear.hints.length <= announced);
    assert.ok(discovery.report().heard <= announced);
  });

  test('begins at once, and again whenever the time has come', async (t) => {
    const port = await freePort();
    const { ear } = await openNode(t, { node: A, port });
    const startedAt = performance.now();
    const intervalMs = 1500;
    await openNode(t, { node: B, port, intervalMs });
    await ear.hears(B);
    assert.ok(performance.now() - startedAt < intervalMs / 2);
    await ear.hears(B, 2);
    // A tenth sooner or later, so that nodes started together do not beat together for ever.
    assert.ok(performance.now() - startedAt >= 0.89 * intervalMs);
  });

  test('does not mix with another mesh, but knows of it', async (t) => {
    const port = await freePort();
    const [mine, theirs] = [
      await openNode(t, { node: A, port }),
      await openNode(t, { node: B, port, key: OTHER_KEY }),
    ];
    await openNode(t, { node: C, port, key: OTHER_KEY });
    await theirs.ear.hears(C, 2);
    assert.deepEqual(mine.ear.hints, []);
    assert.ok((mine.discovery.report().otherMeshes[OTHER_KEY.id] ?? 0) > 0);
  });

  test('names at most 32 other meshes', async (t) => {
    const port = await freePort();
    const { ear, discovery } = await openNode(t, { node: A, port });
    const socket = await bind(0, {});
    t.after(() => socket.close());
    for (let index = 0; index < 100; index++) {
      const id = index.toString(16).padStart(16, '0');
      socket.send(new Sealer({ ...KEY, id }).seal(Buffer.alloc(10)) ?? '', port, '127.0.0.1');
    }
    await openNode(t, { node: B, port });
    await ear.hears(B);
    assert.equal(Object.keys(discovery.report().otherMeshes).length, 32);
  });

  test('reaches peers by name where nothing is broadcast', async (t) => {
    const [here, there] = [await freePort(), await freePort()];
    const { ear } = await openNode(t, { node: A, port: there });
    const peers = [`localhost:${there}`, 'no-such-host.invalid', '127.0.0.1:9'];
    const { discovery } = await openNode(t, { node: B, port: here, isBroadcasting: false, peers });
    const { host } = await ear.hears(B, 2);
    assert.equal(host, '127.0.0.1');
    assert.deepEqual(
      discovery.report().targets.map(({ address }) => address),
      [`localhost:${there}`, `no-such-host.invalid:${here}`, '127.0.0.1:9'],
    );
  });

  test('counts what fails for one target there, and goes on', async (t) => {
    const port = await freePort();
    const { ear } = await openNode(t, { node: A, port });
    const { discovery } = await openNode(t, {
      node: B,
      port,
      peers: ['[fe80::1]'],
    });
    await ear.hears(B, 3);
    const failed = discovery.report().targets.filter(({ sent }) => sent === 0);
    assert.deepEqual(failed, [
      { address: `[fe80::1]:${port}`, sent: 0, lastError: 'heartbeats go by IPv4 only' },
    ]);
  });

  test('says nothing while there is no link port', async (t) => {
    const port = await freePort();
    let linkPort = 0;
    const { ear, discovery } = await openNode(t, { node: A, port });
    const announce = () =>
      ({ linkPort, status: 'IDLE', address: '', name: '', version: '' }) as const;
    await openNode(t, { node: B, port, announce });
    await openNode(t, { node: C, port });
    await ear.hears(C, 3);
    assert.ok(!ear.hints.some(({ node }) => node === B));
    assert.equal(discovery.report().dropped.malformed, undefined);
    linkPort = 5;
    assert.equal((await ear.hears(B)).port, 5);
  });

  test('takes no notice of what was recorded and sent again', async (t) => {
    const port = await freePort();
    const listener = await bind(port, { reuseAddr: true });
    t.after(() => listener.close());
    const recorded = once(listener, 'message') as Promise<[Buffer]>;
    const { ear, discovery } = await openNode(t, { node: A, port });
    const { discovery: sender } = await openNode(t, { node: B, port, boot: bootOf(7) });
    await ear.hears(B);
    const [datagram] = await recorded;
    await sender.stop();
    const before = ear.hints.length;
    for (let index = 0; index < 10; index++) listener.send(datagram, port, '127.0.0.1');
    await openNode(t, { node: C, port });
    await ear.hears(C);
    assert.equal(ear.hints.filter(({ node }) => node === B).length, before);
    assert.equal(discovery.report().dropped.malformed, undefined);
  });

  test('tells of a copy of itself, and not of its own past', async (t) => {
    const port = await freePort();
    const { ear, discovery } = await openNode(t, { node: A, port, boot: bootOf(5) });
    const socket = await bind(0, {});
    t.after(() => socket.close());
    const beat = (boot = bootOf(5)) => {
      const payload = encodeHeartbeat({ ...HEARTBEAT, node: A, boot });
      socket.send(new Sealer(KEY).seal(payload) ?? '', port, '127.0.0.1');
    };
    beat(bootOf(4));
    beat(bootOf(5));
    beat(bootOf(5, 'f'));
    const hint = await ear.hears(A);
    assert.deepEqual(hint.boot, bootOf(5, 'f'));
    assert.equal(ear.hints.length, 1);
    assert.equal(discovery.report().dropped['repeated or old'], 1);
  });

  test('refuses a port that another program holds for itself, by the name of the setting', async (t) => {
    const holder = await bind(0, {});
    t.after(() => holder.close());
    const { port } = holder.address();
    await assert.rejects(openNode(t, { node: A, port }), (thrown) => {
      assert.ok(thrown instanceof MeshError);
      assert.equal(thrown.code, 'PORT_IN_USE');
      assert.match(thrown.message, new RegExp(`${port}.*DISCOVERY_PORT`));
      return true;
    });
  });

  test('can be stopped before it was started, twice, and while it starts', async () => {
    const port = await freePort();
    const make = () =>
      createDiscovery({
        key: KEY,
        node: A,
        boot: bootOf(1),
        port,
        intervalMs: INTERVAL_MS,
        announce: () => ({ linkPort: 1, status: 'IDLE', address: '', name: '', version: '' }),
      });
    await make().stop();
    const discovery = make();
    const ear = new Ear();
    await Promise.all([discovery.start(ear.onHint), discovery.start(ear.onHint), discovery.stop()]);
    await discovery.stop();
    // Nobody holds the port any more: it can be had alone.
    const alone = await bind(port, {});
    alone.close();
  });
});
