/** What workers outside the mesh say, and are told. */
import * as z from 'zod';
import { MeshError } from '../base/errors.ts';
import { TASK_TYPE } from './job-request.ts';
import { INVALID_BODY } from './problem.ts';

const MAX_RESULT_BYTES = 64 * 1024;
const MAX_REASON_CHARS = 4000;
export const DEFAULT_CLAIM_SECONDS = 30;
export const MAX_CLAIM_SECONDS = 60;

const seconds = z.number('must be a number of seconds').min(0, 'must be at least 0');

export const claimSchema = z.strictObject({
  worker: z
    .string('must be a text')
    .regex(/^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$/, 'must be 1 to 128 of A-Z a-z 0-9 . _ : -'),
  types: z
    .array(
      z.string('must be a text').regex(TASK_TYPE, 'must be 1 to 63 of a-z 0-9 . _ -'),
      'must be a list of task types',
    )
    .min(1, 'must not be empty')
    .max(100, 'has more than 100 entries'),
  slots: z.int('must be a whole number').min(1, 'must be at least 1').max(10_000).default(1),
  wait_seconds: seconds
    .max(MAX_CLAIM_SECONDS, `is more than ${MAX_CLAIM_SECONDS}`)
    .default(DEFAULT_CLAIM_SECONDS),
});

export const progressSchema = z.strictObject({
  percent: z.number('must be a number').min(0, 'is below 0').max(100, 'is above 100'),
  message: z.string('must be a text').default(''),
});

export const outputSchema = z
  .strictObject({
    stream: z.enum(['stdout', 'stderr'], 'must be stdout or stderr').default('stdout'),
    text: z.string('must be a text').optional(),
    base64: z.base64('must be base64').optional(),
  })
  .refine(
    ({ text, base64 }) => (text === undefined) !== (base64 === undefined),
    'must have one of text and base64',
  );

export const completeSchema = z.strictObject({
  result: z
    .unknown()
    .refine(
      (value) =>
        value === undefined || Buffer.byteLength(JSON.stringify(value)) <= MAX_RESULT_BYTES,
      'has more than 64 KiB of JSON: print it, or write it to a file',
    )
    .optional(),
  exit_code: z.int('must be a whole number').min(0).max(255, 'must be 0 to 255').default(0),
});

export const failSchema = z.strictObject({
  reason: z.string('must be a text').min(1, 'must say why').max(MAX_REASON_CHARS),
});

export const nothingSchema = z.strictObject({});

/** @throws MeshError BAD_REQUEST that names the field */
export function parseWorkerBody<Value>(schema: z.ZodType<Value>, body: unknown): Value {
  const parsed = schema.safeParse(body);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const place = issue?.path.join('.') || 'the body';
  throw new MeshError('BAD_REQUEST', `${INVALID_BODY}: ${place}: ${issue?.message ?? ''}.`);
}

/** Given to the worker whose attempt it is from now on. */
export interface ClaimedJson {
  readonly job_id: string;
  /** To be sent as X-Mesh-Attempt with everything about it. */
  readonly attempt: string;
  readonly attempt_number: number;
  readonly task_type: string;
  readonly command: string;
  readonly params: unknown;
  readonly env: Readonly<Record<string, string>>;
  readonly timeout_seconds: number;
  /** Working folder of the attempt on the node's machine, for a worker beside it. */
  readonly folder: string;
}

/** `cancel`: the attempt is to end; say so with `fail` or `complete` as soon as it has. */
export interface HeardJson {
  readonly cancel: boolean;
}

export interface WorkerListJson {
  readonly workers: readonly {
    readonly worker: string;
    readonly types: readonly string[];
    readonly slots: number;
    readonly running: number;
  }[];
  readonly count: number;
}
