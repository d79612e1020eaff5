/**
 * Checks of parameters against the schemas of a module, in a process of the pool that is kept for
 * them, so that no submit waits for an attempt to end. A schema that takes too long is given up:
 * the parameters are checked again where the job runs.
 */
import type { HandlerProcess } from './handler-process.ts';
import type { ProcessPool } from './process-pool.ts';

const CHECK_DEADLINE_MS = 2000;

export class Checks {
  private readonly pool: ProcessPool;
  private readonly waiting = new Map<number, (problem: string | undefined) => void>();
  private process: Promise<HandlerProcess | undefined> | undefined;
  private last = 0;

  constructor(pool: ProcessPool) {
    this.pool = pool;
  }

  /** In order; undefined: as the task demands, or it could not be found out. */
  async check(task: string, params: readonly string[]): Promise<readonly (string | undefined)[]> {
    this.process ??= this.begin();
    const process = await this.process;
    if (!process) return params.map(() => undefined);
    const ids = params.map(() => ++this.last);
    const answers = ids.map(
      (id) => new Promise<string | undefined>((resolve) => this.waiting.set(id, resolve)),
    );
    for (const [i, id] of ids.entries())
      process.send({ kind: 'check', id, task, params: params[i] ?? '{}' });
    const late = setTimeout(() => process.kill(), CHECK_DEADLINE_MS);
    try {
      return await Promise.all(answers);
    } finally {
      clearTimeout(late);
    }
  }

  private async begin(): Promise<HandlerProcess | undefined> {
    const process = await this.pool.take();
    if ('tag' in process) {
      this.process = undefined;
      return undefined;
    }
    process.attend((report) => {
      if (report.kind === 'checked') this.answer(report.id, report.problem);
    });
    void process.ended.then(() => {
      this.process = undefined;
      for (const id of [...this.waiting.keys()]) this.answer(id, undefined);
    });
    return process;
  }

  private answer(id: number, problem: string | undefined): void {
    this.waiting.get(id)?.(problem);
    this.waiting.delete(id);
  }

  close(): void {
    void this.process?.then((process) => process?.kill());
  }
}
