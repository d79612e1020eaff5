/** Which node a command talks to: the one named, else one of this user's that runs here. */
import { readFileSync } from 'node:fs';
import { hostname, networkInterfaces } from 'node:os';
import { MeshError } from '../base/errors.ts';
import { type Client, createClient } from '../client/client.ts';
import { httpsFetch } from '../client/https-fetch.ts';
import { type RunningNode, readRunningNodes } from '../client/running-nodes.ts';
import { configFolder } from './config-folder.ts';

export interface ConnectionOptions {
  /** Address of a node's API. */
  readonly api?: string | undefined;
  readonly json?: boolean | undefined;
}

const HEALTH_DEADLINE_MS = 2000;

export const NO_NODE =
  'No node of yours runs on this machine. Start one with `mesh up` (in a checkout: make run), or name one with --api URL (MESH_API).';

/** @throws MeshError NODE_UNREACHABLE when none runs here and none is named */
export async function connect({ api }: ConnectionOptions): Promise<Client> {
  const { MESH_API, MESH_TOKEN } = process.env;
  const running = readRunningNodes(configFolder());
  const url = api ?? MESH_API;
  if (url) {
    const known = running.find((node) => isSameNode(url, node.api));
    return clientOf({ ...known, api: url }, MESH_TOKEN);
  }
  const [first, ...others] = running;
  if (!first) throw new MeshError('NODE_UNREACHABLE', NO_NODE);
  if (others.length === 0) return clientOf(first, MESH_TOKEN);
  return firstThatAnswers(running, MESH_TOKEN);
}

/** A node that runs here may be named by any name of this machine. */
function isSameNode(asked: string, known: string): boolean {
  if (!URL.canParse(asked)) return false;
  const [one, other] = [new URL(asked), new URL(known)];
  const isHere = one.hostname === other.hostname || namesOfThisMachine().includes(one.hostname);
  return isHere && one.protocol === other.protocol && one.port === other.port;
}

function namesOfThisMachine(): string[] {
  const addresses = Object.values(networkInterfaces()).flatMap((all) => all ?? []);
  const hosts = addresses.map(({ address }) => (address.includes(':') ? `[${address}]` : address));
  return ['localhost', hostname().toLowerCase(), ...hosts];
}

/** A process that died may have left its file, and its number may be another one's now. */
async function firstThatAnswers(
  running: readonly RunningNode[],
  token: string | undefined,
): Promise<Client> {
  let failure: unknown;
  for (const node of running) {
    const client = clientOf(node, token);
    try {
      await client.health({ signal: AbortSignal.timeout(HEALTH_DEADLINE_MS) });
      return client;
    } catch (cause) {
      failure = cause;
    }
  }
  throw new MeshError('NODE_UNREACHABLE', NO_NODE, { cause: failure });
}

function clientOf(
  node: Pick<RunningNode, 'api' | 'token' | 'ca'>,
  token: string | undefined,
): Client {
  const ca = node.ca ?? certificateAuthority();
  return createClient({
    url: node.api,
    token: token || node.token,
    ...(ca && node.api.startsWith('https:') && { fetch: httpsFetch(ca) }),
  });
}

/** For a node of another machine: the PEM file that `mesh token --ca` prints there. */
function certificateAuthority(): string | undefined {
  const file = process.env.MESH_API_CA;
  if (!file) return undefined;
  try {
    return readFileSync(file, 'utf8');
  } catch (cause) {
    throw new MeshError('BAD_SETTING', `MESH_API_CA names ${file}, which cannot be read.`, {
      cause,
    });
  }
}
