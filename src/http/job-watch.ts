/**
 * Waits for a job to end on behalf of clients, so that none has to ask again and again. A change of
 * a job that is owned here is told by the node; of one owned elsewhere nothing is told here, so it
 * is looked at from time to time as well.
 */
import { isFinalStatus } from '../api/job-json.ts';
import type { JobId } from '../base/ids.ts';
import type { LiveRecord } from '../core/calls.ts';
import type { MeshService } from '../node/service.ts';

const FIRST_LOOK_AGAIN_MS = 20;
const MAX_LOOK_AGAIN_MS = 250;

export class JobWatch {
  private readonly service: MeshService;
  private readonly waiting = new Map<JobId, Set<() => void>>();
  private unsubscribe: (() => void) | undefined;

  constructor(service: MeshService) {
    this.service = service;
  }

  /** One subscription for all: an event must not cost one call per waiting client. */
  start(): void {
    this.unsubscribe ??= this.service.subscribe((event) => {
      if (event.kind !== 'jobChanged') return;
      for (const wake of this.waiting.get(event.job) ?? []) wake();
    });
  }

  stop(): void {
    this.unsubscribe?.();
    this.unsubscribe = undefined;
  }

  /**
   * The job once it is final, or as it is when the time is over.
   * @throws MeshError like getJob
   */
  async untilFinal(job: JobId, waitMs: number, signal: AbortSignal): Promise<LiveRecord> {
    const deadline = performance.now() + waitMs;
    let lookAgainMs = FIRST_LOOK_AGAIN_MS;
    let wakeNow = (): void => undefined;
    signal.addEventListener('abort', () => wakeNow(), { once: true });
    for (;;) {
      const { promise, resolve: wake } = Promise.withResolvers<void>();
      // Listened to before the look: what changes in between is not missed.
      this.listen(job, wake);
      wakeNow = wake;
      const timer = setTimeout(
        wake,
        Math.max(0, Math.min(lookAgainMs, deadline - performance.now())),
      );
      try {
        const live = await this.service.getJob(job);
        if (isFinalStatus(live.status) || signal.aborted) return live;
        if (performance.now() >= deadline) return live;
        await promise;
        lookAgainMs = Math.min(MAX_LOOK_AGAIN_MS, lookAgainMs * 2);
      } finally {
        clearTimeout(timer);
        this.unlisten(job, wake);
      }
    }
  }

  private listen(job: JobId, wake: () => void): void {
    const wakers = this.waiting.get(job) ?? new Set();
    this.waiting.set(job, wakers.add(wake));
  }

  private unlisten(job: JobId, wake: () => void): void {
    const wakers = this.waiting.get(job);
    wakers?.delete(wake);
    if (wakers?.size === 0) this.waiting.delete(job);
  }
}
