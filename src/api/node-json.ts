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
  readonly labels: Readonly<Record<string, string>>;
  readonly capabilities: Readonly<Record<string, string>>;
  readonly load: LoadJson;
  readonly metadata: Readonly<Record<string, string>>;
  /** It is the node that answers. */
  readonly is_self: boolean;
}

export interface LoadJson {
  readonly running: number;
  readonly claimed: number;
  readonly slots: number;
  readonly queued: number;
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
  readonly version: string;
  /** Members that are alive, this node not counted. */
  readonly peer_count: number;
  readonly load: LoadJson;
  readonly task_types: readonly string[];
  readonly labels: Readonly<Record<string, string>>;
  readonly capabilities: Readonly<Record<string, string>>;
  readonly metadata: Readonly<Record<string, string>>;
  readonly timestamp: string;
}

export interface DrainingJson {
  readonly status: 'draining';
  readonly node_id: string;
  readonly deadline_seconds: number;
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
}
