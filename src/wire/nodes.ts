/** What nodes tell of themselves. */
import type { BootId } from '../base/ids.ts';
import type { Load, MachineUse, NodeFacts } from '../core/facts.ts';
import type { MemberEntry } from '../core/messages.ts';
import * as field from './fields.ts';
import { MAX_HOSTS, MAX_TASK_TYPES } from './limits.ts';
import type { mesh } from './schema.ts';
import { sharedBoot } from './shared-parts.ts';

const SALT = /^[0-9a-f]{16}$/;
const MAX_PORT = 65_535;

export const toBoot = (boot: BootId): mesh.Boot.$Properties => ({
  counter: boot.counter,
  salt: boot.salt,
});

export function parseBoot(wire: mesh.Boot.$Properties | null | undefined): BootId {
  const { counter, salt } = field.required(wire);
  if (!SALT.test(salt ?? '')) throw new field.Malformed('not a salt');
  return sharedBoot(field.count(counter), salt ?? '');
}

export const toLoad = (load: Load): mesh.Load.$Properties => ({
  running: load.running,
  claimed: load.claimed,
  slots: load.slots,
  queued: load.queued,
  draining: load.draining,
  notAccepting: !load.accepting,
  leaving: load.leaving,
  machine: load.machine ?? null,
});

export function parseLoad(wire: mesh.Load.$Properties | null | undefined): Load {
  const load = field.required(wire);
  return {
    running: field.count(load.running),
    claimed: field.count(load.claimed),
    slots: field.count(load.slots),
    queued: field.count(load.queued),
    draining: load.draining === true,
    accepting: load.notAccepting !== true,
    leaving: load.leaving === true,
    ...(load.machine && { machine: parseMachine(load.machine) }),
  };
}

const parseMachine = (wire: mesh.MachineUse.$Properties): MachineUse => ({
  cpuPercent: field.percentage(wire.cpuPercent),
  memoryBytes: field.count(wire.memoryBytes),
  diskFreeBytes: field.count(wire.diskFreeBytes),
  load1: field.measure(wire.load1),
});

export const toFacts = (facts: NodeFacts): mesh.NodeFacts.$Properties => ({
  nodeId: facts.node,
  name: field.sayable(facts.name),
  hostname: field.sayable(facts.hostname),
  platform: facts.platform,
  version: facts.version,
  pid: facts.pid,
  hosts: [...facts.hosts],
  linkPort: facts.linkPort,
  apiUrl: facts.apiUrl,
  slots: facts.slots,
  taskTypes: [...facts.taskTypes],
  typeVersions: field.sayableMap(facts.typeVersions),
  ...facts.hardware,
  labels: field.sayableMap(facts.labels),
  capabilities: field.sayableMap(facts.capabilities),
});

export function parseFacts(wire: mesh.NodeFacts.$Properties | null | undefined): NodeFacts {
  const facts = field.required(wire);
  return {
    node: field.nodeId(facts.nodeId),
    name: field.name(facts.name),
    hostname: field.name(facts.hostname),
    platform: field.name(facts.platform),
    version: field.name(facts.version),
    pid: field.count(facts.pid),
    hosts: field.list(facts.hosts, MAX_HOSTS, field.name),
    linkPort: field.count(facts.linkPort, MAX_PORT),
    apiUrl: field.name(facts.apiUrl),
    slots: field.count(facts.slots),
    taskTypes: field.list(facts.taskTypes, MAX_TASK_TYPES, field.name),
    typeVersions: field.map(facts.typeVersions),
    hardware: {
      cores: field.count(facts.cores),
      memoryBytes: field.count(facts.memoryBytes),
      diskBytes: field.count(facts.diskBytes),
    },
    labels: field.map(facts.labels),
    capabilities: field.map(facts.capabilities),
  };
}

export const toMemberEntry = (entry: MemberEntry): mesh.MemberEntry.$Properties => ({
  nodeId: entry.node,
  boot: toBoot(entry.boot),
  hosts: [...entry.hosts],
  linkPort: entry.linkPort,
  ...(entry.commits !== undefined && { commits: entry.commits }),
});

export function parseMemberEntry(wire: mesh.MemberEntry.$Properties): MemberEntry {
  const commits = field.count(wire.commits);
  return {
    node: field.nodeId(wire.nodeId),
    boot: parseBoot(wire.boot),
    hosts: field.list(wire.hosts, MAX_HOSTS, field.name),
    linkPort: field.count(wire.linkPort, MAX_PORT),
    ...(commits > 0 && { commits }),
  };
}

export const parsePort = (value: number | null | undefined): number => field.count(value, MAX_PORT);
