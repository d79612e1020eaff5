/** A member as it is shown outside the core. */
import type { Member } from '../core/member.ts';
import type { PeerView } from './service.ts';

export const toPeerView = (member: Member): PeerView => ({
  facts: member.facts,
  boot: member.boot,
  state: member.state,
  load: member.load,
  address: `${member.host}:${member.facts.linkPort}`,
  lastHeardAt: member.heardWall,
});

export type NodeStatus = 'UNKNOWN' | 'IDLE' | 'BUSY' | 'DRAINING' | 'FAILED';

/** A node in the words of NodeStatus, in proto/mesh.proto. */
export function statusOf(member: Pick<Member, 'state' | 'load'>): NodeStatus {
  if (member.state !== 'alive') return member.state === 'suspect' ? 'UNKNOWN' : 'FAILED';
  if (member.load.draining) return 'DRAINING';
  return member.load.running > 0 ? 'BUSY' : 'IDLE';
}
