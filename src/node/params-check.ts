/**
 * Parameters are checked before a job is taken, so that a mistake is the submitter's answer and
 * not a failed job. Who serves the task type knows its schema: this node, or one that is asked.
 * Where nobody who serves it answers in time the job is taken unchecked; the node that runs it
 * checks again in any case.
 */
import type { NodeId } from '../base/ids.ts';
import type { Core } from '../core/core.ts';
import type { JobSpec } from '../core/job.ts';
import type { Executor, Links } from './ports.ts';

export interface ParamsCheckParts {
  readonly core: Pick<Core, 'linked'>;
  readonly links: Pick<Links, 'call'>;
  readonly executor: Pick<Executor, 'checkParams'>;
}

type Problems = readonly (string | undefined)[];

/** A little longer than a schema may take. */
const ASK_DEADLINE_MS = 2500;
const MAX_ASKED = 2;
/** Of the parameters in one question, which goes in one frame. */
const MAX_ASKED_CHARS = 512 * 1024;

export class ParamsCheck {
  private readonly parts: ParamsCheckParts;

  constructor(parts: ParamsCheckParts) {
    this.parts = parts;
  }

  /**
   * What is wrong with each, in order; undefined: nothing, as far as is known. Never rejects.
   * Undefined as a whole: no type among them has anything to check, and nobody has to wait.
   */
  problemsOf(specs: readonly JobSpec[]): Promise<Problems> | undefined {
    const asked: Promise<void>[] = [];
    const found: (string | undefined)[] = specs.map(() => undefined);
    const byType = Map.groupBy(specs.entries(), ([, spec]) => spec.taskType);
    for (const [taskType, entries] of byType) {
      const check = this.ofType(
        taskType,
        entries.map(([, spec]) => spec),
      );
      const note = async (problems: Promise<Problems>): Promise<void> => {
        const all = await problems;
        for (const [n, [at]] of entries.entries()) found[at] = all[n];
      };
      if (check) asked.push(note(check));
    }
    return asked.length === 0 ? undefined : Promise.all(asked).then(() => found);
  }

  private ofType(taskType: string, specs: readonly JobSpec[]): Promise<Problems> | undefined {
    const params = specs.map((spec) => spec.params);
    const here = this.parts.executor.checkParams?.(taskType, params) ?? { tag: 'free' };
    if (here.tag === 'checking') return here.problems;
    if (here.tag === 'free') return undefined;
    const nodes = this.nodesServing(taskType, specs[0]?.needs.target);
    return nodes.length === 0 ? undefined : this.askAll(nodes, taskType, params);
  }

  private async askAll(
    nodes: readonly NodeId[],
    taskType: string,
    params: readonly string[],
  ): Promise<Problems> {
    const problems: (string | undefined)[] = [];
    for (const portion of portionsOf(params))
      problems.push(...(await this.ask(nodes, taskType, portion)));
    return problems;
  }

  private nodesServing(taskType: string, target: NodeId | undefined): NodeId[] {
    const serving = this.parts.core
      .linked()
      .filter(({ facts }) => facts.taskTypes.includes(taskType))
      .map(({ facts }) => facts.node);
    const first = serving.filter((node) => node === target);
    return [...first, ...serving.filter((node) => node !== target)].slice(0, MAX_ASKED);
  }

  /** The first answer counts. */
  private ask(
    nodes: readonly NodeId[],
    taskType: string,
    params: readonly string[],
  ): Promise<Problems> {
    const asked = nodes.map(async (node) => {
      const call = { kind: 'checkParams', taskType, params } as const;
      const answer = await this.parts.links.call(node, call, { deadlineMs: ASK_DEADLINE_MS });
      if (answer.kind === 'checkedParams' && answer.problems.length === params.length)
        return answer.problems;
      throw new Error('an answer to something else');
    });
    // If none answers, the executor checks.
    return Promise.any(asked).catch(() => params.map(() => undefined));
  }
}

function portionsOf(params: readonly string[]): string[][] {
  const portions: string[][] = [];
  let chars = Number.POSITIVE_INFINITY;
  for (const text of params) {
    const isFull = chars + text.length > MAX_ASKED_CHARS || portions.at(-1)?.length === 1000;
    if (isFull) portions.push([]);
    chars = (isFull ? 0 : chars) + text.length;
    portions.at(-1)?.push(text);
  }
  return portions;
}
