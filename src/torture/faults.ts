/**
 * Does to the mesh what the plan says. A fault is an action that gives back its own undoing, and
 * that is called whatever happens in between, so a run that is interrupted leaves nothing frozen,
 * cut off or full. A node has one fault at a time: one that comes while the node is still busy
 * with another waits for it, and for a rest after it: what a node survives is said of one fault.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { FaultRecord } from './history.ts';
import type { LanHost } from './lan.ts';
import type { TortureMesh } from './mesh.ts';
import type { TortureNode } from './node.ts';
import { type FaultKind, type PlannedFault, REST_MS } from './plan.ts';
import { killAtOnce, signalAll } from './processes.ts';

export interface InjectorParts {
  readonly mesh: TortureMesh;
  readonly elapsed: () => number;
  /** Faults that have not begun by then are left out. */
  readonly durationMs: number;
  /** Aborted: the run is over early, and everything is healed now. */
  readonly signal: AbortSignal;
}

type Heal = () => Promise<void>;

interface Target {
  readonly planned: PlannedFault;
  readonly node: TortureNode;
  readonly other: TortureNode | undefined;
}

export class Injector {
  readonly records: FaultRecord[] = [];
  /** Faults that are not healed yet, with the nodes they touch. */
  readonly active = new Set<{ kind: FaultKind; nodes: readonly string[] }>();
  private readonly parts: InjectorParts;
  private readonly busy = new Map<TortureNode, Promise<void>>();

  constructor(parts: InjectorParts) {
    this.parts = parts;
  }

  /** Settles when the last fault is healed. */
  async run(faults: readonly PlannedFault[]): Promise<void> {
    const ends = await Promise.allSettled(faults.map((fault) => this.inject(fault)));
    const failed = ends.find((end) => end.status === 'rejected');
    if (failed) throw failed.reason;
  }

  isTouched(node: TortureNode): boolean {
    return [...this.active].some(({ nodes }) => nodes.includes(node.name));
  }

  /** A node that ended by itself is started again, so that the rest of the run means something. */
  async revive(node: TortureNode): Promise<void> {
    await this.whileHolding([node], () => node.start(this.parts.signal));
  }

  private async inject(planned: PlannedFault): Promise<void> {
    const { elapsed, signal } = this.parts;
    await pause(planned.atMs - elapsed(), signal);
    if (planned.kind === 'rolling') {
      const { nodes } = this.parts.mesh;
      for (const i of nodes.keys()) {
        const node = (planned.node + i) % nodes.length;
        await this.injectOne({ ...planned, node });
      }
    } else await this.injectOne(planned);
  }

  private async injectOne(planned: PlannedFault): Promise<void> {
    const { nodes } = this.parts.mesh;
    const node = nodes[planned.node];
    const other = planned.other === undefined ? undefined : nodes[planned.other];
    if (!node) throw new Error(`the plan names node ${planned.node} of ${nodes.length}`);
    const touched = other ? [node, other] : [node];
    await this.whileHolding(touched, () => this.apply({ planned, node, other }));
  }

  private async apply(target: Target): Promise<void> {
    const { elapsed, durationMs, signal, mesh } = this.parts;
    const { planned, node, other } = target;
    if (signal.aborted || elapsed() > durationMs) return;
    const { kind, share } = planned;
    const nodes = other ? [node.name, other.name] : [node.name];
    const active = { kind, nodes };
    this.active.add(active);
    const from = elapsed();
    const heal = await ACTIONS[kind](target, mesh);
    try {
      await pause(planned.forMs, signal);
    } finally {
      await heal();
      // Also at an interrupt: then there is nobody to start a node for.
      if (!signal.aborted) await node.start(signal);
      this.active.delete(active);
    }
    const note = share === undefined ? '' : `${Math.round(share * 100)} % of all packets`;
    this.records.push({ kind, nodes, from, to: elapsed(), note });
    await pause(REST_MS, signal);
  }

  private async whileHolding(nodes: readonly TortureNode[], act: () => Promise<void>) {
    const before = nodes.map((node) => this.busy.get(node));
    const { promise, resolve } = Promise.withResolvers<void>();
    for (const node of nodes) this.busy.set(node, promise);
    try {
      await Promise.all(before);
      await act();
    } finally {
      resolve();
    }
  }
}

/** Ends early when the run does. */
async function pause(ms: number, signal: AbortSignal): Promise<void> {
  if (ms > 0) await sleep(ms, undefined, { signal }).catch(() => undefined);
}

const nothing: Heal = async () => undefined;

/** A node whose process ended is started by the injector. */
const ACTIONS: Readonly<Record<FaultKind, (target: Target, mesh: TortureMesh) => Promise<Heal>>> = {
  kill: async ({ node }) => {
    await node.kill();
    return nothing;
  },
  freeze: async ({ node }) => {
    node.signal('SIGSTOP');
    return async () => node.signal('SIGCONT');
  },
  restart: terminate,
  drain: async ({ node }) => {
    await node.stop();
    return nothing;
  },
  rolling: terminate,
  host: async ({ node }) => {
    node.expectEnd();
    await killAtOnce(() => node.host.processes());
    await node.untilEnded();
    return nothing;
  },
  'host-freeze': freezeHost,
  cut: async ({ node }) => {
    const lan = lanOf(node);
    lan.unplug();
    return async () => lan.plugIn();
  },
  'one-way': async ({ node, other }) => {
    const source = other ? lanOf(other).address : '';
    return lanOf(node).filter([['INPUT', '-i', 'eth0', '-s', source, '-j', 'DROP']]);
  },
  udp: async ({ node }) =>
    lanOf(node).filter([
      ['INPUT', '-i', 'eth0', '-p', 'udp', '-j', 'DROP'],
      ['OUTPUT', '-o', 'eth0', '-p', 'udp', '-j', 'DROP'],
    ]),
  loss: async ({ node, planned }) => {
    const chance = ['-m', 'statistic', '--mode', 'random', '--probability', String(planned.share)];
    return lanOf(node).filter([
      ['INPUT', '-i', 'eth0', ...chance, '-j', 'DROP'],
      ['OUTPUT', '-o', 'eth0', ...chance, '-j', 'DROP'],
    ]);
  },
  disk: async (_target, mesh) => {
    await mesh.disk?.fill();
    return async () => mesh.disk?.empty();
  },
};

/** An end that takes too long is found among what is left behind at the end of the run. */
async function terminate({ node }: Target): Promise<Heal> {
  await node.terminate();
  return nothing;
}

async function freezeHost({ node }: Target, mesh: TortureMesh): Promise<Heal> {
  let frozen: number[] = [];
  // What was being made while the first signals went out is found by the second look.
  for (let look = 0; look < 2; look++) {
    frozen = await node.host.processes();
    mesh.watchAll(frozen);
    signalAll(frozen, 'SIGSTOP');
  }
  return async () => {
    // Only what still belongs to it: a number may have a new owner.
    signalAll(await node.host.processes(), 'SIGCONT');
    mesh.unwatchAll(frozen.filter((pid) => pid !== node.pid));
  };
}

function lanOf(node: TortureNode): LanHost {
  const { lan } = node.host;
  if (!lan) throw new Error(`${node.name} has no cable of its own`);
  return lan;
}
