/**
 * Nodes inside the contestant's process, by `createNode` of the bundle that users import. They are
 * asked by the SDK, as a program does it that has a node in it.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from '../frame/needs.ts';
import type { Stage } from '../frame/row.ts';
import { freePort } from '../peers/server.ts';

type Package = typeof import('../../../src/index.ts');
export type EmbeddedNode = Awaited<ReturnType<Package['createNode']>>;

export const loadMesh = async (): Promise<Package> =>
  (await import(join(ROOT, 'dist/index.mjs') as string)) as Package;

/** At the same time in one node: what BullMQ's worker has, and no more than memory allows. */
const SLOTS = 100;

export async function startEmbedded(
  { folder }: Stage,
  settings: Record<string, unknown> = {},
): Promise<EmbeddedNode> {
  const { createNode, defineTask } = await loadMesh();
  const dataDir = join(folder, 'node');
  mkdirSync(dataDir, { recursive: true });
  return createNode({
    name: 'bench',
    dataDir,
    configDir: join(folder, 'config'),
    discoveryPort: await freePort(),
    slots: SLOTS,
    taskTypes: 'shell',
    tasks: [defineTask({ name: 'noop', run: () => ({ ok: true }) })],
    ...settings,
  });
}
