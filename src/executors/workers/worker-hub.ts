/**
 * Workers over HTTP. What a worker serves is served by its node as long as the worker is there: it
 * asks for work, or has some, or did so a moment ago. An attempt of such a type takes a slot of the
 * node like any other, waits here until a worker takes it, and is then the worker's.
 *
 * | attempt | entered when             | left when                                                  |
 * |---------|--------------------------|------------------------------------------------------------|
 * | waiting | it was given to the node | a worker took it; 10 s went by (returned); it is to end    |
 * | taken   | a worker claimed it      | the worker said how it ended; silent for 15 s (lost)       |
 * | over    | its end is known         | never: from now on each word about it is refused           |
 *
 * It is running, and its timeout counts, from the moment that a worker has it: until then nothing of
 * it is done anywhere, and whoever looks at the job had better see that it waits.
 *
 * A worker is a process that this node cannot end. It is told that its attempt is to end with the
 * answer to whatever it says next, and when the grace time is over it is not listened to any more.
 */
import { MeshError } from '../../base/errors.ts';
import { compareText } from '../../base/ids.ts';
import type { Progress } from '../../core/job.ts';
import type {
  ClaimedAttempt,
  WorkerClaim,
  WorkerDesk,
  WorkerEnd,
  WorkerRef,
  WorkerView,
} from '../../node/worker-desk.ts';
import type { TaskSource } from '../task-source.ts';
import type { Launch, Launched, TaskType } from '../task-type.ts';
import { WorkerAttempt } from './worker-attempt.ts';

/** A worker that says nothing for so long is gone. */
const SILENCE_MS = 15_000;
const LOOK_INTERVAL_MS = 1000;
const MAX_WORKERS = 1000;
const MAX_TYPES = 1000;

interface Worker {
  readonly name: string;
  taskTypes: readonly string[];
  slots: number;
  heardAt: number;
}

interface Waiter {
  readonly worker: Worker;
  readonly give: (attempt: WorkerAttempt | undefined) => void;
}

export class WorkerHub implements TaskSource, WorkerDesk {
  private readonly reserved: (name: string) => boolean;
  private readonly workers = new Map<string, Worker>();
  private readonly attempts = new Map<string, WorkerAttempt>();
  private waiters: readonly Waiter[] = [];
  private timer: NodeJS.Timeout | undefined;
  private lookedAt = performance.now();
  private onChange: () => void = () => {};
  private isClosed = false;

  /** @param reserved task types that the node serves without workers */
  constructor(reserved: (name: string) => boolean) {
    this.reserved = reserved;
  }

  // -------------------------------------------------------------- for the node

  async start(onChange: () => void): Promise<void> {
    this.onChange = onChange;
    this.lookedAt = performance.now();
    this.timer = setInterval(() => this.look(), LOOK_INTERVAL_MS).unref();
  }

  types(): readonly TaskType[] {
    const names = new Set([...this.workers.values()].flatMap(({ taskTypes }) => taskTypes));
    return [...names].map((name) => ({
      name,
      launch: (attempt) => this.launch(attempt),
    }));
  }

  private launch(launch: Launch): Promise<Launched> {
    const attempt = new WorkerAttempt(launch);
    const { key } = attempt;
    this.attempts.set(key, attempt);
    void attempt.ended.then(() => this.attempts.delete(key));
    this.match(attempt);
    return attempt.launched;
  }

  private match(attempt: WorkerAttempt): void {
    const waiter = this.waiters.find(({ worker }) => this.canTake(worker, attempt));
    if (waiter && attempt.take(waiter.worker.name)) this.serve(waiter, attempt);
  }

  private canTake({ name, taskTypes, slots }: Worker, { taskType }: WorkerAttempt): boolean {
    return taskTypes.includes(taskType) && this.runningOf(name) < slots;
  }

  private runningOf(worker: string): number {
    return [...this.attempts.values()].filter((attempt) => attempt.worker === worker).length;
  }

  private serve(waiter: Waiter, attempt: WorkerAttempt | undefined): void {
    this.waiters = this.waiters.filter((other) => other !== waiter);
    waiter.give(attempt);
  }

