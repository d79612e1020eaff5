/** The paths under /jobs. */
import { HEADERS, MAX_WAIT_SECONDS, PATHS } from '../api/api.ts';
import type { CancelledJson } from '../api/job-json.ts';
import { INVALID_BODY } from '../api/problem.ts';
import { MeshError } from '../base/errors.ts';
import { OUTPUT_PARAMETERS, openOutput, parseOutputRequest } from './job-output.ts';
import { toExplanation, toJobJson } from './job-view.ts';
import { parseJobId, Query, readJson } from './json-request.ts';
import { listJobs } from './list-jobs.ts';
import { hasBody } from './request-guard.ts';
import type { Asked, Route, RouteParts } from './route.ts';
import { submitJobs } from './submit-jobs.ts';

export function jobRoutes(parts: RouteParts): Route[] {
  const { service, answers } = parts;
  const cancel = (asked: Asked): Promise<Response> => cancelJob(asked, parts);
  return [
    {
      method: 'GET',
      path: PATHS.jobs,
      role: 'read',
      handle: async ({ url }) => answers.json(200, await listJobs(service, url)),
    },
    { method: 'POST', path: PATHS.jobs, role: 'submit', handle: (asked) => submit(asked, parts) },
    { method: 'GET', path: PATHS.job, role: 'read', handle: (asked) => getJob(asked, parts) },
    { method: 'DELETE', path: PATHS.job, role: 'submit', handle: cancel },
    { method: 'POST', path: PATHS.cancel, role: 'submit', handle: cancel },
    { method: 'GET', path: PATHS.output, role: 'read', handle: (asked) => getOutput(asked, parts) },
    {
      method: 'GET',
      path: PATHS.explain,
      role: 'read',
      handle: async ({ id }) =>
        answers.json(200, toExplanation(await service.getJob(parseJobId(id)))),
    },
  ];
}

async function submit(asked: Asked, { service, options, answers }: RouteParts): Promise<Response> {
  const header = asked.incoming.headers[HEADERS.idempotencyKey.toLowerCase()];
  const { status, body } = await submitJobs(service, {
    body: await readJson(asked.incoming, options),
    headerKey: typeof header === 'string' ? header : undefined,
    rules: options,
  });
  return answers.json(status, body);
}

async function getJob(asked: Asked, parts: RouteParts): Promise<Response> {
  const job = parseJobId(asked.id);
  const query = new Query(asked.url, ['wait_seconds']);
  const waitSeconds = query.integer('wait_seconds', { min: 0, max: MAX_WAIT_SECONDS, fallback: 0 });
  if (waitSeconds === 0) return parts.answers.json(200, toJobJson(await parts.service.getJob(job)));
  const signal = parts.held.hold(asked.outgoing);
  const live = await parts.watch.untilFinal(job, waitSeconds * 1000, signal);
  return parts.answers.json(200, toJobJson(live));
}

/** A second cancel is as good as the first: what was asked for is so. */
async function cancelJob(
  asked: Asked,
  { service, options, answers }: RouteParts,
): Promise<Response> {
  const job = parseJobId(asked.id);
  if (hasBody(asked.incoming)) refuseFields(await readJson(asked.incoming, options));
  const reply = await service.cancelJob(job);
  if (reply.kind === 'alreadyFinal' && reply.status !== 'JOB_CANCELLED') {
    throw new MeshError(
      'ALREADY_FINAL',
      `Job ${job} has ended as ${reply.status}; it cannot be cancelled.`,
    );
  }
  const isUnderWay = reply.kind === 'cancelling';
  const body: CancelledJson = {
    job_id: job,
    status: isUnderWay ? 'cancelling' : 'cancelled',
    message: isUnderWay ? 'Its processes are being ended.' : 'The job is cancelled.',
  };
  return answers.json(isUnderWay ? 202 : 200, body);
}

/** Some clients send `{}` with every POST. */
function refuseFields(body: unknown): void {
  const isEmpty = body !== null && typeof body === 'object' && Object.keys(body).length === 0;
  if (!isEmpty) throw new MeshError('BAD_REQUEST', `${INVALID_BODY}: a cancel has no fields.`);
}

async function getOutput(asked: Asked, { service, answers, held }: RouteParts): Promise<Response> {
  const { incoming, outgoing } = asked;
  const request = parseOutputRequest(parseJobId(asked.id), new Query(asked.url, OUTPUT_PARAMETERS));
  const isHead = incoming.method === 'HEAD';
  const output = await openOutput(
    service,
    { ...request, isFollowed: request.isFollowed && !isHead },
    { signal: held.hold(outgoing), onCut: () => outgoing.destroy() },
  );
  return answers.bytes(isHead ? null : output.body, output.headers);
}
