/**
 * What a forgotten identity of this node left behind. The mesh went on without it, so each of its
 * jobs is one of two: unknown to everybody, then it is submitted again under its id; or anything
 * else, then it is listed for a person. A keyed submit makes it safe to be wrong about the first:
 * whoever has the job after all answers with it.
 *
 * Not run again, but listed: a job that may run at most once and was given to somebody, one whose
 * cancel was decided, and one that ended (its outcome is in the old database).
 *
 * Nothing is done before the member that has forgotten the node is met, and some seconds more:
 * alone, this node would find that nobody knows a job, and run it beside the mesh.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { MeshError, messageOf } from '../base/errors.ts';
import type { JobId, NodeId } from '../base/ids.ts';
import type { Core } from '../core/core.ts';
import type { Conflict, MeshEvent } from '../core/effects.ts';
import type { Job, JobSpec } from '../core/job.ts';
import type { JobRecord } from '../core/job-record.ts';
import type { Finder } from './finder.ts';
import type { Clock, Former, FormerJob, Store } from './ports.ts';
import type { Submitter } from './submitter.ts';

/** A newcomer is linked to all members within this time, and they agree on the homes of keys. */
const SETTLE_MS = 10_000;
/** Then any member will do: the one that has forgotten this node may be gone itself. */
const PATIENCE_MS = 60_000;
const PAUSE_MS = 500;
/** Until jobs are tried again of which nobody could say whether they are known. */
const ROUND_MS = 10_000;
const PAGE = 100;

export interface HandInParts {
  readonly self: NodeId;
  readonly former: Former;
  readonly core: Pick<Core, 'linked'>;
  readonly finder: Pick<Finder, 'find'>;
  readonly submitter: Pick<Submitter, 'submitAgain'>;
  readonly store: Pick<Store, 'commit'>;
  readonly clock: Clock;
  readonly tell: (event: MeshEvent) => void;
}

export class HandIn {
  private readonly parts: HandInParts;
  private readonly stopping = new AbortController();
  private isStarted = false;

  constructor(parts: HandInParts) {
    this.parts = parts;
  }

  start(): void {
    if (this.isStarted) return;
    this.isStarted = true;
    void this.run().catch((failure: unknown) => {
      if (this.stopping.signal.aborted) return;
      const { file } = this.parts.former;
      const note = `jobs of ${file} could not be handed in: ${messageOf(failure)}; the next start tries it again`;
      this.parts.tell({ kind: 'anomaly', note });
    });
  }

  stop(): void {
    this.stopping.abort();
    this.parts.former.close();
  }

  private async run(): Promise<void> {
    await this.meet();
    while (await this.round()) await this.pause(ROUND_MS);
  }

  private async meet(): Promise<void> {
    const { core, former } = this.parts;
    let waitedMs = 0;
    let metMs = 0;
    while (metMs < SETTLE_MS) {
      await this.pause(PAUSE_MS);
      const linked = core.linked().map(({ facts }) => facts.node);
      if (linked.length > 0) waitedMs += PAUSE_MS;
      const isMet = linked.includes(former.by) || (linked.length > 0 && waitedMs >= PATIENCE_MS);
      metMs = isMet ? metMs + PAUSE_MS : 0;
    }
  }

  private pause(ms: number): Promise<void> {
    return sleep(ms, undefined, { signal: this.stopping.signal, ref: false });
  }

  /** Says whether something is left to be tried again. */
  private async round(): Promise<boolean> {
    const { former } = this.parts;
    let after: JobId | undefined;
    let isLeft = false;
    for (;;) {
      const page = former.openJobs(after, PAGE);
      for (const one of page) {
        if (one.fate === 'submitted' || one.fate === 'listed') continue;
        if (!(await this.handIn(one))) isLeft = true;
        this.stopping.signal.throwIfAborted();
      }
      after = page.at(-1)?.job;
      if (after === undefined) return isLeft;
    }
  }

  /** False: nobody can say yet what is to be done. */
  private async handIn({ job, record, fate }: FormerJob): Promise<boolean> {
    if (!record) return this.list(job, 'its record there cannot be read');
    const known = fate === 'submitting' ? 'no' : await this.isKnown(job);
    this.stopping.signal.throwIfAborted();
    if (known === 'unclear') return false;
    if (known === 'yes') return this.list(job, knownNote(record.job));
    const obstacle = obstacleOf(record.job);
    return obstacle ? this.list(job, obstacle) : this.submit(job, record);
  }

  private async isKnown(job: JobId): Promise<'yes' | 'no' | 'unclear'> {
    try {
      await this.parts.finder.find(job);
      return 'yes';
    } catch (failure) {
      const isNowhere = failure instanceof MeshError && failure.code === 'JOB_NOT_FOUND';
      return isNowhere ? 'no' : 'unclear';
    }
  }

  private async submit(job: JobId, record: JobRecord): Promise<boolean> {
    const { former, submitter } = this.parts;
    former.note(job, 'submitting');
    const spec = this.ownSpec(record.job.spec);
    const result = await submitter.submitAgain(job, spec, record.job.contentHash);
    this.stopping.signal.throwIfAborted();
    if (result.kind === 'accepted') {
      former.note(job, 'submitted');
      return true;
    }
    if (result.code === 'KEY_CONFLICT') return this.list(job, 'its id is taken by another job');
    return false;
  }

  /** A job that was pinned to the old identity is meant for this machine. */
  private ownSpec(spec: JobSpec): JobSpec {
    const { self, former } = this.parts;
    if (spec.needs.target !== former.node) return spec;
    return { ...spec, needs: { ...spec.needs, target: self } };
  }

  private list(job: JobId, what: string): true {
    const { former, store, clock, tell } = this.parts;
    const note = `node ${former.node} was forgotten and came back with this job: ${what}; its copy is kept in ${former.file}`;
    const conflict: Conflict = { job, at: clock.now().wall, tag: 'forgotten', note };
    store.commit([{ kind: 'conflict', conflict }]);
    former.note(job, 'listed');
    tell({ kind: 'conflictFound', conflict });
    return true;
  }
}

const knownNote = ({ state }: Job): string =>
  state.tag === 'final'
    ? `it had ended there as ${state.final.status}, and the mesh decided about it without that`
    : 'the mesh went on with it, and it may have run on both sides';

/** Why a job that nobody knows is not run again; undefined: it is. */
function obstacleOf({ spec, state, attempts }: Job): string | undefined {
  if (state.tag === 'final')
    return `it had ended there as ${state.final.status}, and nobody else knows it`;
  if (state.tag !== 'pending' && state.cancelAt !== undefined)
    return 'it was being cancelled, and nobody else knows it';
  if (spec.delivery === 'at_most_once' && attempts > 0)
    return 'it may run at most once and perhaps did, and nobody else knows it';
  return undefined;
}
