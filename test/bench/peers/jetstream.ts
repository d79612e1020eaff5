/**
 * NATS JetStream: a stream in a file with explicit acknowledgements. The server writes each
 * message and does not call fsync for it: what came in the last two minutes may be lost with the
 * machine.
 */
import type { Contestant, Stage } from '../frame/row.ts';
import { loadPackage } from './load-package.ts';
import { type Aim, eventually, inFlight, type Queue } from './queue.ts';
import { freePort, startServer } from './server.ts';
import { WorkerChild } from './worker-child.ts';

export const jetstream: Pick<Contestant, 'name' | 'isMesh' | 'keeps' | 'needs'> = {
  name: 'NATS JetStream',
  isMesh: false,
  keeps: 'one file, no fsync',
  needs: [
    { npm: '@nats-io/transport-node' },
    { npm: '@nats-io/jetstream' },
    { program: 'nats-server', debian: 'nats-server' },
  ],
};

interface Headers {
  get(name: string): string;
  set(name: string, value: string): void;
}

interface Connection {
  publish(subject: string, data: Uint8Array): void;
  subscribe(subject: string, options: { callback: () => void }): void;
  close(): Promise<void>;
}

interface Transport {
  connect(options: { servers: string }): Promise<Connection>;
  headers(): Headers;
  createInbox(): string;
}

interface Received {
  readonly headers?: Headers;
  string(): string;
  ack(): void;
  ackAck(): Promise<unknown>;
}

interface JetStreamModule {
  jetstream(connection: Connection): {
    publish(subject: string, data: Uint8Array, options?: { headers: Headers }): Promise<unknown>;
    readonly consumers: {
      get(
        stream: string,
        name: string,
      ): Promise<{
        consume(options: {
          max_messages: number;
          callback: (received: Received) => void;
        }): Promise<unknown>;
      }>;
    };
  };
  jetstreamManager(connection: Connection): Promise<{
    readonly streams: { add(options: Record<string, unknown>): Promise<unknown> };
    readonly consumers: {
      add(stream: string, options: Record<string, unknown>): Promise<unknown>;
      info(stream: string, name: string): Promise<{ num_ack_pending: number; num_pending: number }>;
    };
  }>;
}

const [STREAM, CONSUMER, SUBJECT, REPLY_TO] = ['BENCH', 'worker', 'bench.jobs', 'reply-to-me'];
/** Messages under way where many are submitted at once: it has no call that takes a list. */
const BULK_IN_FLIGHT = 500;

export async function openJetstream({ folder }: Stage, _aim: Aim): Promise<Queue> {
  const port = await freePort();
  const args = ['-a', '127.0.0.1', '-p', String(port), '-js', '-sd', folder];
  const server = await startServer({ folder, program: 'nats-server', args, at: port });
  const { connect, headers, createInbox } = await loadPackage<Transport>('@nats-io/transport-node');
  const module = await loadPackage<JetStreamModule>('@nats-io/jetstream');
  const connection = await connect({ servers: `127.0.0.1:${port}` });
  const manager = await module.jetstreamManager(connection);
  await manager.streams.add({
    name: STREAM,
    subjects: ['bench.>'],
    retention: 'workqueue',
    storage: 'file',
  });
  await manager.consumers.add(STREAM, {
    durable_name: CONSUMER,
    ack_policy: 'explicit',
    max_ack_pending: 20_000,
  });
  const js = module.jetstream(connection);
  const worker = await WorkerChild.start('jetstream', { port });
  const bytes = (data: unknown): Uint8Array => new TextEncoder().encode(JSON.stringify(data));
  const inbox = createInbox();
  let hit = (): void => {};
  connection.subscribe(inbox, { callback: () => hit() });
  return {
    submit: async (params) => void (await js.publish(SUBJECT, bytes(params))),
    submitMany: (all) =>
      inFlight(all.length, BULK_IN_FLIGHT, (i) => js.publish(SUBJECT, bytes(all[i]))),
    drained: () =>
      eventually(5, async () => {
        const { num_ack_pending, num_pending } = await manager.consumers.info(STREAM, CONSUMER);
        return num_ack_pending === 0 && num_pending === 0;
      }),
    roundTrip: async (params) => {
      const answered = new Promise<void>((resolve) => {
        hit = resolve;
      });
      const named = headers();
      named.set(REPLY_TO, inbox);
      await js.publish(SUBJECT, bytes(params), { headers: named });
      await answered;
    },
    close: async () => {
      await worker.stop();
      await connection.close();
      await server.stop();
    },
  };
}

export async function work({ port }: { port: number }): Promise<void> {
  const { connect } = await loadPackage<Transport>('@nats-io/transport-node');
  const module = await loadPackage<JetStreamModule>('@nats-io/jetstream');
  const connection = await connect({ servers: `127.0.0.1:${port}` });
  const consumer = await module.jetstream(connection).consumers.get(STREAM, CONSUMER);
  const done = new TextEncoder().encode('{"ok":true}');
  await consumer.consume({
    max_messages: 1000,
    callback: (received) => {
      JSON.parse(received.string());
      const reply = received.headers?.get(REPLY_TO);
      if (reply) void received.ackAck().then(() => connection.publish(reply, done));
      else received.ack();
    },
  });
}
