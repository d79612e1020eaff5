/**
 * What a job has left lies on the disk of the node that ran it. That node asks the job's owner to
 * fetch a second copy, or, where it owns the job itself, another node that keeps the job's record:
 * so one of the two may go with its disk. In the background, one job after the other, and of no say
 * in how the job ended: what fails, or is cut short by a death, leaves the first copy.
 */
import type { JobId, NodeId } from '../base/ids.ts';
import type { MeshEvent } from '../core/effects.ts';
import type { AttemptOutcome } from '../core/job.ts';
import type { Links } from './ports.ts';

export interface SecondCopiesParts {
  readonly self: NodeId;
  /** Nodes that keep its record. */
  readonly replicasOf: (job: JobId) => readonly NodeId[];
  readonly linked: () => readonly NodeId[];
  readonly links: Pick<Links, 'call'>;
}

interface Ended {
  readonly job: JobId;
  readonly outcome: AttemptOutcome;
}

/** Of jobs; beyond, the newest get no second copy. */
const MAX_WAITING = 1000;
const ASK_DEADLINE_MS = 10_000;

export class SecondCopies {
  private readonly parts: SecondCopiesParts;
  private waiting: Ended[] = [];
  private readonly stopping = new AbortController();
  private isWorking = false;

  constructor(parts: SecondCopiesParts) {
    this.parts = parts;
  }

  /** Of all events; told to the node that ran an attempt alone. */
  onEvent(event: MeshEvent): void {
    if (event.kind !== 'attemptEnded' || !event.outcome.receipt?.files) return;
    if (this.stopping.signal.aborted || this.waiting.length >= MAX_WAITING) return;
    this.waiting.push(event);
    if (!this.isWorking) void this.work();
  }

  stop(): void {
    this.stopping.abort();
    this.waiting = [];
  }

  private async work(): Promise<void> {
    this.isWorking = true;
    for (let next = this.waiting.shift(); next; next = this.waiting.shift()) await this.copy(next);
    this.isWorking = false;
  }

  private async copy(ended: Ended): Promise<void> {
    const keeper = this.keeperFor(ended);
    if (!keeper) return;
    const { signal } = this.stopping;
    for (const { sha256 } of ended.outcome.receipt?.files ?? []) {
      try {
        const options = { deadlineMs: ASK_DEADLINE_MS, signal };
        await this.parts.links.call(keeper, { kind: 'keepBlob', sha256 }, options);
      } catch {
        // The first copy is there, and whoever reads it finds it.
      }
    }
  }

  private keeperFor({ job, outcome }: Ended): NodeId | undefined {
    const { self, replicasOf, linked } = this.parts;
    const owner = outcome.fence.epoch.node;
    const likely = owner === self ? replicasOf(job) : [owner, ...replicasOf(job)];
    const reachable = linked();
    return likely.find((node) => reachable.includes(node));
  }
}
