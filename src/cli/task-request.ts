/**
 * The words of `mesh run` for each task type: what a person would type for the program of that
 * name is what the job does.
 *
 * | type     | words                                                                     |
 * |----------|---------------------------------------------------------------------------|
 * | shell    | one: a line for /bin/sh; several: exactly these arguments                 |
 * | python   | a file of here (NAME.py) or source, and arguments; a file that is not     |
 * |          | here is one of the executing node                                         |
 * | http     | a URL, or a method and a URL                                              |
 * | docker   | none: the image's own command; one: a line for its /bin/sh; several: these |
 * | another  | as for shell, if there are any                                            |
 */
import { readFileSync } from 'node:fs';
import type { JobRequest } from '../api/job-request.ts';
import { MeshError } from '../base/errors.ts';
import { toCommand } from './command-line.ts';

export interface TaskOptions {
  readonly type?: string;
  /** Image of a docker job. */
  readonly docker?: string;
  /** JSON text of parameters; words are added to them. */
  readonly params?: string;
}

type Task = Pick<JobRequest, 'task_type' | 'command' | 'argv' | 'params'>;

/** @throws MeshError BAD_REQUEST */
export function toTask(words: readonly string[], options: TaskOptions): Task {
  const given = options.params === undefined ? {} : parseObject(options.params);
  const type = typeOf(options);
  const params = { ...given, ...paramsOf(type, words, options) };
  const hasParams = Object.keys(params).length > 0;
  const command = isOwnWay(type) || words.length === 0 ? {} : toCommand(words);
  return {
    ...(type !== 'shell' && { task_type: type }),
    ...command,
    ...(hasParams && { params }),
  };
}

const isOwnWay = (type: string): boolean => ['python', 'http', 'docker'].includes(type);

function typeOf({ type, docker }: TaskOptions): string {
  if (docker === undefined) return type ?? 'shell';
  if (type === undefined || type === 'docker') return 'docker';
  return refuse(`--docker is for docker jobs, and --type says ${type}: give one of them.`);
}

function paramsOf(type: string, words: readonly string[], { docker }: TaskOptions): object {
  const [first, ...rest] = words;
  switch (type) {
    case 'python':
      // As Python itself would be given source.
      if (first === '-c') return paramsOf(type, rest, {});
      return first === undefined
        ? {}
        : { ...sourceOf(first), ...(rest.length > 0 && { args: rest }) };
    case 'http': {
      if (words.length > 2) refuse('give a URL, or a method and a URL; all else by --params.');
      const [second] = rest;
      if (second !== undefined) return { method: first, url: second };
      return first === undefined ? {} : { url: first };
    }
    case 'docker':
      return {
        ...(docker !== undefined && { image: docker }),
        ...(first !== undefined && { command: rest.length === 0 ? first : words }),
      };
    default:
      return {};
  }
}

function sourceOf(word: string): { code: string } | { script: string } {
  if (!/^[^\n]*\.py$/.test(word)) return { code: word };
  try {
    return { code: readFileSync(word, 'utf8') };
  } catch (failure) {
    if ((failure as { code?: string }).code === 'ENOENT') return { script: word };
    throw failure;
  }
}

function parseObject(text: string): object {
  try {
    const value: unknown = JSON.parse(text);
    if (value !== null && typeof value === 'object' && !Array.isArray(value)) return value;
  } catch {
    // Said below.
  }
  return refuse(`--params must be a JSON object, such as '{"method": "POST"}'.`);
}

function refuse(sentence: string): never {
  throw new MeshError('BAD_REQUEST', sentence);
}
