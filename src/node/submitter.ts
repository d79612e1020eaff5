/**
 * Puts jobs to the node that decides about them: a new one to this node, a keyed one to the home
 * of its key. What the core replies becomes an answer for the client.
 *
 * A home that dies, or drains, leaves its keys to the next in their order, which is asked then. It
 * can find the job there: what the first home wrote before its end is the job, and is answered.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Birth, JobId, NodeId } from '../base/ids.ts';
import type { LiveRecord } from '../core/calls.ts';
import type { Core } from '../core/core.ts';
import type { Reply } from '../core/effects.ts';
import type { Submission } from '../core/inputs.ts';
import type { JobSpec } from '../core/job.ts';
import { withDeadline } from './deadline.ts';
import type { Finder } from './finder.ts';
import type { InputCopies } from './input-copies.ts';
import type { ParamsCheck } from './params-check.ts';
import type { Links } from './ports.ts';
import type { Queries } from './queries.ts';
import type { SubmitRequest, SubmitResult } from './service.ts';
import { homeOf, newBirth, toSubmission } from './submissions.ts';

export interface SubmitterParts {
  readonly self: NodeId;
  readonly core: Pick<Core, 'enliven' | 'peers'>;
  readonly queries: Pick<Queries, 'command'>;
  readonly links: Pick<Links, 'call'>;
  readonly finder: Finder;
  readonly params: Pick<ParamsCheck, 'problemsOf'>;
  readonly inputs: Pick<InputCopies, 'secure'>;
  /** Why the disk takes no writes; undefined: it does. */
  readonly storeFailure: () => string | undefined;
}

const SUBMIT_DEADLINE_MS = 10_000;
/** A home takes 2 s to find that too few replicas answer; one that takes longer does not answer. */
const TRY_MS = 4000;
const PAUSE_MS = 200;

const INPUT_ON_ONE_DISK =
  'An input file of the job is on one disk alone, and could not be put on a second one in time. Nothing was recorded; submit it again when another node is there.';

/** One submit on its way. */
interface Attempt {
  /** With a birth of its own in each try: two homes that both take it must be told apart. */
  submission: Submission;
  readonly births: Set<Birth>;
  /** Homes that take nothing more. */
  readonly refusers: Set<NodeId>;
  readonly until: number;
}

export class Submitter {
  private readonly parts: SubmitterParts;

  constructor(parts: SubmitterParts) {
    this.parts = parts;
  }

  /** One result each, in order. */
  async submit(requests: readonly SubmitRequest[]): Promise<SubmitResult[]> {
    const checked = this.parts.params.problemsOf(requests.map(({ spec }) => spec));
    const problems = checked ? await checked : [];
    const submissions = requests.map(toSubmission);
    const copied = this.parts.inputs.secure(submissions.filter((_, i) => !problems[i]));
    const exposed = copied && (await copied);
    return Promise.all(
      submissions.map((submission, i) => {
        const problem = problems[i];
        if (problem !== undefined) return refused('BAD_PARAMS', problem);
        return exposed?.has(submission.job)
          ? this.submitExposed(submission)
          : this.submitOne(submission);
      }),
    );
  }

  /** Its record may be on many disks: it is lost with the one that its input is on. */
  private async submitExposed(submission: Submission): Promise<SubmitResult> {
    const { replicas = 1 } = submission.spec;
    if (replicas > 1) return refused('NOT_ENOUGH_REPLICAS', INPUT_ON_ONE_DISK);
    const result = await this.submitOne(submission);
    return result.kind === 'accepted' ? { ...result, durability: 'local' } : result;
  }

  /** A job that an earlier identity took: its id and what it was hashed from stay the same. */
  submitAgain(job: JobId, spec: JobSpec, contentHash: string): Promise<SubmitResult> {
    const submission = toSubmission({ spec, key: { kind: 'id', text: job } });
    return this.submitOne({ ...submission, contentHash });
  }

  private async submitOne(submission: Submission): Promise<SubmitResult> {
    const attempt: Attempt = {
      submission,
      births: new Set([submission.birth]),
      refusers: new Set(),
      until: performance.now() + SUBMIT_DEADLINE_MS,
    };
    return submission.isKeyed ? this.submitKeyed(attempt) : this.submitNew(attempt);
  }

  /** There is no second node to ask: another try could be another job. */
  private async submitNew(attempt: Attempt): Promise<SubmitResult> {
    const { self } = this.parts;
    return this.toResult(await this.put(self, attempt, SUBMIT_DEADLINE_MS), attempt);
  }

