/**
 * A mesh in virtual time that a test moves step by step: the parts of the simulation without its
 * dice. The last node is where jobs are put in; it has no slots, so all it owns runs elsewhere.
 */
import assert from 'node:assert/strict';
import { asBirth, asJobId, type JobId } from '../../src/base/ids.ts';
import type { Reply } from '../../src/core/effects.ts';
import type { Submission } from '../../src/core/inputs.ts';
import type { FinalState, JobSpec } from '../../src/core/job.ts';
import { Checker } from './checker.ts';
import { EventQueue } from './event-queue.ts';
import { Network } from './network.ts';
import { SimNode } from './sim-node.ts';

export interface ScenarioOptions {
  readonly seed?: number;
  /** Of each executor node. */
  readonly slots: readonly number[];
  /** Of the owner, which is the last node. */
  readonly ownerSlots?: number;
  readonly killGraceMs?: number;
  /** True when not given: attempts outlive their node. */
  readonly isSupervised?: boolean;
}

/** Long enough for every lease, retry and redial. */
const QUIET_MS = 60_000;

export class Scenario {
  readonly events = new EventQueue();
  readonly checker: Checker;
  readonly executors: readonly SimNode[];
  readonly owner: SimNode;
  readonly network = new Network(this.events);
  readonly replies: Reply[] = [];
  private readonly nodes: SimNode[] = [];
  private serial = 0;

  constructor(options: ScenarioOptions) {
    const { events, network } = this;
    const checker = new Checker({
      nodes: () => network.nodes,
      now: () => events.now,
      network,
    });
    this.checker = checker;
    const { seed = 1, killGraceMs = 500, isSupervised = true } = options;
    const make = (slots: number): SimNode => {
      const index = this.nodes.length;
      // Clocks 4 % apart: the most that the leases allow for.
      const rate = index % 2 === 0 ? 0.98 : 1.02;
      const about = { index, seed, slots, taskTypes: ['shell'], rate, isSupervised, killGraceMs };
      const node = new SimNode({ ...about, events, network, checker });
      this.nodes.push(node);
      network.add(node);
      return node;
    };
    this.executors = options.slots.map(make);
    this.owner = make(options.ownerSlots ?? 0);
  }

  /** An operator says of a node that it will not return. */
  forget(node: SimNode): void {
    this.executor.ask(
      (request) => ({ kind: 'forget', request, node: node.id }),
      (reply) => void this.replies.push(reply),
    );
  }

  /** The first executor. */
  get executor(): SimNode {
    return this.executors[0] ?? assert.fail('there is no executor');
  }

  /** All nodes start and find each other. */
  async start(): Promise<void> {
    for (const node of this.nodes) node.start();
    await this.run(6000);
  }

  async run(ms: number): Promise<void> {
    const end = this.events.now + ms;
    while (this.events.now < end) {
      this.events.runUntil(Math.min(end, this.events.now + 50));
      await Promise.resolve();
    }
  }

  /** Time passes until this is so, at most a minute. */
  async until(isSo: () => boolean, what: string): Promise<void> {
    for (let steps = 0; !isSo(); steps++) {
      if (steps > 6000) assert.fail(`a minute went by without: ${what}`);
      this.events.runUntil(this.events.now + 10);
      await Promise.resolve();
    }
  }

  submit(durationMs: number, spec: Partial<JobSpec> = {}, code = 0): JobId {
    const job = asJobId(`job-${++this.serial}`);
    const submission: Submission = {
      job,
      birth: asBirth(`birth-${this.serial}`),
      spec: {
        taskType: 'shell',
        command: `${durationMs} ${code}`,
        params: '{}',
        run: '{}',
        env: {},
        timeoutMs: 600_000,
        priority: 5,
        needs: { labels: {}, capabilities: {} },
        delivery: 'at_least_once',
        onIsolation: 'stop',
        ...spec,
      },
      contentHash: 'same',
      isKeyed: false,
    };
    this.owner.ask(
      (request) => ({ kind: 'submit', request, submission }),
      (reply) => this.onReply(reply),
    );
    return job;
  }

  cancel(job: JobId): void {
    this.owner.ask(
      (request) => ({ kind: 'cancel', request, job }),
      (reply) => this.onReply(reply),
    );
  }

  private onReply(reply: Reply): void {
    this.replies.push(reply);
    this.checker.onReply(this.owner, reply);
  }

  executions(job: JobId): number {
    return this.checker.executions(job);
  }

  final(job: JobId): FinalState {
    return this.checker.final(job) ?? assert.fail(`${job} is not final`);
  }

  /** Where its newest attempt was given to. */
  executorOf(job: JobId): SimNode {
    const state = this.owner.disk.tables.records.get(job)?.job.state;
    const node = state?.tag === 'granted' ? state.grant.executor : undefined;
    return this.nodes.find(({ id }) => id === node) ?? assert.fail(`${job} is with nobody`);
  }

  runsSomewhere(job: JobId): boolean {
    return this.executions(job) > 0;
  }

  /** Faults stop, all nodes are up, and time enough passes: nothing may be left over or broken. */
  async finish(): Promise<void> {
    this.network.heal();
    this.network.isLost = () => false;
    for (const node of this.nodes) {
      node.mendDisk();
      node.thaw();
      node.start();
    }
    await this.run(QUIET_MS);
    this.checker.checkEnd(
      this.nodes.filter(({ isLost }) => !isLost),
      false,
    );
    assert.deepEqual(this.checker.violations, []);
  }
}
