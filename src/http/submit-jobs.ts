/**
 * POST /jobs: one job, or an array of up to 1,000 that are made durable together. In an array
 * each has its own outcome: a bad one holds up none of the others.
 */
import { MAX_BULK_JOBS } from '../api/api.ts';
import type { SubmittedJson } from '../api/job-json.ts';
import { type ParsedJob, parseJobRequest } from '../api/job-request.ts';
import { INVALID_BODY, type ProblemJson, toProblem } from '../api/problem.ts';
import { MeshError } from '../base/errors.ts';
import type { MeshService, SubmitRequest, SubmitResult } from '../node/service.ts';
import type { Policy } from '../policy/policy.ts';
import { toSubmittedJson } from './job-view.ts';

/** What this node makes of jobs that it takes. */
export interface SubmitRules {
  readonly defaultTimeoutMs: number;
  readonly policy: Policy;
}

export interface SubmitAnswer {
  readonly status: number;
  readonly body: unknown;
}

type Outcome = { readonly isRepeat: boolean; readonly job: SubmittedJson } | MeshError;

/** @throws MeshError when the one job of the body is refused, or the array is wrong as a whole */
export async function submitJobs(
  service: MeshService,
  request: { body: unknown; headerKey: string | undefined; rules: SubmitRules },
): Promise<SubmitAnswer> {
  const { body, headerKey, rules } = request;
  if (Array.isArray(body)) return submitArray(service, checkedArray(body, headerKey), rules);
  const parsed = toSubmitRequest(service, parseJobRequest(body, headerKey), rules);
  const [result] = await service.submit([parsed]);
  const outcome = toOutcome(result);
  if (outcome instanceof MeshError) throw outcome;
  return { status: outcome.isRepeat ? 200 : 201, body: outcome.job };
}

function checkedArray(body: unknown[], headerKey: string | undefined): unknown[] {
  if (headerKey !== undefined) {
    throw new MeshError(
      'BAD_REQUEST',
      `${INVALID_BODY}: the header Idempotency-Key is for one job; in an array give each its idempotency_key.`,
    );
  }
  if (body.length >= 1 && body.length <= MAX_BULK_JOBS) return body;
  throw new MeshError(
    'BAD_REQUEST',
    `${INVALID_BODY}: an array must have 1 to ${MAX_BULK_JOBS} jobs, and has ${body.length}.`,
  );
}

async function submitArray(
  service: MeshService,
  items: readonly unknown[],
  rules: SubmitRules,
): Promise<SubmitAnswer> {
  const parsed = items.map((item) => parseItem(service, item, rules));
  const good = parsed.filter((one): one is SubmitRequest => !(one instanceof MeshError));
  const results = good.length > 0 ? await service.submit(good) : [];
  let next = 0;
  const outcomes = parsed.map((one) =>
    one instanceof MeshError ? one : toOutcome(results[next++]),
  );
  return toBulkAnswer(outcomes);
}

function parseItem(
  service: MeshService,
  item: unknown,
  rules: SubmitRules,
): SubmitRequest | MeshError {
  try {
    return toSubmitRequest(service, parseJobRequest(item), rules);
  } catch (failure) {
    if (failure instanceof MeshError) return failure;
    throw failure;
  }
}

function toSubmitRequest(service: MeshService, job: ParsedJob, rules: SubmitRules): SubmitRequest {
  const { target, labels, capabilities, delivery, onIsolation, replicas } = job;
  const refusal = rules.policy.refusalOf(job);
  if (refusal) throw new MeshError('POLICY', `The job is not taken: ${refusal}.`);
  const node = target === undefined ? undefined : service.findNode(target);
  if (target !== undefined && node === undefined) {
    throw new MeshError(
      'NODE_NOT_FOUND',
      `No node, or more than one, is known here as ${JSON.stringify(target)}. GET /api/v1/nodes (mesh peers) lists them.`,
    );
  }
  return {
    spec: {
      taskType: job.taskType,
      command: job.command,
      params: job.params,
      env: job.env,
      workingDir: job.workingDir,
      run: job.run,
      timeoutMs: job.timeoutMs ?? rules.defaultTimeoutMs,
      queueTimeoutMs: job.queueTimeoutMs,
      totalTimeoutMs: job.totalTimeoutMs,
      priority: job.priority,
      needs: { target: node, labels, capabilities },
      delivery,
      onIsolation,
      replicas,
    },
    key: job.key,
  };
}

function toOutcome(result: SubmitResult | undefined): Outcome {
  if (!result) return new MeshError('INTERNAL', 'The node gave no answer for this job.');
  if (result.kind === 'refused') return new MeshError(result.code, result.message);
  return { isRepeat: result.isRepeat, job: toSubmittedJson(result.live, result.durability) };
}

/** In the order of the request. A refused job has its problem, and no job_id. */
function toBulkAnswer(outcomes: readonly Outcome[]): SubmitAnswer {
  const jobs = outcomes.map((outcome): SubmittedJson | { problem: ProblemJson; error: string } => {
    if (!(outcome instanceof MeshError)) return outcome.job;
    const problem = toProblem(outcome);
    return { problem, error: problem.error };
  });
  const refused = outcomes.filter((outcome) => outcome instanceof MeshError).length;
  const accepted = outcomes.length - refused;
  return {
    status: refused === 0 ? 201 : 207,
    body: { jobs, count: jobs.length, accepted, refused },
  };
}
