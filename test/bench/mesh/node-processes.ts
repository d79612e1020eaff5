/** Nodes as `mesh up` starts them, each a process; they see each other before anything is measured. */
import { MeshProcesses, type NodeOptions, type NodeProcess } from '../../e2e/mesh-processes.ts';

/** The module of handlers that all of them have. */
export const TASKS = new URL('noop-task.ts', import.meta.url).pathname;

export interface StartedNodes {
  readonly nodes: readonly NodeProcess[];
  readonly folder: string;
  stop(): Promise<void>;
}

export interface StartOptions extends NodeOptions {
  /** Settings of single nodes, over the common ones. */
  readonly of?: Readonly<Record<string, NodeOptions>>;
}

export async function startNodes(
  names: readonly string[],
  { of = {}, ...common }: StartOptions = {},
): Promise<StartedNodes> {
  const mesh = new MeshProcesses();
  const nodes: NodeProcess[] = [];
  for (const name of names) {
    const { flags = [], ...more } = { ...common, ...of[name] };
    nodes.push(await mesh.start(name, { ...more, flags: ['--tasks', TASKS, ...flags] }));
  }
  await Promise.all(nodes.map((node) => node.seesPeers(nodes.length - 1)));
  for (const node of nodes) await isWarm(node);
  return { nodes, folder: mesh.folder, stop: () => mesh.stop() };
}

/** Its handlers are loaded, and it has had one job of its own; one without slots has none. */
async function isWarm(node: NodeProcess): Promise<void> {
  const { body } = await node.get<{ load: { slots: number } }>('/api/v1/status');
  if (body.load.slots === 0) return;
  const { status, body: job } = await node.post<{ job_id: string }>('/api/v1/jobs', {
    task_type: 'noop',
    target_node_id: node.id,
  });
  if (status !== 201) throw new Error(`${node.name} took no job: ${JSON.stringify(job)}`);
  await node.jobEnds(job.job_id);
}
