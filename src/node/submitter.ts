/**
 * Puts jobs to the node that decides about them: a new one to this node, a keyed one to the home
 * of its key. What the core replies becomes an answer for the client.
 */
import type { NodeId } from '../base/ids.ts';
import type { Core } from '../core/core.ts';
import type { Reply } from '../core/effects.ts';
import type { Submission } from '../core/inputs.ts';
import { withDeadline } from './deadline.ts';
import type { Driver } from './driver.ts';
import type { Links } from './ports.ts';
import { COMMAND_DEADLINE_MS } from './queries.ts';
import type { SubmitRequest, SubmitResult } from './service.ts';
import { homeOf, toSubmission } from './submissions.ts';

export interface SubmitterParts {
  readonly self: NodeId;
  readonly core: Core;
  readonly driver: Driver;
  readonly links: Pick<Links, 'call'>;
  /** Why the disk takes no writes; undefined: it does. */
  readonly storeFailure: () => string | undefined;
}

const SUBMIT_DEADLINE_MS = 10_000;

export class Submitter {
  private readonly parts: SubmitterParts;

  constructor(parts: SubmitterParts) {
    this.parts = parts;
  }

  /** One result each, in order. */
  submit(requests: readonly SubmitRequest[]): Promise<SubmitResult[]> {
    return Promise.all(requests.map((request) => this.submitOne(toSubmission(request))));
  }

  private submitOne(submission: Submission): Promise<SubmitResult> {
    const { self } = this.parts;
    const home = submission.isKeyed ? homeOf(submission.job, this.living()) : self;
    return home === undefined || home === self
      ? this.submitHere(submission)
      : this.submitAt(home, submission);
  }

  private async submitHere(submission: Submission): Promise<SubmitResult> {
    const asked = this.parts.driver.ask((request) => ({ kind: 'submit', request, submission }));
    return this.toResult(await withDeadline(asked, SUBMIT_DEADLINE_MS));
  }

  private async submitAt(home: NodeId, submission: Submission): Promise<SubmitResult> {
    try {
      const deadlineMs = COMMAND_DEADLINE_MS;
      const answer = await this.parts.links.call(
        home,
        { kind: 'submit', submission },
        { deadlineMs },
      );
      return this.toResult(answer.kind === 'reply' ? answer.reply : undefined);
    } catch {
      // Silence leaves open whether it was taken; the key makes a second try safe.
      return refused(
        'OWNER_UNREACHABLE',
        `Node ${home} keeps the ids of this key and does not answer. The job may have been taken: submit it again with the same key.`,
      );
    }
  }

  private living(): NodeId[] {
    const { core, self } = this.parts;
    const alive = core
      .peers()
      .filter(({ state, isLinked, load }) => state === 'alive' && isLinked && !load.draining);
    return [self, ...alive.map((member) => member.facts.node)];
  }

  private toResult(reply: Reply | undefined): SubmitResult {
    switch (reply?.kind) {
      case 'submitted': {
        const live = this.parts.core.enliven(reply.record);
        return {
          kind: 'accepted',
          live,
          isRepeat: reply.isRepeat,
          durability: reply.disks >= 2 ? 'replicated' : 'local',
        };
      }
      case 'keyConflict':
        return refused('KEY_CONFLICT', `${reply.job} is taken by a job of other content.`);
      case 'queueFull':
        return refused(
          'QUEUE_FULL',
          `This node already owns ${reply.limit} unfinished jobs. Try again later, or another node.`,
        );
      case 'notAccepting':
        return reply.reason === 'draining'
          ? refused('DRAINING', 'This node is shutting down. Submit to another one.')
          : refused('DISK_FULL', this.parts.storeFailure() ?? 'The disk takes no writes.');
      default:
        return refused(
          'BUSY',
          'The node did not decide in time; the job may still be taken. Look for it before you submit again.',
        );
    }
  }
}

type Refusal = Extract<SubmitResult, { kind: 'refused' }>;

const refused = (code: Refusal['code'], message: string): Refusal => ({
  kind: 'refused',
  code,
  message,
});
