/**
 * Tasks of the program that embeds this node, run in its own process: they are functions that hold
 * on to what that program has open, and no other process could have them. The price: nothing can
 * end one that does not look at its signal, and one that loops stops the node with the program. A
 * task that may do so belongs into a module of its own, which is given by its path.
 */
import { createWriteStream, mkdirSync, type WriteStream } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { finished } from 'node:stream/promises';
import { format } from 'node:util';
import { MAX_RESULT_BYTES } from '../../core/job.ts';
import { fenceText } from '../../core/record.ts';
import { checkParams, type Task, type TaskContext } from '../../tasks/define-task.ts';
import { Hosted } from '../hosted.ts';
import type { TaskSource } from '../task-source.ts';
import type { Launch, TaskType } from '../task-type.ts';

export class LocalTasks implements TaskSource {
  private readonly tasks: readonly Task[];

  constructor(tasks: readonly Task[]) {
    this.tasks = tasks;
  }

  types(): readonly TaskType[] {
    return this.tasks.map((task) => ({
      name: task.name,
      makesPlace: true,
      launch: async (attempt) => ({ tag: 'started', running: runHere(task, attempt) }),
    }));
  }

  async start(): Promise<void> {}

  check(
    taskType: string,
    params: readonly string[],
  ): Promise<readonly (string | undefined)[]> | undefined {
    const task = this.tasks.find(({ name }) => name === taskType);
    return task?.schema && Promise.all(params.map((text) => problemOf(task, text)));
  }

  async close(): Promise<void> {}
}

async function problemOf(task: Task, params: string): Promise<string | undefined> {
  const checked = await checkParams(task, JSON.parse(params));
  return 'problem' in checked ? checked.problem : undefined;
}

function runHere(task: Task, attempt: Launch): Hosted {
  return new Hosted(async ({ asked }) => {
    const log = new Log(attempt.place.stdout);
    try {
      const checked = await checkParams(task, JSON.parse(attempt.order.grant.spec.params));
      if ('problem' in checked) return { tag: 'failed', reason: checked.problem };
      const context = contextOf(attempt, { log, signal: asked });
      const result = JSON.stringify(await task.run(context, checked.value));
      if (result === undefined) return { tag: 'exited', code: 0 };
      const bytes = Buffer.byteLength(result);
      if (bytes <= MAX_RESULT_BYTES) {
        attempt.note({ result });
        return { tag: 'exited', code: 0 };
      }
      const reason = `Its result has ${bytes} bytes of JSON, and may have ${MAX_RESULT_BYTES} (64 KiB): write what is larger to a file.`;
      return { tag: 'failed', reason };
    } finally {
      await log.close();
    }
  });
}

/** Its file is made with the first line. */
class Log {
  private readonly path: string;
  private file: WriteStream | undefined;

  constructor(path: string) {
    this.path = path;
  }

  write(line: string): void {
    this.file ??= this.open();
    this.file.write(line);
  }

  private open(): WriteStream {
    // A full disk costs the output, not the job.
    const failed = (): void => {};
    try {
      makeFolder(dirname(this.path));
    } catch {
      // Then the file cannot be made either.
    }
    return createWriteStream(this.path, { flags: 'a', mode: 0o600 }).on('error', failed);
  }

  async close(): Promise<void> {
    if (this.file) await finished(this.file.end()).catch(() => {});
  }
}

const makeFolder = (path: string): void => void mkdirSync(path, { recursive: true, mode: 0o700 });

function contextOf(
  { order, place, tell }: Launch,
  { log, signal }: { log: Log; signal: AbortSignal },
): TaskContext {
  /** Made when somebody asks for it: most never do. */
  const folder = (): string => {
    makeFolder(place.path);
    return place.path;
  };
  const path = (name: string): string => join(folder(), name);
  return {
    job: order.job,
    attempt: order.fence.attempt,
    fence: fenceText(order.fence),
    get folder() {
      return folder();
    },
    signal,
    files: {
      path,
      read: (name) => readFile(path(name)),
      write: async (name, content) => {
        await mkdir(dirname(path(name)), { recursive: true });
        await writeFile(path(name), content);
      },
    },
    progress: (percent, message = '') => tell({ percent, message }),
    log: (...values) => log.write(`${format(...values)}\n`),
  };
}
