/**
 * The parameters of the task types that this program has, one file each: checked as a job is
 * submitted, where the one who made the mistake still listens, and again by the executor. A task
 * type that is not in the table has parameters that only its handler knows.
 */
import type * as z from 'zod';
import { dockerParams } from './docker-params.ts';
import { httpParams } from './http-params.ts';
import { pythonParams } from './python-params.ts';
import { RUN_FIELDS } from './run-options.ts';

const PARAMS: Readonly<Record<string, z.ZodType>> = {
  docker: dockerParams,
  http: httpParams,
  python: pythonParams,
};

export interface Submitted {
  readonly taskType: string;
  readonly command: string;
  readonly params: unknown;
}

/** What is wrong with them; the paths begin with `params`. */
export function paramsIssues(submitted: Submitted): z.core.$ZodIssue[] {
  const schema = PARAMS[submitted.taskType];
  if (!schema) return [];
  const parsed = schema.safeParse(withCommand(submitted));
  if (parsed.success) return [];
  return parsed.error.issues.map((issue) => ({ ...issue, path: ['params', ...issue.path] }));
}

/**
 * Of an order, at its executor.
 * @returns a sentence for what is wrong with them
 */
export function parseParams<Schema extends z.ZodType>(
  schema: Schema,
  { taskType, command, params }: { taskType: string; command: string; params: string },
): z.output<Schema> | string {
  const refused = (why: string): string =>
    `The parameters of this ${taskType} job are not understood here: ${why}.`;
  let given: unknown;
  try {
    given = JSON.parse(params);
  } catch {
    return refused('they are no JSON text');
  }
  const parsed = schema.safeParse(withCommand({ taskType, command, params: given }));
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  return refused(`${['params', ...(issue?.path ?? [])].join('.')} ${issue?.message}`);
}

/** Fields of a job that say how it is run, and that such jobs have: the others have no meaning there. */
const TAKES: Readonly<Record<string, readonly string[]>> = {
  docker: ['user', 'limits', 'inputs', 'outputs'],
  http: [],
  python: Object.keys(RUN_FIELDS)
    .filter((name) => name !== 'argv')
    .concat('working_dir'),
};

/**
 * @param names fields of a job that were given
 * @returns a phrase about the first that is not for such jobs
 */
export function unfitField(taskType: string, names: readonly string[]): string | undefined {
  const takes = TAKES[taskType];
  const isAbout = (name: string): boolean => name in RUN_FIELDS || name === 'working_dir';
  const unfit = takes && names.find((name) => isAbout(name) && !takes.includes(name));
  return unfit === undefined ? undefined : `${unfit} is not for jobs of the task type ${taskType}`;
}

/** For which types the field `command` of a job is short for a parameter of another name. */
const COMMAND_IS: Readonly<Record<string, string>> = { python: 'code' };

/** A type that takes no command is told of it as of any field that it does not know. */
function withCommand({ taskType, command, params }: Submitted): unknown {
  const given = params ?? {};
  if (command === '' || typeof given !== 'object') return given;
  return { [COMMAND_IS[taskType] ?? 'command']: command, ...given };
}
