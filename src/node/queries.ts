/**
 * Any node answers for any job. A record is read from this disk if it is here, else every linked
 * node is asked; what was found is remembered, so that following a job asks one node and not all.
 * Nothing is decided here: a cancel is carried to the owner, and the owner's core decides.
 */
import { MeshError } from '../base/errors.ts';
import type { JobId, NodeId } from '../base/ids.ts';
import { compareText } from '../base/ids.ts';
import type { Answer, Call, LiveRecord, RecordQuery } from '../core/calls.ts';
import type { Core } from '../core/core.ts';
import { ownerOf } from '../core/record.ts';
import { withDeadline } from './deadline.ts';
import type { Driver } from './driver.ts';
import type { Links, Outputs, Store } from './ports.ts';
import type { JobPage } from './service.ts';

const LOOK_UP_DEADLINE_MS = 1500;
const LIST_DEADLINE_MS = 1500;
export const COMMAND_DEADLINE_MS = 10_000;
const MAX_REMEMBERED = 10_000;

export interface QueryParts {
  readonly self: NodeId;
  readonly core: Core;
  readonly driver: Driver;
  readonly store: Store;
  readonly links: Links;
  readonly outputs: Outputs;
}

export class Queries {
  private readonly parts: QueryParts;
  /** Where a job was found last; the newest last. */
  private readonly whereabouts = new Map<JobId, NodeId>();

  constructor(parts: QueryParts) {
    this.parts = parts;
  }

  // -------------------------------------------------------------- answering peers

  async answer(call: Call, signal: AbortSignal): Promise<Answer> {
    switch (call.kind) {
      case 'lookUp':
        return { kind: 'lookUp', found: this.readHere(call.job) };
      case 'list':
        return { kind: 'list', records: this.listHere(call.query) };
      case 'conflicts':
        return { kind: 'conflicts', conflicts: this.parts.store.listConflicts(1000) };
      case 'submit': {
        const { submission } = call;
        const reply = await this.parts.driver.ask((request) => ({
          kind: 'submit',
          request,
          submission,
        }));
        return { kind: 'reply', reply };
      }
      case 'cancel': {
        const { job } = call;
        return {
          kind: 'reply',
          reply: await this.parts.driver.ask((request) => ({ kind: 'cancel', request, job })),
        };
      }
      case 'readOutput': {
        const { stream, offset, maxBytes, waitMs } = call;
        const range = { offset, maxBytes, waitMs, signal };
        return { kind: 'output', chunk: await this.parts.outputs.read(call, stream, range) };
      }
    }
  }

  readHere(job: JobId): LiveRecord | undefined {
    const record = this.parts.store.readRecord(job);
    return record && this.parts.core.enliven(record);
  }

  /** The state in memory is newer than the recorded one, so rows are filtered again after the look. */
  private listHere(query: RecordQuery): LiveRecord[] {
    const statuses = query.statuses ?? [];
    const recorded = statuses.map((status) => (status === 'JOB_RUNNING' ? 'JOB_ASSIGNED' : status));
    const live: LiveRecord[] = [];
    for (let { before } = query; ; ) {
      const rows = this.parts.store.listRecords({ ...query, before, statuses: recorded });
      for (const record of rows) {
        const row = this.parts.core.enliven(record);
        if (statuses.length === 0 || statuses.includes(row.status)) live.push(row);
      }
      const last = rows.at(-1);
      const isAll = !last || rows.length < query.limit;
      if (isAll || live.length >= query.limit) return live.slice(0, query.limit);
      before = { createdAt: last.job.createdAt, job: last.header.job };
    }
  }

  // -------------------------------------------------------------- one job

  /** @throws MeshError JOB_NOT_FOUND, NOT_KNOWABLE */
  async find(job: JobId): Promise<LiveRecord> {
    const here = this.readHere(job);
    if (here) return here;
    const known = this.whereabouts.get(job);
    const there = known && (await this.askOne(known, job));
    if (there) return there;
    return this.askAll(job);
  }

  private async askOne(node: NodeId, job: JobId): Promise<LiveRecord | undefined> {
    try {
      const answer = await this.parts.links.call(
        node,
        { kind: 'lookUp', job },
        { deadlineMs: LOOK_UP_DEADLINE_MS },
      );
      return answer.kind === 'lookUp' ? answer.found : undefined;
    } catch {
      // It may be gone, and another node may know: all are asked next.
      return undefined;
    }
  }

