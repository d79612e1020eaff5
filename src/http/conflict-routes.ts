/** What needs a person: conflicts that were found, and nodes that will not return. */
import * as z from 'zod';
import { DEFAULT_CONFLICT_LIMIT, MAX_CONFLICT_LIMIT, PATHS } from '../api/api.ts';
import type { ConflictListJson, ForgottenJson } from '../api/node-json.ts';
import { INVALID_BODY } from '../api/problem.ts';
import { MeshError } from '../base/errors.ts';
import { timeOf } from './job-view.ts';
import { parseNode, Query, readJson } from './json-request.ts';
import { hasBody } from './request-guard.ts';
import type { Asked, Route, RouteParts } from './route.ts';

export function conflictRoutes(parts: RouteParts): Route[] {
  return [
    {
      method: 'GET',
      path: PATHS.conflicts,
      role: 'read',
      handle: (asked) => listConflicts(asked, parts),
    },
    {
      method: 'POST',
      path: PATHS.forget,
      role: 'admin',
      handle: (asked) => forget(asked, parts),
    },
  ];
}

async function listConflicts({ url }: Asked, { service, answers }: RouteParts): Promise<Response> {
  const limit = new Query(url, ['limit']).integer('limit', {
    min: 1,
    max: MAX_CONFLICT_LIMIT,
    fallback: DEFAULT_CONFLICT_LIMIT,
  });
  const { conflicts, isCut, missing } = await service.listConflicts(limit);
  const body: ConflictListJson = {
    conflicts: conflicts.map(({ job, tag, at, note, foundBy }) => ({
      job_id: job,
      kind: tag,
      at: timeOf(at),
      note,
      found_by_node: foundBy,
    })),
    count: conflicts.length,
    truncated: isCut,
    partial: missing.map(({ node, reason }) => ({ node_id: node, reason })),
  };
  return answers.json(200, body);
}

async function forget(asked: Asked, { service, options, answers }: RouteParts): Promise<Response> {
  const body = hasBody(asked.incoming) ? await readJson(asked.incoming, options) : {};
  const isForced = parseForce(body);
  const { node, name, at } = await service.forgetNode(parseNode(service, asked.id), { isForced });
  const answer: ForgottenJson = { status: 'forgotten', node_id: node, name, at: timeOf(at) };
  return answers.json(200, answer);
}

function parseForce(body: unknown): boolean {
  const parsed = z.strictObject({ force: z.boolean().optional() }).safeParse(body);
  if (parsed.success) return parsed.data.force ?? false;
  throw new MeshError(
    'BAD_REQUEST',
    `${INVALID_BODY}: it may have force, true or false, and nothing else.`,
  );
}
