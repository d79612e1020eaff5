/** The API's port, and the port that heartbeats come in by. */
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { createServer } from 'node:net';
import type { RunningNode } from '../../client/running-nodes.ts';
import { type Finding, inArea } from './finding.ts';
import { portHolder } from './port-holder.ts';

export async function checkApiPort(
  { host, port }: { host: string; port: number },
  running: readonly RunningNode[],
): Promise<Finding> {
  const say = inArea('ports');
  const node = running.find(({ api }) => Number(new URL(api).port) === port);
  if (node)
    return say('ok', `TCP ${port} (API) is used by your node ${node.name}, pid ${node.pid}.`);
  const failure = await listenFailure(host, port);
  if (failure === undefined) return say('ok', `TCP ${port} (API) is free.`);
  if (failure !== 'EADDRINUSE') {
    return say(
      'problem',
      `The API cannot listen on ${host}, port ${port} (${failure}).`,
      'Choose another with --api-host and --api-port.',
    );
  }
  const holder = portHolder('tcp', port) ?? 'another program';
  return say(
    'problem',
    `TCP ${port} (API) is held by ${holder}.`,
    'End that program, or start the node with --api-port (MESH_API_PORT).',
  );
}

async function listenFailure(host: string, port: number): Promise<string | undefined> {
  const server = createServer();
  try {
    server.listen({ host, port });
    await once(server, 'listening');
    return undefined;
  } catch (failure) {
    return (failure as NodeJS.ErrnoException).code ?? 'unknown';
  } finally {
    if (server.listening) server.close();
  }
}

/** @returns the socket too, when the port could be shared: to listen on for a while */
export async function checkDiscoveryPort(
  port: number,
): Promise<{ finding: Finding; socket: Socket | undefined }> {
  const say = inArea('ports');
  const socket = createSocket({ type: 'udp4', reuseAddr: true });
  try {
    socket.bind(port);
    await once(socket, 'listening');
    return { finding: say('ok', `UDP ${port} (discovery) can be used and shared.`), socket };
  } catch (failure) {
    socket.close();
    const code = (failure as NodeJS.ErrnoException).code;
    const holder = portHolder('udp', port) ?? 'another program';
    const text =
      code === 'EADDRINUSE'
        ? `UDP ${port} (discovery) is held by ${holder}, which does not share it.`
        : `UDP ${port} (discovery) cannot be used (${code}).`;
    const advice =
      'End that program, or give all nodes another port with --discovery-port (DISCOVERY_PORT).';
    return { finding: say('problem', text, advice), socket: undefined };
  }
}
