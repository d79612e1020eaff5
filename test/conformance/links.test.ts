import { createMeshCa } from '../../src/links/mesh-ca.ts';
import { createMeshKey } from '../../src/links/mesh-key.ts';
import { createNodeIdentity, type NodeIdentity } from '../../src/links/node-identity.ts';
import { openNode } from '../links/nodes.ts';
import { describeLinks } from './links-suite.ts';

describeLinks('TLS on loopback', (t) => {
  const ca = createMeshCa(createMeshKey());
  const identities = new Map<string, NodeIdentity>();
  return {
    open: (name, boot) => {
      const identity = identities.get(name) ?? createNodeIdentity();
      identities.set(name, identity);
      return openNode(t, { ca, identity, ...(boot && { boot }) });
    },
  };
});
