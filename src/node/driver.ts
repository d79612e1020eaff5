/**
 * The driver's turn is the heart of safety and of speed: take all inputs that are waiting, run the
 * core over them, write everything they changed in one transaction, have it flushed to the disk, and
 * only then let anything be seen: replies, messages, starts. Durable-before-visible holds by
 * construction, and a hundred concurrent submits share one fsync.
 *
 * The loop goes on while the disk works, but no turn begins: what comes in waits and is the next
 * turn, so that it shares a transaction as it shares the fsync. Only a disk that is slow is not waited
 * for: turns go on, or the mesh would take this node for dead; they are held until it is done.
 *
 * When the disk takes no writes nothing of the turn is released. Its writes and effects are held,
 * later turns are added to them, and the whole is tried again each second; meanwhile the core takes
 * no new jobs, and signs of life go on, because they promise nothing.
 */
import { messageOf } from '../base/errors.ts';
import { asJobId, asNodeId, asRequestId, type JobId, type RequestId } from '../base/ids.ts';
import type { Core } from '../core/core.ts';
import type { Effect, MeshEvent, Reply, Write } from '../core/effects.ts';
import type { Input } from '../core/inputs.ts';
import type { JobRecord } from '../core/job-record.ts';
import type { Message } from '../core/messages.ts';
import type { Clock, Executor, Links, Store } from './ports.ts';
import { Turn } from './turn.ts';

/** Inputs of one turn; the rest waits for the next. */
const MAX_INPUTS = 4096;
/** Turns in a row before the event loop gets its chance. */
const MAX_TURNS = 16;
const STORE_RETRY_MS = 1000;
/** From then on turns are held and not put off: signs of life, leases and stops must not wait. */
const SLOW_FLUSH_MS = 250;
/** Housekeeping that is put off at most; then it is written without waiting for a tick. */
const MAX_LATER = 1000;

/** When things run; the simulator brings its own. */
export interface Timers {
  /** Soon, after what is running now and before any timer. */
  soon(act: () => void): void;
  /** Returns the way to call it off. */
  after(ms: number, act: () => void): () => void;
}

export interface DriverParts {
  readonly core: Core;
  readonly store: Pick<Store, 'write' | 'flush' | 'readRecord'>;
  readonly links: Pick<Links, 'send' | 'dial' | 'hangUp'>;
  readonly executor: Pick<Executor, 'run' | 'end' | 'prolong' | 'release'>;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly onEvent: (event: MeshEvent) => void;
  readonly onDrained: () => void;
  /** The disk refused a write; called once until it works again. */
  readonly onStoreFailure: (failure: unknown) => void;
}

export class Driver {
  private readonly parts: DriverParts;
  private inputs: Input[] = [];
  /** What the disk has refused so far, or what came while it was slow. */
  private held: Turn | undefined;
  /** Written, and on its way to the disk. */
  private flushing: Turn | undefined;
  private isSlow = false;
  private isRefused = false;
  /** Writes on which nothing hangs: they go with the next commit, at a tick at the latest. */
  private later: Write[] = [];
  private isScheduled = false;
  private isStopped = false;
  private cancelTick: () => void = () => {};
  private cancelRetry: () => void = () => {};
  private cancelSlow: () => void = () => {};
  private isRunning = false;
  /** Who waits until the next turns are over. */
  private onTurns: (() => void)[] = [];
  private requests = 0;
  private readonly replies = new Map<RequestId, (reply: Reply) => void>();

  constructor(parts: DriverParts) {
    this.parts = parts;
  }

  /** The disk refuses writes now. */
  get isStoreFailing(): boolean {
    return this.isRefused;
  }

  /** The next turn begins when the disk is done. */
  private get isWaiting(): boolean {
    return this.flushing !== undefined && !this.isSlow;
  }

  push(...inputs: readonly Input[]): void {
    if (this.isStopped) return;
    for (const input of inputs) this.inputs.push(input);
    this.schedule();
  }

  /** Puts a command to the core; settles with its reply, which may have to wait for other nodes. */
  ask(toInput: (request: RequestId) => Input): Promise<Reply> {
    const request = asRequestId(`r${++this.requests}`);
    return new Promise((resolve) => {
      this.replies.set(request, resolve);
      this.push(toInput(request));
    });
  }

  /** Settles when all that has come in is handled and on the disk, as far as that takes it. */
  async settled(): Promise<void> {
    const isOpen = (): boolean => this.inputs.length > 0 || this.flushing !== undefined;
    while (isOpen() && !this.isRefused && !this.isStopped)
      await new Promise<void>((resolve) => this.onTurns.push(resolve));
  }

