/**
 * The composition root: a Config becomes adapters, the adapters a node, the node a process that
 * ends in order. Nothing else in the program knows all the parts.
 *
 * Two signals, two meanings. SIGINT comes from a person at a terminal who wants the node to stop:
 * what runs may end first. SIGTERM comes from a service manager, that starts the node again in a
 * moment, or turns off the machine: jobs are handed over at once, and what runs is left to the next
 * start, which takes it up where it comes before the leases end. A restart that is asked for over
 * the API is the same, and this process becomes the next start itself.
 *
 * Exit codes: 0 drained and left, also because its terminal was closed; 1 could not start; 130 and
 * 143 ended at once by a second SIGINT or SIGTERM.
 */
import { join } from 'node:path';
import { RESTART_DEADLINE_SECONDS } from './api/api.ts';
import { type ApiTokens, deriveApiTokens } from './api/api-tokens.ts';
import { MeshError } from './base/errors.ts';
import type { BootId, JobId, NodeId } from './base/ids.ts';
import { asWall } from './base/instant.ts';
import { KeptBlobs } from './blobs/blobs.ts';
import { removeRunningNode, writeRunningNode } from './client/running-nodes.ts';
import type { Config } from './config.ts';
import type { MeshEvent } from './core/effects.ts';
import type { Offers } from './core/facts.ts';
import type { Leaving } from './core/inputs.ts';
import { createDiscovery } from './discovery/discovery.ts';
import { makeTaskTypes } from './executors/catalogue.ts';
import { createExecutors, type ExecutorOptions, type Executors } from './executors/executors.ts';
import type { Files } from './executors/files/files.ts';
import { TerminalType } from './executors/terminal/terminal.ts';
import { createHttpServer, type HttpServer } from './http/http.ts';
import { isLoopbackHost } from './http/loopback.ts';
import { createLinks } from './links/links.ts';
import { createMeshCa, type MeshCa } from './links/mesh-ca.ts';
import {
  deriveSecret,
  findOrCreateMeshKey,
  type MeshKey,
  openMeshKey,
  parseMeshKey,
} from './links/mesh-key.ts';
import { findOrCreateNodeIdentity } from './links/node-identity.ts';
import { createLog, type Log, logEvent } from './log.ts';
import { makeFolder } from './main/folders.ts';
import { isForgotten, noteForgotten, settleForgotten } from './main/forgotten.ts';
import { foundDevices } from './main/found-devices.ts';
import { pathWithLauncher } from './main/launcher-path.ts';
import { machineUse } from './main/machine-use.ts';
import { readPolicy } from './main/operator-policy.ts';
import {
  announcementOf,
  factsOf,
  reachableUrl,
  serverCertificate,
  wantedTypes,
} from './main/own-facts.ts';
import { makeTaskSources } from './main/task-sources.ts';
import { createSystemClock } from './node/clock.ts';
import { MeshNode } from './node/mesh-node.ts';
import type { Discovery } from './node/ports.ts';
import type { WorkerDesk } from './node/worker-desk.ts';
import type { Policy } from './policy/policy.ts';
import { openStore } from './store/store.ts';
import type { Task } from './tasks/define-task.ts';

const PRUNE_INTERVAL_MS = 60 * 60_000;
/** How often it is looked whether outputs take too much space. */
const SPACE_INTERVAL_MS = 30_000;
/** A second signal ends the process after so long, whatever still wants to be released. */
const LAST_RESORT_MS = 1000;

/** Runs a node until it is told to end; settles with the exit code. */
export async function runNode(config: Config): Promise<number> {
  const log = createLog({ level: config.logLevel, format: config.logFormat, node: config.name });
  try {
    const running = await startNode(config, log);
    const { code, startsAgain } = await untilEnd(running, config, log);
    log.info({ code }, 'node ended');
    if (startsAgain) startAgain(log);
    return code;
  } catch (failure) {
    if (!(failure instanceof MeshError)) throw failure;
    process.stderr.write(`mesh: ${failure.message}\n`);
    return 1;
  }
}

export interface RunningNode {
  readonly node: MeshNode;
  /** What a client needs. */
  readonly api: { readonly url: string; readonly token?: string; readonly ca?: string };
  /** Releases everything at once; what runs is ended, or left for the next start. */
  close(running?: 'end' | 'leave'): Promise<void>;
}

/**
 * @param tasks of the program that embeds the node, run in its process
 * @throws MeshError what is wrong with the key, the data folder or a port, as a sentence
 */
