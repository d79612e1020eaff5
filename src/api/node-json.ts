/** Nodes and their health as the API shows them. */

export type NodeStatusName = 'IDLE' | 'BUSY' | 'DRAINING' | 'FAILED' | 'UNKNOWN';

export interface NodeJson {
  readonly node_id: string;
  readonly name: string;
  /** Host and port of its link; of the node that answers, its API address. */
  readonly address: string;
  readonly status: NodeStatusName;
  /** Membership as the answering node sees it. */
  readonly state: 'alive' | 'suspect' | 'dead' | 'left';
  /** When it was last heard over its link. */
  readonly last_heartbeat: string;
  readonly version: string;
  readonly api_url: string;
  readonly task_types: readonly string[];
  /** Of those that have one. */
  readonly type_versions: Readonly<Record<string, string>>;
  readonly hardware: HardwareJson;
  readonly labels: Readonly<Record<string, string>>;
  readonly capabilities: Readonly<Record<string, string>>;
  readonly load: LoadJson;
  readonly metadata: Readonly<Record<string, string>>;
  /** It is the node that answers. */
  readonly is_self: boolean;
}

export interface HardwareJson {
  readonly cores: number;
  readonly memory_bytes: number;
  /** Of the file system of its data folder; 0: unknown. */
  readonly disk_bytes: number;
}

/** Of the whole machine. */
export interface MachineUseJson {
  readonly cpu_percent: number;
  readonly memory_bytes: number;
  readonly disk_free_bytes: number;
  readonly load1: number;
}

export interface LoadJson {
  readonly running: number;
  readonly claimed: number;
  readonly slots: number;
  readonly queued: number;
  /** Null until it is known. */
  readonly machine: MachineUseJson | null;
}

export interface PeerListJson {
  readonly peers: readonly NodeJson[];
  readonly count: number;
}

export interface NodeListJson {
  readonly nodes: readonly NodeJson[];
  readonly count: number;
}

export interface ServiceCardJson {
  readonly service: 'worker-mesh';
  readonly node_id: string;
  readonly name: string;
  readonly version: string;
  readonly endpoints: Readonly<Record<string, string>>;
}

export interface HealthJson {
  readonly status: 'healthy' | 'unhealthy';
  readonly node_id: string;
  readonly timestamp: string;
  /** Sentences: what is wrong and what to do. */
  readonly problems: readonly string[];
}

export interface StatusJson {
  readonly node_id: string;
  readonly name: string;
  readonly address: string;
  readonly status: NodeStatusName;
  /** How often it has been started on its data folder; the number of this life. */
  readonly starts: number;
  readonly version: string;
  /** Members that are alive, this node not counted. */
  readonly peer_count: number;
  readonly load: LoadJson;
  /** Unfinished jobs that this node decides about. */
  readonly owned_jobs: number;
  /** How it starts the processes of jobs: only those that are `supervised` outlive its restart. */
  readonly job_processes: 'supervised' | 'child_process' | null;
  readonly task_types: readonly string[];
  /** Of those that have one. */
  readonly type_versions: Readonly<Record<string, string>>;
  readonly hardware: HardwareJson;
  readonly labels: Readonly<Record<string, string>>;
  readonly capabilities: Readonly<Record<string, string>>;
  readonly metadata: Readonly<Record<string, string>>;
  readonly timestamp: string;
}

/**
 * `stop`: what runs may end. `restart`: at once; what runs goes on and is taken up by the next
 * start. `leave`: for good; what it keeps moves to other nodes first.
 */
export const DRAIN_WAYS = ['stop', 'restart', 'leave'] as const;
export type DrainWay = (typeof DRAIN_WAYS)[number];

export interface DrainingJson {
  readonly status: 'draining';
  readonly node_id: string;
  readonly way: DrainWay;
  readonly deadline_seconds: number;
}

export interface ForgottenJson {
  readonly status: 'forgotten';
  readonly node_id: string;
  /** The name it had; empty where it is not known. */
  readonly name: string;
  /** Since when it is not let in. */
  readonly at: string;
}

/** Something the mesh went on from, and that a person should know of. */
export interface ConflictJson {
  readonly job_id: string;
  /**
   * `births`: one id was taken on both sides of a partition. `outcomes`: another attempt ended as
   * well, after the job was decided. `forgotten`: a forgotten node came back with it.
   */
  readonly kind: 'births' | 'outcomes' | 'forgotten';
  readonly at: string;
  /** What happened, as a sentence. */
  readonly note: string;
  /** The node that found it, or one of them. */
  readonly found_by_node: string;
}

export interface ConflictListJson {
  /** Newest first. */
  readonly conflicts: readonly ConflictJson[];
  readonly count: number;
  /** There are more than were asked for. */
  readonly truncated: boolean;
  /** Nodes whose conflicts may be missing from the list. */
  readonly partial: readonly { readonly node_id: string; readonly reason: string }[];
}

/** What a node knows about its surroundings. */
export interface DoctorJson {
  readonly node_id: string;
  readonly name: string;
  readonly timestamp: string;
  readonly problems: readonly string[];
  readonly discovery: {
    readonly port: number;
    readonly targets: readonly {
      readonly address: string;
      readonly sent: number;
      readonly last_error: string | null;
    }[];
    /** Own heartbeats heard back: broadcast or multicast works on this machine. */
    readonly own_heard: number;
    readonly heard: number;
    /** Reason → datagrams. */
    readonly dropped: Readonly<Record<string, number>>;
    /** Key id → datagrams of meshes with another key. */
    readonly other_meshes: Readonly<Record<string, number>>;
  };
  readonly peers: readonly {
    readonly node_id: string;
    readonly name: string;
    readonly state: string;
    readonly address: string;
  }[];
  /** Nodes that do not answer, and how many jobs kept here wait for each. */
  readonly missed: readonly {
    readonly node_id: string;
    readonly name: string;
    readonly jobs: number;
  }[];
}
