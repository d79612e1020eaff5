/** The paths under /jobs. */
import { HEADERS, MAX_WAIT_SECONDS, PATHS } from '../api/api.ts';
import type { CancelledJson } from '../api/job-json.ts';
import { INVALID_BODY } from '../api/problem.ts';
import { MeshError } from '../base/errors.ts';
import { type ByteRange, parseRange, rangeWithin } from './byte-range.ts';
import {
  OUTPUT_PARAMETERS,
  type OutputRequest,
  openOutput,
  openRange,
  parseOutputRequest,
  probeOutput,
} from './job-output.ts';
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

async function getOutput(asked: Asked, parts: RouteParts): Promise<Response> {
  const { service, answers, held } = parts;
  const { incoming, outgoing } = asked;
  const query = new Query(asked.url, OUTPUT_PARAMETERS);
  const request = await parseOutputRequest(service, parseJobId(asked.id), query);
  const isHead = incoming.method === 'HEAD';
  const ends = { signal: held.hold(outgoing), onCut: () => outgoing.destroy() };
  const range = request.isFollowed ? undefined : parseRange(incoming.headers.range);
  const found = range && (await findRange(asked, parts, { request, range }));
  if (found instanceof Response) return found;
  const output = found
    ? await openRange(service, found.request, { ...found, ends })
    : await openOutput(service, { ...request, isFollowed: request.isFollowed && !isHead }, ends);
  return answers.bytes(isHead ? null : output.body, output.headers, output.status);
}

/** Undefined: the whole is to be sent, since the attempt is not the one that the client has seen. */
async function findRange(
  { incoming }: Asked,
  { service, answers }: RouteParts,
  { request, range }: { request: OutputRequest; range: ByteRange },
): Promise<Response | { request: OutputRequest; first: number; last: number } | undefined> {
  const { keptBytes, fence, etag } = await probeOutput(service, request);
  const ifRange = incoming.headers['if-range'];
  if (ifRange !== undefined && ifRange !== etag) return undefined;
  const bytes = rangeWithin(range, keptBytes);
  if (bytes) return { request: { ...request, fence }, ...bytes };
  const reason = `The output has ${keptBytes} bytes, and none in the range ${incoming.headers.range}.`;
  const headers = { 'Content-Range': `bytes */${keptBytes}`, ...(etag && { ETag: etag }) };
  return answers.problem(new MeshError('NO_SUCH_RANGE', reason), headers);
}
