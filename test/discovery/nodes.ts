/** Nodes with nothing but heartbeats, on a UDP port of their own. */
import dgram from 'node:dgram';
import type { TestContext } from 'node:test';
import { asNodeId, type BootId, type NodeId } from '../../src/base/ids.ts';
import type { HeartbeatKey } from '../../src/discovery/datagram.ts';
import { createDiscovery, type DiscoveryOptions } from '../../src/discovery/discovery.ts';
import type { Discovery } from '../../src/node/ports.ts';

export const KEY: HeartbeatKey = { id: '0123456789abcdef', secret: new Uint8Array(32).fill(7) };
export const OTHER_KEY: HeartbeatKey = { ...KEY, id: 'fedcba9876543210' };
export const INTERVAL_MS = 100;

export const nodeOf = (digit: string): NodeId => asNodeId(`node-${digit.repeat(32)}`);
export const bootOf = (counter: number, digit = '0'): BootId => ({
  counter,
  salt: digit.repeat(16),
});

export interface Hint {
  readonly node: NodeId;
  readonly boot: BootId;
  readonly host: string;
  readonly port: number;
}

/** Takes what discovery says, and lets a test wait for it. */
export class Ear {
  readonly hints: Hint[] = [];
  private waiting: (() => void)[] = [];

  readonly onHint = (hint: Hint): void => {
    this.hints.push(hint);
    const waiting = this.waiting;
    this.waiting = [];
    for (const wake of waiting) wake();
  };

  async hears(node: NodeId, times = 1): Promise<Hint> {
    const of = () => this.hints.filter((hint) => hint.node === node);
    const deadline = AbortSignal.timeout(10_000);
    while (of().length < times) {
      await new Promise<void>((resolve, reject) => {
        const heard = JSON.stringify(this.hints.slice(-5));
        const onAbort = () => reject(new Error(`${node} was not heard; the last: ${heard}`));
        deadline.addEventListener('abort', onAbort, { once: true });
        this.waiting.push(() => {
          deadline.removeEventListener('abort', onAbort);
          resolve();
        });
      });
    }
    return of().at(-1) as Hint;
  }
}

/** Started, and stopped at the end of the test. */
export async function openNode(
  t: TestContext,
  options: Partial<DiscoveryOptions> & Pick<DiscoveryOptions, 'node' | 'port'>,
): Promise<{ discovery: Discovery; ear: Ear }> {
  const discovery = createDiscovery({
    key: KEY,
    boot: bootOf(1),
    intervalMs: INTERVAL_MS,
    announce: () => ({
      linkPort: 40_001,
      status: 'IDLE',
      address: '10.0.0.7:40001',
      name: 'lab',
      version: '0.1.0',
    }),
    ...options,
  });
  const ear = new Ear();
  t.after(() => discovery.stop());
  await discovery.start(ear.onHint);
  return { discovery, ear };
}

/** A port that was free a moment ago. */
export async function freePort(): Promise<number> {
  const socket = await bind(0, {});
  const { port } = socket.address();
  await new Promise<void>((closed) => socket.close(closed));
  return port;
}

export async function bind(port: number, options: { reuseAddr?: boolean }): Promise<dgram.Socket> {
  const socket = dgram.createSocket({ type: 'udp4', ...options });
  await new Promise<void>((resolve, reject) => {
    socket.once('error', reject);
    socket.bind(port, resolve);
  });
  return socket;
}