  /** Nothing happens any more; effects that are held are lost, as they would be in a crash. */
  stop(): void {
    this.isStopped = true;
    this.cancelTick();
    this.cancelRetry();
    this.cancelSlow();
    this.inputs = [];
  }

  private schedule(): void {
    if (this.isScheduled || this.isWaiting) return;
    this.isScheduled = true;
    this.parts.timers.soon(() => {
      this.isScheduled = false;
      this.runTurns();
    });
  }

  private runTurns(): void {
    this.isRunning = true;
    // With inputs without a pause its timer, which is set anew after each run, never fires.
    if (this.isTickDue()) this.inputs.push({ kind: 'tick' });
    for (let i = 0; i < MAX_TURNS && this.inputs.length > 0; i++) {
      if (this.isStopped || this.isWaiting) break;
      this.turn(this.takeInputs());
    }
    this.isRunning = false;
    for (const resolve of this.onTurns.splice(0)) resolve();
    if (this.isStopped) return;
    if (this.inputs.length > 0) this.schedule();
    if (!this.isWaiting) this.armTick();
  }

  private isTickDue(): boolean {
    const { core, clock } = this.parts;
    return !this.isWaiting && core.nextWakeAt() <= clock.now().mono;
  }

  private armTick(): void {
    const { core, clock, timers } = this.parts;
    this.cancelTick();
    const delayMs = Math.max(0, core.nextWakeAt() - clock.now().mono);
    this.cancelTick = timers.after(delayMs, () => this.schedule());
  }

  // -------------------------------------------------------------- one turn

  private takeInputs(): readonly Input[] {
    const inputs =
      this.inputs.length > MAX_INPUTS ? this.inputs.splice(0, MAX_INPUTS) : this.inputs;
    if (inputs === this.inputs) this.inputs = [];
    return inputs;
  }

  private turn(inputs: readonly Input[]): void {
    const turn = new Turn();
    const now = this.parts.clock.now();
    for (const input of inputs) {
      if (input.kind === 'report' && input.report.kind === 'ended') turn.ended.push(input.report);
      for (const effect of this.parts.core.handle(input, now)) this.sort(effect, turn);
    }
    const isDue = inputs.some((input) => input.kind === 'tick') || this.later.length >= MAX_LATER;
    if (turn.writes.length > 0 || isDue)
      for (const write of this.later.splice(0)) turn.persist(write);
    if (this.held || this.flushing) this.hold(turn);
    else this.commit(turn);
  }

  /** A node that leaves does not wait for a disk that may never work again. */
  private hold(turn: Turn): void {
    if (this.isRefused && turn.takeDrained()) this.parts.onDrained();
    if (this.held) this.held.append(turn);
    else this.held = turn;
  }

  /**
   * Does at once what promises nothing, and the rest after the commit. A stop must not wait: the
   * end of a lease holds with a full disk too. A start need not: the core asks for it only when
   * its fence has been committed, and held back it could come after its own lease.
   */
  private sort(effect: Effect, turn: Turn): void {
    switch (effect.kind) {
      case 'persist':
        if (isHousekeeping(effect.write)) this.later.push(effect.write);
        else turn.persist(effect.write);
        return;
      case 'signal':
        this.parts.links.send(effect.to, [effect.message]);
        return;
      case 'dial':
        this.parts.links.dial(effect.node, effect.host, effect.port);
        return;
      case 'hangUp':
        this.parts.links.hangUp(effect.node, effect.reason);
        return;
      case 'start':
        this.parts.executor.run(effect.attempt);
        return;
      case 'stop':
        this.parts.executor.end(effect.job, effect.fence, effect.graceMs);
        return;
      case 'prolong':
        this.parts.executor.prolong(effect.job, effect.fence, effect.lease);
        return;
      case 'load':
        this.push({ kind: 'stored', job: effect.job, record: this.read(effect.job) });
        return;
      case 'withdraw':
        turn.withdraw(effect.job);
        this.held?.withdraw(effect.job);
        return;
      case 'reply':
        if (isRefusal(effect.reply)) this.settle(effect.request, effect.reply);
        else turn.effects.push(effect);
        return;
      default:
        turn.effects.push(effect);
    }
  }