  private async askAll(job: JobId): Promise<LiveRecord> {
    const silent: NodeId[] = this.unlinked();
    const asked = this.parts.core.linked().map(async ({ facts: { node } }) => {
      const answer = await this.ask(node, { kind: 'lookUp', job }, LOOK_UP_DEADLINE_MS);
      if (answer?.kind !== 'lookUp') {
        silent.push(node);
        throw new Error('no answer');
      }
      if (!answer.found) throw new Error('not there');
      this.remember(job, node);
      return answer.found;
    });
    // The first that has it; when none has, all have answered or run out of time.
    const found = await Promise.any(asked).catch(() => undefined);
    if (found) return found;
    if (silent.length > 0) {
      throw new MeshError(
        'NOT_KNOWABLE',
        `${job} is not known to the nodes that answered; ${silent.length} did not. Ask again when they are back.`,
      );
    }
    throw new MeshError('JOB_NOT_FOUND', `No node of the mesh knows a job ${job}.`);
  }

  /** Members that may know something and cannot be asked. */
  private unlinked(): NodeId[] {
    return this.parts.core
      .peers()
      .filter((member) => !member.isLinked)
      .map((member) => member.facts.node);
  }

  private async ask(node: NodeId, call: Call, deadlineMs: number): Promise<Answer | undefined> {
    try {
      return await this.parts.links.call(node, call, { deadlineMs });
    } catch {
      // Silence is part of the answer: the caller counts who did not answer.
      return undefined;
    }
  }

  private remember(job: JobId, node: NodeId): void {
    this.whereabouts.delete(job);
    this.whereabouts.set(job, node);
    const [oldest] = this.whereabouts.keys();
    if (this.whereabouts.size > MAX_REMEMBERED && oldest !== undefined)
      this.whereabouts.delete(oldest);
  }

  /**
   * Puts a command to the node that decides about the job. One that was not answered in time may
   * have been taken all the same.
   * @throws MeshError OWNER_UNREACHABLE, DISK_FULL, BUSY
   */
  async command(
    live: LiveRecord,
    call: Extract<Call, { kind: 'cancel' }>,
    deadlineMs = COMMAND_DEADLINE_MS,
  ): Promise<Answer> {
    const owner = ownerOf(live.record.header);
    if (owner === this.parts.self) return this.commandHere(call, deadlineMs);
    try {
      return await this.parts.links.call(owner, call, { deadlineMs });
    } catch (cause) {
      throw new MeshError(
        'OWNER_UNREACHABLE',
        `The owner of job ${call.job}, ${owner}, does not answer. Look at the job and try again when it is back.`,
        { cause },
      );
    }
  }

  private async commandHere(call: Call, deadlineMs: number): Promise<Answer> {
    const answer = await withDeadline(this.answer(call, new AbortController().signal), deadlineMs);
    if (answer) return answer;
    const isDisk = this.parts.driver.isStoreFailing;
    const cause = isDisk ? 'The disk of this node takes no writes now' : 'The node is busy';
    throw new MeshError(
      isDisk ? 'DISK_FULL' : 'BUSY',
      `${cause}: the cancel was not decided in time, but may still be. Look at the job before you try again.`,
    );
  }

  // -------------------------------------------------------------- lists

  async list(query: RecordQuery, scope: 'node' | 'mesh'): Promise<JobPage> {
    const here = this.listHere(query);
    const missing: { node: NodeId; reason: string }[] = [];
    const pages: LiveRecord[][] = [here];
    if (scope === 'mesh') {
      for (const node of this.unlinked()) missing.push({ node, reason: 'no link to it' });
      await Promise.all(
        this.parts.core.linked().map(async ({ facts: { node } }) => {
          const answer = await this.ask(node, { kind: 'list', query }, LIST_DEADLINE_MS);
          if (answer?.kind === 'list') pages.push([...answer.records]);
          else missing.push({ node, reason: `no answer within ${LIST_DEADLINE_MS / 1000} s` });
        }),
      );
    }
    return pageOf(pages, query.limit, missing);
  }
}

function pageOf(
  pages: readonly LiveRecord[][],
  limit: number,
  missing: JobPage['missing'],
): JobPage {
  const merged = pages.flat().sort((a, b) => {
    const [left, right] = [a.record, b.record];
    return (
      right.job.createdAt - left.job.createdAt || compareText(right.header.job, left.header.job)
    );
  });
  const jobs = merged.slice(0, limit);
  const last = jobs.at(-1);
  const isMore =
    last !== undefined && (merged.length > limit || pages.some((page) => page.length >= limit));
  const next = isMore
    ? { createdAt: last.record.job.createdAt, job: last.record.header.job }
    : undefined;
  return { jobs, next, missing: [...missing].sort((a, b) => compareText(a.node, b.node)) };
}
