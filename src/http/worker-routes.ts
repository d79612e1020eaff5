/** The paths under /workers: where programs in any language take work and tell how it went. */
import type { z } from 'zod';
import { HEADERS, PATHS } from '../api/api.ts';
import {
  type ClaimedJson,
  claimSchema,
  completeSchema,
  failSchema,
  type HeardJson,
  nothingSchema,
  outputSchema,
  parseWorkerBody,
  progressSchema,
  type WorkerListJson,
} from '../api/worker-json.ts';
import { MeshError } from '../base/errors.ts';
import { fenceText } from '../core/record.ts';
import type { ClaimedAttempt, WorkerDesk, WorkerRef } from '../node/worker-desk.ts';
import { parseJobId, readJson } from './json-request.ts';
import { hasBody } from './request-guard.ts';
import type { Asked, Route, RouteParts } from './route.ts';

export function workerRoutes(parts: RouteParts): Route[] {
  const { answers, options } = parts;
  const { workers } = options;
  if (!workers) return [];
  const post = (path: string, handle: Route['handle']): Route => ({
    method: 'POST',
    path,
    role: 'submit',
    handle,
  });
  /** One about an attempt: checked, heard, and answered with whether it is to end. */
  const about = <Value>(
    path: string,
    schema: z.ZodType<Value>,
    act: (ref: WorkerRef, value: Value) => unknown,
  ): Route =>
    post(path, async (asked) => {
      const ref = refOf(asked);
      const value = parseWorkerBody(schema, await bodyOf(asked, parts));
      const cancel = workers.touch(ref);
      await act(ref, value);
      return answers.json(200, { cancel } satisfies HeardJson);
    });
  return [
    {
      method: 'GET',
      path: PATHS.workers,
      role: 'read',
      handle: () => answers.json(200, listOf(workers)),
    },
    post(PATHS.workerClaim, (asked) => claim(asked, parts, workers)),
    about(PATHS.workerHeartbeat, nothingSchema, () => {}),
    about(PATHS.workerProgress, progressSchema, (ref, progress) => workers.tell(ref, progress)),
    about(PATHS.workerOutput, outputSchema, (ref, { stream, text, base64 }) =>
      workers.print(
        ref,
        stream,
        text === undefined ? Buffer.from(base64 ?? '', 'base64') : Buffer.from(text),
      ),
    ),
    about(PATHS.workerComplete, completeSchema, (ref, { result, exit_code: code }) =>
      workers.finish(ref, {
        tag: 'exited',
        code,
        result: result === undefined ? undefined : JSON.stringify(result),
      }),
    ),
    about(PATHS.workerFail, failSchema, (ref, { reason }) =>
      workers.finish(ref, { tag: 'failed', reason }),
    ),
  ];
}

async function claim(
  asked: Asked,
  { answers, options, held }: RouteParts,
  workers: WorkerDesk,
): Promise<Response> {
  const body = parseWorkerBody(claimSchema, await readJson(asked.incoming, options));
  const found = await workers.claim({
    worker: body.worker,
    taskTypes: body.types,
    slots: body.slots,
    waitMs: body.wait_seconds * 1000,
    signal: held.hold(asked.outgoing),
  });
  if (!found) return answers.empty();
  const json = toClaimedJson(found);
  // A worker without a JSON reader finds in the headers what it needs to answer.
  const headers = { [HEADERS.job]: json.job_id, [HEADERS.attempt]: json.attempt };
  return answers.json(200, json, headers);
}

function toClaimedJson({ order, env, folder }: ClaimedAttempt): ClaimedJson {
  const { job, fence, grant } = order;
  const { spec } = grant;
  return {
    job_id: job,
    attempt: fenceText(fence),
    attempt_number: fence.attempt,
    task_type: spec.taskType,
    command: spec.command,
    params: JSON.parse(spec.params),
    env,
    timeout_seconds: spec.timeoutMs / 1000,
    folder,
  };
}

function refOf({ incoming, id }: Asked): WorkerRef {
  const fence = incoming.headers[HEADERS.attempt.toLowerCase()];
  if (typeof fence === 'string' && fence !== '') return { job: parseJobId(id), fence };
  throw new MeshError(
    'BAD_REQUEST',
    `Say which attempt is meant: the header ${HEADERS.attempt} with the value that the claim was answered with.`,
  );
}

const bodyOf = async ({ incoming }: Asked, { options }: RouteParts): Promise<unknown> =>
  hasBody(incoming) ? readJson(incoming, options) : {};

function listOf(desk: WorkerDesk): WorkerListJson {
  const workers = desk
    .list()
    .map(({ worker, taskTypes, slots, running }) => ({ worker, types: taskTypes, slots, running }));
  return { workers, count: workers.length };
}
