/**
 * Checks of parameters against the schemas of a module, in a process of the pool that is kept for
 * them, so that no submit waits for an attempt to end. A schema that takes too long is given up:
 * the parameters are checked again where the job runs. All that come in one request go in one
 * message.
 */
import type { HandlerProcess } from './handler-process.ts';
import type { ProcessPool } from './process-pool.ts';

const CHECK_DEADLINE_MS = 2000;

/** In order; those that are not there are not known. */
type Problems = readonly (string | null)[];

export class Checks {
  private readonly pool: ProcessPool;
  private readonly waiting = new Map<number, (problems: Problems) => void>();
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
    const id = ++this.last;
    const answer = new Promise<Problems>((resolve) => this.waiting.set(id, resolve));
    process.send({ kind: 'check', id, task, params });
    const late = setTimeout(() => process.kill(), CHECK_DEADLINE_MS);
    const problems = await answer;
    clearTimeout(late);
    return params.map((_, i) => problems[i] ?? undefined);
  }

  private async begin(): Promise<HandlerProcess | undefined> {
    const process = await this.pool.take();
    if ('tag' in process) {
      this.process = undefined;
      return undefined;
    }
    process.attend((report) => {
      if (report.kind === 'checked') this.answer(report.id, report.problems);
    });
    void process.ended.then(() => {
      this.process = undefined;
      for (const id of [...this.waiting.keys()]) this.answer(id, []);
    });
    return process;
  }

  private answer(id: number, problems: Problems): void {
    this.waiting.get(id)?.(problems);
    this.waiting.delete(id);
  }

  close(): void {
    void this.process?.then((process) => process?.kill());
  }
}
