/** Nodes on hosts of a LAN of their own, asked from here through a relay on each host. */
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { lanHost } from '../../src/torture/host.ts';
import { Lan, type LanHost } from '../../src/torture/lan.ts';
import {
  type MeshProcesses,
  type NodeOptions,
  type NodeProcess,
  newMesh,
} from './mesh-processes.ts';

export interface HostedNode {
  readonly node: NodeProcess;
  readonly host: LanHost;
  /** Options that make a node on this host be asked through its relay. */
  readonly reach: Pick<NodeOptions, 'fetch' | 'flags'>;
}

let lanCount = 0;

/** As many hosts as options; the nodes are named one, two, three. */
export async function startLan(
  t: TestContext,
  options: readonly NodeOptions[],
): Promise<{ mesh: MeshProcesses; hosted: HostedNode[] }> {
  const lan = new Lan(`wm${process.pid % 10_000}x${lanCount++}`, options.length);
  const closing: (() => Promise<void>)[] = [];
  // Hooks run in the order they are made: the nodes end before their hosts.
  const mesh = newMesh(t);
  t.after(async () => {
    for (const close of closing) await close();
    lan.remove();
  });
  const hosted: HostedNode[] = [];
  for (const [i, more] of options.entries()) {
    const host = lan.hosts[i];
    if (!host) throw new Error('a host is missing');
    const { prefix, apiPort, fetch, close } = await lanHost(host, join(mesh.folder, `${i}.sock`));
    closing.push(close);
    const flags = ['--api-port', String(apiPort)];
    const name = ['one', 'two', 'three'][i] ?? `node-${i + 1}`;
    const node = await mesh.start(name, { ...more, prefix, fetch, flags });
    hosted.push({ host, node, reach: { fetch, flags } });
  }
  await Promise.all(hosted.map(({ node }) => node.seesPeers(options.length - 1)));
  return { mesh, hosted };
}