export async function startNode(
  config: Config,
  log: Log,
  tasks: readonly Task[] = [],
): Promise<RunningNode> {
  const { node, http, executors, blobs, access } = assemble(config, log, tasks);
  const prune = (): void => void pruneOutputs(executors.outputs, node, { config, log });
  const timers = [
    setInterval(prune, PRUNE_INTERVAL_MS),
    setInterval(() => void pruneFiles(blobs, config, log), PRUNE_INTERVAL_MS),
    setInterval(() => {
      if (executors.outputs.totalBytes > config.outputSpaceBytes) prune();
    }, SPACE_INTERVAL_MS),
  ];
  const close = async (running?: 'end' | 'leave'): Promise<void> => {
    for (const timer of timers) clearInterval(timer);
    removeRunningNode(config.configDir, node.facts.node);
    await http.stop();
    await node.close(running);
  };
  try {
    await blobs.start();
    await node.open();
    const { url } = await http.start();
    await node.join(reachableUrl(url, config));
    const { node: id, linkPort } = node.facts;
    const { name } = config;
    writeRunningNode(config.configDir, { node: id, name, pid: process.pid, api: url, ...access });
    // Tests and the demo read the port from this line.
    log.info({ id, api: url, linkPort, data: config.dataDir, pid: process.pid }, 'node is up');
    prune();
    return { node, api: { url, ...access }, close };
  } catch (failure) {
    // A start that fails, for a port that is taken, ends nothing that an earlier life left running.
    await close('leave');
    throw failure;
  }
}

interface Assembly {
  readonly node: MeshNode;
  readonly http: HttpServer;
  readonly executors: Executors;
  readonly blobs: KeptBlobs;
  /** What the own command line needs where it is not known by its user. */
  readonly access: { readonly token?: string; readonly ca?: string };
}

function assemble(config: Config, log: Log, tasks: readonly Task[]): Assembly {
  makeFolder(config.configDir, '--config-dir');
  makeFolder(config.dataDir, '--data-dir');
  const key = meshKeyOf(config, log);
  const formers = settleForgotten(config.dataDir, log);
  const identity = findOrCreateNodeIdentity(config.dataDir);
  const opened = openStore({ folder: config.dataDir, node: identity.node });
  const { store, boot, otherFiles } = opened;
  if (otherFiles.length > 0) {
    log.warn({ otherFiles }, 'databases of another identity lie here: their node.key is gone');
  }
  const ca = createMeshCa(key);
  const links = createLinks({
    ca,
    identity,
    boot,
    facts: () => node.facts,
    host: config.linkHost,
    port: config.linkPort,
    commits: () => store.commits(),
    knownDisks: store.readPeers(),
    onDiskRefused: (refusal) => node.onDiskRefused(refusal),
    onNotice: (notice) => log.warn(notice, 'link refused'),
  });
  const policy = readPolicy(config);
  const onProblem = (sentence: string): void => log.warn(sentence);
  const terminal = new TerminalType(config.terminalIdleMs);
  const taskTypes = makeTaskTypes({ ...config, node: identity.node, terminal, onProblem });
  const { all: sources, workers } = makeTaskSources(config, { taskTypes, tasks, log });
  const onOffers = (offers: Offers): void => node.offer(offers);
  const { blobs, files } = makeBlobs(config, () => node);
  const about = { taskTypes, sources, files, policy, onOffers, onProblem };
  const executors = makeExecutors(config, identity.node, about);
  const node: MeshNode = new MeshNode({
    boot,
    facts: factsOf(config, identity.node),
    store,
    links,
    discovery: makeDiscovery(identity.node, () => node, { config, key, boot }),
    executor: executors,
    outputs: executors.outputs,
    terminals: terminal,
    blobs,
    clock: createSystemClock(),
    peerTimeoutMs: config.peerTimeoutMs,
    killGraceMs: config.killGraceMs,
    machine: machineUse(config.dataDir),
    maxJobs: config.queueLimit,
    keepJobsMs: config.jobRetentionMs,
    quarantined: opened.quarantined,
    formers,
    onEvent: (event) => onEvent(event, node, { config, log }),
  });
  const tokens = deriveApiTokens(key.secret.export());
  const http = makeHttpServer(node, { config, policy, workers, tokens, ca, log });
  const isKnownByUser = isLoopbackHost(config.apiHost) && process.platform === 'linux';
  const access = isKnownByUser ? {} : { token: tokens.admin, ca: ca.caPem };
  return { node, http, executors, blobs, access };
}

