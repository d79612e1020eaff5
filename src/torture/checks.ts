/**
 * The promises, held against what was seen. Each check is a function of the history and returns
 * what breaks its rule; nothing here knows how the history came about, so each can be shown a
 * history made by hand that it must object to. G and I are the numbers of the guarantees and
 * invariants that the design gives them.
 */
import {
  causeOfConflict,
  causeOfDenial,
  causeOfLoss,
  causeOfOverlap,
  causeOfRepeat,
  isListedConflict,
} from './causes.ts';
import {
  acknowledgedJobs,
  type EndState,
  type Execution,
  executionsByJob,
  type FinalView,
  type History,
  idsOf,
  type JobHistory,
} from './history.ts';

export interface Violation {
  readonly name: CheckName;
  readonly promise: string;
  /** The promise in words. */
  readonly rule: string;
  readonly cases: readonly Case[];
}

export interface Case {
  /** Undefined: it is not about one job. */
  readonly job: string | undefined;
  readonly what: string;
}

/** Empty: every promise was kept. */
export function checkHistory(history: History): Violation[] {
  return CHECKS.map(({ find, ...check }) => ({ ...check, cases: find(history) })).filter(
    ({ cases }) => cases.length > 0,
  );
}

/** Started again this often because its executor died, a job may end as JOB_LOST. */
const LOSSES_ALLOWED = 3;
const AGREE_MS = 10_000;
/** Jobs read a clock of hundredths. */
const CLOCKS_DIFFER_MS = 50;

export type CheckName =
  | 'lost'
  | 'second-outcome'
  | 'untrue-outcome'
  | 'wrong-end'
  | 'repeated'
  | 'repeated-at-most-once'
  | 'overlap'
  | 'uncancelled'
  | 'second-birth'
  | 'odd-answer'
  | 'own-end'
  | 'strangers'
  | 'left-behind';

interface Check {
  readonly name: CheckName;
  readonly promise: string;
  readonly rule: string;
  readonly find: (history: History) => Case[];
}

const CHECKS: readonly Check[] = [
  {
    name: 'lost',
    promise: 'G1 I1',
    rule: 'an acknowledged job becomes final, at every node',
    find: findLost,
  },
  {
    name: 'second-outcome',
    promise: 'G2 I2',
    rule: 'a job has one outcome, which never changes',
    find: findChanged,
  },
  {
    name: 'untrue-outcome',
    promise: 'G2',
    rule: 'an outcome is what an execution really had',
    find: findUntrue,
  },
  { name: 'wrong-end', promise: 'G3', rule: 'a job ends as its command does', find: findWrongEnds },
  {
    name: 'repeated',
    promise: 'G3 I9',
    rule: 'a job runs again only for a cause',
    find: findRepeats,
  },
  {
    name: 'repeated-at-most-once',
    promise: 'G3 I9',
    rule: 'at_most_once runs once at most',
    find: findTwice,
  },
  {
    name: 'overlap',
    promise: 'G4 I7',
    rule: 'no two executions of a job live at a time',
    find: findOverlaps,
  },
  {
    name: 'uncancelled',
    promise: 'I11',
    rule: 'a cancelled job ends as JOB_CANCELLED',
    find: findUncancelled,
  },
  {
    name: 'second-birth',
    promise: 'G2',
    rule: 'one key is one job, or a listed conflict',
    find: findSecondBirths,
  },
  {
    name: 'odd-answer',
    promise: 'G1',
    rule: 'an answer is one the API promises',
    find: findOddAnswers,
  },
  {
    name: 'own-end',
    promise: 'G7',
    rule: 'a node ends only when it is told to',
    find: findOwnEnds,
  },
  {
    name: 'strangers',
    promise: 'I14',
    rule: 'all nodes see all others within 10 s of healing',
    find: findStrangers,
  },
  { name: 'left-behind', promise: 'I12', rule: 'nothing is left behind', find: findLeftovers },
];

// ---------------------------------------------------------------- ends

function findLost(history: History): Case[] {
  const { end } = history;
  if (!end) return [];
  return [...acknowledgedJobs(history).keys()].flatMap((job) =>
    history.nodes.flatMap((node) => {
      const view = end.views.get(node)?.get(job) ?? { tag: 'unknown', code: 'not asked' };
      if (view.tag === 'final') return [];
      const says = view.tag === 'unfinished' ? view.status : view.code;
      return [{ job, what: `${node} says ${says} in the end` }];
    }),
  );
}

