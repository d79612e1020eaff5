/** Orders, reports and folders for the tests of executors. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { asJobId, asNodeId, asNonce } from '../../src/base/ids.ts';
import { asWall } from '../../src/base/instant.ts';
import type { AttemptOrder } from '../../src/core/effects.ts';
import type { AttemptReport, Survivor } from '../../src/core/inputs.ts';
import type { JobSpec } from '../../src/core/job.ts';
import type { AttemptRef } from '../../src/core/messages.ts';
import { attemptKey, type Fence } from '../../src/core/record.ts';
import {
  createExecutors,
  type ExecutorOptions,
  type Executors,
} from '../../src/executors/executors.ts';
import type { Executor } from '../../src/node/ports.ts';

export const NODE = asNodeId(`node-${'c'.repeat(32)}`);
export const DEADLINE_MS = 20_000;
export const LIMIT_BYTES = 64 * 1024;

export type Ended = Extract<AttemptReport, { kind: 'ended' }>;

export const fence = (attempt = 1, counter = 1): Fence => ({
  epoch: { counter, node: NODE },
  attempt,
});

let serial = 0;

/** Of a new job, unless one is named. */
export function order(
  command: string,
  spec: Partial<JobSpec> = {},
  attempt: { job?: string; fence?: Fence } = {},
): AttemptOrder {
  serial += 1;
  const job = asJobId(attempt.job ?? `job-${serial}`);
  const ref = { job, fence: attempt.fence ?? fence() };
  const whole: JobSpec = {
    taskType: 'shell',
    command,
    params: '{}',
    run: '{}',
    env: {},
    timeoutMs: 300_000,
    priority: 5,
    needs: { labels: {}, capabilities: {} },
    delivery: 'at_least_once',
    onIsolation: 'stop',
    ...spec,
  };
  return {
    ...ref,
    grant: { ...ref, nonce: asNonce('1.1'), rs: [NODE], oldRs: [], leaseMs: 6000, spec: whole },
    lease: { tag: 'ownNode', afterDeathMs: 6000 },
  };
}

/** All reports of one executor, in order, and the way to wait for one. */
export class Reports {
  readonly all: AttemptReport[] = [];
  private waiting: (() => void)[] = [];

  readonly take = (report: AttemptReport): void => {
    this.all.push(report);
    const { waiting } = this;
    this.waiting = [];
    for (const look of waiting) look();
  };

  of(attempt: AttemptRef): AttemptReport[] {
    const key = attemptKey(attempt.job, attempt.fence);
    return this.all.filter((report) => attemptKey(report.job, report.fence) === key);
  }

  async running(attempt: AttemptRef): Promise<void> {
    await this.find(attempt, 'running');
  }

  async ended(attempt: AttemptRef): Promise<Ended> {
    const report = await this.find(attempt, 'ended');
    assert(report.kind === 'ended');
    return report;
  }

  private async find(attempt: AttemptRef, kind: AttemptReport['kind']): Promise<AttemptReport> {
    const late = AbortSignal.timeout(DEADLINE_MS);
    for (;;) {
      const found = this.of(attempt).find((report) => report.kind === kind);
      if (found) return found;
      await new Promise<void>((resolve, reject) => {
        this.waiting.push(resolve);
        late.addEventListener('abort', () => reject(new Error(`no report ${kind}`)));
      });
    }
  }
}

export interface Bench {
  readonly folder: string;
  readonly executor: Executors;
  readonly reports: Reports;
  readonly problems: string[];
  /** What its start found of earlier lives. */
  readonly survivors: readonly Survivor[];
  /** Runs it to its end. */
  run(command: string, spec?: Partial<JobSpec>): Promise<Ended & { order: AttemptOrder }>;
}

const releases = new WeakMap<TestContext, (() => unknown)[]>();

/** Like t.after, but what was made last is released first. */
export function release(t: TestContext, body: () => unknown): void {
  const bodies = releases.get(t) ?? [];
  bodies.push(body);
  if (releases.has(t)) return;
  releases.set(t, bodies);
  t.after(async () => {
    for (const one of bodies.toReversed()) await one();
  });
}

export function temporaryFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'mesh-executor-'));
  release(t, () => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** A started executor in a folder of its own, stopped after the test. */
export async function startBench(
  t: TestContext,
  options: Partial<ExecutorOptions> = {},
): Promise<Bench> {
  const folder = options.folder ?? temporaryFolder(t);
  const reports = new Reports();
  const problems: string[] = [];
  const executor = createExecutors({
    folder,
    outputLimitBytes: LIMIT_BYTES,
    now: () => asWall(Date.now()),
    onProblem: (sentence) => problems.push(sentence),
    ...options,
  });
  release(t, () => executor.stop());
  const survivors = await executor.start((report) => {
    reports.take(report);
    if (report.kind === 'ended') executor.release(report.job, report.fence);
  });
  const run = async (command: string, spec: Partial<JobSpec> = {}) => {
    const ordered = order(command, spec);
    executor.run(ordered);
    return { ...(await reports.ended(ordered)), order: ordered };
  };
  return { folder, executor, reports, problems, survivors, run };
}

export const textOf = (tail: { bytes: Uint8Array }): string => Buffer.from(tail.bytes).toString();

/** Looks until it holds: for what other processes do, which no event of this one tells. */
export async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + DEADLINE_MS;
  while (!(await holds())) {
    assert(performance.now() < deadline, `never: ${what}`);
    await delay(20);
  }
}

/** What the attempt has printed so far, once it is a whole line. */
export async function firstLine(
  { outputs }: Executor & Pick<Executors, 'outputs'>,
  attempt: AttemptRef,
): Promise<string> {
  let text = '';
  await until('a line', async () => {
    const range = { offset: 0, maxBytes: 1000, waitMs: 1000 };
    text = textOf((await outputs.read(attempt, 'stdout', range)) ?? { bytes: new Uint8Array(0) });
    return text.includes('\n');
  });
  return text.slice(0, text.indexOf('\n'));
}
