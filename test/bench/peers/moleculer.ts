/** Moleculer over TCP, two nodes: remote calls, of which nothing is kept anywhere. */
import type { Contestant } from '../frame/row.ts';
import { loadPackage } from './load-package.ts';
import { inFlight, type Queue } from './queue.ts';
import { freePort } from './server.ts';
import { WorkerChild } from './worker-child.ts';

export const moleculer: Pick<Contestant, 'name' | 'isMesh' | 'keeps' | 'needs'> = {
  name: 'Moleculer calls',
  isMesh: false,
  keeps: 'nothing: in memory only',
  needs: [{ npm: 'moleculer' }],
};

interface Broker {
  start(): Promise<void>;
  stop(): Promise<void>;
  waitForServices(name: string, timeoutMs: number): Promise<void>;
  createService(service: Record<string, unknown>): void;
  call(action: string, params: unknown): Promise<unknown>;
}

interface Moleculer {
  readonly default: { readonly ServiceBroker: new (options: Record<string, unknown>) => Broker };
}

interface Ports {
  readonly caller: number;
  readonly worker: number;
}

const WORKER_READY_MS = 20_000;

async function newBroker(name: keyof Ports, ports: Ports): Promise<Broker> {
  const { ServiceBroker } = (await loadPackage<Moleculer>('moleculer')).default;
  const urls = Object.entries(ports).map(([each, port]) => `127.0.0.1:${port}/${each}`);
  return new ServiceBroker({
    nodeID: name,
    namespace: 'bench',
    logger: false,
    transporter: { type: 'TCP', options: { udpDiscovery: false, port: ports[name], urls } },
  });
}

export async function openMoleculer(): Promise<Queue> {
  const ports = { caller: await freePort(), worker: await freePort() };
  const worker = await WorkerChild.start('moleculer', ports);
  const broker = await newBroker('caller', ports);
  await broker.start();
  await broker.waitForServices('jobs', WORKER_READY_MS);
  const call = async (params: unknown): Promise<void> =>
    void (await broker.call('jobs.noop', params));
  return {
    submit: call,
    submitMany: (all) => inFlight(all.length, all.length, (i) => call(all[i])),
    // A call is over when it is answered.
    drained: async () => {},
    roundTrip: call,
    close: async () => {
      await worker.stop();
      await broker.stop();
    },
  };
}

export async function work(ports: Ports): Promise<void> {
  const broker = await newBroker('worker', ports);
  broker.createService({ name: 'jobs', actions: { noop: () => ({ ok: true }) } });
  await broker.start();
}
