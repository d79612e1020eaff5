/**
 * What this node answers to peers that ask it, and lists that are made of what all nodes answer.
 * Nothing is decided here.
 */
import { compareText, type NodeId } from '../base/ids.ts';
import type { Answer, Call, LiveRecord, RecordQuery } from '../core/calls.ts';
import type { Core } from '../core/core.ts';
import type { Conflict, Reply } from '../core/effects.ts';
import type { Driver } from './driver.ts';
import type { FileCall } from './files.ts';
import type { Finder } from './finder.ts';
import { mergeRows, type NodeRows } from './mesh-list.ts';
import type { Executor, Links, Outputs, Store, Terminals } from './ports.ts';
import type { ConflictPage, FoundConflict, JobPage, MissingNode } from './service.ts';

const LIST_DEADLINE_MS = 1500;
/** Rows that do not count are dropped from a page; so often it is filled up again. */
const MAX_ROUNDS = 5;
const MAX_CONFLICTS = 1000;

export interface QueryParts {
  readonly self: NodeId;
  readonly core: Pick<Core, 'enliven' | 'linked'>;
  readonly driver: Pick<Driver, 'ask'>;
  readonly store: Pick<Store, 'listRecords' | 'listConflicts'>;
  readonly links: Pick<Links, 'call'>;
  readonly outputs: Outputs;
  readonly terminals: Terminals;
  readonly executor: Pick<Executor, 'checkParams'>;
  readonly finder: Finder;
}

export class Queries {
  private readonly parts: QueryParts;

  constructor(parts: QueryParts) {
    this.parts = parts;
  }

  // -------------------------------------------------------------- answering peers

  async answer(call: Exclude<Call, FileCall>, signal: AbortSignal): Promise<Answer> {
    switch (call.kind) {
      case 'lookUp':
        return { kind: 'lookUp', found: this.parts.finder.readHere(call.job) };
      case 'list':
        return { kind: 'list', records: this.listHere(call.query) };
      case 'conflicts':
        return { kind: 'conflicts', conflicts: this.parts.store.listConflicts(MAX_CONFLICTS) };
      case 'checkParams': {
        const { taskType, params } = call;
        const checked = this.parts.executor.checkParams?.(taskType, params);
        const problems = checked?.tag === 'checking' ? await checked.problems : [];
        return { kind: 'checkedParams', problems: params.map((_, i) => problems[i]) };
      }
      case 'submit':
      case 'cancel':
        return { kind: 'reply', reply: await this.command(call) };
      case 'readOutput': {
        const { stream, offset, maxBytes, waitMs } = call;
        const range = { offset, maxBytes, waitMs, signal };
        const chunk = await this.parts.outputs.read(call, stream, range);
        const removal = chunk ? undefined : await this.parts.outputs.whyRemoved(call);
        return { kind: 'output', chunk, removal };
      }
      case 'terminal':
        return { kind: 'terminal', reply: await this.parts.terminals.answer(call, signal) };
    }
  }

  /** Put to this node's core, which may have to wait for other nodes. */
  command(call: Extract<Call, { kind: 'submit' | 'cancel' }>): Promise<Reply> {
    return this.parts.driver.ask((request) => ({ ...call, request }));
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

  // -------------------------------------------------------------- lists

  /** @param scope node: what this one keeps, of its own jobs and of others */
  async list(query: RecordQuery, scope: 'node' | 'mesh'): Promise<JobPage> {
    const missing = new Map<NodeId, string>();
    const jobs: LiveRecord[] = [];
    let next: JobPage['next'];
    for (let round = 1; ; round++) {
      const page = { ...query, before: next ?? query.before, limit: query.limit - jobs.length };
      const answers = [{ node: this.parts.self, rows: this.listHere(page) }];
      if (scope === 'mesh') answers.push(...(await this.rowsOfOthers(page, missing)));
      const merged = mergeRows(answers, page.limit);
      jobs.push(...merged.jobs);
      next = merged.next;
      if (!next || jobs.length >= query.limit || round === MAX_ROUNDS) break;
    }
    return { jobs, next, missing: sorted(missing) };
  }

  private async rowsOfOthers(
    query: RecordQuery,
    missing: Map<NodeId, string>,
  ): Promise<{ node: NodeId; rows: LiveRecord[] }[]> {
    const answers = await this.askOthers({ kind: 'list', query }, missing);
    return answers.flatMap(({ node, answer }) =>
      answer.kind === 'list' ? [{ node, rows: [...answer.records] } satisfies NodeRows] : [],
    );
  }

  /** Newest first; what several nodes have found is in it once. */
  async listConflicts(limit: number): Promise<ConflictPage> {
    const missing = new Map<NodeId, string>();
    const { self, store } = this.parts;
    const answers = await this.askOthers({ kind: 'conflicts' }, missing);
    const found = new Map<string, FoundConflict>();
    const add = (foundBy: NodeId, conflicts: readonly Conflict[]): void => {
      for (const conflict of conflicts) {
        const name = `${conflict.job} ${conflict.tag} ${conflict.note}`;
        if (!found.has(name)) found.set(name, { ...conflict, foundBy });
      }
    };
    add(self, store.listConflicts(MAX_CONFLICTS));
    for (const { node, answer } of answers)
      if (answer.kind === 'conflicts') add(node, answer.conflicts);
    const all = [...found.values()].sort((a, b) => b.at - a.at || compareText(a.job, b.job));
    return {
      conflicts: all.slice(0, limit),
      isCut: all.length > limit,
      missing: sorted(missing),
    };
  }

  /** Notes who is missing, and does not ask them again in the same list. */
  private async askOthers(
    call: Call,
    missing: Map<NodeId, string>,
  ): Promise<{ node: NodeId; answer: Answer }[]> {
    for (const node of this.parts.finder.unlinked()) missing.set(node, 'no link to it');
    const answers: { node: NodeId; answer: Answer }[] = [];
    const asked = this.parts.core.linked().map(async ({ facts: { node } }) => {
      if (missing.has(node)) return;
      try {
        const options = { deadlineMs: LIST_DEADLINE_MS };
        answers.push({ node, answer: await this.parts.links.call(node, call, options) });
      } catch {
        // It is named as missing: the list is not whole without it.
        missing.set(node, `no answer within ${LIST_DEADLINE_MS / 1000} s`);
      }
    });
    await Promise.all(asked);
    return answers;
  }
}

const sorted = (missing: ReadonlyMap<NodeId, string>): MissingNode[] =>
  [...missing]
    .map(([node, reason]) => ({ node, reason }))
    .sort((a, b) => compareText(a.node, b.node));