function findChanged(history: History): Case[] {
  return [...finalsByJob(history)].flatMap(([job, finals]) => {
    const texts = new Map(finals.map(({ node, final }) => [finalText(final), node]));
    if (texts.size < 2 || isListedConflict(history, job)) return [];
    return [{ job, what: [...texts].map(([text, node]) => `${text} at ${node}`).join('; ') }];
  });
}

function findUntrue(history: History): Case[] {
  const executions = executionsByJob(history);
  return eachFinal(history, ({ job, final }) => {
    if (final.status !== 'JOB_COMPLETED' && final.status !== 'JOB_FAILED') return undefined;
    const isSo = (execution: Execution): boolean =>
      execution.exitCode === final.exitCode && isOutputOf(execution, final.stdout);
    if (executions.get(job)?.some(isSo)) return undefined;
    return `${finalText(final)}, and no execution of that fence ended so`;
  });
}

const isOutputOf = ({ fence, isMute }: Execution, stdout: string): boolean =>
  stdout === `${fence}\n` || (isMute && stdout === '');

function findWrongEnds(history: History): Case[] {
  const jobs = acknowledgedJobs(history);
  const executions = executionsByJob(history);
  return eachFinal(history, ({ job, final, attempts }) => {
    const asked = jobs.get(job);
    const ran = executions.get(job) ?? [];
    const isLost = final.status === 'JOB_LOST' && asked?.kind === 'at-most-once';
    if (isLost && ran.some((one) => !causeOfLoss(history, one))) {
      return `JOB_LOST after ${ran.map(spanText).join('; ')}, and no fault allows it`;
    }
    return asked && isRightEnd(asked, final.status, attempts)
      ? undefined
      : `${finalText(final)} after ${attempts} attempts, though its command exits with ${asked?.exitCode}`;
  });
}

function isRightEnd(job: JobHistory, status: string, attempts: number): boolean {
  switch (status) {
    case 'JOB_COMPLETED':
      return job.exitCode === 0;
    case 'JOB_FAILED':
      return job.exitCode !== 0;
    case 'JOB_CANCELLED':
      return job.cancels.length > 0;
    case 'JOB_LOST':
      return job.kind === 'at-most-once' ? attempts > 0 : attempts >= LOSSES_ALLOWED;
    default:
      return false;
  }
}

function findUncancelled(history: History): Case[] {
  const finals = finalsByJob(history);
  const executions = executionsByJob(history);
  return history.jobs
    .flatMap(({ cancels }) => cancels)
    .filter(({ answer }) => answer === 'cancelled' || answer === 'cancelling')
    .flatMap(({ job, answer, answeredAt }) => {
      const other = finals.get(job)?.find(({ final }) => final.status !== 'JOB_CANCELLED');
      if (other) return [{ job, what: `${finalText(other.final)} at ${other.node}` }];
      // What was granted when it was cancelled may still begin, and is ended.
      if (answer === 'cancelling') return [];
      const late = executions.get(job)?.find(({ start }) => start > answeredAt + CLOCKS_DIFFER_MS);
      return late ? [{ job, what: `cancelled before it ran, and then ${spanText(late)}` }] : [];
    });
}

// ---------------------------------------------------------------- executions

function findRepeats(history: History): Case[] {
  return [...executionsByJob(history)].flatMap(([job, executions]) =>
    executions.slice(1).flatMap((newer, i) => {
      const older = executions[i];
      if (!older || causeOfRepeat(history, older, newer)) return [];
      if (isListedConflict(history, job)) return [];
      return [{ job, what: `${spanText(older)}, then ${spanText(newer)}, and no fault allows it` }];
    }),
  );
}

function findTwice(history: History): Case[] {
  const jobs = acknowledgedJobs(history);
  return [...executionsByJob(history)].flatMap(([job, executions]) =>
    jobs.get(job)?.kind === 'at-most-once' && executions.length > 1
      ? [{ job, what: executions.map(spanText).join('; ') }]
      : [],
  );
}

function findOverlaps(history: History): Case[] {
  const jobs = acknowledgedJobs(history);
  return [...executionsByJob(history)].flatMap(([job, executions]) =>
    executions.flatMap((newer) => {
      // Of a key that became two jobs, both run.
      if (newer.overlaps.length === 0 || isListedConflict(history, job)) return [];
      if (jobs.get(job)?.kind === 'unleased') return [];
      const named = new Set(newer.overlaps.map(({ other }) => other));
      // What held the lock is not known: any older one may be it, and one that is allowed to will do.
      const suspects = executions.filter(
        (older) => older !== newer && older.start <= newer.start && isOneOf(older, named),
      );
      const guilty = named.has(undefined)
        ? suspects.every((older) => !causeOfOverlap(history, older, newer))
        : suspects.some((older) => !causeOfOverlap(history, older, newer));
      if (suspects.length > 0 && !guilty) return [];
      return [{ job, what: `${spanText(newer)} beside ${suspects.map(spanText).join('; ')}` }];
    }),
  );
}

