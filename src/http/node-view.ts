/** Nodes as this node knows them → as the API shows them. */
import type { DoctorJson, LoadJson, NodeJson, StatusJson } from '../api/node-json.ts';
import type { Load, NodeFacts } from '../core/facts.ts';
import { statusOf } from '../node/peer-view.ts';
import type { MeshService, PeerView } from '../node/service.ts';
import { timeOf } from './job-view.ts';

export function toPeerJson(peer: PeerView): NodeJson {
  return {
    ...factsOf(peer.facts),
    address: peer.address,
    status: statusOf(peer),
    state: peer.state,
    last_heartbeat: timeOf(peer.lastHeardAt),
    load: toLoadJson(peer.load),
    is_self: false,
  };
}

export function toSelfJson(service: MeshService): NodeJson {
  const { facts } = service;
  const load = service.load();
  return {
    ...factsOf(facts),
    address: addressOf(facts),
    status: service.health().isHealthy ? statusOf({ state: 'alive', load }) : 'FAILED',
    state: 'alive',
    last_heartbeat: timeOf(Date.now()),
    load: toLoadJson(load),
    is_self: true,
  };
}

export function toStatusJson(service: MeshService): StatusJson {
  const self = toSelfJson(service);
  return {
    node_id: self.node_id,
    name: self.name,
    address: self.api_url.replace(/^https?:\/\//, '') || self.address,
    status: self.status,
    starts: service.boot.counter,
    version: self.version,
    peer_count: service.peers().filter((peer) => peer.state === 'alive').length,
    load: self.load,
    owned_jobs: service.owned().unfinished,
    job_processes: service.jobProcesses() ?? null,
    task_types: self.task_types,
    type_versions: self.type_versions,
    hardware: self.hardware,
    labels: self.labels,
    capabilities: self.capabilities,
    metadata: self.metadata,
    timestamp: timeOf(Date.now()),
  };
}

export function toDoctorJson(service: MeshService): DoctorJson {
  const report = service.discovery();
  return {
    node_id: service.facts.node,
    name: service.facts.name,
    timestamp: timeOf(Date.now()),
    problems: service.health().problems,
    discovery: {
      port: report.port,
      targets: report.targets.map(({ address, sent, lastError }) => ({
        address,
        sent,
        last_error: lastError ?? null,
      })),
      own_heard: report.ownHeard,
      heard: report.heard,
      dropped: report.dropped,
      other_meshes: report.otherMeshes,
    },
    peers: service.peers().map(({ facts, state, address }) => ({
      node_id: facts.node,
      name: facts.name,
      state,
      address,
    })),
    missed: service.missedNodes().map(({ node, name, jobs }) => ({ node_id: node, name, jobs })),
  };
}

function factsOf(facts: NodeFacts) {
  return {
    node_id: facts.node,
    name: facts.name,
    version: facts.version,
    api_url: facts.apiUrl,
    task_types: facts.taskTypes,
    type_versions: facts.typeVersions,
    hardware: {
      cores: facts.hardware.cores,
      memory_bytes: facts.hardware.memoryBytes,
      disk_bytes: facts.hardware.diskBytes,
    },
    labels: facts.labels,
    capabilities: facts.capabilities,
    metadata: { hostname: facts.hostname, pid: String(facts.pid), platform: facts.platform },
  };
}

const addressOf = (facts: NodeFacts): string => {
  const host = facts.hosts[0] ?? '127.0.0.1';
  return `${host.includes(':') ? `[${host}]` : host}:${facts.linkPort}`;
};

const toLoadJson = ({ running, claimed, slots, queued, machine }: Load): LoadJson => ({
  running,
  claimed,
  slots,
  queued,
  machine: machine
    ? {
        cpu_percent: machine.cpuPercent,
        memory_bytes: machine.memoryBytes,
        disk_free_bytes: machine.diskFreeBytes,
        load1: machine.load1,
      }
    : null,
});
