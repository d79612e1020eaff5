/** Task types that come and go while the node runs: modules of handlers, and workers. */
import type { Config } from '../config.ts';
import { Handlers } from '../executors/handlers/handlers.ts';
import type { TaskSource } from '../executors/task-source.ts';
import type { TaskType } from '../executors/task-type.ts';
import { WorkerHub } from '../executors/workers/worker-hub.ts';
import type { Log } from '../log.ts';

export interface TaskSources {
  readonly all: readonly TaskSource[];
  readonly workers: WorkerHub;
}

export function makeTaskSources(
  config: Config,
  taskTypes: readonly TaskType[],
  log: Log,
): TaskSources {
  const reserved = taskTypes.map(({ name }) => name);
  const handlers = new Handlers({
    files: config.tasks,
    isWatching: config.tasksWatch,
    heapBytes: config.handlerMemoryBytes,
    reserved,
    nodeEnv: process.env,
    onProblem: (sentence) => log.warn(sentence),
    onNotice: (sentence) => log.info(sentence),
  });
  const isServedHere = (name: string): boolean =>
    reserved.includes(name) || handlers.types().some((type) => type.name === name);
  const workers = new WorkerHub(isServedHere);
  return { all: [handlers, workers], workers };
}
