/** Nodes with nothing but links, on loopback. */
import type { TestContext } from 'node:test';
import type { BootId, NodeId } from '../../src/base/ids.ts';
import type { DiskRefusal, KnownDisk } from '../../src/core/disk-ages.ts';
import { createLinks, type MeshLinks } from '../../src/links/links.ts';
import type { MeshCa } from '../../src/links/mesh-ca.ts';
import { createNodeIdentity, type NodeIdentity } from '../../src/links/node-identity.ts';
import type { LinkedNode } from '../conformance/links-suite.ts';
import { Witness } from '../conformance/links-witness.ts';
import { FACTS } from '../wire/samples.ts';

export const HOST = '127.0.0.1';
export const FIRST_BOOT: BootId = { counter: 1, salt: '0123456789abcdef' };

export interface TlsNode extends LinkedNode {
  readonly links: MeshLinks;
  readonly identity: NodeIdentity;
}

/** Stopped at the end of the test. */
export async function openNode(
  t: TestContext,
  parts: {
    ca: MeshCa;
    identity?: NodeIdentity;
    boot?: BootId;
    knownDisks?: readonly KnownDisk[];
    refused?: (DiskRefusal & { node: NodeId })[];
  },
): Promise<TlsNode> {
  const { ca, identity = createNodeIdentity(), boot = FIRST_BOOT } = parts;
  const notices: string[] = [];
  let facts = { ...FACTS, node: identity.node, linkPort: 0 };
  const links = createLinks({
    ca,
    identity,
    boot,
    commits: () => 12,
    knownDisks: parts.knownDisks ?? [],
    onDiskRefused: (refusal) => void parts.refused?.push(refusal),
    host: HOST,
    facts: () => facts,
    onNotice: (notice) => notices.push(notice.text),
  });
  t.after(() => links.stop());
  const witness = new Witness();
  const { port } = await links.start(witness);
  facts = { ...facts, linkPort: port };
  return { node: identity.node, boot, facts, links, host: HOST, port, witness, notices, identity };
}
