/**
 * The clients: they submit the planned jobs to nodes that live, cancel some, and ask about others
 * all the time. They behave as good clients do: a refusal that says "try again" is tried again
 * elsewhere, a submit without an answer is repeated only when it has a key. An answer that the API
 * does not promise is written down.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { isFinalStatus, type JobJson } from '../api/job-json.ts';
import type { JobRequest } from '../api/job-request.ts';
import { MeshError } from '../base/errors.ts';
import { type Random, randomBelow, seededRandom } from '../base/random.ts';
import type { Client } from '../client/client.ts';
import type { Cancel, FinalView, JobHistory, OddAnswer, Sighting, Submit } from './history.ts';
import { LEDGER_VARIABLES, workCommand } from './ledger.ts';
import type { TortureMesh } from './mesh.ts';
import type { TortureNode } from './node.ts';
import type { PlannedJob } from './plan.ts';

export interface LoadParts {
  readonly mesh: TortureMesh;
  readonly seed: number;
  readonly elapsed: () => number;
  /** Aborted: no more requests. */
  readonly signal: AbortSignal;
}

const ANSWER_DEADLINE_MS = 8000;
const SUBMIT_TRIES = 10;
const KEYED_TRIES = 60;
const CANCEL_TRIES = 60;
const RETRY_MS = 500;
const KEY_AGAIN_MS = 3000;
const LOOK_MS = 40;
const MAX_LOOKS = 8;

/** Filled while the job goes its way. */
interface OpenJob extends JobHistory {
  readonly submits: Submit[];
  readonly cancels: Cancel[];
}

type Answer<Value> =
  | { readonly tag: 'given'; readonly value: Value }
  | { readonly tag: 'refused'; readonly code: string; readonly isRetryable: boolean }
  | { readonly tag: 'none' };

export class Load {
  readonly jobs: OpenJob[] = [];
  readonly sightings: Sighting[] = [];
  readonly oddAnswers: OddAnswer[] = [];
  /** Acknowledged, and not yet seen to be final. */
  readonly unfinished = new Set<string>();
  readonly acknowledged = new Set<string>();
  private readonly parts: LoadParts;
  private readonly seen = new Set<string>();
  private readonly owners = new Map<string, string>();
  private readonly random: Random;
  private looks = 0;

  constructor(parts: LoadParts) {
    this.parts = parts;
    this.random = seededRandom(parts.seed ^ 0x2545f491);
  }

  /** Settles when each job was taken or given up, and its cancel too. */
  async run(jobs: readonly PlannedJob[]): Promise<void> {
    await Promise.all(jobs.map((job) => this.follow(job)));
  }

  private async follow(planned: PlannedJob): Promise<void> {
    const { elapsed } = this.parts;
    if (!(await this.pause(planned.atMs - elapsed()))) return;
    const { label, kind, exitCode } = planned;
    const key = kind === 'keyed' ? `key-${this.parts.mesh.run}-${label}` : undefined;
    const job: OpenJob = { label, kind, exitCode, key, submits: [], cancels: [] };
    this.jobs.push(job);
    const id = await (key === undefined
      ? this.submit(planned, job)
      : this.submitKeyed(planned, job));
    if (id === undefined || planned.cancelAfterMs === undefined) return;
    if (await this.pause(planned.cancelAfterMs)) await this.cancel(id, job);
  }

  /** The job's id; undefined: it was not acknowledged. */
  private async submit(planned: PlannedJob, job: OpenJob): Promise<string | undefined> {
    for (let tries = 0; tries < SUBMIT_TRIES; tries++) {
      const node = this.pick(tries === 0 ? planned.dice[0] : this.random());
      const answer = node && (await this.submitAt(node, planned, job));
      if (answer?.tag === 'acknowledged') return answer.job;
      if (answer?.tag === 'unanswered') return undefined;
      if (!(await this.pause(RETRY_MS))) return undefined;
    }
    return undefined;
  }