  /** Time in which this process stood still is not the workers' silence. */
  private look(): void {
    const now = performance.now();
    const stoodMs = Math.max(0, now - this.lookedAt - 2 * LOOK_INTERVAL_MS);
    this.lookedAt = now;
    for (const attempt of this.attempts.values()) attempt.look(now, stoodMs);
    const size = this.workers.size;
    for (const worker of this.workers.values()) {
      worker.heardAt += stoodMs;
      const asks = this.waiters.some((waiter) => waiter.worker === worker);
      if (asks || this.runningOf(worker.name) > 0) worker.heardAt = now;
      if (now - worker.heardAt > SILENCE_MS) this.workers.delete(worker.name);
    }
    if (this.workers.size !== size) this.onChange();
  }

  async close(): Promise<void> {
    this.isClosed = true;
    clearInterval(this.timer);
    for (const waiter of this.waiters) waiter.give(undefined);
    this.waiters = [];
  }

  // -------------------------------------------------------------- for workers

  async claim({
    worker: name,
    taskTypes,
    slots,
    waitMs,
    signal,
  }: WorkerClaim): Promise<ClaimedAttempt | undefined> {
    const worker = this.enlist(name, taskTypes, slots);
    const waiting = [...this.attempts.values()].filter((attempt) => attempt.isWaiting);
    const found = waiting.find((one) => this.canTake(worker, one) && one.take(name));
    const attempt = found ?? (await this.wait(worker, waitMs, signal));
    worker.heardAt = performance.now();
    if (!attempt) return undefined;
    // Its client went away in the very moment: nobody would hear of it.
    if (signal.aborted) {
      attempt.putBack();
      this.match(attempt);
      return undefined;
    }
    attempt.begin();
    return attempt.claimed;
  }

  private enlist(name: string, taskTypes: readonly string[], slots: number): Worker {
    if (this.isClosed) throw new MeshError('DRAINING', 'This node stops. Ask another one.');
    const taken = taskTypes.find((type) => this.reserved(type));
    if (taken !== undefined) {
      throw new MeshError(
        'BAD_REQUEST',
        `The task type ${taken} is served by the node itself: give the worker's another name.`,
      );
    }
    const known = this.workers.get(name);
    const types = [...this.workers.values()].reduce((sum, one) => sum + one.taskTypes.length, 0);
    if (!known && (this.workers.size >= MAX_WORKERS || types + taskTypes.length > MAX_TYPES)) {
      throw new MeshError(
        'BUSY',
        `This node has as many workers or task types of workers as it keeps (${MAX_WORKERS}). Ask another one.`,
      );
    }
    const heardAt = performance.now();
    const worker = known ?? { name, taskTypes, slots, heardAt };
    const isNew = !known || known.taskTypes.join() !== taskTypes.join();
    Object.assign(worker, { taskTypes, slots, heardAt });
    this.workers.set(name, worker);
    if (isNew) this.onChange();
    return worker;
  }

  private wait(
    worker: Worker,
    waitMs: number,
    signal: AbortSignal,
  ): Promise<WorkerAttempt | undefined> {
    return new Promise((resolve) => {
      const waiter: Waiter = {
        worker,
        give: (attempt) => {
          clearTimeout(timer);
          resolve(attempt);
        },
      };
      const end = (): void => this.serve(waiter, undefined);
      const timer = setTimeout(end, waitMs);
      signal.addEventListener('abort', end);
      this.waiters = [...this.waiters, waiter];
    });
  }

  list(): readonly WorkerView[] {
    return [...this.workers.values()]
      .map(({ name, taskTypes, slots }) => ({
        worker: name,
        taskTypes,
        slots,
        running: this.runningOf(name),
      }))
      .sort((a, b) => compareText(a.worker, b.worker));
  }

  touch(ref: WorkerRef): boolean {
    return this.current(ref).isToEnd;
  }

  tell(ref: WorkerRef, progress: Progress): void {
    this.current(ref).tell(progress);
  }

  print(ref: WorkerRef, stream: 'stdout' | 'stderr', bytes: Uint8Array): Promise<void> {
    return this.current(ref).print(stream, bytes);
  }

  finish(ref: WorkerRef, end: WorkerEnd): void {
    this.current(ref).finish(end);
  }

  /** @throws MeshError NOT_CURRENT */
  private current({ job, fence }: WorkerRef): WorkerAttempt {
    const attempt = this.attempts.get(`${job} ${fence}`);
    if (attempt?.hear()) return attempt;
    throw new MeshError(
      'NOT_CURRENT',
      `Attempt ${fence} of job ${job} is not a worker's of this node, or not any more: stop working on it, what it did does not count.`,
    );
  }
}
