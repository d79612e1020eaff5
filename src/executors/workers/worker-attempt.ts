/** One attempt that a worker outside the node runs; its states are in worker-hub.ts. */
import { appendFile } from 'node:fs/promises';
import type { AttemptEnd, Progress } from '../../core/job.ts';
import { attemptKey } from '../../core/record.ts';
import type { ClaimedAttempt, WorkerEnd } from '../../node/worker-desk.ts';
import { ENDED_BEFORE_START, type NotRun } from '../failures.ts';
import { ENDED_ON_REQUEST, Hosted } from '../hosted.ts';
import type { Launch, Launched } from '../task-type.ts';

const UNTAKEN_MS = 10_000;
const SILENCE_MS = 15_000;

type State =
  | { readonly tag: 'waiting'; since: number }
  | { readonly tag: 'taken'; readonly worker: string; heardAt: number }
  | { readonly tag: 'over' };

export class WorkerAttempt extends Hosted {
  readonly key: string;
  readonly taskType: string;
  /** Settles when a worker has it, or when none is to have it any more. */
  readonly launched: Promise<Launched>;
  private readonly attempt: Launch;
  private readonly launch: (launched: Launched) => void;
  private readonly settle: (end: AttemptEnd) => void;
  private state: State = { tag: 'waiting', since: performance.now() };
  private endAsked = false;
  /** Pieces of output go one after the other. */
  private printed: Promise<unknown> = Promise.resolve();

  constructor(attempt: Launch) {
    const over = Promise.withResolvers<AttemptEnd>();
    super(({ asked, forced }) => {
      // `this` is there by the time that anybody asks it to end.
      asked.addEventListener('abort', () => this.onEndAsked());
      forced.addEventListener('abort', () => this.conclude(ENDED_ON_REQUEST));
      return over.promise;
    });
    const { job, fence, grant } = attempt.order;
    this.attempt = attempt;
    this.key = attemptKey(job, fence);
    this.taskType = grant.spec.taskType;
    this.settle = over.resolve;
    const launched = Promise.withResolvers<Launched>();
    this.launched = launched.promise;
    this.launch = launched.resolve;
    if (attempt.ending.aborted) this.onEndAsked();
    else attempt.ending.addEventListener('abort', () => this.onEndAsked(), { once: true });
  }

  private onEndAsked(): void {
    this.endAsked = true;
    this.turnBack({ tag: 'failed', reason: ENDED_BEFORE_START });
  }

  /** If nobody has it: nothing of it has run. */
  private turnBack(end: NotRun): void {
    if (this.state.tag !== 'waiting') return;
    this.launch(end);
    this.conclude(end);
  }

  private conclude(end: AttemptEnd): void {
    if (this.state.tag === 'over') return;
    this.state = { tag: 'over' };
    // What is being written is in the file before its end is told.
    void this.printed.finally(() => this.settle(end));
  }

  get isWaiting(): boolean {
    return this.state.tag === 'waiting';
  }

  get worker(): string | undefined {
    return this.state.tag === 'taken' ? this.state.worker : undefined;
  }

  get isToEnd(): boolean {
    return this.endAsked;
  }

  get claimed(): ClaimedAttempt {
    const { order, env, place } = this.attempt;
    return { order, env, folder: place.path };
  }

  take(worker: string): boolean {
    if (this.state.tag !== 'waiting') return false;
    this.state = { tag: 'taken', worker, heardAt: performance.now() };
    return true;
  }

  /** Who took it never heard of it. */
  putBack(): void {
    if (this.state.tag === 'taken') this.state = { tag: 'waiting', since: performance.now() };
    if (this.endAsked) this.turnBack({ tag: 'failed', reason: ENDED_BEFORE_START });
  }

  /** Who took it hears of it now. */
  begin(): void {
    this.launch({ tag: 'started', running: this });
  }

  /** @param stoodMs in which nobody could be heard */
  look(now: number, stoodMs: number): void {
    const { state } = this;
    if (state.tag === 'waiting') {
      state.since += stoodMs;
      if (now - state.since <= UNTAKEN_MS) return;
      const reason = `no worker of this node took it within ${UNTAKEN_MS / 1000} s`;
      this.turnBack({ tag: 'returned', reason });
    } else if (state.tag === 'taken') {
      state.heardAt += stoodMs;
      if (now - state.heardAt <= SILENCE_MS) return;
      const reason = `its worker ${state.worker} said nothing for ${SILENCE_MS / 1000} s`;
      this.conclude({ tag: 'lost', reason });
    }
  }

  /** False: it is nobody's, or not any more. */
  hear(): boolean {
    if (this.state.tag !== 'taken') return false;
    this.state.heardAt = performance.now();
    return true;
  }

  tell(progress: Progress): void {
    this.attempt.tell(progress);
  }

  async print(stream: 'stdout' | 'stderr', bytes: Uint8Array): Promise<void> {
    const path = this.attempt.place[stream];
    const written = this.printed.then(() => appendFile(path, bytes, { mode: 0o600 }));
    this.printed = written.catch(() => {});
    await written;
  }

  finish(end: WorkerEnd): void {
    if (end.tag === 'exited' && end.result !== undefined) this.attempt.note({ result: end.result });
    this.conclude(end.tag === 'exited' ? { tag: 'exited', code: end.code } : end);
  }
}
