/**
 * Several real cores, their disks, and a network that delivers at once and in order unless a test
 * says otherwise. Time passes for all of them alike, in ticks. An attempt runs from its start until
 * a test ends it or its node stops it; that no two of a job run at once is checked at each start.
 */
import assert from 'node:assert/strict';
import type { JobId, NodeId } from '../../src/base/ids.ts';
import { asWall } from '../../src/base/instant.ts';
import { TICK_MS } from '../../src/core/core.ts';
import type { Reply } from '../../src/core/effects.ts';
import type { NodeFacts } from '../../src/core/facts.ts';
import type { Survivor } from '../../src/core/inputs.ts';
import type { AttemptEnd, JobSpec } from '../../src/core/job.ts';
import type { Message } from '../../src/core/messages.ts';
import { type Fence, isSameFence } from '../../src/core/record.ts';
import { MemoryDisk } from '../conformance/memory-store.ts';
import { CoreBench, factsOf } from './core-bench.ts';
import { EXIT_0, reportEnd, reportRunning } from './peers.ts';

interface Letter {
  readonly from: NodeId;
  readonly to: NodeId;
  readonly message: Message;
}

/** An attempt that was started somewhere. */
export interface Ran {
  readonly node: NodeId;
  readonly job: JobId;
  readonly fence: Fence;
  readonly at: number;
  isRunning: boolean;
}

export class MeshBench {
  /** Every start in the mesh, in order. */
  readonly runs: Ran[] = [];
  /** Every message that was delivered, in order. */
  readonly delivered: Letter[] = [];
  /** Messages that are lost although the link stands. */
  isLost: (letter: Letter) => boolean = () => false;
  monoMs = 1_000_000;
  private readonly usual: Partial<NodeFacts>;
  private readonly benches = new Map<NodeId, CoreBench>();
  private readonly disks = new Map<NodeId, MemoryDisk>();
  private readonly facts = new Map<NodeId, Partial<NodeFacts>>();
  private readonly links = new Set<string>();
  private readonly cuts = new Set<string>();
  private readonly frozen = new Set<NodeId>();
  private readonly onThaw: (() => void)[] = [];
  private letters: Letter[] = [];

  /** @param facts of these nodes and of all that start later, if nothing else is said */
  constructor(nodes: readonly NodeId[], facts: Partial<NodeFacts> = {}) {
    this.usual = facts;
    for (const node of nodes) this.start(node);
    this.advance(TICK_MS);
  }

  node(node: NodeId): CoreBench {
    return this.benches.get(node) ?? assert.fail(`${node} does not run`);
  }

  disk(node: NodeId): MemoryDisk {
    return this.disks.get(node) ?? assert.fail(`${node} never ran`);
  }

  // -------------------------------------------------------------- nodes

  /** @param survivors attempts of the earlier life that its supervisor still has */
  start(
    node: NodeId,
    facts: Partial<NodeFacts> = this.facts.get(node) ?? this.usual,
    survivors: readonly Survivor[] = [],
  ): void {
    const disk = this.disks.get(node) ?? new MemoryDisk();
    this.facts.set(node, facts);
    this.disks.set(node, disk);
    const bench = new CoreBench({
      node,
      facts,
      disk,
      survivors,
      monoMs: this.monoMs,
      wire: (to, message) => this.letters.push({ from: node, to, message }),
    });
    this.benches.set(node, bench);
    for (const other of this.benches.keys()) if (other !== node) this.link(node, other);
    this.settle();
  }

  /** The process is gone at once; its links close and its port refuses. What it ran is ended. */
  crash(node: NodeId, isRunningOn = false): void {
    this.benches.delete(node);
    this.frozen.delete(node);
    if (!isRunningOn) for (const ran of this.runs) if (ran.node === node) ran.isRunning = false;
    for (const other of this.benches.keys()) this.unlink(node, other, 'closed by peer');
    this.letters = this.letters.filter(({ from, to }) => from !== node && to !== node);
    this.settle();
  }

