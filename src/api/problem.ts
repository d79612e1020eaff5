/**
 * Errors on the wire: `application/problem+json` (RFC 9457) with a stable `code` to match, and
 * beside it `error`, the one string that clients of the API this one takes after look at.
 */
import { ERROR_CODES, type ErrorCode, MeshError } from '../base/errors.ts';

export const PROBLEM_TYPE = 'application/problem+json';

export interface ProblemJson {
  /** `urn:worker-mesh:problem:JOB_NOT_FOUND`: a name, not an address to visit. */
  readonly type: string;
  /** What the code means in general. */
  readonly title: string;
  readonly status: number;
  /** What was wrong here, and what to do. */
  readonly detail: string;
  readonly code: ErrorCode;
  readonly error: string;
}

export const COMMAND_REQUIRED = 'Command is required';
export const INVALID_BODY = 'Invalid request body';

export function toProblem(error: MeshError): ProblemJson {
  const { code, message } = error;
  const { status, meaning } = ERROR_CODES[code];
  return {
    type: `urn:worker-mesh:problem:${code}`,
    title: meaning,
    status,
    detail: message,
    code,
    error: message,
  };
}

/** The error that a server's problem stands for; undefined when the body is no problem of ours. */
export function fromProblem(body: unknown): MeshError | undefined {
  if (body === null || typeof body !== 'object') return undefined;
  const { code, detail, error } = body as Record<string, unknown>;
  if (typeof code !== 'string' || !Object.hasOwn(ERROR_CODES, code)) return undefined;
  const sentence = [detail, error].find((text) => typeof text === 'string') ?? code;
  return new MeshError(code as ErrorCode, String(sentence));
}