  /** At two nodes at once, then as often as it takes, and once more when all is done. */
  private async submitKeyed(planned: PlannedJob, job: OpenJob): Promise<string | undefined> {
    const pair = [this.pick(planned.dice[0]), this.pick(planned.dice[1])];
    await Promise.all(pair.map((node) => node && this.submitAt(node, planned, job)));
    const acknowledged = (): string | undefined =>
      job.submits.flatMap(({ answer }) => (answer.tag === 'acknowledged' ? [answer.job] : []))[0];
    for (let tries = 0; tries < KEYED_TRIES && acknowledged() === undefined; tries++) {
      if (!(await this.pause(RETRY_MS))) return undefined;
      const node = this.pick(this.random());
      if (node) await this.submitAt(node, planned, job);
    }
    if (!(await this.pause(KEY_AGAIN_MS))) return acknowledged();
    const last = this.pick(planned.dice[1]);
    if (last) await this.submitAt(last, planned, job);
    return acknowledged();
  }

  private async submitAt(
    node: TortureNode,
    planned: PlannedJob,
    job: OpenJob,
  ): Promise<Submit['answer']> {
    const at = this.parts.elapsed();
    const living = this.parts.mesh.living.length;
    const request = this.requestFor(planned, job.key);
    const given = await this.ask(node, { request: 'submit', job: undefined }, (client, signal) =>
      client.submit(request, { signal }),
    );
    const answer = toSubmitAnswer(given);
    const tookMs = this.parts.elapsed() - at;
    job.submits.push({ node: node.name, at, tookMs, living, answer });
    if (answer.tag === 'acknowledged' && !this.acknowledged.has(answer.job)) {
      this.acknowledged.add(answer.job);
      this.unfinished.add(answer.job);
      // Until somebody says otherwise.
      this.owners.set(answer.job, node.name);
    }
    return answer;
  }

  private requestFor(planned: PlannedJob, key: string | undefined): JobRequest {
    const { label, kind, runsMs, exitCode } = planned;
    const { ledger, run } = this.parts.mesh;
    return {
      command: workCommand({ runsMs, exitCode, isStubborn: kind === 'stubborn' }),
      env: {
        [LEDGER_VARIABLES.folder]: ledger,
        [LEDGER_VARIABLES.label]: label,
        [LEDGER_VARIABLES.run]: run,
      },
      ...(key !== undefined && { idempotency_key: key }),
      ...(kind === 'at-most-once' && { delivery: 'at_most_once' }),
      ...(kind === 'three-disks' && { replicas: 3 }),
      ...(kind === 'unleased' && { on_isolation: 'continue' }),
    };
  }

  private async cancel(id: string, job: OpenJob): Promise<void> {
    for (let tries = 0; tries < CANCEL_TRIES; tries++) {
      const node = this.pick(this.random());
      const given =
        node &&
        (await this.ask(node, { request: 'cancel', job: id }, (client, signal) =>
          client.cancel(id, { signal }),
        ));
      const answer = toCancelAnswer(given);
      const answeredAt = this.parts.elapsed();
      if (node && given) job.cancels.push({ node: node.name, answeredAt, job: id, answer });
      if (answer !== 'undecided' || !(await this.pause(RETRY_MS))) return;
    }
  }

  // -------------------------------------------------------------- looking

  /** Asks living nodes about jobs, finished ones too, until it is told to stop. */
  async watch(): Promise<void> {
    while (await this.pause(LOOK_MS)) {
      const job = this.pickJob();
      const node = this.pick(this.random());
      if (job === undefined || !node || this.looks >= MAX_LOOKS) continue;
      this.looks += 1;
      void this.look(node, job).finally(() => {
        this.looks -= 1;
      });
    }
  }

  /** What a node says of a job now, written down if it is new. */
  async look(node: TortureNode, job: string): Promise<Answer<JobJson>> {
    const answer = await this.ask(node, { request: 'GET job', job }, (client, signal) =>
      client.getJob(job, { signal }),
    );
    if (answer.tag === 'given') this.note(node, answer.value);
    return answer;
  }

