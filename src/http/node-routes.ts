/** The paths about nodes: what they are, how they are, and how to make one leave. */
import * as z from 'zod';
import { PATHS, RESTART_DEADLINE_SECONDS } from '../api/api.ts';
import {
  DRAIN_WAYS,
  type DrainingJson,
  type DrainWay,
  type HealthJson,
  type NodeListJson,
  type PeerListJson,
  type ServiceCardJson,
} from '../api/node-json.ts';
import { INVALID_BODY } from '../api/problem.ts';
import { MeshError } from '../base/errors.ts';
import { compareText } from '../base/ids.ts';
import type { MeshService } from '../node/service.ts';
import { timeOf } from './job-view.ts';
import { readJson } from './json-request.ts';
import { toDoctorJson, toPeerJson, toSelfJson, toStatusJson } from './node-view.ts';
import { hasBody } from './request-guard.ts';
import type { Asked, Route, RouteParts } from './route.ts';

const MAX_DRAIN_SECONDS = 24 * 3600;

export function nodeRoutes(parts: RouteParts): Route[] {
  const { service, answers } = parts;
  const get = (path: string, make: () => unknown): Route => ({
    method: 'GET',
    path,
    role: 'read',
    handle: () => answers.json(200, make()),
  });
  return [
    get(PATHS.card, () => cardOf(service)),
    get(PATHS.status, () => toStatusJson(service)),
    get(PATHS.peers, () => peersOf(service)),
    get(PATHS.nodes, () => nodesOf(service)),
    get(PATHS.doctor, () => toDoctorJson(service)),
    { method: 'GET', path: PATHS.health, role: 'read', handle: () => health(parts) },
    { method: 'POST', path: PATHS.drain, role: 'admin', handle: (asked) => drain(asked, parts) },
  ];
}

function cardOf({ facts }: MeshService): ServiceCardJson {
  const { health, status, peers, nodes, jobs } = PATHS;
  return {
    service: 'worker-mesh',
    node_id: facts.node,
    name: facts.name,
    version: facts.version,
    endpoints: { health, status, peers, nodes, jobs },
  };
}

function peersOf(service: MeshService): PeerListJson {
  const peers = service.peers().map(toPeerJson);
  return { peers, count: peers.length };
}

function nodesOf(service: MeshService): NodeListJson {
  const nodes = [toSelfJson(service), ...service.peers().map(toPeerJson)];
  nodes.sort((a, b) => compareText(a.node_id, b.node_id));
  return { nodes, count: nodes.length };
}

/** The status code is for load balancers, which read no bodies. */
function health({ service, answers }: RouteParts): Response {
  const { isHealthy, problems } = service.health();
  const body: HealthJson = {
    status: isHealthy ? 'healthy' : 'unhealthy',
    node_id: service.facts.node,
    timestamp: timeOf(Date.now()),
    problems,
  };
  return answers.json(isHealthy ? 200 : 503, body);
}

async function drain(asked: Asked, { service, options, answers }: RouteParts): Promise<Response> {
  const body = hasBody(asked.incoming) ? await readJson(asked.incoming, options) : {};
  const { deadline_seconds, way = DRAIN_WAYS[0] } = parseDrain(body);
  const usual = way === 'restart' ? RESTART_DEADLINE_SECONDS : options.drainTimeoutMs / 1000;
  const seconds = deadline_seconds ?? usual;
  service.drain(seconds * 1000, way);
  const answer: DrainingJson = {
    status: 'draining',
    node_id: service.facts.node,
    way,
    deadline_seconds: seconds,
  };
  return answers.json(202, answer);
}

function parseDrain(body: unknown): {
  deadline_seconds?: number | undefined;
  way?: DrainWay | undefined;
} {
  const schema = z.strictObject({
    deadline_seconds: z.number().min(0).max(MAX_DRAIN_SECONDS).optional(),
    way: z.enum(DRAIN_WAYS).optional(),
  });
  const parsed = schema.safeParse(body);
  if (parsed.success) return parsed.data;
  throw new MeshError(
    'BAD_REQUEST',
    `${INVALID_BODY}: it may have deadline_seconds, a number from 0 to ${MAX_DRAIN_SECONDS}, way, one of ${DRAIN_WAYS.join(', ')}, and nothing else.`,
  );
}