function makeExecutors(
  config: Config,
  node: NodeId,
  rest: Required<
    Pick<ExecutorOptions, 'taskTypes' | 'sources' | 'files' | 'policy' | 'onOffers' | 'onProblem'>
  >,
): Executors {
  return createExecutors({
    folder: config.dataDir,
    hiddenFolders: [config.configDir],
    wantedTypes: wantedTypes(config, rest.taskTypes),
    capabilities: config.capabilities,
    findCapabilities: () => foundDevices(process.env.PATH),
    outputLimitBytes: config.outputLimitBytes,
    now: () => asWall(Date.now()),
    meshEnv: { MESH_NODE_ID: node, MESH_NODE_NAME: config.name },
    nodeEnv: { ...process.env, PATH: pathWithLauncher(process.env.PATH, process.argv[1]) },
    ...rest,
  });
}

function onEvent(
  event: MeshEvent,
  node: MeshNode,
  { config, log }: { config: Config; log: Log },
): void {
  logEvent(log, event);
  if (event.kind === 'banned') onForgotten(node, event.by, config);
}

/** Its jobs are decided elsewhere by now: what runs here is ended, and the next start is a new node. */
function onForgotten(node: MeshNode, by: NodeId, config: Config): void {
  noteForgotten(config.dataDir, node.facts.node, by);
  node.retire();
}

/** Files on this node's disk, and what jobs run here with: fetched to it and copied from there. */
function makeBlobs(config: Config, node: () => MeshNode): { blobs: KeptBlobs; files: Files } {
  const blobs = new KeptBlobs({
    folder: join(config.dataDir, 'blobs'),
    limitBytes: config.fileLimitBytes,
    now: () => Date.now(),
    namedByJobs: (among) => node().filesNamedByJobs(among),
  });
  const files: Files = {
    place: (wanted) => node().files.place(wanted),
    keep: (file) => blobs.keep(file),
  };
  return { blobs, files };
}

function makeDiscovery(
  id: NodeId,
  node: () => MeshNode,
  { config, key, boot }: { config: Config; key: MeshKey; boot: BootId },
): Discovery {
  return createDiscovery({
    key: { id: key.id, secret: deriveSecret(key, 'heartbeat', 32) },
    node: id,
    boot,
    announce: () => announcementOf(node()),
    port: config.discoveryPort,
    intervalMs: config.heartbeatIntervalMs,
    nodeCount: () => node().peers().length + 1,
    peers: config.peers,
    isBroadcasting: config.discovery,
  });
}

interface HttpParts {
  readonly config: Config;
  readonly policy: Policy;
  readonly workers: WorkerDesk;
  readonly tokens: ApiTokens;
  readonly ca: MeshCa;
  readonly log: Log;
}

function makeHttpServer(
  node: MeshNode,
  { config, policy, workers, tokens, ca, log }: HttpParts,
): HttpServer {
  return createHttpServer({
    service: node,
    host: config.apiHost,
    port: config.apiPort,
    names: config.apiNames,
    tls: isLoopbackHost(config.apiHost) ? undefined : serverCertificate(ca, config),
    tokens,
    policy,
    workers,
    defaultTimeoutMs: config.defaultTimeoutMs,
    drainTimeoutMs: config.drainTimeoutMs,
    bodyLimitBytes: config.bodyLimitBytes,
    bulkBodyLimitBytes: config.bulkBodyLimitBytes,
    onFault: (fault, request) => log.error({ err: fault, request }, 'request failed'),
  });
}

// ---------------------------------------------------------------- parts of a config

function meshKeyOf(config: Config, log: Log): MeshKey {
  if (config.open) {
    log.warn('open mesh: everybody on this network may join and run commands here');
    return openMeshKey();
  }
  if (config.key !== undefined) {
    const key = parseMeshKey(config.key);
    if (key) return key;
    throw new MeshError(
      'BAD_KEY',
      'MESH_KEY is not a whole mesh key. Print it again with `mesh key` and copy all of it.',
    );
  }
  const file = config.keyFile ?? join(config.configDir, 'mesh.key');
  const { key, isNew } = findOrCreateMeshKey(file);
  if (isNew)
    log.info(
      { file },
      'made a new mesh; other machines join with `mesh key` here and `mesh join` there',
    );
  return key;
}

// ---------------------------------------------------------------- the end

