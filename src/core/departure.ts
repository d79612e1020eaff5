/**
 * How a node goes. New work is refused from the first moment on, and its peers are told why.
 *
 * | way     | what runs here                   | the jobs it owns                | records it keeps    |
 * |---------|----------------------------------|---------------------------------|---------------------|
 * | stop    | may end until the deadline, then | handed over once nothing moves  | stay                |
 * |         | given back                       |                                 |                     |
 * | restart | goes on, for the next life       | handed over at once             | stay                |
 * | leave   | as with stop                     | handed over at once             | move to other nodes |
 *
 * Nothing is given to anybody from the first moment on, so a job that only waits is handed over with
 * the word that nothing runs of it: its heir need not wait for leases.
 *
 * A job is handed over by asking the first replica that lives to take it over; what is left when
 * the time is over waits for the next start, or is taken over like a dead node's.
 */

import type { NodeId } from '../base/ids.ts';
import { afterMono, type MonoMs } from '../base/instant.ts';
import type { Dispatch } from './dispatch.ts';
import type { Execution } from './execution.ts';
import type { Leaving } from './inputs.ts';
import type { Intake } from './intake.ts';
import type { Membership } from './membership.ts';
import type { Outgoing } from './outgoing.ts';
import type { OwnedJob, Ownership } from './ownership.ts';
import { replicasOf } from './quorum.ts';
import type { Replicas } from './replicas.ts';

export interface DepartureParts {
  readonly out: Outgoing;
  readonly intake: Intake;
  readonly dispatch: Dispatch;
  readonly execution: Execution;
  readonly membership: Membership;
  readonly ownership: Ownership;
  readonly replicas: Replicas;
}

/** From giving back to leaving: time for the outcomes to be acknowledged, and for jobs to go over. */
const LAST_WORDS_MS = 3000;
const HAND_OVER_AGAIN_MS = 1000;
/** Jobs handed over in a tick: more than their heirs can take up meanwhile. */
const MAX_HANDED_OVER = 1000;

interface Plan {
  way: Leaving;
  deadline: MonoMs;
  hasGivenBack: boolean;
  /** When the last round through all jobs was begun. */
  handedOverAt: MonoMs | undefined;
  /** Those that the round has not come to. */
  toHandOver: IterableIterator<OwnedJob> | undefined;
  isDone: boolean;
}

export class Departure {
  private readonly parts: DepartureParts;
  private plan: Plan | undefined;

  constructor(parts: DepartureParts) {
    this.parts = parts;
  }

  begin(deadlineMs: number, way: Leaving): void {
    const { out, intake, dispatch, execution, membership } = this.parts;
    intake.isDraining = true;
    execution.slots.isDraining = true;
    execution.slots.isLeaving = way === 'leave';
    dispatch.isPaused = true;
    this.plan = {
      way,
      deadline: afterMono(out.now.mono, deadlineMs),
      hasGivenBack: this.plan?.hasGivenBack ?? false,
      handedOverAt: undefined,
      toHandOver: undefined,
      isDone: this.plan?.isDone ?? false,
    };
    membership.pingAll();
    this.onTick();
  }

  onTick(): void {
    const { plan } = this;
    if (!plan || plan.isDone) return;
    const { out, execution } = this.parts;
    const { mono } = out.now;
    if (plan.way !== 'restart' && mono >= plan.deadline && !plan.hasGivenBack) {
      plan.hasGivenBack = true;
      execution.giveBackAll();
    }
    if (plan.way !== 'stop' || this.isQuiet()) this.handOver(plan);
    if (!this.isOver(plan) && mono < plan.deadline + LAST_WORDS_MS) return;
    plan.isDone = true;
    this.parts.membership.sayGoodbye(plan.way === 'restart');
    out.emit({ kind: 'drained' });
  }

  private isOver({ way }: Plan): boolean {
    const { ownership, replicas } = this.parts;
    if (this.canHandOver()) return false;
    if (way === 'restart') return true;
    if (!this.isQuiet()) return false;
    if (way === 'stop') return true;
    const isTaken = replicas.size === 0 || this.others().length === 0;
    return isTaken && ownership.movingCount === 0;
  }

  /** Nothing runs here, nobody waits for a word of this node. */
  private isQuiet(): boolean {
    const { execution, ownership } = this.parts;
    return (
      execution.running === 0 &&
      !execution.outbox.hasHearers((node) => this.mayHear(node)) &&
      (ownership.movingCount === 0 || this.plan?.way === 'leave')
    );
  }

  /** An owner that is dead gets the outcome when both are back; nobody waits for that. */
  private mayHear(node: NodeId): boolean {
    const state = this.parts.membership.stateOf(node);
    return state === 'alive' || state === 'suspect';
  }

  // -------------------------------------------------------------- handing over

  private handOver(plan: Plan): void {
    const { out, ownership } = this.parts;
    const { mono } = out.now;
    const others = new Set(this.others());
    if (others.size === 0) return;
    if (!plan.toHandOver) {
      if (plan.handedOverAt !== undefined && mono - plan.handedOverAt < HAND_OVER_AGAIN_MS) return;
      plan.handedOverAt = mono;
      plan.toHandOver = ownership.all();
    }
    for (let handed = 0; handed < MAX_HANDED_OVER; handed++) {
      const { value: owned, done } = plan.toHandOver.next();
      if (done) {
        plan.toHandOver = undefined;
        return;
      }
      const { job, birth, accepted } = owned.record.header;
      const heir = replicasOf(owned.record.header).find((node) => others.has(node));
      const idleVersion = isIdle(owned) ? accepted.version : undefined;
      if (heir)
        out.send(heir, { kind: 'handOver', job, birth, epoch: accepted.epoch, idleVersion });
    }
  }

  private canHandOver(): boolean {
    const others = new Set(this.others());
    // Alone, it would look at a million jobs in every tick.
    if (others.size === 0) return false;
    for (const { record } of this.parts.ownership.all())
      if (replicasOf(record.header).some((node) => others.has(node))) return true;
    return false;
  }

  /** Nodes that stay. */
  private others(): NodeId[] {
    return this.parts.membership
      .linked()
      .filter(({ state, load }) => state === 'alive' && !load.draining && !load.leaving)
      .map(({ facts }) => facts.node);
  }
}

/** It waits for a node, and no attempt of it can be under way: what was given is over. */
const isIdle = ({ stage, record }: OwnedJob): boolean =>
  record.job.state.tag === 'pending' && (stage.tag === 'queued' || stage.tag === 'offered');
