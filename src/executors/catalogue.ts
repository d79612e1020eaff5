/** All task types this program has. A new one is one file and one entry here. */
import { isPublicAddress } from './http/allowed-address.ts';
import { makeHttp } from './http/http.ts';
import { makePython } from './python.ts';
import { shell } from './shell.ts';
import type { TaskType } from './task-type.ts';

/** What of the settings they take. */
export interface TaskTypeOptions {
  readonly python: string;
  readonly httpAllowPrivate: boolean;
}

export const makeTaskTypes = (options: TaskTypeOptions): readonly TaskType[] => [
  shell,
  makePython(options.python),
  makeHttp({ isAllowed: options.httpAllowPrivate ? () => true : isPublicAddress }),
];
