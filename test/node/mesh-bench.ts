/**
 * Real nodes in one process: core, driver, queries and commands as they are, in real time, over a
 * network and disks in memory. A job runs by its command: `true` ends at once, `hold` when it is
 * ended or when a test says so.
 */
import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { JobId, NodeId } from '../../src/base/ids.ts';
import { asWall } from '../../src/base/instant.ts';
import { seededRandom } from '../../src/base/random.ts';
import { KeptBlobs } from '../../src/blobs/blobs.ts';
import type { LiveRecord, OutputRemoval, OutputStream } from '../../src/core/calls.ts';
import type { AttemptOrder, MeshEvent } from '../../src/core/effects.ts';
import type { AttemptReport } from '../../src/core/inputs.ts';
import type { AttemptEnd, JobSpec, JobStatus } from '../../src/core/job.ts';
import { attemptKey } from '../../src/core/record.ts';
import { createSystemClock } from '../../src/node/clock.ts';
import { MeshNode } from '../../src/node/mesh-node.ts';
import type { Discovery, Executor, Outputs } from '../../src/node/ports.ts';
import type { SubmitRequest, SubmitResult } from '../../src/node/service.ts';
import { MemoryDisk } from '../conformance/memory-store.ts';
import { factsOf, nodeId, SPEC } from '../core/core-bench.ts';
import { Network } from './network.ts';

export const DEADLINE = { timeout: 60_000 };
const HOST = '10.0.0.1';

/** One node's machine: what of it outlives the process. */
/** A disk on which there is no file. */
const NO_BLOBS = new KeptBlobs({
  folder: '/nonexistent/blobs',
  limitBytes: 0,
  now: () => 0,
  namedByJobs: async (among) => among,
});

export class BenchNode {
  readonly id: NodeId;
  readonly disk = new MemoryDisk();
  /** Attempt → what it printed. */
  /** Outputs that retention has removed. */
  readonly removed = new Map<string, OutputRemoval>();
  readonly printed = new Map<string, Record<OutputStream, string>>();
  readonly events: MeshEvent[] = [];
  readonly started: AttemptOrder[] = [];
  private readonly network: Network;
  private readonly slots: number;
  private process: MeshNode | undefined;
  private report: (report: AttemptReport) => void = () => {};
  private readonly running = new Map<string, AttemptOrder>();
  hint: Parameters<Discovery['start']>[0] = () => {};
  /** Its API answers, and its links are not open yet. */
  onOpen: () => Promise<void> = async () => {};
  /** Its executor is told to stop. */
  onStop: () => void = () => {};

  constructor(letter: string, network: Network, slots: number) {
    this.id = nodeId(letter);
    this.network = network;
    this.slots = slots;
  }

  get node(): MeshNode {
    return this.process ?? assert.fail(`${this.id} is not up`);
  }

  get isUp(): boolean {
    return this.process !== undefined;
  }

  async start(): Promise<void> {
    const { store, boot } = this.disk.open(seededRandom(this.disk.boots + 1));
    const facts = factsOf(this.id, { slots: this.slots });
    const node: MeshNode = new MeshNode({
      boot,
      facts,
      store,
      links: this.network.linksOf({ node: this.id, boot, facts: () => node.facts }),
      discovery: this.discovery(),
      executor: this.executor(),
      outputs: this.outputs(),
      terminals: { answer: async () => ({ tag: 'unknown' }) },
      blobs: NO_BLOBS,
      clock: createSystemClock(),
      peerTimeoutMs: 30_000,
      killGraceMs: 100,
      maxJobs: 1000,
      keepJobsMs: 3600_000,
      onEvent: (event) => this.events.push(event),
    });
    this.process = node;
    await node.open();
    await this.onOpen();
    await node.join('http://127.0.0.1:3000');
  }

  /** As by SIGKILL: no word to anybody. */
  async kill(): Promise<void> {
    this.running.clear();
    await this.close('end');
  }

  /** As the end of a drain does. */
  async close(running: 'end' | 'leave'): Promise<void> {
    const node = this.process;
    this.process = undefined;
    await node?.close(running);
  }

  private discovery(): Discovery {
    const report = { port: 0, targets: [], ownHeard: 0, heard: 0, dropped: {}, otherMeshes: {} };
    return {
      start: async (onHint) => {
        this.hint = onHint;
      },
      stop: async () => {},
      report: () => report,
    };
  }

  // -------------------------------------------------------------- attempts

  private executor(): Executor {
    return {
      start: async (report) => {
        this.report = report;
        return [];
      },
      run: (order) => this.run(order),
      end: (job, fence) => {
        if (this.running.has(attemptKey(job, fence)))
          this.end({ job, fence }, { tag: 'signalled', signal: 'SIGTERM' });
      },
      prolong: () => {},
      release: () => {},
      stop: async () => this.onStop(),
    };
  }

