/** Shell jobs through the executor alone, beside `xargs -P2 sh -c true` in the same run, in turns. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { asWall } from '../../src/base/instant.ts';
import { createExecutors, type Executors } from '../../src/executors/executors.ts';
import { order } from '../executors/attempts.ts';
import { childrenNamed } from '../executors/processes.ts';

const IN_FLIGHT = 2;

/** @returns lines to be shown */
export async function measureShellJobs(jobs: number, rounds: number): Promise<string[]> {
  const bench = await ShellBench.start();
  await bench.run(100);
  const before = descriptors();
  const spent = { node: 0, jobs: 0, reference: 0 };
  const rates: { ours: number; reference: number }[] = [];
  for (let i = 0; i < rounds; i++) {
    const [own, theirs] = [process.cpuUsage(), runnersMs()];
    const ours = jobs / (await bench.run(jobs));
    spent.jobs += runnersMs() - theirs;
    spent.node += ownMs(own);
    const [reference, waited] = [process.cpuUsage(), cpuMs(process.pid)];
    rates.push({ ours, reference: jobs / runXargs(jobs) });
    spent.reference += cpuMs(process.pid) - waited - ownMs(reference);
  }
  const after = descriptors();
  await bench.stop();
  const rate = (values: number[]): string => (median(values) * 1000).toFixed(0);
  const each = (ms: number): string => (ms / jobs / rounds).toFixed(2);
  const ratio = median(rates.map(({ ours, reference }) => ours / reference)).toFixed(2);
  return [
    `${`shell jobs/s, executor alone (${rounds} × ${jobs})`.padEnd(52)} ${rate(rates.map(({ ours }) => ours))}, xargs -P2 ${rate(rates.map(({ reference }) => reference))}, ratio ${ratio}`,
    `${'  processor time of one'.padEnd(52)} node ${each(spent.node)} ms, runner and job ${each(spent.jobs)} ms, xargs ${each(spent.reference)} ms`,
    `${'  descriptors before, after; resident'.padEnd(52)} ${before}, ${after}; ${(process.memoryUsage().rss / 2 ** 20).toFixed(0)} MiB`,
  ];
}

class ShellBench {
  private readonly folder = mkdtempSync(join(tmpdir(), 'mesh-bench-'));
  private readonly executor: Executors;
  private onEnd = (): void => {};

  private constructor() {
    const { folder } = this;
    const now = () => asWall(Date.now());
    this.executor = createExecutors({ folder, outputLimitBytes: 1 << 20, now });
  }

  static async start(): Promise<ShellBench> {
    const bench = new ShellBench();
    await bench.executor.start((report) => {
      if (report.kind !== 'ended') return;
      bench.executor.release(report.job, report.fence);
      bench.onEnd();
    });
    return bench;
  }

  /** @returns milliseconds */
  async run(jobs: number): Promise<number> {
    const startedAt = performance.now();
    let left = jobs;
    let running = 0;
    await new Promise<void>((resolve) => {
      const next = (): void => {
        for (; left > 0 && running < IN_FLIGHT; left--) {
          running += 1;
          this.executor.run(order('true'));
        }
        if (running === 0) resolve();
      };
      this.onEnd = () => {
        running -= 1;
        next();
      };
      next();
    });
    return performance.now() - startedAt;
  }

  async stop(): Promise<void> {
    await this.executor.stop();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

function runXargs(jobs: number): number {
  const startedAt = performance.now();
  execFileSync('/bin/sh', ['-c', `yes true | head -${jobs} | xargs -P2 -I{} sh -c {}`]);
  return performance.now() - startedAt;
}

/** Of a process and of all it has waited for. */
function cpuMs(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  const fields = stat
    .slice(stat.lastIndexOf(')') + 2)
    .split(' ')
    .map(Number);
  return [11, 12, 13, 14].reduce((sum, at) => sum + (fields[at] ?? 0), 0) * 10;
}

const runnersMs = (): number =>
  childrenNamed(process.pid, 'mesh-runner').reduce((sum, pid) => sum + cpuMs(pid), 0);

function ownMs(since: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(since);
  return (user + system) / 1000;
}

const descriptors = (): number => readdirSync('/proc/self/fd').length;

const median = (values: number[]): number =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
