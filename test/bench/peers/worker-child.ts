/** A process in which a peer's jobs are done, as they are in practice: apart from who submits. */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { stop } from './server.ts';

const PROGRAM = new URL('worker-process.ts', import.meta.url).pathname;

export interface Counter {
  one(): void;
}

/** What a peer's module exports for its worker. */
// biome-ignore lint/suspicious/noExplicitAny: each peer's worker has options of its own
export type Work = (options: any, counter: Counter) => Promise<void>;

export class WorkerChild {
  private readonly child: ChildProcess;

  private constructor(child: ChildProcess) {
    this.child = child;
  }

  /** @param peer name of the module beside this one */
  static async start(peer: string, options: unknown): Promise<WorkerChild> {
    const child = fork(PROGRAM, [peer, JSON.stringify(options)], { execArgv: ['--no-warnings'] });
    const ended = once(child, 'exit').then(() => {
      throw new Error(`the worker of ${peer} ended as it started`);
    });
    await Promise.race([once(child, 'message'), ended]);
    return new WorkerChild(child);
  }

  /** Settles once it has done so many since it was started. */
  async hasDone(jobs: number): Promise<void> {
    const answered = once(this.child, 'message');
    this.child.send({ wanted: jobs });
    await answered;
  }

  stop(): Promise<void> {
    return stop(this.child, 'SIGKILL');
  }
}
