/**
 * The machine below a simulated node: the attempts that run there, and the supervisor that outlives
 * the node. A lease is enforced whatever the node does, SIGTERM a second before its end and SIGKILL
 * at its end; an attempt of a dead node goes on until then and is handed to the next life. Without
 * a supervisor a guard ends everything within a second of the node's death.
 */
import type { WallMs } from '../../src/base/instant.ts';
import type { Random } from '../../src/base/random.ts';
import type { AttemptOrder, SupervisedLease } from '../../src/core/effects.ts';
import type { AttemptReport, Survivor } from '../../src/core/inputs.ts';
import { type AttemptEnd, NO_OUTPUT } from '../../src/core/job.ts';
import { attemptKey } from '../../src/core/record.ts';
import type { Checker } from './checker.ts';
import type { EventQueue } from './event-queue.ts';

export interface HostParts {
  readonly events: EventQueue;
  readonly random: Random;
  readonly checker: Checker;
  readonly isSupervised: boolean;
  /** Of its clock. */
  readonly rate: number;
  readonly wall: () => WallMs;
  /** Goes to the node, if it is up. */
  readonly report: (report: AttemptReport) => void;
}

interface Attempt {
  readonly order: AttemptOrder;
  readonly startedAt: WallMs;
  lease: SupervisedLease;
  /** In virtual time; undefined: nobody ends it. */
  deadlineAt: number | undefined;
  isOver: boolean;
  /** It was ended for its lease or with its node, not by its own doing. */
  isCutShort: boolean;
  /** Told again to each life, until the outcome is on the node's disk. */
  unsaved: AttemptReport | undefined;
}

const GUARD_MS = 1000;
const GRACE_MS = 1000;

export class Host {
  private readonly parts: HostParts;
  private readonly attempts = new Map<string, Attempt>();
  private isNodeDead = false;
  private standsUntil = 0;
  /** Its processes end by SIGKILL only. */
  ignoresTerm = false;

  constructor(parts: HostParts) {
    this.parts = parts;
  }

  get running(): number {
    let count = 0;
    for (const attempt of this.attempts.values()) if (!attempt.isOver) count++;
    return count;
  }

  orders(): AttemptOrder[] {
    return [...this.attempts.values()].filter(({ isOver }) => !isOver).map(({ order }) => order);
  }

  // -------------------------------------------------------------- orders of the node

  /** Commands of the simulated kind: `DURATION_MS EXIT_CODE`. */
  run(order: AttemptOrder): void {
    const { events, random, wall } = this.parts;
    const startedAt = wall();
    const attempt: Attempt = {
      order,
      startedAt,
      lease: order.lease,
      deadlineAt: undefined,
      isOver: false,
      isCutShort: false,
      unsaved: undefined,
    };
    const { job, fence } = order;
    this.attempts.set(attemptKey(job, fence), attempt);
    this.setLease(attempt, order.lease);
    const [duration = 0, code = 0] = order.grant.spec.command.split(' ').map(Number);
    events.after(random() * 5, () => {
      if (!attempt.isOver) this.parts.report({ kind: 'running', job, fence, startedAt });
    });
    events.after(5 + duration, () =>
      this.whenMoving(() => this.ended(attempt, { tag: 'exited', code })),
    );
  }

  end(key: string, graceMs: number): void {
    const attempt = this.attempts.get(key);
    if (attempt) this.terminate(attempt, graceMs);
  }

  prolong(key: string, lease: SupervisedLease): void {
    const attempt = this.attempts.get(key);
    if (attempt && !attempt.isOver) this.setLease(attempt, lease);
  }

  private terminate(attempt: Attempt, graceMs: number): void {
    const { events, random } = this.parts;
    this.parts.checker.onStopped(attempt.order);
    // One in three ignores SIGTERM.
    const isStubborn = random() < 0.33 || this.ignoresTerm;
    const delay = isStubborn ? graceMs : random() * Math.min(graceMs, 100);
    events.after(delay, () =>
      this.whenMoving(() => this.ended(attempt, { tag: 'signalled', signal: 'SIGTERM' })),
    );
  }

  // -------------------------------------------------------------- the supervisor

  private setLease(attempt: Attempt, lease: SupervisedLease): void {
    const { events, isSupervised, rate } = this.parts;
    attempt.lease = lease;
    attempt.deadlineAt = undefined;
    if (!isSupervised) return;
    if (lease.tag === 'leased') this.setDeadline(attempt, events.now + lease.leftMs / rate);
    else if (lease.tag === 'ownNode' && this.isNodeDead)
      this.setDeadline(attempt, events.now + lease.afterDeathMs / rate);
  }

