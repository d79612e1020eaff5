/**
 * `mesh torture`: starts a mesh of real node processes, gives it jobs, breaks its nodes, network
 * and disk after a plan made from a seed, heals everything, waits, and holds what it saw against
 * every promise. It is a command for users, who can see for themselves, and the test of the whole
 * product.
 *
 *     plan ──> mesh, faults, load ──> history ──> checks, measures ──> report, page
 *
 * Left of the history is what acts, right of it functions of plain data.
 */
import { cpSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { MeshError, messageOf } from '../base/errors.ts';
import { VERSION } from '../version.ts';
import { Injector } from './faults.ts';
import type { Disturbance, EndState, History } from './history.ts';
import { type LedgerClock, readLedger, readLedgerClock } from './ledger.ts';
import { Load } from './load.ts';
import { TortureMesh } from './mesh.ts';
import type { TortureNode } from './node.ts';
import { pageOf } from './page.ts';
import { type FaultKind, type Plan, planTorture } from './plan.ts';
import { makeReport, type Report } from './report.ts';
import { readStandstills } from './standstills.ts';
import { survey, untilAgreed } from './survey.ts';

export interface TortureOptions {
  readonly nodes: number;
  readonly durationMs: number;
  readonly seed: number;
  readonly faults: readonly FaultKind[];
  readonly jobsPerSecond: number;
  readonly longestMs: number | undefined;
  readonly hasNamespaces: boolean;
  /** Undefined: a new folder among the temporary files. */
  readonly reportDir: string | undefined;
  /** The program's own bundle, run once more for each node. */
  readonly entry: string;
  readonly repeat: string;
  readonly skipped: readonly string[];
}

export interface Progress {
  readonly phase: 'starting' | 'running' | 'settling' | 'checking';
  readonly elapsedMs: number;
  readonly living: number;
  readonly acknowledged: number;
  readonly unfinished: number;
  readonly faults: readonly string[];
}

export interface TortureResult {
  readonly report: Report;
  readonly reportDir: string;
}

/** Aborting it heals and ends everything; what was seen until then is still reported. */
export async function runTorture(
  options: TortureOptions,
  signal: AbortSignal,
  onProgress: (progress: Progress) => void,
): Promise<TortureResult> {
  return new Run(options, signal, onProgress).finish();
}

const PROGRESS_MS = 250;
/** Requests that are under way when the last fault is healed may take so long. */
const LOAD_GRACE_MS = 40_000;
const REVIVE_PAUSE_MS = 500;

class Run {
  private readonly options: TortureOptions;
  private readonly signal: AbortSignal;
  private readonly onProgress: (progress: Progress) => void;
  private readonly startedAt = new Date();
  private readonly mesh: TortureMesh;
  private readonly plan: Plan;
  private readonly ownEnds: { at: number; node: string; how: string }[] = [];
  private phase: Progress['phase'] = 'starting';
  private began = performance.now();
  private clock: LedgerClock = readLedgerClock(0);
  private load: Load | undefined;
  private injector: Injector | undefined;

  constructor(
    options: TortureOptions,
    signal: AbortSignal,
    onProgress: (progress: Progress) => void,
  ) {
    this.options = options;
    this.signal = signal;
    this.onProgress = onProgress;
    this.plan = planTorture(options);
    const { nodes, hasNamespaces, entry, faults } = options;
    this.mesh = new TortureMesh({
      nodes,
      hasNamespaces,
      hasSmallDisk: faults.includes('disk'),
      entry,
      onOwnEnd: (node, how) => this.onOwnEnd(node, how),
    });
  }

  async finish(): Promise<TortureResult> {
    const progress = setInterval(() => this.tell(), PROGRESS_MS);
    try {
      const end = await this.untilEnd();
      await this.mesh.close();
      return this.report(end);
    } finally {
      clearInterval(progress);
      await this.mesh.close();
      this.mesh.remove();
    }
  }

  /** Undefined: it was interrupted. */
  private async untilEnd(): Promise<EndState | undefined> {
    try {
      await this.mesh.start(this.signal);
      await this.untilFound();
      return await this.torture();
    } catch (failure) {
      if (this.signal.aborted) return undefined;
      throw failure;
    }
  }

  /** What is promised of a mesh is not promised of nodes that have not found each other yet. */
  private async untilFound(): Promise<void> {
    const { mesh, signal } = this;
    const { disagreements } = await untilAgreed({ mesh, signal, elapsed: () => this.elapsed() });
    const [first] = disagreements;
    if (first === undefined) return;
    throw new MeshError('NODE_UNREACHABLE', `The nodes did not find each other: ${first}.`);
  }

  private async torture(): Promise<EndState> {
    this.began = performance.now();
    this.clock = readLedgerClock(0);
    const { mesh, signal, plan } = this;
    const elapsed = (): number => this.elapsed();
    const over = new AbortController();
    const loadSignal = AbortSignal.any([signal, over.signal]);
    const load = new Load({ mesh, seed: plan.seed, elapsed, signal: loadSignal });
    const injector = new Injector({ mesh, elapsed, durationMs: plan.durationMs, signal });
    this.load = load;
    this.injector = injector;
    this.phase = 'running';
    try {
      const watching = load.watch();
      const loading = load.run(plan.jobs);
      await Promise.all([injector.run(plan.faults), this.untilDuration()]);
      signal.throwIfAborted();
      this.phase = 'settling';
      await Promise.race([loading, sleep(LOAD_GRACE_MS, undefined, { signal, ref: false })]);
      const seen = await survey({ mesh, load, elapsed, signal });
      this.phase = 'checking';
      over.abort();
      await watching;
      return { ...seen, leftovers: await mesh.leave() };
    } finally {
      over.abort();
    }
  }

  private async untilDuration(): Promise<void> {
    const { signal, plan } = this;
    const leftMs = plan.durationMs - this.elapsed();
    await sleep(Math.max(0, leftMs), undefined, { signal }).catch(() => undefined);
  }

  private onOwnEnd(node: TortureNode, how: string): void {
    if (this.phase === 'starting') return;
    this.ownEnds.push({ at: this.elapsed(), node: node.name, how });
    const revive = async (): Promise<void> => {
      await sleep(REVIVE_PAUSE_MS, undefined, { signal: this.signal });
      await this.injector?.revive(node);
    };
    revive().catch((failure: unknown) => {
      if (this.signal.aborted) return;
      const how = `it does not start again: ${messageOf(failure)}`;
      this.ownEnds.push({ at: this.elapsed(), node: node.name, how });
    });
  }

  private elapsed(): number {
    return Math.round(performance.now() - this.began);
  }

  private tell(): void {
    const { load, injector, mesh } = this;
    this.onProgress({
      phase: this.phase,
      elapsedMs: this.elapsed(),
      living: mesh.living.length,
      acknowledged: load?.acknowledged.size ?? 0,
      unfinished: load?.unfinished.size ?? 0,
      faults: [...(injector?.active ?? [])].map(({ kind, nodes }) => `${kind} ${nodes.join(',')}`),
    });
  }

  // -------------------------------------------------------------- the report

  private report(end: EndState | undefined): TortureResult {
    const history = this.history(end);
    const reportDir = this.options.reportDir ?? this.defaultFolder();
    mkdirSync(reportDir, { recursive: true });
    const facts = {
      seed: this.plan.seed,
      repeat: this.options.repeat,
      version: VERSION,
      startedAt: this.startedAt.toISOString(),
      tookMs: this.elapsed(),
      isInterrupted: end === undefined,
      skipped: this.options.skipped,
    };
    const logErrors = this.countLogErrors();
    const first = makeReport(history, { ...facts, kept: undefined }, logErrors);
    const kept = first.verdict === 'clean' ? undefined : this.keep(reportDir);
    const report = { ...first, run: { ...facts, kept } };
    writeFileSync(join(reportDir, 'report.json'), `${JSON.stringify(report, null, 2)}\n`);
    writeFileSync(join(reportDir, 'report.html'), pageOf(history, report));
    return { report, reportDir };
  }

  private history(end: EndState | undefined): History {
    const { load, injector, mesh } = this;
    return {
      nodes: mesh.nodes.map(({ name }) => name),
      faults: injector?.records ?? [],
      standstills: mesh.nodes.flatMap(({ name }) => this.standstillsOf(name)),
      jobs: load?.jobs ?? [],
      executions: existsSync(mesh.ledger) ? readLedger(mesh.ledger, this.clock) : [],
      sightings: load?.sightings ?? [],
      oddAnswers: load?.oddAnswers ?? [],
      ownEnds: this.ownEnds,
      end,
    };
  }

  private standstillsOf(node: string): Disturbance[] {
    const file = join(this.mesh.folder, 'logs', `${node}.log`);
    if (!existsSync(file)) return [];
    return readStandstills(readFileSync(file, 'utf8'), node, this.clock.calendarMs);
  }

  private defaultFolder(): string {
    const time = this.startedAt.toISOString().replace(/[:.]/g, '-');
    return join(tmpdir(), 'mesh-torture-reports', `${time}-seed-${this.plan.seed}`);
  }

  /** Logs, databases and the ledger, for whoever looks for the reason. The key is not evidence. */
  private keep(reportDir: string): string {
    const kept = join(reportDir, 'mesh');
    for (const name of ['logs', 'ledger', ...this.mesh.nodes.map((node) => node.name)]) {
      const from = join(this.mesh.folder, name);
      if (existsSync(from)) cpSync(from, join(kept, name), { recursive: true });
    }
    return kept;
  }

  private countLogErrors(): number {
    return this.mesh.nodes
      .map(({ name }) => join(this.mesh.folder, 'logs', `${name}.log`))
      .filter(existsSync)
      .flatMap((file) => readFileSync(file, 'utf8').match(/^\{"level":[56]0,/gm) ?? []).length;
  }
}
