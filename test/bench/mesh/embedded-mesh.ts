/** Several programs with a node in each; they are one mesh once this has settled. */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { createClient } from '../../../src/client/client.ts';
import { eventually } from '../peers/queue.ts';
import { freePort, stop } from '../peers/server.ts';

const PROGRAM = new URL('embedded-process.ts', import.meta.url).pathname;
const LOOK_EVERY_MS = 50;

export interface EmbeddedMesh {
  readonly nodes: readonly { readonly url: string; readonly id: string }[];
  stop(): Promise<void>;
}

/** @param settings of each node, by its name */
export async function startEmbeddedMesh(
  folder: string,
  settings: Readonly<Record<string, Readonly<Record<string, unknown>>>>,
): Promise<EmbeddedMesh> {
  const discoveryPort = await freePort();
  const children: ChildProcess[] = [];
  const nodes: { url: string; id: string }[] = [];
  for (const [name, more] of Object.entries(settings)) {
    const place = join(folder, `embedded-${name}`);
    mkdirSync(place, { recursive: true });
    const all = { name, discoveryPort, configDir: join(folder, 'embedded-config'), ...more };
    const child = fork(PROGRAM, [place, JSON.stringify(all)], { execArgv: ['--no-warnings'] });
    children.push(child);
    const ended = once(child, 'exit').then(() => {
      throw new Error(`the node ${name} ended as it started`);
    });
    const [told] = await Promise.race([once(child, 'message'), ended]);
    nodes.push(told as { url: string; id: string });
  }
  for (const { url } of nodes) {
    const client = createClient({ url });
    await eventually(
      LOOK_EVERY_MS,
      async () => (await client.status()).peer_count === nodes.length - 1,
    );
  }
  return {
    nodes,
    stop: async () => void (await Promise.all(children.map((child) => stop(child, 'SIGKILL')))),
  };
}
