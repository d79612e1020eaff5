/**
 * What may be submitted. The limits are those of what comes after: a command and a variable each
 * become one argument of a process (128 KiB on Linux, its end mark counted), labels and
 * capabilities are compared with those of every node.
 */
import * as z from 'zod';
import { MeshError } from '../base/errors.ts';
import { isJobId } from '../base/ids.ts';
import { misplacedFiles, RUN_FIELDS, toRunText } from '../run/run-options.ts';
import { paramsIssues, unfitField } from '../run/task-params.ts';
import { DELIVERIES, ON_ISOLATION, REPLICAS } from './api.ts';
import { COMMAND_REQUIRED, INVALID_BODY } from './problem.ts';

const MAX_COMMAND_BYTES = 128 * 1024 - 1;
const MAX_VARIABLES = 256;
const MAX_VARIABLE_BYTES = 128 * 1024 - 1;
const MAX_ENV_BYTES = 512 * 1024;
const MAX_PARAMS_BYTES = 512 * 1024;
const MAX_PAIRS = 64;
const MAX_VALUE_CHARS = 256;
export const MAX_TIMEOUT_SECONDS = 7 * 24 * 3600;
const MAX_LIMIT_SECONDS = 366 * 24 * 3600;
export const DEFAULT_PRIORITY = 5;

const MARK_NAME = /^[A-Za-z0-9][A-Za-z0-9._/-]{0,62}$/;
export const TASK_TYPE = /^[a-z0-9][a-z0-9._-]{0,62}$/;
const VARIABLE_NAME = /^[A-Za-z_][A-Za-z0-9_]{0,127}$/;
const NODE = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;
const IDEMPOTENCY_KEY = /^[\x21-\x7e](?:[\x20-\x7e]{0,253}[\x21-\x7e])?$/;

const byteLength = (text: string): number => Buffer.byteLength(text);

/** `{"gpu": true}` and `{"gpu": "true"}` mean the same. */
const markValue = z
  .union([z.string(), z.boolean(), z.number()], 'must be a text, a number, true or false')
  .transform(String)
  .refine((text) => text.length <= MAX_VALUE_CHARS, `is longer than ${MAX_VALUE_CHARS} characters`);

const marks = z
  .record(z.string(), markValue, 'must be an object of names and values')
  .refine((map) => Object.keys(map).length <= MAX_PAIRS, `has more than ${MAX_PAIRS} entries`)
  .refine(
    (map) => Object.keys(map).every((name) => MARK_NAME.test(name)),
    'has a name that is not 1 to 63 letters, digits and ._/- beginning with a letter or digit',
  );

const env = z
  .record(z.string(), z.string('must be a text'), 'must be an object of names and texts')
  .refine(
    (map) => Object.keys(map).every((name) => VARIABLE_NAME.test(name)),
    'has a name that is no identifier (letters, digits and _, not beginning with a digit)',
  )
  .refine(
    (map) => !Object.keys(map).some((name) => name.startsWith('MESH_')),
    'has a name that begins with MESH_: those are set by the mesh',
  )
  .refine(
    (map) => Object.keys(map).length <= MAX_VARIABLES,
    `has more than ${MAX_VARIABLES} variables`,
  )
  .refine(
    (map) =>
      Object.entries(map).every(
        ([name, text]) => byteLength(name) + 1 + byteLength(text) <= MAX_VARIABLE_BYTES,
      ),
    'has a variable of more than 128 KiB',
  )
  .refine(
    (map) =>
      Object.entries(map).reduce((sum, [name, text]) => sum + byteLength(name + text), 0) <=
      MAX_ENV_BYTES,
    'has more than 512 KiB in all',
  );

const limitSeconds = z
  .number('must be a number of seconds')
  .positive('must be more than 0')
  .max(MAX_LIMIT_SECONDS, 'is more than a year');

const clientId = z
  .string('must be a text')
  .refine(isJobId, 'must be 1 to 128 of A-Z a-z 0-9 . _ : - beginning with a letter or digit');

