/** Task types that come and go while the node runs: modules of handlers, and workers. */
import { MeshError } from '../base/errors.ts';
import type { Config } from '../config.ts';
import { Handlers } from '../executors/handlers/handlers.ts';
import { LocalTasks } from '../executors/handlers/local-tasks.ts';
import type { TaskSource } from '../executors/task-source.ts';
import type { TaskType } from '../executors/task-type.ts';
import { WorkerHub } from '../executors/workers/worker-hub.ts';
import type { Log } from '../log.ts';
import type { Task } from '../tasks/define-task.ts';

export interface TaskSources {
  readonly all: readonly TaskSource[];
  readonly workers: WorkerHub;
}

export function makeTaskSources(
  config: Config,
  { taskTypes, tasks, log }: { taskTypes: readonly TaskType[]; tasks: readonly Task[]; log: Log },
): TaskSources {
  const names = [...taskTypes, ...tasks].map(({ name }) => name);
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice !== undefined) {
    throw new MeshError(
      'BAD_SETTING',
      `The task type ${twice} is there already: give the task another name.`,
    );
  }
  const handlers = new Handlers({
    files: config.tasks,
    isWatching: config.tasksWatch,
    heapBytes: config.handlerMemoryBytes,
    reserved: names,
    nodeEnv: process.env,
    onProblem: (sentence) => log.warn(sentence),
    onNotice: (sentence) => log.info(sentence),
  });
  const isServedHere = (name: string): boolean =>
    names.includes(name) || handlers.types().some((type) => type.name === name);
  const workers = new WorkerHub(isServedHere);
  return { all: [new LocalTasks(tasks), handlers, workers], workers };
}
