/**
 * Containers carry the node, job and fence they belong to as labels. Those of this node that no
 * attempt of this life knows were left by an earlier one, or could not be removed: they are
 * removed as soon as the engine is there.
 */
import type { NodeId } from '../../base/ids.ts';
import { removeContainer } from './container.ts';
import type { Engine } from './engine.ts';

export const NODE_LABEL = 'worker-mesh.node';
export const JOB_LABEL = 'worker-mesh.job';
export const FENCE_LABEL = 'worker-mesh.fence';
/** Of the process that made it. */
export const LIFE_LABEL = 'worker-mesh.life';

/** @param isOurs whether that life made it and still follows it */
export async function removeLeftovers(
  engine: Engine,
  node: NodeId,
  isOurs: (life: string | undefined, container: string) => boolean,
): Promise<void> {
  const filters = JSON.stringify({ label: [`${NODE_LABEL}=${node}`] });
  const all = (await engine.call({
    path: '/containers/json',
    query: { all: '1', filters },
  })) as { Id: string; Labels?: Record<string, string> | null }[];
  for (const { Id, Labels } of all) {
    if (!isOurs(Labels?.[LIFE_LABEL], Id)) await removeContainer(engine, Id);
  }
}
