/**
 * Processes of one module, warm: one that has ended an attempt in order takes the next one. There
 * is no queue here: a node's slots bound how many attempts it has at once, so each finds a process
 * or starts one. An idle process ends after a while.
 */
import { HandlerProcess, type Loaded, type ProcessOptions } from './handler-process.ts';

const IDLE_MS = 60_000;

export class ProcessPool {
  private readonly options: ProcessOptions;
  private readonly idle: { readonly process: HandlerProcess; readonly timer: NodeJS.Timeout }[] =
    [];
  private readonly all = new Set<HandlerProcess>();
  private isClosed = false;

  constructor(options: ProcessOptions) {
    this.options = options;
  }

  /** One that has loaded the module and is the caller's until it is given back or killed. */
  async take(): Promise<HandlerProcess | Extract<Loaded, { tag: 'broken' }>> {
    for (let warm = this.idle.pop(); warm; warm = this.idle.pop()) {
      clearTimeout(warm.timer);
      if (!warm.process.isOver) return warm.process;
    }
    if (this.isClosed)
      return { tag: 'broken', reason: 'its node stops, or the module has changed' };
    const process = new HandlerProcess(this.options);
    this.all.add(process);
    void process.gone.then(() => this.all.delete(process));
    const loaded = await process.loaded;
    return loaded.tag === 'broken' ? loaded : process;
  }

  giveBack(process: HandlerProcess): void {
    process.attend(() => {});
    if (this.isClosed) {
      process.kill();
      return;
    }
    const timer = setTimeout(() => process.kill(), IDLE_MS).unref();
    this.idle.push({ process, timer });
  }

  /** Idle ones end now, the others as soon as they are given back. */
  retire(): void {
    this.isClosed = true;
    for (const { process, timer } of this.idle.splice(0)) {
      clearTimeout(timer);
      process.kill();
    }
  }

  get isEmpty(): boolean {
    return this.all.size === 0;
  }

  /** Settles once none is left. */
  async close(): Promise<void> {
    this.retire();
    for (const process of this.all) process.kill();
    await Promise.all([...this.all].map((process) => process.gone));
  }
}
