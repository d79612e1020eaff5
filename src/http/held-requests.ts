/**
 * Requests that are held open until something happens, as followed outputs and waits for a job:
 * bounded in number, ended when their client goes, and all of them when the server stops.
 */
import type { ServerResponse } from 'node:http';
import { MeshError } from '../base/errors.ts';

export class HeldRequests {
  private readonly limit: number;
  private readonly open = new Set<AbortController>();
  private isStopped = false;

  constructor(limit: number) {
    this.limit = limit;
  }

  /** Aborted when the answer is over, however it ended. @throws MeshError BUSY */
  hold(outgoing: ServerResponse): AbortSignal {
    if (this.isStopped || this.open.size >= this.limit) {
      throw new MeshError(
        'BUSY',
        `${this.open.size} requests are held open, and this node keeps no more. Try again soon.`,
      );
    }
    const controller = new AbortController();
    this.open.add(controller);
    outgoing.once('close', () => {
      this.open.delete(controller);
      controller.abort();
    });
    return controller.signal;
  }

  stop(): void {
    this.isStopped = true;
    for (const controller of this.open) controller.abort();
  }
}
