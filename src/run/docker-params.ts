/** Parameters of the task type `docker`. */
import * as z from 'zod';

const MAX_ARGUMENTS = 4096;
const MAX_TEXT_BYTES = 128 * 1024 - 1;
const MAX_MOUNTS = 64;
const MAX_VARIABLES = 256;
/** The engines take no less. */
const MIN_MEMORY_BYTES = 6 * 1024 ** 2;
const MAX_TAIL_LINES = 100_000;

const IMAGE = /^[A-Za-z0-9][A-Za-z0-9._/:@-]{0,511}$/;
const CONTAINER = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,254}$/;
const NETWORK = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$/;
const VARIABLE_NAME = /^[A-Za-z_][A-Za-z0-9_]{0,127}$/;
const SIZE = /^(\d{1,12})([kmg]?)b?$/i;
const UNIT_BYTES: Readonly<Record<string, number>> = { '': 1, k: 1024, m: 1024 ** 2, g: 1024 ** 3 };

const line = z
  .string('must be a text')
  .refine((text) => !text.includes('\0'), 'has a zero byte')
  .refine((text) => Buffer.byteLength(text) <= MAX_TEXT_BYTES, 'is longer than 128 KiB');

const absolutePath = line
  .refine((text) => text.startsWith('/'), 'must be an absolute path')
  .refine((text) => !/[:\n]/.test(text), 'must be without colon and line feed');

const MEMORY = 'must be a number of bytes, or a text like "512m" or "2g", of at least 6 MiB';
const memory = z
  .union([z.int(MEMORY), z.string(MEMORY).regex(SIZE, MEMORY)], MEMORY)
  .transform((size) => {
    const [, digits = '0', unit = ''] = SIZE.exec(String(size)) ?? [];
    return Number(digits) * (UNIT_BYTES[unit.toLowerCase()] ?? 1);
  })
  .refine((bytes) => bytes >= MIN_MEMORY_BYTES, MEMORY);

const mount = z.strictObject(
  {
    /** On the executing node, in its list of allowed folders. */
    source: absolutePath,
    target: absolutePath,
    read_only: z.boolean('must be true or false').default(false),
  },
  'must be an object with source and target',
);

const run = z.strictObject({
  operation: z.literal('run'),
  image: z.string('must be the name of an image').regex(IMAGE, 'must be the name of an image'),
  /** A text is for the image's /bin/sh -c, a list is run as it is; also `command` of the job. */
  command: z
    .union([line, z.array(line).min(1).max(MAX_ARGUMENTS)], 'must be a text or a list of texts')
    .transform((one) => (typeof one === 'string' ? ['/bin/sh', '-c', one] : one))
    .optional(),
  env: z
    .record(
      z.string().regex(VARIABLE_NAME),
      line,
      'must be an object of names and texts, the names identifiers',
    )
    .refine((all) => Object.keys(all).length <= MAX_VARIABLES, `has more than ${MAX_VARIABLES}`)
    .default({}),
  mounts: z
    .array(mount, 'must be a list of mounts')
    .max(MAX_MOUNTS, `has more than ${MAX_MOUNTS}`)
    .default([]),
  memory: memory.optional(),
  cpus: z
    .number('must be a number of processors')
    .min(0.01, 'must be at least 0.01')
    .max(4096, 'is more than 4096')
    .optional(),
  /** `none`, or one that the engine has; undefined: the engine's default. */
  network: z
    .string('must be the name of a network')
    .regex(NETWORK, 'must be the name of a network')
    .refine((name) => name !== 'host', 'must not be host: it would have the services of its node')
    .optional(),
  pull: z
    .enum(['missing', 'always', 'never'], 'must be missing, always or never')
    .default('missing'),
});

const id = z
  .string('must be the id or name of a container')
  .regex(CONTAINER, 'must be the id or name of a container');

const start = z.strictObject({ operation: z.literal('start'), id });
const stop = z.strictObject({ operation: z.literal('stop'), id });
const logs = z.strictObject({
  operation: z.literal('logs'),
  id,
  /** The last so many lines; undefined: all. */
  tail: z
    .int('must be a number of lines')
    .min(0, 'must be a number of lines')
    .max(MAX_TAIL_LINES, `is more than ${MAX_TAIL_LINES}`)
    .optional(),
  /** Until the container ends. */
  follow: z.boolean('must be true or false').default(false),
});

export const dockerParams = z.preprocess(
  (given) =>
    given !== null && typeof given === 'object' && !('operation' in given)
      ? { operation: 'run', ...given }
      : given,
  z.discriminatedUnion(
    'operation',
    [run, start, stop, logs],
    'must be an object whose operation is run, start, stop or logs',
  ),
);

export type DockerParams = z.output<typeof dockerParams>;
export type RunParams = Extract<DockerParams, { operation: 'run' }>;
export type OperationParams = Exclude<DockerParams, { operation: 'run' }>;