interface Ending {
  readonly code: number;
  readonly way: Leaving;
  readonly startsAgain: boolean;
}

/** The first signal, or a drain asked for over the API, lets the node go in order; the second does not. */
async function untilEnd({ node, close }: RunningNode, config: Config, log: Log): Promise<Ending> {
  const ending = await firstEnding(node, config, log);
  const { unfinished, untold } = node.owned();
  if (unfinished > 0)
    log.warn({ unfinished }, 'jobs that no other node has taken wait until this node starts again');
  if (untold > 0)
    log.warn({ untold }, 'outcomes wait in the database: the nodes that own their jobs are away');
  if (ending.code !== 0) setTimeout(() => process.exit(ending.code), LAST_RESORT_MS).unref();
  await close(ending.way === 'restart' ? 'leave' : 'end');
  return ending;
}

function firstEnding(node: MeshNode, config: Config, log: Log): Promise<Ending> {
  return new Promise((resolve) => {
    let isDraining = false;
    const drain = (signal: NodeJS.Signals, way: Leaving): void => {
      isDraining = true;
      const { running } = node.load();
      const deadlineMs =
        way === 'restart' ? RESTART_DEADLINE_SECONDS * 1000 : config.drainTimeoutMs;
      log.info(
        { signal, running, deadlineMs, way },
        'draining; the same signal again ends at once',
      );
      node.drain(deadlineMs, way);
    };
    const onSignal = (signal: 'SIGINT' | 'SIGTERM'): void => {
      if (!isDraining) return drain(signal, signal === 'SIGINT' ? 'stop' : 'restart');
      log.warn({ signal }, 'second signal: ending at once');
      resolve({ code: signal === 'SIGINT' ? 130 : 143, way: 'stop', startsAgain: false });
    };
    process.on('SIGINT', onSignal).on('SIGTERM', onSignal);
    const hasTerminal = process.stdin.isTTY || process.stdout.isTTY || process.stderr.isTTY;
    process.on('SIGHUP', (signal) => {
      // A closing terminal may say it twice. Without one (nohup, whose "ignore" Node undoes as it
      // starts) the end of a session is nothing to this node.
      if (hasTerminal && !isDraining) drain(signal, 'stop');
    });
    // After a signal whoever has sent it starts the node again.
    void node.drained().then((way) => {
      const isMeantToRun = way === 'restart' || isForgotten(config.dataDir, node.facts.node);
      resolve({ code: 0, way, startsAgain: isMeantToRun && !isDraining });
    });
  });
}

/**
 * In place: for the terminal or the service manager that waits for this process nothing ends. The
 * next life does not know this one's children; they stay as zombies, some bytes each, until the
 * process ends: its supervisor, and the runner of each job that it leaves.
 */
function startAgain(log: Log): void {
  const { execPath, execArgv, argv, env } = process;
  try {
    process.execve?.(execPath, [execPath, ...execArgv, ...argv.slice(1)], env);
    log.warn('this Node.js cannot start the node again in place: start it now');
  } catch (failure) {
    log.warn({ err: failure }, 'the node could not start again in place: start it now');
  }
}

/** A call of prune looks at a bounded number of jobs, so that it never holds up the loop. */
async function pruneOutputs(
  outputs: Executors['outputs'],
  node: MeshNode,
  { config, log }: { config: Config; log: Log },
): Promise<void> {
  const request = {
    olderThanMs: config.outputRetentionMs,
    maxTotalBytes: config.outputSpaceBytes,
    forgotten: {
      olderThanMs: config.jobRetentionMs,
      isForgotten: (job: JobId) => isJobForgotten(node, job),
    },
    now: asWall(Date.now()),
  };
  try {
    while (!(await outputs.prune(request)).isComplete);
  } catch (failure) {
    log.warn({ err: failure }, 'old outputs could not be deleted');
  }
}

/** Not while some node could not be asked: it may know the job. */
async function isJobForgotten(node: MeshNode, job: JobId): Promise<boolean> {
  try {
    await node.getJob(job);
    return false;
  } catch (failure) {
    return failure instanceof MeshError && failure.code === 'JOB_NOT_FOUND';
  }
}

async function pruneFiles(blobs: KeptBlobs, config: Config, log: Log): Promise<void> {
  try {
    await blobs.expire(config.fileRetentionMs);
  } catch (failure) {
    log.warn({ err: failure }, 'old files could not be deleted');
  }
}
