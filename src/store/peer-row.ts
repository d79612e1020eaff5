/** Between a peer and its row in `worker_nodes`. */
import { asNodeId, isNodeId } from '../base/ids.ts';
import type { PeerRow, RememberedPeer } from '../node/ports.ts';
import type { workerNodes } from './schema.ts';

type Row = Required<typeof workerNodes.$inferInsert>;

export function toPeerRow(peer: PeerRow, nowMs: number): Row {
  const { facts, boot, commits = 0, status, lastHeartbeat } = peer;
  return {
    nodeId: facts.node,
    name: facts.name,
    hostname: facts.hostname,
    address: addressOf(facts.hosts[0] ?? '', facts.linkPort),
    apiAddress: facts.apiUrl,
    status,
    version: facts.version,
    slots: facts.slots,
    supportedTaskTypes: facts.taskTypes.join(','),
    labels: JSON.stringify(facts.labels),
    capabilities: JSON.stringify(facts.capabilities),
    metadata: JSON.stringify({
      hostname: facts.hostname,
      pid: String(facts.pid),
      platform: facts.platform,
    }),
    hosts: facts.hosts.join(' '),
    linkPort: facts.linkPort,
    bootCounter: boot.counter,
    bootSalt: boot.salt,
    commits,
    clonedCounter: 0,
    lastHeartbeatMs: lastHeartbeat,
    createdMs: nowMs,
    updatedMs: nowMs,
  };
}

/** Empty for a row that somebody has written by hand and that names nobody who can be dialled. */
export function toPeer(row: typeof workerNodes.$inferSelect): RememberedPeer[] {
  const hosts = row.hosts.split(' ').filter((host) => host !== '');
  if (!isNodeId(row.nodeId) || hosts.length === 0 || row.linkPort <= 0) return [];
  const boot = { counter: row.bootCounter, salt: row.bootSalt };
  const { name, linkPort } = row;
  const commits = row.commits > 0 ? row.commits : undefined;
  const clonedCounter = row.clonedCounter > 0 ? row.clonedCounter : undefined;
  return [{ node: asNodeId(row.nodeId), name, boot, commits, clonedCounter, hosts, linkPort }];
}

const addressOf = (host: string, port: number): string =>
  host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
