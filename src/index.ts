/**
 * What `import … from 'worker-mesh'` gives. Modules of handlers import this file in each process
 * of the pool, so nothing large is loaded before it is needed.
 */
import type { EmbeddedNode, NodeOptions } from './main/embedded.ts';

export * from './client/index.ts';
export type { EmbeddedNode, NodeOptions, NodeSettings } from './main/embedded.ts';
export {
  defineTask,
  type Schema,
  type SchemaIssue,
  type SchemaResult,
  type Task,
  type TaskContext,
  type TaskDefinition,
  type TaskFiles,
} from './tasks/define-task.ts';

/** A started node in this process. @throws MeshError what is wrong with a setting, the key, … */
export async function createNode(options: NodeOptions = {}): Promise<EmbeddedNode> {
  const { embedNode } = await import('./main/embedded.ts');
  const node = embedNode(options);
  await node.start();
  return node;
}
