/** Which node a command talks to: the one named, else one of this user's that runs here. */
import { readFileSync } from 'node:fs';
import { hostname, networkInterfaces } from 'node:os';
import type { NodeJson } from '../api/node-json.ts';
import { MeshError } from '../base/errors.ts';
import { type Client, type ClientOptions, createClient } from '../client/client.ts';
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
export async function connect(options: ConnectionOptions): Promise<Client> {
  return clientOf(await chooseNode(options), process.env.MESH_TOKEN);
}

async function chooseNode({ api }: ConnectionOptions): Promise<Known> {
  const { MESH_API, MESH_TOKEN } = process.env;
  const running = readRunningNodes(configFolder());
  const url = api ?? MESH_API;
  if (url) return { ...running.find((node) => isSameNode(url, node.api)), api: url };
  const [first, ...more] = running;
  if (!first) throw new MeshError('NODE_UNREACHABLE', NO_NODE);
  return more.length === 0 ? first : firstThatAnswers(running, MESH_TOKEN);
}

/**
 * For what goes on for a while: a node that dies meanwhile is replaced by another one, of this user
 * on this machine, or of another machine where its API can be reached from here.
 * @throws MeshError NODE_UNREACHABLE when none runs here and none is named
 */
export async function connectToAny(options: ConnectionOptions): Promise<Client> {
  return (await connectWithEndpoints(options)).client;
}

/** Where a node's API is, and what it takes to be let in. */
export interface Endpoint {
  readonly url: string;
  readonly token: string | undefined;
  /** PEM of the authority that its certificate is issued by. */
  readonly ca: string | undefined;
}

/** The same, and all nodes that can be asked at the moment of the call, the one of the client first. */
export async function connectWithEndpoints(
  options: ConnectionOptions,
): Promise<{ client: Client; endpoints: () => Endpoint[] }> {
  const { MESH_TOKEN } = process.env;
  const elsewhere: string[] = [];
  const known = (): Known[] => [
    ...readRunningNodes(configFolder()),
    ...elsewhere.map((api) => ({ api })),
  ];
  const others = (): ClientOptions[] => known().map((node) => optionsOf(node, MESH_TOKEN));
  const first = await chooseNode(options);
  const client = createClient({ ...optionsOf(first, MESH_TOKEN), others });
  const endpoints = (): Endpoint[] =>
    [first, ...known()].map(({ api, token, ca }) => ({
      url: api,
      token: MESH_TOKEN || token,
      ca: ca ?? certificateAuthority(),
    }));
  // Only a live node can say where the others are.
  void client.nodes().then(
    ({ nodes }) => elsewhere.push(...nodes.flatMap(({ api_url }) => reachableFromHere(api_url))),
    () => undefined,
  );
  return { client, endpoints };
}

const reachableFromHere = (url: string): string[] =>
  URL.canParse(url) && !isLoopback(new URL(url).hostname) ? [url] : [];

/**
 * A client of the named node itself, for what only that node can do; `.` is the one that is asked.
 * @throws MeshError NODE_NOT_FOUND; NODE_UNREACHABLE when its API cannot be asked from here
 */
export async function connectTo(
  options: ConnectionOptions,
  wanted: string,
): Promise<{ client: Client; id: string; name: string }> {
  const client = await connect(options);
  const { nodes } = await client.nodes();
  const node = pick(nodes, wanted);
  const { node_id: id, name, api_url: url } = node;
  if (node.is_self) return { client, id, name };
  const here = connectHere(id);
  if (here) return { client: here, id, name };
  if (URL.canParse(url) && !isLoopback(new URL(url).hostname))
    return { client: clientOf({ api: url }, process.env.MESH_TOKEN), id, name };
  throw new MeshError(
    'NODE_UNREACHABLE',
    `The API of ${name} answers only on its own machine (${node.metadata.hostname ?? node.address}): give the command there.`,
  );
}

/** To a node of this user that runs here; its port may be another one after each start. */
export function connectHere(id: string): Client | undefined {
  const here = readRunningNodes(configFolder()).find((running) => running.node === id);
  return here && clientOf(here, process.env.MESH_TOKEN);
}

/** By `.`, id, unique beginning of an id or unique name. */
function pick(nodes: readonly NodeJson[], wanted: string): NodeJson {
  if (wanted === '.') {
    const self = nodes.find((node) => node.is_self);
    if (self) return self;
  }
  const exact = nodes.find((node) => node.node_id === wanted);
  const isBeginning = /^node-[0-9a-f]{6,}$/.test(wanted);
  const named = nodes.filter(
    (node) => node.name === wanted || (isBeginning && node.node_id.startsWith(wanted)),
  );
  const found = exact ?? (named.length === 1 ? named[0] : undefined);
  if (found) return found;
  throw new MeshError(
    'NODE_NOT_FOUND',
    `No node, or more than one, is known as ${JSON.stringify(wanted.slice(0, 80))}. \`mesh peers\` lists them.`,
  );
}

const isLoopback = (host: string): boolean =>
  host === 'localhost' || host === '[::1]' || host.startsWith('127.');

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
): Promise<RunningNode> {
  let failure: unknown;
  for (const node of running) {
    const client = clientOf(node, token);
    try {
      await client.health({ signal: AbortSignal.timeout(HEALTH_DEADLINE_MS) });
      return node;
    } catch (cause) {
      failure = cause;
    }
  }
  throw new MeshError('NODE_UNREACHABLE', NO_NODE, { cause: failure });
}

type Known = Pick<RunningNode, 'api' | 'token' | 'ca'>;

const clientOf = (node: Known, token: string | undefined): Client =>
  createClient(optionsOf(node, token));

function optionsOf(node: Known, token: string | undefined): ClientOptions {
  const ca = node.ca ?? certificateAuthority();
  return {
    url: node.api,
    token: token || node.token,
    ...(ca && node.api.startsWith('https:') && { fetch: httpsFetch(ca) }),
  };
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
