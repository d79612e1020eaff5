import assert from 'node:assert/strict';
import type dgram from 'node:dgram';
import { describe, test } from 'node:test';
import { isNodeId } from '../../src/base/ids.ts';
import { type Random, randomBelow, seededRandom } from '../../src/base/random.ts';
import { Sealer } from '../../src/discovery/datagram.ts';
import { encodeHeartbeat, parseHeartbeat } from '../../src/wire/heartbeats.ts';
import { bind, freePort, KEY, nodeOf, OTHER_KEY, openNode } from '../discovery/nodes.ts';
import { HEARTBEAT } from '../wire/samples.ts';
import { FACTOR, heapMegabytes, mutate, randomBytes, SEED } from './mutations.ts';

const COUNT = 100_000 * FACTOR;
/** libuv takes 32 at a time; more at once would be dropped by the kernel and test nothing. */
const BURST = 25;
const MAX_GROWTH_MB = 16;

async function sendAll(socket: dgram.Socket, port: number, make: () => Buffer): Promise<void> {
  for (let sent = 0; sent < COUNT; sent += BURST) {
    const burst = Array.from({ length: BURST }, make);
    await Promise.all(
      burst.map((bytes) => new Promise((done) => socket.send(bytes, port, '127.0.0.1', done))),
    );
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** Whole heartbeats of this mesh and of another, sealed and then damaged; and plain noise. */
function maker(random: Random): () => Buffer {
  const sealers = [new Sealer(KEY), new Sealer(OTHER_KEY)];
  const whole = sealers.map((sealer) => sealer.seal(encodeHeartbeat(HEARTBEAT)) ?? Buffer.alloc(0));
  return () => {
    const original = whole[randomBelow(random, 2)] ?? Buffer.alloc(0);
    for (;;) {
      const bytes = random() < 0.3 ? randomBytes(random, 1400) : mutate(random, original, whole);
      if (!whole.some((heartbeat) => heartbeat.equals(bytes))) return bytes;
    }
  };
}

describe(`${COUNT} hostile datagrams (seed ${SEED})`, () => {
  test('leave a node as it was, and it hears its peers as before', {
    timeout: 600_000,
  }, async (t) => {
    const port = await freePort();
    const { ear, discovery } = await openNode(t, {
      node: nodeOf('a'),
      port,
      isBroadcasting: false,
    });
    const socket = await bind(0, {});
    t.after(() => socket.close());
    const make = maker(seededRandom(SEED));
    const before = heapMegabytes();
    await sendAll(socket, port, make);
    assert.deepEqual(ear.hints, []);
    const { dropped, otherMeshes, heard } = discovery.report();
    const counted = [...Object.values(dropped), ...Object.values(otherMeshes)].reduce(
      (a, b) => a + b,
    );
    assert.ok(counted > 0.9 * COUNT, `only ${counted} arrived`);
    assert.equal(heard, 0);
    assert.ok(Object.keys(otherMeshes).length <= 32);
    const grown = heapMegabytes() - before;
    assert.ok(grown < MAX_GROWTH_MB, `${grown} MiB more in use`);
    await openNode(t, { node: nodeOf('b'), port });
    await ear.hears(nodeOf('b'));
  });

  test('that a member sealed are heartbeats of a node, or nothing', () => {
    const random = seededRandom(SEED);
    const whole = Buffer.from(encodeHeartbeat(HEARTBEAT));
    let accepted = 0;
    for (let index = 0; index < COUNT; index++) {
      const beat = parseHeartbeat(mutate(random, whole, [whole]));
      if (!beat) continue;
      accepted += 1;
      assert.ok(isNodeId(beat.node));
      assert.ok(beat.linkPort >= 1 && beat.linkPort <= 65_535);
      assert.ok(Number.isSafeInteger(beat.boot.counter));
      assert.deepEqual(parseHeartbeat(encodeHeartbeat(beat)), beat);
    }
    assert.ok(accepted > 0 && accepted < COUNT);
  });
});