  private setDeadline(attempt: Attempt, at: number): void {
    const { events } = this.parts;
    attempt.deadlineAt = at;
    events.after(at - GRACE_MS - events.now, () => this.checkDeadline(attempt, at));
    events.after(at - events.now, () => this.checkDeadline(attempt, at));
  }

  /** Called at the end of the grace and at the deadline; a prolonged one has another deadline. */
  private checkDeadline(attempt: Attempt, at: number): void {
    if (attempt.isOver || attempt.deadlineAt !== at) return;
    this.whenMoving(() => {
      if (attempt.isOver || attempt.deadlineAt !== at) return;
      attempt.isCutShort = true;
      const leftMs = at - this.parts.events.now;
      if (leftMs > 0) this.terminate(attempt, leftMs);
      else this.ended(attempt, { tag: 'signalled', signal: 'SIGKILL' });
    });
  }

  // -------------------------------------------------------------- the node comes and goes

  onNodeDead(): void {
    const { events, random, checker, isSupervised } = this.parts;
    this.isNodeDead = true;
    for (const [key, attempt] of this.attempts) {
      // What had been told to the node may be told to nobody else.
      const isForgotten = attempt.isOver && random() < 0.5;
      if (isForgotten) this.attempts.delete(key);
      else if (isSupervised) {
        if (attempt.lease.tag === 'ownNode') this.setLease(attempt, attempt.lease);
        continue;
      }
      checker.onStopped(attempt.order);
      events.after(random() * GUARD_MS, () => this.finish(attempt));
    }
  }

  /** What the next life finds; those that ended meanwhile are reported by `tell`. */
  onNodeStart(): Survivor[] {
    const { events, rate, isSupervised } = this.parts;
    this.isNodeDead = false;
    if (!isSupervised) this.endAll();
    return [...this.attempts.values()].map((attempt) => {
      const { order, startedAt, deadlineAt } = attempt;
      const leaseLeftMs =
        deadlineAt === undefined ? undefined : Math.max(0, (deadlineAt - events.now) * rate);
      if (attempt.lease.tag === 'ownNode') attempt.deadlineAt = undefined;
      return { job: order.job, fence: order.fence, startedAt, leaseLeftMs };
    });
  }

  tell(): void {
    for (const { unsaved } of this.attempts.values()) if (unsaved) this.parts.report(unsaved);
  }

  /** The node has this outcome on its disk. */
  onSaved(key: string): void {
    this.attempts.delete(key);
  }

  /** The whole machine dies, or the node ends in order and takes its attempts with it. */
  endAll(): void {
    for (const attempt of this.attempts.values()) {
      this.parts.checker.onStopped(attempt.order);
      this.finish(attempt);
    }
    this.attempts.clear();
  }

  /** The machine stands still, its processes with it. */
  suspend(until: number): void {
    this.standsUntil = Math.max(this.standsUntil, until);
    for (const order of this.orders()) this.parts.checker.onSuspended(order);
  }

  /** It goes on, or a later life of the machine does. */
  resume(): void {
    this.standsUntil = 0;
  }

  private whenMoving(act: () => void): void {
    const { events } = this.parts;
    if (events.now < this.standsUntil)
      events.after(this.standsUntil - events.now, () => this.whenMoving(act));
    else act();
  }

  // -------------------------------------------------------------- ends

  private ended(attempt: Attempt, end: AttemptEnd): void {
    if (attempt.isOver) return;
    const { job, fence } = attempt.order;
    this.finish(attempt);
    const report: AttemptReport = {
      kind: 'ended',
      job,
      fence,
      end: attempt.isCutShort ? CUT_SHORT : end,
      startedAt: attempt.startedAt,
      finishedAt: this.parts.wall(),
      stdout: NO_OUTPUT,
      stderr: NO_OUTPUT,
    };
    attempt.unsaved = report;
    this.parts.report(report);
  }

  private finish(attempt: Attempt): void {
    if (attempt.isOver) return;
    attempt.isOver = true;
    this.parts.checker.onEnd(attempt.order);
  }
}

const CUT_SHORT: AttemptEnd = { tag: 'lost', reason: 'its lease ran out' };