  private note(node: TortureNode, json: JobJson): void {
    const { job_id: job, owner_node_id } = json;
    const final = toFinalView(json);
    if (final) this.unfinished.delete(job);
    const { nodes } = this.parts.mesh;
    const owner = nodes.find(({ id }) => id === owner_node_id)?.name ?? owner_node_id;
    this.owners.set(job, owner);
    const text = `${job} ${owner} ${JSON.stringify(final)}`;
    if (this.seen.has(text)) return;
    this.seen.add(text);
    this.sightings.push({ at: this.parts.elapsed(), node: node.name, job, owner, final });
  }

  /** Mostly unfinished ones, and of these mostly such whose owner is away: who takes them over? */
  private pickJob(): string | undefined {
    const away = new Set(this.parts.mesh.nodes.filter((node) => !node.isRunning).map(nameOf));
    const unfinished = [...this.unfinished];
    const orphans = unfinished.filter((job) => away.has(this.owners.get(job) ?? ''));
    const roll = this.random();
    const from = roll < 0.5 && orphans.length > 0 ? orphans : unfinished;
    if (roll < 0.85 && from.length > 0) return from[randomBelow(this.random, from.length)];
    const all = [...this.acknowledged];
    return all[randomBelow(this.random, all.length)];
  }

  // -------------------------------------------------------------- asking

  private pick(dice: number): TortureNode | undefined {
    const { living } = this.parts.mesh;
    return living[Math.floor(dice * living.length)];
  }

  private async ask<Value>(
    node: TortureNode,
    about: { request: string; job: string | undefined },
    question: (client: Client, signal: AbortSignal) => Promise<Value>,
  ): Promise<Answer<Value>> {
    const signal = AbortSignal.any([this.parts.signal, AbortSignal.timeout(ANSWER_DEADLINE_MS)]);
    try {
      return { tag: 'given', value: await question(node.client, signal) };
    } catch (failure) {
      if (!(failure instanceof MeshError)) return { tag: 'none' };
      const { code, retryable, cause } = failure;
      // Without a cause the connection did not fail: what was answered is no answer of a node.
      if (code === 'NODE_UNREACHABLE' && cause !== undefined) return { tag: 'none' };
      if (!retryable && code !== 'ALREADY_FINAL') {
        const at = this.parts.elapsed();
        this.oddAnswers.push({
          at,
          node: node.name,
          ...about,
          code: `${code} (${failure.message})`,
        });
      }
      return { tag: 'refused', code, isRetryable: retryable };
    }
  }

  /** False: the run is over. */
  private async pause(ms: number): Promise<boolean> {
    const { signal } = this.parts;
    if (ms > 0) await sleep(ms, undefined, { signal }).catch(() => undefined);
    return !signal.aborted;
  }
}

/** Undefined: it has not ended. */
export function toFinalView(json: JobJson): FinalView | undefined {
  if (!isFinalStatus(json.status)) return undefined;
  const { status, exit_code: exitCode, signal, finished_at: finishedAt, stdout } = json;
  return { status, exitCode, signal, finishedAt, stdout };
}

const nameOf = ({ name }: TortureNode): string => name;

function toSubmitAnswer(given: Answer<{ job_id: string; durability: string }>): Submit['answer'] {
  switch (given.tag) {
    case 'given':
      return {
        tag: 'acknowledged',
        job: given.value.job_id,
        durability: given.value.durability,
      };
    case 'refused':
      return { tag: 'refused', code: given.code };
    case 'none':
      return { tag: 'unanswered' };
  }
}

function toCancelAnswer(
  given: Answer<{ status: 'cancelled' | 'cancelling' }> | undefined,
): Cancel['answer'] {
  if (given?.tag === 'given') return given.value.status;
  return given?.tag === 'refused' && given.code === 'ALREADY_FINAL' ? 'ended' : 'undecided';
}