const jobRequestSchema = z.strictObject(
  {
    command: z
      .string('must be a text')
      .refine((text) => byteLength(text) <= MAX_COMMAND_BYTES, 'is longer than 128 KiB')
      .optional(),
    target_node_id: z
      .string('must be the id or the name of a node')
      .refine((text) => text === '' || NODE.test(text), 'must be the id or the name of a node')
      .optional(),
    env: env.optional(),
    timeout_seconds: z
      .number('must be a number of seconds')
      .max(MAX_TIMEOUT_SECONDS, `is more than 7 days (${MAX_TIMEOUT_SECONDS})`)
      .optional(),
    /** From its creation to its first start. */
    queue_timeout_seconds: limitSeconds.optional(),
    /** From its creation to its end. */
    total_timeout_seconds: limitSeconds.optional(),
    ...RUN_FIELDS,
    task_type: z
      .string('must be a text')
      .transform((text) => text.trim().toLowerCase())
      .refine((text) => TASK_TYPE.test(text), 'must be 1 to 63 letters, digits and ._-')
      .optional(),
    params: z
      .unknown()
      .refine(
        (value) => value === undefined || byteLength(JSON.stringify(value)) <= MAX_PARAMS_BYTES,
        'has more than 512 KiB',
      )
      .optional(),
    priority: z
      .int('must be a whole number from 1 to 10')
      .min(1, 'must be a whole number from 1 to 10')
      .max(10, 'must be a whole number from 1 to 10')
      .optional(),
    working_dir: z
      .string('must be a text')
      .refine((text) => text.startsWith('/'), 'must be an absolute path')
      .refine((text) => byteLength(text) <= 4096, 'is longer than 4096 bytes')
      .optional(),
    required: marks.optional(),
    labels: marks.optional(),
    delivery: z.enum(DELIVERIES, `must be ${DELIVERIES.join(' or ')}`).optional(),
    on_isolation: z.enum(ON_ISOLATION, `must be ${ON_ISOLATION.join(' or ')}`).optional(),
    replicas: z.literal(REPLICAS, `must be one of ${REPLICAS.join(', ')}`).optional(),
    job_id: clientId.optional(),
    id: clientId.optional(),
    idempotency_key: z
      .string('must be a text')
      .refine((text) => IDEMPOTENCY_KEY.test(text), 'must be 1 to 255 visible ASCII characters')
      .optional(),
  },
  'must be an object',
);

/** As clients write it. */
export type JobRequest = z.input<typeof jobRequestSchema>;

/** Checked, and with one meaning each. */
export interface ParsedJob {
  readonly taskType: string;
  /** Empty for task types other than `shell` that need none. */
  readonly command: string;
  readonly params: string;
  readonly env: Readonly<Record<string, string>>;
  readonly workingDir: string | undefined;
  /** JSON text of the fields in RUN_FIELDS that were given. */
  readonly run: string;
  /** Undefined: the server's default. */
  readonly timeoutMs: number | undefined;
  readonly queueTimeoutMs: number | undefined;
  readonly totalTimeoutMs: number | undefined;
  readonly priority: number;
  /** Id or name, not looked up yet. */
  readonly target: string | undefined;
  readonly labels: Readonly<Record<string, string>>;
  readonly capabilities: Readonly<Record<string, string>>;
  readonly delivery: (typeof DELIVERIES)[number];
  readonly onIsolation: (typeof ON_ISOLATION)[number];
  /** Undefined: a majority, else one. */
  readonly replicas: (typeof REPLICAS)[number] | undefined;
  readonly key: { readonly kind: 'id' | 'idempotency'; readonly text: string } | undefined;
}

/**
 * @param headerKey value of the header Idempotency-Key
 * @throws MeshError BAD_REQUEST that names the field
 */
