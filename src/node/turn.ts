import type { JobId } from '../base/ids.ts';
import type { Effect, Write } from '../core/effects.ts';
import type { AttemptRef, Message } from '../core/messages.ts';

/**
 * Messages and events that wait for a disk are kept up to so many. Beyond that they are dropped:
 * whoever needs an answer asks again, and nothing is decided on an event.
 */
const MAX_HELD = 10_000;

/** What the inputs of one turn of the driver want written, and done after that. */
export class Turn {
  effects: Effect[] = [];
  /** Attempts whose outcomes are among the writes. */
  readonly ended: AttemptRef[] = [];
  private kept: Write[] = [];
  private readonly withdrawn = new Set<JobId>();

  /** In the order of the core; asked for before the effects are done. */
  get writes(): readonly Write[] {
    this.dropWithdrawn();
    return this.kept;
  }

  persist(write: Write): void {
    // What is written of a withdrawn job from now on is of another job with its id.
    this.dropWithdrawn();
    this.kept.push(write);
  }

  /** The job is never written; all at once, because a full disk refuses thousands in one turn. */
  withdraw(job: JobId): void {
    this.withdrawn.add(job);
  }

  /** Takes the end of a drain out of the effects; false: it was not there. */
  takeDrained(): boolean {
    const rest = this.effects.filter((effect) => effect.kind !== 'drained');
    const isThere = rest.length < this.effects.length;
    this.effects = rest;
    return isThere;
  }

  /** Adds a later turn to this one, which the disk has refused. */
  append(later: Turn): void {
    for (const write of later.writes) this.persist(write);
    this.ended.push(...later.ended);
    for (const effect of later.effects) {
      const isLossy = effect.kind === 'send' || effect.kind === 'event';
      if (!isLossy || this.effects.length < MAX_HELD) this.effects.push(effect);
    }
  }

  private dropWithdrawn(): void {
    const { withdrawn } = this;
    if (withdrawn.size === 0) return;
    const isKept = (job: JobId | undefined): boolean => job === undefined || !withdrawn.has(job);
    this.kept = this.kept.filter((write) => isKept(jobOfWrite(write)));
    this.effects = this.effects.filter(
      (effect) => effect.kind !== 'send' || isKept(jobOfMessage(effect.message)),
    );
    withdrawn.clear();
  }
}

/** Of writes and messages that may be about a job whose first value was refused. */
const jobOfWrite = (write: Write): JobId | undefined => {
  if (write.kind === 'record') return write.header.job;
  return write.kind === 'started' ? write.job : undefined;
};

const jobOfMessage = (message: Message): JobId | undefined => {
  if (message.kind === 'accept') return message.record.header.job;
  return message.kind === 'grant' ? message.grant.job : undefined;
};
