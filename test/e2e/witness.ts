/**
 * Jobs that write down what they do, in a file that belongs to no node: executions are counted and
 * not believed. Appending to one file puts the lines of all executions into the order in which they
 * were written, so whether two lived at the same time depends on no clock.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type JobJson, type NodeProcess, processesWith, until } from './mesh-processes.ts';

/** One process that ran the job. */
export interface Life {
  readonly node: string;
  readonly attempt: number;
  readonly pid: number;
  readonly hasEnded: boolean;
}

export class Witness {
  readonly command: string;
  private readonly file: string;
  private readonly mark: string;

  /** @param name unique among those of the folder */
  constructor(folder: string, name: string) {
    this.file = join(folder, `witness-${name}`);
    this.mark = join(folder, `release-${name}`);
    this.command = [
      `exec 9>>${this.file}`,
      'say() { echo "$1 $MESH_NODE_NAME $MESH_ATTEMPT $$" >&9; }',
      'say begin',
      'echo "begun $MESH_ATTEMPT"',
      'n=0',
      `while [ ! -e ${this.mark} ]; do say tick; n=$((n + 1)); echo "line $n"; sleep 0.2; done`,
      'say end',
      'echo "done $n"',
    ].join('\n');
  }

  /** It may end: before it begins, it then runs through at once. */
  release(): this {
    writeFileSync(this.mark, '');
    return this;
  }

  /** In the order in which they began. */
  lives(): Life[] {
    return this.spans().map(({ life }) => life);
  }

  /** An older one wrote something after a younger one had begun. */
  hasOverlap(): boolean {
    const spans = this.spans();
    return spans.some((one) => spans.some(({ first }) => one.first < first && first < one.last));
  }

  /** Of all executions together. */
  ticks(): number {
    return this.lines().filter((line) => line.startsWith('tick')).length;
  }

  /** Ids of its processes that live now. */
  processes(): number[] {
    return processesWith(this.file);
  }

  async begins(count = 1): Promise<Life> {
    await until(`execution ${count} begins`, 40_000, () => this.spans().length >= count);
    const life = this.lives()[count - 1];
    if (!life) throw new Error('an execution is gone from its file');
    return life;
  }

  private spans(): { life: Life; first: number; last: number }[] {
    const spans = new Map<string, { life: Life; first: number; last: number }>();
    this.lines().forEach((line, at) => {
      const [what, node, attempt, pid] = line.split(' ');
      if (!what || !node || !pid) return;
      const who = `${node} ${attempt} ${pid}`;
      const first = spans.get(who)?.first ?? at;
      const life = { node, attempt: Number(attempt), pid: Number(pid), hasEnded: what === 'end' };
      spans.set(who, { life, first, last: at });
    });
    return [...spans.values()];
  }

  private lines(): string[] {
    return existsSync(this.file) ? readFileSync(this.file, 'utf8').split('\n') : [];
  }
}

/** All that a witness printed in one life, byte for byte. */
export const isWholeOutput = (text: string): boolean => {
  const lines = text.split('\n');
  const count = lines.length - 3;
  const numbered = lines.slice(1, -2);
  return (
    /^begun \d+$/.test(lines[0] ?? '') &&
    lines.at(-2) === `done ${count}` &&
    numbered.every((line, i) => line === `line ${i + 1}`)
  );
};

export const attemptsOf = (job: JobJson): { fence: string; node_id: string; note: string }[] =>
  job.attempts as { fence: string; node_id: string; note: string }[];

/**
 * Asks the nodes for the jobs again and again, and keeps every answer that is not the job.
 * Settles, when told to stop, with those.
 */
export function watch(
  nodes: readonly NodeProcess[],
  ids: readonly string[],
): () => Promise<string[]> {
  const failures: string[] = [];
  let isOver = false;
  const ask = async (node: NodeProcess): Promise<void> => {
    while (!isOver) {
      for (const id of ids) {
        const { status, body } = await node.get(`/api/v1/jobs/${id}`);
        if (status !== 200) failures.push(`${node.name} ${id} ${status} ${JSON.stringify(body)}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  };
  const asking = Promise.all(nodes.map(ask));
  return async () => {
    isOver = true;
    await asking;
    return failures;
  };
}
