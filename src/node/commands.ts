/**
 * Commands about what is there already: each is put to the node that decides. While that changes,
 * because an owner has died and a replica takes over, a command follows it for a few seconds: a
 * cancel can be put again and again, it is one cancel.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { MeshError } from '../base/errors.ts';
import type { JobId, NodeId } from '../base/ids.ts';
import type { LiveRecord } from '../core/calls.ts';
import type { Core } from '../core/core.ts';
import type { Reply } from '../core/effects.ts';
import { type Ban, ownerOf } from '../core/record.ts';
import { withDeadline } from './deadline.ts';
import type { Driver } from './driver.ts';
import type { Finder } from './finder.ts';
import type { Links } from './ports.ts';
import type { Queries } from './queries.ts';
import type { CancelReply } from './service.ts';

/** From the first to the last try: a takeover after the death of a process takes about 3 s. */
const CHASE_MS = 5000;
const PAUSE_MS = 200;
/** A decision may have to wait for the disks of other nodes. */
const COMMAND_DEADLINE_MS = 10_000;

export interface CommandParts {
  readonly self: NodeId;
  readonly core: Pick<Core, 'peers' | 'linked'>;
  readonly driver: Pick<Driver, 'ask' | 'isStoreFailing'>;
  readonly links: Pick<Links, 'call'>;
  readonly finder: Finder;
  readonly queries: Queries;
}

export class Commands {
  private readonly parts: CommandParts;

  constructor(parts: CommandParts) {
    this.parts = parts;
  }

  /** @throws MeshError JOB_NOT_FOUND, NOT_KNOWABLE, OWNER_UNREACHABLE, DISK_FULL, BUSY */
  async cancel(job: JobId): Promise<CancelReply> {
    const begun = performance.now();
    let isPut = false;
    let named: NodeId | undefined;
    for (;;) {
      const left = CHASE_MS - (performance.now() - begun);
      const live = await this.findDuring(job, left);
      const decided = live && decidedReply(live);
      if (decided) return decided;
      const owner = named ?? (live && ownerOf(live.record.header));
      named = undefined;
      if (owner !== undefined && this.isReachable(owner)) {
        isPut = true;
        const reply = await this.put(owner, job, begun);
        if (isCancelReply(reply)) return reply;
        if (reply?.kind === 'notOwner' && reply.owner !== owner && left > 0) {
          named = reply.owner;
          continue;
        }
      }
      if (left <= 0) throw unreachable(job, isPut);
      await sleep(PAUSE_MS);
    }
  }

  /** That nobody can say where it is may change while its owner does. */
  private async findDuring(job: JobId, leftMs: number): Promise<LiveRecord | undefined> {
    try {
      return await this.parts.finder.find(job);
    } catch (failure) {
      const isKnowableSoon = failure instanceof MeshError && failure.code === 'NOT_KNOWABLE';
      if (isKnowableSoon && leftMs > 0) return undefined;
      throw failure;
    }
  }

  private isReachable(node: NodeId): boolean {
    const { self, core } = this.parts;
    return node === self || core.linked().some(({ facts }) => facts.node === node);
  }

  /** Undefined: no answer. */
  private async put(owner: NodeId, job: JobId, begun: number): Promise<Reply | undefined> {
    const call = { kind: 'cancel', job } as const;
    const deadlineMs = Math.max(PAUSE_MS, COMMAND_DEADLINE_MS - (performance.now() - begun));
    if (owner === this.parts.self) {
      const reply = await withDeadline(this.parts.queries.command(call), deadlineMs);
      return reply ?? this.undecided('the cancel');
    }
    try {
      const answer = await this.parts.links.call(owner, call, { deadlineMs });
      return answer.kind === 'reply' ? answer.reply : undefined;
    } catch {
      // It may have died with the question; the next one, or its next life, is asked.
      return undefined;
    }
  }

  private undecided(what: string): never {
    const isDisk = this.parts.driver.isStoreFailing;
    const cause = isDisk ? 'The disk of this node takes no writes now' : 'The node is busy';
    throw new MeshError(
      isDisk ? 'DISK_FULL' : 'BUSY',
      `${cause}: ${what} was not decided in time, but may still be. Look before you try again.`,
    );
  }

  // -------------------------------------------------------------- nodes

  /** @throws MeshError NODE_NOT_FOUND, NODE_ALIVE, DISK_FULL, BUSY */
  async forget(node: NodeId, { isForced }: { isForced: boolean }): Promise<Ban> {
    const { self, core, driver } = this.parts;
    if (node === self) {
      throw new MeshError(
        'NODE_ALIVE',
        'A node cannot forget itself: let it leave (mesh leave), or ask another one.',
      );
    }
    const member = core.peers().find(({ facts }) => facts.node === node);
    if (member && (member.state === 'alive' || member.state === 'suspect') && !isForced) {
      throw new MeshError(
        'NODE_ALIVE',
        `${member.facts.name} is ${member.state}: forgetting a node that lives can give jobs two outcomes. Stop it first, let it leave (mesh leave), or say that you mean it (force, --force).`,
      );
    }
    const asked = driver.ask((request) => ({ kind: 'forget', request, node }));
    const reply = await withDeadline(asked, COMMAND_DEADLINE_MS);
    if (reply?.kind === 'forgotten') return reply.ban;
    if (reply?.kind !== 'unknownNode') return this.undecided('the ban');
    throw new MeshError('NODE_NOT_FOUND', `No member and no record here names a node ${node}.`);
  }
}

const isCancelReply = (reply: Reply | undefined): reply is CancelReply =>
  reply?.kind === 'cancelled' || reply?.kind === 'cancelling' || reply?.kind === 'alreadyFinal';

/** Nobody decides about it any more, so nobody needs to be asked. */
function decidedReply({ record, isSettling }: LiveRecord): CancelReply | undefined {
  const { state } = record.job;
  if (state.tag !== 'final' || isSettling) return undefined;
  const { job } = record.header;
  const { status } = state.final;
  return status === 'JOB_CANCELLED'
    ? { kind: 'cancelled', job }
    : { kind: 'alreadyFinal', job, status };
}

const unreachable = (job: JobId, isPut: boolean): MeshError =>
  new MeshError(
    'OWNER_UNREACHABLE',
    isPut
      ? `No node has decided about job ${job} in time; the cancel may still be recorded. Look at the job before you try again.`
      : `No node decides about job ${job} now, because its owner cannot be reached; nothing was recorded. Try again.`,
  );
