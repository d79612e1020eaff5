/**
 * A task type written in TypeScript: a name, perhaps a schema of its parameters, and what is run.
 * This file is what a module of handlers imports, and nothing more: it is loaded in each process
 * of the pool.
 *
 * Schemas are those of https://standardschema.dev, which zod, valibot, arktype and others
 * implement; so this program need not know which one a module likes.
 */

/** The part of Standard Schema, version 1, that is used here. */
export interface Schema<Output = unknown> {
  readonly '~standard': {
    readonly version: 1;
    readonly vendor: string;
    readonly validate: (value: unknown) => SchemaResult<Output> | Promise<SchemaResult<Output>>;
    readonly types?: { readonly input: unknown; readonly output: Output } | undefined;
  };
}

export type SchemaResult<Output> =
  | { readonly value: Output; readonly issues?: undefined }
  | { readonly issues: readonly SchemaIssue[] };

export interface SchemaIssue {
  readonly message: string;
  readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined;
}

/** What a handler is given beside its parameters. */
export interface TaskContext {
  /** Id of the job. */
  readonly job: string;
  /** Number of this attempt, from 1 on. */
  readonly attempt: number;
  /** Names this attempt and rises with each: give it to what must not take a late writer's word. */
  readonly fence: string;
  /** Working folder of the attempt, also the process's; removed after the end unless it was named. */
  readonly folder: string;
  readonly files: TaskFiles;
  /** Aborted when the attempt is to end: cancelled, over its time, or its lease is lost. */
  readonly signal: AbortSignal;
  /** @param percent 0 to 100 @param message at most 200 characters are kept */
  progress(percent: number, message?: string): void;
  /** A line on the job's stdout, formatted as console.log does. */
  log(...values: readonly unknown[]): void;
}

/** Files in the working folder, by relative path. */
export interface TaskFiles {
  path(name: string): string;
  read(name: string): Promise<Uint8Array>;
  /** Makes the folders above it. */
  write(name: string, content: string | Uint8Array): Promise<void>;
}

export interface TaskDefinition<Params = unknown> {
  /** `task_type` of its jobs: 1 to 63 of a-z 0-9 . _ - beginning with a letter or digit. */
  readonly name: string;
  /** Undefined: any JSON is taken. */
  readonly schema?: Schema<Params> | undefined;
  /** What it settles with is the job's result, JSON of at most 64 KiB; what it throws fails the job. */
  run(ctx: TaskContext, params: Params): unknown;
}

/** What {@link defineTask} has checked. */
export interface Task<Params = unknown> extends TaskDefinition<Params> {
  readonly [MARK]: true;
}

/** By its registered name: a module may have got another copy of this package than its node. */
const MARK: unique symbol = Symbol.for('worker-mesh.task') as never;
export const TASK_NAME = /^[a-z0-9][a-z0-9._-]{0,62}$/;

/** @throws TypeError for a name or a schema of another form */
export function defineTask<Params = unknown>(definition: TaskDefinition<Params>): Task<Params> {
  const { name, schema, run } = definition;
  if (typeof name !== 'string' || !TASK_NAME.test(name)) {
    throw new TypeError(
      `The task name ${JSON.stringify(name)} must be 1 to 63 of a-z 0-9 . _ - beginning with a letter or digit.`,
    );
  }
  if (typeof run !== 'function') {
    throw new TypeError(`The task ${name} has no function run(ctx, params).`);
  }
  if (schema !== undefined && typeof schema['~standard']?.validate !== 'function') {
    throw new TypeError(
      `The schema of the task ${name} is no Standard Schema: give one of zod 3.24 or later, valibot, arktype, or leave it out.`,
    );
  }
  return { ...definition, [MARK]: true };
}

export const isTask = (value: unknown): value is Task =>
  typeof value === 'object' && value !== null && (value as Partial<Task>)[MARK] === true;

export type Checked = { readonly value: unknown } | { readonly problem: string };

/** Never rejects: a schema that throws refuses. */
export async function checkParams(
  { name, schema }: TaskDefinition,
  params: unknown,
): Promise<Checked> {
  if (!schema) return { value: params };
  try {
    const result = await schema['~standard'].validate(params);
    if (!result.issues) return { value: result.value };
    return { problem: `params of the task type ${name}: ${phrasesOf(result.issues)}` };
  } catch (thrown) {
    const why = thrown instanceof Error ? thrown.message : String(thrown);
    return { problem: `params of the task type ${name}: its schema failed (${why})` };
  }
}

const MAX_ISSUES_SHOWN = 3;

function phrasesOf(issues: readonly SchemaIssue[]): string {
  const shown = issues.slice(0, MAX_ISSUES_SHOWN).map(({ message, path = [] }) => {
    const place = path.map((part) => String(typeof part === 'object' ? part.key : part)).join('.');
    return (place === '' ? message : `${place}: ${message}`).slice(0, 500);
  });
  const more = issues.length - shown.length;
  return more > 0 ? `${shown.join('; ')}; and ${more} more` : shown.join('; ');
}