  private async submitKeyed(attempt: Attempt): Promise<SubmitResult> {
    for (;;) {
      const { submission, refusers, births } = attempt;
      const home = homeOf(submission.job, this.living(refusers)) ?? this.parts.self;
      const left = attempt.until - performance.now();
      const reply = await this.put(home, attempt, Math.min(TRY_MS, Math.max(PAUSE_MS, left)));
      const isLeaving = reply?.kind === 'notAccepting' && reply.reason === 'draining';
      if (reply && !(isLeaving && home !== this.parts.self)) return this.toResult(reply, attempt);
      if (performance.now() >= attempt.until) return silentHome(home, submission);
      if (isLeaving) refusers.add(home);
      else await sleep(PAUSE_MS);
      attempt.submission = { ...submission, birth: newBirth() };
      births.add(attempt.submission.birth);
    }
  }

  /** Undefined: no answer, which leaves open whether it was taken. */
  private async put(
    node: NodeId,
    { submission }: Attempt,
    deadlineMs: number,
  ): Promise<Reply | undefined> {
    const call = { kind: 'submit', submission } as const;
    if (node === this.parts.self) return withDeadline(this.parts.queries.command(call), deadlineMs);
    try {
      const answer = await this.parts.links.call(node, call, { deadlineMs });
      return answer.kind === 'reply' ? answer.reply : undefined;
    } catch {
      // The key makes another try safe, here or at the next home.
      return undefined;
    }
  }

  private living(refusers: ReadonlySet<NodeId>): NodeId[] {
    const { core, self } = this.parts;
    const alive = core
      .peers()
      .filter(({ state, isLinked, load }) => state === 'alive' && isLinked && !load.draining)
      .map((member) => member.facts.node);
    return [self, ...alive.filter((node) => !refusers.has(node))];
  }

  // -------------------------------------------------------------- answers

  private async toResult(reply: Reply | undefined, attempt: Attempt): Promise<SubmitResult> {
    switch (reply?.kind) {
      case 'submitted': {
        const live = this.parts.core.enliven(reply.record);
        const isRepeat = reply.isRepeat && !attempt.births.has(reply.record.header.birth);
        return accepted(live, isRepeat, reply.disks >= 2);
      }
      case 'deposed':
        return this.lookUp(attempt);
      case 'keyConflict':
        return conflicting(reply.job);
      case 'queueFull':
        return refused(
          'QUEUE_FULL',
          `This node already owns ${reply.limit} unfinished jobs. Try again later, or another node.`,
        );
      case 'notAccepting':
        return reply.reason === 'draining'
          ? refused('DRAINING', 'This node is shutting down. Submit to another one.')
          : refused('DISK_FULL', this.parts.storeFailure() ?? 'The disk takes no writes.');
      case 'fewReplicas':
        return tooFew(reply);
      case 'noQuorum':
        return refused(
          'NO_QUORUM',
          `Too few of the nodes that keep the id ${reply.job} answer, so nobody can say whether it is taken as was asked. Nothing was recorded for this request; submit it again with the same key.`,
        );
      default:
        return refused(
          'BUSY',
          'The node did not decide in time; the job may still be taken. Look for it before you submit again.',
        );
    }
  }

  /** Another node decides about it now, or will in a moment: its word is the answer. */
  private async lookUp({ submission, births, until }: Attempt): Promise<SubmitResult> {
    const { job, contentHash, spec } = submission;
    do {
      const live = await this.parts.finder.find(job).catch(() => undefined);
      if (live && live.record.job.contentHash !== contentHash) return conflicting(job);
      const isReplicated = live?.durability === 'replicated';
      if (live?.isOwner && (isReplicated || (spec.replicas ?? 1) === 1))
        return accepted(live, !births.has(live.record.header.birth), isReplicated);
      await sleep(PAUSE_MS);
    } while (performance.now() < until);
    return refused(
      'NOT_KNOWABLE',
      `Another node decides about job ${job} now and cannot be asked: it may have been taken. Look for it before you submit it again.`,
    );
  }
}

type Refusal = Extract<SubmitResult, { kind: 'refused' }>;

const refused = (code: Refusal['code'], message: string): Refusal => ({
  kind: 'refused',
  code,
  message,
});

const accepted = (live: LiveRecord, isRepeat: boolean, isReplicated: boolean): SubmitResult => ({
  kind: 'accepted',
  live,
  isRepeat,
  durability: isReplicated ? 'replicated' : 'local',
});

const conflicting = (job: string): Refusal =>
  refused('KEY_CONFLICT', `${job} is taken by a job of other content.`);

const silentHome = (home: NodeId, { job }: Submission): Refusal =>
  refused(
    'OWNER_UNREACHABLE',
    `Node ${home} keeps the id ${job} and does not answer. The job may have been taken: submit it again with the same key.`,
  );

function tooFew({ wanted, disks }: Extract<Reply, { kind: 'fewReplicas' }>): Refusal {
  const got = `${wanted} nodes were to have it on disk`;
  return refused(
    'NOT_ENOUGH_REPLICAS',
    disks === 0
      ? `${got}, and fewer are there to take it. Nothing was recorded.`
      : `${got}, and ${disks} took it in time. The job is cancelled and will not run.`,
  );
}
