/**
 * An upload is on one disk, that of the node it went to. A job that names it is on more than one when
 * it is acknowledged as replicated, and would outlive its own input: so the input is put on a second
 * disk before. On that of the node that the job is for, where it names one, since it is wanted there
 * in any case; else of the first that is likely to keep the job's record.
 *
 * Where that takes too long, or nobody is there, the job is acknowledged as what it is, `local`, and
 * the copy is tried again for as long as the job is unfinished and this node is not started anew.
 */
import type { JobId, NodeId } from '../base/ids.ts';
import type { Submission } from '../core/inputs.ts';
import { rendezvousOrder } from '../core/placement.ts';
import type { MeshFiles } from './files.ts';
import { keepAt } from './keep-at.ts';
import { namedIn } from './named-files.ts';
import type { Links } from './ports.ts';

export interface InputCopiesParts {
  readonly files: Pick<MeshFiles, 'look' | 'ensure'>;
  readonly links: Pick<Links, 'call'>;
  readonly linked: () => readonly NodeId[];
  /** That is known here. */
  readonly hasEnded: (job: JobId) => boolean;
  /** For all inputs of one request. */
  readonly patienceMs?: number;
  readonly againMs?: number;
}

/** As long as clients of a node are used to wait for it. */
const PATIENCE_MS = 60_000;
const LOOK_DEADLINE_MS = 2000;
const AGAIN_MS = 5000;
const AT_ONCE = 4;
/** Files that are on one disk alone, and files that are known to be on two. */
const MAX_KNOWN = 1000;
const KNOWN_MS = 60_000;

/** Of a job that another node decides about this one may never hear. */
const MAX_TRIED_MS = 3_600_000;

interface Named {
  readonly submission: Submission;
  readonly sha256: string;
}

interface Single extends Named {
  readonly since: number;
}

/** How many disks have a file: `nowhere` and `twice` leave nothing to do here. */
type Count = 'nowhere' | 'once' | 'twice';

export class InputCopies {
  private readonly parts: InputCopiesParts;
  /** By when that was seen. */
  private readonly doubled = new Map<string, number>();
  private readonly underWay = new Map<string, Promise<Count>>();
  private readonly singles = new Map<string, Single>();
  private readonly stopping = new AbortController();
  private timer: NodeJS.Timeout | undefined;

  constructor(parts: InputCopiesParts) {
    this.parts = parts;
  }

  /**
   * Settles when all their inputs are on two disks, or cannot be had there now: with the jobs whose
   * input is on one alone. Never rejects. Undefined: none names any, and nobody has to wait.
   */
  secure(submissions: readonly Submission[]): Promise<ReadonlySet<JobId>> | undefined {
    const named = submissions.flatMap((submission) =>
      submission.spec.replicas === 1
        ? []
        : namedIn(submission.spec).map((sha256) => ({ submission, sha256 })),
    );
    return named.length === 0 ? undefined : this.secureAll(named);
  }

  stop(): void {
    this.stopping.abort();
    clearTimeout(this.timer);
    this.singles.clear();
  }

  private async secureAll(named: readonly Named[]): Promise<ReadonlySet<JobId>> {
    const signal = this.patience();
    const exposed = new Set<JobId>();
    const rest = [...named];
    const work = async (): Promise<void> => {
      for (let next = rest.shift(); next; next = rest.shift()) {
        if ((await this.count(next, signal)) !== 'once') continue;
        exposed.add(next.submission.job);
        this.remember(next);
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, work));
    return exposed;
  }

  /** After what could be done about it. Two who ask at once have one answer. */
  private count(named: Named, signal: AbortSignal): Promise<Count> {
    const { sha256 } = named;
    const seenAt = this.doubled.get(sha256);
    const isFresh = seenAt !== undefined && performance.now() - seenAt < KNOWN_MS;
    if (isFresh) return Promise.resolve('twice');
    const known = this.underWay.get(sha256);
    if (known) return known;
    const asked = this.double(named, signal).catch((): Count => 'once');
    this.underWay.set(sha256, asked);
    void asked.then((count) => {
      this.underWay.delete(sha256);
      if (count === 'twice') this.noteDoubled(sha256);
    });
    return asked;
  }

  private noteDoubled(sha256: string): void {
    this.singles.delete(sha256);
    this.doubled.delete(sha256);
    this.doubled.set(sha256, performance.now());
    const [oldest = ''] = this.doubled.keys();
    if (this.doubled.size > MAX_KNOWN) this.doubled.delete(oldest);
  }

  private async double({ submission, sha256 }: Named, signal: AbortSignal): Promise<Count> {
    const { files, links } = this.parts;
    const [{ isWhole }, others] = await Promise.all([files.look(sha256), this.askAll(sha256)]);
    const holders = others.filter(({ has }) => has).map(({ node }) => node);
    const count = holders.length + (isWhole ? 1 : 0);
    // Of one that nobody has its executor tells.
    if (count !== 1) return count === 0 ? 'nowhere' : 'twice';
    if (!isWhole) {
      await files.ensure({ sha256, hints: holders, signal });
      return 'twice';
    }
    const { job, spec } = submission;
    const order = rendezvousOrder(
      job,
      others.map(({ node }) => node),
    ).sort((a, b) => Number(b === spec.needs.target) - Number(a === spec.needs.target));
    for (const node of order) {
      const isKept = await keepAt(node, sha256, { links, signal }).then(
        () => true,
        () => false,
      );
      if (isKept) return 'twice';
    }
    return 'once';
  }

  /** Those that answer soon. */
  private async askAll(sha256: string): Promise<{ node: NodeId; has: boolean }[]> {
    const call = { kind: 'readBlob', sha256, offset: 0, maxBytes: 0 } as const;
    const asked = this.parts.linked().map(async (node) => {
      const options = { deadlineMs: LOOK_DEADLINE_MS, signal: this.stopping.signal };
      const answer = await this.parts.links.call(node, call, options).catch(() => undefined);
      return answer?.kind === 'blob' ? [{ node, has: answer.chunk !== undefined }] : [];
    });
    return (await Promise.all(asked)).flat();
  }

  private patience(): AbortSignal {
    const { patienceMs = PATIENCE_MS } = this.parts;
    return AbortSignal.any([AbortSignal.timeout(patienceMs), this.stopping.signal]);
  }

  // -------------------------------------------------------------- again

  private remember(named: Named): void {
    if (this.stopping.signal.aborted || this.singles.size >= MAX_KNOWN) return;
    this.singles.set(named.sha256, { ...named, since: performance.now() });
    this.timer ??= this.later();
  }

  private later(): NodeJS.Timeout {
    const { againMs = AGAIN_MS } = this.parts;
    return setTimeout(() => void this.again(), againMs).unref();
  }

  private async again(): Promise<void> {
    const { hasEnded, linked } = this.parts;
    for (const single of [...this.singles.values()]) {
      const isOld = performance.now() - single.since > MAX_TRIED_MS;
      if (isOld || hasEnded(single.submission.job)) this.singles.delete(single.sha256);
      else if (linked().length > 0) await this.count(single, this.patience());
    }
    this.timer = this.singles.size > 0 ? this.later() : undefined;
  }
}
