/** After all faults are healed: waits until everything has settled, and asks every node everything. */
import { setTimeout as sleep } from 'node:timers/promises';
import { MAX_CONFLICT_LIMIT } from '../api/api.ts';
import type { EndState, EndView } from './history.ts';
import { type Load, toFinalView } from './load.ts';
import type { TortureMesh } from './mesh.ts';
import type { TortureNode } from './node.ts';

export interface SurveyParts {
  readonly mesh: TortureMesh;
  readonly load: Load;
  readonly elapsed: () => number;
  readonly signal: AbortSignal;
}

/** Long enough for every lease, takeover and redial, and three times the longest job. */
const SETTLE_DEADLINE_MS = 120_000;
const AGREE_DEADLINE_MS = 60_000;
const ASK_DEADLINE_MS = 8000;
const POLL_MS = 200;
/** Questions under way at each node. */
const AT_ONCE = 4;

/** What is left to be known when the nodes have ended is added later. */
export async function survey(parts: SurveyParts): Promise<Omit<EndState, 'leftovers'>> {
  const { mesh, elapsed } = parts;
  const healedAt = elapsed();
  const [agreement] = await Promise.all([untilAgreed(parts), untilSettled(parts)]);
  const views = new Map<string, ReadonlyMap<string, EndView>>();
  await Promise.all(
    mesh.nodes.map(async (node) => {
      views.set(node.name, await viewsOf(node, parts));
    }),
  );
  const conflicts = await Promise.all(mesh.nodes.map((node) => conflictsOf(node)));
  return { healedAt, ...agreement, views, conflicts: conflicts.join('\n') };
}

/** Each node sees all others alive, or the deadline is over. */
export async function untilAgreed({
  mesh,
  elapsed,
  signal,
}: Pick<SurveyParts, 'mesh' | 'elapsed' | 'signal'>): Promise<
  Pick<EndState, 'agreedAt' | 'disagreements'>
> {
  const deadline = elapsed() + AGREE_DEADLINE_MS;
  for (;;) {
    const lists = await Promise.all(mesh.nodes.map((node) => strangersOf(node, mesh.nodes)));
    const disagreements = lists.flat();
    if (disagreements.length === 0) return { agreedAt: elapsed(), disagreements };
    if (elapsed() > deadline) return { agreedAt: undefined, disagreements };
    await sleep(POLL_MS, undefined, { signal });
  }
}

/** Whom it does not see alive, as sentences. */
async function strangersOf(node: TortureNode, all: readonly TortureNode[]): Promise<string[]> {
  const asked = node.client.peers({ signal: AbortSignal.timeout(ASK_DEADLINE_MS) });
  const answer = await asked.catch(() => undefined);
  if (!answer) return [`${node.name} does not answer`];
  const states = new Map(answer.peers.map((peer) => [peer.node_id, peer.state]));
  return all
    .filter((other) => other !== node && states.get(other.id) !== 'alive')
    .map((other) => `${node.name} has ${other.name} as ${states.get(other.id) ?? 'not listed'}`);
}

/** Every acknowledged job is final, or the deadline is over. */
async function untilSettled({ mesh, load, elapsed, signal }: SurveyParts): Promise<void> {
  const deadline = elapsed() + SETTLE_DEADLINE_MS;
  while (load.unfinished.size > 0 && elapsed() < deadline) {
    const jobs = [...load.unfinished];
    await eachAtOnce(jobs, AT_ONCE, async (job, i) => {
      const node = mesh.nodes[i % mesh.nodes.length];
      if (node) await load.look(node, job);
    });
    if (load.unfinished.size > 0) await sleep(POLL_MS, undefined, { signal });
  }
}

async function viewsOf(
  node: TortureNode,
  { load }: SurveyParts,
): Promise<ReadonlyMap<string, EndView>> {
  const views = new Map<string, EndView>();
  await eachAtOnce([...load.acknowledged], AT_ONCE, async (job) => {
    views.set(job, await viewOf(node, job, load));
  });
  return views;
}

async function viewOf(node: TortureNode, job: string, load: Load): Promise<EndView> {
  const answer = await load.look(node, job);
  if (answer.tag === 'none') return { tag: 'unknown', code: 'nothing' };
  if (answer.tag === 'refused') return { tag: 'unknown', code: answer.code };
  const { status, attempt } = answer.value;
  const final = toFinalView(answer.value);
  return final ? { tag: 'final', final, attempts: attempt } : { tag: 'unfinished', status };
}

/** The text is enough: a job is listed when it is named. One that does not answer lists none. */
async function conflictsOf(node: TortureNode): Promise<string> {
  const signal = AbortSignal.timeout(ASK_DEADLINE_MS);
  const asked = node.client.conflicts({ limit: MAX_CONFLICT_LIMIT, signal });
  return asked.then(JSON.stringify).catch(() => '');
}

async function eachAtOnce<Thing>(
  things: readonly Thing[],
  count: number,
  act: (thing: Thing, index: number) => Promise<void>,
): Promise<void> {
  const entries = things.entries();
  const work = async (): Promise<void> => {
    for (const [index, thing] of entries) await act(thing, index);
  };
  await Promise.all(Array.from({ length: count }, work));
}
