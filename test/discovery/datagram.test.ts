import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Opener, Sealer } from '../../src/discovery/datagram.ts';
import { Freshness } from '../../src/discovery/freshness.ts';
import { broadcastTargets, targetText, toPeerTarget } from '../../src/discovery/targets.ts';
import { MAX_DATAGRAM_BYTES } from '../../src/wire/limits.ts';
import { bootOf, KEY, nodeOf, OTHER_KEY } from './nodes.ts';

const PAYLOAD = Buffer.from('what the heartbeat says');

const seal = (sealer: Sealer, payload: Uint8Array = PAYLOAD): Buffer =>
  sealer.seal(payload) ?? assert.fail('too large');

describe('a sealed datagram', () => {
  test('is opened with the key of the mesh, and counts its sequence up', () => {
    const sealer = new Sealer(KEY);
    const opener = new Opener(KEY);
    for (const sequence of [1, 2, 3]) {
      const opened = opener.open(seal(sealer));
      assert.deepEqual(opened, { kind: 'opened', sequence, payload: PAYLOAD });
    }
  });

  test('of the version before is opened', () => {
    const recorded = [
      '4d455348010123456789abcdef7611cfd6ced5b7aa5c6d59e099d1c442000000000000000222d79e',
      '64c4b13fae68d00db6db6d2f362e90fa0e3d59f37601e1d601302d397a014bca10c54a7c',
    ].join('');
    const opened = new Opener(KEY).open(Buffer.from(recorded, 'hex'));
    assert.deepEqual(opened, { kind: 'opened', sequence: 2, payload: PAYLOAD });
  });

  test('shows nothing of what it says', () => {
    const datagram = seal(new Sealer(KEY));
    for (let at = 0; at + 4 <= PAYLOAD.length; at++) {
      assert.ok(!datagram.includes(PAYLOAD.subarray(at, at + 4)));
    }
  });

  test('is never the same twice, also of two lives of one node', () => {
    const [one, other] = [new Sealer(KEY), new Sealer(KEY)];
    const all = [seal(one), seal(one), seal(other)].map((datagram) => datagram.toString('hex', 37));
    assert.equal(new Set(all).size, 3);
  });

  test('with any bit changed is not opened', () => {
    const opener = new Opener(KEY);
    const datagram = seal(new Sealer(KEY));
    for (let bit = 0; bit < datagram.length * 8; bit++) {
      const changed = Buffer.from(datagram);
      changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      assert.notEqual(opener.open(changed).kind, 'opened', `bit ${bit}`);
    }
    assert.equal(opener.open(datagram).kind, 'opened');
  });

  test('cut short or made longer is not opened', () => {
    const opener = new Opener(KEY);
    const datagram = seal(new Sealer(KEY));
    for (let length = 0; length < datagram.length; length++) {
      assert.equal(opener.open(datagram.subarray(0, length)).kind, 'dropped');
    }
    const longer = Buffer.concat([datagram, Buffer.alloc(1)]);
    assert.deepEqual(opener.open(longer), { kind: 'dropped', reason: 'broken seal' });
  });

  test('of another mesh is told by its key id, whatever it says', () => {
    const opened = new Opener(KEY).open(seal(new Sealer(OTHER_KEY)));
    assert.deepEqual(opened, { kind: 'otherMesh', keyId: OTHER_KEY.id });
  });

  test('that claims this mesh and has another key is not opened', () => {
    const forged = seal(new Sealer({ id: KEY.id, secret: new Uint8Array(32).fill(8) }));
    assert.deepEqual(new Opener(KEY).open(forged), { kind: 'dropped', reason: 'broken seal' });
  });

  test('of another version is told apart', () => {
    const datagram = seal(new Sealer(KEY));
    datagram[4] = 2;
    assert.deepEqual(new Opener(KEY).open(datagram), {
      kind: 'dropped',
      reason: 'another version',
    });
  });

  test('is not made larger than any receiver takes', () => {
    const largest = MAX_DATAGRAM_BYTES - 53;
    const datagram = seal(new Sealer(KEY), Buffer.alloc(largest));
    assert.equal(datagram.length, MAX_DATAGRAM_BYTES);
    assert.equal(new Opener(KEY).open(datagram).kind, 'opened');
    assert.equal(new Sealer(KEY).seal(Buffer.alloc(largest + 1)), undefined);
    const opened = new Opener(KEY).open(Buffer.concat([datagram, Buffer.alloc(1)]));
    assert.deepEqual(opened, { kind: 'dropped', reason: 'wrong size' });
  });
});

describe('freshness', () => {
  const node = nodeOf('a');

  test('is what has a higher sequence, or a later boot', () => {
    const freshness = new Freshness();
    const steps = [
      [bootOf(1), 5, 'fresh'],
      [bootOf(1), 5, 'stale'],
      [bootOf(1), 4, 'stale'],
      [bootOf(1), 6, 'fresh'],
      [bootOf(2, 'f'), 1, 'fresh'],
      [bootOf(1), 7, 'stale'],
      [bootOf(2, 'e'), 2, 'twin'],
      [bootOf(2, 'f'), 2, 'fresh'],
    ] as const;
    for (const [boot, sequence, expected] of steps) {
      assert.equal(freshness.note(node, boot, sequence), expected);
    }
  });

  test('of one node says nothing of another', () => {
    const freshness = new Freshness();
    assert.equal(freshness.note(node, bootOf(9), 9), 'fresh');
    assert.equal(freshness.note(nodeOf('b'), bootOf(1), 1), 'fresh');
  });
});

describe('targets', () => {
  const info = (address: string, netmask: string, internal = false) =>
    ({ address, netmask, family: 'IPv4', mac: '', internal, cidr: null }) as const;

  test('are the broadcast address of each network, loopback, and multicast by each interface', () => {
    const interfaces = {
      lo: [info('127.0.0.1', '255.0.0.0', true)],
      eth0: [
        info('10.77.3.4', '255.255.0.0'),
        { ...info('fe80::1', 'ffff::'), family: 'IPv6', scopeid: 2 } as const,
      ],
      wlan0: [info('192.168.1.9', '255.255.255.128')],
      tun0: [info('10.8.0.2', '255.255.255.255')],
      gone: undefined,
    };
    assert.deepEqual(broadcastTargets(interfaces, 8080).map(targetText), [
      '127.255.255.255:8080',
      '10.77.255.255:8080',
      '192.168.1.127:8080',
      '239.255.77.83:8080 via 10.77.3.4',
      '239.255.77.83:8080 via 192.168.1.9',
      '239.255.77.83:8080 via 10.8.0.2',
    ]);
  });

  test('that are given may have a port', () => {
    assert.deepEqual(toPeerTarget('box', 8080), { host: 'box', port: 8080 });
    assert.deepEqual(toPeerTarget('10.0.0.1:9', 8080), { host: '10.0.0.1', port: 9 });
    assert.deepEqual(toPeerTarget('[fe80::1]:9', 8080), { host: 'fe80::1', port: 9 });
  });
});