const isOneOf = (execution: Execution, named: ReadonlySet<string | undefined>): boolean =>
  named.has(undefined) || named.has(execution.fence);

// ---------------------------------------------------------------- answers

/** Two births of one key share its id, so most of them show as a second outcome; here is the rest. */
function findSecondBirths(history: History): Case[] {
  return history.jobs.flatMap((job) => {
    const ids = idsOf(job);
    if (job.key === undefined) return [];
    const listed = ids.filter((id) => isListedConflict(history, id));
    if (ids.length > 1 && listed.length < ids.length) {
      return [{ job: ids[0], what: `key ${job.key} is ${ids.join(' and ')}` }];
    }
    if (listed.length === 0 || causeOfConflict(history, job)) return [];
    return [{ job: listed[0], what: 'it is listed as a conflict, and no fault was near' }];
  });
}

function findOddAnswers(history: History): Case[] {
  return history.oddAnswers
    .filter((odd) => !causeOfDenial(history, odd))
    .map(({ at, node, request, job, code }) => ({
      job,
      what: `${node} answered ${code} to ${request} at ${secondsText(at)}`,
    }));
}

// ---------------------------------------------------------------- nodes

function findOwnEnds(history: History): Case[] {
  return history.ownEnds.map(({ at, node, how }) => ({
    job: undefined,
    what: `${node} ended by itself at ${secondsText(at)}: ${how}`,
  }));
}

function findStrangers({ end }: History): Case[] {
  if (!end) return [];
  const { agreedAt, healedAt } = end;
  if (agreedAt === undefined) {
    return end.disagreements.map((what) => ({ job: undefined, what }));
  }
  const tookMs = agreedAt - healedAt;
  if (tookMs <= AGREE_MS) return [];
  return [{ job: undefined, what: `it took ${(tookMs / 1000).toFixed(1)} s` }];
}

function findLeftovers({ end }: History): Case[] {
  return (end?.leftovers ?? []).map((what) => ({ job: undefined, what }));
}

// ---------------------------------------------------------------- finals

interface SeenFinal {
  readonly node: string;
  readonly final: FinalView;
}

/** From the run and from its end, in any order. */
function finalsByJob(history: History): Map<string, SeenFinal[]> {
  const byJob = new Map<string, SeenFinal[]>();
  const add = (job: string, seen: SeenFinal): void => {
    const known = byJob.get(job);
    if (known) known.push(seen);
    else byJob.set(job, [seen]);
  };
  for (const { node, job, final } of history.sightings) if (final) add(job, { node, final });
  for (const [node, views] of viewsOf(history.end)) {
    for (const [job, view] of views) {
      if (view.tag === 'final') add(job, { node, final: view.final });
    }
  }
  return byJob;
}

const viewsOf = (end: EndState | undefined): EndState['views'] => end?.views ?? new Map();

/** Of every job the first end that is wrong; all nodes of a kind say the same of it. */
function eachFinal(
  history: History,
  wrong: (seen: { job: string; final: FinalView; attempts: number }) => string | undefined,
): Case[] {
  const cases = new Map<string, Case>();
  for (const views of viewsOf(history.end).values()) {
    for (const [job, view] of views) {
      if (view.tag !== 'final' || cases.has(job)) continue;
      const what = wrong({ job, final: view.final, attempts: view.attempts });
      if (what !== undefined) cases.set(job, { job, what });
    }
  }
  return [...cases.values()];
}

function finalText({ status, exitCode, signal, finishedAt, stdout }: FinalView): string {
  const code = exitCode === null ? '' : ` with ${exitCode}`;
  const by = stdout.trim() === '' ? '' : ` by ${stdout.trim()}`;
  return `${status}${code}${signal === null ? '' : ` by ${signal}`}${by} finished ${finishedAt}`;
}

const spanText = (execution: Execution): string =>
  `attempt ${execution.attempt} at ${execution.node} ${secondsText(execution.start)} to ${secondsText(execution.last)}`;

const secondsText = (ms: number): string => `${(ms / 1000).toFixed(2)} s`;
