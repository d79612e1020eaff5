/**
 * How an attempt is to be run, as its submitter asked: everything that only its executor needs to
 * know. The API checks it and passes it on as JSON text, the nodes between carry it unread, and the
 * executor checks it again before it believes a word: what arrives over a link was checked by a
 * node of perhaps another version.
 */
import * as z from 'zod';

const MAX_ARGUMENTS = 4096;
const MAX_ARGUMENT_BYTES = 128 * 1024 - 1;
const MAX_STDIN_BYTES = 256 * 1024;
const MAX_FILES = 256;
const MAX_INLINE_BYTES = 256 * 1024;
const MAX_PATTERNS = 64;
const MIN_MEMORY_BYTES = 1024 * 1024;
const MIN_OPEN_FILES = 8;

const USER = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}$/;
const UMASK = /^0?[0-7]{3}$/;
const MODE = /^0?[0-7]{3}$/;
const SHA256 = /^[0-9a-f]{64}$/;

const byteLength = (text: string): number => Buffer.byteLength(text);

/** Below the working folder, and never above it. */
const isInside = (path: string): boolean =>
  path !== '' &&
  byteLength(path) <= 1024 &&
  !path.startsWith('/') &&
  !path.includes('\0') &&
  path.split('/').every((part) => part !== '..' && part !== '.' && part !== '');

const insidePath = z
  .string('must be a text')
  .refine(isInside, 'must be a path below the working folder, without . and ..');

const wholeAtLeast = (least: number) =>
  z
    .int(`must be a whole number of at least ${least}`)
    .min(least, `must be a whole number of at least ${least}`);

const limits = z.strictObject(
  {
    /** User and system time of all its processes. */
    cpu_seconds: wholeAtLeast(1).optional(),
    memory_bytes: wholeAtLeast(MIN_MEMORY_BYTES).optional(),
    open_files: wholeAtLeast(MIN_OPEN_FILES).optional(),
    /** Of each file it writes. */
    file_bytes: wholeAtLeast(0).optional(),
    processes: wholeAtLeast(1).optional(),
  },
  'must be an object of limits',
);

const sandbox = z.union(
  [
    z.boolean(),
    z.strictObject({
      /** Default: none. */
      network: z.boolean().optional(),
      /** Absolute paths it may write to, beside its working folder. */
      writable: z
        .array(z.string().refine((path) => path.startsWith('/')))
        .max(MAX_FILES)
        .optional(),
    }),
  ],
  'must be true, false or an object of network (true or false) and writable (a list of absolute paths)',
);

/** Small ones come with the job; larger ones were uploaded before and are named by their content. */
const inputFile = z
  .strictObject(
    {
      path: insidePath,
      text: z.string('must be a text').optional(),
      base64: z.base64('must be base64').optional(),
      sha256: z.string().regex(SHA256, 'must be 64 hex digits').optional(),
      bytes: wholeAtLeast(0).optional(),
      mode: z.string().regex(MODE, 'must be three octal digits').optional(),
    },
    'must be an object with a path and one of text, base64 and sha256',
  )
  .refine(
    ({ text, base64, sha256 }) =>
      [text, base64, sha256].filter((each) => each !== undefined).length === 1,
    'must have one of text, base64 and sha256',
  )
  .refine(
    ({ sha256, bytes }) => (sha256 === undefined) === (bytes === undefined),
    'must have bytes (its length) with sha256, and not without',
  )
  .refine(
    ({ text, base64 }) => byteLength(text ?? base64 ?? '') <= MAX_INLINE_BYTES,
    'has more than 256 KiB in it: upload it and name it by sha256',
  );

/** Fields of a job request; also, with nothing else, the JSON text in `JobSpec.run`. */
export const RUN_FIELDS = {
  /** Program and arguments, without a shell; instead of `command`. */
  argv: z
    .array(
      z
        .string('must be a text')
        .refine((text) => !text.includes('\0'), 'has a zero byte')
        .refine((text) => byteLength(text) <= MAX_ARGUMENT_BYTES, 'is longer than 128 KiB'),
      'must be a list of texts',
    )
    .min(1, 'must not be empty')
    .max(MAX_ARGUMENTS, `has more than ${MAX_ARGUMENTS} arguments`)
    .optional(),
  stdin: z
    .string('must be a text')
    .refine((text) => byteLength(text) <= MAX_STDIN_BYTES, 'is longer than 256 KiB')
    .optional(),
  umask: z.string('must be a text').regex(UMASK, 'must be three octal digits').optional(),
  /** Name or number of a user of the executing machine. */
  user: z.string('must be a text').regex(USER, 'must be a user name or number').optional(),
  nice: z
    .int('must be a whole number from -20 to 19')
    .min(-20, 'must be a whole number from -20 to 19')
    .max(19, 'must be a whole number from -20 to 19')
    .optional(),
  limits: limits.optional(),
  sandbox: sandbox.optional(),
  inputs: z.array(inputFile, 'must be a list of files').max(MAX_FILES).optional(),
  /** Patterns of files to keep: `result/*`, `**\/*.png`. */
  outputs: z
    .array(insidePath, 'must be a list of patterns')
    .max(MAX_PATTERNS, `has more than ${MAX_PATTERNS} patterns`)
    .optional(),
} as const;

const runSchema = z.strictObject(RUN_FIELDS);

export type RunOptions = z.output<typeof runSchema>;
export type InputFile = z.output<typeof inputFile>;
export type Limits = z.output<typeof limits>;

export const NO_RUN_OPTIONS = '{}';

/** Only what was said; key order as in the table above, so that equal options are equal texts. */
export function toRunText(request: RunOptions): string {
  const said = Object.keys(RUN_FIELDS).flatMap((name) => {
    const value = request[name as keyof RunOptions];
    return value === undefined ? [] : [[name, value]];
  });
  return said.length === 0 ? NO_RUN_OPTIONS : JSON.stringify(Object.fromEntries(said));
}

/** @returns a sentence for what is wrong with it */
export function parseRunText(text: string): RunOptions | string {
  if (text === NO_RUN_OPTIONS) return {};
  try {
    const parsed = runSchema.safeParse(JSON.parse(text));
    if (parsed.success) return parsed.data;
    const [issue] = parsed.error.issues;
    return `${issue?.path.join('.') ?? ''} ${issue?.message ?? 'is not understood'}`.trim();
  } catch {
    return 'it is no JSON text';
  }
}

/**
 * A node puts files into a folder, and takes them from it, as the user that it is. A job that may do
 * less than its node must not have it do that anywhere but in the job's own folder.
 * @returns a phrase for what is wrong
 */
export function misplacedFiles(
  { user, sandbox, inputs = [], outputs = [] }: RunOptions,
  workingDir: string | undefined,
): string | undefined {
  const isFenced = user !== undefined || (sandbox !== undefined && sandbox !== false);
  if (workingDir === undefined || !isFenced || inputs.length + outputs.length === 0)
    return undefined;
  return 'a job with a user or a sandbox has its inputs and outputs in a working folder of its own: leave working_dir out';
}
