/** What a heartbeat says, before it is sealed and after it was opened. */
import type { BootId, NodeId } from '../base/ids.ts';
import type { WallMs } from '../base/instant.ts';
import * as field from './fields.ts';
import { MAX_DATAGRAM_BYTES } from './limits.ts';
import { parseBoot, parsePort, toBoot } from './nodes.ts';
import { mesh } from './schema.ts';
import { fromTimestamp, toTimestamp } from './timestamps.ts';

export interface Heartbeat {
  readonly node: NodeId;
  readonly boot: BootId;
  readonly linkPort: number;
  readonly status: 'UNKNOWN' | 'IDLE' | 'BUSY' | 'DRAINING' | 'FAILED';
  /** `host:port` of the link port, by the node's own belief. */
  readonly address: string;
  /** For people. */
  readonly name: string;
  readonly version: string;
  readonly sentAt: WallMs;
}

export function encodeHeartbeat(beat: Heartbeat): Uint8Array {
  const sentAt = toTimestamp(beat.sentAt);
  const nodeInfo: mesh.NodeInfo.$Properties = {
    nodeId: beat.node,
    address: field.sayable(beat.address),
    status: mesh.NodeStatus[beat.status],
    lastHeartbeat: sentAt,
    metadata: { name: field.sayable(beat.name) },
    version: beat.version,
    boot: toBoot(beat.boot),
    linkPort: beat.linkPort,
  };
  const type = mesh.MessageType.HEARTBEAT;
  const message = { type, nodeInfo, timestamp: sentAt, senderNodeId: beat.node };
  return mesh.MeshMessage.encode(message).finish();
}

/** @returns undefined when malformed */
export function parseHeartbeat(bytes: Uint8Array): Heartbeat | undefined {
  if (bytes.length > MAX_DATAGRAM_BYTES) return undefined;
  return field.parsed(() => fromMeshMessage(mesh.MeshMessage.decode(bytes)));
}

function fromMeshMessage(message: mesh.MeshMessage.$Properties): Heartbeat {
  if (message.type !== mesh.MessageType.HEARTBEAT) throw new field.Malformed('not a heartbeat');
  const info = field.required(message.nodeInfo);
  const node = field.nodeId(info.nodeId);
  if (message.senderNodeId !== node) throw new field.Malformed('about another node');
  const linkPort = parsePort(info.linkPort);
  if (linkPort === 0) throw new field.Malformed('no port');
  return {
    node,
    boot: parseBoot(info.boot),
    linkPort,
    status: fromStatus(info.status),
    address: field.name(info.address),
    name: field.name(info.metadata?.name),
    version: field.name(info.version),
    sentAt: fromTimestamp(message.timestamp),
  };
}

function fromStatus(wire: mesh.NodeStatus | null | undefined): Heartbeat['status'] {
  const status = mesh.NodeStatus[wire ?? 0];
  if (status === undefined) throw new field.Malformed('an unknown status');
  return status as Heartbeat['status'];
}
