/**
 * A process of the pool: loads one module of handlers and runs one attempt at a time. It leads a
 * process group of its own, so that it and all that its handlers have started end together.
 *
 * It ends itself when its node is gone, when the lease of its attempt is over, and when it has
 * more memory than it may. A handler can keep the main thread busy for ever, so a second thread,
 * the guard, sees to that.
 */
import { existsSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { registerHooks } from 'node:module';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { format } from 'node:util';
import { isMainThread, Worker } from 'node:worker_threads';
import { checkParams, isTask, type Task, type TaskContext } from '../../tasks/define-task.ts';
import { type GuardData, runGuard } from './guard.ts';
import type { Command, Ended, ProcessArguments, Report, RunCommand } from './protocol.ts';
import { RunLease } from './run-lease.ts';
import { Surroundings } from './surroundings.ts';

const MAX_RESULT_BYTES = 64 * 1024;
const PROGRESS_INTERVAL_MS = 100;

let current: { readonly abort: AbortController } | undefined;

const tell = (report: Report): void => {
  process.send?.(report);
};

// ---------------------------------------------------------------- loading

/**
 * What Node cannot read as it is goes through tsx: enums and other syntax that is more than types,
 * and imports without an ending.
 */
const NEEDS_TSX: readonly string[] = [
  'ERR_UNSUPPORTED_TYPESCRIPT_SYNTAX',
  'ERR_UNKNOWN_FILE_EXTENSION',
  'ERR_MODULE_NOT_FOUND',
  'ERR_UNSUPPORTED_DIR_IMPORT',
];

async function importModule(file: string): Promise<Record<string, unknown>> {
  const url = pathToFileURL(file).href;
  try {
    return (await import(url)) as Record<string, unknown>;
  } catch (thrown) {
    const { code = '' } = thrown as { code?: string };
    if (!/\.[mc]?tsx?$/.test(file) || !NEEDS_TSX.includes(code)) throw thrown;
    const { tsImport } = await import('tsx/esm/api');
    return (await tsImport(url, import.meta.url)) as Record<string, unknown>;
  }
}

/** A module that lies anywhere may import this package and zod, as if they were installed there. */
function resolveOwnPackages(): void {
  registerHooks({
    resolve(specifier, context, next) {
      try {
        return next(specifier, context);
      } catch (thrown) {
        // Not by another parent: a `require` keeps its own.
        if (specifier === 'worker-mesh') return { url: ownEntry(), shortCircuit: true };
        if (!/^zod(\/|$)/.test(specifier)) throw thrown;
        return { url: import.meta.resolve(specifier), shortCircuit: true };
      }
    },
  });
}

function ownEntry(): string {
  const fromSources = new URL('../../index.ts', import.meta.url);
  const inBundle = new URL('./index.mjs', import.meta.url);
  return (existsSync(inBundle) ? inBundle : fromSources).href;
}

/** @throws Error that says what is wrong with the module */
async function loadTasks(file: string): Promise<Map<string, Task>> {
  const exported = await importModule(file);
  const tasks = new Map<string, Task>();
  for (const task of new Set(tasksIn(exported))) {
    if (tasks.has(task.name)) throw new Error(`two of its tasks are called ${task.name}`);
    tasks.set(task.name, task);
  }
  if (tasks.size > 0) return tasks;
  throw new Error(
    'it exports no task: make one with defineTask({ name, run }) from worker-mesh and export it',
  );
}

/** A list may be the default export, and what a module in CommonJS exports is one more level down. */
function tasksIn(exported: unknown, depth = 0): Task[] {
  if (isTask(exported)) return [exported];
  if (depth > 3 || typeof exported !== 'object' || exported === null) return [];
  const isOfModule = depth === 0 || Array.isArray(exported) || isPlain(exported);
  return isOfModule ? Object.values(exported).flatMap((value) => tasksIn(value, depth + 1)) : [];
}

const isPlain = (value: object): boolean => Object.getPrototypeOf(value) === Object.prototype;

// ---------------------------------------------------------------- running

async function check(
  tasks: ReadonlyMap<string, Task>,
  name: string,
  params: readonly string[],
): Promise<(string | null)[]> {
  const task = tasks.get(name);
  const problemOf = async (text: string): Promise<string | null> => {
    if (!task) return null;
    const checked = await checkParams(task, JSON.parse(text));
    return 'problem' in checked ? checked.problem : null;
  };
  return Promise.all(params.map(problemOf));
}

interface Runner {
  readonly tasks: ReadonlyMap<string, Task>;
  readonly surroundings: Surroundings;
  readonly lease: RunLease;
}

async function run({ tasks, surroundings, lease }: Runner, command: RunCommand): Promise<void> {
  const abort = new AbortController();
  const progress = new Progress();
  current = { abort };
  lease.begin(command.run, command.untilMs);
  let outcome: Outcome;
  try {
    surroundings.enter(command);
    outcome = await perform(tasks, command, { signal: abort.signal, progress });
  } catch (thrown) {
    process.stderr.write(`${stackOf(thrown)}\n`);
    outcome = { kind: 'failed', reason: phraseOf(thrown) };
  }
  current = undefined;
  progress.flush();
  const isFolderKept = surroundings.leave(command);
  lease.end();
  tell({ ...outcome, isClean: isClean(), isFolderKept });
}

type Outcome =
  | Pick<Extract<Ended, { kind: 'done' }>, 'kind' | 'result'>
  | Pick<Extract<Ended, { kind: 'failed' }>, 'kind' | 'reason'>;

async function perform(
  tasks: ReadonlyMap<string, Task>,
  command: RunCommand,
  about: Pick<TaskContext, 'signal'> & { readonly progress: Progress },
): Promise<Outcome> {
  const task = tasks.get(command.task);
  if (!task) throw new Error(`its module has no task ${command.task} any more`);
  const checked = await checkParams(task, JSON.parse(command.params));
  if ('problem' in checked) return { kind: 'failed', reason: checked.problem };
  const result = await task.run(contextOf(command, about), checked.value);
  return { kind: 'done', result: resultText(result) };
}

/** @throws TypeError for what has no JSON form, or too long a one */
function resultText(result: unknown): string | undefined {
  const text = result === undefined ? undefined : jsonOf(result);
  if (text === undefined || Buffer.byteLength(text) <= MAX_RESULT_BYTES) return text;
  throw new TypeError(
    `Its result has ${Buffer.byteLength(text)} bytes of JSON, and may have ${MAX_RESULT_BYTES} (64 KiB): write what is larger to a file.`,
  );
}

function jsonOf(result: unknown): string | undefined {
  try {
    return JSON.stringify(result);
  } catch (thrown) {
    throw new TypeError(`Its result has no JSON form: ${phraseOf(thrown)}`);
  }
}

function contextOf(
  command: RunCommand,
  { signal, progress }: Parameters<typeof perform>[2],
): TaskContext {
  const { job, attempt, fence, folder } = command;
  const path = (name: string): string => join(folder, name);
  return {
    job,
    attempt,
    fence,
    folder,
    signal,
    files: {
      path,
      read: (name) => readFile(path(name)),
      write: async (name, content) => {
        await mkdir(dirname(path(name)), { recursive: true });
        await writeFile(path(name), content);
      },
    },
    progress: (percent, message = '') =>
      progress.tell({ percent: Number(percent), message: String(message) }),
    log: (...values) => void process.stdout.write(`${format(...values)}\n`),
  };
}

/** However often a handler tells how far it is, its node hears it a few times a second. */
class Progress {
  private newest: { readonly percent: number; readonly message: string } | undefined;
  private toldAt = Number.NEGATIVE_INFINITY;
  private timer: NodeJS.Timeout | undefined;

  tell(progress: { percent: number; message: string }): void {
    this.newest = progress;
    const leftMs = this.toldAt + PROGRESS_INTERVAL_MS - performance.now();
    if (leftMs <= 0) this.flush();
    else this.timer ??= setTimeout(() => this.flush(), leftMs).unref();
  }

  flush(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    if (!this.newest) return;
    tell({ kind: 'progress', ...this.newest });
    this.newest = undefined;
    this.toldAt = performance.now();
  }
}

/** A process that its handler started and left behind ends with this one, so this one ends too. */
const isClean = (): boolean => !process.getActiveResourcesInfo().includes('ProcessWrap');

// ---------------------------------------------------------------- faults

const phraseOf = (thrown: unknown): string =>
  (thrown instanceof Error ? `${thrown.name}: ${thrown.message}` : String(thrown)).slice(0, 2000);

/** ` (file:line)` of the first place in the module or beside it that the error names. */
function placeOf(thrown: unknown, file: string): string {
  const stack = thrown instanceof Error ? (thrown.stack ?? '') : '';
  const places = stack.matchAll(/(?:file:\/\/)?(\/[^\s()]+?)(?:\?[^\s:]*)?:(\d+)/g);
  const found = places.find(([, path]) => path?.startsWith(dirname(file)) === true);
  return found ? ` (${found[1]}:${found[2]})` : '';
}

const stackOf = (thrown: unknown): string =>
  thrown instanceof Error ? (thrown.stack ?? phraseOf(thrown)) : String(thrown);

function endOnFaults(): void {
  process.on('uncaughtException', (thrown, origin) => {
    const what =
      origin === 'unhandledRejection'
        ? 'a rejection that nobody caught'
        : 'an error that nobody caught';
    process.stderr.write(`${stackOf(thrown)}\n`);
    const reason = `The handler ended its process by ${what}: ${phraseOf(thrown)}`;
    process.send?.({ kind: 'crashed', reason } satisfies Report, () => process.exit(70));
  });
}

// ---------------------------------------------------------------- start

async function main(): Promise<void> {
  const { file, memoryBytes } = JSON.parse(process.argv[2] ?? '{}') as ProcessArguments;
  process.on('disconnect', () => process.exit(0));
  const lease = new RunLease();
  const workerData: GuardData = { memoryBytes, lease: lease.memory };
  new Worker(new URL(import.meta.url), { workerData }).unref();
  const surroundings = new Surroundings();
  endOnFaults();
  resolveOwnPackages();
  let tasks: Map<string, Task>;
  try {
    tasks = await loadTasks(file);
  } catch (thrown) {
    tell({ kind: 'broken', reason: `${phraseOf(thrown)}${placeOf(thrown, file)}` });
    return;
  }
  process.on('message', (command: Command) => {
    if (command.kind === 'abort') current?.abort.abort(new Error(command.reason));
    else if (command.kind === 'run') void run({ tasks, surroundings, lease }, command);
    else {
      const { id, task, params } = command;
      void check(tasks, task, params).then((problems) => tell({ kind: 'checked', id, problems }));
    }
  });
  const heads = [...tasks.values()].map(({ name, schema }) => ({
    name,
    hasSchema: schema !== undefined,
  }));
  tell({ kind: 'loaded', tasks: heads });
}

if (isMainThread) void main();
else runGuard();
