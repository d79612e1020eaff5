/** All task types this program has. A new one is one file and one entry here. */
import type { NodeId } from '../base/ids.ts';
import { makeDocker } from './docker/docker.ts';
import { isPublicAddress } from './http/allowed-address.ts';
import { makeHttp } from './http/http.ts';
import { makePython } from './python.ts';
import { shell } from './shell.ts';
import type { TaskType } from './task-type.ts';

/** What of the settings they take, and what of their node. */
export interface TaskTypeOptions {
  readonly node: NodeId;
  readonly onProblem: (sentence: string) => void;
  readonly python: string;
  readonly httpAllowPrivate: boolean;
  readonly dockerSocket: string | undefined;
  readonly dockerMounts: readonly string[];
  /** Beside the others, since it is also asked while it runs. */
  readonly terminal: TaskType;
}

export const makeTaskTypes = (options: TaskTypeOptions): readonly TaskType[] => [
  shell,
  makePython(options.python),
  makeHttp({ isAllowed: options.httpAllowPrivate ? () => true : isPublicAddress }),
  makeDocker({
    node: options.node,
    socket: options.dockerSocket,
    mounts: options.dockerMounts,
    onProblem: options.onProblem,
  }),
  options.terminal,
];
