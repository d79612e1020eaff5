import type { NodeId } from '../base/ids.ts';

/** What a node says of itself for as long as it runs; told in the handshake of a link. */
export interface NodeFacts {
  readonly node: NodeId;
  /** For people: the `name` setting, else the hostname. Not unique. */
  readonly name: string;
  readonly hostname: string;
  /** `linux-x64`. */
  readonly platform: string;
  /** Of the program, `0.1.0`. */
  readonly version: string;
  readonly pid: number;
  /** Addresses where its link port answers, best first; a peer adds the one it was heard from. */
  readonly hosts: readonly string[];
  readonly linkPort: number;
  /** `http://127.0.0.1:3001`; empty when the node serves no API. */
  readonly apiUrl: string;
  /** Attempts it runs at once, 0 or more. */
  readonly slots: number;
  /** Lower case, sorted, unique. */
  readonly taskTypes: readonly string[];
  /** Of those that have a version: task type → version. */
  readonly typeVersions: Readonly<Record<string, string>>;
  readonly hardware: Hardware;
  /** Set by the operator: label → value. */
  readonly labels: Readonly<Record<string, string>>;
  /** What the node has: capability → value, `true` where it has none. */
  readonly capabilities: Readonly<Record<string, string>>;
}

/** The part of it that may change while it runs. */
export type Offers = Pick<NodeFacts, 'taskTypes' | 'typeVersions' | 'capabilities'>;

export interface Hardware {
  /** Logical processors. */
  readonly cores: number;
  readonly memoryBytes: number;
  /** Of the file system of its data folder; 0: unknown. */
  readonly diskBytes: number;
}

/** Of the whole machine, not of the mesh alone. */
export interface MachineUse {
  /** 0 to 100, all cores together. */
  readonly cpuPercent: number;
  readonly memoryBytes: number;
  /** Free on the file system of the data folder. */
  readonly diskFreeBytes: number;
  /** Average run queue of the last minute. */
  readonly load1: number;
}

/** What changes all the time; travels with every ping and with every answer about slots. */
export interface Load {
  /** Attempts that occupy a slot. */
  readonly running: number;
  /** Slots promised to owners that have not granted yet. */
  readonly claimed: number;
  readonly slots: number;
  /** Jobs this node owns that wait for a node, without those that one is being asked for. */
  readonly queued: number;
  /** Shutting down: takes no new work. */
  readonly draining: boolean;
  /** It goes for good: its records move to other nodes. */
  readonly leaving: boolean;
  /** False while its disk takes no writes: not electable. */
  readonly accepting: boolean;
  /** Undefined: it has not been measured. */
  readonly machine?: MachineUse | undefined;
}

export const IDLE_LOAD: Load = {
  running: 0,
  claimed: 0,
  slots: 0,
  queued: 0,
  draining: false,
  leaving: false,
  accepting: true,
};

export const freeSlots = (load: Load): number =>
  load.draining || !load.accepting ? 0 : Math.max(0, load.slots - load.running - load.claimed);