  /** Killed and started again after a while; what ran there runs on, as its supervisor sees to it. */
  restart(node: NodeId, afterMs: number, leaseLeftMs: number | undefined): void {
    this.crash(node, true);
    this.advance(afterMs);
    const survivors = this.runs
      .filter((ran) => ran.node === node && ran.isRunning)
      .map(({ job, fence, at }) => ({ job, fence, startedAt: asWall(1.7e12 + at), leaseLeftMs }));
    this.start(node, undefined, survivors);
  }

  /** Its next life on an empty disk. */
  loseDisk(node: NodeId): void {
    this.disks.delete(node);
  }

  freeze(node: NodeId): void {
    this.frozen.add(node);
  }

  thaw(node: NodeId): void {
    this.frozen.delete(node);
    this.node(node).monoMs = this.monoMs;
    for (const report of this.onThaw.splice(0)) report();
    this.settle();
  }

  // -------------------------------------------------------------- network

  /** Nothing gets through between these groups, while the links seem to stand. */
  partition(...groups: (readonly NodeId[])[]): void {
    for (const group of groups)
      for (const other of groups)
        if (group !== other)
          for (const a of group) for (const b of other) this.cuts.add(pair(a, b));
  }

  /** Links that were given up meanwhile come back. */
  heal(): void {
    this.cuts.clear();
    const nodes = [...this.benches.keys()];
    for (const a of nodes) for (const b of nodes) if (a < b) this.link(a, b);
    this.settle();
  }

  private link(a: NodeId, b: NodeId): void {
    if (this.links.has(pair(a, b)) || this.cuts.has(pair(a, b))) return;
    this.links.add(pair(a, b));
    for (const [here, there] of [
      [a, b],
      [b, a],
    ] as const) {
      const facts = factsOf(there, this.facts.get(there));
      const { boot } = this.node(there);
      this.node(here).put({ kind: 'linkUp', node: there, boot, facts, host: '10.0.0.9' });
    }
  }

  private unlink(node: NodeId, other: NodeId, reason: string): void {
    if (!this.links.delete(pair(node, other))) return;
    const boots = this.disk(node).boots;
    const boot = { counter: boots, salt: '0'.repeat(16) };
    this.benches.get(other)?.put({ kind: 'linkDown', node, boot, reason });
  }

  private isOpen({ from, to }: Letter): boolean {
    const key = pair(from, to);
    return this.links.has(key) && !this.cuts.has(key) && this.benches.has(to);
  }

  private dial(from: NodeId, to: NodeId): void {
    const isThere = this.benches.has(to) && !this.frozen.has(to) && !this.cuts.has(pair(from, to));
    if (isThere && !this.links.has(pair(from, to))) this.link(from, to);
    else if (!isThere) {
      const isRefused = !this.benches.has(to) && !this.cuts.has(pair(from, to));
      const reason = isRefused ? 'refused' : 'timeout';
      this.node(from).put({ kind: 'dialFailed', node: to, isRefused, reason });
    }
  }

  // -------------------------------------------------------------- time

  advance(ms: number): void {
    const end = this.monoMs + ms;
    while (this.monoMs < end) {
      this.monoMs = Math.min(end, this.monoMs + TICK_MS);
      for (const [node, bench] of this.benches) {
        if (this.frozen.has(node)) continue;
        bench.monoMs = this.monoMs;
        bench.put({ kind: 'tick' });
      }
      this.settle();
    }
  }

  /** Lets time pass until it is so, for at most a minute. */
  until(isSo: () => boolean, what: string): void {
    for (let passed = 0; !isSo(); passed += TICK_MS) {
      assert.ok(passed < 60_000, `not within a minute: ${what}`);
      this.advance(TICK_MS);
    }
  }

  /** What was said is heard, what follows from it happens. */
  settle(): void {
    for (;;) {
      const letters = this.letters.filter(({ to }) => !this.frozen.has(to));
      this.letters = this.letters.filter(({ to }) => this.frozen.has(to));
      for (const letter of letters) this.carry(letter);
      const isWorking = [...this.benches].map(([node, bench]) => this.work(node, bench));
      if (letters.length === 0 && !isWorking.includes(true)) return;
    }
  }

  private carry(letter: Letter): void {
    if (!this.isOpen(letter) || this.isLost(letter)) return;
    const { from, to, message } = letter;
    const sender = this.benches.get(from);
    if (!sender) return;
    this.delivered.push(letter);
    this.node(to).put({ kind: 'message', from, boot: sender.boot, message });
  }