  private commit(turn: Turn): void {
    if (turn.writes.length === 0) {
      this.perform(turn);
      return;
    }
    try {
      this.parts.store.write(turn.writes);
    } catch (failure) {
      this.isRefused = true;
      this.hold(turn);
      this.parts.onStoreFailure(failure);
      this.inputs.push({ kind: 'storeChanged', isWorking: false });
      this.armRetry();
      return;
    }
    this.flush(turn);
  }

  private flush(turn: Turn): void {
    this.flushing = turn;
    if (turn.writes.every(isHousekeeping)) this.onFlushed(turn);
    else this.parts.store.flush((failure) => this.onFlushed(turn, failure));
    if (!this.flushing) return;
    this.cancelTick();
    this.cancelSlow = this.parts.timers.after(SLOW_FLUSH_MS, () => {
      this.isSlow = true;
      this.schedule();
    });
  }

  private onFlushed(turn: Turn, failure?: Error): void {
    if (this.isStopped) return;
    this.cancelSlow();
    this.flushing = undefined;
    this.isSlow = false;
    if (failure) {
      // What was seen of the disk until now may not be there: only another start can tell.
      this.stop();
      throw failure;
    }
    this.perform(turn);
    // By itself: its replies need not wait for what has come in meanwhile to be written.
    this.turn([{ kind: 'committed', writes: turn.writes }]);
    const { held } = this;
    if (held && !this.isRefused) {
      this.held = undefined;
      this.commit(held);
    }
    // Not at once: what the loop is about to hear shares the next turn.
    if (!this.isRunning) this.schedule();
  }

  private armRetry(): void {
    this.cancelRetry = this.parts.timers.after(STORE_RETRY_MS, () => this.retry());
  }

  private retry(): void {
    const turn = this.held;
    if (!turn || this.isStopped) return;
    try {
      this.parts.store.write(turn.writes.length > 0 ? turn.writes : PROBE);
    } catch {
      // Told once, when it began; it still fails.
      this.armRetry();
      return;
    }
    this.held = undefined;
    this.isRefused = false;
    this.inputs.push({ kind: 'storeChanged', isWorking: true });
    this.flush(turn);
    this.schedule();
  }

  // -------------------------------------------------------------- effects

  private perform(turn: Turn): void {
    const outbound = new Map<Parameters<Links['send']>[0], Message[]>();
    for (const effect of turn.effects) {
      if (effect.kind !== 'send') {
        this.performOne(effect);
        continue;
      }
      const messages = outbound.get(effect.to);
      if (messages) messages.push(effect.message);
      else outbound.set(effect.to, [effect.message]);
    }
    for (const [to, messages] of outbound) this.parts.links.send(to, messages);
    for (const { job, fence } of turn.ended) this.parts.executor.release(job, fence);
  }

  private performOne(effect: Effect): void {
    switch (effect.kind) {
      case 'reply':
        this.settle(effect.request, effect.reply);
        return;
      case 'event':
        this.parts.onEvent(effect.event);
        return;
      case 'drained':
        this.parts.onDrained();
        return;
    }
  }

  /** A record that cannot be read is named and not trusted: to the core it is not there. */
  private read(job: JobId): JobRecord | undefined {
    try {
      return this.parts.store.readRecord(job);
    } catch (failure) {
      const note = `the record of job ${job} cannot be read: ${messageOf(failure)}`;
      this.parts.onEvent({ kind: 'anomaly', note });
      return undefined;
    }
  }

  private settle(request: RequestId, reply: Reply): void {
    this.replies.get(request)?.(reply);
    this.replies.delete(request);
  }
}

/**
 * Rows that are no longer needed, and final states that are known to be decided. Lost in a crash,
 * an outcome is told once more and a final state agreed on once more: not worth an fsync of its own.
 */
const isHousekeeping = (write: Write): boolean =>
  write.kind === 'acknowledged' || write.kind === 'forgotten' || write.kind === 'settled';

/**
 * When all that was refused has been withdrawn, only a write can tell whether the disk works
 * again; this one leaves nothing behind.
 */
const PROBE: readonly Write[] = [
  {
    kind: 'forgotten',
    job: asJobId('probe'),
    fence: { epoch: { counter: 0, node: asNodeId('node-probe') }, attempt: 0 },
  },
];

/** Such an answer says only that nothing was taken, so it need not wait for a disk that fails. */
const isRefusal = (reply: Reply): boolean =>
  reply.kind === 'notAccepting' || reply.kind === 'queueFull' || reply.kind === 'noQuorum';

export const realTimers: Timers = {
  soon: (act) => void setImmediate(act),
  after(ms, act) {
    const timer = setTimeout(act, ms);
    return () => clearTimeout(timer);
  },
};