export function parseJobRequest(value: unknown, headerKey?: string): ParsedJob {
  const parsed = jobRequestSchema.safeParse(value);
  if (!parsed.success) throw new MeshError('BAD_REQUEST', sentenceOf(parsed.error.issues));
  const request = parsed.data;
  const taskType = request.task_type ?? 'shell';
  const command = request.command ?? '';
  if (command.trim() === '' && request.argv === undefined && taskType === 'shell') {
    throw new MeshError('BAD_REQUEST', COMMAND_REQUIRED);
  }
  if (command !== '' && request.argv !== undefined) {
    refuse('give a command for the shell, or argv to run without one, not both.');
  }
  const given = Object.entries(request).filter(([, value]) => value !== undefined);
  const unfit = unfitField(
    taskType,
    given.map(([name]) => name),
  );
  if (unfit !== undefined) refuse(`${unfit}.`);
  const misplaced = misplacedFiles(request, request.working_dir);
  if (misplaced !== undefined) refuse(`${misplaced}.`);
  const wrong = paramsIssues({ taskType, command, params: request.params });
  if (wrong.length > 0) throw new MeshError('BAD_REQUEST', sentenceOf(wrong));
  return {
    taskType,
    command,
    params: JSON.stringify(request.params ?? {}),
    env: request.env ?? {},
    workingDir: request.working_dir,
    run: toRunText(request),
    timeoutMs: timeoutOf(request.timeout_seconds),
    queueTimeoutMs: timeoutOf(request.queue_timeout_seconds),
    totalTimeoutMs: timeoutOf(request.total_timeout_seconds),
    priority: request.priority ?? DEFAULT_PRIORITY,
    target: request.target_node_id || undefined,
    labels: request.labels ?? {},
    capabilities: request.required ?? {},
    delivery: request.delivery ?? DELIVERIES[0],
    onIsolation: request.on_isolation ?? ON_ISOLATION[0],
    replicas: request.replicas,
    key: keyOf(request, headerKey),
  };
}

/** Zero and less mean the default, as they always did. */
const timeoutOf = (seconds: number | undefined): number | undefined =>
  seconds === undefined || seconds <= 0 ? undefined : Math.max(1, Math.round(seconds * 1000));

function keyOf(
  request: {
    job_id?: string | undefined;
    id?: string | undefined;
    idempotency_key?: string | undefined;
  },
  headerKey: string | undefined,
): ParsedJob['key'] {
  const id = oneOf('job_id and id', request.job_id, request.id);
  const fromHeader = headerKey === undefined ? undefined : checkedKey(headerKey);
  const key = oneOf(
    'idempotency_key and the header Idempotency-Key',
    request.idempotency_key,
    fromHeader,
  );
  if (id !== undefined && key !== undefined) {
    refuse('give an own id or an idempotency key, not both: either makes the submit repeatable.');
  }
  if (id !== undefined) return { kind: 'id', text: id };
  return key === undefined ? undefined : { kind: 'idempotency', text: key };
}

function oneOf(names: string, a: string | undefined, b: string | undefined): string | undefined {
  if (a !== undefined && b !== undefined && a !== b) refuse(`${names} differ: give only one.`);
  return a ?? b;
}

function checkedKey(text: string): string {
  if (IDEMPOTENCY_KEY.test(text)) return text;
  return refuse('the header Idempotency-Key must be 1 to 255 visible ASCII characters.');
}

// ---------------------------------------------------------------- sentences

const MAX_ISSUES_SHOWN = 3;

type Issue = z.core.$ZodIssue;

function sentenceOf(issues: readonly Issue[]): string {
  const shown = issues.slice(0, MAX_ISSUES_SHOWN).map(phraseOf);
  const more = issues.length - shown.length;
  const rest = more > 0 ? `; and ${more} more` : '';
  return `${INVALID_BODY}: ${shown.join('; ')}${rest}.`;
}

function phraseOf(issue: Issue): string {
  if (issue.code === 'unrecognized_keys') {
    const names = issue.keys.slice(0, MAX_ISSUES_SHOWN).map(quoted).join(', ');
    const place = issue.path.length > 0 ? ` in ${placeOf(issue.path)}` : '';
    return `unknown field ${names}${place}`;
  }
  if (issue.path.length === 0) return `each job ${issue.message}`;
  return `${placeOf(issue.path)} ${issue.message}`;
}

const placeOf = (path: readonly PropertyKey[]): string =>
  path.map((part) => clip(String(part))).join('.');
const quoted = (name: string): string => JSON.stringify(clip(name));
const clip = (text: string): string => (text.length > 64 ? `${text.slice(0, 63)}…` : text);

function refuse(reason: string): never {
  throw new MeshError('BAD_REQUEST', `${INVALID_BODY}: ${reason}`);
}