  /** The adapters of a node; false: they had nothing to do. */
  private work(node: NodeId, bench: CoreBench): boolean {
    const dials = bench.take('dial');
    const starts = bench.take('start');
    const stops = bench.take('stop');
    const hangUps = bench.take('hangUp');
    bench.take('prolong');
    for (const { node: to } of hangUps) {
      this.unlink(node, to, 'hung up');
      this.unlink(to, node, 'hung up');
    }
    for (const { node: to } of dials) this.dial(node, to);
    for (const { attempt } of starts) {
      const { job, fence } = attempt;
      const others = this.running(job).filter((ran) => !this.frozen.has(ran.node));
      assert.deepEqual(others, [], `${job} runs at two nodes`);
      this.runs.push({ node, job, fence, at: this.monoMs, isRunning: true });
      reportRunning(bench, attempt);
    }
    for (const { job, fence } of stops) this.stop(node, bench, { job, fence });
    return dials.length + starts.length + stops.length + hangUps.length > 0;
  }

  private stop(node: NodeId, bench: CoreBench, ref: { job: JobId; fence: Fence }): void {
    const ran = this.runs.find(
      (it) => it.node === node && it.job === ref.job && isSameFence(it.fence, ref.fence),
    );
    if (!ran?.isRunning) return;
    ran.isRunning = false;
    reportEnd(bench, ref, { tag: 'signalled', signal: 'SIGTERM' });
  }

  // -------------------------------------------------------------- jobs

  submit(node: NodeId, spec: Partial<JobSpec> = {}, options: { key?: string; job?: string } = {}) {
    const submitted = this.node(node).submit(spec, options);
    this.settle();
    return submitted;
  }

  /** A job that was accepted. */
  accept(node: NodeId, spec: Partial<JobSpec> = {}, job?: string): JobId {
    const submitted = this.submit(node, spec, job === undefined ? {} : { job });
    assert.equal(this.node(node).reply(submitted.request).kind, 'submitted');
    return submitted.job;
  }

  cancel(node: NodeId, job: JobId): string {
    const request = this.node(node).cancel(job);
    this.settle();
    return request;
  }

  replies(node: NodeId, request: string): Reply[] {
    return this.node(node).replies(request);
  }

  /** Attempts of the job that run now. */
  running(job: JobId): Ran[] {
    return this.runs.filter((ran) => ran.job === job && ran.isRunning);
  }

  /** This attempt ends of itself, though its node may be frozen and tell so only when it wakes. */
  endRun(ran: Ran, end: AttemptEnd = EXIT_0): void {
    ran.isRunning = false;
    const report = (): void => reportEnd(this.node(ran.node), ran, end);
    if (this.frozen.has(ran.node)) this.onThaw.push(report);
    else report();
    this.settle();
  }

  /** The one attempt of the job that runs ends of itself. */
  end(job: JobId, end: AttemptEnd = EXIT_0): void {
    const [ran, ...others] = this.running(job);
    assert.ok(ran && others.length === 0, `${others.length + (ran ? 1 : 0)} attempts run`);
    this.endRun(ran, end);
  }

  /** Each node that has the job on its disk: the status it shows. */
  statuses(job: JobId): Record<NodeId, string> {
    const found = [...this.benches].filter(([, { records }]) => records.has(job));
    return Object.fromEntries(found.map(([node, bench]) => [node, bench.status(job)]));
  }

  /** Nodes that own the job. */
  owners(job: JobId): NodeId[] {
    return [...this.benches]
      .filter(([, bench]) => bench.records.has(job) && isOwner(bench, job))
      .map(([node]) => node);
  }

  countOf(kind: Message['kind'], to?: NodeId): number {
    return this.delivered.filter(
      (letter) => letter.message.kind === kind && (to === undefined || letter.to === to),
    ).length;
  }
}

const pair = (a: NodeId, b: NodeId): string => (a < b ? `${a} ${b}` : `${b} ${a}`);

/** It decides about the unfinished job. */
function isOwner(bench: CoreBench, job: JobId): boolean {
  const record = bench.record(job);
  return record.job.state.tag !== 'final' && bench.core.enliven(record).isOwner;
}
