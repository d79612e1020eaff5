/**
 * What a job has left lies on the disk of the node that ran it. That node asks the job's owner to
 * fetch a second copy, or, where it owns the job itself, another node that keeps the job's record:
 * so one of the two may go with its disk. In the background, one job after the other, and of no say
 * in how the job ended. What fails is tried again, later and later, at the next of these nodes; a
 * restart in between forgets it, and leaves the first copy.
 */
import type { JobId, NodeId } from '../base/ids.ts';
import type { MeshEvent } from '../core/effects.ts';
import { keepAt } from './keep-at.ts';
import type { Links } from './ports.ts';

export interface SecondCopiesParts {
  readonly self: NodeId;
  /** Nodes that keep its record. */
  readonly replicasOf: (job: JobId) => readonly NodeId[];
  readonly linked: () => readonly NodeId[];
  readonly links: Pick<Links, 'call'>;
  /** From the first try to the second; each later one waits twice as long, up to ten minutes. */
  readonly firstPauseMs?: number;
}

/** What is to be copied of one job. */
interface Left {
  readonly job: JobId;
  readonly owner: NodeId;
  readonly files: readonly string[];
  readonly tries: number;
}

/** Of jobs; beyond, the newest get no second copy. */
const MAX_WAITING = 1000;
const FIRST_PAUSE_MS = 1000;
const MAX_PAUSE_MS = 600_000;
/** Of one file, on a slow network; others wait for it. */
const FILE_DEADLINE_MS = 1_800_000;
/** Some hours in all. */
const MAX_TRIES = 30;

export class SecondCopies {
  private readonly parts: SecondCopiesParts;
  private waiting: Left[] = [];
  private readonly pausing = new Set<NodeJS.Timeout>();
  private readonly stopping = new AbortController();
  private isWorking = false;

  constructor(parts: SecondCopiesParts) {
    this.parts = parts;
  }

  /** Of all events; told to the node that ran an attempt alone. */
  onEvent(event: MeshEvent): void {
    if (event.kind !== 'attemptEnded') return;
    const { job, outcome } = event;
    const files = (outcome.receipt?.files ?? []).map(({ sha256 }) => sha256);
    if (files.length === 0 || this.waiting.length + this.pausing.size >= MAX_WAITING) return;
    this.add({ job, owner: outcome.fence.epoch.node, files, tries: 0 });
  }

  private add(left: Left): void {
    if (this.stopping.signal.aborted) return;
    this.waiting.push(left);
    if (!this.isWorking) void this.work();
  }

  stop(): void {
    this.stopping.abort();
    this.waiting = [];
    for (const timer of this.pausing) clearTimeout(timer);
    this.pausing.clear();
  }

  private async work(): Promise<void> {
    this.isWorking = true;
    for (let next = this.waiting.shift(); next; next = this.waiting.shift()) {
      const files = await this.copy(next);
      const tries = next.tries + 1;
      if (files.length > 0 && tries < MAX_TRIES) this.pause({ ...next, files, tries });
    }
    this.isWorking = false;
  }

  private pause(left: Left): void {
    if (this.stopping.signal.aborted) return;
    const { firstPauseMs = FIRST_PAUSE_MS } = this.parts;
    const waitMs = Math.min(MAX_PAUSE_MS, firstPauseMs * 2 ** (left.tries - 1));
    const timer = setTimeout(() => {
      this.pausing.delete(timer);
      this.add(left);
    }, waitMs).unref();
    this.pausing.add(timer);
  }

  /** @returns those of which there is no second copy yet */
  private async copy(left: Left): Promise<readonly string[]> {
    const keeper = this.keeperFor(left);
    if (!keeper) return left.files;
    const { links } = this.parts;
    const missing: string[] = [];
    for (const sha256 of left.files) {
      const signal = AbortSignal.any([this.stopping.signal, AbortSignal.timeout(FILE_DEADLINE_MS)]);
      await keepAt(keeper, sha256, { links, signal }).catch(() => missing.push(sha256));
    }
    return missing;
  }

  private keeperFor({ job, owner, tries }: Left): NodeId | undefined {
    const { self, replicasOf, linked } = this.parts;
    const likely = [...new Set([owner, ...replicasOf(job)])].filter((node) => node !== self);
    const reachable = linked();
    const keepers = likely.filter((node) => reachable.includes(node));
    return keepers[tries % keepers.length];
  }
}
