/**
 * Finds a job for whoever asks at this node. Up to three nodes keep its record, and only its owner
 * knows all of it: which attempt runs, why it waits, that nobody has written a newer value. So a
 * record that is merely kept, here or elsewhere, is a hint at the owner, who is asked; only while
 * no node decides about the job, the newest value that can be had is the answer.
 *
 * That a job is not there is said only when each node that may keep it has said so: also those that
 * died long ago and were not forgotten, and those whose link came up while the others were asked.
 *
 * What was found is remembered, so that following a job asks one node and not all.
 */
import { MeshError } from '../base/errors.ts';
import type { JobId, NodeId } from '../base/ids.ts';
import type { LiveRecord } from '../core/calls.ts';
import type { Core } from '../core/core.ts';
import { compareValues, ownerOf } from '../core/record.ts';
import type { Links, Store } from './ports.ts';

const LOOK_UP_DEADLINE_MS = 1500;
/** Of a node that has been silent for a while: others are asked soon. */
const SUSPECT_DEADLINE_MS = 500;
const MAX_REMEMBERED = 10_000;

export interface FinderParts {
  readonly self: NodeId;
  readonly core: Pick<Core, 'enliven' | 'linked' | 'peers' | 'remembered'>;
  readonly store: Pick<Store, 'readRecord'>;
  readonly links: Pick<Links, 'call'>;
  /** Nodes of earlier lives that this one has not met yet: they may know something as well. */
  readonly awaited: () => readonly NodeId[];
}

interface Search {
  readonly job: JobId;
  readonly asked: Set<NodeId>;
  readonly answered: Set<NodeId>;
  best: LiveRecord | undefined;
}

export class Finder {
  private readonly parts: FinderParts;
  /** Where a job was found last; the newest last. */
  private readonly whereabouts = new Map<JobId, NodeId>();

  constructor(parts: FinderParts) {
    this.parts = parts;
  }

  readHere(job: JobId): LiveRecord | undefined {
    const record = this.parts.store.readRecord(job);
    return record && this.parts.core.enliven(record);
  }

  /** @throws MeshError JOB_NOT_FOUND, NOT_KNOWABLE */
  async find(job: JobId): Promise<LiveRecord> {
    const here = this.readHere(job);
    if (here?.isOwner) return here;
    const search: Search = {
      job,
      asked: new Set([this.parts.self]),
      answered: new Set(),
      best: here,
    };
    await this.followLeads(search);
    // Without any copy at hand everybody is asked; else those that keep one.
    if (!search.best?.isOwner) await this.askAll(search, search.best && replicasOf(search.best));
    if (!search.best?.isOwner) await this.followLeads(search);
    return search.best ?? this.notFound(search);
  }

  /** Members that may know something and cannot be asked. */
  unlinked(): NodeId[] {
    const members = this.parts.core.peers();
    const isMet = new Set(members.map(({ facts }) => facts.node));
    return [
      ...members.filter(({ isLinked }) => !isLinked).map(({ facts }) => facts.node),
      ...this.parts.awaited().filter((node) => !isMet.has(node)),
    ];
  }

  // -------------------------------------------------------------- asking

  /** From each copy to the node that decides by it, until one says that it does. */
  private async followLeads(search: Search): Promise<void> {
    for (;;) {
      const next = this.leads(search).filter((node) => !search.asked.has(node));
      if (next.length === 0 || search.best?.isOwner) return;
      await Promise.all(next.map((node) => this.askOne(search, node)));
    }
  }

  private leads({ job, best }: Search): NodeId[] {
    const remembered = this.whereabouts.get(job);
    const linked = this.parts.core.linked().map(({ facts }) => facts.node);
    const named = best ? [best.record.header.promised.node, ownerOf(best.record.header)] : [];
    return linked.filter((node) => node === remembered || named.includes(node));
  }

  /** Settles with the owner's answer, or when all have answered. */
  private async askAll(search: Search, among: readonly NodeId[] | undefined): Promise<void> {
    const next = this.parts.core
      .linked()
      .map(({ facts }) => facts.node)
      .filter((node) => !search.asked.has(node) && (among?.includes(node) ?? true));
    const owned = next.map(async (node) => {
      await this.askOne(search, node);
      if (!search.best?.isOwner) throw new Error('not the owner');
    });
    await Promise.any(owned).catch(() => undefined);
  }

  private async askOne(search: Search, node: NodeId): Promise<void> {
    const { job, asked, answered } = search;
    asked.add(node);
    const member = this.parts.core.linked().find(({ facts }) => facts.node === node);
    const deadlineMs = member?.state === 'alive' ? LOOK_UP_DEADLINE_MS : SUSPECT_DEADLINE_MS;
    try {
      const answer = await this.parts.links.call(node, { kind: 'lookUp', job }, { deadlineMs });
      if (answer.kind !== 'lookUp') return;
      answered.add(node);
      if (answer.found && isBetter(answer.found, search.best)) {
        search.best = answer.found;
        this.remember(job, node);
      }
    } catch {
      // Silence is no answer: after it nobody can say that the job is not there.
    }
  }

  private remember(job: JobId, node: NodeId): void {
    this.whereabouts.delete(job);
    this.whereabouts.set(job, node);
    const [oldest] = this.whereabouts.keys();
    if (this.whereabouts.size > MAX_REMEMBERED && oldest !== undefined)
      this.whereabouts.delete(oldest);
  }

  private notFound({ job, answered }: Search): never {
    const mayKnow = new Set([...this.parts.core.remembered(), ...this.parts.awaited()]);
    const count = mayKnow.difference(answered).size;
    if (count > 0) {
      throw new MeshError(
        'NOT_KNOWABLE',
        `${job} is not known to the nodes that answered; ${count} did not. Ask again when they are back.`,
      );
    }
    throw new MeshError('JOB_NOT_FOUND', `No node of the mesh knows a job ${job}.`);
  }
}

/** The word of the node that decides is worth more than any copy, a newer copy more than an older. */
export function isBetter(one: LiveRecord, other: LiveRecord | undefined): boolean {
  if (!other) return true;
  if (one.isOwner !== other.isOwner) return one.isOwner;
  return compareValues(one.record.header.accepted, other.record.header.accepted) > 0;
}

const replicasOf = ({ record: { header } }: LiveRecord): NodeId[] => [
  ...header.rs,
  ...header.oldRs,
];