  private run(order: AttemptOrder): void {
    const { job, fence, grant } = order;
    this.started.push(order);
    this.running.set(attemptKey(job, fence), order);
    this.report({ kind: 'running', job, fence, startedAt: asWall(Date.now()) });
    if (grant.spec.command === 'true') this.end(order, { tag: 'exited', code: 0 });
  }

  print({ job, fence }: Pick<AttemptOrder, 'job' | 'fence'>, text: string): void {
    const key = attemptKey(job, fence);
    const before = this.printed.get(key) ?? { stdout: '', stderr: '' };
    this.printed.set(key, { ...before, stdout: before.stdout + text });
  }

  /** @param tailChars of its output, travel with the outcome */
  end(
    { job, fence }: Pick<AttemptOrder, 'job' | 'fence'>,
    end: AttemptEnd,
    tailChars = 1000,
  ): void {
    const key = attemptKey(job, fence);
    this.running.delete(key);
    const text = this.printed.get(key)?.stdout ?? '';
    this.report({
      kind: 'ended',
      job,
      fence,
      end,
      startedAt: asWall(Date.now()),
      finishedAt: asWall(Date.now()),
      stdout: {
        bytes: Buffer.from(text.slice(-tailChars)),
        totalBytes: text.length,
        isTruncated: false,
      },
      stderr: { bytes: Buffer.alloc(0), totalBytes: 0, isTruncated: false },
    });
  }

  private outputs(): Outputs {
    return {
      whyRemoved: async ({ job, fence }) => this.removed.get(attemptKey(job, fence)),
      read: async ({ job, fence }, stream, { offset, maxBytes, waitMs = 0 }) => {
        const key = attemptKey(job, fence);
        const text = (): string | undefined => this.printed.get(key)?.[stream];
        const until = performance.now() + waitMs;
        while (this.running.has(key) && (text() ?? '').length <= offset) {
          if (performance.now() >= until) break;
          await sleep(10);
        }
        const kept = text();
        if (kept === undefined) return undefined;
        const bytes = Buffer.from(kept.slice(offset, offset + maxBytes));
        const isEnd = !this.running.has(key) && offset + bytes.length >= kept.length;
        return { bytes, offset, isEnd, isTruncated: false, keptBytes: kept.length };
      },
    };
  }

  // -------------------------------------------------------------- asking it

  async submit(spec: Partial<JobSpec> = {}, key?: SubmitRequest['key']): Promise<SubmitResult> {
    const [result] = await this.node.submit([{ spec: { ...SPEC, ...spec }, key }]);
    return result ?? assert.fail('no result');
  }

  /** A job that is taken. */
  async take(spec: Partial<JobSpec> = {}, key?: SubmitRequest['key']): Promise<JobId> {
    const result = await this.submit(spec, key);
    assert.equal(result.kind, 'accepted', JSON.stringify(result));
    return result.live.record.header.job;
  }

  get(job: JobId): Promise<LiveRecord> {
    return this.node.getJob(job);
  }

  async becomes(job: JobId, status: JobStatus): Promise<LiveRecord> {
    let live: LiveRecord | undefined;
    await until(`${job} is ${status}`, async () => {
      live = await this.get(job);
      return live.status === status;
    });
    return live ?? assert.fail();
  }
}

export class MeshBench {
  readonly network = new Network();
  readonly nodes: readonly BenchNode[];

  private constructor(letters: string, slots: number) {
    this.nodes = [...letters].map((letter) => new BenchNode(letter, this.network, slots));
  }

  /** Nodes named by these letters, up and linked; they end with the test. */
  static async start(t: TestContext, letters: string, { slots = 2 } = {}): Promise<MeshBench> {
    const mesh = new MeshBench(letters, slots);
    t.after(() => Promise.all(mesh.nodes.map((node) => node.kill())));
    for (const node of mesh.nodes) await node.start();
    mesh.introduce();
    await mesh.isWhole();
    return mesh;
  }

  of(index: number): BenchNode {
    return this.nodes[index] ?? assert.fail(`no node ${index}`);
  }

  byId(id: NodeId | undefined): BenchNode {
    return this.nodes.find((node) => node.id === id) ?? assert.fail(`no node ${id}`);
  }

  /** All that are up hear of each other. */
  introduce(): void {
    const up = this.nodes.filter((node) => node.isUp);
    for (const one of up) {
      for (const other of up) {
        if (one === other) continue;
        const { boot } = other.node;
        one.hint({ node: other.id, boot, host: HOST, port: 4000 });
      }
    }
  }

  async isWhole(): Promise<void> {
    const up = this.nodes.filter((node) => node.isUp);
    await until('all are linked', () =>
      up.every(
        ({ node }) =>
          node.peers().filter(({ state }) => state === 'alive').length === up.length - 1,
      ),
    );
  }
}

/** Looked for again and again; what it waits for is a state and not a time. */
export async function until(what: string, isSo: () => boolean | Promise<boolean>): Promise<void> {
  const end = performance.now() + 20_000;
  while (!(await isSo())) {
    if (performance.now() > end) assert.fail(`not in time: ${what}`);
    await sleep(10);
  }
}
